"""The target of a table: which task, which classes, which rows are held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from selfnorm.errors import DataError
from selfnorm.tabular import _table_training
from selfnorm.tabular._survey import survey
from selfnorm.tabular._table_target import Target, far_share, hold_out, target_of
from selfnorm.tabular._table_training import train_table
from selfnorm.tabular._tables import TableFile


@pytest.fixture
def decide(tmp_path: Path):
    """A function that writes a target column and decides about it."""

    def make(values, task: str = "auto") -> Target:
        path = tmp_path / "t.csv"
        rows = "".join(f"{k},{value}\n" for k, value in enumerate(values))
        path.write_text("x,y\n" + rows, "utf-8")
        seen, raw = survey(TableFile(path), keep="y")
        return target_of(seen.columns["y"], raw, ".", task)

    return make


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["b", "a"] * 10, "classification", ["a", "b"]),
        ([3, -1] * 10, "classification", [-1, 3]),
        (["3.0", "5.0"] * 10, "classification", [3, 5]),
        ([k % 20 for k in range(100)], "classification", list(range(20))),
        ([k % 21 for k in range(420)], "regression", []),
        ([k % 20 for k in range(99)], "regression", []),  # fewer than 5 rows a number
        ([k % 2 + 0.5 for k in range(40)], "regression", []),
        (["True", "False"] * 10, "classification", ["False", "True"]),
    ],
)
def test_auto(values, task, classes, decide) -> None:
    found = decide(values)
    assert found.task == task
    assert found.classes.tolist() == classes
    if classes:
        text = [str(found.classes[k]) for k in found.values]
        assert text == [str(v).removesuffix(".0") for v in values]
    else:
        np.testing.assert_allclose(found.values, np.array(values, float))


def test_what_was_asked_for_wins(decide) -> None:
    assert decide([0, 1] * 10, "regression").task == "regression"
    found = decide([0.5, 10.5, 2.5] * 10, "classification")
    assert found.classes.tolist() == ["0.5", "10.5", "2.5"]
    assert [found.classes[k] for k in found.values[:3]] == ["0.5", "10.5", "2.5"]


def test_rows_without_a_target_are_known(decide) -> None:
    for values in (["a", "", "b", "NA"] * 10, [0, "", 1, "NA"] * 10, [0.5, "", 1, "?"] * 10):
        found = decide(values)
        np.testing.assert_array_equal(found.known, [True, False, True, False] * 10)
        assert len(found.values) == 20


@pytest.mark.parametrize(
    ("values", "task", "message"),
    [
        ([""] * 20, "auto", "all 20 rows of column 'y' are empty"),
        (["a"] * 20, "auto", "at least 2 classes.*holds 'a' alone"),
        ([4] * 20, "auto", "at least 2 classes.*holds 4 alone"),
        ([4] * 20, "regression", "must vary.*are 4"),
        (["a", *[""] * 19], "auto", "at least 2 classes"),
        (["a", "b"] * 4, "auto", "at least 10 rows.*8 have"),
        ([0.5, 1.5, 2.5], "auto", "at least 10 rows.*3 have"),
        ([f"c{k}" for k in range(12)], "auto", "12 classes in 12 rows"),
        ([f"c{k}" for k in range(60)], "auto", "nearly every row"),
        ([k / 7 for k in range(60)], "classification", "60 classes in 60 rows"),
        (["a", "b"] * 20, "regression", "must hold numbers.*holds 'a'"),
        (["2020-01-01", "2020-01-02"] * 20, "auto", "holds dates"),
    ],
)
def test_what_cannot_be_learned_is_refused(values, task, message, decide) -> None:
    with pytest.raises(DataError, match=message):
        decide(values, task)


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("sizes", [(50, 30, 7), (5, 2, 1), (400, 1, 1), (3, 3, 3, 3, 3)])
def test_each_class_gives_its_share(fraction: float, sizes: tuple[int, ...]) -> None:
    codes = np.repeat(np.arange(len(sizes)), sizes)
    target = Target(
        "y", "classification", "", np.ones(len(codes), bool), codes, np.arange(len(sizes))
    )
    held = hold_out(target, fraction, np.random.default_rng(0))
    total = sum(sizes)
    most = sum(max(size - 1, 0) for size in sizes)
    assert held.sum() == min(max(1, round(total * fraction)), most) or fraction > 0.5
    for k, size in enumerate(sizes):
        assert held[codes == k].sum() < size  # some are left to learn from
        if size > 1:
            assert abs(held[codes == k].sum() - size * fraction) <= 1.0
        else:
            assert not held[codes == k].any()
    assert held.any()


def test_the_split_depends_on_the_seed_alone() -> None:
    target = Target("y", "regression", "", np.ones(90, bool), np.arange(90.0), np.array([]))
    first, again, other = (hold_out(target, 0.3, np.random.default_rng(s)) for s in (1, 1, 2))
    assert first.sum() == 27
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_large_tables_are_drawn_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    numbers = np.random.default_rng(0).normal(size=200)
    rows = [f"{a:.4g},{'uvw'[k % 3]},{'yn'[int(a > 0)]}" for k, a in enumerate(numbers)]
    path.write_text("a,b,y\n" + "\n".join(rows) + "\n", "utf-8")
    monkeypatch.setattr(_table_training, "MOST_VALUES", 300)  # 150 rows of 2 columns
    found = train_table(path, "y", members=1, seed=1).record
    assert found["rows"]["training"] + found["rows"]["held_out"] == 150
    assert 20 < found["rows"]["held_out"] < 40
    assert "drawn at random" in " ".join(found["notes"])
    monkeypatch.setattr(_table_training, "MOST_INPUTS", 600)
    found = train_table(path, "y", members=1, seed=1).record
    inputs = found["settings"]["used"]["inputs after preprocessing"]
    assert found["rows"]["training"] == 600 // inputs
    assert found["rows"]["held_out"] > 20


def test_the_share_of_the_farthest_values() -> None:
    """Of 1,000 values the ten at 100 have a variance of .99 * 100**2 / 100 beside that of noise."""
    values = np.random.default_rng(0).standard_normal(1000)
    assert 0.06 < far_share(values) < 0.11
    values[:10] = 100.0
    assert far_share(values) == pytest.approx(0.99**2 / (0.99 + 0.01), rel=0.02)
    assert far_share(values[:199]) == 0.0
