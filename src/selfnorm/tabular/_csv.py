"""CSV files, block by block: the dialect found out, faults named with their place."""

from __future__ import annotations

import codecs
import contextlib
import csv
import dataclasses
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from selfnorm.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Dialect", "csv_blocks", "csv_dialect", "decode_error"]

# Bytes of text that are parsed at a time; a row must fit in. Arrow reads ahead: some 60 blocks of
# memory in all. Larger ones are not faster (300 MB: 8.7 s of CPU with 1, 2 or 4 MiB).
_BLOCK: Final = 2 << 20
_SAMPLE: Final = 1 << 18
_SEPARATORS: Final = (",", ";", "\t", "|")
_DECIMAL_COMMA: Final = re.compile(r"\s*[-+]?\d+,\d+\s*")
_DECIMAL_POINT: Final = re.compile(r"\s*[-+]?\d*\.\d+\s*")
# First bytes of what people take for a CSV file; what it is, and the remedy.
_UTF16: Final = ("it is UTF-16", "iconv -f utf-16 -t utf-8 OLD > NEW makes it UTF-8")
_OTHERS: Final = {
    codecs.BOM_UTF16_LE: _UTF16,
    codecs.BOM_UTF16_BE: _UTF16,
    b"PK\3\4": (
        "it is an Excel workbook or a zip archive",
        "unpack it, or save the sheet as CSV in UTF-8",
    ),
}


@dataclasses.dataclass(frozen=True)
class Dialect:
    """How a CSV file is written.

    Attributes
    ----------
    separator : str
        What stands between fields.
    decimal : {".", ","}
        What stands before decimals.
    names : tuple of str
        The fields of the first line, white space around them removed.
    """

    separator: str
    decimal: str
    names: tuple[str, ...]


def csv_dialect(path: Path) -> Dialect:
    """Find separator, decimal sign and names in the beginning of a file, and check its encoding.

    The whole file is read once for that, in blocks.

    Raises
    ------
    DataError
        If the file is empty, no UTF-8 text, or has a quotation mark that is never closed.
    """
    _check_text(path)
    with _open(path) as stream:
        text = stream.read(_SAMPLE).decode("utf-8-sig", errors="ignore")
    whole = len(text.encode()) < _SAMPLE - 8
    if not text.strip():
        raise DataError(
            f"the first line must hold the names of the columns, however: {str(path)!r} is "
            "empty; export the table again"
        )
    samples = {mark: _records(text, mark, whole) for mark in _SEPARATORS}
    separator = max(_SEPARATORS, key=lambda mark: _fit(samples[mark]))
    records = samples[separator]
    fields = [field for record in records[1:] for field in record]
    decimal = "."
    if separator != "," and any(map(_DECIMAL_COMMA.fullmatch, fields)):
        decimal = "." if any(map(_DECIMAL_POINT.fullmatch, fields)) else ","
    return Dialect(separator, decimal, tuple(name.strip() for name in records[0]))


def _open(path: Path) -> Any:
    import pyarrow as pa

    # Compressed files (.gz, .bz2, .zst) are known by their names.
    return pa.input_stream(str(path), compression="detect")


def _records(text: str, separator: str, whole: bool) -> list[list[str]]:
    """Return the records of a text, less the last one if the text may end inside it."""
    records = [one for one in csv.reader(io.StringIO(text), delimiter=separator) if one]
    return records if whole or len(records) < 2 else records[:-1]


def _fit(records: list[list[str]]) -> float:
    """Tell how well a separator fits: how many fields it makes, if all records have as many."""
    count = len(records[0])
    same = sum(len(one) == count for one in records) / len(records)
    return count * same**4 if count > 1 else 0.0


