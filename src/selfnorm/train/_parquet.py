"""Parquet files as batches."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from selfnorm.errors import DataError, DomainError, MissingDependencyError

__all__ = ["ParquetBatches"]

_BATCH: Final = 1 << 24  # bytes of inputs that are read together


class ParquetBatches:
    """Rows of Parquet files, a few thousand at a time.

    Iterating gives (X, y), or (X, y, weights), in the order of the files, each time anew. In
    training the row groups of all files come in a random order in each epoch, and rows are shuffled
    within the trainer's buffer.

    Parameters
    ----------
    path : path-like or sequence of path-like
        Files, or folders of which all files ``*.parquet`` are taken, by name.
    target : str or sequence of str
        Column of ``y``, or columns.
    columns : sequence of str, optional
        Columns of ``X``. Default: all others.
    weight : str, optional
        Column of the rows' weights.

    Attributes
    ----------
    columns : tuple of str
        Columns of ``X``.
    n_rows : int
        How many rows there are.

    Raises
    ------
    MissingDependencyError
        If pyarrow is not installed.
    DataError
        If a file is not a Parquet file, lacks a column, or a column does not hold numbers.
    DomainError
        If there are no files, or columns to train on.

    Notes
    -----
    About 16 MiB of inputs are read at a time, and what pyarrow needs to decode a row group. Empty
    places become NaN, which `Trainer.fit` refuses with the number of the row.

    Examples
    --------
    >>> import tempfile
    >>> import pyarrow, pyarrow.parquet
    >>> from selfnorm import train
    >>> table = pyarrow.table({"a": [0.5, -1.0, 2.0], "b": [1, 2, 3], "y": [0, 1, 1]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pyarrow.parquet.write_table(table, f"{folder}/rows.parquet")
    ...     batches = train.ParquetBatches(folder, target="y")
    ...     X, y = next(iter(batches))
    ...     result = train.Trainer(train.Architecture((2, 8, 2)), epochs=2).fit(batches)
    >>> batches.columns, X.shape, y.tolist(), len(result.history)
    (('a', 'b'), (3, 2), [0, 1, 1], 2)
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        target: str | Sequence[str],
        columns: Sequence[str] | None = None,
        weight: str | None = None,
    ) -> None:
        self._single = isinstance(target, str)
        self._targets = [target] if isinstance(target, str) else list(target)
        self._weight = weight
        self._paths = _files([path] if isinstance(path, str | os.PathLike) else path)
        self._groups: list[tuple[Path, int]] = []
        self.n_rows = 0
        for place in self._paths:
            file = _open(place)
            if columns is None:
                others = {*self._targets, weight}
                columns = [name for name in file.schema_arrow.names if name not in others]
            self._check(file.schema_arrow, columns, place)
            self._groups += [(place, k) for k in range(file.num_row_groups)]
            self.n_rows += file.metadata.num_rows
            file.close()
        self.columns = tuple(columns or ())
        if not self.columns:
            raise DomainError(f"there must be columns to train on, however: columns={columns!r}")

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Yield all rows in the order of the files."""
        return self._read(range(len(self._groups)))

    def shuffled(self, generator: torch.Generator) -> Iterator[tuple[Any, ...]]:
        """Yield all rows, row groups in an order drawn from the generator."""
        return self._read(torch.randperm(len(self._groups), generator=generator).tolist())

    def _read(self, groups: Sequence[int]) -> Iterator[tuple[Any, ...]]:
        wanted = [*self.columns, *self._targets, *([self._weight] if self._weight else [])]
        rows = max(1, _BATCH // (8 * len(self.columns)))
        opened: Path | None = None
        with contextlib.ExitStack() as stack:
            for number in groups:
                path, group = self._groups[number]
                if path != opened:
                    stack.close()
                    file, opened = stack.enter_context(_open(path)), path
                for part in file.iter_batches(rows, [group], wanted):
                    yield self._batch(part)

    def _batch(self, part: Any) -> tuple[Any, ...]:
        def column(name: str) -> Any:
            found = part.column(name)
            # Truth values with gaps would become objects.
            truth = _arrow().types.is_boolean(found.type)
            return (found.cast("float64") if truth else found).to_numpy(zero_copy_only=False)

        X = np.empty((part.num_rows, len(self.columns)))
        for k, name in enumerate(self.columns):
            X[:, k] = column(name)
        y = [column(name) for name in self._targets]
        found = (X, y[0] if self._single else np.stack(y, axis=1))
        return found if self._weight is None else (*found, column(self._weight))

    def _check(self, schema: Any, columns: Sequence[str], path: Path) -> None:
        types = _arrow().types
        for name in (*columns, *self._targets, *([self._weight] if self._weight else [])):
            if name not in schema.names:
                raise DataError(
                    f"each file must have all columns, however: {os.fspath(path)!r} has no "
                    f"{name!r} but {schema.names}"
                )
            kind = schema.field(name).type
            if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
                raise DataError(
                    f"column {name!r} must hold numbers, however: it holds {kind} in "
                    f"{os.fspath(path)!r}; encode it as numbers, or list the columns to use"
                )


def _files(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    found: list[Path] = []
    for path in map(Path, paths):
        found += sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not found:
        raise DomainError(
            f"path must name Parquet files, or folders with some, however: path={paths!r}"
        )
    return found


def _arrow() -> Any:
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise MissingDependencyError(
            "pyarrow", extra="tabular", purpose="reading Parquet files"
        ) from error


def _open(path: Path) -> Any:
    arrow = _arrow()
    try:
        return arrow.parquet.ParquetFile(path)
    except (OSError, arrow.ArrowInvalid) as error:
        raise DataError(
            f"path must name Parquet files, however: {os.fspath(path)!r} cannot be read ({error})"
        ) from error
