"""The specification of the operators, in plain torch.

Everything faster is tested against this file. The operators are compositions of torch
functions, so that autograd of any order, forward mode, ``vmap``, ``torch.compile`` and
``torch.export`` come with them. bfloat16 and float16 are computed in float32 and rounded once,
forward and backward alike.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

__all__ = ["alpha_dropout", "drop_mask", "elu", "selu", "selu_dropout", "widen"]

# Where the slope is taken from another formula: expm1(x) + 1 loses digits far left, exp(x) - 1
# near zero; at -log 2 both are exact to about one unit in the last place.
_SPLIT: Final = -math.log(2.0)


def elu(x: Tensor, alpha: float) -> Tensor:
    """Return x for x > 0, alpha (exp(x) - 1) elsewhere; the slope at 0 is alpha."""
    return _piecewise(widen(x), 1.0, alpha).to(x.dtype)


def selu(x: Tensor, alpha: float, scale: float) -> Tensor:
    """Return scale times ``elu(x, alpha)``; the slope at 0 is scale times alpha."""
    return _piecewise(widen(x), scale, scale * alpha).to(x.dtype)


def drop_mask(
    x: Tensor, shape: tuple[int, ...], p: float, generator: torch.Generator | None
) -> Tensor:
    """Draw booleans that are true with probability ``p``, for use with ``x``.

    ``p`` is rounded up to a multiple of 2**-24, the step of torch's float32 uniform numbers.
    """
    if generator is None:  # The overload with a generator takes no symbolic shape.
        drop = torch.rand(shape, dtype=torch.float32, device=x.device) < p
    else:
        drop = torch.rand(shape, dtype=torch.float32, device=x.device, generator=generator) < p
    if x.is_contiguous():
        return drop
    # In the memory format of x, which the result of torch.where takes from its condition.
    return torch.zeros_like(x, dtype=torch.bool) | drop


def alpha_dropout(x: Tensor, drop: Tensor, a: float, b: float, saturation: float) -> Tensor:
    """Return a x + b where kept, a saturation + b where ``drop`` is true; both are rounded once.

    A dropped infinity or NaN leaves no trace, forward or backward.
    """
    return torch.where(drop, a * saturation + b, widen(x) * a + b).to(x.dtype)


def selu_dropout(
    x: Tensor, bias: Tensor | None, alpha: float, scale: float, drop: Tensor, a: float, b: float
) -> Tensor:
    """Return ``alpha_dropout(selu(x + bias))`` with one rounding at the end."""
    work = widen(x) if bias is None else widen(x) + widen(bias)
    y = _piecewise(work, scale, scale * alpha)
    return alpha_dropout(y, drop, a, b, -scale * alpha).to(x.dtype)


def _piecewise(x: Tensor, positive: float, negative: float) -> Tensor:
    """Return positive * x right of zero and negative * (exp(x) - 1) elsewhere."""
    near = torch.expm1(x.clamp(_SPLIT, 0.0))
    far = torch.exp(x.clamp(max=_SPLIT)) - 1.0
    return torch.where(x > 0, positive * x, negative * torch.where(x < _SPLIT, far, near))


def widen(x: Tensor) -> Tensor:
    """Return bfloat16 and float16 as float32, anything else as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
