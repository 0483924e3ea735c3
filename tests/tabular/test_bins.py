"""Piecewise linear features: against interpolation, scaled as said, saved without a loss."""

from __future__ import annotations

import json

import numpy as np
import pytest

from selfnorm.errors import DataError, DomainError
from selfnorm.tabular._bins import Bins


def columns(rows: int = 400) -> np.ndarray:
    """Return a normal, a skewed, a four-valued, a two-valued and a constant column."""
    g = np.random.default_rng(0)
    return np.column_stack(
        [
            g.normal(2.0, 3.0, rows),
            np.exp(2.0 * g.normal(size=rows)),
            g.choice([0.0, 1.0, 5.0, 7.0], rows, p=[0.7, 0.1, 0.1, 0.1]),
            g.integers(0, 2, rows),
            np.full(rows, 3.0),
        ]
    )


def test_features_are_interpolation_between_quantiles() -> None:
    X = columns()
    bins = Bins(5).fit(X)
    assert bins.columns == [0] * 5 + [1] * 5 + [2] * 3
    out = bins.transform(X)
    for column, first, count in ((0, 0, 5), (1, 5, 5), (2, 10, 3)):
        values = X[:, column]
        edges = np.quantile(values, np.linspace(0, 1, 6)) if count == 5 else [0.0, 1.0, 5.0, 7.0]
        for k in range(count):
            t = np.interp(values, edges[k : k + 2], [0.0, 1.0])
            expected = (t - t.mean()) / max(t.std(), max(t.mean(), 1 - t.mean()) / 4.0)
            np.testing.assert_allclose(out[:, first + k], expected, atol=2e-5)


def test_features_have_mean_0_and_no_more_than_variance_1() -> None:
    X = columns(1000)
    X[:, 2] = np.arange(1000) < 3  # the third column takes a step in 3 of 1000 rows
    X[3, 2] = 2.0
    out = Bins(8).fit(X).transform(X)
    np.testing.assert_allclose(out.mean(axis=0), 0.0, atol=1e-5)
    assert (out.std(axis=0) <= 1.0 + 1e-4).all()
    assert np.abs(out).max() <= 4.0 + 1e-4
    assert out[:, -1].std() < 0.2  # tamed: z-scored it would reach 31
    # The first and the last bin of a normal column reach 4 as well.
    np.testing.assert_allclose(out[:, 1:7].std(axis=0), 1.0, atol=1e-4)


def test_beyond_the_range_features_stay() -> None:
    X = columns()
    bins = Bins(4).fit(X)
    low, high = X.min(axis=0), X.max(axis=0)
    ends = bins.transform(np.stack([low, high]))
    far = bins.transform(np.stack([low - 1e6, high + 1e6]))
    np.testing.assert_allclose(far, ends, atol=1e-5)


def test_a_state_goes_through_json() -> None:
    X = columns()
    bins = Bins(6).fit(X)
    again = Bins.from_state(json.loads(json.dumps(bins.to_state())))
    np.testing.assert_array_equal(again.transform(X), bins.transform(X))
    assert (again.count, again.width) == (6, bins.width)


def test_columns_without_a_third_value_have_no_features() -> None:
    bins = Bins(4).fit(columns()[:, 3:])
    assert bins.width == 0
    assert bins.transform(columns()[:, 3:]).shape == (400, 0)


def test_values_that_float32_cannot_tell_apart_are_one() -> None:
    X = 1e6 + np.arange(50)[:, None] * 1e-3  # 1/16 is the distance of neighbours there
    assert Bins(8).fit(X).width == 0
    X = np.arange(3)[:, None] * 1e-42  # neighbours whose slope overflows
    assert np.isfinite(Bins(8).fit(X).transform(X)).all()


def test_many_values_are_put_into_as_many_bins_as_asked_for() -> None:
    X = np.repeat(np.arange(7.0), 10)[:, None]
    assert [Bins(count).fit(X).width for count in (2, 3, 5, 6, 7, 20)] == [2, 3, 5, 6, 6, 6]


@pytest.mark.parametrize("count", [1, 0, 2.5, True, "8"])
def test_counts_are_refused(count: object) -> None:
    with pytest.raises(DomainError, match="count must be an integer of at least 2"):
        Bins(count)  # type: ignore[arg-type]


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(DataError, match="must be fitted first"):
        Bins(3).transform(columns())
    bins = Bins(3).fit(columns())
    with pytest.raises(DataError, match=r"columns of fit, at least 3, however.*\(400, 2\)"):
        bins.transform(columns()[:, :2])
    for X in (np.zeros(3), np.zeros((0, 2)), np.array([["a"]])):
        with pytest.raises(DataError, match="X must be numbers"):
            Bins(3).fit(X)
    state = bins.to_state()
    for broken in (
        {},
        state | {"version": 2},
        state | {"slope": state["slope"][:-1]},
        state | {"start": [float("nan")] * bins.width},
        state | {"count": 1},
    ):
        with pytest.raises(DataError, match="state must be what to_state returned"):
            Bins.from_state(broken)


def test_only_the_columns_asked_for_have_bins() -> None:
    """The same features as of these columns alone, at their places in the whole."""
    X = np.random.default_rng(3).standard_normal((300, 5)).astype(np.float32)
    some = Bins(4).fit(X, [4, 1])
    assert sorted(set(some.columns)) == [1, 4]
    alone = Bins(4).fit(X[:, [4, 1]])
    np.testing.assert_array_equal(some.transform(X), alone.transform(X[:, [4, 1]]))
