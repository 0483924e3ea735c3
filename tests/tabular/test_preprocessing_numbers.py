"""Columns of numbers: scale, clip, variance, missing values."""

from __future__ import annotations

import math
import statistics
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from selfnorm.tabular._preprocessing import NumberColumn, Preprocessor


def fit_one(values: list[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    X = np.asarray(values, dtype=np.float64)[:, None]
    return Preprocessor().fit(X).transform(X)[:, 0].astype(np.float64)


def by_hand(values: list[float]) -> list[float]:
    """Return the documented formula, in plain Python."""
    middle = statistics.median(values)
    distance = statistics.median(abs(x - middle) for x in values if x != middle)
    z = [0.6744897501960817 * (x - middle) / distance for x in values]
    c = [v / math.sqrt(1 + (v / 5) ** 2) for v in z]
    mean, deviation = statistics.fmean(c), statistics.pstdev(c)
    return [(v - mean) / deviation for v in c]


@pytest.mark.parametrize(
    "values",
    [
        [0.3, -1.2, 4.5, 2.2, 17.0],
        [0.3, -1.2, 4.5, 2.2, 17.0, 1e9],
        [0.0, 0.0, 0.0, 0.0, 3.0, 5.0, 700.0],
        [1.0, 2.0, 2.0, 3.0],
        [1e300, -1e300, 1.0, 5e299],
        [1e-300, 3e-300, 4e-300],
        [5e-324, 0.0, 0.0, 5e-324, 5e-324],
    ],
)
def test_the_documented_formula(values: list[float]) -> None:
    np.testing.assert_allclose(fit_one(values), by_hand(values), rtol=1e-6, atol=1e-7)


def test_columns_have_mean_0_and_variance_1_on_the_training_rows() -> None:
    rng = np.random.default_rng(3)
    X = np.column_stack(
        [
            rng.normal(7, 0.01, 400),
            rng.lognormal(2, 3, 400),
            rng.standard_cauchy(400) * 1e6,
            rng.integers(0, 4, 400),
            rng.random(400) < 0.3,
            np.where(rng.random(400) < 0.8, 0, rng.lognormal(0, 2, 400)),
            1.7e9 + rng.random(400),
        ]
    )
    X[rng.random(X.shape) < 0.2] = np.nan
    for dtype in (np.float64, np.float32):
        out = Preprocessor().fit(X.astype(dtype)).transform(X.astype(dtype))
        assert out.dtype == np.float32
        assert out.shape == (400, 13 if dtype == np.float32 else 14)
        np.testing.assert_allclose(out.mean(axis=0, dtype=np.float64), 0, atol=1e-6)
        np.testing.assert_allclose(out.var(axis=0, dtype=np.float64), 1, rtol=1e-6)


def test_outliers_are_tamed_and_order_is_kept() -> None:
    rng = np.random.default_rng(5)
    values = np.sort(rng.standard_normal(1001))
    plain = fit_one(values)
    values[-3:] = [1e3, 1e6, sys.float_info.max]
    wild = fit_one(values)
    assert np.abs(plain).max() < 3.5
    assert np.abs(wild).max() < 5.5
    assert (np.diff(wild) >= 0).all()
    assert (np.diff(wild[:-2]) > 0).all()
    # The other rows hardly notice: z-scores would all be nearly equal.
    assert np.abs(wild[:-3] - plain[:-3]).max() < 0.1


def test_the_largest_floats_are_told_apart() -> None:
    out = fit_one([-1.7e308, 1.7e308, 0.0, 1.6e308, -1.5e308, 1.2e308])
    assert np.isfinite(out).all()
    assert (np.diff(out[[0, 4, 2, 5, 1]]) >= 0).all()
    assert out[5] - out[2] > 0.3


def test_a_column_of_many_zeros_is_scaled_by_the_others() -> None:
    rng = np.random.default_rng(6)
    others = rng.lognormal(10, 1, 100)
    out = fit_one(np.concatenate([np.zeros(900), others]))
    assert len(np.unique(out[:900])) == 1
    # The hundred others stay apart: half of them lie in the middle of what the clip leaves.
    spread = np.quantile(out[900:], [0.25, 0.75]) - out[0]
    assert spread[1] > 1.8 * spread[0] > 1.0


@pytest.mark.parametrize("n", [36, 38, 1000])
def test_rare_values_are_held_at_6(n: int) -> None:
    out = fit_one([4.0] + [2.0] * (n - 1))
    assert out.mean() == pytest.approx(0, abs=1e-6)
    assert out[0] == pytest.approx(min(6, math.sqrt(n - 1)), rel=1e-6)
    assert out.var() == pytest.approx(min(1, 36 / (n - 1)), rel=1e-5)


def test_missing_values_become_the_median_and_are_told() -> None:
    X = np.array([[1.0, 5.0], [np.nan, 6.0], [4.0, 9.0], [9.0, -3.0], [np.nan, 7.0]])
    fitted = Preprocessor().fit(X)
    assert fitted.output_names == ["x0", "x1", "x0 missing"]
    out = fitted.transform(X)
    at_median = fitted.transform([[4.0, 6.0]])[0]
    assert out[1, 0] == out[4, 0] == at_median[0]
    told, not_told = math.sqrt(0.6 / 0.4), -math.sqrt(0.4 / 0.6)
    np.testing.assert_allclose(out[:, 2], [not_told, told, not_told, not_told, told], rtol=1e-6)
    np.testing.assert_array_equal(fitted.transform([[4.0, np.nan]]), fitted.transform([[4.0, 6.0]]))


def test_columns_that_are_constant_or_missing_give_no_value() -> None:
    X = np.array(
        [[2.0, np.nan, 7.0, 0.1], [2.0, np.nan, np.nan, 0.1 + 1e-17], [2.0, np.nan, 7, 0.1]]
    )
    fitted = Preprocessor().fit(np.column_stack([X, [1.0, 2.0, 4.0]]))
    assert fitted.output_names == ["x4", "x2 missing"]
    told = fitted.transform([[8.0, 1.0, 5.0, 3.0, 2.0]])
    assert told.shape == (1, 2)
    columns = [column for column in fitted.columns if isinstance(column, NumberColumn)]
    assert [(c.scaling is None, c.flag is None) for c in columns] == [
        (True, True), (True, True), (True, False), (True, True), (False, True),
    ]  # fmt: skip


def test_few_integers_stay_numbers() -> None:
    X = np.array([[0], [1], [2], [1], [3], [0]])
    fitted = Preprocessor().fit(X)
    assert fitted.output_names == ["x0"]
    half_way = fitted.transform([[0.5]])[0, 0]
    low, high = fitted.transform([[0], [1]])[:, 0]
    assert low < half_way < high


def test_rows_do_not_depend_on_their_company() -> None:
    rng = np.random.default_rng(8)
    X = rng.standard_cauchy((70_000, 3))
    X[rng.random(X.shape) < 0.1] = np.nan
    fitted = Preprocessor().fit(X)
    out = fitted.transform(X)
    for rows in ([0], [69_999], [3, 40_000]):
        np.testing.assert_array_equal(fitted.transform(X[rows]), out[rows])
    np.testing.assert_array_equal(fitted.transform(np.asfortranarray(X)), out)
    assert np.isnan(X).any(), "the input was not overwritten"
