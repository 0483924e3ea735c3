"""What theory predicts for a network of these weights."""

from __future__ import annotations

import functools
import math
from typing import Any, Final, NamedTuple

import numpy as np

from selfnorm import theory
from selfnorm.diagnosis._graph import Op
from selfnorm.diagnosis._weights import WeightFacts
from selfnorm.errors import SelfNormError

__all__ = ["Link", "Step", "activation_of", "band", "domain_distance", "dropout_gain", "step"]

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
