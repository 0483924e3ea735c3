"""The moment map and its derivatives in the checker's interval arithmetic.

With z ~ N(y, x), phi the density of z at 0, P = Pr(z > 0) and e_k = E[e^kz 1(z<0)]::

    mean   = scale [E z 1(z>0) - alpha (N - e_1)],               N = 1 - P
    second = scale^2 [E z^2 1(z>0) + alpha^2 (N - 2 e_1 + e_2)]

In y: e_k' = k e_k - phi, (N - e_1)' = -e_1, (N - 2 e_1 + e_2)' = 2 (e_2 - e_1). The derivative in x
is half the second derivative in y (heat equation).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from selfnorm.theory._checker_interval import PI, Interval, erfc, erfcx, exp

__all__ = ["Constants", "Taylor", "constants", "enclose", "from_fraction", "selu_constants"]


@dataclass(frozen=True)
class Constants:
    """Enclosures of alpha and scale."""

    alpha: Interval
    scale: Interval


@dataclass(frozen=True)
class Taylor:
    """Derivatives in y of mean and second moment, of order 0 to 4."""

    mean: tuple[Interval, ...]
    second: tuple[Interval, ...]


def from_fraction(value: Fraction) -> Interval:
    """Return the interval of the doubles next to a fraction.

    Parameters
    ----------
    value : fractions.Fraction
        A number in the range of doubles.

    Returns
    -------
    Interval
        It contains the number.

    Examples
    --------
    >>> tenth = from_fraction(Fraction(1, 10))
    >>> Fraction(float(tenth.lo)) < Fraction(1, 10) < Fraction(float(tenth.hi))
    True
    """
    near = float(value)
    return Interval(np.nextafter(near, -np.inf), np.nextafter(near, np.inf))


def _half_moment(k: int, y: Interval, x: Interval, t: Interval, root: Interval) -> Interval:
    """E[e^kz 1(z<0)], by whichever of two forms does not overflow."""
    s = (t + float(k) * root) / Interval.point(2.0).sqrt()
    ahead = s.lo >= 0
    scaled = exp(-(t.square() / 2.0)) * erfcx(Interval(np.maximum(s.lo, 0), np.maximum(s.hi, 0)))
    if np.all(ahead):
        return scaled / 2.0
    plain = exp(float(k) * y + float(k * k) * x / 2.0) * erfc(s)
    return scaled.where(ahead, plain) / 2.0


def selu_constants(var: Fraction) -> Constants:
    """Enclose the constants of the SELU with the fixed point (0, var).

    E z 1(z>0) = sqrt(var / 2 pi) and E z^2 1(z>0) = var / 2 for z ~ N(0, var); so
    alpha = sqrt(var / 2 pi) / (1/2 - e_1), scale^2 = var / (var / 2 + alpha^2 (1/2 - 2 e_1 + e_2)).

    Parameters
    ----------
    var : fractions.Fraction
        Variance of the fixed point, above 0.

    Returns
    -------
    Constants
        Enclosures.

    Examples
    --------
    >>> standard = selu_constants(Fraction(1))
    >>> bool(standard.alpha.lo < 1.6732632423543772 <= standard.alpha.hi)
    True
    """
    x = from_fraction(var)
    zero, root = Interval.point(0.0), x.sqrt()
    first, other = (_half_moment(k, zero, x, zero, root) for k in (1, 2))
    alpha = (x / (2.0 * PI)).sqrt() / (0.5 - first)
    square = x / (x / 2.0 + alpha.square() * (0.5 - 2.0 * first + other))
    return Constants(alpha, square.sqrt())


def constants(alpha: Fraction, scale: Fraction) -> Constants:
    """Enclose given constants.

    Parameters
    ----------
    alpha, scale : fractions.Fraction
        The constants.

    Returns
    -------
    Constants
        Enclosures.
    """
    return Constants(from_fraction(alpha), from_fraction(scale))


def enclose(selu: Constants, y: Interval, x: Interval) -> Taylor:
    """Enclose the moments and four derivatives in y over rectangles.

    Parameters
    ----------
    selu : Constants
        The activation.
    y, x : Interval
        Rectangles; x above 0.

    Returns
    -------
    Taylor
        Derivatives of order 0 to 4.

    Examples
    --------
    >>> at = enclose(selu_constants(Fraction(1)), Interval.point(0.0), Interval.point(1.0))
    >>> bool(at.second[0].lo < 1 < at.second[0].hi)
    True
    """
    root = x.sqrt()
    t = y / root
    phi = exp(-(t.square() / 2.0)) / (2.0 * PI * x).sqrt()
    phi1 = -(y / x * phi)
    phi2 = (y.square() / x - 1.0) / x * phi
    under = erfc(t / Interval.point(2.0).sqrt()) / 2.0
    above = 1.0 - under
    e = _half_moment(1, y, x, t, root)
    f = _half_moment(2, y, x, t, root)
    e1, f1 = e - phi, 2.0 * f - phi
    e2, f2 = e1 - phi1, 2.0 * f1 - phi1
    e3 = e2 - phi2
    ramp = y * above + x * phi
    alpha, scale = selu.alpha, selu.scale
    alpha2, scale2 = selu.alpha.square(), selu.scale.square()
    return Taylor(
        (
            scale * (ramp - alpha * (under - e)),
            scale * (above + alpha * e),
            scale * (phi + alpha * e1),
            scale * (phi1 + alpha * e2),
            scale * (phi2 + alpha * e3),
        ),
        (
            scale2 * ((y.square() + x) * above + x * y * phi + alpha2 * (under - 2.0 * e + f)),
            2.0 * scale2 * (ramp + alpha2 * (f - e)),
            # phi drops out of f' - e' = 2f - e, phi' out of f'' - e'', and so on.
            2.0 * scale2 * (above + alpha2 * (2.0 * f - e)),
            2.0 * scale2 * (phi + alpha2 * (2.0 * f1 - e1)),
            2.0 * scale2 * (phi1 + alpha2 * (2.0 * f2 - e2)),
        ),
    )
