"""Horizontal bars with their spread: a number for each of several names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from selfnorm.errors import DomainError
from selfnorm.report._axis import limits, set_axis
from selfnorm.report._figure import Figure, Layout, new_drawing
from selfnorm.report._style import Ink
from selfnorm.report._text import checked_text, text_width, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

__all__ = ["Bar", "bars"]

_LABEL = {True: 130.0, False: 300.0}
_ROW = 26


@dataclass(frozen=True)
class Bar:
    """One bar: its name, its length, and the ends of its spread."""

    label: str
    value: float
    low: float
    high: float


def bars(rows: Sequence[Bar], *, value_label: str, alt: str) -> Figure:
    """Draw one bar a row, the first on top, with a thin line from low to high.

    Parameters
    ----------
    rows : sequence of Bar
        At least one; all numbers finite.
    value_label : str
        What the lengths are.
    alt : str
        What the picture shows, for those who do not see it.

    Returns
    -------
    Figure
        To be put into a section.

    Raises
    ------
    DomainError
        If there is no row, or a text is blank.
    """
    if not rows:
        raise DomainError("rows is empty; give at least one Bar")
    checked = [Bar(checked_text("label", r.label), r.value, r.low, r.high) for r in rows]
    draw = partial(_draw, checked, checked_text("value_label", value_label))
    return Figure(checked_text("alt", alt), draw)


def _draw(rows: Sequence[Bar], value_label: str, layout: Layout, ink: Ink) -> Drawing:
    labels = [wrapped(row.label, _LABEL[layout.narrow], layout.font) for row in rows]
    side = 24 + max(text_width(line, layout.font) for t in labels for line in t.split("\n"))
    lines = max(label.count("\n") for label in labels) + 1
    height = max(_ROW, lines * layout.font * 1.35 + 6) * len(rows)
    width = min(layout.width, 760)
    drawing = new_drawing(width, height + 70)
    axes = drawing.subplots()
    ends = np.array([0.0, *(end for row in rows for end in (row.low, row.high))])
    set_axis(axes, "x", limits(ends, "linear"), "linear", int((width - side) // 70))
    places = np.arange(len(rows))
    axes.barh(places, [row.value for row in rows], 0.62, color=ink.series[0], zorder=3)
    axes.hlines(
        places, [r.low for r in rows], [r.high for r in rows], color=ink.text, lw=1.4, zorder=4
    )
    axes.axvline(0.0, color=ink.muted, linewidth=1, zorder=2)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(places, labels)
    axes.spines[:].set_visible(False)
    axes.patch.set_visible(False)
    axes.tick_params(length=0, labelsize=layout.font, labelcolor=ink.text, pad=5)
    axes.tick_params(axis="x", labelcolor=ink.muted)
    axes.grid(axis="x", color=ink.grid, linewidth=1)
    axes.set_axisbelow(True)
    axes.set_xlabel(
        wrapped(value_label, width - side, layout.font),
        fontsize=layout.font,
        color=ink.muted,
        labelpad=4,
    )
    return drawing
