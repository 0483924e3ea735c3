"""Changes of weights that keep the function: batch norms folded, rows scaled to length 1."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize

from selfnorm.diagnosis._module_graph import Region

__all__ = [
    "Pair",
    "equalise",
    "fold_batch_norm",
    "hidden_pairs",
    "plain_layer",
    "producer",
    "row_norms",
]

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

# f(c x) = c f(x) for c > 0: what may stand between two layers whose rows are scaled.
_HOMOGENEOUS = (
    nn.Identity,
    nn.ReLU,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
    nn.Upsample,
)
# Not homogeneous, but nearly so far from 0: scaling around them is only a good start.
_NEARLY = (nn.ELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Softplus, nn.ReLU6)
_FUNCTIONS = (
    functional.relu,
    torch.relu,
    functional.leaky_relu,
    functional.dropout,
    functional.max_pool2d,
    functional.avg_pool2d,
    functional.adaptive_avg_pool2d,
)


class Pair(NamedTuple):
    """Two layers of which the second takes what the first gives, units in one order.

    Attributes
    ----------
    first, second : str
        Their paths.
    exact : bool
        Whether rows of the first may be scaled, and columns of the second against them, without
        a change of the function.
    """

    first: str
    second: str
    exact: bool


def plain_layer(module: nn.Module | None) -> bool:
    """Tell whether this is a linear or convolutional layer whose weight may be written."""
    return (
        isinstance(module, nn.Linear | _ConvNd)
        and not parametrize.is_parametrized(module)
        and isinstance(module._parameters.get("weight"), Tensor)
        and not isinstance(module.weight, nn.UninitializedParameter)
        and not module._forward_pre_hooks  # torch.nn.utils.weight_norm and its kin, the old way
    )


def producer(part: Region, node: fx.Node) -> fx.Node | None:
    """Return the layer's node that feeds a normalisation, if it feeds nothing else."""
    before = node.args[0] if node.args else None
    while isinstance(before, fx.Node) and len(before.users) == 1:
        module = part.called(before)
        if plain_layer(module):
            return before
        if not isinstance(module, nn.Identity | nn.Dropout):
            return None
        before = before.args[0]
    return None


def fold_batch_norm(layer: nn.Module, norm: _BatchNorm) -> None:
    r"""Write what the batch norm does in evaluation mode into the layer before it.

    .. math:: W' = s W, \quad b' = s (b - m) + \beta, \quad s = \gamma / \sqrt{v + \epsilon}
    """
    assert isinstance(layer, nn.Linear | _ConvNd)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight = layer.weight
    with torch.no_grad():
        scale = torch.rsqrt(norm.running_var.double() + norm.eps)
        if norm.weight is not None:
            scale = scale * norm.weight.double()
        bias = torch.zeros_like(scale) if layer.bias is None else layer.bias.double()
        bias = scale * (bias - norm.running_mean.double())
        if norm.bias is not None:
            bias = bias + norm.bias.double()
        scale_rows(layer, scale)
        bias = bias.to(weight.dtype)
        if layer.bias is None:
            # mypy: torch declares the bias of a convolution as Optional, of a linear as Tensor.
            layer.register_parameter("bias", nn.Parameter(bias, weight.requires_grad))
        else:
            layer.bias.copy_(bias)


def row_norms(layer: nn.Module) -> Tensor:
    """Return the Euclidean norm of each unit's weights, shape (units,), float64."""
    assert isinstance(layer, nn.Linear | _ConvNd)
    norms: Tensor = torch.linalg.vector_norm(_by_unit(layer).double(), dim=1)
    return norms


def scale_rows(layer: nn.Module, factor: Tensor) -> None:
    """Multiply each unit's weights, not its bias, by a factor."""
    assert isinstance(layer, nn.Linear | _ConvNd)
    with torch.no_grad():
        weight = layer.weight
        if isinstance(layer, _TRANSPOSED):
            # (in, out / groups, *kernel): units of group g stand in the g-th block of inputs.
            blocks = factor.reshape(layer.groups, 1, -1)
            shaped = weight.double().reshape(
                layer.groups, weight.shape[0] // layer.groups, weight.shape[1], -1
            )
            weight.copy_((shaped * blocks.unsqueeze(-1)).reshape(weight.shape))
        else:
            shape = (-1, *[1] * (weight.dim() - 1))
            weight.copy_(weight.double() * factor.reshape(shape))


