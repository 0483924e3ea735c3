"""Line charts: panels side by side on a wide page, one below the other on a narrow one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfnorm.errors import DomainError
from selfnorm.report._axis import limits, linear_threshold, set_axis
from selfnorm.report._figure import Figure, Key, Layout, new_drawing
from selfnorm.report._series import SMALLEST, Panel, Series
from selfnorm.report._style import Ink, Style, palette
from selfnorm.report._text import checked_text, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from matplotlib.lines import Line2D

__all__ = ["line_chart"]

_SINGLE_WIDTH = 760
_HEIGHT = 300
_MARKERS_PER_LINE = 8
_DASHES: dict[str, Any] = {"solid": "-", "dashdot": (0, (5, 1.5, 1, 1.5)), "dotted": (0, (1, 1.2))}


def line_chart(
    panels: Sequence[Panel], *, alt: str, styles: Mapping[str, Style] | None = None
) -> Figure:
    """Draw series over a common kind of abscissa, one or several panels with one legend.

    Parameters
    ----------
    panels : sequence of Panel
        At least one. At most three stand side by side on a wide page; on a narrow one they stack.
    alt : str
        What the picture shows, for those who do not see it.
    styles : mapping of str to Style, optional
        From :func:`palette`; pass the same to all pictures of a page. By default made from the
        labels in order of appearance.

    Returns
    -------
    Figure
        To be put into a :class:`Section` or saved.

    Raises
    ------
    DomainError
        If there is no panel, ``alt`` is blank, or a series has a label without a style.

    Notes
    -----
    A series of which no point can be seen in a panel (nothing finite, nothing positive on a
    log axis, all beyond ``y_limits``) is named under that panel.

    Examples
    --------
    >>> loss = Series("std-selu", [1, 2, 3], [2.3, 0.7, 0.2])
    >>> figure = line_chart([Panel("Loss", "epoch", "cross-entropy", [loss])], alt="Loss falls.")
    >>> figure.html.count("<svg")
    3
    """
    panels = tuple(panels)
    if not panels:
        raise DomainError("panels is empty; give at least one Panel")
    series = [one for panel in panels for one in panel.series]
    own = dict.fromkeys(one.label for one in series if one.style_of is None)
    if styles is None:
        looks = {} if own else dict.fromkeys(one.look for one in series)
        styles = palette(own or looks)
    for one in series:
        if one.look not in styles:
            raise DomainError(
                f"series {one.label!r} has the look of {one.look!r}, which has no style; "
                f"known: {', '.join(map(repr, styles))}"
            )
    draw = partial(_draw, panels, dict(styles))
    return Figure(checked_text("alt", alt), draw, _legend(series, styles))


def _legend(series: Sequence[Series], styles: Mapping[str, Style]) -> tuple[Key, ...]:
    """List each label once: own looks first; shared labels of several looks in the text colour."""
    keys = []
    for label in dict.fromkeys(one.label for one in sorted(series, key=lambda s: bool(s.style_of))):
        same = [one for one in series if one.label == label]
        shared = len({one.look for one in same}) > 1
        keys.append(Key(label, partial(_sample, same[0], styles[same[0].look], shared)))
    return tuple(keys)


def _sample(series: Series, style: Style, shared: bool, ink: Ink) -> Line2D:
    from matplotlib.lines import Line2D

    options = _line_options(series, style, ink)
    if shared:
        options |= {"color": ink.text, "marker": "none" if series.kind != "points" else "o"}
    return Line2D([0.08, 0.5, 0.92], [0.5, 0.5, 0.5], **options, markevery=[1])


def _line_options(series: Series, style: Style, ink: Ink) -> dict[str, Any]:
    """Return what matplotlib's ``plot`` needs to draw this series."""
    colour = ink.series[style.slot]
    options: dict[str, Any] = {
        "color": colour,
        "marker": style.marker,
        "markersize": 7,
        "markeredgewidth": 0.7,
        "markeredgecolor": ink.paper,
        "linewidth": 1.8,
        "linestyle": _DASHES[style.dash],
        "solid_capstyle": "round",
        "dash_capstyle": "butt",
    }
    if series.kind == "points":
        options["linestyle"] = "none"
    if series.kind == "dashed":
        # Broad and pale: where a thin measured line lies on it, both remain to be seen.
        options |= {"linewidth": 4.0, "linestyle": (0, (1.6, 0.9)), "alpha": 0.55, "marker": "none"}
    return options


