"""The ridge regression before the networks, the factor behind them, and what both are worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_predict

from selfnorm.errors import DomainError
from selfnorm.tabular import SNNRegressor
from selfnorm.tabular._linear import fit_ridge, fit_shrinkage


def gcv(X: np.ndarray, y: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
    """Return generalised cross-validation error and coefficients by the n × n hat matrix."""
    n = len(X)
    inverse = np.linalg.inv(X.T @ X / n + penalty * np.eye(X.shape[1]))
    hat = X @ inverse @ X.T / n + 1.0 / n
    errors = y - hat @ y
    return float((errors @ errors) / n / (1 - np.trace(hat) / n) ** 2), inverse @ X.T @ y / n


@pytest.mark.parametrize(("n", "p", "noise"), [(60, 12, 3.0), (400, 5, 0.1), (30, 45, 1.0)])
def test_ridge_has_the_penalty_of_least_error(n: int, p: int, noise: float) -> None:
    rng = np.random.default_rng(n)
    X = rng.normal(size=(n, p)) @ rng.normal(size=(p, p)) / p**0.5
    Y = X @ rng.normal(size=(p, 2)) + noise * rng.normal(size=(n, 2))
    X, Y = X - X.mean(0), Y - Y.mean(0)
    found = fit_ridge(X.astype(np.float32), Y)
    penalties = [a for a in np.logspace(-5, 3, 33) if np.trace(X @ X.T) / n > 0]
    for target in range(2):
        tried = [gcv(X, Y[:, target], a) for a in penalties]
        usable = [(e, c) for (e, c), a in zip(tried, penalties, strict=True) if free(X, a) > 0]
        best = min(usable, key=lambda pair: pair[0])[1]
        np.testing.assert_allclose(found[:, target], best, rtol=1e-3, atol=1e-4)


def free(X: np.ndarray, penalty: float) -> float:
    """Return the degrees of freedom that a ridge leaves."""
    values = np.linalg.svd(X, compute_uv=False) ** 2 / len(X)
    return len(X) - 1.0 - float((values / (values + penalty)).sum())


def test_weights_count_in_the_coefficients() -> None:
    # Many rows, hence next to no penalty: those of weighted least squares.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5000, 3))
    y = (X @ [1.0, -2.0, 0.5] + np.abs(X[:, 0]) * X[:, 0])[:, None]
    weights = rng.exponential(size=5000) * (1.0 + np.abs(X[:, 0]))
    root = np.sqrt(weights)[:, None]
    exact = np.linalg.lstsq(root * X, root * y)[0]
    np.testing.assert_allclose(fit_ridge(X, y, 7.0 * weights), exact, atol=0.01)
    assert np.abs(fit_ridge(X, y) - exact).max() > 0.1


def test_noise_gets_no_coefficients_to_speak_of() -> None:
    # R² of a least-squares fit to 40 columns of noise in 200 rows is 0.2 on average; GCV keeps the
    # mean instead or nearly so. Over 40 draws of it, mean power kept 0.004, largest 0.04.
    rng = np.random.default_rng(0)
    kept = []
    for _ in range(40):
        X, y = rng.normal(size=(200, 40)), rng.normal(size=(200, 1))
        kept.append(float(np.sum(fit_ridge(X, y - y.mean()) ** 2)))
    assert np.mean(kept) < 0.02


def test_ridge_of_a_single_row_and_of_a_constant_column() -> None:
    assert (fit_ridge(np.ones((1, 3)), np.zeros((1, 1))) == 0.0).all()
    X = np.column_stack([np.zeros(50), np.linspace(-1.7, 1.7, 50)])
    found = fit_ridge(X, 2.0 * X[:, 1:])
    np.testing.assert_allclose(found[:, 0], [0.0, 2.0], atol=1e-3)
    with pytest.raises(DomainError, match=r"X must have shape .* y.shape=\(50,\)"):
        fit_ridge(X, X[:, 0])


@pytest.mark.parametrize("clip", [None, 1.0])
def test_shrinkage_is_the_best_of_all_factors(clip: float | None) -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=300)
    weights = rng.uniform(0.1, 3.0, 300)
    for mixing, noise in ((0.6, 0.8), (2.0, 0.3), (-1.0, 1.0), (0.4, 0.1)):
        outputs = mixing * truth + noise * rng.normal(size=300)

        def cost(factor: float, outputs: np.ndarray = outputs) -> float:
            errors = np.abs(truth - factor * outputs)
            if clip is None:
                return float(weights @ errors**2)
            return float(weights @ np.where(errors < clip, errors**2 / 2, clip * errors - 0.5))

        grid = np.linspace(0.0, 1.0, 2001)
        best = grid[np.argmin([cost(factor) for factor in grid])]
        assert fit_shrinkage(outputs, truth, weights, clip=clip) == pytest.approx(best, abs=1e-3)
    assert fit_shrinkage(np.zeros(3), np.ones(3), clip=clip) == 1.0


def noisy(seed: int, curved: float) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(1200, 12))
    y = X[:, :4].sum(1) + curved * (np.abs(X[:, 4]) - 0.8) + 3.0 * rng.normal(size=1200)
    return X[:200], y[:200], X[200:], y[200:]


def r2(data: tuple[np.ndarray, ...], **options: Any) -> tuple[float, SNNRegressor]:
    X, y, X_new, y_new = data
    model = SNNRegressor(random_state=0, **options).fit(X, y)
    return float(model.score(X_new, y_new)), model


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_defaults_are_not_far_below_ridge_where_ridge_is_right(seed: int) -> None:
    # Noise of 9 against a signal of 4: the best possible R² is 0.31. Over 12 seeds the difference
    # to ridge is 0.002 with standard deviation 0.008, to networks alone 0.23, at least 0.12.
    X, y, X_new, y_new = data = noisy(seed, 0.0)
    found, model = r2(data)
    ridge = Ridge(len(X) * 0.3).fit(X, y)
    assert found > 0.1  # better than the mean
    assert found > r2_score(y_new, ridge.predict(X_new)) - 0.03
    assert found > r2(data, linear=False, calibrate=False)[0] + 0.05
    assert model.shrinkage_[0] < 0.3


def test_what_is_not_linear_is_left_to_the_networks() -> None:
    # Most of the signal is |x|, which no ridge finds.
    rng = np.random.default_rng(3)
    X = rng.normal(size=(1400, 5))
    y = X[:, 0] + 3.0 * np.abs(X[:, 1]) + 0.3 * rng.normal(size=1400)
    found, model = r2((X[:400], y[:400], X[400:], y[400:]))
    linear = cross_val_predict(Ridge(1.0), X, y)
    assert found > 0.9
    assert r2_score(y, linear) < 0.4
    assert model.shrinkage_[0] > 0.7


def test_which_losses_begin_with_a_ridge() -> None:
    X, y, _, _ = noisy(0, 1.0)
    small: dict[str, Any] = {"hidden_layer_sizes": (8,), "max_iter": 2, "n_members": 4}
    for options, wanted in (
        ({}, True),
        ({"loss": "huber"}, False),
        ({"quantiles": (0.2, 0.8)}, True),
        ({"loss": "huber", "linear": True}, True),
        ({"linear": False}, False),
    ):
        model = SNNRegressor(**small, **options, random_state=0).fit(X, y)
        assert (model.linear_ is not None) == wanted, options
        assert (model.shrinkage_[0] < 1.0) == ("quantiles" not in options), options
    stream = SNNRegressor(**small, random_state=0).partial_fit(X, y)
    assert stream.linear_ is None
    with pytest.raises(DomainError, match="linear must be True or False, however: linear='yes'"):
        SNNRegressor(linear="yes").fit(X, y)


def test_quantiles_beside_a_ridge_are_shifted_in_the_units_of_the_target() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 3))
    y = 50.0 * (5.0 * X[:, 0] + rng.normal(size=2000))
    model = SNNRegressor((8,), n_members=4, max_iter=2, quantiles=(0.1, 0.9)).set_params(
        random_state=0
    )
    low, high = model.fit(X[:1000], y[:1000]).predict(X[1000:], quantile=(0.1, 0.9)).T
    # A little more than without the preprocessing's smooth clip.
    assert model.residual_scale_[0] == pytest.approx(26.0**-0.5, abs=0.05)
    # After two epochs the networks' quantiles cover 0.2, the shifts do the rest; in units of the
    # residual they would be 4.5 times too large and cover 1. 4 standard errors of the share 0.8 of
    # 1,000 new rows are 0.05.
    assert np.mean((low < y[1000:]) & (y[1000:] < high)) == pytest.approx(0.8, abs=0.07)


def test_training_goes_on_beside_the_same_ridge() -> None:
    X, y, X_new, y_new = noisy(1, 2.0)
    model = SNNRegressor(random_state=0, warm_start=True).fit(X, y)
    ridge, factor = model.linear_, model.shrinkage_
    before = model.predict(X_new)
    model.partial_fit(X_new[:500], y_new[:500])
    assert model.linear_ is ridge
    assert model.shrinkage_ is factor
    assert np.abs(model.predict(X_new) - before).max() > 0.0
    model.set_params(max_iter=1).fit(X, y)
    assert model.linear_ is ridge
    assert model.score(X_new[500:], y_new[500:]) > 0.15
