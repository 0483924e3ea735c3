"""A linear layer with bias, SELU and alpha dropout in one Triton program.

It saves writing the product and reading it again, but has to multiply matrices as fast as cuBLAS
does, which depends on device and sizes and which nobody has measured yet. So it is off unless
``SELFNORM_TRITON_LINEAR=1`` is in the environment; ``python -m benchmarks gpu`` compares the two.
"""

from __future__ import annotations

import functools
import os
from typing import Any, Final

import torch
from torch import Tensor

from selfnorm.errors import DomainError
from selfnorm.ops import _triton
from selfnorm.ops._triton_kernels import dropped, program, selu_value, tl, triton

__all__ = ["enabled", "linear_selu"]

# Rows, columns and depth of a tile, warps, stages of the pipeline; for Hopper and Ampere. Columns
# are multiples of 8, so that a program holds whole blocks of decisions.
_TILES: Final = (
    (128, 256, 64, 8, 3),
    (128, 128, 64, 8, 3),
    (128, 128, 64, 4, 4),
    (64, 256, 64, 8, 3),
    (128, 64, 64, 4, 4),
    (64, 128, 32, 4, 4),
    (64, 64, 64, 4, 4),
    (32, 64, 64, 4, 5),
)
Tile = tuple[int, int, int, int, int]


def enabled() -> bool:
    """Return whether ``SELFNORM_TRITON_LINEAR=1`` asks for the fused layer.

    Examples
    --------
    >>> import os
    >>> enabled() == (os.environ.get("SELFNORM_TRITON_LINEAR") == "1")
    True
    """
    return os.environ.get("SELFNORM_TRITON_LINEAR") == "1"


