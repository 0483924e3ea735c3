"""The operators of `_schema` for CUDA tensors: checks, layouts, and the launch of the programs.

Where ``TRITON_INTERPRET=1`` was set before the import, the functions below take CPU tensors and run
in Triton's interpreter; so the tests need no device.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from selfnorm.errors import DomainError
from selfnorm.ops._schema import LIBRARY
from selfnorm.ops._triton_kernels import elementwise, triton

__all__ = [
    "OPERATORS",
    "Constants",
    "alpha_dropout",
    "check_bias",
    "check_rng",
    "check_type",
    "constants",
    "decisions",
    "on_device_of",
    "register",
    "selu",
    "selu_grad",
    "selu_grad_from_output",
]

# Philox blocks, of 8 elements, and warps of a program: two blocks for each thread. Fewer, and the
# search for ties weighs more; more, and the registers leave too few threads to hide the memory.
BLOCKS: Final = 256
WARPS: Final = 4

_FLAT: Final = (1, [0, 0, 0])  # columns and strides where rows do not matter

# The oldest devices that Triton is made for (compute capability).
_OLDEST: Final = (8, 0)

_COMPUTED: Final = {
    torch.float64: torch.float64,
    torch.float32: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float16: torch.float32,
}


# ---- numbers for the programs -----------------------------------------------------------------


class Constants(NamedTuple):
    """What the programs get to know of alpha, scale, a and b.

    ``positive`` is the factor right of zero, ``c + c_low`` the one left of it, in two parts of the
    type of the computing, ``at_drop`` the value of a dropped element. What is subtracted at the end
    is ``minus_b``, +0 where nothing is: adding +0 would lose the sign of -0.
    """

    positive: float
    c: float
    c_low: float
    minus_b: float
    at_drop: float


@functools.lru_cache(maxsize=256)
def constants(dtype: torch.dtype, alpha: float, scale: float, a: float, b: float) -> Constants:
    """Return the constants for tensors of this type."""
    positive = a * scale
    c = positive * alpha
    high = c if dtype == torch.float64 else torch.tensor(c, dtype=torch.float32).item()
    return Constants(positive, high, c - high, 0.0 - b, b - c)


@functools.lru_cache(maxsize=256)
def decisions(p: float) -> tuple[int, int]:
    """Return the upper and the lower 16 bits of p 2**32, with a carry between them for p = 1."""
    if not 0.0 <= p <= 1.0:
        raise DomainError(f"p must be in [0, 1], however: p={p}")
    upper = min(round(p * 2.0**32) >> 16, 0xFFFF)
    return upper, round(p * 2.0**32) - (upper << 16)


@functools.lru_cache(maxsize=256)
def _division(divisor: int) -> tuple[int, int]:
    """Return (magic, shift) such that n // divisor = (n magic // 2**32 + n) >> shift, n < 2**31.

    The magic number, below 2**32, comes as the int32 of the same bits.
    """
    shift = (divisor - 1).bit_length()
    magic = (((1 << shift) - divisor) << 32) // divisor + 1
    return (magic + 2**31) % 2**32 - 2**31, shift


# ---- checks -----------------------------------------------------------------------------------


def _about(x: Tensor) -> str:
    return f"{x.dtype} of shape {tuple(x.shape)} on {x.device}"


def check_type(x: Tensor, name: str) -> None:
    """Refuse what no program computes."""
    if x.dtype not in _COMPUTED:
        raise DomainError(
            f"{name} must be float64, float32, bfloat16 or float16, however: {name} is {_about(x)}"
        )


def _check_like(x: Tensor, other: Tensor, name: str) -> None:
    if other.shape != x.shape or other.dtype != x.dtype or other.device != x.device:
        raise DomainError(
            f"{name} must be {_about(x)}, as x or y is, however: it is {_about(other)}"
        )


def check_bias(dtype: torch.dtype, features: int, bias: Tensor, device: torch.device) -> None:
    """Refuse a bias that does not fit."""
    wanted = _COMPUTED[dtype]
    if bias.shape != (features,) or bias.dtype != wanted or bias.device != device:
        raise DomainError(
            f"bias must be {wanted}, which {dtype} is computed in, of shape ({features},) on "
            f"{device}, however: it is {_about(bias)}"
        )


def check_rng(rng: Tensor, device: torch.device) -> None:
    """Refuse what is not key and offset."""
    if rng.dtype != torch.int64 or rng.shape != (2,) or rng.device != device:
        raise DomainError(
            f"rng must be key and offset, torch.int64 of shape (2,) on {device}, however: it is "
            f"{_about(rng)}"
        )


# ---- layouts ----------------------------------------------------------------------------------


def _row_stride(x: Tensor) -> int | None:
    """Return the distance of rows, if contiguous rows lie at one distance; else None."""
    columns = x.shape[-1]
    if columns != 1 and x.stride(-1) != 1:
        return None
    distance, expected = columns, None
    for size, stride in zip(reversed(x.shape[:-1]), reversed(x.stride()[:-1]), strict=True):
        if size == 1:
            continue
        if stride < columns if expected is None else stride != expected:
            return None
        distance = stride if expected is None else distance
        expected = stride * size
    return distance


def _overlap(x: Tensor, out: Tensor) -> bool:
    """Return whether ``out`` shares memory with ``x`` other than element by element."""
    start, to = x.data_ptr(), out.data_ptr()
    if start == to and x.stride() == out.stride():
        return False
    return start < to + _extent(out) and to < start + _extent(x)


def _extent(x: Tensor) -> int:
    """Return how many bytes lie between the first element and the end of the last."""
    if x.is_contiguous():
        return x.nbytes
    span = sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True))
    return (span + 1) * x.element_size()


def _one_order(tensors: Sequence[Tensor]) -> bool:
    """Return whether all fill a range of memory without gaps, in the same order."""
    stride = tensors[0].stride()
    return bool(torch.ops.aten.is_non_overlapping_and_dense.default(tensors[0])) and all(
        t.stride() == stride for t in tensors[1:]
    )


# ---- launch -----------------------------------------------------------------------------------


def _apply(
    op: str,
    inputs: tuple[Tensor, ...],
    bias: Tensor | None,
    rng: Tensor | None,
    p: float,
    numbers: Constants,
    out: Tensor,
) -> None:
    """Run an operator from inputs, x or (x, grad), to out, whatever their layouts."""
    x = inputs[0]
    check_type(x, "x")
    _check_like(x, out, "out")
    if len(inputs) > 1:
        _check_like(x, inputs[1], "grad")
    columns = x.shape[-1] if x.dim() else 1
    if bias is not None:
        check_bias(x.dtype, columns, bias, x.device)
        bias = bias.contiguous()
    halves = (0, 0)
    if rng is not None:
        check_rng(rng, x.device)
        halves = decisions(p)
        rng = rng.contiguous()
    if x.numel() == 0:
        return
    tensors = (*inputs, out)
    contiguous = True
    for t in inputs:
        if _overlap(t, out):
            result = torch.empty_like(out)
            _apply(op, inputs, bias, rng, p, numbers, result)
            out.copy_(result)
            return
        contiguous = contiguous and t.is_contiguous()
    contiguous = contiguous and out.is_contiguous()
    if bias is None and (contiguous or (rng is None and _one_order(tensors))):
        _launch(op, tensors, None, rng, halves, numbers, None)
        return
    if contiguous and bias is not None:
        if (
            columns % 8
        ):  # Rows of several, so many that 8 divides their length; the last is cut off.
            bias = bias.repeat(8 // math.gcd(8, columns))
        row = bias.shape[0] // 8
        _launch(op, tensors, bias, rng, halves, numbers, (row, [row] * len(tensors)))
        return
    strides = [_row_stride(t) for t in tensors] if x.dim() else []
    rows = [s // 8 for s in strides if s is not None and s % 8 == 0]
    if columns % 8 == 0 and len(rows) == len(tensors):
        _launch(op, tensors, bias, rng, halves, numbers, (columns // 8, rows))
        return
    copies = tuple(t.contiguous() for t in inputs)
    result = out if out.is_contiguous() else torch.empty_like(copies[0])
    _apply(op, copies, bias, rng, p, numbers, result)
    if result is not out:
        out.copy_(result)


def _launch(
    op: str,
    tensors: tuple[Tensor, ...],
    bias: Tensor | None,
    rng: Tensor | None,
    halves: tuple[int, int],
    numbers: Constants,
    rows: tuple[int, list[int]] | None,
) -> None:
    """Launch over flat memory, or over rows: columns and the strides, both in blocks of 8."""
    x, out = tensors[0], tensors[-1]
    grad = tensors[1] if len(tensors) == 3 else None
    numel = x.numel()
    full, tail = divmod(numel, 8)
    columns, strides = rows or _FLAT
    reach = numel if rows is None else max(numel, (full // columns + 1) * max(strides) * 8)
    # The last program may count beyond the end.
    wide = reach + 8 * BLOCKS >= 2**31
    # A partial block needs bounds for each element, hence narrow accesses: few of them.
    if tail and full >= BLOCKS:
        parts = [(0, full, False), (full, full + 1, True)]
    else:
        parts = [(0, full + (tail > 0), tail > 0)]
    for start, end, partial in parts:
        elementwise[((end - start - 1) // BLOCKS + 1,)](
            x, grad, bias, rng, out, start, end, numel, columns, *_division(columns),
            strides[0], strides[len(tensors) - 2], strides[-1], *halves, *numbers,
            OP=op, ROWS=rows is not None, TAIL=partial, WIDE=wide, BLOCKS=BLOCKS,
            num_warps=WARPS,
        )  # fmt: skip


def on_device_of(function: Callable[..., None]) -> Callable[..., None]:
    """Return a function that runs with the device of its first argument as the current one."""

    @functools.wraps(function)
    def guarded(first: Tensor, *args: object, **kwargs: object) -> None:
        if first.is_cuda and first.get_device() != torch.cuda.current_device():
            with torch.cuda.device(first.device):
                function(first, *args, **kwargs)
        else:
            function(first, *args, **kwargs)

    return guarded


# ---- the operators, into given tensors ----------------------------------------------------------


def selu(
    x: Tensor,
    bias: Tensor | None,
    rng: Tensor | None,
    p: float,
    alpha: float,
    scale: float,
    a: float,
    b: float,
    *,
    out: Tensor,
) -> None:
    """Write what `_reference.selu` returns."""
    _apply("selu", (x,), bias, rng, p, constants(x.dtype, alpha, scale, a, b), out)


def selu_grad(
    grad: Tensor,
    x: Tensor,
    bias: Tensor | None,
    rng: Tensor | None,
    p: float,
    alpha: float,
    scale: float,
    a: float,
    *,
    out: Tensor,
) -> None:
    """Write what `_reference.selu_grad` returns."""
    numbers = constants(x.dtype, alpha, scale, a, 0.0)
    _apply("selu_grad", (x, grad), bias, rng, p, numbers, out)


def selu_grad_from_output(
    grad: Tensor, y: Tensor, alpha: float, scale: float, a: float, b: float, *, out: Tensor
) -> None:
    """Write what `_reference.selu_grad_from_output` returns."""
    numbers = constants(y.dtype, alpha, scale, a, b)
    _apply("selu_grad_from_output", (y, grad), None, None, 0.0, numbers, out)


def alpha_dropout(
    x: Tensor, rng: Tensor, p: float, a: float, b: float, saturation: float, *, out: Tensor
) -> None:
    """Write what `_reference.alpha_dropout` returns."""
    # a saturation + b is what SELU's constants alpha = -saturation and scale = 1 make of it.
    numbers = constants(x.dtype, -saturation, 1.0, a, b)
    _apply("alpha_dropout", (x,), None, rng, p, numbers, out)


OPERATORS: Final = {
    function.__name__: on_device_of(function)
    for function in (selu, selu_grad, selu_grad_from_output, alpha_dropout)
}


def _returned(write: Callable[..., None], first: Tensor, *args: object) -> Tensor:
    out = torch.empty_like(first)
    write(first, *args, out=out)
    return out


def register() -> tuple[bool, str]:
    """Take over CUDA tensors, if there are devices for it; to be called once.

    Returns
    -------
    tuple of bool and str
        Whether the programs answer from now on, and why (not).

    Examples
    --------
    >>> import os
    >>> before = os.environ.get("SELFNORM_TRITON")
    >>> os.environ["SELFNORM_TRITON"] = "0"
    >>> register()
    (False, 'SELFNORM_TRITON=0 in the environment switches the Triton kernels off')
    >>> _ = os.environ.pop("SELFNORM_TRITON")
    >>> if before is not None:
    ...     os.environ["SELFNORM_TRITON"] = before
    """
    if os.environ.get("SELFNORM_TRITON", "1") == "0":
        return False, "SELFNORM_TRITON=0 in the environment switches the Triton kernels off"
    if triton is None:
        return False, "Triton is not installed; where it has wheels (Linux), pip install triton"
    if not torch.cuda.is_available():
        return False, "torch sees no CUDA device here"
    for device in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_capability(device)
        if torch.version.hip is None and found < _OLDEST:
            name = torch.cuda.get_device_name(device)
            return False, (
                f"Triton needs compute capability {_OLDEST}, however: device {device}, {name}, has "
                f"{found}; CUDA_VISIBLE_DEVICES can hide it"
            )
    for name, write in OPERATORS.items():
        LIBRARY.impl(name, functools.partial(_returned, write), "CUDA")
        LIBRARY.impl(f"{name}.out", write, "CUDA")
    return True, f"Triton {triton.__version__}, programs compiled on first use"
