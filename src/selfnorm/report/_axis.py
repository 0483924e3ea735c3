"""Ends and ticks of an axis: chosen so that diverged data still give a readable picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from selfnorm.report._numbers import format_column, format_number, power_of_ten
from selfnorm.report._series import Scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["limits", "linear_threshold", "set_axis", "ticks"]

_MARGIN = 0.04
_DECADE_STEPS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200)


def linear_threshold(values: NDArray[np.float64]) -> float:
    """Return the half width of the linear part of a symlog axis: the decade of the smallest size.

    At most six decades below the largest, so that noise near zero does not fill the axis.
    """
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    if sizes.size == 0:
        return 1.0
    exponent = math.floor(math.log10(sizes.min()))
    return 10.0 ** max(exponent, math.floor(math.log10(sizes.max())) - 6, -300)


def limits(values: NDArray[np.float64], scale: Scale) -> tuple[float, float]:
    """Return increasing ends that hold all finite values with a margin."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return (0.1, 10.0) if scale == "log" else (0.0, 1.0)
    lo, hi = float(finite.min()), float(finite.max())
    if scale == "log":
        a, b = math.log10(lo), math.log10(hi)
        pad = _MARGIN * (b - a) if b - a > 1e-9 else 0.5
        return 10.0 ** max(a - pad, -300), 10.0 ** min(b + pad, 300)
    if scale == "symlog":
        return lo * (2.0 if lo < 0 else 0.5), (hi * (2.0 if hi > 0 else 0.5)) or 1.0
    size = max(abs(lo), abs(hi))
    pad = _MARGIN * (hi - lo) if hi - lo > 1e-12 * size else (size * 0.1 or 1.0)
    return lo - pad, hi + pad


def ticks(
    lo: float, hi: float, scale: Scale, room: int, *, threshold: float = 1.0, whole: bool = False
) -> tuple[list[float], list[str]]:
    """Return tick positions between ``lo`` and ``hi`` and their labels.

    Parameters
    ----------
    lo, hi : float
        Ends of the axis, ``lo < hi``.
    scale : {"linear", "log", "symlog"}
    room : int
        About how many labels have room.
    threshold : float
        Half width of the linear part of a symlog axis.
    whole : bool
        Only whole numbers on a linear axis (epochs, layers).
    """
    if scale == "symlog":
        return _symlog_ticks(lo, hi, room, threshold)
    if scale == "log" and math.log10(hi) - math.log10(lo) >= 1:
        return _log_ticks(lo, hi, room)
    from matplotlib.ticker import MaxNLocator

    locator = MaxNLocator(nbins=max(room, 2), steps=[1, 2, 2.5, 5, 10], integer=whole)
    # The locator finds nothing among numbers near the ends of the floating-point range.
    size = max(abs(lo), abs(hi))
    unit = 1.0 if 1e-100 < size < 1e100 else 10.0 ** math.floor(math.log10(size))
    places = [float(v) * unit for v in locator.tick_values(lo / unit, hi / unit)]
    places = [v for v in places if lo <= v <= hi]
    # A tick that should be zero comes out as 1e-17 or so.
    places = [0.0 if abs(v) < 1e-9 * (hi - lo) else v for v in places]
    return places, _labels(places)


def _labels(places: list[float]) -> list[str]:
    labels = format_column(places)
    digits = 4
    while len(set(labels)) < len(labels):
        digits += 1
        labels = [format_number(v, digits) for v in places]
    return labels


def _log_ticks(lo: float, hi: float, room: int) -> tuple[list[float], list[str]]:
    first, last = math.ceil(math.log10(lo) - 1e-9), math.floor(math.log10(hi) + 1e-9)
    step = next((s for s in _DECADE_STEPS if (last - first) // s + 1 <= room), 300)
    exponents = [e for e in range(first, last + 1) if e % step == 0]
    if len(exponents) < 2 and last - first > 2:
        # Round exponents lie outside, such as 50 and 100 for an axis from 10^55 to 10^95.
        exponents = list(range(first, last + 1, math.ceil((last - first) / max(room - 1, 1))))
    places = [10.0**e for e in exponents]
    if len(exponents) <= min(2, room // 3) and last - first <= 2:
        candidates = [m * 10.0**e for e in range(first - 1, last + 1) for m in (1, 2, 5)]
        places = [v for v in candidates if lo <= v <= hi]
    return places, _powers(places)


def _symlog_ticks(
    lo: float, hi: float, room: int, threshold: float
) -> tuple[list[float], list[str]]:
    places: list[float] = [0.0] if lo <= 0 <= hi else []
    half = max(2, room // 2) if lo < 0 < hi else room
    for sign, end in ((-1, -lo), (1, hi)):
        if end > threshold:
            positive, _ = _log_ticks(threshold, end, half)
            places += [sign * v for v in positive]
    places = sorted(v for v in places if lo <= v <= hi)
    return places, _powers(places)


def _powers(places: list[float]) -> list[str]:
    """Write decades: as plain numbers if all are between 0.0001 and 99,999, else as powers."""
    exponents = [math.floor(math.log10(abs(v)) + 1e-9) if v else 0 for v in places]
    if all(-4 <= e <= 4 for e in exponents):
        return [format_number(v) for v in places]
    labels = []
    for value, exponent in zip(places, exponents, strict=True):
        mantissa = round(abs(value) / 10.0**exponent)
        factor = "" if mantissa == 1 else f"{mantissa}×"
        sign = "−" if value < 0 else ""
        labels.append(sign + factor + power_of_ten(exponent) if value else "0")
    return labels


def set_axis(
    axes: Axes,
    which: str,
    ends: tuple[float, float],
    scale: Scale,
    room: int,
    *,
    threshold: float = 1.0,
    whole: bool = False,
) -> None:
    """Give the x or y axis its scale, ends, ticks and labels."""
    options: dict[str, object] = {}
    if scale == "symlog":
        options = {"linthresh": threshold}
    elif scale == "log":
        options = {"nonpositive": "clip"}
    getattr(axes, f"set_{which}scale")(scale, **options)
    getattr(axes, f"set_{which}lim")(*ends)
    places, labels = ticks(*ends, scale, room, threshold=threshold, whole=whole)
    getattr(axes, f"set_{which}ticks")(places, labels)
    getattr(axes, f"set_{which}ticks")([], minor=True)