def _draw(
    panels: Sequence[Panel], styles: Mapping[str, Style], layout: Layout, ink: Ink
) -> Drawing:
    count = len(panels)
    across = 1 if layout.narrow else {1: 1, 2: 2, 4: 2}.get(count, 3)
    width = min(layout.width, _SINGLE_WIDTH) if across == 1 else layout.width
    down = -(-count // across)
    inner = width / across - 72
    texts = [_wrap(panel, inner, layout) for panel in panels]
    extra = max(sum(text.count("\n") for text in panel) for panel in texts) * layout.font * 1.35
    drawing = new_drawing(width, down * (_HEIGHT + extra))
    grid = drawing.subplots(down, across, squeeze=False).flatten()
    for axes, panel, text in zip(grid, panels, texts, strict=False):
        _draw_panel(axes, panel, styles, text, inner, layout, ink)
    for axes in grid[count:]:
        axes.remove()
    return drawing


def _wrap(panel: Panel, width: float, layout: Layout) -> tuple[str, str, str]:
    hidden = [
        one.label if one.style_of is None else f"{one.label} ({one.look})"
        for one in panel.series
        if not _in_view(one, panel)
    ]
    title = wrapped(panel.title, width, layout.heading, bold=True)
    below = wrapped(panel.x_label, width, layout.font)
    if hidden:
        below += "\n" + wrapped(f"out of view: {', '.join(hidden)}", width, layout.font)
    return title, wrapped(panel.y_label, width, layout.font), below


def _in_view(series: Series, panel: Panel) -> bool:
    x, y, _ = series.columns(panel.x_scale, panel.y_scale)
    lo, hi = panel.y_limits or (-np.inf, np.inf)
    return bool(np.any(np.isfinite(x) & (y >= lo) & (y <= hi)))


def _draw_panel(
    axes: Axes,
    panel: Panel,
    styles: Mapping[str, Style],
    texts: tuple[str, str, str],
    width: float,
    layout: Layout,
    ink: Ink,
) -> None:
    title, y_label, below = texts
    columns = [one.columns(panel.x_scale, panel.y_scale) for one in panel.series]
    xs = np.concatenate([x for x, _, _ in columns])
    extent = [np.array([value for _, value in panel.references], dtype=float)]
    for x, y, (low, high) in columns:
        low = np.where(low > SMALLEST, low, np.nan) if panel.y_scale == "log" else low
        extent += [np.where(np.isfinite(x), part, np.nan) for part in (y, low, high)]
    ys = np.concatenate(extent)
    threshold = linear_threshold(ys)
    whole = bool(np.all(xs[np.isfinite(xs)] % 1 == 0)) and panel.x_scale == "linear"
    set_axis(axes, "x", limits(xs, panel.x_scale), panel.x_scale, int(width // 52), whole=whole)
    ends = panel.y_limits or limits(ys, panel.y_scale)
    set_axis(axes, "y", ends, panel.y_scale, 7, threshold=threshold)
    _draw_frame(axes, layout, ink)
    axes.set_title(y_label, loc="left", fontsize=layout.font, color=ink.muted, pad=10)
    axes.annotate(
        title,
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 15 + layout.font * 1.35 * (y_label.count("\n") + 1)),
        textcoords="offset points",
        fontsize=layout.heading,
        fontweight="bold",
        color=ink.text,
    )
    axes.set_xlabel(below, fontsize=layout.font, color=ink.muted, labelpad=5)
    _draw_references(axes, panel, width, layout, ink)
    for order, (one, (x, y, (low, high))) in enumerate(zip(panel.series, columns, strict=True)):
        style = styles[one.look]
        colour = ink.series[style.slot]
        if np.any(np.isfinite(low)):
            axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0, zorder=2)
        options = _line_options(one, style, ink)
        if one.kind == "line":
            options["markevery"] = _marked(x, y, order, len(columns))
        elif one.kind == "dashed":
            options |= {"marker": "o", "markersize": 5, "markevery": _lonely(x, y)}
        axes.plot(x, y, **options, zorder=3 if one.kind == "dashed" else 4)


def _draw_frame(axes: Axes, layout: Layout, ink: Ink) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set(color=ink.muted, linewidth=1)
    axes.tick_params(axis="both", labelsize=layout.font, labelcolor=ink.muted, length=0, pad=5)
    axes.tick_params(axis="x", length=4, color=ink.muted)
    axes.grid(axis="y", color=ink.grid, linewidth=1)
    axes.set_axisbelow(True)
    axes.patch.set_visible(False)


def _draw_references(axes: Axes, panel: Panel, width: float, layout: Layout, ink: Ink) -> None:
    """Draw the named horizontal lines; of two close ones the lower has its name below."""
    lo, hi = (axes.transData.transform((0.5, end))[1] for end in axes.get_ylim())
    previous = -np.inf
    for label, value in sorted(panel.references, key=lambda one: -one[1]):
        height = (axes.transData.transform((0.5, value))[1] - lo) / (hi - lo)
        below = abs(height - previous) < 0.09 or height > 0.93
        previous = height
        axes.axhline(value, color=ink.muted, linewidth=1, linestyle=(0, (1, 2)), zorder=2.5)
        axes.annotate(
            wrapped(label, width, layout.font),
            (1, value),
            xycoords=("axes fraction", "data"),
            xytext=(0, -3 if below else 3),
            textcoords="offset points",
            ha="right",
            va="top" if below else "bottom",
            fontsize=layout.font,
            color=ink.muted,
            zorder=5,
        )


def _marked(x: NDArray[np.float64], y: NDArray[np.float64], order: int, count: int) -> list[int]:
    """Choose the points that get a marker: all of a few, some of many, and each lonely one.

    The choice is shifted from series to series, so that markers of equal curves do not cover
    each other.
    """
    places = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    step = max(1, len(places) // _MARKERS_PER_LINE)
    chosen = places[(order * step) // count :: step].tolist()
    return sorted({*chosen, *_lonely(x, y)})


def _lonely(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[int]:
    """Return the points between two gaps: they have no line, only a marker shows them."""
    good = np.concatenate([[False], np.isfinite(x) & np.isfinite(y), [False]])
    places: list[int] = np.flatnonzero(good[1:-1] & ~good[:-2] & ~good[2:]).tolist()
    return places
