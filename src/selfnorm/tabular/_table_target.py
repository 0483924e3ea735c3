"""The target of a table: classes or numbers, and which rows are held out."""

from __future__ import annotations

import dataclasses
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from selfnorm.errors import DataError
from selfnorm.tabular._survey import Column
from selfnorm.tabular._tables import as_numbers, as_texts

__all__ = ["Target", "far_share", "hold_out", "target_of"]

Task = Literal["classification", "regression"]

# "auto": whole numbers are classes if there are few of them and each is met often.
_FEW_NUMBERS: Final = 20
_ROWS_PER_NUMBER: Final = 5
_LEAST_ROWS: Final = 10


@dataclasses.dataclass(frozen=True)
class Target:
    """What shall be predicted.

    Attributes
    ----------
    name : str
        The column.
    task : {"classification", "regression"}
        What was asked for or found out.
    reason : str
        Why, as a sentence.
    known : ndarray of bool, shape (rows of the file,)
        Which rows have a value.
    values : ndarray, shape (known rows,)
        Class numbers or float64.
    classes : ndarray
        Labels by class number, sorted: text or whole numbers; empty for regression.
    """

    name: str
    task: Task
    reason: str
    known: NDArray[np.bool_]
    values: NDArray[Any]
    classes: NDArray[Any]


def target_of(column: Column, values: Any, decimal: str, task: str) -> Target:
    """Decide what the target is.

    Parameters
    ----------
    column : Column
        From the survey.
    values : pyarrow.Array
        The whole column.
    decimal : str
        What stands before decimals.
    task : {"auto", "classification", "regression"}
        What the user asked for.

    Raises
    ------
    DataError
        If nothing can be learned: no values, one class, too few rows, text for numbers.
    """
    name = column.name
    if column.kind == "empty":
        raise DataError(
            f"the target must have values, however: all {column.missing:,} rows of column {name!r} "
            "are empty; choose another column"
        )
    if column.kind == "date":
        raise DataError(
            f"the target must be classes or numbers, however: column {name!r} holds dates; make it "
            "a number, such as days since a day of your choice"
        )
    if column.kind == "number" or (column.kind == "constant" and column.levels is None):
        return _numeric(column, values, decimal, task)
    texts = as_texts(values)
    if task == "regression":
        example = texts.drop_null()[0].as_py()
        raise DataError(
            f"the target of a regression must hold numbers, however: column {name!r} holds "
            f"{example!r}; correct it, or use --task classification"
        )
    if column.levels is None:
        raise DataError(
            "classes must come again in many rows, however: nearly every row of column "
            f"{name!r} holds another text; choose another target"
        )
    known = ~texts.is_null().to_numpy(zero_copy_only=False)
    labels = np.array(column.levels)
    return _classes(
        name, f"Column {name!r} holds texts.", known, _codes(texts, column.levels)[known], labels
    )


def _codes(texts: Any, levels: tuple[str, ...]) -> NDArray[np.intp]:
    import pyarrow as pa
    from pyarrow import compute

    found = compute.index_in(texts, pa.array(levels, pa.string()))
    return np.asarray(found.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.intp)


