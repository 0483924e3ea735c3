"""What is learnt of the columns of a table."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from selfnorm.tabular._preprocessing._categories import fit_category
from selfnorm.tabular._preprocessing._checks import places_of
from selfnorm.tabular._preprocessing._columns import CategoryColumn, NumberColumn
from selfnorm.tabular._preprocessing._frames import Numbers, Table, check_finite
from selfnorm.tabular._preprocessing._numbers import fit_numbers

__all__ = ["learn_columns"]

# Numbers at a time: 32 MiB of float64.
_BLOCK: Final = 1 << 22

Columns = dict[int, NumberColumn | CategoryColumn]


def learn_columns(
    table: Table,
    categorical: Any,
    rows: NDArray[np.bool_] | None,
    weight: NDArray[np.float64] | None,
    *,
    max_one_hot: int,
    seed: int,
) -> tuple[NumberColumn | CategoryColumn, ...]:
    """Learn the scaling of numbers and the codes of categories.

    Parameters
    ----------
    table : Table
        The training table.
    categorical : "auto", None or sequence of str, int or bool
        Which columns are categories.
    rows : numpy.ndarray of bool, optional
        Which rows count; all by default.
    weight : numpy.ndarray, optional
        Weights of the rows that count; equal by default.
    max_one_hot, seed : int
        Of `fit_category`.

    Returns
    -------
    tuple of NumberColumn and CategoryColumn
        One for each column of the table.
    """
    auto = isinstance(categorical, str) and categorical == "auto"
    forced = set() if auto else places_of(categorical, table)
    found: Columns = {}
    if table.matrix is not None:
        _learn_matrix(table, forced, rows, weight, found)
    for index in range(table.n_features):
        if index in found:
            continue
        column = (
            table.texts(index)
            if index in forced
            else table.column(index)
            if auto
            else table.numbers(index)
        )
        if isinstance(column, Numbers):
            values = column.values if rows is None else column.values[rows]
            kind = column.kind or "number"
            pair = fit_numbers(values[None, :].copy(), weight)[0]
            found[index] = NumberColumn(index, table.label(index), kind, *pair)
        else:
            if rows is not None:
                column = dataclasses.replace(column, codes=column.codes[rows])
            found[index] = fit_category(
                index, table.label(index), column, weight, max_one_hot=max_one_hot, seed=seed
            )
    return tuple(found[k] for k in range(table.n_features))


def _learn_matrix(
    table: Table,
    forced: set[int],
    rows: NDArray[np.bool_] | None,
    weight: NDArray[np.float64] | None,
    found: Columns,
) -> None:
    """Learn the columns of numbers of a matrix, several at a time."""
    matrix = table.matrix.tocsc() if sparse.issparse(table.matrix) else table.matrix
    step = max(1, _BLOCK // table.n_rows)
    labels = table.labels
    for start in range(0, table.n_features, step):
        part = matrix[:, start : start + step]
        part = part.toarray() if sparse.issparse(part) else part
        check_finite(part, labels[start : start + step])
        part = part if rows is None else part[rows]
        values = np.array(part.T, dtype=np.float64, order="C")
        for k, pair in enumerate(fit_numbers(values, weight), start):
            if k not in forced:
                found[k] = NumberColumn(k, labels[k], "number", *pair)
