"""What theory predicts for a network of these weights."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from selfnorm import theory
from selfnorm.diagnosis._context import Context
from selfnorm.diagnosis._graph import Op
from selfnorm.diagnosis._weights import WeightFacts
from selfnorm.errors import SelfNormError

__all__ = ["Link", "Step", "activation_of", "domain_distance", "path", "step"]

# Theorem 1 of the paper: |mean|, |weight_sum| <= .1, var in [.8, 1.5], weight_sumsq in [.95, 1.1].
_THEOREM_1: Final = ((-0.1, 0.1), (-0.1, 0.1), (0.8, 1.5), (0.95, 1.1))
_SIGMAS: Final = 2.0
_NAMES: Final = frozenset(
    "celu elu gelu hardtanh leaky_relu mish relu selu sigmoid silu softplus softsign tanh".split()  # noqa: SIM905
)


class Link(NamedTuple):
    """An activation, the weight layer before it and the activation before that."""

    op: Op
    layer: Op | None
    previous: Op | None
    dropout: tuple[str, float]  # kind and rate between the activation before and the layer


class Step(NamedTuple):
    """Prediction of one layer from the moments that arrive at it."""

    mean: float
    var: float
    gradient_gain: float


def activation_of(op: Op) -> Any:
    """Return theory's activation of an operation, None if theory has none."""
    if op.name not in _NAMES:
        return None
    constants = {
        name: op.facts[name]
        for name in ("alpha", "scale", "negative_slope")
        if op.facts.get(name) is not None
    }
    if op.name in ("elu", "celu"):
        constants.pop("scale", None)
    return _activation(op.name, tuple(sorted(constants.items())))


@functools.lru_cache(maxsize=64)
def _activation(name: str, constants: tuple[tuple[str, float], ...]) -> Any:
    try:
        return theory.activation(name, **dict(constants))
    except SelfNormError:
        return None


def step(act: Any, facts: WeightFacts, mean: float, var: float) -> Step | None:
    """Predict one layer: each unit's pre-activation is N(omega m + b, tau v)."""
    if not (math.isfinite(mean) and math.isfinite(var) and facts.finite):
        return None
    bias = 0.0 if facts.bias is None else facts.bias
    y = facts.sums * mean + bias
    x = facts.sumsq * var
    if max(np.abs(y).max(), x.max()) > 1e100:
        return None
    means, variances, _ = theory.moments(act, y, x)
    # Of the squared gradient that reaches a unit, the share that its weights hand on is tau.
    gain = float(np.mean(np.asarray(theory.gradient_gain(act, y, x)) * facts.sumsq))
    return Step(float(means.mean()), float(variances.mean() + means.var()), gain)


def dropout_gain(kind: str, p: float, act: Any, mean: float, var: float) -> float:
    """Return the factor of squared gradients that a dropout contributes."""
    if not p:
        return 1.0
    if kind == "dropout":
        return 1.0 / (1.0 - p) if p < 1.0 else math.nan
    saturation = getattr(act, "saturation", None)
    if saturation is None or p >= 1.0:
        return math.nan
    # a^2 q of the affine map that restores mean and variance after dropping.
    return float(var / (p * (saturation - mean) ** 2 + var))


def path(
    context: Context, links: Sequence[Link], mean: float, var: float
) -> list[tuple[float, float, float]] | None:
    """Predict a plain chain from its input alone: mean, variance, standard error of variance."""
    layers, widths = [], []
    for k, link in enumerate(links):
        act = activation_of(link.op)
        facts = context.weights(link.layer) if link.layer is not None else None
        if act is None or facts is None or not facts.finite or facts.units < 2:
            return None
        if k and link.previous is not links[k - 1].op:
            return None
        if k and link.dropout[0] == "dropout" and act.name == "selu" and link.dropout[1]:
            return None  # theory's Layer knows alpha dropout after selu
        after = links[k + 1].dropout[1] if k + 1 < len(links) else 0.0
        bias = 0.0 if facts.bias is None else facts.bias
        layers.append(theory.Layer(act, facts.sums, facts.sumsq, bias=bias, dropout=after))
        widths.append((facts.tau, facts.units))
    if not layers:
        return None
    try:
        whole = theory.predict(layers, mean, var)
        # Of each layer's output before its dropout: one plain step from what arrives there.
        states = [(mean, var), *zip(whole.mean[:-1], whole.var[:-1], strict=True)]
        outputs = [
            _one_step(layer, float(m), float(v))
            for layer, (m, v) in zip(layers, states, strict=True)
        ]
        if any(one is None for one in outputs):
            return None
        errors = _errors(layers, widths, mean, var)
    except SelfNormError:
        return None
    return [(*one, error) for one, error in zip(outputs, errors, strict=True) if one is not None]


def _one_step(layer: theory.Layer, mean: float, var: float) -> tuple[float, float] | None:
    if not (math.isfinite(mean) and math.isfinite(var)):
        return None
    y, x = layer.weight_sum * mean + layer.bias, layer.weight_sumsq * var
    means, variances, _ = theory.moments(layer.activation, y, x)
    return float(np.mean(means)), float(np.mean(variances) + np.var(means))


def _errors(
    layers: Sequence[theory.Layer], widths: Sequence[tuple[float, int]], mean: float, var: float
) -> list[float]:
    """Return standard errors by depth, of random rows of these sums of squares."""
    simple = [
        theory.Layer(layer.activation, weight_sumsq=tau, dropout=layer.dropout)
        for layer, (tau, _) in zip(layers, widths, strict=True)
    ]
    try:
        found = theory.predict(simple, mean, max(var, 1e-12), width=[n for _, n in widths])
    except SelfNormError:
        return [math.nan] * len(layers)
    assert found.var_se is not None
    return [float(one) for one in found.var_se]


def band(var: float, error: float) -> tuple[float, float] | None:
    """Return two standard errors on each side, None without an error."""
    if not (math.isfinite(var) and math.isfinite(error)):
        return None
    return max(0.0, var - _SIGMAS * error), var + _SIGMAS * error


def domain_distance(mean: float, var: float, facts: WeightFacts) -> float:
    """Return how far moments and mean weight sums lie outside the box of Theorem 1."""
    values = (mean, float(facts.sums.mean()), var, facts.tau)
    return max(
        max(low - value, value - high, 0.0) / (0.5 * (high - low))
        for value, (low, high) in zip(values, _THEOREM_1, strict=True)
    )
