"""Proof by adaptive bisection in ball arithmetic: the engine below ``certify``.

Only y = mean * weight_sum and x = var * weight_sumsq enter the moment map, so each claim about a
box in four dimensions is one about the rectangle of its (y, x):

* contraction. The Jacobian is D(y, x) diag(weight_sum, weight_sumsq), and its norm does not shrink
  when a column grows, so weight_sum and weight_sumsq are replaced by their largest values at
  (y, x). In the metric of ln var the second column holds x instead, without loss.
* self-map: bounds for the new mean and variance.
* the variance shrinks: v - max(x / weight_sumsq_hi, var_lo) has an upper bound below 0.
* the variance grows: v - min(x / weight_sumsq_lo, var_hi) has a lower bound above 0.

A leaf is proven when its mean-value enclosure satisfies the inequality; else it is halved.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, NamedTuple

from selfnorm.errors import CertificateError
from selfnorm.theory._certificate_balls import MapBalls, Moments, ball, flint
from selfnorm.theory._certificate_search import Rectangle

if TYPE_CHECKING:
    from typing import Any

    from selfnorm.theory._box import Box

__all__ = ["Kind", "Metric", "Proof", "Violation", "prove", "rectangle_of", "value_at"]

Kind = Literal["contraction", "self_map", "variance_shrinks", "variance_grows"]
_REPORT_EVERY = 64
_SMALL_SHARE = 2.0**-12


class Metric(NamedTuple):
    """``d^2 = mean_weight^2 dmean^2 + dvar^2`` ("euclidean") or with ``d ln var``."""

    name: str
    mean_weight: float


class Proof(NamedTuple):
    """The leaves that cover the rectangle, and how many boxes were examined."""

    leaves: tuple[Rectangle, ...]
    boxes: int


class Violation(NamedTuple):
    """A point (y, x) that the caller's ``refuted`` confirmed as a violation."""

    y: float
    x: float


def _outward(value: Fraction, direction: float) -> float:
    near = float(value)
    wrong = Fraction(near) > value if direction < 0 else Fraction(near) < value
    return math.nextafter(near, direction) if wrong else near


def rectangle_of(box: Box) -> Rectangle:
    """Return the smallest rectangle of doubles that holds every (y, x) of a box.

    Parameters
    ----------
    box : Box
        The box.

    Returns
    -------
    Rectangle
        Ranges of mean * weight_sum and var * weight_sumsq, rounded outward.

    Examples
    --------
    >>> from selfnorm.theory._box import Box
    >>> rectangle_of(Box(mean=(-1, 2), var=(1, 2), weight_sum=(0, 0.5), weight_sumsq=(1, 3)))
    Rectangle(y_lo=-0.5, y_hi=1.0, x_lo=1.0, x_hi=6.0)
    """
    corners = [Fraction(mean) * Fraction(weight) for mean in box.mean for weight in box.weight_sum]
    return Rectangle(
        _outward(min(corners), -math.inf),
        _outward(max(corners), math.inf),
        _outward(Fraction(box.var[0]) * Fraction(box.weight_sumsq[0]), -math.inf),
        _outward(Fraction(box.var[1]) * Fraction(box.weight_sumsq[1]), math.inf),
    )


def _ball_over(lo: float, hi: float, arb: Any) -> tuple[Any, Any]:
    middle = lo + (hi - lo) / 2
    reach = max(hi - middle, middle - lo)  # rounded; the next double is surely enough
    return arb(middle, math.nextafter(reach, math.inf) if reach else 0), arb(middle)


def _largest_weight(box: Box, leaf: Rectangle) -> float:
    limit = max(abs(box.weight_sum[0]), abs(box.weight_sum[1]))
    if box.mean[0] <= 0 <= box.mean[1]:
        return limit
    nearest = min(abs(box.mean[0]), abs(box.mean[1]))
    return min(limit, math.nextafter(max(abs(leaf.y_lo), abs(leaf.y_hi)) / nearest, math.inf))


def _columns(
    at: Moments, x: Any, weight: Any, sumsq: Any, metric: Metric
) -> tuple[Any, Any, Any, Any]:
    """Entries of the Jacobian in the metric, at a point."""
    k = metric.mean_weight
    if metric.name == "euclidean":
        return weight * at.mean_y, k * sumsq * at.mean_x, weight * at.var_y / k, sumsq * at.var_x
    return (
        weight * at.mean_y,
        k * x * at.mean_x,
        weight * at.var_y / at.var / k,
        x * at.var_x / at.var,
    )


