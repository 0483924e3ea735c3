"""Plain stacks of layers: the baselines of the experiments on SELU's other uses."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import nn

from selfnorm import theory
from selfnorm.experiments._nets import initializer
from selfnorm.init import lecun_normal_

__all__ = ["Recipe", "foreseen", "hidden_block", "linear", "predicted_layer"]

_ACTIVATIONS: Final[dict[str, Callable[[], nn.Module]]] = {
    "elu": nn.ELU,
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a baseline's hidden layers are made.

    Attributes
    ----------
    activation : {"elu", "relu", "selu", "silu", "tanh"}
        torch's own.
    init : {"torch", "lecun", "he"}
        See :func:`selfnorm.experiments._nets.initializer`.
    norm : {None, "batch", "layer"}
        Normalisation before each activation.
    """

    activation: str
    init: str
    norm: str | None = None


def linear(fan_in: int, fan_out: int, init: str, generator: torch.Generator) -> nn.Linear:
    """Return a linear layer that begins by the named initialiser, or as a linear output layer."""
    layer = nn.Linear(fan_in, fan_out, device="meta").to_empty(device="cpu")
    if init == "he":  # of an output: nothing follows that would halve the variance
        lecun_normal_(layer.weight, generator=generator)
        nn.init.zeros_(layer.bias)
    else:
        initializer(init).fill(layer, generator)
    return layer


def hidden_block(
    fan_in: int, fan_out: int, recipe: Recipe, generator: torch.Generator
) -> nn.Sequential:
    """Return linear layer, normalisation if any, activation."""
    layer = nn.Linear(fan_in, fan_out, device="meta").to_empty(device="cpu")
    initializer(recipe.init).fill(layer, generator)
    parts: list[nn.Module] = [layer]
    if recipe.norm == "batch":
        parts.append(nn.BatchNorm1d(fan_out))
    elif recipe.norm == "layer":
        parts.append(nn.LayerNorm(fan_out))
    return nn.Sequential(*parts, _ACTIVATIONS[recipe.activation]())


def predicted_layer(fan_in: int, fan_out: int, recipe: Recipe) -> theory.Layer:
    """Return what theory needs of a hidden block; layer norm as batch norm, to leading order."""
    weight_sumsq, bias_var = initializer(recipe.init).moments(fan_in, fan_out)
    return theory.Layer(
        recipe.activation,
        weight_sumsq=weight_sumsq,
        bias_var=bias_var,
        batch_norm=recipe.norm is not None,
    )


def foreseen(layers: Sequence[theory.Layer], second_moment: float) -> list[dict[str, float]]:
    """Return predicted mean and variance by layer for inputs of that mean square."""
    path = theory.predict(layers, 0.0, second_moment)
    return [
        {
            "predicted_mean": float(mean) if math.isfinite(mean) else math.nan,
            "predicted_var": float(var),
        }
        for mean, var in zip(path.mean, path.var, strict=True)
    ]
