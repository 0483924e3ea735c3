r"""Coordinates of a category's levels that say what the target is like there.

A level's mean of the target is shrunk towards the mean of all rows by the random-effects model

.. math:: e_l = \frac{\tau^2}{\tau^2 + s^2 / n_l} (m_l - m),

with the variance :math:`s^2` within levels and :math:`\tau^2` between them estimated by the method
of moments. A training row gets the value that the rows of the other folds give its level, so that
it does not see its own target.

References
----------
D. Micci-Barreca, "A preprocessing scheme for high-cardinality categorical attributes in
classification and prediction problems", SIGKDD Explorations 3 (2001).
S. R. Searle, G. Casella, C. E. McCulloch, "Variance Components" (1992), section 3.6.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from selfnorm.tabular._preprocessing._categories import CategoryTable
from selfnorm.tabular._preprocessing._columns import CategoryColumn
from selfnorm.tabular._preprocessing._numbers import shrink

__all__ = ["FOLDS", "append_target_codes", "target_codes", "target_columns"]

F64 = NDArray[np.float64]

MOST: Final = 16  # coordinates
FOLDS: Final = 5
# Standard errors by which the variance between levels must pass what chance gives.
_CLEAR: Final = 2.0


def target_columns(y: NDArray[Any], classes: bool) -> F64:
    """Return what is averaged: numbers, labels, or an indicator of each class but one of two.

    Of more than 16 columns those of the most frequent classes, or the first.
    """
    if not classes:
        return np.asarray(y[:, :MOST], dtype=np.float64)
    counts = np.bincount(y)
    frequent = np.sort(np.argsort(-counts, kind="stable")[:MOST])
    kept = frequent[1:] if len(counts) == 2 else frequent  # of two classes one tells both
    return np.asarray(y[:, None] == kept, dtype=np.float64)


def append_target_codes(
    categories: Sequence[CategoryTable],
    start: int,
    rows: NDArray[np.float32],
    targets: F64,
    weights: F64 | None,
    folds: list[NDArray[np.intp]],
) -> tuple[NDArray[np.float32], dict[int, CategoryColumn], list[int]]:
    """Append `target_codes` to the outputs of each category that has codes.

    Returns the preprocessed rows, of which the categories' outputs begin at ``start``; the columns
    that changed, by their index; and the places of what was appended.
    """
    blocks, columns = [rows[:, :start]], {}
    appended: list[int] = []
    for category in categories:
        column = category.column
        block = rows[:, start : start + column.width]
        start += column.width
        blocks.append(block)
        if column.one_hot:
            continue
        places = category.places_in(block)
        found = target_codes(places, len(column.levels), targets, weights, folds)
        if found is not None:
            first = sum(one.shape[1] for one in blocks)
            appended += range(first, first + found[1].shape[1])
            blocks.append(found[1])
            columns[column.index] = column.with_codes(found[0])
    return (np.concatenate(blocks, axis=1) if columns else rows), columns, appended


@dataclasses.dataclass(frozen=True)
class _Sums:
    """Sums over the rows of each level; weights w, targets t of shape (rows, columns)."""

    count: F64
    w: F64
    ww: F64
    wt: F64
    wtt: F64

    @classmethod
    def of(cls, places: NDArray[np.intp], levels: int, t: F64, w: F64) -> _Sums:
        def total(values: F64) -> F64:
            return np.asarray(np.bincount(places, values, levels), dtype=np.float64)

        products = [w * column for column in t.T]
        squares = [p * column for p, column in zip(products, t.T, strict=True)]
        return cls(
            total(np.ones(len(places))),
            total(w),
            total(w * w),
            np.stack([total(p) for p in products], axis=1),
            np.stack([total(p) for p in squares], axis=1),
        )

    def without(self, other: _Sums) -> _Sums:
        """Return the sums of the rows that are not in the other."""
        names = (field.name for field in dataclasses.fields(self))
        return _Sums(*(getattr(self, name) - getattr(other, name) for name in names))

    def means(self) -> tuple[F64, F64, F64]:
        """Return rows (of unequal weights Kish's effective number), mean, and mean of all."""
        some = self.count > 0.5
        size = np.divide(self.w**2, self.ww, out=np.zeros_like(self.w), where=some)
        mean = np.zeros_like(self.wt)
        mean[some] = self.wt[some] / self.w[some, None]
        return size, mean, size @ mean / max(size.sum(), 1.0)


def target_codes(
    places: NDArray[np.intp],
    levels: int,
    targets: F64,
    weights: F64 | None,
    folds: list[NDArray[np.intp]],
) -> tuple[F64, NDArray[np.float32]] | None:
    """Return the coordinates of each level, and those of each training row.

    Parameters
    ----------
    places : numpy.ndarray of int, shape (n,)
        Each row's level; ``levels`` where it has none.
    levels : int
        How many there are.
    targets : numpy.ndarray, shape (n, columns)
        What `target_columns` gave.
    weights : numpy.ndarray, shape (n,), optional
        Positive weights of the rows.
    folds : list of numpy.ndarray of int
        The rows dealt to parts.

    Returns
    -------
    tuple of numpy.ndarray or None
        Shapes (levels, k) and (n, k); of the levels' rows mean 0 and variance 1 but for far ones. A
        row without a level has 0. None where no column's means differ by more than chance.
    """
    w = np.ones(len(places)) if weights is None else weights / weights.max()
    t = targets - np.average(targets, axis=0, weights=w)
    every = _Sums.of(places, levels + 1, t, w)
    # Rows without a level are not averaged: they get 0 as new levels do.
    for sums in (every.count, every.w, every.ww, every.wt, every.wtt):
        sums[levels] = 0.0
    within, between = _variances(every)
    clear = between > 0.0
    if not clear.any():
        return None

    def effects(sums: _Sums) -> F64:
        size, mean, overall = sums.means()
        share = size[:, None] * between
        share = np.divide(share, share + within, out=np.zeros_like(share), where=share > 0.0)
        found: F64 = (share * (mean - overall))[:, clear]
        return found

    full = effects(every)
    rows = np.zeros((len(places), full.shape[1]))
    for fold in folds:
        own = _Sums.of(places[fold], levels + 1, t[fold], w[fold])
        rows[fold] = effects(every.without(own))[places[fold]]
    share = every.w / every.w.sum()
    center = share @ full
    full, rows = full - center, rows - center
    deviation = np.sqrt(share @ full**2)
    gain = np.array(
        [shrink(1 / d, most) for d, most in zip(deviation, np.abs(full).max(0), strict=True)]
    )
    rows[places == levels] = 0.0
    return (full * gain)[:levels], (rows * gain).astype(np.float32)


def _variances(sums: _Sums) -> tuple[F64, F64]:
    """Return the variance within levels and that between them, 0 where it may be chance."""
    size, mean, overall = sums.means()
    some = size > 0.0
    spread = np.zeros_like(mean)
    spread[some] = np.maximum(sums.wtt[some] / sums.w[some, None] - mean[some] ** 2, 0.0)
    free, groups = float((size - 1.0)[some].sum()), int(some.sum()) - 1
    if free < 1.0 or groups < 1:
        return np.ones(mean.shape[1]), np.zeros(mean.shape[1])
    within = np.maximum(size @ spread / free, np.finfo(np.float64).tiny)
    squares = size @ (mean - overall) ** 2
    # Their ratio is 1 on average if levels do not matter, with this standard error (F distribution,
    # many degrees of freedom).
    error = np.sqrt(2.0 / groups + 2.0 / free)
    clear = squares / groups > (1.0 + _CLEAR * error) * within
    between = (squares - groups * within) / (size.sum() - size @ size / size.sum())
    return within, np.where(clear, between, 0.0)
