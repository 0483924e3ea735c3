"""Numbers: robust scaling, a smooth clip, then mean 0 and variance 1 on the training rows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from selfnorm.tabular._preprocessing._columns import Flag, NumberColumn, Scaling

__all__ = ["TAIL", "NumberArrays", "fit_numbers"]

F64 = NDArray[np.float64]

# Where the smooth clip levels off, in robust standard deviations.
BOUND: Final = 3.0
# The quartiles of a standard normal variable lie 1.349 apart (twice its 75 % quantile).
QUARTILES: Final = 1.3489795003921634
# The largest output of a training row. Only where a value is rare does variance 1 ask for more: a
# value of frequency p stands sqrt((1 - p) / p) standard deviations from the mean, which passes 5
# below p = 1/26. There the column is shrunk instead: a row with one such value has a mean square
# of at most (d - 1 + 25) / d over d coordinates, where variance 1 would give (d - 1 + 1/p) / d.
TAIL: Final = 5.0
# Rows at a time, so that the intermediate results stay in the processor's cache.
_BLOCK: Final = 1 << 15
_TINY: Final = float(np.finfo(np.float64).tiny)
_HUGE: Final = float(np.finfo(np.float64).max)


def clip(z: F64) -> F64:
    """Clip smoothly and in place; a million deviations are as good as infinitely many."""
    np.clip(z, -1e8, 1e8, out=z)
    root = np.multiply(z, 1 / BOUND)
    np.multiply(root, root, out=root)
    root += 1.0
    np.sqrt(root, out=root)
    z /= root
    return z


def shrink(gain: float, largest: float) -> float:
    """Return the gain, less where the largest deviation would pass :data:`TAIL`."""
    return min(gain, TAIL / largest)


# ---------------------------------------------------------------------------------------- fitting


def fit_numbers(values: F64, weight: F64 | None) -> list[tuple[Scaling | None, Flag | None]]:
    """Learn the scaling of several columns.

    Parameters
    ----------
    values : numpy.ndarray, shape (n_columns, n_rows)
        Finite numbers, NaN where missing: one *row* per column, so that each is contiguous.
        Overwritten.
    weight : numpy.ndarray, shape (n_rows,), optional
        Positive weights; a weight of 2 is as good as the row twice.

    Returns
    -------
    list of (Scaling or None, Flag or None)
        For each column.
    """
    missing = np.isnan(values)
    some = np.asarray(missing.any(axis=1))
    flags = [
        _fit_flag(row, weight) if any_ else None for row, any_ in zip(missing, some, strict=True)
    ]
    with np.errstate(over="ignore"):
        center, scale = _center_and_scale(values, missing, some, weight)
        z = values
        z -= center[:, None]
        z /= scale[:, None]
    if some.any():
        z[missing] = 0.0
    clip(z)
    mean = np.average(z, axis=1, weights=weight)
    z -= mean[:, None]
    largest = np.maximum(z.max(axis=1), -z.min(axis=1))
    np.multiply(z, z, out=z)
    deviation = np.sqrt(np.average(z, axis=1, weights=weight))
    scalings = [
        # A deviation of 0 is also that of a column whose spread float64 cannot tell from 0.
        Scaling(c, s, m, shrink(1 / d, most)) if s < math.inf and d > _TINY else None
        for c, s, m, d, most in zip(
            center.tolist(),
            scale.tolist(),
            mean.tolist(),
            deviation.tolist(),
            largest.tolist(),
            strict=True,
        )
    ]
    return list(zip(scalings, flags, strict=True))


def _fit_flag(missing: NDArray[np.bool_], weight: F64 | None) -> Flag | None:
    rate = float(np.average(missing, weights=weight))
    if rate >= 1:
        return None
    return Flag(rate, shrink(1 / math.sqrt(rate * (1 - rate)), max(rate, 1 - rate)))


def _center_and_scale(
    values: F64, missing: NDArray[np.bool_], some: NDArray[np.bool_], weight: F64 | None
) -> tuple[F64, F64]:
    """Return medians and robust spreads; a spread of infinity means a constant column."""
    n = len(values)
    center, scale = np.zeros(n), np.full(n, np.inf)
    whole = np.flatnonzero(~some) if weight is None else np.zeros(0, dtype=np.intp)
    if len(whole):
        quarters = _quartiles(values if len(whole) == n else values[whole])
        center[whole] = quarters[1]
        scale[whole] = _spread(quarters[0], quarters[2])
    for k in np.setdiff1d(np.arange(n), whole).tolist():
        kept = ~missing[k]
        if not kept.any():
            continue
        if weight is None:
            quarters = _quartiles(values[k, kept][None, :])[:, 0]
        else:
            quarters = _weighted_quartiles(values[k, kept], weight[kept])
        center[k] = quarters[1]
        scale[k] = _spread(quarters[0], quarters[2])
    for k in np.flatnonzero(scale == 0).tolist():
        scale[k] = _spread_of_the_rest(values[k], center[k], weight)
    return center, scale


def _spread(lower: F64, upper: F64) -> F64:
    # Halves first: the difference of two numbers can be too large for a float.
    half = (upper / 2 - lower / 2) * (2 / QUARTILES)
    spread: F64 = np.where(upper > lower, np.clip(half, _TINY, _HUGE), 0.0)
    return spread


def _spread_of_the_rest(values: F64, center: float, weight: F64 | None) -> float:
    """Return the median distance from the center of the values that are elsewhere.

    Half of the rows or more have one value, for example 0: the quartiles say nothing. The
    standard deviation would be the outliers', so the median of the rest serves.
    """
    distance = np.abs(values - center)
    elsewhere = distance > 0  # false for NaN
    if not elsewhere.any():
        return math.inf
    rest = distance[elsewhere]
    if weight is None:
        middle = _quartiles(rest[None, :])[1, 0]
    else:
        middle = _weighted_quartiles(rest, weight[elsewhere])[1]
    return float(np.clip(middle, _TINY, _HUGE))


def _quartiles(values: F64) -> F64:
    """Return the three quartiles of each row, shape (3, n): averaged inverse of the step CDF."""
    n = values.shape[1]
    below = [(n * quarter - 1) // 4 for quarter in (1, 2, 3)]
    above = [n * quarter // 4 for quarter in (1, 2, 3)]
    ordered = np.partition(values, sorted({*below, *above}), axis=1)
    mean: F64 = (ordered[:, below] / 2 + ordered[:, above] / 2).T
    return mean


def _weighted_quartiles(values: F64, weight: F64) -> F64:
    """Return the same quartiles, a weight of 2 being as good as the value twice."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    total = np.cumsum(weight[order])
    targets = total[-1] * np.array([0.25, 0.5, 0.75])
    # A sum of weights that meets the target up to rounding meets it.
    slack = 1e-12 * total[-1]
    below = np.searchsorted(total, targets - slack, side="left")
    above = np.searchsorted(total, targets + slack, side="right")
    last = len(values) - 1
    quarters: F64 = ordered[np.minimum(below, last)] / 2 + ordered[np.minimum(above, last)] / 2
    return quarters


