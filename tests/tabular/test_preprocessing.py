"""The preprocessing as a whole: its parameters, columns and refusals, and its storage."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.exceptions import NotFittedError

from selfnorm.errors import DataError, DomainError
from selfnorm.tabular._preprocessing import CategoryColumn, Preprocessor

ROWS: list[list[object]] = [
    [1.0, "red", True],
    [2.5, "blue", False],
    [None, "red", True],
    [9.0, None, True],
    [-4.0, "green", False],
]


@pytest.mark.parametrize(
    "bad", [[1.0, 2.0], np.zeros((0, 3)), np.zeros((3, 0)), [[1j]], [[np.inf]], np.zeros((1, 1, 1))]
)
def test_what_is_no_table_of_numbers_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match=r"Expected 2D|0 sample|0 feature|Complex|inf|dim 3"):
        Preprocessor().fit(bad)
    fitted = Preprocessor().fit([[1.0], [2.0]])
    with pytest.raises(ValueError, match=r"Expected 2D|0 sample|0 feature|Complex|inf|dim 3"):
        fitted.transform(bad)


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ([[1.0, 2.0], [3.0]], DataError, "equally long"),
        ([[{"a": 1}], [2.0]], TypeError, "argument must be a string or a real number"),
        ([[b"a"], [b"b"]], TypeError, "'x0' holds a bytes"),
        ([[10**400], [1]], DataError, "at most 1.8e308"),
        (np.array([[b"a"], [b"b"]]), DataError, "dtype=|S1"),
        (np.ma.masked_array([[1.0], [2.0]], [[0], [1]]), DataError, "filled"),
    ],
)
def test_bad_values_are_named(bad: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words.replace("|", r"\|")):
        Preprocessor().fit(bad)


def test_infinity_is_named_by_row_and_column() -> None:
    X = np.arange(60_000.0).reshape(-1, 2)
    fitted = Preprocessor().fit(X)
    X[29_123, 1] = -np.inf
    for call in (fitted.fit, fitted.transform):
        with pytest.raises(DataError, match=r"-inf .* row 29123, column 'x1'"):
            call(X)


def test_parameters_are_checked() -> None:
    for bad in ({"max_one_hot": -1}, {"random_state": 1.5}, {"max_one_hot": True}):
        with pytest.raises(DomainError, match=r"integer, 0 or more, however: \w+="):
            Preprocessor(**bad)  # type: ignore[arg-type]
    with pytest.raises(NotFittedError, match="fit"):
        Preprocessor().transform([[1.0]])
    with pytest.raises(NotFittedError, match="fit"):
        Preprocessor().to_state()


@pytest.mark.parametrize("given_", [[1, 2], [False, True, True], np.array([2, 1])])
def test_categorical_features_by_place(given_: Any) -> None:
    fitted = Preprocessor(categorical_features=given_).fit(ROWS)
    kinds = [isinstance(column, CategoryColumn) for column in fitted.columns]
    assert kinds == [False, True, True]
    assert fitted.output_names == [
        "x0", "x0 missing", "x1=blue", "x1=green", "x1=red", "x1=missing", "x2=1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "given_", ["x1", 3, [3], [-1], [True, False], ["x1"], [1.0], [1, "x"], [None]]
)
def test_categorical_features_that_name_no_column(given_: Any) -> None:
    with pytest.raises(DomainError, match=r"categorical_features must be .* the columns are x0"):
        Preprocessor(categorical_features=given_).fit(ROWS)


def test_text_that_is_not_declared_is_refused() -> None:
    for given_ in (None, [2]):
        with pytest.raises(DataError, match=r"column 'x1' .* the text 'red'"):
            Preprocessor(categorical_features=given_).fit(ROWS)


def test_a_column_keeps_its_kind() -> None:
    fitted = Preprocessor().fit(ROWS)
    with pytest.raises(DataError, match=r"column 'x0' .* the text 'one'"):
        fitted.transform([["one", "red", True]])
    with pytest.raises(DataError, match="X has 2 features, but Preprocessor is expecting 3"):
        fitted.transform([[1.0, "red"]])


def test_a_table_without_information_gives_zeros() -> None:
    for X in ([[1.0, "a", None]], [[3.0, "a", None]] * 4, np.full((3, 2), np.nan)):
        fitted = Preprocessor().fit(X)
        assert fitted.output_names == ["constant"]
        assert fitted.width == 1
        np.testing.assert_array_equal(fitted.transform(X), np.zeros((len(X), 1)))


def test_weights_must_fit() -> None:
    X = [[1.0], [2.0], [4.0]]
    for bad in ([1.0, 1.0], [[1.0]] * 3, [1.0, -1.0, 1.0], [0.0] * 3, [1.0, np.nan, 1.0]):
        with pytest.raises(DataError, match="sample_weight must"):
            Preprocessor().fit(X, sample_weight=bad)


@pytest.mark.parametrize("seed", range(3))
def test_weights_are_repetitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = np.empty((40, 4), dtype=object)
    X[:, 0] = rng.lognormal(size=40)
    X[:, 1] = np.where(rng.random(40) < 0.3, np.nan, rng.integers(0, 6, 40))
    X[:, 2] = rng.choice(["a", "b", "c"], 40)
    X[:, 3] = rng.choice([f"l{k}" for k in range(9)], 40)
    weight = rng.integers(0, 4, 40)
    weighted = Preprocessor(max_one_hot=5).fit(X, sample_weight=weight * 0.7)
    repeated = Preprocessor(max_one_hot=5).fit(np.repeat(X, weight, axis=0))
    assert weighted.output_names == repeated.output_names
    np.testing.assert_allclose(weighted.transform(X), repeated.transform(X), atol=2e-6)
    # The comparison would notice a weight that is left out.
    plain = Preprocessor(max_one_hot=5).fit(X)
    assert plain.width != repeated.width or (
        np.abs(plain.transform(X) - repeated.transform(X)).max() > 0.01
    )


def test_rows_of_weight_0_do_not_count() -> None:
    X = np.random.default_rng(2).lognormal(size=(50, 3))
    weight = np.where(X[:, 0] > 3, 0.0, 2.0)
    left_out = Preprocessor().fit(X[weight > 0])
    assert Preprocessor().fit(X, sample_weight=weight).columns == left_out.columns
    assert Preprocessor().fit(X).columns != left_out.columns


# ---------------------------------------------------------------------------------------- storage

# A busy machine is no fault of the strategy.
slowly = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

CELL = st.one_of(
    st.none(),
    st.floats(allow_infinity=False),
    st.sampled_from(["", "red", "blue", "nan", "1", "1.0", "grün", "a\nb", '"']),
    st.booleans(),
    st.integers(-(10**20), 10**20),
)


@given(
    st.integers(1, 4).flatmap(
        lambda d: st.lists(st.lists(CELL, min_size=d, max_size=d), min_size=1, max_size=12)
    ),
    st.integers(0, 4),
)
@slowly
def test_any_table_of_cells_gives_finite_numbers_and_survives_json(
    rows: list[list[object]], max_one_hot: int
) -> None:
    X = np.empty((len(rows), len(rows[0])), dtype=object)
    X[:] = rows
    fitted = Preprocessor(max_one_hot=max_one_hot, random_state=7).fit(X)
    out = fitted.transform(X)
    assert out.shape == (len(X), fitted.width)
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 5.00001
    assert np.abs(out.mean(axis=0, dtype=np.float64)).max() < 1e-5
    again = Preprocessor.from_state(json.loads(json.dumps(fitted.to_state(), allow_nan=False)))
    assert again.columns == fitted.columns
    assert again.output_names == fitted.output_names
    np.testing.assert_array_equal(again.transform(X), out)


@given(
    hnp.arrays(np.float64, (5, 2), elements=st.floats(allow_infinity=False)),
    hnp.arrays(np.float64, (4, 2), elements=st.floats(allow_infinity=False)),
)
@slowly
def test_new_numbers_of_any_size_give_finite_ones(
    X: np.ndarray[Any, Any], new: np.ndarray[Any, Any]
) -> None:
    assert np.isfinite(Preprocessor().fit(X).transform(new)).all()


def test_names_survive_the_storage() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS, columns=["size", "colour", "new"])
    fitted = Preprocessor(categorical_features=["colour"]).fit(frame)
    again = Preprocessor.from_state(fitted.to_state())
    assert again.feature_names_in_.tolist() == ["size", "colour", "new"]
    assert again.to_state() == fitted.to_state()
    np.testing.assert_array_equal(again.fit(frame).transform(frame), fitted.transform(frame))


def _set(path: str, value: object) -> Any:
    def change(state: Any) -> None:
        *way, last = [int(key) if key.isdigit() else key for key in path.split("/")]
        for key in way:
            state = state[key]
        if value is KeyError:
            del state[last]
        else:
            state[last] = value

    return pytest.param(change, id=f"{path}={value}")


@pytest.mark.parametrize(
    "change",
    [
        _set("format", "other"),
        _set("version", 2),
        _set("version", KeyError),
        _set("columns", []),
        _set("columns", KeyError),
        _set("columns/0/index", 1),
        _set("columns/0/name", 5),
        _set("columns/0/kind", "money"),
        _set("columns/0/scaling/center", float("nan")),
        _set("columns/0/scaling/scale", 0.0),
        _set("columns/0/scaling/gain", "1"),
        _set("columns/0/scaling/mean", KeyError),
        _set("columns/0/flag/rate", None),
        _set("columns/1/levels", ["a"]),
        _set("columns/1/levels/0", 7),
        _set("columns/1/levels/0", "green"),
        _set("columns/1/codes/0", []),
        _set("columns/1/codes/0/0", float("inf")),
        _set("columns/1/one_hot", 1),
        _set("columns/1/numeric", True),
        _set("columns/1/numeric", 0),
        _set("feature_names_in", ["a", "b", "c"]),
        _set("max_one_hot", -3),
        _set("random_state", "x"),
    ],
)
def test_a_damaged_state_is_refused(change: Any) -> None:
    state = json.loads(json.dumps(Preprocessor().fit(ROWS).to_state()))
    Preprocessor.from_state(state)
    change(state)
    with pytest.raises((DataError, DomainError), match="however"):
        Preprocessor.from_state(state)


def test_a_state_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(DataError, match="format='absent'"):
        Preprocessor.from_state([1])  # type: ignore[arg-type]