def _check_text(path: Path) -> None:
    """Refuse what is not UTF-8, with the place; what holds zero bytes; an odd quotation mark."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    position = quotes = 0
    with _open(path) as stream:
        while block := stream.read(_BLOCK):
            for start, (what, remedy) in _OTHERS.items():
                if position == 0 and block.startswith(start):
                    raise DataError(
                        f"a CSV file must be UTF-8 text, however: {str(path)!r}: {what}; {remedy}"
                    )
            if (zero := block.find(b"\0")) >= 0:
                raise DataError(
                    f"a CSV file must be UTF-8 text, however: {str(path)!r} has a zero byte, byte "
                    f"{position + zero:,}; export it again as CSV in UTF-8"
                )
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                place = position - pending + error.start
                raise decode_error(path, place, f"there is {error.object[error.start]:#04x}") from (
                    error
                )
            quotes += block.count(b'"')
            position += len(block)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise decode_error(path, position, "it ends inside a character") from error
    if quotes % 2:
        _check_quotes(path)


def decode_error(path: Path, place: int, what: str) -> DataError:
    """Return the error of a file that is no UTF-8 text."""
    return DataError(
        f"a CSV file must be UTF-8 text, however: in {str(path)!r}, at byte {place:,}, {what}; "
        "export it as CSV in UTF-8 (from Latin-1: iconv -f latin1 -t utf-8 OLD > NEW)"
    )


def _check_quotes(path: Path) -> None:
    """Find where a field begins whose quotation mark is never closed. A lone inch is allowed."""
    for line, _ in _python_records(path, ","):
        if line < 0:
            raise DataError(
                f"every quotation mark must be closed, however: in {str(path)!r} the field that "
                f"begins in line {-line} is not; close it or write it twice"
            )


def _python_records(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield first line and fields of each record, slowly; line < 0: it is never closed."""
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with _open(path) as stream, io.TextIOWrapper(stream, "utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, delimiter=separator, strict=True)
        line = 1
        while True:
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "end of data" in str(error):
                    yield -line, []
                    return
                record = []  # a mark after a closing one: pyarrow reads on, and so do we
            yield line, record
            line = reader.line_num + 1


def csv_blocks(path: Path, dialect: Dialect) -> Iterator[pa.RecordBatch]:
    """Yield the rows as blocks of text columns; what is missing is told by no one yet.

    Raises
    ------
    DataError
        If a line has more or fewer fields than the first, or is too long.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow

    # Columns are told apart by number: names may come twice, and some are left out.
    names = [str(k) for k in range(len(dialect.names))]
    with _open(path) as stream:
        try:
            reader = arrow.open_csv(
                stream,
                read_options=arrow.ReadOptions(
                    use_threads=False, block_size=_BLOCK, column_names=names
                ),
                parse_options=arrow.ParseOptions(
                    delimiter=dialect.separator, newlines_in_values=True
                ),
                convert_options=arrow.ConvertOptions(
                    check_utf8=False,
                    column_types=dict.fromkeys(names, pa.string()),
                    strings_can_be_null=False,
                ),
            )
            header = 1  # not skipped by arrow, which would count blank lines before it
            for block in reader:
                yield block.slice(header)
                header = 0 if block.num_rows else header
        except pa.ArrowInvalid as error:
            raise _parse_error(path, dialect, str(error)) from error


def _parse_error(path: Path, dialect: Dialect, reason: str) -> DataError:
    """Say in which line a file goes wrong."""
    expected = len(dialect.names)
    with contextlib.suppress(UnicodeDecodeError):
        for line, record in _python_records(path, dialect.separator):
            if record and len(record) != expected:
                return DataError(
                    f"every line must have {expected} fields as the first has, however: "
                    f"line {line} of {str(path)!r} has {len(record)}; put texts that hold "
                    f"{dialect.separator!r} in quotation marks, or mend the line"
                )
    return DataError(
        f"{str(path)!r} must be a CSV file of rows of at most {_BLOCK >> 20} MiB, however: "
        f"{reason.partition(':')[0]}; look for a quotation mark that is never closed"
    )
