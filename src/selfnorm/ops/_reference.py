"""The specification of the operators, in plain torch.

Everything faster is tested against this file, and falls back on it. bfloat16 and float16 are
computed in float32 and rounded once. `elu`, `selu_value`, `selu_slope` and `alpha_dropout_value`
are compositions of differentiable torch functions; the operators below them draw the decisions.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from selfnorm.ops._schema import LIBRARY

__all__ = [
    "alpha_dropout",
    "alpha_dropout_value",
    "drop_mask",
    "elu",
    "philox",
    "selu",
    "selu_grad",
    "selu_grad_from_output",
    "selu_slope",
    "selu_value",
    "widen",
]

# Where exp(x) - 1 is taken from another formula: expm1(x) loses nothing near zero, exp(x) - 1
# nothing far left; at -log 2 both are exact to about one unit in the last place.
_SPLIT: Final = -math.log(2.0)


def widen(x: Tensor) -> Tensor:
    """Return bfloat16 and float16 as float32, anything else as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


# ---- values and slopes, for given decisions -----------------------------------------------


def elu(x: Tensor, alpha: float, scale: float = 1.0) -> Tensor:
    """Return scale x for x > 0, scale alpha (exp(x) - 1) elsewhere; the slope at 0 is the left."""
    return _piecewise(widen(x), scale, scale * alpha).to(x.dtype)


def _piecewise(x: Tensor, positive: float, negative: float) -> Tensor:
    near = torch.expm1(x.clamp(_SPLIT, 0.0))
    far = torch.exp(x.clamp(max=_SPLIT)) - 1.0
    return torch.where(x > 0, positive * x, negative * torch.where(x < _SPLIT, far, near))


def selu_value(
    x: Tensor,
    bias: Tensor | None,
    drop: Tensor | None,
    alpha: float,
    scale: float,
    a: float,
    b: float,
) -> Tensor:
    """Return a selu(x + bias) + b where kept, b - a scale alpha where ``drop`` is true."""
    z = widen(x) if bias is None else widen(x) + bias
    y = _piecewise(z, a * scale, a * scale * alpha)
    if b != 0.0:  # -0.0 + 0.0 would lose the sign.
        y = y + b
    if drop is not None:
        y = torch.where(drop, b - a * scale * alpha, y)
    return y.to(x.dtype)


def selu_slope(
    x: Tensor, bias: Tensor | None, drop: Tensor | None, alpha: float, scale: float, a: float
) -> Tensor:
    """Return the derivative of `selu_value` by x, 0 where dropped, in the type of the computing."""
    z = widen(x) if bias is None else widen(x) + bias
    slope = torch.where(z > 0, a * scale, a * scale * alpha * torch.exp(z.clamp(max=0.0)))
    return slope if drop is None else torch.where(drop, 0.0, slope)


def alpha_dropout_value(x: Tensor, drop: Tensor, a: float, b: float, saturation: float) -> Tensor:
    """Return a x + b where kept, a saturation + b where ``drop`` is true; both are rounded once.

    A dropped infinity or NaN leaves no trace, forward or backward.
    """
    return torch.where(drop, a * saturation + b, widen(x) * a + b).to(x.dtype)


# ---- decisions ------------------------------------------------------------------------------

_MULTIPLIERS: Final = (0xD2511F53, 0xCD9E8D57)
_WEYL: Final = (0x9E3779B9, 0xBB67AE85)
_LOW: Final = 0xFFFFFFFF
_BLOCKS: Final = 1 << 14  # at a time, so that the work stays in the cache


def philox(counter: Tensor, key: Tensor) -> Tensor:
    """Return Philox4x32 with ten rounds (Salmon et al., SC 2011), as the authors test it.

    ``counter`` holds words of 32 bits in int64, shape (4, n), ``key`` likewise, shape (2,); the
    result is like ``counter``.
    """
    even, odd = counter[0::2], counter[1::2]
    multiplier = torch.tensor(_MULTIPLIERS, device=counter.device).unsqueeze(1)
    weyl = torch.tensor(_WEYL, device=counter.device)
    for k in range(10):
        product = even * multiplier  # Wraps beyond 2**63; the bits are right.
        round_key = ((key + k * weyl) & _LOW).unsqueeze(1)
        high = (product >> 32) & _LOW
        even, odd = high.flip(0) ^ odd ^ round_key, (product & _LOW).flip(0)
    return torch.stack((even[0], odd[0], even[1], odd[1]))


