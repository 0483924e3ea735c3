"""Tables: plain cells in, accessible HTML out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Literal, TypeGuard, get_args

import numpy as np

from selfnorm.errors import DomainError
from selfnorm.report._numbers import format_column
from selfnorm.report._text import checked_text, plain

__all__ = ["Align", "Cell", "Table"]

Align = Literal["left", "right", "center"]
Cell = str | float | int | None


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of text and numbers; the first column heads the rows.

    The numbers of a column are written alike (see :func:`format_number` for the form) and stand
    on the right; ``None`` is a dash, ``True`` and ``False`` are "yes" and "no". A table wider than
    the page scrolls in its own box.

    Parameters
    ----------
    columns : sequence of str
        Headings.
    rows : sequence of sequence of str, float, int or None
        Each as long as ``columns``.
    caption : str, optional
        Title above the table.
    align : sequence of {"left", "right", "center"}, optional
        One per column; by default numbers right and text left.

    Raises
    ------
    DomainError
        If there is no column, a row has another length, a cell is of another type or an
        alignment is unknown.

    Examples
    --------
    >>> Table(["arm", "accuracy"], [["std-selu", 0.9312], ["raw-relu", None]]).cells
    (('std-selu', '0.9312'), ('raw-relu', '–'))
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str | None = field(default=None, kw_only=True)
    align: Sequence[Align] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        headings = tuple(checked_text("column heading", name) for name in self.columns)
        if not headings:
            raise DomainError("columns is empty; give at least one heading")
        rows = tuple(tuple(row) for row in self.rows)
        for number, row in enumerate(rows):
            if len(row) != len(headings):
                raise DomainError(
                    f"row {number} must have {len(headings)} cells, however: {len(row)}: {row!r}"
                )
            for heading, cell in zip(headings, row, strict=True):
                if not (cell is None or isinstance(cell, (str, Real)) or _is_bool(cell)):
                    raise DomainError(
                        f"a cell must be str, float, int or None, however: row {number}, "
                        f"column {heading!r} holds {cell!r}"
                    )
        if self.caption is not None:
            object.__setattr__(self, "caption", checked_text("caption", self.caption))
        object.__setattr__(self, "columns", headings)
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "align", self._alignment())

    def _alignment(self) -> tuple[Align, ...]:
        if self.align is None:
            return tuple(
                "right" if any(_is_number(row[k]) for row in self.rows) else "left"
                for k in range(len(self.columns))
            )
        align = tuple(self.align)
        if len(align) != len(self.columns) or not set(align) <= set(get_args(Align)):
            raise DomainError(
                f"align must hold one of 'left', 'right', 'center' for each of "
                f"{len(self.columns)} columns, however: align={self.align!r}"
            )
        return align

    @property
    def cells(self) -> tuple[tuple[str, ...], ...]:
        """The cells as text, row by row."""
        return tuple(
            zip(
                *(_column([row[k] for row in self.rows]) for k in range(len(self.columns))),
                strict=True,
            )
        )


def _is_bool(cell: object) -> bool:
    return isinstance(cell, (bool, np.bool_))


def _is_number(cell: object) -> TypeGuard[float]:
    return isinstance(cell, Real) and not _is_bool(cell)


def _column(cells: Sequence[Cell]) -> list[str]:
    numbers = iter(
        format_column(
            [
                int(cell) if isinstance(cell, Integral) else float(cell)
                for cell in cells
                if _is_number(cell)
            ]
        )
    )
    return [_text(cell) if not _is_number(cell) else next(numbers) for cell in cells]


def _text(cell: Cell) -> str:
    if cell is None:
        return "–"
    return plain(cell) if isinstance(cell, str) else ("yes" if cell else "no")
