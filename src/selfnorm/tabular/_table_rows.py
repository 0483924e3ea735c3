"""The rows of a table as data frames: block by block, or those that are wanted at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfnorm.errors import DataError, MissingDependencyError
from selfnorm.tabular._survey import Column
from selfnorm.tabular._tables import TableFile, as_dates, as_numbers, as_texts

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["frame_blocks", "gather"]


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise MissingDependencyError(
            "pandas", extra="tabular", purpose="Learning from a file"
        ) from error
    return pandas


def _values_of(values: pa.Array, column: Column, decimal: str, start: int) -> NDArray[Any]:
    """Return a number or date column's values; refuse others with their place."""
    values = _unmarked(values, column)
    found = as_numbers(values, decimal) if column.kind == "number" else as_dates(values)
    if found is None:
        place, text = _first_other(values, column, decimal)
        what = "numbers" if column.kind == "number" else "dates (YYYY-MM-DD, also with hh:mm:ss)"
        raise DataError(
            f"column {column.name!r} must hold {what}, as it did in training, however: {text!r} in "
            f"data row {start + place + 1:,}; correct it or leave it empty"
        )
    if column.kind == "date":
        moments: NDArray[np.datetime64] = found
        return moments
    if np.isinf(found).any():
        place = int(np.argmax(np.isinf(found)))
        raise DataError(
            f"numbers must be finite, however: column {column.name!r} holds {values[place]} in "
            f"data row {start + place + 1:,}; correct it or leave it empty"
        )
    with np.errstate(over="ignore"):
        numbers: NDArray[np.floating[Any]] = found if column.wide else found.astype(np.float32)
    if not column.wide and (large := np.isinf(numbers)).any():
        place = int(np.argmax(large))
        raise DataError(
            f"numbers must fit into float32 (up to 3.4e38), however: column {column.name!r} holds "
            f"{values[place]} in data row {start + place + 1:,}; correct it or leave it empty"
        )
    return numbers


def _unmarked(values: pa.Array, column: Column) -> pa.Array:
    """Make the texts missing that mark missing values."""
    import pyarrow as pa
    from pyarrow import compute

    if not column.markers or not pa.types.is_string(values.type):
        return values
    marked = compute.is_in(values, pa.array(column.markers))
    return compute.if_else(marked, pa.scalar(None, pa.string()), values)


def _first_other(values: pa.Array, column: Column, decimal: str) -> tuple[int, str]:
    """Return place and text of the first value that is not of the column's kind."""
    for place in range(len(values)):
        one = values.slice(place, 1)
        found = as_numbers(one, decimal) if column.kind == "number" else as_dates(one)
        if found is None:
            return place, str(one[0])
    return 0, str(values[0])


def _frame_of(
    block: Mapping[str, pa.Array], columns: Sequence[Column], decimal: str, start: int
) -> pd.DataFrame:
    """Return a block as a data frame: float columns, and dates and categories as pandas has them.

    Raises
    ------
    DataError
        If a value is not of its column's kind; ``start`` rows came before this block.
    """
    pandas = _pandas()
    parts: dict[str, Any] = {}
    for column in columns:
        values = block[column.name]
        if column.kind == "text":
            coded = as_texts(values).dictionary_encode()
            codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
            levels = pandas.Index(coded.dictionary.to_pylist(), dtype=object)
            parts[column.name] = pandas.Categorical.from_codes(codes, levels)
        else:
            parts[column.name] = _values_of(values, column, decimal, start)
    frame: pd.DataFrame = pandas.DataFrame(parts, copy=False)
    return frame


def frame_blocks(table: TableFile, columns: Sequence[Column]) -> Iterator[pd.DataFrame]:
    """Yield the rows block by block; no block is empty.

    Raises
    ------
    DataError
        If the file is faulty, or a value is not of its column's kind.
    """
    start = 0
    for block in table.blocks([column.name for column in columns]):
        rows = len(block[columns[0].name])
        if rows:
            yield _frame_of(block, columns, table.decimal, start)
        start += rows


def gather(
    table: TableFile, columns: Sequence[Column], part: NDArray[np.uint8]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read rows into two data frames, those of part 1 and those of part 2.

    Parameters
    ----------
    table : TableFile
        The file.
    columns : sequence of Column
        What to read, from the survey of this file.
    part : ndarray of int, shape (rows,)
        1 or 2 for each row to be read, 0 for the others.

    Returns
    -------
    tuple of pandas.DataFrame
        4 bytes a number (8 if ``wide``), 8 a date, 1 to 4 a category.
    """
    counts = [int((part == k).sum()) for k in (1, 2)]
    frames = [{c.name: np.empty(count, _dtype(c)) for c in columns} for count in counts]
    names = [column.name for column in columns]
    done = [0, 0]
    start = 0
    for block in table.blocks(names):
        rows = len(block[names[0]])
        chosen = [np.flatnonzero(part[start : start + rows] == k) for k in (1, 2)]
        for column in columns:
            values = block[column.name]
            if column.levels is None:
                found: NDArray[Any] = _values_of(values, column, table.decimal, start)
            else:
                found = _codes(values, column.levels)
            for frame, places, first in zip(frames, chosen, done, strict=True):
                frame[column.name][first : first + len(places)] = found[places]
        done = [first + len(places) for first, places in zip(done, chosen, strict=True)]
        start += rows
    return _frame(frames[0], columns), _frame(frames[1], columns)


def _dtype(column: Column) -> Any:
    if column.kind == "date":
        return "M8[us]"
    if column.levels is None:
        return np.float64 if column.wide else np.float32
    return np.min_scalar_type(-max(1, len(column.levels)))


def _frame(parts: dict[str, NDArray[Any]], columns: Sequence[Column]) -> pd.DataFrame:
    pandas = _pandas()
    ready: dict[str, Any] = dict(parts)
    for column in columns:
        if column.levels is not None:
            levels = pandas.Index(list(column.levels), dtype=object)
            ready[column.name] = pandas.Categorical.from_codes(parts[column.name], levels)
    frame: pd.DataFrame = pandas.DataFrame(ready, copy=False)
    return frame


def _codes(values: pa.Array, levels: Sequence[str]) -> NDArray[Any]:
    import pyarrow as pa
    from pyarrow import compute

    found = compute.index_in(as_texts(values), pa.array(levels, pa.string()))
    codes: NDArray[Any] = found.fill_null(-1).to_numpy(zero_copy_only=False)
    return codes
