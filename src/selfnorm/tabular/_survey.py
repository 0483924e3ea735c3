"""What the columns of a table are, found out in one pass over it."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from selfnorm.errors import DataError
from selfnorm.tabular._tables import TableFile, as_dates, as_numbers, as_texts

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Column", "Survey", "day_text", "survey"]

Kind = Literal["number", "text", "date", "constant", "empty", "identifier"]

# Distinct texts beyond which a column is no category: free text, or names of the rows.
MOST_LEVELS: Final = 10_000
# From so many rows on, a text column in which nearly every value is new names the rows.
_IDENTIFIER_ROWS: Final = 30
_IDENTIFIER_SHARE: Final = 0.9
# float32 has 24 bits: the values of a column far from zero would run together (times in seconds
# since 1970 are 128 s apart). Such columns stay float64.
_FLOAT32_STEP: Final = 2.0**-24
_FINE: Final = 1e-4
# A column of numbers with a few other texts ("unknown", "-"): these mark missing values.
_MOST_MARKERS: Final = 5
_MARKED_SHARE: Final = 0.1
# Few kinds of numbers beside many markers are rather the levels of a category.
_FEW_KINDS: Final = 20
_MARKED_SHARE_OF_MANY: Final = 0.5
_DAY: Final = 86_400e6  # microseconds
_NUMBER: Final = r"^[-+]?(\d+[.,]?\d*|[.,]\d+)([eE][-+]?\d+)?$|^[-+]?[iI]nf(inity)?$"


@dataclasses.dataclass(frozen=True)
class Column:
    """What is known of one column.

    Attributes
    ----------
    name : str
        Its heading.
    kind : {"number", "text", "date", "constant", "empty", "identifier"}
        Number: every value is one, but for ``markers``. Date: every value is an ISO date or time.
        Text: a category. Constant: one value and none missing.
        Empty: nothing but missing values. Identifier: text that is new in nearly every row, or in
        more than 10,000 ways.
    missing : int
        Rows without a value.
    levels : tuple of str or None
        The distinct texts of a category or a constant, sorted; else None.
    low, high : float or None
        Ends of the numbers, or of the dates as days since 1970-01-01.
    wide : bool
        Whether float32 would blur the numbers, so that they are kept as float64.
    markers : tuple of str
        Up to 5 other texts in a column of numbers; they count as missing. At most a tenth of it,
        or half of it where the numbers are of more than 20 kinds.
    counts : bool
        Whether the numbers are those of the rows: each is the one before plus 1.
    padded : bool
        Whether the texts are digits, some of which begin with 0 as codes do (01067).
    """

    name: str
    kind: Kind
    missing: int
    levels: tuple[str, ...] | None = None
    low: float | None = None
    high: float | None = None
    wide: bool = False
    markers: tuple[str, ...] = ()
    counts: bool = False
    padded: bool = False

    @property
    def usable(self) -> bool:
        """Whether something can be learned from it."""
        return self.kind in ("number", "text", "date")


@dataclasses.dataclass(frozen=True)
class Survey:
    """What is known of a table.

    Attributes
    ----------
    rows : int
        Rows in the file.
    columns : dict of str to Column
        By name, in the file's order.
    """

    rows: int
    columns: dict[str, Column]


class _Watcher:
    """Collects what a column is while blocks go by."""

    def __init__(self, name: str, decimal: str) -> None:
        self.name, self.decimal = name, decimal
        self.missing = self.present = self.marked = 0
        self.numbers = self.dates = True
        self.levels: set[str] | None = set()
        self.markers: set[str] = set()
        self.low, self.high = math.inf, -math.inf
        self.counts = True
        self.padded = False

    def see(self, values: pa.Array, start: int) -> None:
        self.missing += values.null_count
        self.present += len(values) - values.null_count
        if values.null_count == len(values):
            return
        self._see_levels(values)
        numbers = as_numbers(values, self.decimal) if self.numbers else None
        if numbers is not None:
            self.dates = False
            self._see_numbers(numbers, values, start)
            return
        if self.numbers:
            self._see_markers(values, start)
        dates = as_dates(values) if self.dates else None
        self.dates = dates is not None
        if dates is not None:
            days = dates[~np.isnat(dates)].astype(np.int64) / _DAY
            self.low, self.high = min(self.low, days.min()), max(self.high, days.max())

    def _see_markers(self, values: pa.Array, start: int) -> None:
        """Look at a block of numbers and other texts; many others, and it is no column of numbers.

        The ends of the numbers are not taken when there are dates: both never are.
        """
        import pyarrow as pa
        from pyarrow import compute

        self.numbers = False
        if not pa.types.is_string(values.type):
            return
        fits = compute.match_substring_regex(values, _NUMBER)
        others = values.filter(compute.invert(fits))
        self.marked += len(others)
        if len(distinct := compute.unique(others)) > _MOST_MARKERS:
            return
        self.markers |= set(distinct.to_pylist())
        rest = compute.if_else(fits, values, pa.scalar(None, pa.string()))
        numbers = as_numbers(rest, self.decimal)
        if numbers is None or len(self.markers) > _MOST_MARKERS:
            return
        self.numbers = True
        if rest.null_count < len(rest):
            self.dates = False
            self._see_numbers(numbers, rest, start)

    def _see_numbers(self, numbers: NDArray[np.float64], values: pa.Array, start: int) -> None:
        self.padded = self.padded or _has_padded(values)
        infinite = np.isinf(numbers)
        if infinite.any():
            place = int(np.argmax(infinite))
            raise DataError(
                f"numbers must be finite, however: column {self.name!r} holds {values[place]} in "
                f"data row {start + place + 1:,}; correct it or leave it empty"
            )
        nan = int(np.isnan(numbers).sum())
        if nan > values.null_count:  # NaN in Parquet is missing too
            self.missing += nan - values.null_count
            self.present -= nan - values.null_count
        if self.counts:
            first = numbers[0] if start == 0 else self.low
            self.counts = bool((numbers == first + start + np.arange(len(numbers))).all())
        if nan < len(values):
            self.low = min(self.low, float(np.nanmin(numbers)))
            self.high = max(self.high, float(np.nanmax(numbers)))

    def _see_levels(self, values: pa.Array) -> None:
        from pyarrow import compute

        if self.levels is None:
            return
        found = compute.unique(as_texts(values))
        if len(found) <= 4 * MOST_LEVELS:
            self.levels.update(one for one in found.to_pylist() if one is not None)
        if len(found) > 4 * MOST_LEVELS or len(self.levels) > MOST_LEVELS:
            self.levels = None

    def column(self) -> Column:
        if self.present == 0:
            return Column(self.name, "empty", self.missing)
        kinds = math.inf if self.levels is None else len(self.levels) - len(self.markers)
        share = _MARKED_SHARE if kinds <= _FEW_KINDS else _MARKED_SHARE_OF_MANY
        count = self.present + 1 if self.levels is None else len(self.levels)
        new = self.levels is None or (
            self.present >= _IDENTIFIER_ROWS and count > _IDENTIFIER_SHARE * self.present
        )
        # 01067 is a postal code; but too many for levels, or nearly all new, are numbers after all.
        codes = self.padded and not new
        numbers = self.numbers and self.marked <= share * self.present and not codes
        if numbers or self.dates:
            if self.low == self.high and not self.missing + self.marked:
                return Column(self.name, "constant", 0, low=self.low, high=self.high)
            span, largest = self.high - self.low, max(abs(self.low), abs(self.high))
            return Column(
                self.name,
                "number" if numbers else "date",
                self.missing + (self.marked if numbers else 0),
                low=self.low,
                high=self.high,
                wide=largest * _FLOAT32_STEP > span * _FINE,
                markers=tuple(sorted(self.markers)) if numbers else (),
                counts=numbers and self.counts and self.present >= _IDENTIFIER_ROWS,
            )
        if self.levels is None or new:
            return Column(self.name, "identifier", self.missing)
        kind: Kind = "constant" if count == 1 and not self.missing else "text"
        levels = tuple(sorted(self.levels))
        return Column(self.name, kind, self.missing, levels=levels, padded=self.padded)


def survey(table: TableFile, *, keep: str | None = None) -> tuple[Survey, pa.Array | None]:
    """Read a table once and tell what its columns are.

    Parameters
    ----------
    table : TableFile
        The file.
    keep : str, optional
        A column to return as a whole.

    Returns
    -------
    tuple of Survey and (pyarrow.Array or None)
        What is known of the table, and the column.

    Raises
    ------
    DataError
        If the file is faulty, has no rows, or holds an infinite number.
    """
    import pyarrow as pa

    watchers = {name: _Watcher(name, table.decimal) for name in table.names}
    rows = 0
    kept = []
    for block in table.blocks(table.names):
        for name, values in block.items():
            watchers[name].see(values, rows)
        rows += len(next(iter(block.values())))
        if keep is not None:
            values = block[keep]
            kept.append(values.dictionary_decode() if _coded(values) else values)
    if rows == 0:
        raise DataError(
            f"the table must have rows, however: {str(table.path)!r} has a header alone; export "
            "it again"
        )
    known = Survey(rows, {name: one.column() for name, one in watchers.items()})
    return known, pa.concat_arrays(kept) if kept else None


def _has_padded(values: pa.Array) -> bool:
    """Tell whether a text is digits with a needless 0 before them."""
    import pyarrow as pa
    from pyarrow import compute

    if not pa.types.is_string(values.type):
        return False
    # Cheap ones first: most numbers begin otherwise, or are decimals.
    found = values.filter(compute.starts_with(values, "0"))
    for mark in (".", ","):
        found = found.filter(compute.invert(compute.starts_with(found, "0" + mark)))
    found = found.filter(compute.greater(compute.binary_length(found), 1))
    return bool(len(found)) and bool(
        compute.any(compute.match_substring_regex(found, "^0[0-9]+$")).as_py()
    )


def day_text(days: float) -> str:
    """Write days since 1970-01-01 as an ISO date, with the time if it is not midnight."""
    return str(np.datetime64(round(days * 86_400), "s")).removesuffix("T00:00:00")


def _coded(values: pa.Array) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_dictionary(values.type))
