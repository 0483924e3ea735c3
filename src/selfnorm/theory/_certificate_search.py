"""Where a claim is tightest, in double precision: what a proof is told before it starts.

Nothing here proves anything. The search supplies the bounds worth proving, and candidates for
counter-examples, which ball arithmetic then confirms or drops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from selfnorm.theory._box import Box

__all__ = [
    "FloatMap",
    "Rectangle",
    "jacobian_norm",
    "largest",
    "moments_at",
    "sumsq_limit",
    "weight_limit",
]

Array = NDArray[np.float64]


class Rectangle(NamedTuple):
    """Means y in [y_lo, y_hi] and variances x in [x_lo, x_hi] of a pre-activation."""

    y_lo: float
    y_hi: float
    x_lo: float
    x_hi: float


class FloatMap(NamedTuple):
    """Mean and variance of the output and their derivatives in y and x, as arrays."""

    mean: Array
    var: Array
    mean_y: Array
    mean_x: Array
    var_y: Array
    var_x: Array


def moments_at(alpha: float, scale: float, y: Array, x: Array) -> FloatMap:
    """Evaluate the moment map of a SELU in double precision.

    Parameters
    ----------
    alpha, scale : float
        The constants.
    y, x : ndarray of float64
        Means and variances of the pre-activation; x above 0.

    Returns
    -------
    FloatMap
        Mean, variance and first derivatives.

    Examples
    --------
    >>> at = moments_at(1.6732632423543772, 1.0507009873554805, np.zeros(1), np.ones(1))
    >>> round(float(at.var_x[0]), 10)
    0.7826478832
    """
    root = np.sqrt(x)
    t = y / root
    # exp(-t^2/2) erfcx(s) overflows for s << 0, where exp(y + x/2) erfc(s) / 2 is harmless.
    phi = np.exp(-t * t / 2) / (root * np.sqrt(2 * np.pi))
    positive, negative = special.ndtr(t), special.ndtr(-t)
    a, b = (
        np.where(
            t + k * root > 0,
            np.exp(-t * t / 2) * special.erfcx(np.maximum(t + k * root, 0) / np.sqrt(2)) / 2,
            np.exp(np.minimum(k * y + k * k * x / 2, 0)) * special.ndtr(-(t + k * root)),
        )
        for k in (1, 2)
    )
    mean = scale * (y * positive + x * phi + alpha * (a - negative))
    square = scale**2 * ((y * y + x) * positive + x * y * phi + alpha**2 * (b - 2 * a + negative))
    m1 = scale * (positive + alpha * a)
    m2 = scale * (alpha * a + (1 - alpha) * phi)
    q1 = 2 * scale**2 * (y * positive + x * phi + alpha**2 * (b - a))
    q2 = 2 * scale**2 * (positive + alpha**2 * (2 * b - a))
    return FloatMap(mean, square - mean**2, m1, m2 / 2, q1 - 2 * mean * m1, q2 / 2 - mean * m2)


def weight_limit(box: Box, y: Array) -> Array:
    """Bound abs(weight_sum) over the points of a box with mean * weight_sum = y.

    Parameters
    ----------
    box : Box
        The box.
    y : ndarray of float64
        Means of the pre-activation.

    Returns
    -------
    ndarray of float64
        The bound, of the shape of ``y``.

    Examples
    --------
    >>> box = Box(mean=(1, 2), var=(1, 1), weight_sum=(0, 1), weight_sumsq=(1, 1))
    >>> weight_limit(box, np.array([0.25, 2.0])).tolist()
    [0.25, 1.0]
    """
    limit = np.full_like(y, max(abs(box.weight_sum[0]), abs(box.weight_sum[1])))
    if box.mean[0] <= 0 <= box.mean[1]:
        return limit
    return np.minimum(limit, np.abs(y) / min(abs(box.mean[0]), abs(box.mean[1])))


def sumsq_limit(box: Box, x: Array) -> Array:
    """Return the largest weight_sumsq among the points of a box with var * weight_sumsq = x.

    Parameters
    ----------
    box : Box
        The box.
    x : ndarray of float64
        Variances of the pre-activation.

    Returns
    -------
    ndarray of float64
        ``min(weight_sumsq_hi, x / var_lo)``.

    Examples
    --------
    >>> box = Box(mean=(0, 0), var=(1, 4), weight_sum=(0, 1), weight_sumsq=(1, 2))
    >>> sumsq_limit(box, np.array([1.5, 3.0])).tolist()
    [1.5, 2.0]
    """
    return np.minimum(box.weight_sumsq[1], x / box.var[0])


def jacobian_norm(
    at: FloatMap, x: Array, weight: Array, sumsq: Array, metric: str, mean_weight: float
) -> Array:
    """Spectral norm of the Jacobian of the moment map in a metric.

    Parameters
    ----------
    at : FloatMap
        The map and its derivatives.
    x, weight, sumsq : ndarray of float64
        Variance of the pre-activation, weight_sum and weight_sumsq.
    metric : {"euclidean", "log-variance"}
        ``d^2 = k^2 dmean^2 + dvar^2`` or ``k^2 dmean^2 + (d ln var)^2``.
    mean_weight : float
        The weight k.

    Returns
    -------
    ndarray of float64
        The largest singular value.

    Examples
    --------
    >>> one = np.ones(1)
    >>> at = moments_at(1.6732632423543772, 1.0507009873554805, 0 * one, one)
    >>> round(float(jacobian_norm(at, one, 0 * one, one, "euclidean", 1.0)[0]), 10)
    0.7876733605
    """
    row = 1 / at.var if metric == "log-variance" else np.ones_like(at.var)
    column = x if metric == "log-variance" else sumsq
    c11, c12 = weight * at.mean_y, mean_weight * column * at.mean_x
    c21, c22 = weight * at.var_y * row / mean_weight, column * at.var_x * row
    total = c11**2 + c12**2 + c21**2 + c22**2
    determinant = c11 * c22 - c12 * c21
    return np.sqrt((total + np.sqrt(np.maximum(total**2 - 4 * determinant**2, 0))) / 2)


def largest(
    function: Callable[[Array, Array], Array], rectangle: Rectangle
) -> tuple[float, float, float]:
    """Search the largest value of a function of (y, x) over a rectangle.

    A grid of 65 x 65 points, then a window that shrinks around each of the five best.

    Parameters
    ----------
    function : callable
        Vectorised in (y, x).
    rectangle : Rectangle
        Where to search; x above 0.

    Returns
    -------
    tuple of float
        The value found, and its y and x.

    Examples
    --------
    >>> largest(lambda y, x: x - (y - 0.25) ** 2, Rectangle(0.0, 1.0, 1.0, 2.0))[0]
    2.0
    """
    y_lo, y_hi, x_lo, x_hi = rectangle

    def clipped(y: Array, x: Array) -> tuple[Array, Array]:
        y, x = np.meshgrid(np.clip(y, y_lo, y_hi), np.clip(x, x_lo, x_hi))
        return y.ravel(), x.ravel()

    y, x = clipped(np.linspace(y_lo, y_hi, 65), np.geomspace(x_lo, x_hi, 65))
    values = function(y, x)
    best = (-np.inf, y_lo, x_lo)
    for start in np.argsort(values)[-5:]:
        spot = (float(values[start]), float(y[start]), float(x[start]))
        reach, ratio = (y_hi - y_lo) / 64, (x_hi / x_lo) ** (1 / 64)
        for _ in range(40):
            ys, xs = clipped(
                np.linspace(spot[1] - reach, spot[1] + reach, 5),
                np.geomspace(spot[2] / ratio, spot[2] * ratio, 5),
            )
            near = function(ys, xs)
            top = int(np.argmax(near))
            if near[top] > spot[0]:
                spot = (float(near[top]), float(ys[top]), float(xs[top]))
            reach, ratio = reach * 0.6, ratio**0.6
        best = max(best, spot)
    return best
