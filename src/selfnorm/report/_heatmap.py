"""Heat maps: a number for each pair of a row and a column, as a colour and in digits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfnorm.errors import DomainError
from selfnorm.report._axis import set_axis
from selfnorm.report._figure import Figure, Layout, new_drawing
from selfnorm.report._numbers import power_of_ten
from selfnorm.report._series import drawable
from selfnorm.report._style import Ink
from selfnorm.report._text import checked_text, text_width, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure as Drawing

__all__ = ["heatmap"]

_CELL_HEIGHT = 32
_CELL_WIDTH = 84
_COLOURS = "viridis"
_BAR_STEPS = 64
_UPRIGHT = 180


@dataclass(frozen=True)
class _Map:
    values: NDArray[np.float64]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    digits: tuple[tuple[str, ...], ...]
    row_title: str
    column_title: str
    value_label: str
    log: bool


def heatmap(
    values: ArrayLike,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    *,
    row_title: str,
    column_title: str,
    value_label: str,
    alt: str,
    log: bool = False,
    format: str = "{:.2f}",
) -> Figure:
    """Draw a matrix as coloured cells that hold their numbers, the first row on top.

    Parameters
    ----------
    values : array of float, shape (rows, columns)
        NaN, infinite and, if ``log``, not positive values give an empty cell with a dash.
    row_labels, column_labels : sequence of str
        One per row and per column.
    row_title, column_title, value_label : str
        What the rows, the columns and the numbers are.
    alt : str
        What the picture shows, for those who do not see it.
    log : bool, default False
        Colours follow the logarithm.
    format : str, default "{:.2f}"
        How :meth:`str.format` writes a number into its cell. On a narrow page the numbers are
        left out if cells are too small for them.

    Returns
    -------
    Figure
        To be put into a :class:`Section` or saved.

    Raises
    ------
    DomainError
        If ``values`` is not a non-empty matrix of real numbers, labels do not match it, or
        ``format`` does not format a number.

    Examples
    --------
    >>> figure = heatmap([[0.9, 0.8], [0.7, 0.6]], ["10", "50"], ["0.1", "1"], row_title="depth",
    ...                  column_title="variance", value_label="accuracy", alt="Accuracy falls.")
    >>> "0.90" in figure.html
    True
    """
    try:
        matrix = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DomainError(
            f"values must be a matrix of real numbers, however: values={values!r}"
        ) from None
    if matrix.ndim != 2 or matrix.size == 0:
        raise DomainError(f"values must be a non-empty matrix, however: shape {matrix.shape}")
    rows = tuple(checked_text("row label", label) for label in row_labels)
    columns = tuple(checked_text("column label", label) for label in column_labels)
    if (len(rows), len(columns)) != matrix.shape:
        raise DomainError(
            f"values of shape {matrix.shape} need as many labels, however: "
            f"{len(rows)} row labels and {len(columns)} column labels"
        )
    matrix = drawable(matrix, "log" if log else "linear")
    try:
        digits = tuple(tuple(_digits(v, format) for v in row) for row in matrix.tolist())
    except (ValueError, IndexError, KeyError, AttributeError):
        raise DomainError(
            f"format must write one number, such as '{{:.2f}}', however: format={format!r}"
        ) from None
    picture = _Map(
        matrix,
        rows,
        columns,
        digits,
        checked_text("row_title", row_title),
        checked_text("column_title", column_title),
        checked_text("value_label", value_label),
        log,
    )
    return Figure(checked_text("alt", alt), partial(_draw, picture))


def _digits(value: float, form: str) -> str:
    """Write a cell: a real minus sign, and a power of ten instead of "e-05"."""
    if math.isnan(value):
        return "–"
    mantissa, mark, exponent = form.format(value).partition("e")
    power = f"×{power_of_ten(int(exponent))}" if mark else ""
    return mantissa.replace("-", "−") + power


def _draw(picture: _Map, layout: Layout, ink: Ink) -> Drawing:
    from matplotlib.colors import LogNorm, Normalize

    count_rows, count_columns = picture.values.shape
    row_labels = [
        wrapped(label, 110 if layout.narrow else 240, layout.font) for label in picture.rows
    ]
    side = 24 + max(text_width(line, layout.font) for t in row_labels for line in t.split("\n"))
    words = (word for label in picture.columns for word in label.split())
    wish = max(_CELL_WIDTH, 10 + max(text_width(word, layout.font) for word in words))
    width = min(layout.width, max(side + wish * count_columns, 420))
    cell = (width - side) / count_columns
    column_labels, upright = _column_labels(picture.columns, cell - 6, layout.font)
    tall = (
        max(text_width(line, layout.font) for t in column_labels for line in t.split("\n"))
        if upright
        else layout.font * 1.35 * max(label.count("\n") for label in column_labels)
    )
    lines = max(label.count("\n") for label in row_labels) + 1
    body = max(_CELL_HEIGHT, lines * layout.font * 1.35 + 8) * count_rows
    drawing = new_drawing(width, body + tall + 140)
    axes, bar = drawing.subplots(2, 1, gridspec_kw={"height_ratios": (body, 12)})

    lo, hi = _ends(picture)
    norm = (LogNorm if picture.log else Normalize)(lo, hi)
    axes.pcolormesh(
        np.ma.masked_invalid(picture.values),
        cmap=_COLOURS,
        norm=norm,
        edgecolors=ink.paper,
        linewidth=1.5,
    )
    _write_digits(axes, picture, norm, cell - 4, layout, ink)
    axes.invert_yaxis()
    _frame(axes, layout, ink)
    axes.set_yticks(np.arange(count_rows) + 0.5, row_labels)
    axes.set_xticks(np.arange(count_columns) + 0.5, column_labels)
    if upright:
        for label in axes.get_xticklabels():
            label.set(rotation=90, ha="right", va="center", rotation_mode="anchor")
    axes.set_title(picture.row_title, loc="left", fontsize=layout.font, color=ink.muted, pad=8)
    axes.set_xlabel(picture.column_title, fontsize=layout.font, color=ink.muted, labelpad=4)
    _draw_bar(bar, (lo, hi), picture, width - side, layout, ink)
    return drawing


def _ends(picture: _Map) -> tuple[float, float]:
    """Return the values at the two ends of the colours."""
    finite = picture.values[np.isfinite(picture.values)]
    lo, hi = (float(finite.min()), float(finite.max())) if finite.size else (1.0, 1.0)
    if lo < hi:
        return lo, hi
    pad = abs(lo) / 2 or 0.5
    return lo - pad, hi + pad


def _write_digits(
    axes: Axes, picture: _Map, norm: Normalize, room: float, layout: Layout, ink: Ink
) -> None:
    """Write the numbers if all fit into their cells; empty cells get their dash anyway."""
    from matplotlib import colormaps

    colours = colormaps[_COLOURS]
    fits = all(text_width(text, layout.font) <= room for row in picture.digits for text in row)
    for row, column in np.ndindex(picture.values.shape):
        value = picture.values[row, column]
        if fits or math.isnan(value):
            axes.text(
                column + 0.5,
                row + 0.5,
                picture.digits[row][column],
                ha="center",
                va="center_baseline",
                fontsize=layout.font,
                color=ink.muted if math.isnan(value) else _on(colours(float(norm(value)))),
            )


def _draw_bar(
    axes: Axes,
    ends: tuple[float, float],
    picture: _Map,
    width: float,
    layout: Layout,
    ink: Ink,
) -> None:
    """Draw the scale of colours with its numbers."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    set_axis(axes, "x", ends, "log" if picture.log else "linear", int(width // 70))
    _frame(axes, layout, ink)
    axes.set_yticks([])
    for step in range(_BAR_STEPS):
        # Each part reaches under the next one: neighbours leave no seam.
        part = (step / _BAR_STEPS, 0), min(2, _BAR_STEPS - step) / _BAR_STEPS, 1
        colour = colormaps[_COLOURS]((step + 0.5) / _BAR_STEPS)
        axes.add_patch(Rectangle(*part, transform=axes.transAxes, facecolor=colour, linewidth=0))
    axes.set_xlabel(
        wrapped(picture.value_label, width, layout.font),
        fontsize=layout.font,
        color=ink.muted,
        labelpad=3,
    )


def _column_labels(labels: Sequence[str], width: float, size: float) -> tuple[list[str], bool]:
    """Wrap the labels between words; where a word is too long, they stand upright."""
    words = [word for label in labels for word in label.split()]
    if max(text_width(word, size) for word in words) <= width:
        return [wrapped(label, width, size) for label in labels], False
    folded = [wrapped(label, _UPRIGHT, size) for label in labels]
    lines = max(label.count("\n") for label in folded) + 1
    return (folded if lines * size * 1.35 <= width else list(labels)), True


def _frame(axes: Axes, layout: Layout, ink: Ink) -> None:
    axes.spines[:].set_visible(False)
    axes.patch.set_visible(False)
    axes.tick_params(length=0, labelsize=layout.font, labelcolor=ink.text, pad=5)


def _on(colour: tuple[float, float, float, float]) -> str:
    """Return black or white, whichever stands out more: at least 4.5:1 on any colour."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"
