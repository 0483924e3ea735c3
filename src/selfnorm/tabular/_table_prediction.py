"""Predictions for the rows of a file, block by block."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from selfnorm.errors import DataError, DomainError
from selfnorm.tabular._survey import Column
from selfnorm.tabular._table_rows import frame_blocks
from selfnorm.tabular._tables import TableFile, listed

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from selfnorm.tabular import SNNClassifier, SNNRegressor

__all__ = ["predict_table", "read_rows"]

_PARQUET: Final = (".parquet", ".pq")


def predict_table(
    estimator: SNNClassifier | SNNRegressor,
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    proba: bool = False,
) -> dict[str, Any]:
    """Predict for each row of a CSV or Parquet file and write the predictions to a file.

    One block of rows is in memory at a time.

    Parameters
    ----------
    estimator : SNNClassifier or SNNRegressor
        From `train_table`, or loaded from its file.
    path : str or path-like
        The table. It needs the columns of the training table; the target and others are ignored.
    out : str or path-like
        A CSV file, or Parquet if it ends in .parquet or .pq, with a column ``prediction`` and the
        rows in the table's order. Written whole or not at all.
    proba : bool
        Whether to add a column ``probability_CLASS`` for each class.

    Returns
    -------
    dict
        ``rows`` written, ``ignored`` columns, ``notes`` in sentences.

    Raises
    ------
    DataError
        If the file is faulty, columns are missing, or the estimator did not learn from a file.
    DomainError
        If probabilities are asked of a regressor, or ``out`` is the table itself.
    OSError
        If the predictions cannot be written.
    """
    if proba and not hasattr(estimator, "predict_proba"):
        raise DomainError("probabilities belong to classes, however: this is a regression model")
    if Path(out).resolve() == Path(path).resolve():
        raise DomainError(f"the output must be another file than the table, however: {str(out)!r}")
    table, columns, target = _opened(estimator, path)
    known = {column.name for column in columns} | {target}
    ignored = [name for name in table.names if name not in known]
    rows = 0
    with _writer(Path(out), _schema(estimator, proba)) as write:
        for frame in frame_blocks(table, columns):
            write(_columns_of(estimator, frame, proba))
            rows += len(frame)
    return {"rows": rows, "ignored": ignored, "notes": table.notes}


def read_rows(
    path: str | os.PathLike[str], estimator: SNNClassifier | SNNRegressor
) -> pd.DataFrame:
    """Read a file's rows as the inputs of an estimator that ``selfnorm train`` has made.

    Numbers, dates, texts and marks of missing values are read as they were in training, which
    ``pandas.read_csv`` would do otherwise.

    Parameters
    ----------
    path : str or path-like
        A CSV or Parquet file. It needs the columns of the training table, in any order; others are
        left out.
    estimator : SNNClassifier or SNNRegressor
        From `selfnorm.load`.

    Returns
    -------
    pandas.DataFrame
        All rows, for ``predict`` and the like.

    Raises
    ------
    DataError
        If the file is faulty, columns are missing, or the estimator did not learn from a file.
    MissingDependencyError
        If pandas or pyarrow is not installed.

    Examples
    --------
    >>> import selfnorm
    >>> model = selfnorm.load("wine/model.safetensors")  # doctest: +SKIP
    >>> model.predict(selfnorm.tabular.read_rows("new.csv", model))  # doctest: +SKIP
    """
    import pandas as pd

    table, columns, _ = _opened(estimator, path)
    texts = {column.name: object for column in columns if column.kind == "text"}
    # Each block has its own categories: as plain texts they go together.
    blocks = [block.astype(texts) for block in frame_blocks(table, columns)]
    if blocks:
        return pd.concat(blocks, ignore_index=True)
    return pd.DataFrame(columns=[column.name for column in columns])


def _opened(
    estimator: SNNClassifier | SNNRegressor, path: str | os.PathLike[str]
) -> tuple[TableFile, list[Column], str]:
    """Open a table; tell the columns to read of it, and the target."""
    state = getattr(estimator, "table_", None)
    if not isinstance(state, dict):
        raise DataError(
            "the model must have been trained by 'selfnorm train', which keeps what the columns of "
            "a file are, however: it was fitted in Python; predict there: model.predict(X)"
        )
    columns = [
        Column(one["name"], one["kind"], 0, wide=one["wide"], markers=tuple(one["markers"]))
        for one in state["columns"]
    ]
    table = TableFile(path)
    names = [column.name for column in columns]
    if missing := [name for name in names if name not in table.names]:
        raise DataError(
            "the table must have all columns of the training table, however: "
            f"{str(path)!r} lacks {listed(missing)}; add them, empty where unknown"
        )
    return table, columns, state["target"]


def _schema(estimator: Any, proba: bool) -> pa.Schema:
    import pyarrow as pa

    classes = estimator.classes_.tolist() if hasattr(estimator, "classes_") else []
    fields = [("prediction", pa.array(classes).type if classes else pa.float64())]
    if proba:
        fields += [(f"probability_{label}", pa.float64()) for label in classes]
    return pa.schema(fields)


def _columns_of(estimator: Any, frame: Any, proba: bool) -> list[Any]:
    if not proba:
        return [np.asarray(estimator.predict(frame)).tolist()]
    found = estimator.predict_proba(frame)
    return [estimator.classes_[found.argmax(1)].tolist(), *found.T]


@contextlib.contextmanager
def _writer(path: Path, schema: pa.Schema) -> Iterator[Any]:
    """Yield what writes columns to a temporary file, which takes its name when all is written."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    kind = parquet.ParquetWriter if path.suffix.lower() in _PARQUET else csv.CSVWriter
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    try:
        with kind(temporary, schema) as writer:
            yield lambda columns: writer.write_table(
                pa.table(
                    [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema
                )
            )
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        # mkstemp makes files private (0600); a result is as readable as any other new file.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