# -------------------------------------------------------------------------------------- applying


@dataclasses.dataclass(frozen=True, slots=True)
class NumberArrays:
    """The scalings of all columns of numbers as arrays, ready to be applied at once.

    ``used`` are the input columns read; the first outputs are those of ``valued`` (places in
    ``used``), then the indicators of ``flagged``.
    """

    used: NDArray[np.intp]
    valued: NDArray[np.intp]
    flagged: NDArray[np.intp]
    center: F64
    scale: F64
    mean: F64
    gain: F64
    rate: F64
    flag_gain: F64
    plain: bool  # every column read has a value and none an indicator

    @property
    def width(self) -> int:
        return len(self.valued) + len(self.flagged)

    @classmethod
    def of(cls, columns: list[NumberColumn]) -> NumberArrays:
        used = [c for c in columns if c.scaling is not None or c.flag is not None]
        scalings = [(k, c.scaling) for k, c in enumerate(used) if c.scaling is not None]
        flags = [(k, c.flag) for k, c in enumerate(used) if c.flag is not None]
        return cls(
            used=np.array([c.index for c in used], dtype=np.intp),
            valued=np.array([k for k, _ in scalings], dtype=np.intp),
            flagged=np.array([k for k, _ in flags], dtype=np.intp),
            center=np.array([s.center for _, s in scalings], dtype=np.float64),
            scale=np.array([s.scale for _, s in scalings], dtype=np.float64),
            mean=np.array([s.mean for _, s in scalings], dtype=np.float64),
            gain=np.array([s.gain for _, s in scalings], dtype=np.float64),
            rate=np.array([f.rate for _, f in flags], dtype=np.float64),
            flag_gain=np.array([f.gain for _, f in flags], dtype=np.float64),
            plain=not flags and len(scalings) == len(used),
        )

    def apply(
        self, values: F64, missing: NDArray[np.bool_] | None, out: NDArray[np.float32]
    ) -> None:
        """Write the outputs of numbers, shape (n, len(used)), NaN where missing; overwrites."""
        if not self.width:
            return
        z = values if self.plain else values[:, self.valued]
        with np.errstate(over="ignore"):
            z -= self.center
            z /= self.scale
        if missing is not None:
            z[missing if self.plain else missing[:, self.valued]] = 0.0
        clip(z)
        z -= self.mean
        np.multiply(z, self.gain, out=out[:, : len(self.valued)], casting="same_kind")
        if len(self.flagged):
            told = 0.0 if missing is None else missing[:, self.flagged]
            out[:, len(self.valued) : self.width] = (told - self.rate) * self.flag_gain


def blocks(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Divide rows into blocks of a size for the cache."""
    step = max(1, _BLOCK // max(1, n_columns))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))
