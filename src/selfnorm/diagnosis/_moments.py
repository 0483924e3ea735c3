"""Mean and variance of a stream of tensors, by unit, in float64 and constant memory."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Moments"]

_CHUNK: Final = 1 << 20  # elements in float64 at a time


class Moments:
    """Mean and sum of squared deviations of each unit, merged part by part.

    The merging is that of Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for
    computing sample variances", 1979: no sum of squares is ever subtracted from another.
    """

    def __init__(self) -> None:
        self.count = 0  # numbers seen of each unit
        self.unit_mean: NDArray[np.float64] = np.zeros(0)
        self._deviation: NDArray[np.float64] = np.zeros(0)
        self.finite = True

    @torch.no_grad()
    def add(self, tensor: Tensor, axis: int | None = None) -> None:
        """Add a tensor; ``axis`` is that of the units, None pools all elements as one unit."""
        if tensor.is_meta or not tensor.numel() or tensor.is_complex():
            return
        wide = tensor.detach()
        if axis is None or not tensor.dim():
            rows = wide.reshape(-1, 1)
        else:
            rows = wide.movedim(axis, -1).reshape(-1, wide.shape[axis])
        for part in torch.split(rows, max(1, _CHUNK // rows.shape[1])):
            numbers = part.double()
            var, mean = torch.var_mean(numbers, dim=0, correction=0)
            self._merge(len(part), mean.cpu().numpy(), var.cpu().numpy() * len(part))

    def _merge(self, n: int, mean: NDArray[np.float64], deviation: NDArray[np.float64]) -> None:
        self.finite = self.finite and bool(np.isfinite(deviation).all())
        if not self.count:
            self.count, self.unit_mean, self._deviation = n, mean, deviation
            return
        if self.unit_mean.shape != mean.shape:
            # Another number of units than before: what is known of single units is given up.
            n, mean, deviation = _pooled(n, mean, deviation)
            self.count, self.unit_mean, self._deviation = _pooled(
                self.count, self.unit_mean, self._deviation
            )
        total = self.count + n
        shift = mean - self.unit_mean
        with np.errstate(all="ignore"):
            self.unit_mean = self.unit_mean + shift * (n / total)
            self._deviation = self._deviation + deviation + shift**2 * (self.count * n / total)
        self.count = total

    @property
    def units(self) -> int:
        """Number of units."""
        return int(self.unit_mean.size)

    @property
    def unit_var(self) -> NDArray[np.float64]:
        """Variance of each unit."""
        return self._deviation / max(self.count, 1)

    @property
    def mean(self) -> float:
        """Mean, pooled over units."""
        return float(self.unit_mean.mean()) if self.units else math.nan

    @property
    def var(self) -> float:
        """Variance, pooled: that within units and that of their means."""
        if not self.units:
            return math.nan
        with np.errstate(all="ignore"):
            return float(self.unit_var.mean() + self.unit_mean.var())

    @property
    def correlation(self) -> float | None:
        """Mean correlation of two different rows, about the pooled mean."""
        if self.count < 2 or self.units < 2 or not self.var > 0.0:
            return None
        # The sum over pairs of different rows is that over all pairs less the squares.
        between = self.count**2 * float(self.unit_mean.var())
        squares = self.count * self.var
        return (between - squares) / (self.count - 1) / squares

    @property
    def dead_share(self) -> float:
        """Share of the units that give one and the same number for all rows."""
        if self.count < 2 or not self.units:
            return 0.0
        scale = max(self.var, 1e-300)
        return float((self.unit_var <= 1e-12 * scale).mean())


def _pooled(
    n: int, mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Take all units as one."""
    middle = mean.mean()
    total = deviation.sum() + n * np.square(mean - middle).sum()
    return n * mean.size, np.array([middle]), np.array([total])