def _numeric(column: Column, values: Any, decimal: str, task: str) -> Target:
    import pyarrow as pa
    from pyarrow import compute

    if column.markers:
        marked = compute.is_in(values, pa.array(column.markers))
        values = compute.if_else(marked, pa.scalar(None, pa.string()), values)
    numbers = as_numbers(values, decimal)
    known = ~np.isnan(numbers)
    numbers = numbers[known]
    distinct, codes = np.unique(numbers, return_inverse=True)
    whole = bool((distinct == np.round(distinct)).all() and np.abs(distinct).max() < 2**53)
    name, count = column.name, len(distinct)
    few = whole and count <= min(_FEW_NUMBERS, len(numbers) // _ROWS_PER_NUMBER)
    if task == "regression" or (task == "auto" and not few):
        reason = f"Column {name!r} holds {count:,} different numbers."
        if task == "regression":
            reason = "--task regression was given."
        if count < 2:
            raise DataError(
                f"the target must vary, however: all values of column {name!r} are "
                f"{distinct[0]:g}; choose another column"
            )
        _check_rows(name, len(numbers))
        return Target(name, "regression", reason, known, numbers, np.array([]))
    reason = f"Column {name!r} holds {count} whole numbers, each in many rows."
    if task == "classification":
        reason = "--task classification was given."
    if whole:
        return _classes(name, reason, known, codes.astype(np.intp), distinct.astype(np.int64))
    # scikit-learn has no classes with decimals: their texts are.
    labels, order = np.unique([f"{v:.15g}" for v in distinct.tolist()], return_inverse=True)
    return _classes(name, reason, known, order[codes].astype(np.intp), labels)


def _check_rows(name: str, rows: int) -> None:
    if rows < _LEAST_ROWS:
        raise DataError(
            f"the table must have at least {_LEAST_ROWS} rows with a target, however: {rows} have "
            f"a value in column {name!r}; gather more rows"
        )


def _classes(
    name: str, reason: str, known: NDArray[np.bool_], codes: NDArray[np.intp], labels: NDArray[Any]
) -> Target:
    if len(labels) < 2:
        raise DataError(
            f"the target must have at least 2 classes, however: column {name!r} holds "
            f"{labels[0].item()!r} alone; choose another column or add rows of another class"
        )
    counts = np.bincount(codes, minlength=len(labels))
    if counts.max() == 1 or 2 * len(labels) > len(codes):
        raise DataError(
            "classes must come again in several rows, however: column "
            f"{name!r} holds {len(labels):,} classes in {len(codes):,} rows; choose another "
            "target, gather more rows, or use --task regression for numbers"
        )
    _check_rows(name, len(codes))
    return Target(name, "classification", reason, known, codes, labels)


def far_share(values: NDArray[np.float64]) -> float:
    """Return the share of the variance that the farthest hundredth of the values make up.

    Of a million values (measured): normal 0.08, exponential 0.22, lognormal 0.49 with sigma 1 and
    0.80 with sigma 1.5. Below 200 values, whose hundredth is too few to tell, 0 is returned.
    """
    if len(values) < 200:
        return 0.0
    square = np.square(values - values.mean())
    count = len(values) // 100
    return float(np.partition(square, -count)[-count:].sum() / square.sum())


def hold_out(target: Target, fraction: float, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Choose the rows that are held out, of each class its share.

    Parameters
    ----------
    target : Target
        The known values.
    fraction : float
        Share of the rows, in (0, 1). At least one row is held out and two are not; classes met
        once stay in training.
    generator : numpy.random.Generator
        Draws the rows.

    Returns
    -------
    ndarray of bool, shape (known rows,)
        True for rows held out.
    """
    count = len(target.values)
    held = np.zeros(count, dtype=bool)
    if target.task == "regression":
        size = min(max(1, round(count * fraction)), count - 2)
        held[generator.permutation(count)[:size]] = True
        return held
    order = generator.permutation(count)
    order = order[np.argsort(target.values[order], kind="stable")]
    sizes = np.bincount(target.values, minlength=len(target.classes))
    # Each class gives its share rounded down; the rows still wanted come from the largest rests.
    share = sizes * fraction
    take = np.floor(share).astype(int)
    wanted = min(max(1, round(count * fraction)), int(np.maximum(sizes - 1, 0).sum()))
    rest = np.where(take < sizes - 1, share - take, -1.0)
    for k in np.argsort(-rest, kind="stable")[: max(0, wanted - int(take.sum()))]:
        take[k] += rest[k] >= 0.0
    for size, start, some in zip(sizes, np.cumsum(sizes) - sizes, take, strict=True):
        held[order[start : start + min(some, max(size - 1, 0))]] = True
    return held
