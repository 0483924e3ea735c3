"""The two parts of a convolutional autoencoder."""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor, nn

from selfnorm.errors import DomainError
from selfnorm.nn._checks import check_size
from selfnorm.nn._conv import ConvSELU2d
from selfnorm.nn._linear import LinearSELU
from selfnorm.nn._padded_conv import PaddedConv

__all__ = ["ConvDecoder", "ConvEncoder", "check_image_shape"]

_KERNEL: Final = 3


class ConvEncoder(nn.Module):
    """Convolutions, the first of each stage with stride 2, and a linear head on the flat map."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        codes: int,
        *,
        width: int,
        depth: int,
        halvings: int,
        var: float,
        dropout: float,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.scale = math.sqrt(var)
        channels, height, breadth = shape
        halved = _places(depth, halvings)
        self.hidden = nn.Sequential()
        for index in range(depth):
            self.hidden.append(
                ConvSELU2d(
                    channels,
                    width,
                    _KERNEL,
                    2 if index in halved else 1,
                    var=var,
                    dropout=dropout,
                    device="meta",
                    dtype=dtype,
                )
            )
            channels = width
        pixels = (height >> halvings) * (breadth >> halvings)
        self.head = nn.Linear(channels * pixels, codes, device="meta", dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.hidden(x * self.scale) / self.scale
        out: Tensor = self.head(inner.flatten(1))
        return out


class ConvDecoder(nn.Module):
    """A hidden layer that fills the smallest map, convolutions, and a linear one at the end.

    Before the convolution that mirrors one of stride 2, each pixel is repeated to two by two: its
    moments are the same, and so are those of the next pre-activation, whose weights do not know
    that neighbours are equal.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        code_features: int,
        *,
        width: int,
        depth: int,
        halvings: int,
        var: float,
        dropout: float,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.scale = math.sqrt(var)
        channels, height, breadth = shape
        self.map = (width, height >> halvings, breadth >> halvings)
        settings: dict[str, Any] = {
            "var": var,
            "dropout": dropout,
            "device": "meta",
            "dtype": dtype,
        }
        self.doubled = {depth - 1 - place for place in _places(depth, halvings)}
        self.hidden = nn.Sequential(LinearSELU(code_features, math.prod(self.map), **settings))
        for _ in range(depth - 1):
            self.hidden.append(ConvSELU2d(width, width, _KERNEL, **settings))
        self.head = PaddedConv(2, width, channels, _KERNEL, device="meta", dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.hidden
        h: Tensor = first(x * self.scale).unflatten(1, self.map)
        for index, layer in enumerate([*others, self.head]):
            if index in self.doubled:
                h = nn.functional.interpolate(h, scale_factor=2, mode="nearest")
            h = layer(h if layer is not self.head else h / self.scale)
        return h


def check_image_shape(shape: tuple[int, ...], depth: int, halvings: int) -> tuple[int, int, int]:
    """Return (channels, height, width); refuse what cannot be halved so often."""
    if len(shape) != 3:
        raise DomainError(
            "in_features must be a number of features, or (channels, height, width) of images, "
            f"however: in_features={shape!r}"
        )
    channels, height, breadth = (check_size("in_features", size, 1) for size in shape)
    check_size("halvings", halvings, 0)
    check_size("depth", depth, 1)
    if halvings > depth:
        raise DomainError(
            "each halving needs a layer of its own, however: "
            f"halvings={halvings}, depth={depth}; take more layers or fewer halvings"
        )
    if height % 2**halvings or breadth % 2**halvings:
        raise DomainError(
            f"height and width must be multiples of {2**halvings}, to be halved {halvings} times, "
            f"however: in_features={(channels, height, breadth)}; pad the images or take fewer "
            "halvings"
        )
    return channels, height, breadth


def _places(depth: int, halvings: int) -> set[int]:
    """Return the layers of stride 2, spread evenly, the first of each stage."""
    return (
        {(stage + 1) * depth // (halvings + 1) for stage in range(halvings)} if halvings else set()
    )
