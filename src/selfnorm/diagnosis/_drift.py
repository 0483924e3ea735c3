"""Weights that leave the range in which their activation normalises itself."""

from __future__ import annotations

import functools
import math

from torch import nn

from selfnorm import theory
from selfnorm.diagnosis._exchange import name_of_activation
from selfnorm.diagnosis._monitor_calls import Called
from selfnorm.diagnosis._records import Finding, finding
from selfnorm.nn import SELU, LinearSELU

__all__ = ["drift_of", "word_of"]


def word_of(activation: nn.Module | Called) -> str:
    """Return what an activation is called: its function's name or its class's."""
    return activation.name if isinstance(activation, Called) else type(activation).__name__


def drift_of(path: str, tau: float, activation: nn.Module | Called) -> Finding | None:
    """Return a finding if a layer's mean sum of squares has left its activation's range."""
    limits = _range(activation)
    if limits is None or limits.low < tau < limits.high:
        return None
    if not math.isfinite(tau):
        return finding(
            "not-finite",
            path,
            "The layer has infinite weights or weights that are not numbers.",
            "load the last checkpoint before this happened, and lower the learning rate",
            weight_sumsq=tau,
        )
    low, high = limits
    side, words = ("below", "dies out") if tau <= low else ("above", "grows without bound")
    return finding(
        "weight-decay-drift",
        path,
        f"the squares of a unit's weights sum to {tau:.3g} on average, {side} the range "
        f"({low:.3g}, {high:.3g}) in which {word_of(activation)} normalises itself: with "
        f"depth the variance {words}",
        "selfnorm.nn.keep_row_norms(model, optimizer), and no weight decay on these layers",
        weight_sumsq=tau,
        low=low,
        high=high,
    )


def _range(activation: nn.Module | Called) -> theory.WeightScaleRange | None:
    if isinstance(activation, Called):
        return _range_of(*activation)
    if isinstance(activation, SELU | LinearSELU):
        return _range_at(activation.mean, activation.var)
    known = name_of_activation(activation)
    return None if known is None else _range_of(known.name, known.parameters)


@functools.lru_cache(maxsize=64)
def _range_at(mean: float, var: float) -> theory.WeightScaleRange | None:
    found = theory.solve(mean, var)
    return _range_of("selu", (("alpha", float(found.alpha)), ("scale", float(found.scale))))


@functools.lru_cache(maxsize=64)
def _range_of(
    name: str, parameters: tuple[tuple[str, float], ...]
) -> theory.WeightScaleRange | None:
    act = theory.activation(name, **dict(parameters))
    return theory.weight_scale_range(act, form="mean_field")
