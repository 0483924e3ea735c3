"""Predicted trajectories: hand-made steps, simulated networks, refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from selfnorm.errors import DomainError
from selfnorm.theory import Layer, activation, alpha_dropout_affine, fixed_point, moments, predict
from selfnorm.theory import solve as solve_selu


def test_mean_field_step_by_step() -> None:
    layers = [
        Layer("gelu", weight_sumsq=1.4, bias_var=0.1),
        Layer(activation("elu", alpha=0.7), weight_sum=0.3, weight_sumsq=0.9),
    ]
    path = predict(layers, 0.2, 1.5)
    one = moments("gelu", 0.0, 1.4 * (1.5 + 0.04) + 0.1)
    y, x = 0.3 * one.mean, 0.9 * (one.var + one.mean**2)
    two = moments(activation("elu", alpha=0.7), y, x)
    np.testing.assert_allclose(path.mean, [one.mean, two.mean], rtol=1e-14)
    np.testing.assert_allclose(path.var, [one.var, two.var], rtol=1e-14)
    np.testing.assert_allclose(path.preactivation_mean, [0.0, y], rtol=1e-14)
    np.testing.assert_allclose(path.preactivation_var, [1.4 * 1.54 + 0.1, x], rtol=1e-14)


def test_per_unit_is_the_iterated_moment_map() -> None:
    tau, omega = 1.05, 0.08
    layers = [Layer("selu", weight_sum=omega, weight_sumsq=tau)] * 200
    path = predict(layers, 0.1, 1.5, form="per_unit")
    point = fixed_point("selu", weight_sum=omega, weight_sumsq=tau)
    assert path.mean[-1] == pytest.approx(point.mean, abs=1e-12)
    assert path.var[-1] == pytest.approx(point.var, rel=1e-12)
    first = moments("selu", 0.1 * omega, 1.5 * tau)
    assert (path.mean[0], path.var[0]) == (first.mean, first.var)


def test_mean_field_limits_of_selu() -> None:
    """With i.i.d. weights E x^2 propagates: gain 3/4 (tau 9/16) settles at E x^2 = 0.040949."""
    path = predict([Layer("selu", weight_sumsq=9.0 / 16.0)] * 400, 0.0, 1.0)
    assert path.mean[-1] ** 2 + path.var[-1] == pytest.approx(0.040949, abs=6e-7)
    # PyTorch's default initialisation has tau = 1/3, He's has 2: outside (0.4768, 1.8116).
    assert predict([Layer("selu", weight_sumsq=1 / 3)] * 100, 0.0, 1.0).var[-1] < 1e-15
    assert predict([Layer("selu", weight_sumsq=2.0)] * 300, 0.0, 1.0).var[-1] > 1e6
    # He initialisation keeps E x^2 of ReLU networks: var x (1 - 1/pi) with E x^2 = 1.
    path = predict([Layer("relu", weight_sumsq=2.0)] * 50, 0.0, 1.0)
    assert path.var[-1] == pytest.approx(1.0 - 1.0 / math.pi, rel=1e-12)


def test_batch_norm_resets_the_preactivation() -> None:
    path = predict([Layer("relu", weight_sumsq=7.0, batch_norm=True)] * 2, 3.0, 9.0)
    assert path.preactivation_mean.tolist() == [0.0, 0.0]
    assert path.preactivation_var.tolist() == [1.0, 1.0]
    assert path.var[1] == moments("relu", 0.0, 1.0).var


def test_alpha_dropout_keeps_the_fixed_point() -> None:
    target = solve_selu(0.0, 0.4)
    f = activation("selu", alpha=target.alpha, scale=target.scale)
    path = predict([Layer(f, dropout=0.2)] * 30, 0.0, 0.4)
    np.testing.assert_allclose(path.mean, 0.0, atol=1e-9)
    np.testing.assert_allclose(path.var, 0.4, rtol=1e-9)


def test_alpha_dropout_away_from_the_fixed_point() -> None:
    path = predict([Layer("selu", dropout=0.3)], 0.0, 2.0)
    m, v, _ = moments("selu", 0.0, 2.0)
    a, b = alpha_dropout_affine(0.3)
    s = activation("selu").saturation
    assert path.mean[0] == pytest.approx(a * (0.7 * m + 0.3 * s) + b, rel=1e-9)
    second = 0.7 * (v + m * m) + 0.3 * s * s - (0.7 * m + 0.3 * s) ** 2
    assert path.var[0] == pytest.approx(a * a * second, rel=1e-9)
    gone = predict([Layer("selu", dropout=1.0)], 0.0, 2.0)
    assert gone.mean[0] == pytest.approx(0.0, abs=1e-9)
    assert gone.var[0] == 0.0


def test_other_activations_get_ordinary_dropout() -> None:
    path = predict([Layer("relu", dropout=0.25, weight_sumsq=2.0)], 0.0, 1.0)
    m, v, _ = moments("relu", 0.0, 2.0)
    assert path.mean[0] == m
    assert path.var[0] == pytest.approx((v + m * m) / 0.75 - m * m, rel=1e-14)
    gone = predict([Layer("relu", dropout=1.0)], 0.0, 1.0)
    assert (gone.mean[0], gone.var[0]) == (0.0, 0.0)


def simulated(name: str, tau: float, p: float, depth: int) -> np.ndarray:
    """Variance by layer, pooled over 400 inputs, 400 units and 4 networks; input variance 2.5."""
    rng = np.random.Generator(np.random.PCG64(7))
    n = 400
    f = activation(name)
    a, b, dropped = (
        (*alpha_dropout_affine(p), f.saturation) if name == "selu" else (1 / (1 - p), 0, 0)
    )
    pooled = np.zeros(depth)
    for _ in range(4):
        x = math.sqrt(2.5) * rng.standard_normal((n, n))
        for layer in range(depth):
            w = rng.standard_normal((n, n)) * math.sqrt(tau / n)
            x = a * np.where(rng.random((n, n)) >= p, f(x @ w), dropped) + b
            pooled[layer] += x.var() / 4
    return pooled


def test_a_simulated_selu_network_follows_the_curve() -> None:
    """The bound is six standard deviations and the bias of width 400.

    Over 35 seeds the relative deviation had a bias of at most 0.22 and a standard deviation of at
    most 0.44 per cent in each layer: a false alarm has probability below 1e-7. Leaving dropout
    out shifts the first layer by 13 per cent and the last by 41.
    """
    expected = predict([Layer("selu", weight_sumsq=1.2, dropout=0.1)] * 8, 0.0, 2.5).var
    np.testing.assert_allclose(simulated("selu", 1.2, 0.1, 8), expected, rtol=0.03)


def test_a_simulated_relu_network_follows_the_curve() -> None:
    """Here the mean counts: left out, it lowers the last layer by 64 per cent, dropout by 37.

    Over 67 seeds the relative standard deviation was 0.4, 1.5, 2.8 and 4.7 per cent by layer and
    the bias at most 0.5: a deviation beyond 30 per cent has probability below 1e-8.
    """
    expected = predict([Layer("relu", weight_sumsq=2.0, dropout=0.1)] * 4, 0.0, 2.5).var
    np.testing.assert_allclose(simulated("relu", 2.0, 0.1, 4), expected, rtol=0.3)


def test_overflow_is_infinite_and_underflow_zero() -> None:
    path = predict([Layer("relu", weight_sumsq=1e120)] * 5, 0.0, 1.0)
    assert np.isfinite(path.var[:2]).all()
    assert np.isinf(path.var[3:]).all()
    assert np.isnan(path.mean[3:]).all()
    path = predict([Layer("relu", weight_sumsq=1e-120)] * 5, 0.0, 1.0)
    assert path.var[-1] == 0.0
    # Batch normalisation restores even what has overflowed.
    path = predict([Layer("relu", weight_sumsq=1e305), Layer("relu", batch_norm=True)], 0.0, 1e3)
    assert path.var[-1] == moments("relu", 0.0, 1.0).var


def test_no_layers_is_an_empty_trajectory() -> None:
    assert predict([], 0.0, 1.0).var.shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": None}, r"layers must be a sequence of Layer.*layers=None; write \[Layer\("),
        ({"layers": ["selu"]}, r"layers must contain Layer objects, however: 'selu' came"),
        ({"layers": [Layer("selo")]}, r"activation must be a known name"),
        ({"layers": [Layer("selu", weight_sumsq=-1.0)]}, r"weight_sumsq must be at least 0"),
        ({"layers": [Layer("selu", bias_var=-1.0)]}, r"bias_var must be at least 0"),
        ({"layers": [Layer("selu", bias_var=math.nan)]}, r"bias_var must be finite"),
        ({"layers": [Layer("selu", weight_sum=1j)]}, r"weight_sum must be real"),
        ({"layers": [Layer("selu", dropout=2.0)]}, r"dropout must be between 0 and 1"),
        ({"layers": [], "var": -1.0}, r"var must be at least 0, however: var=-1.0"),
        ({"layers": [], "mean": math.inf}, r"mean must be finite"),
        (
            {"layers": [], "form": "exact"},
            r"form must be 'mean_field' or 'per_unit', however: form",
        ),
        (
            {"layers": [Layer(activation("selu", alpha=1.0, scale=0.5), dropout=0.1)]},
            r"keeps the moments of a fixed point, however: selu with alpha=1, scale=0.5 has none",
        ),
    ],
)
def test_refusals(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        predict(**{"mean": 0.0, "var": 1.0, **arguments})
