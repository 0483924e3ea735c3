"""What the settings refuse."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from selfnorm.errors import DomainError

__all__ = ["check_choice", "check_count", "check_number", "per_member"]


def check_count(name: str, value: object, least: int, remedy: str = "") -> int:
    """Return an integer of at least ``least``; refuse anything else."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or int(value) < least:  # type: ignore[call-overload]
        raise DomainError(
            f"{name} must be an integer, {least} or more, however: {name}={value!r}"
            + (f"; {remedy}" if remedy else "")
        )
    return int(value)  # type: ignore[call-overload,no-any-return]


def check_number(
    name: str,
    value: object,
    low: float,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = True,
    remedy: str = "",
) -> float:
    """Return a finite number of an interval as a float; refuse anything else."""
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    number = float(value) if real else math.nan  # type: ignore[arg-type]
    inside = (low < number if open_low else low <= number) and (
        number < high if open_high else number <= high
    )
    if not inside or not math.isfinite(number):
        interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
        raise DomainError(
            f"{name} must be a number in {interval}, however: {name}={value!r}"
            + (f"; {remedy}" if remedy else "")
        )
    return number


def check_choice(name: str, value: object, choices: Iterable[str]) -> str:
    """Return one of the words; refuse anything else."""
    listed = list(choices)
    if not isinstance(value, str) or value not in listed:
        raise DomainError(f"{name} must be one of {listed}, however: {name}={value!r}")
    return value


def per_member(name: str, value: float | Sequence[float], members: int) -> tuple[float, ...]:
    """Return one number for each member, from one number or one for each."""
    if isinstance(value, int | float):
        return (float(value),) * members
    numbers = tuple(float(v) for v in value)
    if len(numbers) != members:
        raise DomainError(
            f"{name} must be one number or one for each of members={members}, however: "
            f"{len(numbers)} came, {name}={value!r}"
        )
    return numbers
