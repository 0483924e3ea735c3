"""The nets that are compared: SELU in several forms, and what normalises ReLU from outside."""

from __future__ import annotations

import dataclasses
import math
from typing import Final, Literal

import torch
from torch import nn

from selfnorm import theory
from selfnorm.errors import DomainError
from selfnorm.init import lecun_normal_, scaled_orthogonal_
from selfnorm.nn import ELU, SELU, ConvSELU2d, LinearSELU, SelfNormalized, WSLinear

__all__ = [
    "NETS",
    "NetArm",
    "Shape",
    "build_rival",
    "check_maps",
    "input_var",
    "net_named",
    "stage_strides",
]

Weighted = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | LinearSELU
Norm = Literal["none", "batch", "layer"]


@dataclasses.dataclass(frozen=True)
class NetArm:
    """One kind of hidden layer.

    Attributes
    ----------
    name : str
        Name in options, records and reports.
    words : str
        The same for a reader.
    activation : {"selu", "matched", "elu", "relu", "bidirectional", "tailored"}
        ``matched``: SELU whose target variance suits the depth
        (:func:`selfnorm.theory.match_depth`); the last two are SELU's affine relatives
        (:class:`selfnorm.nn.SelfNormalized`).
    init : {"lecun", "he", "orthogonal"}
        Initialisation of the hidden layers.
    norm : {"none", "batch", "layer"}
        Normalisation of each hidden layer.
    standardized : bool
        Standardise the weights of all hidden layers but the first at every step
        (:class:`selfnorm.nn.WSLinear`); the first sees pixels, whose common part that would remove.
    """

    name: str
    words: str
    activation: Literal["selu", "matched", "elu", "relu", "bidirectional", "tailored"]
    init: Literal["lecun", "he", "orthogonal"]
    norm: Norm = "none"
    standardized: bool = False


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sizes of a net.

    Attributes
    ----------
    model : {"mlp", "cnn"}
        Fully connected, or 3×3 convolutions: :class:`selfnorm.nn.ConvSELU2d`, whose border keeps
        the variance, for SELU, and torch's with zero padding for the others.
    image : tuple of int
        Channels, height and width of the inputs, which come as flat rows.
    depth : int
        Hidden layers.
    width : int
        Units per hidden layer, or channels of the first stage; each later stage has twice as many.
    n_classes : int
        Outputs.
    stages : int
        Stages of a CNN; the first layer of each halves height and width.
    norm_after : bool
        Normalise after the activation instead of before it.
    """

    model: Literal["mlp", "cnn"]
    image: tuple[int, int, int]
    depth: int
    width: int
    n_classes: int
    stages: int = 1
    norm_after: bool = False


NETS: Final = {
    arm.name: arm
    for arm in (
        NetArm("selu", "SELU, fixed point (0, 1), LeCun normal", "selu", "lecun"),
        NetArm("selu-matched", "SELU matched to the depth, orthogonal", "matched", "orthogonal"),
        NetArm("ws-selu", "SELU on standardised weights", "selu", "lecun", standardized=True),
        NetArm("elu", "ELU (α = 1), He normal", "elu", "he"),
        NetArm("relu-bn", "ReLU with batch norm, He normal", "relu", "he", "batch"),
        NetArm("relu-ln", "ReLU with layer norm, He normal", "relu", "he", "layer"),
        NetArm("relu", "ReLU, He normal", "relu", "he"),
        NetArm(
            "bidirectional", "SELU made bidirectional, orthogonal", "bidirectional", "orthogonal"
        ),
        NetArm(
            "tailored", "SELU tailored to the depth (DKS), orthogonal", "tailored", "orthogonal"
        ),
    )
}


def net_named(name: str) -> NetArm:
    """Return the arm of that name, one of ``NETS``."""
    return NETS[name]


def input_var(arm: NetArm, depth: int) -> float:
    """Return the variance that the arm's standardised inputs shall have."""
    return float(theory.match_depth(depth).var) if arm.activation == "matched" else 1.0


def build_rival(arm: NetArm, shape: Shape, generator: torch.Generator) -> nn.Sequential:
    """Build a net for flat rows whose every random number comes from ``generator``.

    Returns
    -------
    torch.nn.Sequential
        One ``nn.Sequential`` per hidden layer, then the linear head. In a CNN the first hidden
        layer unfolds the rows into images and the head flattens what comes last.

    Raises
    ------
    DomainError
        If the feature maps vanish: more stages than the image can be halved, or than layers.
    """
    return _mlp(arm, shape, generator) if shape.model == "mlp" else _cnn(arm, shape, generator)


