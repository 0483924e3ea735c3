"""Sentences made from numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["accuracy_with_spread", "chance_limit", "listed", "outcome", "percent", "trains_from"]


def percent(value: float) -> str:
    """Write a share as a percentage: ``0.9312`` gives ``93.1 %``, which no line break parts."""
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def listed(words: Iterable[str]) -> str:
    """Join words with commas and a final ``and``."""
    items = list(words)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def accuracy_with_spread(values: Sequence[float | None]) -> str | None:
    """Write mean and standard deviation over seeds: ``93.2 ± 1.0 %``; None if none is known."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return percent(known[0]) if known else None
    return f"{100 * statistics.fmean(known):.1f} ± {100 * statistics.stdev(known):.1f} %"


def chance_limit(chance: float, rows: int) -> float:
    """Return the accuracy that guessing exceeds about once in a thousand times."""
    return chance + 3.1 * math.sqrt(chance * (1 - chance) / rows)


def trains_from(limit: float) -> float:
    """Return the accuracy two thirds of the way from the limit of chance to no error."""
    return (2 + limit) / 3


def outcome(accuracy: float | None, diverged: Sequence[Any], seeds: int, limit: float) -> str:
    """Say in two or three words how a training ended.

    ``stays at chance`` up to ``limit`` (see :func:`chance_limit`), ``trains`` from
    :func:`trains_from` on, ``learns little`` between the two.
    """
    if accuracy is None:
        return "diverges"
    if accuracy <= limit:
        word = "stays at chance"
    else:
        word = "trains" if accuracy >= trains_from(limit) else "learns little"
    return f"{word}; {len(diverged)} of {seeds} seeds diverged" if diverged else word
