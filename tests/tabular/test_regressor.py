"""SNNRegressor as its users meet it."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, make_regression
from sklearn.metrics import mean_pinball_loss

from selfnorm.errors import DomainError
from selfnorm.tabular import SNNRegressor

FEW: dict[str, Any] = {"hidden_layer_sizes": (16, 12), "n_members": 3, "max_iter": 15}


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    X, y = make_regression(200, 5, noise=5.0, random_state=0)
    return X, y


def fitted(X: Any, y: Any, **options: Any) -> SNNRegressor:
    return SNNRegressor(**{**FEW, "random_state": 0, **options}).fit(X, y)


def test_defaults_beat_a_linear_model_on_diabetes_nearly() -> None:
    X, y = load_diabetes(return_X_y=True)
    model = SNNRegressor(random_state=0).fit(X[:300], y[:300])
    assert model.score(X[300:], y[300:]) > 0.35  # least squares: 0.50, the mean: 0


def test_units_of_the_target_do_not_matter(data: Any) -> None:
    X, y = data
    plain, scaled = fitted(X, y), fitted(X, 1e6 * y - 3e8)
    np.testing.assert_allclose(
        (scaled.predict(X) + 3e8) / 1e6, plain.predict(X), atol=1e-3 * y.std()
    )
    assert plain.target_mean_ == pytest.approx(y.mean())
    assert plain.target_scale_ == pytest.approx(y.std())
    assert plain.predict(X).dtype == np.float64


def test_several_targets(data: Any) -> None:
    X, y = data
    Y = np.column_stack([y, 1000 * X[:, 1] ** 2, np.full(len(y), 7.0)])
    model = fitted(X, Y, max_iter=60)
    found = model.predict(X)
    assert found.shape == (200, 3)
    assert model.n_outputs_ == 3
    error = np.abs(found - Y).mean(0)
    assert (error[:2] < 0.35 * Y.std(0)[:2]).all()
    assert (found[:, 2] == 7.0).all()
    assert model.predict_members(X).shape == (3, 200, 3)


@pytest.mark.parametrize(
    "options", [{}, {"calibrate": True}, {"linear": False}, {"linear": True, "loss": "huber"}]
)
def test_predictions_are_the_mean_of_the_networks(data: Any, options: dict[str, Any]) -> None:
    X, y = data
    y = y + 30.0 * np.sin(3.0 * X[:, 0])  # something for the networks
    model = fitted(X, y, **options)
    rows = torch.from_numpy(model.preprocessor_.transform(X))
    with torch.no_grad():
        each = torch.cat([network(rows) for network in model.networks_], 1).numpy()
        module = model.to_torch()(rows).numpy()
    each = each * model.residual_scale_ * model.shrinkage_
    if options.get("linear") is False:
        assert model.linear_ is None
        assert model.residual_scale_ == 1.0
    else:  # the columns alone, not their piecewise linear features
        assert model.linear_.shape == (5, 1)
        assert model.preprocessor_.width > 5
        each += rows.numpy()[:, :5] @ model.linear_
        assert 0.05 < model.residual_scale_ < 0.5
    each = each * model.target_scale_ + model.target_mean_
    # Where networks have much to say, the factor that held-out rows give may well be 1.
    assert 0.5 < model.shrinkage_[0] <= 1.0
    assert options.get("calibrate") or model.shrinkage_[0] == 1.0
    mean, std = model.predict(X, return_std=True)
    np.testing.assert_allclose(mean, each.mean(1), atol=1e-3)
    np.testing.assert_allclose(std, each.std(1), atol=1e-3)
    np.testing.assert_allclose(mean, module[:, 0], atol=1e-3)
    np.testing.assert_allclose(model.predict_members(X), each.T, atol=1e-3)
    assert std.max() > 0.1
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(X), mean)


@pytest.mark.parametrize("options", [{}, {"quantiles": (0.1, 0.5)}, {"calibrate": True}])
def test_a_constant_target_is_predicted_as_it_is(data: Any, options: dict[str, Any]) -> None:
    X, y = data
    model = fitted(X, np.full(len(y), 0.3), max_iter=2, **options)
    assert (model.predict(X) == 0.3).all()


def test_one_member_does_not_tell_how_far_members_disagree(data: Any) -> None:
    model = fitted(*data, n_members=1, max_iter=2)
    with pytest.raises(DomainError, match="takes two of them, however: return_std=True"):
        model.predict(data[0], return_std=True)


def test_quantiles_cover_what_they_should() -> None:
    # y = x + (1 + x) e with exponential e: the q-quantile is x - (1 + x) log(1 - q). 1,000 new rows
    # put 3 standard errors of a share at 0.047 around it; the rest is room for the network.
    generator = np.random.default_rng(0)
    X = generator.uniform(size=(2000, 1))
    y = X[:, 0] + (1.0 + X[:, 0]) * generator.exponential(size=2000)
    levels = (0.9, 0.1, 0.5)
    model = fitted(X[:1000], y[:1000], quantiles=levels, max_iter=40)
    assert model.quantiles_ == (0.1, 0.5, 0.9)
    found = model.predict(X[1000:], quantile=levels)
    assert found.shape == (1000, 3)
    for column, q in zip(found.T, levels, strict=True):
        assert (y[1000:] < column).mean() == pytest.approx(q, abs=0.08)
        truth = X[1000:, 0] - (1.0 + X[1000:, 0]) * np.log1p(-q)
        best = mean_pinball_loss(y[1000:], truth, alpha=q)
        assert mean_pinball_loss(y[1000:], column, alpha=q) < 1.1 * best
        np.testing.assert_array_equal(model.predict(X[1000:], quantile=q), column)
    np.testing.assert_array_equal(model.predict(X[1000:]), found[:, 2])


def test_quantiles_never_cross(data: Any) -> None:
    X, y = data
    levels = tuple(np.linspace(0.05, 0.95, 19))
    Y = np.column_stack([y, -2 * y + 50 * X[:, 0]])
    model = fitted(X, Y, quantiles=levels, max_iter=1)  # hardly trained: they cross inside
    found = model.predict(X, quantile=levels)
    assert found.shape == (200, 2, 19)
    assert (np.diff(found, axis=-1) >= 0).all()
    raw = model._outputs(X).mean(0).reshape(200, 2, 19)
    assert (np.diff(raw, axis=-1) < 0).any()
    with torch.no_grad():
        module = model.to_torch()(torch.from_numpy(model.preprocessor_.transform(X)))
    np.testing.assert_allclose(module.reshape(200, 2, 19), found, atol=1e-3)
    with pytest.raises(ValueError, match="quantile must be one that was trained"):
        model.predict(X, quantile=0.123)
    with pytest.raises(ValueError, match="quantile must be one that was trained"):
        fitted(X, y).predict(X, quantile=0.5)


def test_losses_resist_outliers_as_they_should() -> None:
    # Every tenth target is 50 too high: the mean rises by 5, the median hardly.
    generator = np.random.default_rng(0)
    X = generator.normal(size=(600, 2))
    y = generator.normal(size=600)
    y[::10] += 50.0
    options: dict[str, Any] = {"max_iter": 30, "learning_rate_init": 3e-3}
    level = {
        loss: float(np.mean(fitted(X, y, loss=loss, **options).predict(X)))
        for loss in ("squared", "huber", "pinball")
    }
    assert level["squared"] == pytest.approx(5.0, abs=1.0)
    assert level["pinball"] == pytest.approx(0.14, abs=0.5)  # the median of the mixture
    assert level["pinball"] < level["huber"] < level["squared"]


@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"quantiles": (0.2, 0.7)}])
def test_a_weight_is_a_number_of_copies(data: Any, options: dict[str, Any]) -> None:
    X, y = data
    Y = np.column_stack([y, X[:, 0]])
    times = np.random.default_rng(0).integers(0, 4, len(y))
    rows = np.random.default_rng(1).permutation(np.repeat(np.arange(len(y)), times))
    copies = fitted(X[rows], Y[rows], **options)
    weighted = SNNRegressor(**FEW, random_state=0, **options).fit(X, Y, sample_weight=times)
    np.testing.assert_array_equal(copies.predict(X), weighted.predict(X))


def test_a_stream_is_learnt(data: Any) -> None:
    X, y = make_regression(2000, 5, noise=5.0, random_state=0)
    model = SNNRegressor(hidden_layer_sizes=(16, 16), n_members=2, random_state=0)
    for start in range(0, 1800, 200):
        model.partial_fit(X[start : start + 200], y[start : start + 200])
    assert model.score(X[1800:], y[1800:]) > 0.9
    with pytest.raises(ValueError, match="y must have 1 columns"):
        model.partial_fit(X, np.column_stack([y, y]))


def test_early_stopping_and_warm_start(data: Any) -> None:
    X, y = data
    model = fitted(X, y, early_stopping=True, max_iter=200, n_iter_no_change=3)
    assert model.n_iter_ < 200
    assert model.best_validation_score_ > model.validation_scores_[0]
    going_on = fitted(X, y, warm_start=True)
    mean = going_on.target_mean_
    loss = going_on.loss_
    going_on.fit(X, y + 1.0)
    assert going_on.target_mean_ is mean  # the scale of the targets stays
    assert going_on.loss_ < loss
