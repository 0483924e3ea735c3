"""The moment map in ball arithmetic (python-flint's ``arb``), for proofs and digits.

A pre-activation z ~ N(y, x) enters through four functions only (phi is the density of z at 0)::

    phi = exp(-y^2 / 2x) / sqrt(2 pi x)         P = Phi(y / sqrt x),  N = 1 - P
    a = E[e^z 1(z<0)] = exp(y + x/2) erfc((y + x) / sqrt(2x)) / 2
    b = E[e^2z 1(z<0)] = exp(2y + 2x) erfc((y + 2x) / sqrt(2x)) / 2

and every derivative in x follows from d/dx = (1/2) d^2/dy^2 (the heat equation).
"""

from __future__ import annotations

import importlib
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from selfnorm.errors import MissingDependencyError

if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

__all__ = ["MapBalls", "Moments", "SecondOrder", "ball", "flint", "half_moments", "selu_balls"]


_FAR = 100
_WIDE = 30  # bits of relative accuracy below which a ball stands for an interval


class Moments(NamedTuple):
    """Mean and variance of the output and their derivatives in y and x, as balls."""

    mean: Any
    var: Any
    mean_y: Any
    mean_x: Any
    var_y: Any
    var_x: Any


class SecondOrder(NamedTuple):
    """Second derivatives of mean and variance in y and x, as balls."""

    mean_yy: Any
    mean_yx: Any
    mean_xx: Any
    var_yy: Any
    var_yx: Any
    var_xx: Any


def flint(purpose: str) -> ModuleType:
    """Import python-flint, or say what needs it and how to install it.

    Parameters
    ----------
    purpose : str
        What needs it, as the beginning of a sentence.

    Returns
    -------
    module
        The module ``flint``.

    Raises
    ------
    MissingDependencyError
        If python-flint is not installed.

    Examples
    --------
    >>> flint("this example").arb(2).sqrt() > 1
    True
    """
    try:
        return importlib.import_module("flint")
    except ImportError:
        raise MissingDependencyError("python-flint", extra="certificate", purpose=purpose) from None


def ball(number: Fraction) -> Any:
    """Return a ball around a fraction at flint's current precision.

    Parameters
    ----------
    number : fractions.Fraction
        The number to enclose.

    Returns
    -------
    flint.arb
        A ball that contains it.

    Examples
    --------
    >>> ball(Fraction(1, 3)).contains(flint("this example").fmpq(1, 3))
    True
    """
    module = flint("ball arithmetic")
    return module.arb(module.fmpq(number.numerator, number.denominator))


def _basic(y: Any, x: Any, arb: Any) -> tuple[Any, Any, Any, Any]:
    root = x.sqrt()
    t = y / root
    inv_sqrt2 = (arb(1) / 2).sqrt()
    bell = (-t * t / 2).exp()
    phi = bell / (root * (2 * arb.pi()).sqrt())
    positive = (-t * inv_sqrt2).erfc() / 2

    def erfcx(s: Any) -> Any:
        if s > _FAR:  # U(1/2, 1/2, s^2) / sqrt(pi), without the overflow of exp(s^2)
            return (s * s).hypgeom_u(arb(1) / 2, arb(1) / 2) / arb.pi().sqrt()
        return (s * s).exp() * s.erfc()

    def half(k: int) -> Any:
        """E[e^kz 1(z<0)]."""
        s = (t + k * root) * inv_sqrt2
        if s > _FAR:
            return bell * erfcx(s) / 2
        if s > 1 and s.rel_accuracy_bits() < _WIDE:
            # exp(k y + k^2 x / 2) and erfc(s) vary much more than their product; erfcx falls.
            return bell * erfcx(s.lower()).union(erfcx(s.upper())) / 2
        return (k * y + k * k * x / 2).exp() * s.erfc() / 2

    return phi, positive, half(1), half(2)


def half_moments(y: Any, x: Any) -> tuple[Any, Any, Any, Any]:
    """Return the half moments of z ~ N(y, x) from which the constants of any SELU follow.

    Parameters
    ----------
    y, x : flint.arb
        Mean and variance of z; x above 0.

    Returns
    -------
    tuple of flint.arb
        A = E[z 1(z>0)], B = E[(1 - e^z) 1(z<0)], C = E[z^2 1(z>0)], G = E[(1 - e^z)^2 1(z<0)], so
        that E selu = scale (A - alpha B) and E selu^2 = scale^2 (C + alpha^2 G).

    Examples
    --------
    >>> arb = flint("this example").arb
    >>> first, *_ = half_moments(arb(0), arb(1))
    >>> first.contains(1 / (2 * arb.pi()).sqrt())
    True
    """
    phi, positive, a, b = _basic(y, x, flint("ball arithmetic").arb)
    negative = 1 - positive
    flow = x * phi
    return (
        y * positive + flow,
        negative - a,
        (y * y + x) * positive + y * flow,
        b - 2 * a + negative,
    )


