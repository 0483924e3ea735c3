"""Closed-form Gaussian moments of the piecewise linear and exponential activations, and of sine.

A form answers for z ~ N(y, x), x > 0, elementwise on float64 arrays of one dimension:

* ``moments`` : mean and variance of f(z) and a bound of their absolute error,
* ``jacobian``: derivatives of (mean, variance) with respect to (y, x), by d/dx = (1/2) d^2/dy^2,
* ``gain``    : E f'(z)^2.

The moments are taken about f(y), so that a small variance is not the difference of two large
numbers; second derivatives include the delta function at the kink.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np

from selfnorm.theory._gaussian import (
    H_MAX,
    Parts,
    density,
    parts_above,
    parts_below,
    tail_moments,
)
from selfnorm.theory._validation import Array

# Relative rounding error of the closed forms, of the mean against sqrt(E f^2) and of the variance
# against itself: the largest found against 80-digit arithmetic, rounded up (see the tests).
ROUNDING: Final = 5e-13


class Form(Protocol):
    """Gaussian moments of one activation."""

    @property
    def chunk(self) -> int:
        """How many points one call should be given."""

    def moments(self, y: Array, x: Array) -> tuple[Array, Array, Array]:
        """Mean, variance and a bound of their absolute error."""

    def jacobian(self, y: Array, x: Array) -> tuple[Array, Array, Array, Array]:
        """Differentiate the mean by y and x, then the variance by y and x."""

    def gain(self, y: Array, x: Array) -> Array:
        """E f'(z)^2."""


class Central(NamedTuple):
    """Moments of d = f(z) - f(y) and of the derivatives of f, with f(y) held constant."""

    first: Array  # E d
    second: Array  # E d^2
    slope: Array  # E f'
    curvature: Array  # E f''
    cross: Array  # E d f'
    bend: Array  # E d f''
    gain: Array  # E f'^2


@dataclass(frozen=True)
class KinkedForm:
    """A form with f(0) = 0 and its kink at zero: central moments for y > 0 and for y <= 0."""

    value: Callable[[Array], Array]
    above: Callable[[Array, Array], Central]
    below: Callable[[Array, Array], Central]
    chunk: int = 8192

    def central(self, y: Array, x: Array) -> Central:
        """Central moments, each point by the expressions of its side."""
        right = y > 0.0
        if right.all():
            return self.above(y, x)
        if not right.any():
            return self.below(y, x)
        left = ~right
        columns = [np.empty_like(y) for _ in Central._fields]
        for side, evaluate in ((right, self.above), (left, self.below)):
            for column, values in zip(columns, evaluate(y[side], x[side]), strict=True):
                column[side] = values
        return Central(*columns)

    def moments(self, y: Array, x: Array) -> tuple[Array, Array, Array]:
        """See `Form`."""
        central = self.central(y, x)
        mean = self.value(y) + central.first
        var = np.maximum(central.second - central.first**2, 0.0)
        error = ROUNDING * np.maximum(np.sqrt(var + mean * mean), var)
        return mean, var, error

    def jacobian(self, y: Array, x: Array) -> tuple[Array, Array, Array, Array]:
        """See `Form`."""
        return derivatives(self.central(y, x))

    def gain(self, y: Array, x: Array) -> Array:
        """See `Form`."""
        return self.central(y, x).gain


def derivatives(d: Central) -> tuple[Array, Array, Array, Array]:
    """Differentiate the mean by y and x, then the variance by y and x."""
    var_y = 2.0 * (d.cross - d.first * d.slope)
    var_x = d.gain + d.bend - d.first * d.curvature
    return d.slope, 0.5 * d.curvature, var_y, var_x


def rectified(right: float, left: float) -> KinkedForm:
    """f(z) = right z for z > 0 and left z otherwise."""

    def value(y: Array) -> Array:
        return np.where(y > 0.0, right * y, left * y)

    def above(y: Array, x: Array) -> Central:
        return _rectified_above(y, x, right, left)

    def below(y: Array, x: Array) -> Central:
        # f(z) is the function with slopes (-left, -right) of -z: odd derivatives change sign.
        mirrored = _rectified_above(-y, x, -left, -right)
        return mirrored._replace(slope=-mirrored.slope, cross=-mirrored.cross)

    return KinkedForm(value, above, below)


