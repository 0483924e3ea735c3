"""Padding for convolutions: sizes, and borders that keep the variance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from torch import Tensor
from torch.nn import functional

from selfnorm.errors import DomainError
from selfnorm.nn._checks import check_sizes

__all__ = [
    "PADDING_MODES",
    "border_factors",
    "described",
    "output_size",
    "pad",
    "padding_widths",
]

PADDING_MODES: Final = ("circular", "reflect", "replicate", "rescaled", "zeros")

Widths = tuple[tuple[int, int], ...]


def padding_widths(
    padding: str | int | Sequence[int], kernel: tuple[int, ...], dilation: tuple[int, ...]
) -> Widths:
    """Return what is added before and after along each spatial dimension.

    "same" adds dilation * (kernel - 1) in all, whatever the stride and the input: then the output
    has ceil(size / stride) positions.
    """
    if padding == "same":
        spans = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((span // 2, span - span // 2) for span in spans)
    if padding == "valid":
        padding = 0
    if isinstance(padding, str):
        raise DomainError(
            "padding must be 'same', 'valid', an integer or one per spatial dimension, however: "
            f"padding={padding!r}"
        )
    return tuple((p, p) for p in check_sizes("padding", padding, len(kernel), 0))


def output_size(
    size: Sequence[int],
    widths: Widths,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[int, ...]:
    """Return the spatial size of a convolution's output; 0 or less where nothing is left."""
    return tuple(
        (n + low + high - d * (k - 1) - 1) // s + 1
        for n, (low, high), k, s, d in zip(size, widths, kernel, stride, dilation, strict=True)
    )


def pad(x: Tensor, widths: Widths, mode: str) -> Tensor:
    """Pad the last dimensions of a tensor; refuse what the mode has no pixels for."""
    if not any(low or high for low, high in widths):
        return x
    flat = [width for pair in reversed(widths) for width in pair]
    if mode in ("rescaled", "zeros"):
        return functional.pad(x, flat)
    size = tuple(x.shape[-len(widths) :])
    most = {"reflect": -1, "circular": 0}.get(mode)
    if most is not None and any(max(pair) > n + most for pair, n in zip(widths, size, strict=True)):
        raise DomainError(
            f"padding_mode={mode!r} takes its border from inside the map, so it must be "
            f"{'smaller than' if most else 'at most'} the map, however: padding={widths}, "
            f"map={size}; take padding_mode='replicate', which fits every size"
        )
    return functional.pad(x, flat, mode=mode)


def border_factors(
    size: Sequence[int],
    widths: Widths,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> list[list[float]]:
    """Return sqrt(taps / taps inside the map) for each output position, one list per dimension.

    Of a window's K taps k lie inside; independent weights give the sum over them k / K of the
    variance that the whole window has. K / k is a product over the dimensions.
    """
    out = output_size(size, widths, kernel, stride, dilation)
    factors = []
    for n, m, (low, _), k, s, d in zip(size, out, widths, kernel, stride, dilation, strict=True):
        inside = [sum(0 <= i * s - low + t * d < n for t in range(k)) for i in range(m)]
        if 0 in inside:
            raise DomainError(
                "every window must have a tap inside the map to be rescaled, however: "
                f"padding={widths}, map={tuple(size)}, kernel_size={kernel}, dilation={dilation}; "
                "take padding='same' and an odd kernel, or padding_mode='replicate'"
            )
        factors.append([math.sqrt(k / count) for count in inside])
    return factors


def described(size: Sequence[int]) -> str:
    """Write a spatial size as 28x28."""
    return "x".join(map(str, size))
