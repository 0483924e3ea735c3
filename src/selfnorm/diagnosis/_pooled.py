"""Moments of all numbers of some tensors, and what a pool does to them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from selfnorm.diagnosis._graph import Op

__all__ = ["MANY", "moments_of", "pooling_facts"]

MANY: Final = 200_000  # elements beyond which moments are taken of a part
_AVERAGES: Final = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)


@torch.no_grad()
def moments_of(tensors: Iterable[Tensor]) -> tuple[float | None, float | None]:
    """Return mean and variance, pooled; None without real floating-point values."""
    parts = [
        t.detach().reshape(-1)[:MANY].double()
        for t in tensors
        if t.is_floating_point() and not t.is_meta and t.numel()
    ]
    if not parts:
        return None, None
    var, mean = torch.var_mean(torch.cat(parts), correction=0)
    return float(mean), float(var)


@torch.no_grad()
def pooling_facts(op: Op, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Return the ``ratio`` of variances of an average, or ``window`` of a maximum.

    A window is its count of numbers and their mean correlation about the mean of each channel,
    found by averaging over windows: the mean of k numbers of variance v and correlation c has the
    variance v (1 + (k - 1) c) / k.
    """
    if x.is_meta or not x.is_floating_point() or not x.numel() or not y.numel():
        return {}
    if "max" not in op.name and op.name != "lp_pool":
        before, after = moments_of([x])[1], moments_of([y])[1]
        return {"ratio": after / before} if before and after is not None else {}
    dims = x.dim() - 2
    size = op.facts.get("size")
    if not 1 <= dims <= 3 or "over_dims" in op.name or "adaptive" in op.name:
        return {}
    sizes = [one for one in (size if isinstance(size, tuple | list) else (size,) * dims) if one]
    if len(sizes) != dims or not all(isinstance(one, int) and one > 0 for one in sizes):
        return {}
    if any(n < k for n, k in zip(x.shape[2:], sizes, strict=True)):
        return {}
    count = math.prod(sizes)
    rows = x.detach()[: max(1, MANY * x.shape[0] // x.numel())].float()
    axes = (0, *range(2, x.dim()))
    before = float(rows.var(axes, correction=0).mean())
    after = float(_AVERAGES[dims - 1](rows, tuple(sizes)).var(axes, correction=0).mean())
    if count < 2 or not before > 0.0 or not math.isfinite(after):
        return {}
    c = (count * after / before - 1.0) / (count - 1)
    return {"window": (count, min(max(c, 0.0), 1.0))}