def _mlp(arm: NetArm, shape: Shape, generator: torch.Generator) -> nn.Sequential:
    blocks: list[nn.Module] = []
    fan_in = math.prod(shape.image)
    for index in range(shape.depth):
        if arm.standardized and index:
            ws = WSLinear(fan_in, shape.width, generator=generator)
            blocks.append(nn.Sequential(ws, _activation(arm, shape.depth)))
        elif arm.activation in ("selu", "matched"):
            var = input_var(arm, shape.depth)
            fused = LinearSELU(fan_in, shape.width, var=var, generator=generator)
            if arm.init != "lecun":
                _fill(fused, arm.init, generator)
            blocks.append(nn.Sequential(fused))
        else:
            layer = nn.Linear(fan_in, shape.width, bias=_needs_bias(arm, shape), device="meta")
            blocks.append(_block(arm, shape, layer.to_empty(device="cpu"), generator))
        fan_in = shape.width
    return nn.Sequential(*blocks, _head(arm, fan_in, shape.n_classes, generator))


def _cnn(arm: NetArm, shape: Shape, generator: torch.Generator) -> nn.Sequential:
    channels, height, width = shape.image
    check_maps(shape)
    strides = stage_strides(shape.depth, shape.stages)
    blocks: list[nn.Module] = []
    out = shape.width
    for index, stride in enumerate(strides):
        out = out * 2 if stride == 2 and index else out
        if arm.activation in ("selu", "matched"):
            conv = ConvSELU2d(
                channels,
                out,
                3,
                stride,
                var=input_var(arm, shape.depth),
                weight_standardized=arm.standardized and index > 0,
                generator=generator,
            )
            if arm.init != "lecun":
                _fill(conv.conv, arm.init, generator)
            block = nn.Sequential(conv)
        else:
            layer = nn.Conv2d(
                channels, out, 3, stride, padding=1, bias=_needs_bias(arm, shape), device="meta"
            )
            block = _block(arm, shape, layer.to_empty(device="cpu"), generator)
        blocks.append(nn.Sequential(nn.Unflatten(1, shape.image), *block) if not index else block)
        channels, height, width = out, -(-height // stride), -(-width // stride)
    head = _head(arm, channels * height * width, shape.n_classes, generator)
    return nn.Sequential(*blocks, nn.Sequential(nn.Flatten(), head))


def stage_strides(depth: int, stages: int) -> list[int]:
    """Divide the layers evenly into stages; the first layer of each stage has stride 2."""
    first = {stage * depth // stages for stage in range(stages)}
    return [2 if index in first else 1 for index in range(depth)]


def check_maps(shape: Shape) -> None:
    """Refuse a CNN whose feature maps vanish, with the shapes."""
    smallest = min(shape.image[1:])
    most = min(shape.depth, smallest.bit_length() - 1)
    if shape.stages > most:
        raise DomainError(
            f"stages must be at most {most}, however: stages={shape.stages}; each stage halves "
            f"images of {shape.image[1]}×{shape.image[2]} pixels and takes a layer of "
            f"depth={shape.depth}, so the feature maps would vanish: choose fewer stages"
        )


def _needs_bias(arm: NetArm, shape: Shape) -> bool:
    """Return whether a bias is of use: normalisation right behind the layer has its own."""
    return arm.norm == "none" or shape.norm_after


def _block(
    arm: NetArm, shape: Shape, layer: nn.Linear | nn.Conv2d, generator: torch.Generator
) -> nn.Sequential:
    """Return one hidden layer: weights, activation, and normalisation where planned."""
    _fill(layer, arm.init, generator)
    channels = layer.weight.shape[0]
    norm = _norm(arm.norm, shape.model, channels)
    act = _activation(arm, shape.depth)
    behind = [act, *norm] if shape.norm_after else [*norm, act]
    return nn.Sequential(layer, *behind)


def _fill(layer: Weighted, init: str, generator: torch.Generator) -> None:
    if init == "orthogonal":
        scaled_orthogonal_(layer.weight, generator=generator)
    else:
        gain = math.sqrt(2) if init == "he" else 1.0
        lecun_normal_(layer.weight, gain=gain, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _norm(norm: Norm, model: str, channels: int) -> list[nn.Module]:
    if norm == "batch":
        return [nn.BatchNorm1d(channels) if model == "mlp" else nn.BatchNorm2d(channels)]
    if norm == "layer":
        # One group over channels and positions is layer normalisation for images.
        return [nn.LayerNorm(channels) if model == "mlp" else nn.GroupNorm(1, channels)]
    return []


def _activation(arm: NetArm, depth: int) -> nn.Module:
    if arm.activation == "relu":
        return nn.ReLU()
    if arm.activation == "elu":
        return ELU()
    if arm.activation == "bidirectional":
        return SelfNormalized("selu", method="bidirectional")
    if arm.activation == "tailored":
        return SelfNormalized("selu", method="dks", depth=depth)
    return SELU(0.0, input_var(arm, depth))


def _head(arm: NetArm, fan_in: int, n_classes: int, generator: torch.Generator) -> nn.Linear:
    """Return the last layer; its outputs begin with the variance of its inputs."""
    head = nn.Linear(fan_in, n_classes, device="meta").to_empty(device="cpu")
    _fill(head, "he" if arm.init == "he" else "lecun", generator)
    return head