def _contracts(
    balls: MapBalls, box: Box, bound: float, metric: Metric, arb: Any
) -> Callable[[Rectangle], bool]:
    square = arb(bound) ** 2
    k = metric.mean_weight

    def test(leaf: Rectangle) -> bool:
        y, y0 = _ball_over(leaf.y_lo, leaf.y_hi, arb)
        x, x0 = _ball_over(leaf.x_lo, leaf.x_hi, arb)
        over, second = balls.over(y, x, y0, x0)
        weight = _largest_weight(box, leaf)
        if metric.name == "euclidean":
            sumsq = min(box.weight_sumsq[1], math.nextafter(leaf.x_hi / box.var[0], math.inf))
            entries = _columns(over, x, weight, sumsq, metric)
        else:
            # Mean-value forms of x m_x, v_y / v and x v_x / v as wholes: products of their
            # enclosures would be wider by first order.
            at = balls.at(y0, x0)
            dy, dx = y - y0, x - x0
            log_y, log_x = over.var_y / over.var, over.var_x / over.var
            log_yy = second.var_yy / over.var - log_y * log_y
            log_yx = second.var_yx / over.var - log_y * log_x
            log_xx = second.var_xx / over.var - log_x * log_x
            entries = (
                weight * over.mean_y,
                k
                * (
                    x0 * at.mean_x
                    + x * second.mean_yx * dy
                    + (over.mean_x + x * second.mean_xx) * dx
                ),
                weight * (at.var_y / at.var + log_yy * dy + log_yx * dx) / k,
                x0 * at.var_x / at.var + x * log_yx * dy + (log_x + x * log_xx) * dx,
            )
        c11, c12, c21, c22 = entries
        first = square - c11 * c11 - c21 * c21
        other = square - c12 * c12 - c22 * c22
        mixed = c11 * c12 + c21 * c22
        # bound^2 I - J'J is positive definite: no square root is needed.
        return bool(first > 0 and other > 0 and first * other - mixed * mixed > 0)

    return test


def _maps_into(balls: MapBalls, image: tuple[float, ...], arb: Any) -> Callable[[Rectangle], bool]:
    mean_lo, mean_hi, var_lo, var_hi = image

    def test(leaf: Rectangle) -> bool:
        y, y0 = _ball_over(leaf.y_lo, leaf.y_hi, arb)
        x, x0 = _ball_over(leaf.x_lo, leaf.x_hi, arb)
        over, _ = balls.over(y, x, y0, x0)
        return bool(
            over.mean > mean_lo and over.mean < mean_hi and over.var > var_lo and over.var < var_hi
        )

    return test


def _variance_moves(
    balls: MapBalls, kind: Kind, box: Box, bound: float, arb: Any
) -> Callable[[Rectangle], bool]:
    shrinks = kind == "variance_shrinks"
    slope = 1 / arb(box.weight_sumsq[1] if shrinks else box.weight_sumsq[0])
    level = box.var[0] if shrinks else box.var[1]

    def test(leaf: Rectangle) -> bool:
        y, y0 = _ball_over(leaf.y_lo, leaf.y_hi, arb)
        x, x0 = _ball_over(leaf.x_lo, leaf.x_hi, arb)
        over, _ = balls.over(y, x, y0, x0)
        at = balls.at(y0, x0)
        sloped = at.var - slope * x0 + over.var_y * (y - y0) + (over.var_x - slope) * (x - x0)
        if shrinks:
            return bool(sloped < bound or over.var - level < bound)
        return bool(sloped > bound or over.var - level > bound)

    return test


def value_at(
    balls: MapBalls, kind: Kind, point: tuple[float, float, float, float], metric: Metric
) -> tuple[Any, ...]:
    """Enclose what a claim bounds, at one point of the box.

    Parameters
    ----------
    balls : MapBalls
        The moment map.
    kind : str
        The kind of claim.
    point : tuple of float
        mean, var, weight_sum, weight_sumsq.
    metric : Metric
        The metric of a contraction.

    Returns
    -------
    tuple of flint.arb
        The spectral norm; or the new mean and variance; or the change of the variance.
    """
    mean, var, weight, sumsq = (ball(Fraction(value)) for value in point)
    x = var * sumsq
    at = balls.at(mean * weight, x)
    if kind == "self_map":
        return at.mean, at.var
    if kind in ("variance_shrinks", "variance_grows"):
        return (at.var - var,)
    c11, c12, c21, c22 = _columns(at, x, weight, sumsq, metric)
    total = c11 * c11 + c12 * c12 + c21 * c21 + c22 * c22
    determinant = c11 * c22 - c12 * c21
    inner = (total * total - 4 * determinant * determinant).nonnegative_part()
    return (((total + inner.sqrt()) / 2).sqrt(),)


