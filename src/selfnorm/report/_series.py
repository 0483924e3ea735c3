"""What a line chart shows: series of points, and panels of series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfnorm.errors import DomainError
from selfnorm.report._text import checked_text

__all__ = ["LARGEST", "SMALLEST", "Panel", "Scale", "Series", "drawable"]

Kind = Literal["line", "dashed", "points"]
Scale = Literal["linear", "log", "symlog"]

# Values beyond this size are treated as infinite: an axis with margins must stay representable.
LARGEST = 1e300
# Below this size a value counts as zero, which a log axis does not have.
SMALLEST = 1e-300


def _column(owner: str, name: str, values: object) -> NDArray[np.float64]:
    try:
        raw = np.asarray(values)
        if raw.dtype.kind not in "biufO":
            raise TypeError
        column = raw.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise DomainError(
            f"{owner}: {name} must be a sequence of real numbers, however: {name}={values!r}"
        ) from None
    if column.ndim != 1:
        raise DomainError(f"{owner}: {name} must be one-dimensional, however: shape {column.shape}")
    return column


@dataclass(frozen=True, eq=False)
class Series:
    """A labelled sequence of points with an optional band.

    NaN and infinite values (also beyond 1e300 in size, and on a log axis values below 1e-300) are
    gaps.

    Parameters
    ----------
    label : str
        Name in the legend.
    x, y : sequence of float, shape (n,)
        Coordinates, n at least 1; ``None`` counts as NaN.
    low, high : sequence of float, shape (n,), optional
        Lower and upper end of the band around ``y``; both or neither.
    kind : {"line", "dashed", "points"}, default "line"
        A line with markers, a dashed line (predictions) or markers alone.
    style_of : str, optional
        Take the look of this label. Such series share one entry of the legend if they have
        one label: seven predictions labelled "predicted" make one dashed entry.

    Raises
    ------
    DomainError
        If the series is empty, lengths differ, values are not real numbers or ``kind`` is
        unknown; the message names the series.

    Examples
    --------
    >>> Series("std-selu", [1, 2, 3], [0.2, 0.7, float("nan")]).y
    array([0.2, 0.7, nan])
    """

    label: str
    x: ArrayLike
    y: ArrayLike
    low: ArrayLike | None = None
    high: ArrayLike | None = None
    kind: Kind = field(default="line", kw_only=True)
    style_of: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", checked_text("label", self.label))
        owner = f"series {self.label!r}"
        if self.style_of is not None:
            object.__setattr__(self, "style_of", checked_text("style_of", self.style_of))
        if self.kind not in get_args(Kind):
            raise DomainError(
                f"{owner}: kind must be 'line', 'dashed' or 'points', however: kind={self.kind!r}"
            )
        if (self.low is None) != (self.high is None):
            raise DomainError(f"{owner}: give both low and high or neither")
        for name in ("x", "y", "low", "high"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _column(owner, name, getattr(self, name)))
        sizes = {
            name: len(getattr(self, name))
            for name in ("x", "y", "low", "high")
            if getattr(self, name) is not None
        }
        if len(set(sizes.values())) > 1:
            raise DomainError(f"{owner}: lengths must agree, however: {sizes}")
        if sizes["y"] == 0:
            raise DomainError(f"{owner} is empty; leave it out or give at least one point")

    @property
    def look(self) -> str:
        """The label whose colour, marker and dash this series takes."""
        return self.style_of if self.style_of is not None else self.label

    def columns(
        self, x_scale: Scale, y_scale: Scale
    ) -> tuple[
        NDArray[np.float64], NDArray[np.float64], tuple[NDArray[np.float64], NDArray[np.float64]]
    ]:
        """Return x, y and the ends of the band as they can be drawn: NaN where there is a gap.

        The low end of a band that reaches zero or below on a log axis stays in the picture: it
        is raised to 1e-300.
        """
        x = drawable(np.asarray(self.x), x_scale)
        y = drawable(np.asarray(self.y), y_scale)
        if self.low is None or self.high is None:
            return x, y, (np.full_like(y, math.nan), np.full_like(y, math.nan))
        low, high = np.asarray(self.low), np.asarray(self.high)
        if y_scale == "log":
            low = np.maximum(low, SMALLEST)
        return x, y, (drawable(low, y_scale), drawable(high, y_scale))


def drawable(values: NDArray[np.float64], scale: Scale) -> NDArray[np.float64]:
    """Return the values an axis can show: NaN for the others, zero for what is all but zero."""
    with np.errstate(invalid="ignore"):
        good = np.abs(values) <= LARGEST
        if scale == "log":
            good &= values >= SMALLEST
    return np.where(good, np.where(np.abs(values) < SMALLEST, 0.0, values), math.nan)


def _on_axis(value: float, scale: Scale) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        return False
    return bool(abs(value) <= LARGEST and (scale != "log" or value >= SMALLEST))


@dataclass(frozen=True, eq=False)
class Panel:
    """One pair of axes with its series.

    Parameters
    ----------
    title, x_label, y_label : str
        Heading and what the axes measure.
    series : sequence of Series
        At least one; labels distinct, except for series that take another label's look.
    x_scale : {"linear", "log"}, default "linear"
    y_scale : {"linear", "log", "symlog"}, default "linear"
    y_limits : pair of float, optional
        Ends of the vertical axis; chosen from the data if left out.
    references : sequence of (str, float), default ()
        Horizontal lines with a name, for example ``("target", 1.0)``; always in the picture.

    Raises
    ------
    DomainError
        If there is no series, a label comes twice, a scale is unknown, limits are not
        increasing, or a limit or reference is not on the axis.

    Examples
    --------
    >>> series = Series("std-selu", [1, 2, 3], [0.2, 0.7, 0.9])
    >>> Panel("Accuracy", "epoch", "test accuracy", [series], y_limits=(0, 1)).y_scale
    'linear'
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    x_scale: Scale = field(default="linear", kw_only=True)
    y_scale: Scale = field(default="linear", kw_only=True)
    y_limits: tuple[float, float] | None = field(default=None, kw_only=True)
    references: Sequence[tuple[str, float]] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        for name in ("title", "x_label", "y_label"):
            object.__setattr__(self, name, checked_text(name, getattr(self, name)))
        owner = f"panel {self.title!r}"
        object.__setattr__(self, "series", tuple(self.series))
        if not self.series:
            raise DomainError(f"{owner} has no series; give at least one")
        own = [series.label for series in self.series if series.style_of is None]
        for label in own:
            if own.count(label) > 1:
                raise DomainError(f"{owner}: label {label!r} comes twice; rename one series")
        for name, allowed in (("x_scale", ("linear", "log")), ("y_scale", get_args(Scale))):
            if getattr(self, name) not in allowed:
                raise DomainError(
                    f"{owner}: {name} must be one of {', '.join(map(repr, allowed))}, "
                    f"however: {name}={getattr(self, name)!r}"
                )
        self._check_axis(owner)

    def _check_axis(self, owner: str) -> None:
        domain = "a finite number" + (" of 1e-300 or more" if self.y_scale == "log" else "")
        if self.y_limits is not None:
            lo, hi = self.y_limits
            if not (_on_axis(lo, self.y_scale) and _on_axis(hi, self.y_scale) and lo < hi):
                raise DomainError(
                    f"{owner}: y_limits must increase and each be {domain}, "
                    f"however: y_limits={self.y_limits!r}"
                )
        references = []
        for label, value in self.references:
            if not _on_axis(value, self.y_scale):
                raise DomainError(
                    f"{owner}: reference {label!r} must be {domain}, however: {value!r}"
                )
            references.append((checked_text("reference label", label), float(value)))
        object.__setattr__(self, "references", tuple(references))
