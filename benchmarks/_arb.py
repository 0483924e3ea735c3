"""Exact references in ball arithmetic (python-flint), by formulas of their own.

Textbook forms at `BITS` bits, where their cancellation does no harm: every value returned is
accurate to more than a double holds, or an error is raised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import flint
from flint import acb, arb

BITS = 500
DOUBLE = 16.0  # digits: no double is asked for more

Function = Callable[[Any], Any]


class Branches(NamedTuple):
    """An activation and its derivative on z < 0 and on z > 0, each analytic."""

    left: Function
    left_slope: Function
    right: Function
    right_slope: Function


def digits(found: Iterable[float], exact: Iterable[Any], scale: Iterable[Any]) -> float:
    """Count the correct digits of the worst of some doubles, each error against its scale > 0."""
    worst = DOUBLE
    with flint.ctx.workprec(BITS):
        for value, truth, size in zip(found, exact, scale, strict=True):
            if not truth.rad() < 1e-20 * size.mid():
                raise ArithmeticError(f"the reference is not accurate enough: {truth}")
            error = float(abs(arb(float(value)) - truth).mid() / size.mid())
            if error != 0.0:
                worst = min(worst, -math.log10(error))
    return max(worst, 0.0)


def half_moments(y: Any, x: Any) -> tuple[Any, ...]:
    """phi, P(z>0), P(z<0), E[e^z 1(z<0)], E[e^2z 1(z<0)] of z ~ N(y, x)."""
    sigma, root2 = x.sqrt(), arb(2).sqrt()
    phi = (-y * y / (2 * x)).exp() / (2 * arb.pi() * x).sqrt()
    above, below = (-y / sigma / root2).erfc() / 2, (y / sigma / root2).erfc() / 2
    tilted = [
        (k * y + k * k * x / 2).exp() * ((y + k * x) / sigma / root2).erfc() / 2 for k in (1, 2)
    ]
    return phi, above, below, *tilted


def selu_constants(mean: float, var: float, weight_sum: float, tau: float) -> tuple[Any, Any]:
    """Alpha and scale of the fixed point: a line and an ellipse in (scale, scale * alpha)."""
    with flint.ctx.workprec(BITS):
        m, y, x = arb(mean), arb(mean) * arb(weight_sum), arb(var) * arb(tau)
        phi, above, below, a, b = half_moments(y, x)
        linear, gap = y * above + x * phi, below - a
        square, gap2 = (y * y + x) * above + y * x * phi, b - 2 * a + below
        # scale = (m + gap beta) / linear, put into square scale^2 + gap2 beta^2 = var + m^2
        lead = square * gap * gap / linear**2 + gap2
        half = square * gap * m / linear**2
        rest = square * m * m / linear**2 - arb(var) - m * m
        beta = (-half + (half * half - lead * rest).sqrt()) / lead
        scale = (m + gap * beta) / linear
        return beta / scale, scale


def selu_map(at_y: float, at_x: float, *, alpha: float, scale: float) -> dict[str, Any]:
    """Output mean, variance, rms and the derivatives of mean and variance in y and x."""
    with flint.ctx.workprec(BITS):
        y, x, al, sc = arb(at_y), arb(at_x), arb(alpha), arb(scale)
        phi, above, below, a, b = half_moments(y, x)
        mean = sc * (y * above + x * phi + al * (a - below))
        second = sc**2 * ((y * y + x) * above + y * x * phi + al**2 * (b - 2 * a + below))
        mean_y = sc * (above + al * a)
        mean_x = sc * (al * a + (1 - al) * phi) / 2
        second_y = 2 * sc**2 * (y * above + x * phi + al**2 * (b - a))
        second_x = sc**2 * (above + al**2 * (2 * b - a))
        return {
            "mean": mean,
            "var": second - mean * mean,
            "rms": second.sqrt(),
            "jacobian": (
                *(mean_y, mean_x),
                *(second_y - 2 * mean * mean_y, second_x - 2 * mean * mean_x),
            ),
        }


def selu_branches() -> Branches:
    """SELU with the constants of the fixed point (0, 1)."""
    alpha, scale = selu_constants(0.0, 1.0, 0.0, 1.0)
    return Branches(
        lambda z: scale * alpha * (z.exp() - 1),
        lambda z: scale * alpha * z.exp(),
        lambda z: scale * z,
        lambda z: acb(scale),
    )


def smooth(f: Function, slope: Function) -> Branches:
    """Take an analytic activation for both sides."""
    return Branches(f, slope, f, slope)


def tanh() -> Branches:
    """Hyperbolic tangent."""
    return smooth(lambda z: z.tanh(), lambda z: 1 / z.cosh() ** 2)


def gelu() -> Branches:
    """x times the normal distribution function."""
    return smooth(
        lambda z: z * (-z / acb(2).sqrt()).erfc() / 2,
        lambda z: (-z / acb(2).sqrt()).erfc() / 2 + z * (-z * z / 2).exp() / (2 * acb.pi()).sqrt(),
    )


def expectation(
    of: Callable[[Any, Any, Any], Any], f: Branches, y: float, x: float, bits: int = 200
) -> Any:
    """E of(z, f(z), f'(z)) for z ~ N(y, x), by rigorous integration on each side of 0."""
    with flint.ctx.workprec(bits):
        reach = 16 * arb(x).sqrt()
        low, high = arb(y) - reach, arb(y) + reach

        def side(value: Function, slope: Function, start: Any, end: Any) -> Any:
            def integrand(z: Any, _: Any) -> Any:
                return of(z, value(z), slope(z)) * (-((z - y) ** 2) / (2 * acb(x))).exp()

            if not start < end:
                return arb(0)
            return acb.integral(integrand, start, end, rel_tol=arb(2) ** -100).real

        total = side(f.left, f.left_slope, low, min(high, arb(0), key=float))
        total += side(f.right, f.right_slope, max(low, arb(0), key=float), high)
        return total / (2 * arb.pi() * arb(x)).sqrt()


def moments(f: Branches, y: float, x: float) -> dict[str, Any]:
    """Mean, variance and rms of f(z), z ~ N(y, x)."""
    with flint.ctx.workprec(BITS):
        mean = expectation(lambda z, v, d: v, f, y, x)
        second = expectation(lambda z, v, d: v * v, f, y, x)
        return {"mean": mean, "var": second - mean * mean, "rms": second.sqrt()}


def dks_residual(f: Branches, params: tuple[float, float, float, float], slope: float) -> float:
    """Largest error of Q(1) = 1, Q'(1) = 1, C(0) = 0, C'(1) = slope, at (a, b, shift, scale)."""
    a, b, shift, scale = params
    x = a * a
    with flint.ctx.workprec(BITS):
        size = expectation(lambda z, v, d: (v + shift) ** 2, f, b, x) * arb(scale) ** 2
        mean = expectation(lambda z, v, d: v + shift, f, b, x) * arb(scale)
        growth = expectation(lambda z, v, d: (v + shift) * d * (z - b), f, b, x) * arb(scale) ** 2
        gain = expectation(lambda z, v, d: d * d, f, b, x) * arb(scale) ** 2 * arb(a) ** 2
        errors = (size - 1, growth - 1, mean * mean / size, gain / size - slope)
        return max(float(abs(e).mid()) for e in errors)
