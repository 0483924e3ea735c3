"""Merging alike rows, and dealing rows to parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfnorm.tabular import _rows
from selfnorm.tabular._rows import merge, parts


def table(seed: int, count: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    X = generator.integers(-1, 2, (count, 2)).astype(np.float32)  # few values: many alike
    return X, generator.integers(0, 2, count), generator.integers(1, 5, count).astype(float)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_weights_are_copies_in_any_order(seed: int) -> None:
    X, y, weights = table(seed)
    copies = np.repeat(np.arange(len(X)), weights.astype(int))
    copies = np.random.default_rng(seed).permutation(copies)
    one, other = merge(X, y, weights), merge(X[copies], y[copies], None)
    np.testing.assert_array_equal(one.X, other.X)
    np.testing.assert_array_equal(one.y, other.y)
    np.testing.assert_array_equal(one.weights, other.weights)
    # The other side: a dict of tuples.
    totals: dict[tuple[float, ...], float] = {}
    for row, label, weight in zip(X.tolist(), y.tolist(), weights.tolist(), strict=True):
        totals[(*row, label)] = totals.get((*row, label), 0.0) + weight
    assert one.weights is not None
    keys = [(*row, label) for row, label in zip(one.X.tolist(), one.y.tolist(), strict=True)]
    assert dict(zip(keys, one.weights.tolist(), strict=True)) == totals


def test_both_zeros_are_one() -> None:
    # Many other rows, so that equal ones stand together by their hash and not by chance.
    X = np.arange(2000, dtype=np.float32).reshape(1000, 2)
    X[:, 0] = 0.0
    twice = np.concatenate([X, X * np.array([-1.0, 1.0], dtype=np.float32)])
    assert np.signbit(twice[1000, 0])
    assert len(merge(twice, np.zeros(2000), None)) == 1000


def test_rows_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rows, "row_hashes", lambda matrix: np.zeros(len(matrix), dtype=np.uint64))
    X = np.arange(6, dtype=np.float32).reshape(3, 2)
    rows = merge(X, np.array([0, 0, 0]), np.array([1.0, 2.0, 3.0]))
    assert sorted(rows.X[:, 0].tolist()) == [0.0, 2.0, 4.0]


def test_the_order_is_that_of_X_alone() -> None:
    X = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    y = np.arange(30.0)
    np.testing.assert_array_equal(merge(X, y, None).X, merge(X, 5 - 1e6 * y, None).X)
    assert not np.array_equal(merge(X, y, None).X, X)


def test_several_targets_and_equal_weights() -> None:
    X = np.zeros((4, 1), dtype=np.float32)
    y = np.array([[1.0, 2.0], [1.0, 3.0], [1.0, 2.0], [1.0, 3.0]])
    rows = merge(X, y, None)
    assert sorted(rows.y.tolist()) == [[1.0, 2.0], [1.0, 3.0]]
    assert rows.weights is None  # 2 and 2 weigh the same


@pytest.mark.parametrize("count", [2, 3, 7])
def test_parts_are_even_in_each_class(count: int) -> None:
    y = np.random.default_rng(1).permutation(np.repeat([0, 1, 2], [50, 21, 6]))
    found = parts(y, count, 3, classes=True)
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(77))
    for label, number in ((0, 50), (1, 21), (2, 6)):
        numbers = [int((y[part] == label).sum()) for part in found]
        assert max(numbers) - min(numbers) <= 1
        assert sum(numbers) == number
    assert not np.array_equal(found[0], parts(y, count, 4, classes=True)[0])
