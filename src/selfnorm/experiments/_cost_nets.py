"""The nets whose cost is compared, each built as its user would at its best."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Final

import torch
from torch import nn

from selfnorm.experiments._rival_nets import Shape, check_maps, stage_strides
from selfnorm.init import lecun_normal_
from selfnorm.nn import ConvSELU2d, LinearSELU

__all__ = ["COST_NETS", "CostNet", "build_costed"]


@dataclasses.dataclass(frozen=True)
class CostNet:
    """One kind of hidden layer.

    Attributes
    ----------
    name, words : str
        Name in options and records, and the same for a reader.
    kind : {"ours", "torch-selu", "relu"}
        This library's fused layers, torch's SELU, or ReLU.
    norm : {"none", "batch", "layer"}
        Normalisation before the activation.
    dropout : bool
        Dropout behind the activation: alpha dropout behind SELU, ordinary behind ReLU.
    """

    name: str
    words: str
    kind: str
    norm: str = "none"
    dropout: bool = False


COST_NETS: Final = {
    net.name: net
    for net in (
        CostNet("selu", "this library's SELU layers", "ours"),
        CostNet("torch-selu", "torch's layers and torch.nn.SELU", "torch-selu"),
        CostNet("relu", "ReLU, no normalisation", "relu"),
        CostNet("relu-bn", "ReLU with batch norm", "relu", "batch"),
        CostNet("relu-ln", "ReLU with layer norm", "relu", "layer"),
        CostNet("selu-dropout", "this library's SELU with alpha dropout", "ours", dropout=True),
        CostNet("torch-selu-dropout", "torch's SELU and AlphaDropout", "torch-selu", dropout=True),
        CostNet("relu-bn-dropout", "ReLU with batch norm, dropout", "relu", "batch", dropout=True),
    )
}


def build_costed(
    net: CostNet, shape: Shape, dropout: float, generator: torch.Generator
) -> nn.Sequential:
    """Build a net for inputs of shape (batch, features) or (batch, channels, height, width).

    Torch's activations work in place and a layer before batch norm has no bias, as one who counts
    bytes writes it. Convolutions pad by 1 with zeros; this library's restore the variance there.
    """
    p = dropout if net.dropout else 0.0
    hidden, fan_in = (_dense if shape.model == "mlp" else _maps)(net, shape, p, generator)
    head = nn.Linear(fan_in, shape.n_classes, device="meta").to_empty(device="cpu")
    lecun_normal_(head.weight, generator=generator)
    nn.init.zeros_(head.bias)
    return nn.Sequential(*hidden, nn.Flatten(), head)


def _dense(
    net: CostNet, shape: Shape, p: float, generator: torch.Generator
) -> tuple[list[nn.Module], int]:
    fan_in = math.prod(shape.image)
    blocks: list[list[nn.Module]] = []
    for _ in range(shape.depth):
        if net.kind == "ours":
            blocks.append([LinearSELU(fan_in, shape.width, dropout=p, generator=generator)])
        else:
            layer = nn.Linear(fan_in, shape.width, bias=net.norm != "batch", device="meta")
            blocks.append(_behind(net, layer.to_empty(device="cpu"), p, generator))
        fan_in = shape.width
    return list(itertools.chain.from_iterable(blocks)), fan_in


def _maps(
    net: CostNet, shape: Shape, p: float, generator: torch.Generator
) -> tuple[list[nn.Module], int]:
    check_maps(shape)
    channels, height, width = shape.image
    blocks: list[list[nn.Module]] = []
    out = shape.width
    for index, stride in enumerate(stage_strides(shape.depth, shape.stages)):
        out = out * 2 if stride == 2 and index else out
        if net.kind == "ours":
            blocks.append([ConvSELU2d(channels, out, 3, stride, dropout=p, generator=generator)])
        else:
            bias = net.norm != "batch"
            layer = nn.Conv2d(channels, out, 3, stride, padding=1, bias=bias, device="meta")
            blocks.append(_behind(net, layer.to_empty(device="cpu"), p, generator))
        channels, height, width = out, -(-height // stride), -(-width // stride)
    return list(itertools.chain.from_iterable(blocks)), channels * height * width


def _behind(
    net: CostNet, layer: nn.Linear | nn.Conv2d, p: float, generator: torch.Generator
) -> list[nn.Module]:
    """Initialise a layer of torch's and return it with all that stands behind it."""
    selu = net.kind == "torch-selu"
    lecun_normal_(layer.weight, gain=1.0 if selu else math.sqrt(2), generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    flat, out = isinstance(layer, nn.Linear), layer.weight.shape[0]
    parts: list[nn.Module] = [layer]
    if net.norm == "batch":
        parts.append(nn.BatchNorm1d(out) if flat else nn.BatchNorm2d(out))
    elif net.norm == "layer":
        parts.append(nn.LayerNorm(out) if flat else nn.GroupNorm(1, out))
    parts.append(nn.SELU(inplace=True) if selu else nn.ReLU(inplace=True))
    if p:
        parts.append(nn.AlphaDropout(p) if selu else nn.Dropout(p))
    return parts