def _rectified_above(y: Array, x: Array, right: float, left: float) -> Central:
    sigma = np.sqrt(x)
    h = np.minimum(y / sigma, H_MAX)
    phi = density(h)
    n, j1, j2 = tail_moments(h, 2)
    drop = right - left
    return Central(
        first=drop * sigma * j1,
        second=x * (right * right - 2.0 * right * drop * n + drop * drop * j2),
        slope=right - drop * n,
        curvature=drop * phi / sigma,
        cross=drop * sigma * (right * phi + left * j1),
        bend=-right * drop * h * phi,
        gain=right * right * (1.0 - n) + left * left * n,
    )


def exponential(right: float, amplitude: float, rate: float = 1.0) -> KinkedForm:
    """f(z) = right z for z > 0 and amplitude (e^{rate z} - 1) otherwise."""
    r, k = right / rate, rate

    def value(y: Array) -> Array:
        return np.where(y > 0.0, right * y, amplitude * np.expm1(k * np.minimum(y, 0.0)))

    def above(y: Array, x: Array) -> Central:
        return exponential_above(parts_above(k * y, k * k * x), r, amplitude, k)

    def below(y: Array, x: Array) -> Central:
        return exponential_below(parts_below(k * y, k * k * x), k * y, r, amplitude, k)

    return KinkedForm(value, above, below)


def exponential_above(p: Parts, r: float, amplitude: float, k: float = 1.0) -> Central:
    """Combine the parts for y > 0 of f(z) = r k z for z > 0 and amplitude (e^{kz} - 1) else."""
    n, j1, _ = p.tail
    kink = (r - amplitude) * p.phi
    pull = amplitude * p.a
    square = amplitude * amplitude * (p.b - p.a) - r * p.sigma * p.h * pull
    return Central(
        first=r * p.sigma * j1 + amplitude * p.first,
        second=r * r * p.sigma**2 * (1.0 - n - p.h * j1)
        + amplitude * (amplitude * p.second - 2.0 * r * p.sigma * p.h * p.first),
        slope=k * (r * (1.0 - n) + pull),
        curvature=k * k * (pull + kink / p.sigma),
        cross=k * (r * r * p.sigma * p.phi + square),
        bend=k * k * (square - r * p.h * kink),
        gain=k * k * (r * r * (1.0 - n) + amplitude * amplitude * p.b),
    )


def exponential_below(p: Parts, y: Array, r: float, amplitude: float, k: float = 1.0) -> Central:
    """Combine the parts for y <= 0 likewise; y is the mean of kz."""
    positive, j1, j2 = p.tail
    depth = -amplitude * np.expm1(y)
    kink = (r - amplitude) * p.phi / p.sigma
    rise = r * p.sigma * j1
    square = amplitude * amplitude * (p.b - np.exp(y) * p.a)
    return Central(
        first=amplitude * p.first + rise + depth * positive,
        second=amplitude * amplitude * p.second
        + r * r * p.sigma**2 * j2
        + depth * (2.0 * rise + depth * positive),
        slope=k * (r * positive + amplitude * p.a),
        curvature=k * k * (amplitude * p.a + kink),
        cross=k * (square + r * (rise + depth * positive)),
        bend=k * k * (depth * kink + square),
        gain=k * k * (r * r * positive + amplitude * amplitude * p.b),
    )


@dataclass(frozen=True)
class SineForm:
    """f(z) = sin z: E sin z = e^{-x/2} sin y, E sin^2 z = (1 - e^{-2x} cos 2y)/2."""

    chunk: int = 8192

    def moments(self, y: Array, x: Array) -> tuple[Array, Array, Array]:
        """See `Form`."""
        mean = np.exp(-0.5 * x) * np.sin(y)
        loss = -np.expm1(-x)
        var = 0.5 * loss * (loss + 2.0 * np.exp(-x) * np.cos(y) ** 2)
        return mean, var, ROUNDING * np.maximum(np.sqrt(var + mean * mean), var)

    def jacobian(self, y: Array, x: Array) -> tuple[Array, Array, Array, Array]:
        """See `Form`."""
        decay = np.exp(-0.5 * x)
        loss, keep, twice = -np.expm1(-x), np.exp(-x), np.cos(2.0 * y)
        mean_y, mean_x = decay * np.cos(y), -0.5 * decay * np.sin(y)
        var_y = -loss * keep * np.sin(2.0 * y)
        var_x = 0.5 * keep * (1.0 + keep * twice) - 0.5 * loss * keep * twice
        return mean_y, mean_x, var_y, var_x

    def gain(self, y: Array, x: Array) -> Array:
        """See `Form`."""
        result: Array = 0.5 * (1.0 + np.exp(-2.0 * x) * np.cos(2.0 * y))
        return result
