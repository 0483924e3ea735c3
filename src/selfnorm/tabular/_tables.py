"""Tables in files: CSV and Parquet as blocks of numbers and texts, in bounded memory."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from selfnorm.errors import DataError, MissingDependencyError
from selfnorm.tabular._csv import Dialect, csv_blocks, csv_dialect

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MISSING", "TableFile", "as_dates", "as_numbers", "as_texts"]

# What stands for a missing value in a CSV file, white space around it removed.
MISSING: Final = (
    *("", "NA", "N/A", "n/a", "#N/A", "<NA>", "?", "null", "NULL", "None"),
    *("nan", "NaN", "NAN", "-nan", "-NaN"),
)
_ROWS: Final = 1 << 16  # rows of a block of Parquet
_SHOWN: Final = 12
# Names that pandas gives an index it was told to write: it numbers the rows.
_INDEX: Final = ("", "Unnamed: 0", "__index_level_0__")


class TableFile:
    """A table in a file, read as often as it is wanted.

    Parameters
    ----------
    path : str or path-like
        A CSV file (also compressed: .gz, .bz2, .zst) or a Parquet file; which of both its first
        bytes say.

    Attributes
    ----------
    names : list of str
        The columns, less a first one that only numbers the rows.
    notes : list of str
        What was decided about the file, in sentences.

    Raises
    ------
    DataError
        If the file cannot be read as a table: the message says where and why.
    MissingDependencyError
        If pyarrow is not installed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError(
                "pyarrow", extra="tabular", purpose="Reading a table from a file"
            ) from error
        self.path = Path(path)
        self.notes: list[str] = []
        if self.path.is_dir():
            raise DataError(
                f"the table must be one file, however: {str(path)!r} is a folder; name a CSV or "
                "Parquet file in it"
            )
        try:
            with self.path.open("rb") as stream:
                parquet = stream.read(4) == b"PAR1"
        except OSError as error:
            raise DataError(
                f"the table must be a readable file, however: {str(path)!r}: "
                f"{error.strerror or error}; check the path"
            ) from error
        self._dialect: Dialect | None = None
        if parquet:
            every = self._parquet_names()
        else:
            self._dialect = csv_dialect(self.path)
            every = list(self._dialect.names)
            self._note_dialect(self._dialect)
        self._places = {name: k for k, name in enumerate(every)}
        self._check_names(every)
        self.names = list(every)
        if self.names[0] in _INDEX:
            self.names = self.names[1:]
            name = f" {every[0]!r}" if every[0] else ", which has no name,"
            self.notes.append(f"The first column{name} numbers the rows and is ignored.")
        if not self.names:
            raise DataError(f"the table must have columns, however: {str(path)!r} has none")

    def _note_dialect(self, dialect: Dialect) -> None:
        if dialect.separator != ",":
            mark = {"\t": "tabs", ";": "semicolons"}.get(dialect.separator, "vertical bars")
            comma = ", decimals by a comma" if dialect.decimal == "," else ""
            self.notes.append(f"The fields are separated by {mark}{comma}.")

    def _parquet_names(self) -> list[str]:
        import pyarrow as pa
        from pyarrow import parquet

        try:
            schema = parquet.read_schema(self.path)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{str(self.path)!r} must be a Parquet file, however: it cannot be read "
                f"({str(error).partition(chr(10))[0]}); copy or export it again"
            ) from error
        for field in schema:
            if not _is_plain(field.type):
                raise DataError(
                    "the columns must hold numbers, texts, booleans or dates, however: column "
                    f"{field.name!r} of {str(self.path)!r} holds {field.type}; flatten it to plain "
                    "columns or leave it out"
                )
        return [str(name) for name in schema.names]

    def _check_names(self, names: list[str]) -> None:
        where = f"of {str(self.path)!r}"
        for name, count in Counter(names).items():
            if count > 1 and name:
                raise DataError(
                    f"the columns' names must differ, however: {count} columns {where} are called "
                    f"{name!r}; rename all but one"
                )
        for place, name in enumerate(names[1:], start=2):
            if not name:
                raise DataError(
                    f"every column must have a name, however: column {place} {where} has none; "
                    "name it in the first line"
                )
        if len(names) > 1 and all(map(_is_number, names)):
            raise DataError(
                f"the first line must hold the names of the columns, however: that {where} holds "
                f"numbers alone ({', '.join(names[:5])}); put a line of names before it"
            )

    def require(self, name: str, what: str) -> None:
        """Refuse a name that is no column, and offer the nearest."""
        if name in self.names:
            return
        small = {one.casefold().strip(): one for one in self.names}
        near = difflib.get_close_matches(name.casefold().strip(), small, 1)
        hint = f"did you mean {small[near[0]]!r}?" if near else f"they are {listed(self.names)}"
        if len(self.names) == 1 and self._dialect is not None:
            hint = f"its only column is {self.names[0]!r}; separate the fields by commas"
        raise DataError(f"{what} must be a column of {str(self.path)!r}, however: {name!r}; {hint}")

    def blocks(self, names: Sequence[str]) -> Iterator[dict[str, pa.Array]]:
        """Yield the rows, block by block, as arrays of text or of their type in Parquet.

        Texts have no white space around them, and null where they stand for a missing value.

        Raises
        ------
        DataError
            If the file is faulty further on.
        """
        if self._dialect is None:
            yield from self._parquet_blocks(names)
            return
        for block in csv_blocks(self.path, self._dialect):
            yield {name: self._clean(block.column(self._places[name])) for name in names}

    def _clean(self, texts: pa.Array) -> pa.Array:
        import pyarrow as pa
        from pyarrow import compute

        texts = compute.utf8_trim_whitespace(texts)
        missing = compute.is_in(texts, pa.array(MISSING))
        return compute.if_else(missing, pa.scalar(None, pa.string()), texts)

    def _parquet_blocks(self, names: Sequence[str]) -> Iterator[dict[str, pa.Array]]:
        import pyarrow as pa
        from pyarrow import parquet

        try:
            # Without pre-buffering, which would hold whole row groups.
            with parquet.ParquetFile(self.path, pre_buffer=False) as file:
                for block in file.iter_batches(_ROWS, columns=list(names), use_threads=False):
                    yield {name: block.column(name) for name in names}
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{str(self.path)!r} must be a Parquet file, however: it cannot be read to its end "
                f"({str(error).partition(chr(10))[0]}); copy or export it again"
            ) from error

    @property
    def decimal(self) -> str:
        """What stands before decimals."""
        return "." if self._dialect is None else self._dialect.decimal


