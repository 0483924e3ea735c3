"""What a layer's weights are: sums by unit, and the initialisation that they came from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfnorm.diagnosis._graph import Op

__all__ = ["Init", "WeightFacts", "facts_of_weight", "unit_rows"]

_CHUNK: Final = 1 << 16  # elements in float64 at a time: they stay in the cache
_VECTORS: Final = 16  # of a matrix, by which one sees that it is orthogonal
_ROUNDED: Final = 0.01  # of their squared length: bfloat16 leaves 1/256
_SIGMAS: Final = 5.0  # a moment this many standard errors away is another distribution

# Shapes of distributions: kurtosis E w^4/(E w^2)^2, its eighth-moment ratio gives the error of
# the estimate, and the largest |w| in standard deviations (None for no end).
# Normal cut at ±2 sd: moments by integrating z^k phi(z) over [-2, 2].
_UNIFORM: Final = (9.0 / 5.0, math.sqrt(3.0))
_NORMAL: Final = (3.0, None)


def _truncated() -> tuple[float, float]:
    inside = math.erf(math.sqrt(2.0))
    density = math.exp(-2.0) / math.sqrt(2.0 * math.pi)
    second = 1.0 - 4.0 * density / inside
    fourth = 3.0 * second - 16.0 * density / inside
    return fourth / second**2, 2.0 / math.sqrt(second)


_TRUNCATED: Final = _truncated()
TRUNCATED_VAR: Final = (_TRUNCATED[1] and 4.0 / _TRUNCATED[1] ** 2) or 0.0  # .7737: (.8796…)^2


@dataclass(frozen=True)
class Init:
    """The distribution that weights look drawn from."""

    shape: str  # "uniform", "truncated", "normal", "orthogonal", "zero" or "other"
    limit: float  # largest |w| times sqrt(fan_in)


@dataclass(frozen=True, eq=False)
class WeightFacts:
    """Sums over each unit's incoming weights, and the shape of their distribution."""

    fan_in: float
    units: int
    count: int
    sums: NDArray[np.float64]  # omega of each unit
    sumsq: NDArray[np.float64]  # tau of each unit
    bias: NDArray[np.float64] | None
    kurtosis: float
    init: Init
    finite: bool

    @property
    def tau(self) -> float:
        """Mean sum of squares."""
        return float(self.sumsq.mean())

    @property
    def tau_error(self) -> float:
        """Standard error of tau over draws of independent weights of this kurtosis."""
        return self.tau * math.sqrt(max(self.kurtosis - 1.0, 0.2) / self.count)

    def is_near(self, tau: float) -> bool:
        """Tell whether tau is a given number within the error of its estimate."""
        # The error of another tau scales with it; 1 % covers rounding to bfloat16.
        error = tau * math.sqrt(max(self.kurtosis - 1.0, 0.2) / self.count)
        return abs(self.tau - tau) <= _SIGMAS * error + 0.01 * tau


def unit_rows(op: Op) -> tuple[Tensor, float] | None:
    """Return a weight as a matrix (units, terms) and the mean number of terms of a unit's sum."""
    weight = op.facts.get("weight")
    if not isinstance(weight, Tensor) or weight.is_meta or weight.dim() < 2 or not weight.numel():
        return None
    if not weight.is_floating_point():
        return None
    weight = weight.detach()
    if not op.facts.get("transposed"):
        return weight.reshape(weight.shape[0], -1), float(math.prod(weight.shape[1:]))
    # (in, out / groups, *kernel); a unit's sum has in / groups * kernel / stride terms on average.
    groups = int(op.facts.get("groups", 1))
    stride: Any = op.facts.get("stride", 1)
    spatial = weight.dim() - 2
    strides = stride if isinstance(stride, tuple | list) else (stride,) * spatial
    blocks = [b.transpose(0, 1).reshape(b.shape[1], -1) for b in weight.chunk(groups)]
    rows = torch.cat(blocks)
    return rows, rows.shape[1] / math.prod(strides)


@torch.no_grad()
def facts_of_weight(op: Op) -> WeightFacts | None:
    """Sum a layer's weights by unit in float64, some rows at a time; None without real weights."""
    found = unit_rows(op)
    if found is None:
        return None
    matrix, fan_in = found
    units, terms = matrix.shape
    step = max(1, _CHUNK // terms)
    sums, squares = [], []
    fourth, largest = 0.0, 0.0
    for rows in torch.split(matrix, step):
        wide = rows.double()
        sums.append(wide.sum(1))
        square = wide.square()
        squares.append(square.sum(1))
        fourth += float(square.square().sum())
        largest = max(largest, float(square.max()))
    share = fan_in / terms  # 1 but for strided transposed convolutions
    omega = torch.cat(sums).mul(share).cpu().numpy()
    total = torch.cat(squares)
    tau = total.mul(share).cpu().numpy()
    count = units * terms
    second = float(total.sum()) / count
    finite = math.isfinite(fourth) and math.isfinite(second)
    kurtosis = fourth / count / second**2 if finite and second > 0.0 else math.nan
    bias = op.facts.get("bias")
    return WeightFacts(
        fan_in=fan_in,
        units=units,
        count=count,
        sums=omega,
        sumsq=tau,
        bias=_numbers(bias, units),
        kurtosis=kurtosis,
        init=(
            Init("orthogonal", math.sqrt(largest * fan_in))
            if finite and _is_orthogonal(matrix)
            else _init(second, kurtosis, math.sqrt(largest), count, fan_in)
        ),
        finite=finite,
    )


def _is_orthogonal(matrix: Tensor) -> bool:
    """Tell rows, or columns where there are more rows, of one length and at right angles."""
    few = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.t()
    few = few[:_VECTORS].double()
    gram = few @ few.t()
    length = float(gram.diagonal().mean())
    if len(few) < 4 or not length > 0.0:
        return False
    off = (gram - length * torch.eye(len(few), dtype=gram.dtype, device=gram.device)).abs().max()
    return float(off) < _ROUNDED * length


def _numbers(bias: Any, units: int) -> NDArray[np.float64] | None:
    if not isinstance(bias, Tensor) or bias.is_meta or bias.numel() != units:
        return None
    values: NDArray[np.float64] = bias.detach().reshape(-1).double().cpu().numpy()
    return values


def _init(second: float, kurtosis: float, largest: float, count: int, fan_in: float) -> Init:
    """Tell the distribution by its kurtosis and its end."""
    limit = largest * math.sqrt(fan_in)
    if second == 0.0:
        return Init("zero", 0.0)
    if not math.isfinite(kurtosis):
        return Init("other", limit)
    sd = math.sqrt(second)
    # Variance of w^4/sd^4 and of its error by the estimated sd: that of a normal, the widest of
    # the three, is 96 - 72 = 24 (the error of a sample kurtosis is sqrt(24/n)).
    error = _SIGMAS * math.sqrt(24.0 / count)
    for name, (wanted, end) in (("uniform", _UNIFORM), ("truncated", _TRUNCATED)):
        assert end is not None
        slack = 1.0 + _SIGMAS * math.sqrt(0.5 * wanted / count) + 0.01
        # With n draws of a distribution with an end, the largest is near the end.
        near = largest / sd >= end * (1.0 - 12.0 / count - 0.02) / slack
        if near and largest <= end * sd * slack and abs(kurtosis - wanted) <= error * 0.5 + 0.01:
            return Init(name, limit)
    if abs(kurtosis - 3.0) <= error + 0.02:
        return Init("normal", limit)
    return Init("other", limit)
