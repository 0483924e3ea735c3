"""Columns of Python objects: numbers, texts or dates, told by the types of their values."""

from __future__ import annotations

import datetime as dt
import numbers
from decimal import Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from selfnorm.errors import DataError

__all__ = ["read_objects", "text_of"]

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def text_of(value: object) -> str:
    """Return the text that stands for a category; 1, 1.0, True and "1" are one category."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | np.bool_ | numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real | Decimal):
        number = float(value)
        return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
    return str(value)


def _kind(kind: type) -> str:
    if kind is type(None) or kind.__name__ in ("NAType", "NaTType"):
        return "missing"
    if issubclass(kind, str):
        return "text"
    if issubclass(kind, bool | np.bool_ | numbers.Real | Decimal):
        return "number"
    if issubclass(kind, dt.date | np.datetime64):
        return "datetime"
    if issubclass(kind, dt.timedelta | np.timedelta64):
        return "duration"
    return "other"


def read_objects(values: NDArray[Any], name: str) -> tuple[str, Any]:
    """Read a column of Python objects.

    Parameters
    ----------
    values : numpy.ndarray of object, shape (n,)
        The values; None, NaN, ``pandas.NA`` and ``NaT`` are missing.
    name : str
        The column, for messages.

    Returns
    -------
    kind : {"number", "datetime", "duration", "text", "missing"}
        Numbers if all values are numbers, texts if one is a text and the others are numbers.
    values : numpy.ndarray or (numpy.ndarray, list of str)
        Numbers with NaN where missing; of texts the codes, -1 where missing, and the levels.

    Raises
    ------
    TypeError
        If a value is none of these; numpy's conversion to numbers raises the same.
    DataError
        If dates stand beside texts or numbers, or a number is too large for a float.
    """
    kinds = {kind: _kind(kind) for kind in set(map(type, values))}
    present = set(kinds.values()) - {"missing"}
    if "other" in present:
        other = next(kind for kind, what in kinds.items() if what == "other")
        raise TypeError(
            "X must hold numbers, texts, booleans or dates: an argument must be a string or a "
            f"real number, however: column {name!r} holds a {other.__name__}; convert or drop it"
        )
    if not present:
        return "missing", np.full(len(values), np.nan)
    if present == {"number"}:
        return "number", _numbers(values, kinds, name)
    if present <= {"text", "number"}:
        return "text", _factorise(values, kinds)
    for kind, convert in (("datetime", _since_epoch), ("duration", _length)):
        # NaN marks a gap among dates too.
        if present <= {kind, "number"} and all(
            kinds[type(v)] != "number" or v != v for v in values
        ):
            floats = (convert(v) if kinds[type(v)] == kind else float("nan") for v in values)
            return kind, np.fromiter(floats, np.float64, len(values))
    raise DataError(
        f"a column must hold values of one kind, however: column {name!r} holds "
        f"{' and '.join(sorted(present))} values; convert it to one kind"
    )


def _numbers(values: NDArray[Any], kinds: dict[type, str], name: str) -> NDArray[np.float64]:
    try:
        if "missing" not in kinds.values():
            return values.astype(np.float64)
        gap = float("nan")
        floats = (gap if kinds[type(v)] == "missing" else float(v) for v in values)
        return np.fromiter(floats, np.float64, len(values))
    except OverflowError as error:
        raise DataError(
            "X must hold numbers of at most 1.8e308, however: "
            f"column {name!r} holds a larger one; rescale it"
        ) from error


def _factorise(values: NDArray[Any], kinds: dict[type, str]) -> tuple[NDArray[np.intp], list[str]]:
    place: dict[str, int] = {}
    if set(kinds.values()) == {"text"}:
        codes = (place.setdefault(str(v), len(place)) for v in values)
    else:
        codes = (
            -1
            if kinds[type(v)] == "missing" or v != v
            else place.setdefault(text_of(v), len(place))
            for v in values
        )
    return np.fromiter(codes, np.intp, len(values)), list(place)


def _since_epoch(value: dt.date | np.datetime64) -> float:
    if isinstance(value, np.datetime64):
        ticks = value.astype("M8[us]")
        return float("nan") if np.isnat(ticks) else float(ticks.astype(np.int64)) / 1e6
    if not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    if value.tzinfo is None:
        value = value.replace(tzinfo=dt.UTC)
    return (value - _EPOCH).total_seconds()


def _length(value: dt.timedelta | np.timedelta64) -> float:
    if isinstance(value, np.timedelta64):
        ticks = value.astype("m8[us]")
        return float("nan") if np.isnat(ticks) else float(ticks.astype(np.int64)) / 1e6
    return value.total_seconds()
