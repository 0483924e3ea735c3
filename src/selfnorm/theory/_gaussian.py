r"""Truncated moments of a normal variable, in forms that neither overflow nor cancel.

With z = y + sigma w, w standard normal, and h = \|y\|/sigma, everything here is written in h >= 0
so that only the tail beyond zero is ever formed as a small number:

* tail moments J_n(h) = E[(\|w\| - h)^n 1{w > h}],
* exponential parts a = E[e^z 1{z<0}], b = E[e^{2z} 1{z<0}] by the scaled complementary error
  function erfcx, or by the normal distribution function where erfcx would overflow,
* the first two moments of e^z - e^{min(y,0)} on z < 0, by series where the variance is so
  small that the difference of the parts would cancel.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from scipy.special import erfcx, ndtr

from selfnorm.theory._validation import Array

SQRT2: Final = math.sqrt(2.0)
INV_SQRT_2PI: Final = 1.0 / math.sqrt(2.0 * math.pi)

# exp(-H_MAX**2 / 2) is zero in float64: beyond it a tail is empty.
H_MAX: Final = 40.0

# From here on the upward recurrence of the tail moments cancels, and the continued fraction for
# their ratios, cut after so many steps with its asymptotic remainder, is accurate to rounding.
_FRACTION_FROM: Final = 2.5
_FRACTION_STEPS: Final = 45

# Below this variance, differences such as b - 2a + N lose more than 1e-13; the series of that
# order is complete there to 1e-16.
_SERIES_BELOW: Final = 0.01
_SERIES_ORDER: Final = 16
_FIRST: Final = [1.0 / math.factorial(n) for n in range(_SERIES_ORDER + 1)]
_SECOND: Final = [(2.0**n - 2.0) / math.factorial(n) for n in range(_SERIES_ORDER + 1)]


def density(h: Array) -> Array:
    """Evaluate the standard normal density, for h up to `H_MAX`."""
    result: Array = np.exp(-0.5 * h * h) * INV_SQRT_2PI
    return result


def tail_moments(h: Array, order: int) -> list[Array]:
    r"""J_n(h) = \int_h^inf (w - h)^n phi(w) dw for n = 0..order and 0 <= h <= H_MAX.

    The recurrence J_{n+1} = n J_{n-1} - h J_n serves small h; beyond it the ratios
    J_n/J_{n-1} = n/(h + J_{n+1}/J_n) are evaluated from the far end, where they are stable.
    Relative accuracy 1e-13 for the orders 0 to 2.
    """
    phi = density(h)
    moments = [ndtr(-h)]
    moments.append(phi - h * moments[0])
    for n in range(1, order):
        moments.append(n * moments[n - 1] - h * moments[n])
    far = h > _FRACTION_FROM
    if far.any():
        g = h[far]
        steps = order + _FRACTION_STEPS
        ratio = 0.5 * (np.sqrt(g * g + 4.0 * (steps + 1)) - g)
        ratios = []
        for n in range(steps, 0, -1):
            ratio = n / (g + ratio)
            if n <= order:
                ratios.append(ratio)
        value = 0.5 * np.exp(-0.5 * g * g) * erfcx(g / SQRT2)
        moments[0][far] = value
        for n, ratio in enumerate(reversed(ratios), start=1):
            value = value * ratio
            moments[n][far] = value
    return moments


class Parts(NamedTuple):
    """What the closed forms of the exponential family need, all for the side y > 0 or y <= 0.

    `tail` holds J_0..J_2 of the side of zero on which the mean does not lie; `first` and `second`
    are E[d 1{z<0}] and E[d^2 1{z<0}] of d = e^z - e^{min(y, 0)}.
    """

    h: Array
    sigma: Array
    phi: Array
    tail: list[Array]
    a: Array
    b: Array
    first: Array
    second: Array


def parts_above(y: Array, x: Array) -> Parts:
    """`Parts` for y > 0: the exponential branch is the tail."""
    sigma = np.sqrt(x)
    h = np.minimum(y / sigma, H_MAX)
    small = x < _SERIES_BELOW
    some = bool(small.any())
    tail = tail_moments(h, _SERIES_ORDER if some else 2)
    edge = 0.5 * np.exp(-0.5 * h * h)
    a = edge * erfcx((h + sigma) / SQRT2)
    b = edge * erfcx((h + 2.0 * sigma) / SQRT2)
    first = a - tail[0]
    second = b - 2.0 * a + tail[0]
    if some:
        power = np.ones_like(h[small])
        step = -sigma[small]
        sum1, sum2 = np.zeros_like(power), np.zeros_like(power)
        for n in range(1, _SERIES_ORDER + 1):
            power = power * step
            term = power * tail[n][small]
            sum1 += _FIRST[n] * term
            sum2 += _SECOND[n] * term
        first[small], second[small] = sum1, sum2
    return Parts(h, sigma, density(h), tail[:3], a, b, first, second)


def parts_below(y: Array, x: Array) -> Parts:
    """`Parts` for y <= 0: the linear branch is the tail."""
    sigma = np.sqrt(x)
    h = np.minimum(-y / sigma, H_MAX)
    phi = density(h)
    tail = tail_moments(h, 2)
    inside = 1.0 - tail[0]
    edge = 0.5 * np.exp(-0.5 * h * h)
    shift = np.exp(y)
    a = _exponential_below(1.0, shift, sigma, h, edge)
    b = _exponential_below(2.0, shift * shift, sigma, h, edge)
    first = a - shift * inside
    second = b - 2.0 * shift * a + shift * shift * inside
    small = x < _SERIES_BELOW
    if small.any():
        # E[w^n 1{w<h}] upwards: M_n = (n-1) M_{n-2} - h^{n-1} phi(h).
        hs, step, density_s = h[small], sigma[small], phi[small]
        older, old = inside[small], -density_s
        power, edge_term = step, density_s
        sum1, sum2 = power * old, np.zeros_like(power)
        for n in range(2, _SERIES_ORDER + 1):
            power = power * step
            edge_term = edge_term * hs
            older, old = old, (n - 1) * older - edge_term
            term = power * old
            sum1 = sum1 + _FIRST[n] * term
            sum2 = sum2 + _SECOND[n] * term
        first[small] = shift[small] * sum1
        second[small] = shift[small] ** 2 * sum2
    return Parts(h, sigma, phi, tail, a, b, first, second)


def _exponential_below(k: float, shift: Array, sigma: Array, h: Array, edge: Array) -> Array:
    """E[e^{kz} 1{z<0}] for y <= 0, with shift = e^{ky}.

    The factor `shift` is one and the same number in every part, so that its rounding error cancels
    in their differences. Where the exponent is cut at 700 the result underflows in any case.
    """
    reach = k * sigma
    distance = reach - h
    wide = distance > 0.0
    result: Array = edge * erfcx(np.maximum(distance, 0.0) / SQRT2)
    if not wide.all():
        exponent = np.minimum(0.5 * reach * reach, 700.0)
        result = np.where(wide, result, shift * np.exp(exponent) * ndtr(-distance))
    return result
