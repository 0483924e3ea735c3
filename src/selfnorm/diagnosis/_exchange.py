"""Which module takes the place of which: activations, dropout, normalisation."""

from __future__ import annotations

import functools
from typing import Any, Final, NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from selfnorm import theory
from selfnorm.constants import SATURATION01
from selfnorm.nn import ELU, SELU, AlphaDropout

__all__ = [
    "ACTIVATIONS",
    "DROPOUTS",
    "FUNCTIONS",
    "METHODS",
    "NORMS",
    "Known",
    "dropout_for",
    "equivalent_rate",
    "name_of_activation",
]

ACTIVATIONS: Final = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.ELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Softplus,
    ELU,
)
DROPOUTS: Final = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
NORMS: Final[tuple[type[nn.Module], ...]] = (
    _BatchNorm,
    _InstanceNorm,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.LocalResponseNorm,
    nn.RMSNorm,
)

# Calls in a forward: function -> what it is, and its name.
FUNCTIONS: Final[dict[Any, tuple[str, str]]] = {
    functional.relu: ("activation", "relu"),
    functional.relu_: ("activation", "relu"),
    torch.relu: ("activation", "relu"),
    torch.relu_: ("activation", "relu"),
    functional.leaky_relu: ("activation", "leaky_relu"),
    functional.elu: ("activation", "elu"),
    functional.celu: ("activation", "elu"),
    functional.gelu: ("activation", "gelu"),
    functional.silu: ("activation", "silu"),
    functional.mish: ("activation", "mish"),
    functional.hardswish: ("activation", "silu"),
    functional.relu6: ("activation", "relu"),
    functional.softplus: ("activation", "softplus"),
    functional.dropout: ("dropout", "dropout"),
    torch.dropout: ("dropout", "dropout"),
    functional.batch_norm: ("normalisation", "batch_norm"),
    functional.layer_norm: ("normalisation", "layer_norm"),
    functional.group_norm: ("normalisation", "group_norm"),
    functional.instance_norm: ("normalisation", "instance_norm"),
    functional.rms_norm: ("normalisation", "rms_norm"),
    functional.normalize: ("normalisation", "normalize"),
    functional.scaled_dot_product_attention: ("attention", "scaled_dot_product_attention"),
    functional.multi_head_attention_forward: ("attention", "multi_head_attention_forward"),
}
METHODS: Final[dict[str, tuple[str, str]]] = {
    "relu": ("activation", "relu"),
    "relu_": ("activation", "relu"),
}


class Known(NamedTuple):
    """What theory knows of an activation module."""

    name: str
    parameters: tuple[tuple[str, float], ...] = ()


def name_of_activation(module: nn.Module) -> Known | None:
    """Return theory's name of an activation, None if it has none."""
    if isinstance(module, nn.LeakyReLU):
        return Known("leaky_relu", (("negative_slope", float(module.negative_slope)),))
    if isinstance(module, nn.ELU | ELU):
        return Known("elu", (("alpha", float(module.alpha)),))
    names: dict[type[nn.Module], str] = {
        nn.ReLU: "relu",
        nn.GELU: "gelu",
        nn.SiLU: "silu",
        nn.Mish: "mish",
        nn.Softplus: "softplus",
        nn.SELU: "selu",
        SELU: "selu",
        nn.Tanh: "tanh",
        nn.Sigmoid: "sigmoid",
    }
    name = names.get(type(module))
    return None if name is None else Known(name)


@functools.lru_cache(maxsize=64)
def equivalent_rate(p: float, activation: str | None, *parameters: tuple[str, float]) -> float:
    r"""Return the rate of alpha dropout that keeps as much signal as dropout of rate p.

    The measure is the share of the output's variance that the undropped input explains, their
    squared correlation. Dropout after an activation f of standard normal numbers keeps

    .. math:: s = \frac{\mathrm{Var} f}{\mathrm{E} f^2 / (1 - p) - (\mathrm{E} f)^2}

    and alpha dropout of rate p' after SELU keeps (1 - p') / (1 + c p') with c = (scale alpha)²,
    3.09. Equal shares: p' = (1 - s) / (1 + c s). Without a known activation the input counts as
    standard normal: s = 1 - p.
    """
    if p >= 1.0:
        return 1.0
    share = 1.0 - p
    if activation is not None:
        mean, var, _ = theory.moments(theory.activation(activation, **dict(parameters)), 0.0, 1.0)
        share = var / ((var + mean * mean) / (1.0 - p) - mean * mean)
    return (1.0 - share) / (1.0 + SATURATION01**2 * share)


def dropout_for(old: nn.Module, p: float) -> nn.Module:
    """Return the alpha dropout that takes the place of a dropout module."""
    if isinstance(old, nn.Dropout1d | nn.Dropout2d | nn.Dropout3d):
        dims = {nn.Dropout1d: (2,), nn.Dropout2d: (2, 3), nn.Dropout3d: (2, 3, 4)}[type(old)]
        return AlphaDropout(p, shared_dims=dims)
    return AlphaDropout(p)