@program("rows", "size", "upper", "lower")
def _program(
    x: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    rng: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    depth: tl.tensor,
    size: tl.tensor,
    upper: tl.tensor,
    lower: tl.tensor,
    positive: tl.float64,
    c: tl.float64,
    c_low: tl.float64,
    minus_b: tl.float64,
    at_drop: tl.float64,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
) -> None:
    """Compute a tile of the result; ``size`` is for the choice of the tile alone."""
    # Programs that run together share rows and columns: eight tiles high, then to the right.
    down, right = tl.cdiv(rows, ROWS), tl.cdiv(columns, COLUMNS)
    group = tl.program_id(0) // (8 * right)
    height = min(down - 8 * group, 8)
    within = tl.program_id(0) % (8 * right)
    i = (8 * group + within % height) * ROWS + tl.arange(0, ROWS)
    j = (within // height) * COLUMNS + tl.arange(0, COLUMNS)
    k = tl.arange(0, DEPTH)
    x += i.to(tl.int64)[:, None] * depth + k[None, :]
    weight += j.to(tl.int64)[:, None] * depth + k[None, :]
    z = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, depth, DEPTH):
        left = k[None, :] < depth - start
        x_tile = tl.load(x, (i < rows)[:, None] & left, 0.0)
        weight_tile = tl.load(weight, (j < columns)[:, None] & left, 0.0)
        z = tl.dot(x_tile, weight_tile.T, z, input_precision=PRECISION)
        x += DEPTH
        weight += DEPTH
    if bias is not None:
        z += tl.load(bias + j, j < columns, 0.0).to(tl.float32)[None, :]
    positive = tl.full((), positive, tl.float32)
    c = tl.full((), c, tl.float32)
    c_low = tl.full((), c_low, tl.float32)
    minus_b = tl.full((), minus_b, tl.float32)
    at_drop = tl.full((), at_drop, tl.float32)
    LOW: tl.constexpr = out.dtype.element_ty.primitive_bitwidth == 16
    y = selu_value(z, positive, c, c_low, minus_b, at_drop, LOW)
    if rng is not None:
        first = (within // height) * (COLUMNS // 8)
        block = i.to(tl.int64)[:, None] * (columns // 8) + (first + tl.arange(0, COLUMNS // 8))
        drop = dropped(tl.reshape(block, [ROWS * COLUMNS // 8]), rng, upper, lower)
        y = tl.where(tl.reshape(drop, [ROWS, COLUMNS]), at_drop, y)
    inside = (i < rows)[:, None] & (j < columns)[None, :]
    tl.store(out + i.to(tl.int64)[:, None] * columns + j[None, :], y, inside)


@functools.cache
def _tuned() -> Any:
    """Return the program with the fastest tile for each size, found on the first call."""
    configs = [
        triton.Config({"ROWS": m, "COLUMNS": n, "DEPTH": k}, num_warps=warps, num_stages=stages)
        for m, n, k, warps, stages in _TILES
    ]
    return triton.autotune(configs, key=["size", "columns", "depth"])(_program)


def linear_selu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rng: Tensor | None,
    p: float,
    alpha: float,
    scale: float,
    a: float,
    b: float,
    *,
    tile: Tile | None = None,
) -> Tensor:
    """Return alpha dropout after SELU after a linear layer, with the decisions of `_schema`'s selu.

    Parameters
    ----------
    x : torch.Tensor
        Shape (..., in_features); float32, bfloat16 or float16.
    weight : torch.Tensor
        Shape (out_features, in_features), of the type of ``x``; out_features a multiple of 8.
    bias : torch.Tensor or None
        Shape (out_features,), of the type of ``x``.
    rng, p, alpha, scale, a, b
        As in `_schema`.
    tile : tuple of int, optional
        Rows, columns and depth of a tile, warps, stages; None: the fastest of several, which the
        first call for sizes tries out, so it cannot be captured in a CUDA graph.

    Returns
    -------
    torch.Tensor
        Shape (..., out_features), contiguous. Products are summed in float32 (with TF32, where
        torch allows that for float32), and there is one rounding, at the end.

    Raises
    ------
    DomainError
        If types or shapes are others.

    Examples
    --------
    >>> import torch
    >>> linear_selu(torch.ones(2, 3), torch.ones(7, 3), None, None, 0.0, 1.5, 1.1, 1.0, 0.0)
    Traceback (most recent call last):
        ...
    selfnorm.errors.DomainError: out_features must be a multiple of 8, however: 7; use linear, \
then selu
    """
    if weight.dim() != 2 or x.dim() == 0 or x.shape[-1] != weight.shape[1]:
        raise DomainError(
            "x must have shape (..., in_features), weight (out_features, in_features), however: "
            f"{tuple(x.shape)} and {tuple(weight.shape)}"
        )
    columns = weight.shape[0]
    if columns % 8:
        raise DomainError(
            f"out_features must be a multiple of 8, however: {columns}; use linear, then selu"
        )
    if x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise DomainError(f"x must be float32, bfloat16 or float16, however: x.dtype={x.dtype}")
    for name, other in (("weight", weight), ("bias", bias)):
        if other is not None and (other.dtype != x.dtype or other.device != x.device):
            raise DomainError(
                f"{name} must have type and device of x, {x.dtype} and {x.device}, however: "
                f"{other.dtype} and {other.device}"
            )
    if bias is not None and bias.shape != (columns,):
        raise DomainError(f"bias must have shape ({columns},), however: {tuple(bias.shape)}")
    halves = (0, 0)
    if rng is not None:
        _triton.check_rng(rng, x.device)
        halves = _triton.decisions(p)
    out = x.new_empty(*x.shape[:-1], columns)
    if out.numel():
        _triton.on_device_of(_run)(
            x.contiguous(),
            weight.contiguous(),
            None if bias is None else bias.contiguous(),
            None if rng is None else rng.contiguous(),
            out,
            halves,
            _triton.constants(x.dtype, alpha, scale, a, b),
            tile,
        )
    return out


def _run(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rng: Tensor | None,
    out: Tensor,
    halves: tuple[int, int],
    numbers: _triton.Constants,
    tile: Tile | None,
) -> None:
    columns, depth = weight.shape
    rows = out.numel() // columns
    precise = torch.get_float32_matmul_precision() == "highest"
    arguments = (x, weight, bias, rng, out, rows, columns, depth, rows.bit_length(), *halves)
    precision = "ieee" if precise else "tf32"
    if tile is None:

        def grid(chosen: dict[str, int]) -> tuple[int]:
            return (-(-rows // chosen["ROWS"]) * -(-columns // chosen["COLUMNS"]),)

        _tuned()[grid](*arguments, *numbers, PRECISION=precision)
    else:
        m, n, k, warps, stages = tile
        _program[(-(-rows // m) * -(-columns // n),)](
            *arguments, *numbers, PRECISION=precision, ROWS=m, COLUMNS=n, DEPTH=k,
            num_warps=warps, num_stages=stages,
        )  # fmt: skip