def drop_mask(rng: Tensor, shape: tuple[int, ...], p: float) -> Tensor:
    """Return decisions that are true with probability p, as booleans of this shape.

    Element i, counted along contiguous rows, takes half-word i % 8 (low halves first) of the
    Philox block with counter (i // 8, offset) and key, each of 64 bits, low words first. It is
    dropped if this half-word is below the upper 16 bits of p 2**32; where it equals them, the same
    half-word of a second block, with the top bit of the counter set, decides by the lower 16.
    """
    count = math.prod(shape)
    upper, lower = divmod(round(p * 2.0**32), 1 << 16)
    words = torch.stack((rng & _LOW, (rng >> 32) & _LOW))  # low and high of key, of offset
    drop = torch.empty(-(-count // 8) * 8, dtype=torch.bool, device=rng.device)
    for start in range(0, drop.numel() // 8, _BLOCKS):
        block = torch.arange(start, min(start + _BLOCKS, drop.numel() // 8), device=rng.device)
        counter = torch.empty(4, block.numel(), dtype=torch.int64, device=rng.device)
        counter[0], counter[1] = block & _LOW, block >> 32
        counter[2:] = words[:, 1].unsqueeze(1)
        half = _half_words(philox(counter, words[:, 0]))
        here = drop[8 * start : 8 * start + half.numel()]
        torch.lt(half, upper, out=here)
        tie = half == upper
        if lower and tie.any():
            counter[3] ^= 1 << 31
            here |= tie & (_half_words(philox(counter, words[:, 0])) < lower)
    return drop[:count].view(shape)


def _half_words(words: Tensor) -> Tensor:
    return torch.stack((words & 0xFFFF, words >> 16), dim=-1).transpose(0, 1).reshape(-1)


# ---- the operators --------------------------------------------------------------------------


def selu(
    x: Tensor,
    bias: Tensor | None,
    rng: Tensor | None,
    p: float,
    alpha: float,
    scale: float,
    a: float,
    b: float,
) -> Tensor:
    """Return alpha dropout after SELU after the bias, with one rounding."""
    drop = None if rng is None else drop_mask(rng, tuple(x.shape), p)
    return _like(x, selu_value(x, bias, drop, alpha, scale, a, b))


def selu_grad(
    grad: Tensor,
    x: Tensor,
    bias: Tensor | None,
    rng: Tensor | None,
    p: float,
    alpha: float,
    scale: float,
    a: float,
) -> Tensor:
    """Return ``grad`` times the derivative of `selu` by x; exactly 0 where dropped."""
    drop = None if rng is None else drop_mask(rng, tuple(x.shape), p)
    product = widen(grad) * selu_slope(x, bias, None, alpha, scale, a)
    return _like(grad, product if drop is None else torch.where(drop, 0.0, product))


def selu_grad_from_output(
    grad: Tensor, y: Tensor, alpha: float, scale: float, a: float, b: float
) -> Tensor:
    """Return what `selu_grad` does, from the result of `selu`.

    The slope is right to 2**-23 of its largest value in float32: left of zero it is the distance
    of y from the value of a dropped element, which is known no better.
    """
    wide = widen(y)
    slope = torch.where(wide > b, a * scale, (wide - (b - a * scale * alpha)).clamp(min=0.0))
    product = widen(grad) * slope
    return _like(grad, torch.where(slope == 0.0, 0.0, product))


def alpha_dropout(
    x: Tensor, rng: Tensor, p: float, a: float, b: float, saturation: float
) -> Tensor:
    """Return a x + b where kept, a saturation + b where dropped."""
    drop = drop_mask(rng, tuple(x.shape), p)
    return _like(x, alpha_dropout_value(x, drop, a, b, saturation))


def _like(x: Tensor, result: Tensor) -> Tensor:
    """Return ``result`` in the type and the memory format of ``x``."""
    return torch.empty_like(x).copy_(result)


def _into(operator: Callable[..., Tensor], *args: object, out: Tensor) -> None:
    out.copy_(operator(*args))


for _operator in (selu, selu_grad, selu_grad_from_output, alpha_dropout):
    LIBRARY.impl(_operator.__name__, _operator, "CompositeExplicitAutograd")
    LIBRARY.impl(
        f"{_operator.__name__}.out",
        functools.partial(_into, _operator),
        "CompositeExplicitAutograd",
    )