def _by_unit(layer: nn.Linear | _ConvNd) -> Tensor:
    weight = layer.weight.detach()
    if isinstance(layer, _TRANSPOSED):
        per_group = weight.reshape(
            layer.groups, weight.shape[0] // layer.groups, weight.shape[1], -1
        )
        return per_group.transpose(1, 2).reshape(layer.groups * weight.shape[1], -1)
    return weight.reshape(weight.shape[0], -1)


def hidden_pairs(part: Region) -> Iterator[Pair]:
    """Yield the layers of a traced part that follow one another with little between them."""
    for node in part.graph.nodes if part.graph is not None else ():
        first = part.called(node)
        if not plain_layer(first):
            continue
        exact, at, flat, active = True, node, False, False
        while len(at.users) == 1:
            at = next(iter(at.users))
            second = part.called(at)
            if plain_layer(second):
                if active and _fits(first, second, flat):
                    yield Pair(part.full(node.target), part.full(at.target), exact)
                break
            step = _step(second, at)
            if step is None:
                break
            exact, flat = exact and step != "nearly", flat or step == "flatten"
            active = active or step in ("active", "nearly")


def _step(module: nn.Module | None, node: fx.Node) -> str | None:
    """Tell what lies between two layers: None if it may not be scaled through."""
    if module is not None:
        if isinstance(module, nn.Flatten):
            return "flatten" if (module.start_dim, module.end_dim) == (1, -1) else None
        if isinstance(module, _NEARLY):
            return "nearly"
        if isinstance(module, nn.ReLU | nn.LeakyReLU | nn.PReLU | nn.RReLU):
            return "active"
        return "passive" if isinstance(module, _HOMOGENEOUS) else None
    if node.op == "call_method" and node.target == "relu":
        return "active"
    flattens = node.target in (torch.flatten, "flatten") and node.args[1:] in ((1,), (1, -1))
    views = node.op == "call_method" and node.target in ("view", "reshape")
    if flattens or (views and len(node.args) == 3 and node.args[2] == -1):
        return "flatten"
    if node.op == "call_function" and node.target in _FUNCTIONS:
        relu = node.target in (functional.relu, torch.relu, functional.leaky_relu)
        return "active" if relu else "passive"
    return None


def _fits(first: nn.Module | None, second: nn.Module | None, flat: bool) -> bool:
    """Tell whether each unit of the first is a known block of columns of the second."""
    assert isinstance(first, nn.Linear | _ConvNd)
    assert isinstance(second, nn.Linear | _ConvNd)
    units = first.out_features if isinstance(first, nn.Linear) else first.out_channels
    if isinstance(second, nn.Linear):
        if isinstance(first, nn.Linear):
            return second.in_features == units and not flat
        return flat and second.in_features % units == 0
    return not isinstance(first, nn.Linear) and second.groups == 1 and second.in_channels == units


def equalise(first: nn.Module, second: nn.Module) -> float:
    """Scale each row of the first layer to length 1, and the second layer's columns against it.

    Returns the largest factor by which a row was scaled, up or down, nan if it has no numbers (on
    the meta device); rows that are 0 stay.
    """
    assert isinstance(first, nn.Linear | _ConvNd)
    assert isinstance(second, nn.Linear | _ConvNd)
    norms = row_norms(first)
    norms = torch.where((norms > 0) & torch.isfinite(norms), norms, 1.0)
    scale_rows(first, 1.0 / norms)
    with torch.no_grad():
        if first.bias is not None:
            first.bias.copy_(first.bias.double() / norms)
        weight = second.weight
        axis = 0 if isinstance(second, _TRANSPOSED) else 1
        columns = norms.repeat_interleave(weight.shape[axis] // norms.numel())
        shape = [1] * weight.dim()
        shape[axis] = -1
        weight.copy_(weight.double() * columns.reshape(shape))
    if norms.is_meta:
        return math.nan
    return float(torch.exp(norms.log().abs().max()))