def prove(
    balls: MapBalls,
    kind: Kind,
    box: Box,
    bounds: tuple[float, ...],
    metric: Metric,
    *,
    refuted: Callable[[float, float], bool],
    max_boxes: int,
    progress: Callable[[str, int, float], None] | None,
) -> Proof | Violation:
    """Prove an inequality over a box by adaptive bisection.

    Parameters
    ----------
    balls : MapBalls
        The moment map.
    kind : str
        The kind of claim.
    box : Box
        Where it must hold.
    bounds : tuple of float
        One bound, or four for a self-map: mean_lo, mean_hi, var_lo, var_hi.
    metric : Metric
        The metric of a contraction.
    refuted : callable
        Whether the inequality is surely false at some point of the box with this (y, x); asked at
        the corners and the middle of small boxes that resist.
    max_boxes : int
        How many boxes may be examined.
    progress : callable or None
        Called now and then with the kind, the boxes so far and the proven fraction.

    Returns
    -------
    Proof or Violation
        The leaves, which cover the rectangle of the box without overlap; or where it is false.

    Raises
    ------
    CertificateError
        If the claim is not decided within ``max_boxes``.
    """
    arb = flint("certify()").arb
    if kind == "contraction":
        test = _contracts(balls, box, bounds[0], metric, arb)
    elif kind == "self_map":
        test = _maps_into(balls, bounds, arb)
    else:
        test = _variance_moves(balls, kind, box, bounds[0], arb)
    root = rectangle_of(box)
    pending = [(root, 1.0)]
    leaves: list[Rectangle] = []
    boxes, proven = 0, 0.0
    while pending:
        leaf, share = pending.pop()
        if boxes >= max_boxes:
            raise CertificateError(
                f"the {kind} of the claim was not decided within max_boxes={max_boxes}: "
                f"{100 * proven:.4g} % of the (y, x) rectangle is proven and no counter-example "
                f"was found; last box y in [{leaf.y_lo:.9g}, {leaf.y_hi:.9g}], x in "
                f"[{leaf.x_lo:.9g}, {leaf.x_hi:.9g}]. Raise max_boxes, loosen the bound or "
                "shrink the box"
            )
        boxes += 1
        if test(leaf):
            leaves.append(leaf)
            proven += share
        else:
            if share < _SMALL_SHARE:
                for point in _probes(leaf):
                    if refuted(*point):
                        return point
            pending += [(half, share / 2) for half in _halves(leaf)]
        if progress is not None and (boxes % _REPORT_EVERY == 0 or not pending):
            progress(kind, boxes, 1.0 if not pending else proven)
    return Proof(tuple(leaves), boxes)


def _probes(leaf: Rectangle) -> list[Violation]:
    y_lo, y_hi, x_lo, x_hi = leaf
    middle = Violation(y_lo + (y_hi - y_lo) / 2, x_lo + (x_hi - x_lo) / 2)
    return [middle, *(Violation(y, x) for y in (y_lo, y_hi) for x in (x_lo, x_hi))]


def _halves(leaf: Rectangle) -> tuple[Rectangle, Rectangle]:
    y_lo, y_hi, x_lo, x_hi = leaf
    y_mid, x_mid = y_lo + (y_hi - y_lo) / 2, x_lo + (x_hi - x_lo) / 2
    # In units of the standard deviation and of the variance: the scales on which the map bends.
    if (y_hi - y_lo) / math.sqrt(x_mid) > (x_hi - x_lo) / x_mid and y_lo < y_mid < y_hi:
        return Rectangle(y_mid, y_hi, x_lo, x_hi), Rectangle(y_lo, y_mid, x_lo, x_hi)
    if x_lo < x_mid < x_hi:
        return Rectangle(y_lo, y_hi, x_mid, x_hi), Rectangle(y_lo, y_hi, x_lo, x_mid)
    raise CertificateError(
        f"the claim is not decided at y={y_lo!r}, x={x_lo!r}, where a box of one ulp is left: the "
        "bound is (nearly) attained there; loosen it"
    )
