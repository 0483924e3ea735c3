"""Permutation importance: how much worse predictions get without one column's information."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["IMPORTANCE_ROWS", "permutation_importance", "predictions_per_row"]

_REPEATS: Final = 5
IMPORTANCE_ROWS: Final = 2000
_MANY: Final = 60  # columns beyond which a first look chooses those to measure well
_KEPT: Final = 30
_FIRST_ROWS: Final = 300

Loss = Callable[["pd.DataFrame", NDArray[Any]], float]


def predictions_per_row(columns: int) -> int:
    """Return how often `permutation_importance` predicts each of its rows, about."""
    if columns <= _MANY:
        return 2 + _REPEATS * columns
    return 2 + _REPEATS * _KEPT + columns * _FIRST_ROWS // IMPORTANCE_ROWS


def permutation_importance(
    frame: pd.DataFrame,
    y: NDArray[Any],
    loss: Loss,
    generator: np.random.Generator,
    rows: int = IMPORTANCE_ROWS,
) -> dict[str, Any]:
    """Measure how much the loss grows when one column's values are shuffled among held-out rows.

    A column whose information another one also has appears unimportant: either can be shuffled.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows held out.
    y : ndarray, shape (n,)
        Their targets.
    loss : callable
        Takes rows and targets.
    generator : numpy.random.Generator
        Chooses rows and permutations.
    rows : int
        At most so many rows, drawn at random, are used.

    Returns
    -------
    dict
        ``rows``, ``repeats``, ``loss`` (unshuffled), ``left_out`` (columns only looked at once: of
        more than 60, the 30 that looked most important are measured) and ``columns``: name, mean,
        low and high of the growth over the repeats, the most important first.
    """
    rows = min(len(frame), rows)
    if rows < len(frame):
        chosen = np.sort(generator.choice(len(frame), rows, replace=False))
        frame, y = frame.iloc[chosen], y[chosen]
    names = list(frame.columns)
    if len(names) > _MANY:
        part = slice(0, max(1, rows * _FIRST_ROWS // IMPORTANCE_ROWS))
        first = _growth(frame.iloc[part], y[part], names, 1, loss, generator)
        order = np.argsort([-values[0] for values in first], kind="stable")
        names = [names[k] for k in np.sort(order[:_KEPT])]
    growth = _growth(frame, y, names, _REPEATS, loss, generator)
    columns = [
        {"name": str(name), "mean": float(np.mean(g)), "low": min(g), "high": max(g)}
        for name, g in zip(names, growth, strict=True)
    ]
    columns.sort(key=lambda column: -float(column["mean"]))  # type: ignore[arg-type]
    return {
        "rows": rows,
        "repeats": _REPEATS,
        "loss": loss(frame, y),
        "left_out": len(frame.columns) - len(names),
        "columns": columns,
    }


def _growth(
    frame: pd.DataFrame,
    y: NDArray[Any],
    names: list[Any],
    repeats: int,
    loss: Loss,
    generator: np.random.Generator,
) -> list[list[float]]:
    base = loss(frame, y)
    found = []
    for name in names:
        own = []
        for _ in range(repeats):
            order = generator.permutation(len(frame))
            shuffled = frame.copy(deep=False)
            shuffled[name] = frame[name].array.take(order)
            own.append(loss(shuffled, y) - base)
        found.append(own)
    return found
