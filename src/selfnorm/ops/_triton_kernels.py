"""What the Triton programs compute: decisions, exponentials, the four operators on a tile.

Every function here is compiled by Triton, or interpreted where ``TRITON_INTERPRET=1`` was set
before the import; `_triton` launches them. Key and offset of the decisions are read on the device,
so a CUDA graph can hold a program and draw anew at each replay.

A tile has the shape (BLOCKS, 8): a row is what one Philox block decides, so that a thread which
holds a row draws it alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    import triton
    import triton.language as tl
except ImportError:  # There are wheels for Linux only; _triton.register says so.
    triton = tl = None

__all__ = ["dropped", "elementwise", "jit", "program", "selu_value", "tl", "triton"]


def jit(function: Callable[..., Any]) -> Any:
    """Return the function as Triton compiles it, or as it is where there is no Triton."""
    return function if triton is None else triton.jit(function)


def program(*varying: str) -> Callable[[Callable[..., Any]], Any]:
    """Return `jit` for what is launched; nothing is compiled anew for values of ``varying``."""

    def decorate(function: Callable[..., Any]) -> Any:
        if triton is None:
            return function
        return triton.jit(function, do_not_specialize=varying)

    return decorate


# ---- decisions ------------------------------------------------------------------------------


@jit
def _philox(block: tl.tensor, offset: tl.tensor, key: tl.tensor) -> tl.tensor:
    """Return the four words of Philox blocks with counter (block, offset); see `_reference.philox`.

    All numbers are uint64, words their lower halves; what is above does not matter. Triton weighs
    an operation by the bytes of its result: by words it would rather draw the decisions again, in
    each thread that holds a part of the block, than move them.
    """
    c0 = block
    c1 = block >> 32
    c2 = (block & 0) | offset
    c3 = c2 >> 32
    k0 = key
    k1 = key >> 32
    for _ in tl.static_range(10):
        first = (c0 & 0xFFFFFFFF) * 0xD2511F53
        second = (c2 & 0xFFFFFFFF) * 0xCD9E8D57
        c0 = (second >> 32) ^ c1 ^ k0
        c2 = (first >> 32) ^ c3 ^ k1
        c1 = second
        c3 = first
        k0 += 0x9E3779B9
        k1 += 0xBB67AE85
    return c0.to(tl.uint32), c1.to(tl.uint32), c2.to(tl.uint32), c3.to(tl.uint32)


@jit
def dropped(block: tl.tensor, rng: tl.tensor, upper: tl.tensor, lower: tl.tensor) -> tl.tensor:
    """Return decisions, shape (blocks, 8), for blocks of these numbers; see `drop_mask`.

    ``block`` has shape (blocks,); ``upper`` and ``lower`` are the halves of p 2**32, for p = 1 they
    are 0xFFFF and 0x10000. One thread draws the decisions of a block and packs them into 8 bits,
    which go where the elements are.
    """
    block = block.to(tl.uint64)
    key = tl.load(rng).to(tl.uint64)
    offset = tl.load(rng + 1).to(tl.uint64)
    words = _philox(block, offset, key)
    # Two half-words at a time. Of the difference of their lower 15 bits, bit 15 is the carry, so
    # bit 15 of `below` says which is less; that of `ties` says whether one of the two is equal.
    pair = upper.to(tl.uint32) * 0x10001
    bits = words[0] & 0
    ties = words[0] & 0
    for k in tl.static_range(4):
        carry = (words[k] | 0x80008000) - (pair & 0x7FFF7FFF)
        inverse = words[k] ^ 0xFFFFFFFF
        below = (inverse & pair) | ((inverse | pair) & (carry ^ 0xFFFFFFFF))
        bits |= (below & 0x80008000) >> (15 - k)
        differ = words[k] ^ pair
        ties |= (differ - 0x10001) & (differ ^ 0xFFFFFFFF)
    if tl.max(ties & 0x80008000, 0) > 0:  # One half-word in 2**16 is a tie: seldom.
        second = _philox(block, offset ^ 0x8000000000000000, key)
        for k in tl.static_range(4):
            differ = words[k] ^ pair
            tied = (differ & 0xFFFF == 0) & (second[k] & 0xFFFF < lower)
            bits |= tl.where(tied, 1 << k, 0)
            tied = (differ >> 16 == 0) & (second[k] >> 16 < lower)
            bits |= tl.where(tied, 0x10000 << k, 0)
    # Element 2k is bit k, element 2k + 1 bit 4 + k.
    packed = (bits | (bits >> 12)).to(tl.uint8)
    j = tl.arange(0, 8)
    return (packed[:, None] >> (4 * (j % 2) + j // 2).to(tl.uint8)[None, :]) & 1 != 0


# ---- exponentials for arguments <= 0 ----------------------------------------------------------
# exp(z) = 2**n (1 + r + r**2 q(r)) with z = n log 2 + r; the coefficients of q and the splitting of
# log 2 are those of the native library (tools/polynomials.py derives them). Constants are written
# where they are used: so they take the type of the expression. What z > 0 gives is not used.


@jit
def _reduced(z: tl.tensor, floor: tl.tensor) -> tl.tensor:
    """Return n + 1.5 2**(digits - 1), which has n in its low bits, and exp(r) - 1."""
    z = tl.where(z < floor, floor, z)  # NaN goes on
    if z.dtype == tl.float64:
        shifted = z * 1.4426950408889634 + 6755399441055744.0
        n = shifted - 6755399441055744.0
        r = (z - n * 0.69314718036912382) - n * 1.9082149292705877e-10
        q = r * 2.0914686968086877e-9 + 2.5105217004720745e-8
        q = q * r + 2.7557273643110295e-7
        q = q * r + 2.7557255400206424e-6
        q = q * r + 2.4801587325547741e-5
        q = q * r + 0.00019841269874820625
        q = q * r + 0.0013888888888883748
        q = q * r + 0.0083333333333261351
        q = q * r + 0.04166666666666667
        q = q * r + 0.16666666666666671
        q = q * r + 0.5
    else:
        shifted = z * 1.44269504 + 12582912.0
        n = shifted - 12582912.0
        r = (z - n * 0.693145752) - n * 1.42860677e-6
        q = r * 0.000198909908 + 0.001393365
        q = q * r + 0.00833331093
        q = q * r + 0.0416664649
        q = q * r + 0.166666667
        q = q * r + 0.500000001
    return shifted, (r * r) * q + r


@jit
def _expm1(z: tl.tensor) -> tl.tensor:
    """Return exp(z) - 1; below the floors exp(z) is far under half a bit of 1."""
    if z.dtype == tl.float64:
        shifted, rest = _reduced(z, -700.0)
        bits = (shifted.to(tl.int64, bitcast=True) << 52) + 0x3FF0000000000000
        power = bits.to(tl.float64, bitcast=True)
    else:
        shifted, rest = _reduced(z, -80.0)
        bits = (shifted.to(tl.int32, bitcast=True) << 23) + 0x3F800000
        power = bits.to(tl.float32, bitcast=True)
    return power * rest + (power - 1.0)


@jit
def _times_exp(z: tl.tensor, c: tl.tensor, c_low: tl.tensor) -> tl.tensor:
    """Return (c + c_low) exp(z), down to subnormal results: 2**n is multiplied in halves."""
    if z.dtype == tl.float64:
        shifted, rest = _reduced(z, -746.0)
        n = (shifted.to(tl.int64, bitcast=True) << 32) >> 32
        half = n >> 1
        first = ((half + 1023) << 52).to(tl.float64, bitcast=True)
        second = ((n - half + 1023) << 52).to(tl.float64, bitcast=True)
    else:
        shifted, rest = _reduced(z, -104.5)
        n = shifted.to(tl.int32, bitcast=True) - 0x4B400000
        half = n >> 1
        first = ((half + 127) << 23).to(tl.float32, bitcast=True)
        second = ((n - half + 127) << 23).to(tl.float32, bitcast=True)
    e = rest + 1.0
    return (c * e + c_low * e) * first * second


# ---- the operators ----------------------------------------------------------------------------
# LOW: the result is rounded to 16 bits, so the hardware's exp2, right to 2**-22, is enough.


@jit
def selu_value(
    z: tl.tensor,
    positive: tl.tensor,
    c: tl.tensor,
    c_low: tl.tensor,
    minus_b: tl.tensor,
    at_drop: tl.tensor,
    LOW: tl.constexpr,
) -> tl.tensor:
    """Return what `_reference.selu_value` does for z = x + bias."""
    if LOW:
        far = c * tl.exp2(z * 1.4426950408889634) + at_drop
        near = z * (c + z * (c * 0.5 + z * (c / 6.0))) - minus_b
        # Here the error of the first, 2**-22 / 0.04, is about that of the second, 0.04**3 / 24.
        left = tl.where(z < -0.04, far, near)
    else:
        t = _expm1(z)
        left = c * t + (c_low * t - minus_b)
    # At zero both sides agree, and positive z - 0 keeps the sign of -0.
    return tl.where(z >= 0, positive * z - minus_b, left)


@jit
def _slope(
    z: tl.tensor, positive: tl.tensor, c: tl.tensor, c_low: tl.tensor, LOW: tl.constexpr
) -> tl.tensor:
    """Return the derivative of `selu_value` by z."""
    if LOW:  # exp2 alone would take what is below 2**-126 for 0.
        left = (c * 5.421010862427522e-20) * tl.exp2(z * 1.4426950408889634 + 64.0)  # 2**-64
    else:
        left = _times_exp(z, c, c_low)
    return tl.where(z > 0, positive, left)


@jit
def _offsets(
    block: tl.tensor, row: tl.tensor, column: tl.tensor, stride: tl.tensor, ROWS: tl.constexpr
) -> tl.tensor:
    """Return where the elements of the blocks lie, stride and column in blocks of 8 elements."""
    start = row * stride + column if ROWS else block
    return (start * 8)[:, None] + tl.arange(0, 8)[None, :]


@program(
    *("start", "end", "numel", "columns", "magic", "shift", "upper", "lower"),
    *("x_stride", "grad_stride", "out_stride"),
)
def elementwise(
    x: tl.tensor,
    grad: tl.tensor,
    bias: tl.tensor,
    rng: tl.tensor,
    out: tl.tensor,
    start: tl.tensor,
    end: tl.tensor,
    numel: tl.tensor,
    columns: tl.tensor,
    magic: tl.tensor,
    shift: tl.tensor,
    x_stride: tl.tensor,
    grad_stride: tl.tensor,
    out_stride: tl.tensor,
    upper: tl.tensor,
    lower: tl.tensor,
    positive: tl.float64,
    c: tl.float64,
    c_low: tl.float64,
    minus_b: tl.float64,
    at_drop: tl.float64,
    OP: tl.constexpr,
    ROWS: tl.constexpr,
    TAIL: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCKS: tl.constexpr,
) -> None:
    """Apply an operator to the blocks from ``start`` up to ``end``.

    Strides and columns count blocks of 8 elements. With ``TAIL`` the last block is not full, and
    ends at ``numel``. With ``WIDE`` there are offsets of 2**31 and more.
    """
    first = tl.program_id(0)
    if WIDE:
        first = first.to(tl.int64)
    block = first * BLOCKS + tl.arange(0, BLOCKS) + start
    row = block
    column = block
    if ROWS:
        if WIDE:
            row = block // columns
        else:  # Division by a constant, after Granlund and Montgomery (PLDI 1994)
            n = block.to(tl.uint32)
            row = ((tl.umulhi(n, n * 0 + magic.to(tl.uint32)) + n) >> shift.to(tl.uint32)).to(
                tl.int32
            )
        column = block - row * columns
    # Whole blocks share their bounds check, which leaves wide accesses possible.
    inside = (block < end)[:, None]
    if TAIL:
        inside = (block * 8)[:, None] + tl.arange(0, 8)[None, :] < numel
    z = tl.load(x + _offsets(block, row, column, x_stride, ROWS), inside, 0.0)
    if OP == "selu_grad" or OP == "selu_grad_from_output":
        g = tl.load(grad + _offsets(block, row, column, grad_stride, ROWS), inside, 0.0)
    F: tl.constexpr = tl.float64 if x.dtype.element_ty == tl.float64 else tl.float32
    LOW: tl.constexpr = x.dtype.element_ty.primitive_bitwidth == 16
    z = z.to(F)
    positive = tl.full((), positive, F)
    c = tl.full((), c, F)
    c_low = tl.full((), c_low, F)
    minus_b = tl.full((), minus_b, F)
    at_drop = tl.full((), at_drop, F)
    if bias is not None:
        z += tl.load(bias + _offsets(column, row, column, 0, False), inside, 0.0)
    if rng is not None:
        drop = dropped(block, rng, upper, lower)
    if OP == "selu":
        y = selu_value(z, positive, c, c_low, minus_b, at_drop, LOW)
        if rng is not None:
            y = tl.where(drop, at_drop, y)
    elif OP == "selu_grad":
        y = g.to(F) * _slope(z, positive, c, c_low, LOW)
        if rng is not None:
            y = tl.where(drop, 0.0, y)
    elif OP == "selu_grad_from_output":
        above = z - at_drop
        slope = tl.where(z > -minus_b, positive, tl.where(above < 0, 0.0, above))
        y = tl.where(slope == 0, 0.0, g.to(F) * slope)
    else:  # alpha_dropout
        y = tl.where(drop, at_drop, positive * z - minus_b)
    tl.store(out + _offsets(block, row, column, out_stride, ROWS), y, inside)
