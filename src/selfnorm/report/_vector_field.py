"""Vector fields: arrows from points towards their images, regions, and paths through them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from selfnorm.errors import DomainError
from selfnorm.report._axis import set_axis
from selfnorm.report._figure import Figure, Key, Layout, new_drawing
from selfnorm.report._series import Series, drawable
from selfnorm.report._style import Ink, Style, palette
from selfnorm.report._text import checked_text, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from matplotlib.lines import Line2D
    from matplotlib.path import Path

__all__ = ["Map", "Region", "vector_field"]

Array = NDArray[np.float64]
Map = Callable[[Array, Array], tuple[Array, Array]]
AxisScale = Literal["linear", "log"]

_WIDTH = 760
_WIDE_GRID, _NARROW_GRID = (25, 15), (11, 11)
_LONGEST = 0.82  # of a cell of the grid
_HEAD = 0.3, np.deg2rad(26)  # length in cells, half angle
_DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (6, 1.6, 1.2, 1.6)), (0, (1.2, 1.4)))


@dataclass(frozen=True)
class Region:
    """A named rectangle in the plane of a vector field.

    Parameters
    ----------
    label : str
        Name in the legend.
    x, y : pair of float
        Finite ends, the smaller first; what lies beyond the picture is cut off.

    Raises
    ------
    DomainError
        If the label is blank or an end is not a finite number above the one before it.

    Examples
    --------
    >>> Region("Theorem 1", x=(-0.1, 0.1), y=(0.8, 1.5)).y
    (0.8, 1.5)
    """

    label: str
    x: tuple[float, float]
    y: tuple[float, float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", checked_text("label", self.label))
        for name in ("x", "y"):
            ends = _ends(f"region {self.label!r}: {name}", getattr(self, name), "linear")
            object.__setattr__(self, name, ends)


@dataclass(frozen=True, eq=False)
class _Field:
    arrows: tuple[NDArray[np.float64], NDArray[np.float64]]
    limits: tuple[tuple[float, float], tuple[float, float]]
    scales: tuple[AxisScale, AxisScale]
    labels: tuple[str, str]
    regions: tuple[Region, ...]
    series: tuple[Series, ...]
    styles: Mapping[str, Style]


def vector_field(
    image: Map,
    *,
    x_limits: tuple[float, float],
    y_limits: tuple[float, float],
    x_label: str,
    y_label: str,
    alt: str,
    y_scale: AxisScale = "linear",
    regions: Sequence[Region] = (),
    series: Sequence[Series] = (),
    styles: Mapping[str, Style] | None = None,
) -> Figure:
    """Draw where a map of the plane takes its points.

    From each point of a grid an arrow goes towards the image of the point. A step that is shorter
    than the grid's spacing is drawn whole, so that its arrow ends at the image; longer ones are
    shortened to the spacing.

    Parameters
    ----------
    image : callable
        Takes the coordinates of n points as two float64 arrays of shape (n,) and returns those of
        their images likewise. A point whose image is not finite (or, on a log axis, not positive)
        gets no arrow.
    x_limits, y_limits : pair of float
        Ends of the axes, the smaller first.
    x_label, y_label : str
        What the axes are.
    alt : str
        What the picture shows, for those who do not see it.
    y_scale : {"linear", "log"}, default "linear"
        Scale of the vertical axis; arrows are straight in the picture.
    regions : sequence of Region, default ()
        Rectangles, outlined.
    series : sequence of Series, default ()
        Lines join consecutive points (a NaN begins a new path), points mark single places.
    styles : mapping of str to Style, optional
        From :func:`palette`; by default made from the labels of regions and series.

    Returns
    -------
    Figure
        To be put into a :class:`Section` or a :class:`Choice`, or saved.

    Raises
    ------
    DomainError
        If limits do not increase or do not fit the scale, ``image`` does not return two arrays of
        the shape it was given, or a label has no style or comes twice.

    Examples
    --------
    >>> half = vector_field(lambda x, y: (x / 2, y / 2), x_limits=(-1, 1), y_limits=(-1, 1),
    ...                     x_label="x", y_label="y", alt="All arrows point to the origin.",
    ...                     regions=[Region("unit square", (-1, 1), (-1, 1))])
    >>> [key.label for key in half.legend]
    ['unit square']
    """
    if y_scale not in ("linear", "log"):
        raise DomainError(f"y_scale must be 'linear' or 'log', however: y_scale={y_scale!r}")
    scales: tuple[AxisScale, AxisScale] = ("linear", y_scale)
    limits = _ends("x_limits", x_limits, "linear"), _ends("y_limits", y_limits, y_scale)
    regions, series = tuple(regions), tuple(series)
    labels = [*(one.label for one in regions), *(one.label for one in series)]
    for label in labels:
        if labels.count(label) > 1:
            raise DomainError(f"label {label!r} comes twice; rename one region or series")
    styles = palette(labels) if styles is None else styles
    for label in labels:
        if label not in styles:
            raise DomainError(
                f"{label!r} has no style; known: {', '.join(map(repr, styles)) or 'none'}"
            )
    field = _Field(
        (_arrows(image, _WIDE_GRID, limits, scales), _arrows(image, _NARROW_GRID, limits, scales)),
        limits,
        scales,
        (checked_text("x_label", x_label), checked_text("y_label", y_label)),
        regions,
        series,
        dict(styles),
    )
    legend = (
        *(Key(one.label, partial(_edge, styles[one.label])) for one in regions),
        *(Key(one.label, partial(_sample, one, styles[one.label])) for one in series),
    )
    return Figure(checked_text("alt", alt), partial(_draw, field), legend)


def _ends(owner: str, ends: object, scale: AxisScale) -> tuple[float, float]:
    try:
        lo, hi = (float(end) for end in ends)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise DomainError(f"{owner} must be a pair of numbers, however: {ends!r}") from None
    if not (np.isfinite(lo) and np.isfinite(hi) and lo < hi) or (scale == "log" and lo <= 0):
        above = " above 0" if scale == "log" else ""
        raise DomainError(f"{owner} must be finite numbers{above} that increase, however: {ends!r}")
    return lo, hi


def _arrows(
    image: Map,
    grid: tuple[int, int],
    limits: tuple[tuple[float, float], tuple[float, float]],
    scales: tuple[AxisScale, AxisScale],
) -> Array:
    """Return start and end of each step, shape (2, 2, n), as fractions of the axes."""
    columns, rows = np.meshgrid(*((np.arange(n) + 0.5) / n for n in grid))
    start = np.stack([columns.ravel(), rows.ravel()])
    points = [
        lo * (hi / lo) ** part if scale == "log" else lo + (hi - lo) * part
        for part, (lo, hi), scale in zip(start, limits, scales, strict=True)
    ]
    returned = image(*points)
    try:
        ends = np.array([np.asarray(part, dtype=np.float64) for part in returned])
    except (TypeError, ValueError):
        ends = np.empty(0)
    if ends.shape != start.shape:
        raise DomainError(
            f"image must return two arrays of shape {start.shape[1:]} as it was given, "
            f"however: it returned {type(returned).__name__} of shape {np.shape(ends)}"
        )
    end = np.stack([_fraction(*axis) for axis in zip(ends, limits, scales, strict=True)])
    good = np.isfinite(end).all(axis=0)
    return np.stack([start[:, good], end[:, good]])


def _fraction(values: Array, ends: tuple[float, float], scale: AxisScale) -> Array:
    lo, hi = ends
    values = drawable(values, scale)
    if scale == "log":
        return np.asarray(np.log(values / lo) / np.log(hi / lo))
    return np.asarray((values - lo) / (hi - lo))


def _draw(field: _Field, layout: Layout, ink: Ink) -> Drawing:
    aspect = 0.98 if layout.narrow else 0.62
    width = min(layout.width, _WIDTH)
    inner = width - 66
    drawing = new_drawing(width, inner * aspect + 72)
    axes = drawing.subplots()
    axes.set_box_aspect(aspect)
    set_axis(axes, "x", field.limits[0], field.scales[0], int(inner // 60))
    set_axis(axes, "y", field.limits[1], field.scales[1], 7)
    _draw_frame(axes, field.labels, inner, layout, ink)
    columns = (_NARROW_GRID if layout.narrow else _WIDE_GRID)[0]
    _draw_arrows(axes, field.arrows[layout.narrow], aspect, columns, ink)
    for region in field.regions:
        _draw_region(axes, region, field.styles[region.label], ink)
    for one in field.series:
        x, y, _ = one.columns(*field.scales)
        axes.plot(x, y, **_look(one, field.styles[one.label], ink), zorder=5)
    return drawing


def _draw_frame(
    axes: Axes, labels: tuple[str, str], width: float, layout: Layout, ink: Ink
) -> None:
    for side in axes.spines.values():
        side.set(color=ink.grid, linewidth=1)
    axes.tick_params(axis="both", labelsize=layout.font, labelcolor=ink.muted, pad=5)
    axes.tick_params(axis="both", length=4, color=ink.muted)
    axes.patch.set_visible(False)
    x_label, y_label = (wrapped(label, width, layout.font) for label in labels)
    axes.set_title(y_label, loc="left", fontsize=layout.font, color=ink.muted, pad=8)
    axes.set_xlabel(x_label, fontsize=layout.font, color=ink.muted, labelpad=5)


def _draw_arrows(axes: Axes, steps: Array, aspect: float, columns: int, ink: Ink) -> None:
    from matplotlib.patches import PathPatch

    patch = PathPatch(
        _arrow_path(steps, aspect, columns),
        transform=axes.transAxes,
        facecolor="none",
        edgecolor=ink.muted,
        linewidth=1.0,
        alpha=0.75,
        zorder=2,
    )
    axes.add_patch(patch)


def _arrow_path(steps: Array, aspect: float, columns: int) -> Path:
    """Make one path of all arrows, in fractions of the axes: shaft and both sides of the head."""
    from matplotlib.path import Path

    square = np.array([[1.0], [aspect]])
    start, step = steps[0] * square, (steps[1] - steps[0]) * square
    length = np.hypot(*step)
    drawn = np.minimum(length, _LONGEST / columns)
    with np.errstate(invalid="ignore"):
        step = np.where(length > 0, step / length, 0.0)
    tip = start + step * drawn
    size, angle = np.minimum(_HEAD[0] / columns, 0.5 * drawn), _HEAD[1]
    barbs = [
        tip - size * np.stack([c * step[0] - s * step[1], s * step[0] + c * step[1]])
        for c, s in ((np.cos(angle), np.sin(angle)), (np.cos(angle), -np.sin(angle)))
    ]
    points = np.stack([start, tip, barbs[0], tip, barbs[1]]) / square
    codes = [Path.MOVETO, Path.LINETO, Path.MOVETO, Path.LINETO, Path.LINETO]
    return Path(points.transpose(2, 0, 1).reshape(-1, 2), codes * points.shape[2])


def _draw_region(axes: Axes, region: Region, style: Style, ink: Ink) -> None:
    from matplotlib.patches import Rectangle

    colour = ink.series[style.slot]
    corner = region.x[0], region.y[0]
    size = region.x[1] - region.x[0], region.y[1] - region.y[0]
    axes.add_patch(Rectangle(corner, *size, facecolor=colour, alpha=0.09, linewidth=0, zorder=1))
    edge = {"edgecolor": colour, "linewidth": 2.0, "linestyle": _dash(style)}
    axes.add_patch(Rectangle(corner, *size, facecolor="none", **edge, zorder=3))


def _dash(style: Style) -> Any:
    """Give neighbouring colours different dashes: lines differ without any colour too."""
    return _DASHES[style.slot % len(_DASHES)]


def _edge(style: Style, ink: Ink) -> Line2D:
    from matplotlib.lines import Line2D

    colour = ink.series[style.slot]
    return Line2D([0.04, 0.96], [0.5, 0.5], color=colour, linewidth=2.0, linestyle=_dash(style))


def _look(series: Series, style: Style, ink: Ink) -> dict[str, Any]:
    """Return what matplotlib's ``plot`` needs to draw a path or marks."""
    look: dict[str, Any] = {
        "color": ink.series[style.slot],
        "marker": style.marker,
        "markeredgecolor": ink.paper,
        "markeredgewidth": 0.7,
        "linewidth": 1.4,
        "markersize": 5.0,
    }
    if series.kind == "points":
        look |= {"linestyle": "none", "markersize": 8.0, "markeredgewidth": 1.0}
    elif series.kind == "dashed":
        look |= {"linestyle": (0, (4, 2)), "marker": "none"}
    return look


def _sample(series: Series, style: Style, ink: Ink) -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([0.08, 0.5, 0.92], [0.5] * 3, **_look(series, style, ink), markevery=[1])
