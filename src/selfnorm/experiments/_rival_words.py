"""Pictures and words that the comparisons of nets share, made from their records."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from selfnorm.experiments._words import accuracy_with_spread, listed, percent
from selfnorm.report import Series, format_number

__all__ = [
    "accuracy_words",
    "banded",
    "best_of",
    "loss_words",
    "mebibytes",
    "ranking",
    "rate_words",
    "score",
    "ties",
]

Record = Mapping[str, Any]

_MEBIBYTE: Final = 2**20


def banded(label: str, curves: Sequence[Sequence[float | None]]) -> Series:
    """Return the mean over the seeds by epoch, and the band from the lowest to the highest."""
    values = np.array(curves, dtype=float)
    known = np.isfinite(values)
    count = known.sum(axis=0)
    epochs = np.arange(1, values.shape[1] + 1)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, values, 0.0).sum(axis=0) / count
    mean = np.where(count > 0, mean, math.nan)
    if len(values) == 1:
        return Series(label, epochs, mean)
    low = np.where(count > 0, np.where(known, values, math.inf).min(axis=0), math.nan)
    high = np.where(count > 0, np.where(known, values, -math.inf).max(axis=0), math.nan)
    return Series(label, epochs, mean, low, high)


def score(cell: Record) -> float | None:
    """Return the test accuracy after the last epoch, mean over the seeds that did not diverge."""
    return cell["accuracy"][-1] if cell["accuracy"] else None


def best_of(cells: Sequence[Record]) -> Record | None:
    """Return the cell of the highest test accuracy, None if none has one."""
    known = [cell for cell in cells if score(cell) is not None]
    return max(known, key=lambda cell: score(cell) or 0.0) if known else None


def ties(cells: Sequence[Record], test_size: int) -> list[Record]:
    """Return the cells that one cannot tell from the best: within two standard errors of it.

    The error has two sources: the test rows of both, and the seeds of the best. A cell's own spread
    does not count, or a cell that fails with every other seed would equal any; nor does a cell
    with a seed that diverged.
    """
    best = best_of(cells)
    if best is None:
        return []
    top = score(best) or 0.0
    good = []
    for cell in cells:
        value = score(cell)
        if value is None or cell["diverged"]:
            continue
        rows = (top * (1 - top) + value * (1 - value)) / test_size
        if value >= top - 2 * math.sqrt(rows + _seed_error(best)):
            good.append(cell)
    return good


def ranking(cells: Sequence[Record], name: str = "arm") -> str:
    """Write all cells from the best to the worst."""
    known = sorted(
        (cell for cell in cells if score(cell) is not None), key=lambda cell: -(score(cell) or 0.0)
    )
    parts = [f"{cell[name]} {percent(score(cell) or 0.0)}" for cell in known]
    lost = [str(cell[name]) for cell in cells if score(cell) is None]
    if lost:
        parts.append(f"no result from {listed(lost)}")
    return ", ".join(parts)


def rate_words(cell: Record) -> str | None:
    """Write the learning rate that was chosen, and whether it is an end of the grid."""
    if cell["lr"] is None:
        return None
    rate = format_number(cell["lr"], 2)
    return f"{rate} ({cell['lr_at_end']})" if cell["lr_at_end"] else rate


def loss_words(cell: Record) -> float | None:
    """Return the training loss of the last epoch with three digits."""
    value = cell["loss"][-1] if cell["loss"] else None
    return None if value is None else float(f"{value:.3g}")


def mebibytes(count: int | None) -> float | None:
    """Return bytes as MiB with three digits."""
    return None if count is None else float(f"{count / _MEBIBYTE:.3g}")


def accuracy_words(cell: Record) -> str | None:
    """Write the test accuracy with its spread over the seeds."""
    return accuracy_with_spread([curve[-1] for curve in cell["accuracy_by_seed"]])


def _seed_error(cell: Record) -> float:
    """Return the squared standard error of the mean over the seeds."""
    values = [curve[-1] for curve in cell["accuracy_by_seed"] if curve[-1] is not None]
    return statistics.variance(values) / len(values) if len(values) > 1 else 0.0
