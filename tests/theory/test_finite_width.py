"""Predictions for networks as they are: residual sums, biases, real weights, finite width."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad

from selfnorm.errors import DomainError
from selfnorm.theory import Layer, activation, alpha_dropout_affine, moments, predict

N = 200
NETS = 1500

NETWORKS: dict[str, tuple[str, list[Layer]]] = {
    "selu": ("mean_field", [Layer("selu", dropout=0.1)] * 4),
    "residual": ("mean_field", [Layer("selu", dropout=0.1), *[Layer("elu", skip=0.6)] * 3]),
    "mixed": (
        "mean_field",
        [
            Layer("gelu", weight_sumsq=1.8, dropout=0.3, bias_var=0.1, bias=0.2),
            Layer("tanh", weight_sum=0.5),
            Layer("relu", weight_sumsq=1.9),
        ],
    ),
    "per_unit": (
        "per_unit",
        [Layer("selu"), Layer("selu", weight_sum=0.3, weight_sumsq=1.2), Layer("relu", bias=0.3)],
    ),
}


def random_weights(rng: np.random.Generator, layer: Layer, form: str) -> np.ndarray:
    w = rng.standard_normal((N, N))
    if form == "per_unit":  # sums exactly as given
        w -= w.mean(axis=1, keepdims=True)
        spread = layer.weight_sumsq - layer.weight_sum**2 / N
        w *= np.sqrt(spread / np.square(w).sum(axis=1, keepdims=True))
    else:
        w *= math.sqrt(layer.weight_sumsq / N)
    return w + layer.weight_sum / N


def forward(rng: np.random.Generator, layer: Layer, w: np.ndarray, h: np.ndarray) -> np.ndarray:
    f = activation(layer.activation)
    g = f(w @ h + layer.bias + math.sqrt(layer.bias_var) * rng.standard_normal(len(w)))
    kept = rng.random(len(w)) >= layer.dropout
    if layer.dropout and f.name == "selu":
        a, b = alpha_dropout_affine(layer.dropout)
        g = a * np.where(kept, g, f.saturation) + b
    elif layer.dropout:
        g = np.where(kept, g, 0.0) / (1.0 - layer.dropout)
    return math.sqrt(1.0 - layer.skip**2) * g + (layer.skip * h if layer.skip else 0.0)


def standardised(rng: np.random.Generator, mean: float, var: float) -> np.ndarray:
    h = rng.standard_normal(N)
    return (h - h.mean()) / h.std() * math.sqrt(var) + mean


@pytest.mark.parametrize("name", NETWORKS)
def test_simulated_networks(name: str) -> None:
    """1,500 random networks of width 200, one input each: 26 to 32 figures in each test.

    Centre: z-tests at 6e-7 (5 sigma) with an allowance of 0.25 standard errors of one network for
    the bias of order 1/width. Spread: the sample standard deviation of 1,500 nearly normal values
    has a relative error of 1.8 % (a little more with heavy tails); 12 % is beyond 5 sigma of it,
    so that a test fails by chance once in 10^5 times. Without what is handed on from layer to layer
    the last spreads would be 15 to 30 % too small, without the fourth moments far more.
    """
    rng = np.random.default_rng(11)
    form, layers = NETWORKS[name]
    mean, var = 0.2, 1.3
    path = predict(layers, mean, var, form=form, width=N)
    assert path.mean_se is not None
    assert path.var_se is not None
    found = np.empty((NETS, len(layers), 2))
    for net in range(NETS):
        h = standardised(rng, mean, var)
        for k, layer in enumerate(layers):
            h = forward(rng, layer, random_weights(rng, layer, form), h)
            found[net, k] = h.mean(), h.var()
    for k, (centre, se) in enumerate(((path.mean, path.mean_se), (path.var, path.var_se))):
        error = np.abs(found[:, :, k].mean(axis=0) - centre)
        assert (error < (5.0 / math.sqrt(NETS) + 0.25) * se).all()
        np.testing.assert_allclose(found[:, :, k].std(axis=0), se, rtol=0.12)


def test_real_weights_with_random_inputs() -> None:
    """Two fixed layers read row by row, 4,000 inputs; allowances as above, and 12 % for the spread.

    The rows differ widely in their sums; the pooled formula would be off by a third.
    """
    rng = np.random.default_rng(12)
    weights = [
        rng.standard_normal((N, N)) * rng.uniform(0.5, 1.5, (N, 1)) / math.sqrt(N)
        + rng.normal(size=(N, 1)) / N
        for _ in range(2)
    ]
    biases = [0.5 * rng.standard_normal(N), None]
    layers = [Layer.from_weight(w, b, "selu") for w, b in zip(weights, biases, strict=True)]
    mean, var = 0.4, 0.8
    found = np.empty((4000, 2, 2))
    for i in range(len(found)):
        h = standardised(rng, mean, var)
        for k, layer in enumerate(layers):
            h = forward(rng, layer, weights[k], h)
            found[i, k] = h.mean(), h.var()
    path = predict(layers, mean, var, width=N)
    assert path.mean_se is not None
    assert path.var_se is not None
    se = np.stack([path.mean_se, path.var_se], axis=1)
    centre = np.stack([path.mean, path.var], axis=1)
    # In the second layer the units' means are those of one weight matrix, not of the average one:
    # that adds up to two standard errors of one network.
    error = np.abs(found.mean(axis=0) - centre)
    assert (error[0] < (5.0 / math.sqrt(4000) + 0.2) * se[0]).all()
    assert (error[1] < 2.5 * se[1]).all()
    np.testing.assert_allclose(found[:, 0].std(axis=0), se[0], rtol=0.12)


def test_real_weights_by_hand() -> None:
    weight = np.array([[0.6, -0.8, 0.2], [0.5, 0.5, 0.1]])
    bias = np.array([0.3, -0.7])
    layer = Layer.from_weight(weight, bias, "tanh")
    path = predict([layer], 0.4, 1.7, width=5)
    y, x = weight.sum(axis=1) * 0.4 + bias, np.square(weight).sum(axis=1) * 1.7
    m, v, _ = moments("tanh", y, x)
    assert path.mean[0] == pytest.approx(m.mean(), rel=1e-14)
    assert path.var[0] == pytest.approx(v.mean() + m.var(), rel=1e-13)
    assert path.preactivation_mean[0] == pytest.approx(y.mean(), rel=1e-14)
    assert path.preactivation_var[0] == pytest.approx(x.mean() + y.var(), rel=1e-14)
    # As many units as rows, whatever width says; within-row variances only.
    assert path.mean_se is not None
    assert path.mean_se[0] == pytest.approx(math.sqrt(v.mean() / 2.0), rel=1e-9)


def test_residual_sums_keep_the_variance() -> None:
    """sqrt(1-s^2) branch + s input, by hand; a standard SELU branch keeps (0, 1)."""
    path = predict([Layer("elu", skip=0.7)], 0.3, 2.0)
    m, v, _ = moments("elu", 0.0, 2.09)
    assert path.mean[0] == pytest.approx(math.sqrt(0.51) * m + 0.7 * 0.3, rel=1e-14)
    assert path.var[0] == pytest.approx(0.51 * v + 0.49 * 2.0, rel=1e-14)
    deep = predict([Layer("selu", skip=0.9)] * 300, 0.0, 1.0)
    assert deep.var[-1] == pytest.approx(1.0, rel=1e-12)
    identity = predict([Layer("relu", skip=1.0)], 0.3, 2.0, width=50)
    assert (identity.mean[0], identity.var[0]) == (0.3, 2.0)
    assert identity.var_se is not None
    assert identity.var_se[0] == 0.0


def test_the_error_falls_with_width() -> None:
    layers = [Layer("selu", dropout=0.05)] * 5
    narrow, wide = (predict(layers, 0.0, 1.0, width=n) for n in (50, 5000))
    assert narrow.var_se is not None
    assert wide.var_se is not None
    np.testing.assert_allclose(narrow.var_se, 10.0 * wide.var_se, rtol=1e-12)
    each = predict(layers, 0.0, 1.0, width=[50] * 5)
    np.testing.assert_array_equal(each.var_se, narrow.var_se)
    plain = predict(layers, 0.0, 1.0)
    assert plain.mean_se is None
    assert plain.var_se is None


def test_first_layer_by_hand() -> None:
    """se of a sample mean and variance: sqrt(v/n), sqrt((mu4 - v^2)/n); for ReLU in closed form."""
    path = predict([Layer("relu", weight_sumsq=2.0)], 0.0, 0.5, width=40)
    raw = np.array([1.0 / math.sqrt(2 * math.pi), 0.5, 2.0 / math.sqrt(2 * math.pi), 1.5])
    v = raw[1] - raw[0] ** 2
    fourth = raw[3] - 4 * raw[0] * raw[2] + 6 * raw[0] ** 2 * raw[1] - 3 * raw[0] ** 4
    assert path.mean_se is not None
    assert path.var_se is not None
    assert path.mean_se[0] == pytest.approx(math.sqrt(v / 40), rel=1e-10)
    assert path.var_se[0] == pytest.approx(math.sqrt((fourth - v * v) / 40), rel=1e-10)


RNG = np.random.default_rng(13)
SECOND = [
    ("mean_field", Layer("selu", dropout=0.3, weight_sumsq=0.8)),
    ("mean_field", Layer("gelu", dropout=0.2, weight_sum=0.4, bias=0.3, bias_var=0.2)),
    ("mean_field", Layer("elu", dropout=0.2, skip=0.6, weight_sumsq=1.4)),
    ("per_unit", Layer("selu", dropout=0.1, weight_sum=0.7, weight_sumsq=1.3, skip=0.3)),
    (
        "mean_field",
        Layer.from_weight(
            RNG.normal(0.1, 0.5, (N, 7)), RNG.standard_normal(N), "selu", dropout=0.2
        ),
    ),
]


@pytest.mark.parametrize(("form", "second"), SECOND)
def test_two_layers_by_quadrature_and_differences(form: str, second: Layer) -> None:
    """Covariance J S J^T + what one layer adds, S by QUADPACK, J by central differences."""
    first = Layer("softplus", dropout=0.25, weight_sumsq=1.6)
    mean, var, p = 0.6, 0.9, 0.25
    start = predict([first], mean, var, form=form, width=N)
    x = 1.6 * (var + (mean**2 if form == "mean_field" else 0.0))

    def central(k: int) -> float:
        """E (d f/(1-p) - m)^k over z and the mask d."""
        m = float(start.mean[0])

        def integrand(w: float) -> float:
            kept = np.logaddexp(0.0, math.sqrt(x) * w) / (1.0 - p) - m
            return float(((1.0 - p) * kept**k + p * (-m) ** k) * math.exp(-0.5 * w * w))

        return quad(integrand, -12.0, 12.0, points=[-3.0, 3.0])[0] / math.sqrt(2.0 * math.pi)

    v, third, fourth = central(2), central(3), central(4)
    s = np.array([[v, third], [third, fourth - v * v]]) / N
    assert start.mean_se is not None
    assert start.var_se is not None
    assert start.mean_se[0] ** 2 == pytest.approx(s[0, 0], rel=1e-9)
    assert start.var_se[0] ** 2 == pytest.approx(s[1, 1], rel=1e-9)

    def step(m: float, v: float) -> np.ndarray:
        path = predict([second], m, v, form=form)
        return np.array([path.mean[0], path.var[0]])

    m1, v1, h = float(start.mean[0]), float(start.var[0]), 1e-5
    jacobian = np.stack(
        [step(m1 + h, v1) - step(m1 - h, v1), step(m1, v1 + h) - step(m1, v1 - h)], axis=1
    ) / (2.0 * h)
    alone = predict([second], m1, v1, form=form, width=N)
    both = predict([first, second], mean, var, form=form, width=N)
    passed_on = np.diag(jacobian @ s @ jacobian.T)
    for k, (one, two) in enumerate(((alone.mean_se, both.mean_se), (alone.var_se, both.var_se))):
        assert one is not None
        assert two is not None
        assert two[1] ** 2 == pytest.approx(one[0] ** 2 + passed_on[k], rel=1e-7)


def test_dead_and_exploding_layers() -> None:
    dead = predict([Layer("relu", weight_sumsq=0.0)] * 2, 1.0, 1.0, width=10)
    assert dead.var_se is not None
    assert dead.var_se.tolist() == [0.0, 0.0]
    path = predict([Layer("relu", weight_sumsq=1e200)] * 4, 0.0, 1.0, width=10)
    assert path.var_se is not None
    assert math.isinf(path.var[-1])
    assert math.isnan(path.var_se[-1])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"skip": 1.2}, "skip must be between 0 and 1, however: skip=1.2"),
        ({"bias_var": -1.0}, "bias_var must be at least 0"),
        ({"weight_sumsq": [0.5, -0.5]}, "weight_sumsq must be at least 0"),
        (
            {"weight_sum": [0.1, 0.2], "bias": [0.1, 0.2, 0.3]},
            r"arrays of one length, one entry per unit, however: their shapes are",
        ),
        ({"weight_sumsq": np.ones((2, 2))}, "arrays of one length"),
        ({"weight_sumsq": []}, "arrays of one length"),
        ({"bias": math.nan}, "bias must be finite"),
    ],
)
def test_refused_layers(layer: dict[str, Any], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        predict([Layer("selu", **layer)], 0.0, 1.0)


def test_refusals() -> None:
    with pytest.raises(DomainError, match=r"weight must be a matrix of shape .out_features, in_"):
        Layer.from_weight(np.ones(3))
    with pytest.raises(DomainError, match=r"bias must be of shape \(2,\), one per row of the we"):
        Layer.from_weight(np.ones((2, 3)), np.ones(3))
    with pytest.raises(DomainError, match="width must be one number or a sequence of 2"):
        predict([Layer("selu")] * 2, 0.0, 1.0, width=[10])
    with pytest.raises(DomainError, match="width must be a whole number of at least 2"):
        predict([Layer("selu")] * 2, 0.0, 1.0, width=1)
    with pytest.raises(DomainError, match="a standard error is that of one input, however: bat"):
        predict([Layer("relu", batch_norm=True)], 0.0, 1.0, width=64)
