"""What the preprocessing refuses beside the table itself."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from selfnorm.errors import DataError, DomainError
from selfnorm.tabular._preprocessing._frames import Table

__all__ = ["check_columns", "check_memory", "check_weight", "places_of"]


def check_weight(
    sample_weight: ArrayLike | None, n_rows: int
) -> tuple[NDArray[np.bool_] | None, NDArray[np.float64] | None]:
    """Return which rows count (None: all) and their weights (None: all equal)."""
    if sample_weight is None:
        return None, None
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n_rows,):
        raise DataError(
            f"sample_weight must have one weight per row, shape ({n_rows},), however: "
            f"sample_weight.shape={weight.shape}; give one number per row of X"
        )
    if not np.isfinite(weight).all() or weight.min() < 0 or weight.max() == 0:
        raise DataError(
            "sample_weight must be finite, 0 or more and not 0 everywhere, however: "
            f"min={weight.min()}, max={weight.max()}; drop rows that shall not count"
        )
    counts = weight > 0
    weight = weight[counts]
    rows = None if counts.all() else counts
    return rows, None if weight.min() == weight.max() else weight / weight.max()


def places_of(given: Any, table: Table) -> set[int]:
    """Return which columns are meant by names, places or a mask."""
    if given is None:
        return set()

    def refuse(what: str) -> DomainError:
        return DomainError(
            "categorical_features must be 'auto', None, or column names, column numbers or one "
            f"boolean per column, however: {what}; the columns are "
            f"{', '.join(table.labels[:8])}{', …' if table.n_features > 8 else ''}"
        )

    if isinstance(given, str | bytes) or not hasattr(given, "__iter__"):
        raise refuse(f"categorical_features={given!r}")
    items = list(given)
    if items and all(isinstance(item, bool | np.bool_) for item in items):
        if len(items) != table.n_features:
            raise refuse(f"a mask of {len(items)} for {table.n_features} columns")
        return {k for k, item in enumerate(items) if item}
    if all(isinstance(item, str) for item in items):
        names = table.names or []
        for item in items:
            if names.count(item) != 1:
                raise refuse(f"the name {str(item)!r} is that of {names.count(item)} columns")
        return {names.index(item) for item in items}
    for item in items:
        if (
            not isinstance(item, int | np.integer)
            or isinstance(item, bool)
            or not 0 <= item < table.n_features
        ):
            raise refuse(f"it holds {item!r} for {table.n_features} columns")
    return {int(item) for item in items}


def check_columns(table: Table, count: int, names: NDArray[np.object_] | None) -> None:
    """Refuse other columns than those of the training rows."""
    if table.n_features != count:
        raise DataError(
            f"X has {table.n_features} features, but Preprocessor is expecting {count} features as "
            "input; give the columns of the training rows"
        )
    if table.names is None or names is None or table.names == (expected := names.tolist()):
        return
    k = next(k for k, name in enumerate(expected) if table.names[k] != name)
    raise DataError(
        "The feature names should match those that were passed during fit, however: "
        f"column {k} is {table.names[k]!r} in place of {expected[k]!r}; select the columns "
        "by their names, in the order of the training rows"
    )


def memory_limit() -> float:
    """Return half of the machine's memory, in bytes."""
    try:
        return 0.5 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 4e9  # no such call here, as on Windows: half of a small machine


def check_memory(table: Table, width: int) -> None:
    if not sparse.issparse(table.matrix):
        return
    needed, limit = 4.0 * table.n_rows * width, memory_limit()
    if needed > limit:
        raise DataError(
            f"a sparse X is made dense, which must take at most {limit / 1e9:.3g} GB here, "
            f"however: {table.n_rows} rows x {width} columns take {needed / 1e9:.3g} GB; reduce "
            "the columns first, for example by sklearn.decomposition.TruncatedSVD"
        )
