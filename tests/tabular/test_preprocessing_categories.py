"""Columns of categories: one-hot blocks, random codes, unknown levels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from selfnorm.tabular._preprocessing import CategoryColumn, Preprocessor, _categories


def column_of(counts: dict[object, int]) -> list[list[object]]:
    return [[level] for level, count in counts.items() for _ in range(count)]


def outputs(
    counts: dict[object, int], *, max_one_hot: int = 10, random_state: int = 0
) -> tuple[Preprocessor, NDArray[np.float64]]:
    X = column_of(counts)
    fitted = Preprocessor(max_one_hot=max_one_hot, random_state=random_state).fit(X)
    return fitted, fitted.transform(X).astype(np.float64)


def test_a_block_has_mean_0_and_its_width_as_mean_square() -> None:
    fitted, out = outputs({"a": 31, "b": 5, "c": 12, "d": 9, None: 4})
    assert fitted.output_names == ["x0=a", "x0=b", "x0=c", "x0=d", "x0=missing"]
    np.testing.assert_allclose(out.mean(axis=0), 0, atol=1e-6)
    assert (out**2).sum(axis=1).mean() == pytest.approx(5, rel=1e-6)


def test_a_rare_level_does_not_explode() -> None:
    _, out = outputs({"a": 400, "b": 300, "c": 299, "d": 1})
    z_scored = 999  # (1 - p) / p for p = 1/1000, in that coordinate alone
    rare = (out[-1] ** 2).sum()
    assert rare < 10 < z_scored
    # One factor for the whole block: the coordinate of the rare level steps as far as others do.
    steps = [out[:, k].max() - out[:, k].min() for k in range(4)]
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)


def test_a_dominant_level_leaves_the_others_within_6() -> None:
    for counts in ({"a": 9990, "b": 5, "c": 5}, {"a": 9999, "b": 1}):
        _, out = outputs(counts)
        assert np.abs(out).max() == pytest.approx(6, rel=1e-6)
        np.testing.assert_allclose(out.mean(axis=0), 0, atol=1e-6)


def test_two_levels_need_one_coordinate() -> None:
    for most in (0, 2, 10):
        fitted, out = outputs({"no": 30, "yes": 10}, max_one_hot=most)
        assert fitted.output_names == ["x0=yes"]
        np.testing.assert_allclose(out[:, 0], [-1 / math.sqrt(3)] * 30 + [math.sqrt(3)] * 10)


@pytest.mark.parametrize("levels", [4, 11, 33])
def test_random_codes_are_standardised_and_apart(levels: int) -> None:
    counts: dict[object, int] = {f"level {k}": 1 + k % 5 for k in range(levels)}
    fitted, out = outputs(counts, max_one_hot=3)
    width = 2 * math.ceil(math.log2(levels))
    assert fitted.output_names == [f"x0[{k}]" for k in range(width)]
    np.testing.assert_allclose(out.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(out.var(axis=0), 1, rtol=1e-5)
    codes = np.unique(out, axis=0)
    assert len(codes) == levels
    square = ((codes[:, None] - codes[None]) ** 2).sum(axis=2) + 1e9 * np.eye(levels)
    assert square.min() > 0.04 * 2 * width  # of the mean square distance


def test_random_codes_come_from_the_seed_and_the_column() -> None:
    levels = [f"level {k % 20}" for k in range(60)]
    X = np.array([levels, levels[::-1]], dtype=object).T
    first = Preprocessor(random_state=3).fit(X)
    assert first.columns == Preprocessor(random_state=3).fit(X[::-1]).columns
    assert first.columns[0] != Preprocessor(random_state=4).fit(X).columns[0]
    a, b = first.columns
    assert isinstance(a, CategoryColumn)
    assert isinstance(b, CategoryColumn)
    assert a.levels == b.levels
    assert a.codes != b.codes


@pytest.mark.parametrize("max_one_hot", [1, 10])
def test_unknown_and_missing_values_are_the_average_row(max_one_hot: int) -> None:
    fitted, _ = outputs({"a": 3, "b": 8, "c": 4}, max_one_hot=max_one_hot)
    new = [["z"], [None], [float("nan")], [""], ["A"], [1.0]]
    np.testing.assert_array_equal(fitted.transform(new), 0)


def test_missing_is_a_level_if_it_was_seen() -> None:
    fitted, out = outputs({"a": 3, None: 8, "c": 4})
    np.testing.assert_array_equal(fitted.transform([[float("nan")]])[0], out[3].astype(np.float32))
    assert np.abs(out[3]).max() > 0.5


def test_levels_are_their_text() -> None:
    X = [["1"], [1], [1.0], ["b"], [2.5], [True], ["c"], ["c"]]
    column = Preprocessor().fit(X).columns[0]
    assert isinstance(column, CategoryColumn)
    assert column.levels == ("1", "2.5", "b", "c")
    declared = Preprocessor(categorical_features=[0])
    numbers = declared.fit(np.array([[3.0], [1.0], [np.nan], [1.5], [3.0]])).columns[0]
    assert isinstance(numbers, CategoryColumn)
    assert numbers.levels == ("1", "1.5", "3", None)


def test_identifiers_give_no_output() -> None:
    X = [[f"id {k}", float(k * k % 7)] for k in range(50)]
    assert Preprocessor().fit(X).output_names == ["x1"]
    # One value that comes twice can tell something.
    assert Preprocessor().fit([*X, ["id 0", 1.0]]).width == 1 + 2 * 6


def test_the_rarest_of_too_many_levels_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_categories, "MAX_LEVELS", 5)
    counts: dict[object, int] = {f"{k}": 1 + k for k in range(8)}
    fitted, out = outputs(counts, max_one_hot=3)
    column = fitted.columns[0]
    assert isinstance(column, CategoryColumn)
    assert column.levels == ("3", "4", "5", "6", "7")
    np.testing.assert_array_equal(fitted.transform([["2"]]), 0)
    np.testing.assert_allclose(out.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(out.var(axis=0), 1, rtol=1e-5)
