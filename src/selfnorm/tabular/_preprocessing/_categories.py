"""Categories: centred one-hot blocks, and fixed Gaussian codes where levels are many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from selfnorm.tabular._preprocessing._columns import CategoryColumn
from selfnorm.tabular._preprocessing._frames import Texts
from selfnorm.tabular._preprocessing._numbers import shrink
from selfnorm.tabular._rows import row_hashes

__all__ = ["CategoryTable", "fit_category"]

F64 = NDArray[np.float64]

# More levels than this are not told apart: the rarest ones count as unknown. It bounds the stored
# codes at 4096 * 24 numbers; a level beyond that has less than one row in 4096.
MAX_LEVELS: Final = 4096


def fit_category(
    index: int,
    name: str,
    texts: Texts,
    weight: F64 | None,
    *,
    max_one_hot: int,
    seed: int,
) -> CategoryColumn:
    """Choose the coordinates of each level.

    Up to ``max_one_hot`` levels: L coordinates ``s (1[level] - p_level)``, where
    ``s = sqrt(L / (1 - sum of p**2))`` gives the block a mean square of L, 1 per coordinate, as
    the first layer asks. One factor for the block, not one per level: a row of a rare level then
    has the square norm of the others instead of 1/p. Two levels need one coordinate.

    Beyond: k = 2 ceil(log2 L) standard normal coordinates per level, drawn once. The square
    distance of two codes is 2 chi-square(k), and L(L-1)/2 pairs are expected to hold about one
    below a tenth of its mean (P(chi2_k < k x) <= (x e^(1-x))^(k/2), which is L**-2 at x = .1), so
    all levels stay apart.
    """
    order, counts = _levels(texts)
    if len(order) <= 1 or (len(order) > max_one_hot and counts.max() == 1):
        return CategoryColumn(index, name, (), texts.numeric, False, ())
    share = np.bincount(texts.codes + 1, weights=weight, minlength=len(texts.levels) + 1)
    share = share[order + 1] / share.sum()
    if len(order) > MAX_LEVELS:
        kept = np.sort(np.argsort(-share, kind="stable")[:MAX_LEVELS])
        order, share = order[kept], share[kept]
    levels = tuple(None if k < 0 else texts.levels[k] for k in order.tolist())
    one_hot = len(levels) <= max(2, max_one_hot)
    codes = _one_hot(share) if one_hot else _gaussian(share, seed, index)
    # The codes are used as float32; stored ones are the same numbers.
    rows = codes.astype(np.float32).astype(np.float64).tolist()
    return CategoryColumn(index, name, levels, texts.numeric, one_hot, tuple(map(tuple, rows)))


def _levels(texts: Texts) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the levels that occur, in alphabetical order, -1 (missing) last; and their counts."""
    counts = np.bincount(texts.codes + 1, minlength=len(texts.levels) + 1)
    seen = np.flatnonzero(counts[1:]).tolist()
    seen.sort(key=texts.levels.__getitem__)
    if counts[0]:
        seen.append(-1)
    order = np.array(seen, dtype=np.intp)
    return order, counts[order + 1]


def _one_hot(share: F64) -> F64:
    n = len(share)
    largest = max(1 - float(share.min()), float(share.max()))
    if n == 2:
        gain = shrink(1 / math.sqrt(share[0] * share[1]), largest)
        return gain * np.array([[-share[1]], [share[0]]])
    gain = shrink(math.sqrt(n / (1 - float(share @ share))), largest)
    return gain * (np.eye(n) - share)


def _gaussian(share: F64, seed: int, index: int) -> F64:
    n = len(share)
    generator = np.random.default_rng([seed, index])
    codes = generator.standard_normal((n, 2 * math.ceil(math.log2(n))))
    codes -= (share / share.sum()) @ codes
    deviation = np.sqrt(share @ codes**2)
    largest = np.abs(codes).max(axis=0)
    pairs = zip(deviation.tolist(), largest.tolist(), strict=True)
    scaled: F64 = codes * [shrink(1 / d, most) for d, most in pairs]
    return scaled


class CategoryTable:
    """The codes of one column, ready to be looked up; the last row is that of other values."""

    def __init__(self, column: CategoryColumn) -> None:
        self.column = column
        self._place = {level: k for k, level in enumerate(column.levels)}
        self._codes = np.zeros((len(column.levels) + 1, column.width), dtype=np.float32)
        self._codes[:-1] = column.codes

    def apply(self, texts: Texts, out: NDArray[np.float32]) -> None:
        """Write the codes of each row, shape (n, width)."""
        out[:] = self._codes[self.places(texts.levels)[texts.codes]]

    def places_in(self, block: NDArray[np.float32]) -> NDArray[np.intp]:
        """Return the row of the codes that each row of this column's outputs is."""
        keys = row_hashes(self._codes)
        order = np.argsort(keys, kind="stable")
        found: NDArray[np.intp] = order[np.searchsorted(keys[order], row_hashes(block))]
        return found

    def places(self, levels: Sequence[str]) -> NDArray[np.intp]:
        """Return the row of the codes of each level, then that of the missing value."""
        other = len(self._place)
        found = [self._place.get(level, other) for level in (*levels, None)]
        return np.array(found, dtype=np.intp)