def listed(names: Sequence[str]) -> str:
    """Write some names, and how many more there are."""
    shown = ", ".join(map(repr, names[:_SHOWN]))
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_plain(kind: pa.DataType) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return bool(_is_plain(kind.value_type))
    return bool(_is_text(kind) or _is_date(kind) or _is_numeric(kind) or types.is_null(kind))


def _is_text(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_boolean(kind)
    )


def _is_date(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_timestamp(kind) or types.is_date(kind))


def _is_numeric(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


# ---- arrays as numbers, dates, texts ----------------------------------------------------------


def _plain_values(values: pa.Array) -> pa.Array:
    import pyarrow as pa

    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def as_numbers(values: pa.Array, decimal: str = ".") -> Any:
    """Return float64 with NaN where a value is missing; None if one is no number."""
    import pyarrow as pa
    from pyarrow import compute

    values = _plain_values(values)
    if pa.types.is_boolean(values.type) or _is_date(values.type):
        return None
    try:
        if _is_text(values.type) and decimal == ",":
            values = compute.replace_substring(values, ",", ".")
        values = values.cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    return values.to_numpy(zero_copy_only=False)


def as_dates(values: pa.Array) -> Any:
    """Return datetime64[us], NaT where a value is missing; None if one is no ISO date."""
    import pyarrow as pa

    values = _plain_values(values)
    if not (_is_text(values.type) or _is_date(values.type)) or pa.types.is_boolean(values.type):
        return None
    try:
        moments = values.cast(pa.timestamp("us"), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    return moments.to_numpy(zero_copy_only=False)


def as_texts(values: pa.Array) -> pa.Array:
    """Return an array of strings, null where missing; booleans become true and false."""
    import pyarrow as pa

    return _plain_values(values).cast(pa.string())
