"""What was learnt of one input column, as plain records that go to JSON and back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from selfnorm.errors import DataError

__all__ = ["CategoryColumn", "Flag", "NumberColumn", "NumberKind", "Scaling", "column_from_state"]

NumberKind = Literal["number", "datetime", "duration"]


@dataclasses.dataclass(frozen=True, slots=True)
class Scaling:
    """``gain * (clip((x - center) / scale) - mean)`` with ``clip(z) = z / sqrt(1 + (z/5)**2)``."""

    center: float
    scale: float
    mean: float
    gain: float


@dataclasses.dataclass(frozen=True, slots=True)
class Flag:
    """``gain * (missing - rate)``: the indicator of a missing value."""

    rate: float
    gain: float


@dataclasses.dataclass(frozen=True, slots=True)
class NumberColumn:
    """A column of numbers, booleans (0 and 1), dates or durations (both in seconds).

    Attributes
    ----------
    index : int
        Its place in the input.
    name : str
        Its name, or ``x0``, ``x1``, … where the input has none.
    kind : {"number", "datetime", "duration"}
        What the input held; dates count from 1970-01-01 UTC.
    scaling : Scaling or None
        None where the column was constant: it then gives no output.
    flag : Flag or None
        None where no training row missed the value.
    """

    index: int
    name: str
    kind: NumberKind
    scaling: Scaling | None
    flag: Flag | None

    def to_state(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "name": self.name,
            "kind": self.kind,
            "scaling": None if self.scaling is None else dataclasses.asdict(self.scaling),
            "flag": None if self.flag is None else dataclasses.asdict(self.flag),
        }


@dataclasses.dataclass(frozen=True, slots=True)
class CategoryColumn:
    """A column of categories.

    Attributes
    ----------
    index : int
        Its place in the input.
    name : str
        Its name, or ``x0``, ``x1``, … where the input has none.
    levels : tuple of str or None
        The values seen in training as text, in alphabetical order; None, the missing value, is
        last if it was seen. Empty where the column was constant or no value came twice: it then
        gives no output.
    numeric : bool
        Whether the training rows held numbers.
    one_hot : bool
        Whether ``codes`` has one coordinate per level.
    codes : tuple of tuple of float
        The coordinates of each level. Any other value has all coordinates 0.
    """

    index: int
    name: str
    levels: tuple[str | None, ...]
    numeric: bool
    one_hot: bool
    codes: tuple[tuple[float, ...], ...]

    @property
    def width(self) -> int:
        """Number of coordinates."""
        return len(self.codes[0]) if self.codes else 0

    def with_codes(self, more: NDArray[np.float64]) -> CategoryColumn:
        """Return the column with further coordinates of each level, rounded to float32."""
        rows = zip(self.codes, more.astype(np.float32).tolist(), strict=True)
        return dataclasses.replace(self, codes=tuple((*old, *new) for old, new in rows))

    @property
    def output_names(self) -> list[str]:
        """Name of each coordinate."""
        if not self.one_hot:
            return [f"{self.name}[{k}]" for k in range(self.width)]
        levels = ["missing" if level is None else level for level in self.levels]
        return [f"{self.name}={level}" for level in levels[-self.width :]]

    def to_state(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "name": self.name,
            "kind": "category",
            "levels": list(self.levels),
            "numeric": self.numeric,
            "one_hot": self.one_hot,
            "codes": [list(row) for row in self.codes],
        }


def column_from_state(state: Mapping[str, Any]) -> NumberColumn | CategoryColumn:
    """Build a record from what its ``to_state`` gave; refuse anything else."""
    index, name, kind = (take(state, key) for key in ("index", "name", "kind"))
    if type(index) is not int or index < 0 or type(name) is not str:
        raise _refuse("index or name", (index, name))
    if kind == "category":
        return _category(state, index, name)
    if kind not in ("number", "datetime", "duration"):
        raise _refuse("kind", kind)
    scaling, flag = take(state, "scaling"), take(state, "flag")
    if scaling is not None:
        scaling = Scaling(*(_number(scaling, key) for key in ("center", "scale", "mean", "gain")))
        if scaling.scale <= 0:
            raise _refuse("scale", scaling.scale)
    if flag is not None:
        flag = Flag(*(_number(flag, key) for key in ("rate", "gain")))
    return NumberColumn(index, name, kind, scaling, flag)


def _category(state: Mapping[str, Any], index: int, name: str) -> CategoryColumn:
    levels, numeric, one_hot, codes = (
        take(state, key) for key in ("levels", "numeric", "one_hot", "codes")
    )
    if (
        not isinstance(levels, list)
        or not all(level is None or type(level) is str for level in levels)
        or len(set(levels)) != len(levels)
    ):
        raise _refuse("levels", levels)
    if type(numeric) is not bool or (numeric and not all(map(_is_number, filter(None, levels)))):
        raise _refuse("numeric", numeric)
    if (
        type(one_hot) is not bool
        or not isinstance(codes, list)
        or len(codes) != len(levels)
        or not all(isinstance(row, list) and 0 < len(row) == len(codes[0]) for row in codes)
        or not all(is_finite(value) for row in codes for value in row)
    ):
        raise _refuse("codes", codes)
    table = tuple(tuple(float(value) for value in row) for row in codes)
    return CategoryColumn(index, name, tuple(levels), numeric, one_hot, table)


def _is_number(level: str) -> bool:
    try:
        float(level)
    except ValueError:
        return False
    return True


def take(state: object, key: str) -> Any:
    """Return an entry of a stored state; refuse a state without it."""
    if not isinstance(state, Mapping) or key not in state:
        raise _refuse(key, "absent")
    return state[key]


def is_finite(value: object) -> bool:
    """Tell whether a value of a stored state is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _number(state: object, key: str) -> float:
    value = take(state, key)
    if not is_finite(value):
        raise _refuse(key, value)
    return float(value)


def _refuse(key: str, value: object) -> DataError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return DataError(
        "the stored preprocessing must be as Preprocessor.to_state wrote it, however: "
        f"{key}={shown}; the file is damaged or was changed, save the model again"
    )
