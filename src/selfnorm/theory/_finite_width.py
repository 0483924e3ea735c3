"""How far one random network of finite width strays from the prediction, to first order.

The state of a layer is the mean and variance of its units for one input vector. Two things move it
away from the prediction: the sample of n units has a mean and a variance of its own, and what
happened in the layer before is passed on by the linearised map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from selfnorm.theory._activation_type import Activation
from selfnorm.theory._local_moments import local_moments
from selfnorm.theory._moments import evaluate
from selfnorm.theory._quadrature import QuadratureForm
from selfnorm.theory._validation import Array, require


class Dropping(NamedTuple):
    """Dropout as a map: with probability p to value, and then a x + b."""

    p: float
    value: float
    a: float
    b: float


NO_DROPPING = Dropping(0.0, 0.0, 1.0, 0.0)


class Incoming(NamedTuple):
    """What reaches a layer: moments of the units before, and how the pre-activation uses them."""

    mean: float
    var: float
    y: Array  # mean of each unit's pre-activation; one entry stands for all units
    x: Array  # its variance
    y_mean: Array  # derivative of y by mean
    x_mean: Array  # derivative of x by mean
    x_var: Array  # derivative of x by var


def unit_counts(width: Any, depth: int) -> list[int]:
    """Check a width, one number or one per layer; 0 stands for none given."""
    if width is None:
        return [0] * depth
    given = list(width) if isinstance(width, Sequence | np.ndarray) else [width] * depth
    require(
        len(given) == depth,
        "width",
        width,
        f"one number or a sequence of {depth}, one per layer",
        "give the number of units of each layer.",
    )
    for value in given:
        require(
            isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) > 1,
            "width",
            value,
            "a whole number of at least 2",
            "one unit has no variance.",
        )
    return [int(value) for value in given]


def propagate(
    f: Activation, covariance: Array, incoming: Incoming, drop: Dropping, skip: float, width: int
) -> Array:
    """Covariance of (mean, var) over the units of the next layer."""
    jacobian, noise = linearised(f, incoming, drop)
    branch = np.sqrt(1.0 - skip * skip)
    weight = np.array([branch, branch * branch])
    jacobian = weight[:, None] * jacobian + np.diag([skip, skip * skip])
    noise = weight[:, None] * noise * weight
    # The sample covariance of branch and skip is 0 on average only.
    noise[1, 1] += 4.0 * skip * skip * incoming.var * noise[0, 0]
    result: Array = jacobian @ covariance @ jacobian.T + noise / width
    return result


def linearised(f: Activation, incoming: Incoming, drop: Dropping) -> tuple[Array, Array]:
    """Differentiate a layer's (mean, var) by the incoming ones; covariance of one unit."""
    y, x = np.broadcast_arrays(incoming.y, np.maximum(incoming.x, np.finfo(np.float64).tiny))
    local = local_moments(f, y, x)
    mean = float(local.mean.mean())
    offset = local.mean - mean  # of each unit from the pooled mean
    var = float((local.var + offset**2).mean())
    rows = [
        [
            (local.mean_y * incoming.y_mean + local.mean_x * incoming.x_mean),
            local.mean_x * incoming.x_var,
        ],
        [
            local.var_y * incoming.y_mean + local.var_x * incoming.x_mean,
            local.var_x * incoming.x_var,
        ],
    ]
    # The pooled variance is that within units plus that of their means.
    for column in (0, 1):
        rows[1][column] = rows[1][column] + 2.0 * offset * rows[0][column]
    jacobian = np.array([[entry.mean() for entry in row] for row in rows])

    keep, a = 1.0 - drop.p, drop.a
    distance = mean - drop.value
    after = np.array([[a * keep, 0.0], [2.0 * a * a * drop.p * keep * distance, a * a * keep]])
    total: Array = after @ jacobian
    return total, _unit_covariance(f, y, x, mean, var, drop)


def _unit_covariance(
    f: Activation, y: Array, x: Array, mean: float, var: float, drop: Dropping
) -> Array:
    """Covariance of (u, u^2), u a unit's activation less the pooled mean, averaged over units."""
    sd = math.sqrt(var)
    if not sd > 0.0:
        return np.zeros((2, 2))

    def square(z: Array) -> Array:
        u = (f.function(z) - mean) / sd
        return u * u

    def both(z: Array) -> Array:
        u = (f.function(z) - mean) / sd
        return u + u * u

    first, var_first, _ = evaluate(f.form.moments, f.form.chunk, y, x)
    first, var_first = (first - mean) / sd, var_first / var
    (second, var_second), (_, var_both) = (
        evaluate(QuadratureForm(f.name, g, g, f.kinks).moments, 64, y, x)[:2]
        for g in (square, both)
    )
    third = 0.5 * (var_both - var_first - var_second) + first * second
    fourth = var_second + second * second
    # Dropping mixes in a constant; everything is measured from the mean after it.
    keep = 1.0 - drop.p
    distance = (mean - drop.value) / sd
    delta, gone = drop.p * distance, -keep * distance
    raw = [
        keep * (first + delta) + drop.p * gone,
        keep * (second + 2.0 * delta * first + delta**2) + drop.p * gone**2,
        keep * (third + 3.0 * delta * second + 3.0 * delta**2 * first + delta**3)
        + drop.p * gone**3,
        keep
        * (
            fourth
            + 4.0 * delta * third
            + 6.0 * delta**2 * second
            + 4.0 * delta**3 * first
            + delta**4
        )
        + drop.p * gone**4,
    ]
    scale = drop.a * sd
    linear = scale**2 * float((raw[1] - raw[0] ** 2).mean())
    mixed = scale**3 * float((raw[2] - raw[0] * raw[1]).mean())
    quadratic = scale**4 * float((raw[3] - raw[1] ** 2).mean())
    return np.array([[linear, mixed], [mixed, quadratic]])
