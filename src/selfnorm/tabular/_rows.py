"""Training rows: alike ones merged, in an order that does not depend on how they came."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rows", "merge", "parts", "row_hashes"]

Array = NDArray[Any]

_MOST: Final = 1 << 20  # rows that are merged; beyond, nobody counts single rows
# Odd constants near 2^64 / golden ratio and Stafford's "Mix13" of splitmix64: any odd numbers that
# spread bits do; what collides is told apart afterwards.
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = np.uint64(0xBF58476D1CE4E5B9)


@dataclasses.dataclass(frozen=True)
class Rows:
    """What the engine is given.

    Attributes
    ----------
    X : numpy.ndarray
        Shape (n, features), float32, preprocessed.
    y : numpy.ndarray
        Shape (n,) class numbers, or (n, columns) float64.
    weights : numpy.ndarray or None
        Shape (n,), positive; None if all rows weigh the same.
    """

    X: Array
    y: Array
    weights: Array | None

    def __len__(self) -> int:
        return len(self.X)


def merge(X: Array, y: Array, weights: Array | None) -> Rows:
    """Merge rows that are alike in X and y, adding their weights, and put the rest in order.

    So a weight of k is the same as k copies, and the order in which rows came does not matter, to
    the last bit. The order is that of a hash of the rows' values: as good as a random one.
    """
    count = len(X)
    if count > _MOST:
        return Rows(X, y, _or_none(weights))
    columns = y.reshape(count, -1)
    # By X first: what is done to y (another unit, other names) leaves the order.
    order = np.lexsort((row_hashes(columns.astype(np.float64)), row_hashes(X)))
    X, columns = X[order], columns[order]
    new = np.ones(count, dtype=bool)
    new[1:] = (X[1:] != X[:-1]).any(1) | (columns[1:] != columns[:-1]).any(1)
    if weights is not None or not new.all():
        each = np.ones(count) if weights is None else weights[order].astype(np.float64)
        starts = np.flatnonzero(new)
        weights = np.add.reduceat(each, starts)
        X, order = X[starts], order[starts]
    return Rows(X, y[order], _or_none(weights))


def _or_none(weights: Array | None) -> Array | None:
    return None if weights is None or bool((weights == weights[0]).all()) else weights


def row_hashes(matrix: Array) -> NDArray[np.uint64]:
    """Return 64 bits of each row of floats that depend on its values alone."""
    bits = np.uint32 if matrix.dtype == np.float32 else np.uint64
    values = (matrix + matrix.dtype.type(0)).view(bits)  # + 0 makes one zero of two
    found = np.zeros(len(matrix), dtype=np.uint64)
    for column in values.T:
        found ^= column
        found *= _STEP
        found ^= found >> np.uint64(29)
        found *= _MIX
        found ^= found >> np.uint64(32)
    return found


def parts(y: Array, count: int, seed: int, *, classes: bool) -> list[NDArray[np.intp]]:
    """Deal the rows to ``count`` parts at random, each class evenly."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(y))
    if classes and y.ndim == 1:
        order = order[np.argsort(y[order], kind="stable")]
    turn = np.arange(len(y)) % count
    return [np.sort(order[turn == k]) for k in range(count)]