def selu_balls(var: Fraction) -> tuple[Any, Any]:
    """Return alpha and scale of the SELU with the fixed point (0, var), as balls.

    Solves E selu = 0 and E selu^2 = var for z ~ N(0, var), that is weight_sum 0 and weight_sumsq 1:
    alpha = A / B and scale = sqrt(var / (C + alpha^2 G)).

    Parameters
    ----------
    var : fractions.Fraction
        Variance of the fixed point, above 0.

    Returns
    -------
    tuple of flint.arb
        alpha and scale, at flint's current precision.

    Examples
    --------
    >>> alpha, scale = selu_balls(Fraction(1))
    >>> round(float(alpha), 12), round(float(scale), 12)
    (1.673263242354, 1.050700987355)
    """
    arb = flint("ball arithmetic").arb
    x = ball(var)
    first, gap, second, gap2 = half_moments(arb(0), x)
    alpha = first / gap
    return alpha, (x / (second + alpha * alpha * gap2)).sqrt()


class MapBalls:
    """Enclosures of the moment map of one SELU and of its derivatives.

    Parameters
    ----------
    alpha, scale : flint.arb
        The constants, as balls.

    Examples
    --------
    >>> arb = flint("this example").arb
    >>> MapBalls(*selu_balls(Fraction(1))).at(arb(0), arb(1)).var.contains(1)
    True
    """

    def __init__(self, alpha: Any, scale: Any) -> None:
        self._arb = flint("ball arithmetic").arb
        self._alpha = alpha
        self._alpha2 = alpha * alpha
        self._scale = scale
        self._scale2 = scale * scale

    def at(self, y: Any, x: Any) -> Moments:
        """Enclose mean, variance and first derivatives by evaluating the formulas.

        Parameters
        ----------
        y, x : flint.arb
            Mean and variance of the pre-activation; best as points.

        Returns
        -------
        Moments
            Enclosures over the given balls.
        """
        phi, positive, a, b = _basic(y, x, self._arb)
        negative, flow = 1 - positive, x * phi
        alpha, alpha2 = self._alpha, self._alpha2
        mean = self._scale * (y * positive + flow + alpha * (a - negative))
        square = self._scale2 * (
            (y * y + x) * positive + y * flow + alpha2 * (b - 2 * a + negative)
        )
        m1 = self._scale * (positive + alpha * a)
        m2 = self._scale * (alpha * a + (1 - alpha) * phi)
        q1 = 2 * self._scale2 * (y * positive + flow + alpha2 * (b - a))
        q2 = 2 * self._scale2 * (positive + alpha2 * (2 * b - a))
        return Moments(
            mean, square - mean * mean, m1, m2 / 2, q1 - 2 * mean * m1, q2 / 2 - mean * m2
        )

    def over(self, y: Any, x: Any, y0: Any, x0: Any) -> tuple[Moments, SecondOrder]:
        """Enclose mean, variance and derivatives over a rectangle in mean-value form.

        ``f(Y, X)`` lies in ``f(y0, x0) + f_y(Y, X) (Y - y0) + f_x(Y, X) (X - x0)``; its width
        exceeds that of the range by second order only.

        Parameters
        ----------
        y, x : flint.arb
            Balls that hold the rectangle; x above 0.
        y0, x0 : flint.arb
            A point of the rectangle.

        Returns
        -------
        tuple of Moments and SecondOrder
            Mean-value enclosures of the moments and their derivatives; plain enclosures of the
            second derivatives.
        """
        at = self.at(y0, x0)
        dy, dx = y - y0, x - x0
        phi, positive, a, b = _basic(y, x, self._arb)
        alpha, alpha2 = self._alpha, self._alpha2
        phi1 = -y / x * phi
        phi2 = (y * y / x - 1) / x * phi
        m1 = self._scale * (positive + alpha * a)
        m2 = self._scale * (alpha * a + (1 - alpha) * phi)
        m3 = self._scale * (alpha * (a - phi) + (1 - alpha) * phi1)
        m4 = self._scale * (alpha * (a - phi - phi1) + (1 - alpha) * phi2)
        twice = 2 * self._scale2
        q2 = twice * (positive + alpha2 * (2 * b - a))
        q3 = twice * (phi + alpha2 * (4 * b - a - phi))
        q4 = twice * (phi1 + alpha2 * (8 * b - a - 3 * phi - phi1))
        mean = at.mean + m1 * dy + m2 / 2 * dx
        second = SecondOrder(
            m2,
            m3 / 2,
            m4 / 4,
            q2 - 2 * (m1 * m1 + mean * m2),
            q3 / 2 - m1 * m2 - mean * m3,
            (q4 / 2 - m2 * m2 - mean * m4) / 2,
        )
        var_y = at.var_y + second.var_yy * dy + second.var_yx * dx
        var_x = at.var_x + second.var_yx * dy + second.var_xx * dx
        return (
            Moments(
                mean,
                at.var + var_y * dy + var_x * dx,
                at.mean_y + second.mean_yy * dy + second.mean_yx * dx,
                at.mean_x + second.mean_yx * dy + second.mean_xx * dx,
                var_y,
                var_x,
            ),
            second,
        )
