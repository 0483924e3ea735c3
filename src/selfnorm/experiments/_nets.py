"""The plain deep nets of the experiments, and what theory predicts for them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Final, Literal

import torch
from torch import nn

from selfnorm import theory
from selfnorm.init import lecun_normal_, scaled_orthogonal_

__all__ = [
    "DEFAULT_INITS",
    "Initializer",
    "NetPlan",
    "activation_of",
    "build_net",
    "initializer",
    "predict_net",
]

DEFAULT_INITS: Final = ("torch", "glorot", "uniform05")
_KERAS_LIMIT: Final = 0.05


@dataclasses.dataclass(frozen=True)
class Initializer:
    """How a linear layer begins.

    Attributes
    ----------
    fill : callable
        ``fill(layer, generator)`` sets weight and bias in place.
    moments : callable
        ``moments(fan_in, fan_out)`` gives the expected sum of squares of a row of weights and
        the variance of the biases.
    """

    fill: Callable[[nn.Linear, torch.Generator], None]
    moments: Callable[[int, int], tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class NetPlan:
    """A fully connected net of equal hidden layers.

    Attributes
    ----------
    n_features, width, depth, n_classes : int
        Inputs, units per hidden layer, number of hidden layers, outputs.
    activation : {"relu", "selu"}
        Activation of each hidden layer.
    target_var : float
        Target variance of the SELU (its mean is 0); not used by ReLU.
    hidden_init, head_init : str
        Names for :func:`initializer`.
    batch_norm : bool
        Batch normalisation between linear layer and activation.
    """

    n_features: int
    width: int
    depth: int
    n_classes: int
    activation: Literal["relu", "selu"]
    hidden_init: str
    head_init: str
    target_var: float = 1.0
    batch_norm: bool = False


def initializer(name: str) -> Initializer:
    """Return an initialiser by name.

    ``torch``: what ``torch.nn.Linear`` does, uniform in ±1/√fan_in for weights and biases.
    ``glorot``: uniform in ±√(6/(fan_in+fan_out)), Keras' default. ``uniform05``: uniform in
    ±0.05, Keras' ``random_uniform``. ``lecun``, ``he``: normal of variance 1/fan_in and
    2/fan_in. ``orthogonal``: scaled orthogonal. Biases are zero except for ``torch``.
    """
    return _INITIALIZERS[name]


def build_net(plan: NetPlan, generator: torch.Generator) -> nn.Sequential:
    """Build a net whose every random number comes from ``generator``.

    Returns
    -------
    torch.nn.Sequential
        One ``nn.Sequential`` per hidden layer (linear, batch norm if planned, activation), then
        the linear head.
    """
    from selfnorm.nn import SELU

    hidden, head = initializer(plan.hidden_init), initializer(plan.head_init)
    blocks: list[nn.Module] = []
    for index in range(plan.depth):
        layer = _linear(plan.n_features if index == 0 else plan.width, plan.width)
        hidden.fill(layer, generator)
        parts: list[nn.Module] = [layer]
        if plan.batch_norm:
            parts.append(nn.BatchNorm1d(plan.width))
        parts.append(nn.ReLU() if plan.activation == "relu" else SELU(0.0, plan.target_var))
        blocks.append(nn.Sequential(*parts))
    last = _linear(plan.width, plan.n_classes)
    head.fill(last, generator)
    return nn.Sequential(*blocks, last)


def predict_net(plan: NetPlan, second_moment: float) -> list[dict[str, float]]:
    """Predict the moments of each hidden layer of a freshly built net by mean field theory.

    Parameters
    ----------
    plan : NetPlan
        The net.
    second_moment : float
        Mean square of the inputs over rows and features.

    Returns
    -------
    list of dict
        ``predicted_mean`` and ``predicted_var`` of each hidden layer's output, pooled over rows
        and units, in the limit of wide layers.
    """
    act = activation_of(plan)
    moments = initializer(plan.hidden_init).moments
    layers = []
    for index in range(plan.depth):
        fan_in = plan.n_features if index == 0 else plan.width
        weight_sumsq, bias_var = moments(fan_in, plan.width)
        layers.append(
            theory.Layer(
                act,
                weight_sumsq=weight_sumsq,
                bias_var=bias_var,
                batch_norm=plan.batch_norm,
            )
        )
    # In mean field only E x² of the input matters, not how mean and variance share it.
    trajectory = theory.predict(layers, 0.0, second_moment, form="mean_field")
    return [
        {"predicted_mean": float(mean), "predicted_var": float(var)}
        for mean, var in zip(trajectory.mean, trajectory.var, strict=True)
    ]


def activation_of(plan: NetPlan) -> theory.Activation:
    """Return the plan's activation as theory knows it."""
    if plan.activation == "relu":
        return theory.activation("relu")
    constants = theory.solve(0.0, plan.target_var)
    return theory.activation("selu", alpha=constants.alpha, scale=constants.scale)


def _linear(fan_in: int, fan_out: int) -> nn.Linear:
    """Return a linear layer with memory but without values: torch's own would draw globally."""
    return nn.Linear(fan_in, fan_out, device="meta").to_empty(device="cpu")


def _fill_torch(layer: nn.Linear, generator: torch.Generator) -> None:
    """Repeat ``torch.nn.Linear.reset_parameters`` with an explicit generator."""
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    bound = 1 / math.sqrt(layer.in_features)
    nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


def _fill_glorot(layer: nn.Linear, generator: torch.Generator) -> None:
    nn.init.xavier_uniform_(layer.weight, generator=generator)
    nn.init.zeros_(layer.bias)


def _fill_uniform05(layer: nn.Linear, generator: torch.Generator) -> None:
    nn.init.uniform_(layer.weight, -_KERAS_LIMIT, _KERAS_LIMIT, generator=generator)
    nn.init.zeros_(layer.bias)


def _fill_lecun(layer: nn.Linear, generator: torch.Generator) -> None:
    lecun_normal_(layer.weight, generator=generator)
    nn.init.zeros_(layer.bias)


def _fill_he(layer: nn.Linear, generator: torch.Generator) -> None:
    lecun_normal_(layer.weight, gain=math.sqrt(2), generator=generator)
    nn.init.zeros_(layer.bias)


def _fill_orthogonal(layer: nn.Linear, generator: torch.Generator) -> None:
    scaled_orthogonal_(layer.weight, generator=generator)
    nn.init.zeros_(layer.bias)


_INITIALIZERS: Final = {
    "torch": Initializer(_fill_torch, lambda fan_in, fan_out: (1 / 3, 1 / (3 * fan_in))),
    "glorot": Initializer(
        _fill_glorot, lambda fan_in, fan_out: (2 * fan_in / (fan_in + fan_out), 0.0)
    ),
    "uniform05": Initializer(
        _fill_uniform05, lambda fan_in, fan_out: (fan_in * _KERAS_LIMIT**2 / 3, 0.0)
    ),
    "lecun": Initializer(_fill_lecun, lambda fan_in, fan_out: (1.0, 0.0)),
    "he": Initializer(_fill_he, lambda fan_in, fan_out: (2.0, 0.0)),
    "orthogonal": Initializer(_fill_orthogonal, lambda fan_in, fan_out: (1.0, 0.0)),
}
