"""Checks of options that every experiment shares."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence

from selfnorm.errors import DomainError

__all__ = [
    "check_choice",
    "check_choices",
    "check_integer",
    "check_integers",
    "check_positive",
    "check_positives",
]


def check_integer(name: str, value: object, *, minimum: int = 1) -> int:
    """Return an integer of at least ``minimum``, else raise :class:`DomainError` naming it."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise DomainError(f"{name} must be an integer, however: {name}={value!r}") from None
    if number < minimum:
        raise DomainError(f"{name} must be at least {minimum}, however: {name}={number}")
    return number


def check_positive(name: str, value: object) -> float:
    """Return a finite number above zero, else raise :class:`DomainError` naming it."""
    try:
        if isinstance(value, bool | str):
            raise TypeError
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise DomainError(f"{name} must be a number, however: {name}={value!r}") from None
    if not (math.isfinite(number) and number > 0):
        raise DomainError(f"{name} must be finite and above 0, however: {name}={number}")
    return number


def check_integers(name: str, values: object) -> tuple[int, ...]:
    """Return a sorted tuple of distinct integers of at least 1."""
    return tuple(sorted({check_integer(name, value) for value in _several(name, values)}))


def check_positives(name: str, values: object) -> tuple[float, ...]:
    """Return a sorted tuple of distinct finite numbers above zero."""
    return tuple(sorted({check_positive(name, value) for value in _several(name, values)}))


def check_choice(name: str, value: str, known: Sequence[str]) -> str:
    """Return the name if it is known, else raise :class:`DomainError` naming those that are."""
    if value not in known:
        raise DomainError(f"{name} must be among {', '.join(known)}, however: {name}={value!r}")
    return value


def check_choices(name: str, values: object, known: Sequence[str]) -> tuple[str, ...]:
    """Return the chosen names in the order of ``known``."""
    chosen = list(_several(name, values))
    unknown = [value for value in chosen if value not in known]
    if unknown:
        raise DomainError(
            f"{name} must be among {', '.join(known)}, however: {name} holds {unknown[0]!r}"
        )
    return tuple(value for value in known if value in chosen)


def _several(name: str, values: object) -> Iterable[object]:
    """Return the values as a non-empty list; one string is not a list of letters."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise DomainError(f"{name} must be a sequence, however: {name}={values!r}")
    items = list(values)
    if not items:
        raise DomainError(f"{name} must name at least one, however: it is empty")
    return items
