"""What the networks for images share: their blocks, their checks and the way of an image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from selfnorm import init
from selfnorm.errors import DomainError
from selfnorm.nn._checks import check_size
from selfnorm.nn._conv import ConvSELU2d
from selfnorm.nn._padded_conv import PaddedConv
from selfnorm.nn._padding import described
from selfnorm.nn._snn import _WEIGHT_INITS

__all__ = [
    "ImageNetwork",
    "check_choices",
    "check_images",
    "check_map",
    "conv_block",
    "initialize_block",
    "stage_starts",
]

_LEAST_MAP: Final = 4  # pixels of the shorter side to which the default stages may shrink a map


class ImageNetwork(nn.Module):
    """Scaled images through hidden blocks into a linear head; the subclasses build these."""

    in_channels: int
    image_size: tuple[int, ...]
    activation: str
    fixed_point: tuple[float, float]
    input_scale: float
    hidden: nn.Sequential
    head: nn.Linear

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network to images of shape (batch, in_channels, height, width)."""
        check_images(x, self.in_channels, self.image_size)
        if self.input_scale != 1.0:
            x = x * self.input_scale
        out: Tensor = self.head(self.hidden(x).flatten(-3))
        return out

    def extra_repr(self) -> str:
        """Show what the blocks do not."""
        shown = f"image_size={self.image_size}, activation={self.activation!r}"
        if self.fixed_point != (0.0, 1.0):
            mean, var = self.fixed_point
            shown += f", fixed_point=({mean:g}, {var:g}), input_scale={self.input_scale:g}"
        return shown


def conv_block(
    in_channels: int,
    out_channels: int,
    kernel_size: int | Sequence[int],
    stride: int,
    *,
    function: Callable[[], nn.Module] | None,
    mean: float,
    var: float,
    dropout: float,
    channel_dropout: bool,
    weight_standardized: bool,
    dtype: torch.dtype | None,
    **convolution: Any,
) -> nn.Module:
    """Return a layer without memory: ConvSELU2d, or convolution, function, ordinary dropout."""
    if function is None:
        return ConvSELU2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            mean=mean,
            var=var,
            dropout=dropout,
            channel_dropout=channel_dropout,
            weight_standardized=weight_standardized,
            device="meta",
            dtype=dtype,
            **convolution,
        )
    sizes = (in_channels, out_channels, kernel_size, stride)
    return nn.Sequential(
        PaddedConv(2, *sizes, device="meta", dtype=dtype, **convolution),
        function().to(device="meta", dtype=dtype),
        (nn.Dropout2d if channel_dropout else nn.Dropout)(dropout),
    )


def initialize_block(
    block: nn.Module, method: str, gain: float, generator: torch.Generator | None
) -> None:
    """Draw a block's weights; a learned slope starts where its gain assumes it."""
    init.initialize_(block, method=method, gain=gain, generator=generator)
    for part in block.modules():
        if isinstance(part, nn.PReLU):
            part.reset_parameters()


def check_choices(
    activation: str, known: Iterable[str], weight_init: str, weight_standardized: bool
) -> None:
    """Refuse names that are none, and standardised weights beside other activations."""
    names = sorted({*known, "selu"})
    if not isinstance(activation, str) or activation not in names:
        raise DomainError(f"activation must be one of {names}, however: activation={activation!r}")
    if weight_init not in _WEIGHT_INITS:
        raise DomainError(
            f"weight_init must be one of {list(_WEIGHT_INITS)}, however: "
            f"weight_init={weight_init!r}"
        )
    if weight_standardized and activation != "selu":
        raise DomainError(
            "standardised weights have sum of squares 1, which keeps the variance after SELU "
            f"only, however: weight_standardized=True, activation={activation!r}; take "
            "activation='selu'"
        )


def stage_starts(
    count: int, stages: int | None, size: tuple[int, ...], what: str
) -> tuple[int, ...]:
    """Return where each stage starts among ``count`` parts; stages differ by one part at most."""
    if stages is None:
        stages, smallest = 1, min(size)
        while stages < min(3, count) and (smallest := -(-smallest // 2)) >= _LEAST_MAP:
            stages += 1
    elif check_size("stages", stages, 1) > count:
        raise DomainError(
            f"each stage needs one of the {what}, however: stages={stages}, {what}={count}; take "
            f"at most stages={count}, or a larger depth"
        )
    return tuple(-(-k * count // stages) for k in range(stages))


def check_map(index: int, before: tuple[int, ...], after: tuple[int, ...], halved: bool) -> None:
    """Refuse a layer that leaves no map, or that would halve a single pixel."""
    if min(after) < 1 or (halved and max(before) == 1):
        raise DomainError(
            f"the map must not vanish, however: layer {index} (counted from 0) "
            f"{'halves' if halved else 'turns'} its input of {described(before)}"
            f"{'' if halved else f' into {described(after)}'}; take fewer stages or layers, larger "
            "images, or padding='same'"
        )


def check_images(x: Tensor, channels: int, size: tuple[int, ...]) -> None:
    """Refuse what is no batch of images of the size that the head was made for."""
    if x.dim() not in (3, 4) or tuple(x.shape[-3:]) != (channels, *size):
        raise DomainError(
            f"x must have shape (batch, {channels}, {size[0]}, {size[1]}), or that without batch, "
            f"however: x.shape={tuple(x.shape)}; in_channels and image_size are set at "
            "construction"
        )
