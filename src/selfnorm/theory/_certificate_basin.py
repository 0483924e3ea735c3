"""A box around an attracting fixed point, found in doubles and certified by ball arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from selfnorm.errors import CertificateError
from selfnorm.theory._box import Box, ExactNumber
from selfnorm.theory._certificate import certify
from selfnorm.theory._certificate_inputs import constants_of
from selfnorm.theory._certificate_proof import rectangle_of
from selfnorm.theory._certificate_result import Certificate
from selfnorm.theory._certificate_search import (
    Array,
    FloatMap,
    jacobian_norm,
    moments_at,
    sumsq_limit,
    weight_limit,
)

__all__ = ["certify_fixed_point"]

_Ends = tuple[ExactNumber, ExactNumber]
_STEPS = 5000
_WIDTHS = np.geomspace(3.0, 0.01, 24)  # of ln var on either side of the fixed points, tried in turn
_WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)


class _Hull(NamedTuple):
    mean_lo: float
    mean_hi: float
    var_lo: float
    var_hi: float


def certify_fixed_point(
    *,
    var: ExactNumber | None = None,
    alpha: ExactNumber | None = None,
    scale: ExactNumber | None = None,
    weight_sum: _Ends = ("-0.1", "0.1"),
    weight_sumsq: _Ends = ("0.95", "1.1"),
    max_boxes: int = 1_000_000,
    progress: Callable[[str, int, float], None] | None = None,
) -> Certificate:
    """Find and certify a box from which every start converges to one fixed point.

    For each (weight_sum, weight_sumsq) of the given ranges the moment map has exactly one fixed
    point in the box, and every mean and variance of the box is drawn to it: the box lies in its
    basin of attraction.

    Parameters
    ----------
    var : number, optional
        The SELU with the fixed point (0, var), for example a depth-matched one; the standard SELU
        if nothing is given.
    alpha, scale : number, optional
        Constants of any other SELU; ``alpha`` alone is the ELU with that alpha.
    weight_sum, weight_sumsq : pair of numbers
        Ranges of the weight statistics; Theorem 1's by default.
    max_boxes : int, default=1_000_000
        As for ``certify``.
    progress : callable, optional
        As for ``certify``.

    Returns
    -------
    Certificate
        Of the widest box found, as ``certify(Box(...))`` gives it, in the metric
        ``d^2 = k^2 dmean^2 + (d ln var)^2`` with the k that contracts best.

    Raises
    ------
    DomainError
        If an argument is outside its domain.
    CertificateError
        If no attracting fixed point is found, or no box around it that contracts.
    MissingDependencyError
        If python-flint is not installed.

    See Also
    --------
    certify : Proves a claim about a given box.

    Notes
    -----
    The search runs in doubles and is heuristic: a wider box may exist. What is returned is proven.
    An ELU with scale 1 has a positive variance as fixed point only if weight_sumsq is above 1.

    Examples
    --------
    >>> basin = certify_fixed_point(var="0.1", weight_sumsq=("0.99", "1.01"))
    >>> basin.holds, basin.parts[0].box.contains(mean=0, var=0.1, weight_sum=0, weight_sumsq=1)
    (True, True)
    """
    constants = constants_of(var, alpha, scale)
    doubles = float(constants.alpha), float(constants.scale)
    given = Box(mean=(0, 0), var=(1, 1), weight_sum=weight_sum, weight_sumsq=weight_sumsq)

    def box_of(hull: _Hull) -> Box:
        return Box(mean=hull[:2], var=hull[2:], weight_sum=weight_sum, weight_sumsq=weight_sumsq)

    def image(hull: _Hull) -> _Hull:
        at, *_ = _on_grid(box_of(hull), doubles, 9)
        ends = at.mean.min(), at.mean.max(), at.var.min(), at.var.max()
        return _Hull(*map(float, ends))

    start = _attractor(doubles, given)
    core = _invariant(start, image)
    best = math.inf
    for width in _WIDTHS:
        hull = core._replace(
            var_lo=core.var_lo * math.exp(-width), var_hi=core.var_hi * math.exp(width)
        )
        hull = _with_invariant_means(hull, image)
        mapped = image(hull)
        if not (hull.var_lo < mapped.var_lo and mapped.var_hi < hull.var_hi):
            continue
        norm, weight = min(
            (_largest_norm(box_of(hull), doubles, weight), weight)
            for weight in (float(f"{factor / math.sqrt(start[1]):.3g}") for factor in _WEIGHTS)
        )
        best = min(best, norm)
        if norm >= 1:
            continue
        certificate = certify(
            box_of(hull),
            var=var,
            alpha=alpha,
            scale=scale,
            metric="log-variance",
            mean_weight=weight,
            max_boxes=max_boxes,
            progress=progress,
        )
        if certificate.holds:
            return certificate
    raise CertificateError(
        f"no contracting box was found around the fixed point mean={start[0]:.6g}, "
        f"var={start[1]:.6g}: "
        + (
            f"the smallest spectral norm seen is {best:.6g}"
            if best < math.inf
            else "every box tried is left by its image"
        )
        + "; narrow the ranges of weight_sum and weight_sumsq"
    )


def _on_grid(box: Box, doubles: tuple[float, float], points: int) -> tuple[FloatMap, Array, Array]:
    rectangle = rectangle_of(box)
    y, x = np.meshgrid(
        np.linspace(rectangle.y_lo, rectangle.y_hi, points),
        np.geomspace(rectangle.x_lo, rectangle.x_hi, points),
    )
    return moments_at(*doubles, y, x), y, x


def _largest_norm(box: Box, doubles: tuple[float, float], mean_weight: float) -> float:
    at, y, x = _on_grid(box, doubles, 33)
    norm = jacobian_norm(
        at, x, weight_limit(box, y), sumsq_limit(box, x), "log-variance", mean_weight
    )
    return float(norm.max())


def _attractor(doubles: tuple[float, float], given: Box) -> tuple[float, float]:
    """Iterate the moment map at the middle of the weight ranges until it rests."""
    weight, sumsq = sum(given.weight_sum) / 2, sum(given.weight_sumsq) / 2
    mean, var = 0.0, 1.0
    for _ in range(_STEPS):
        at = moments_at(*doubles, np.array(mean * weight), np.array(var * sumsq))
        moved = abs(float(at.var) / var - 1) + abs(float(at.mean) - mean) / math.sqrt(var)
        mean, var = float(at.mean), float(at.var)
        if moved < 1e-9:
            return mean, var
        if not 1e-6 < var < 1e6:
            break
    raise CertificateError(
        f"no attracting fixed point was found at weight_sum={weight:.6g}, "
        f"weight_sumsq={sumsq:.6g}: the variance runs to {var:.3g}; move weight_sumsq (up if the "
        "variance vanishes, down if it grows)"
    )


_Image = Callable[[_Hull], _Hull]


def _invariant(start: tuple[float, float], image: _Image) -> _Hull:
    """Grow a hull from a point until it holds its own image: all fixed points lie inside."""
    hull = _Hull(start[0], start[0], start[1], start[1])
    for _ in range(_STEPS):
        mapped = image(hull)
        grown = _Hull(
            min(hull.mean_lo, mapped.mean_lo),
            max(hull.mean_hi, mapped.mean_hi),
            min(hull.var_lo, mapped.var_lo),
            max(hull.var_hi, mapped.var_hi),
        )
        if not 1e-6 < grown.var_lo <= grown.var_hi < 1e6:
            break
        if grown.var_hi - hull.var_hi + hull.var_lo - grown.var_lo < 1e-6 * start[1]:
            return grown
        hull = grown
    raise CertificateError(
        f"no invariant box was found around the fixed point mean={start[0]:.6g}, "
        f"var={start[1]:.6g}: the variance leaves every bound; narrow the range of weight_sumsq"
    )


def _with_invariant_means(hull: _Hull, image: _Image) -> _Hull:
    for _ in range(20):
        mapped = image(hull)
        pad = 0.05 * (mapped.mean_hi - mapped.mean_lo) + 1e-6 * math.sqrt(hull.var_lo)
        hull = hull._replace(mean_lo=mapped.mean_lo - pad, mean_hi=mapped.mean_hi + pad)
    return hull
