"""Interval arithmetic on arrays of doubles, and enclosures of exp and erfc: the checker's own.

Trust base: IEEE 754 double precision in round-to-nearest, in which +, -, *, / and the square root
are correctly rounded. The exact result then lies between the neighbours of the computed one, so
each operation moves its lower end one double down and its upper end one double up. An end that
overflows becomes infinite on the outer side and the largest double on the inner, which encloses.
Nothing else (no library exp, erfc or log) is trusted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Interval", "erfc", "erfcx", "exp"]

Array = NDArray[np.float64]


# An overflow and 0 * inf are answered by the ends that they leave, not by a warning.
_quiet = np.errstate(over="ignore", divide="ignore", invalid="ignore")


def _down(value: Array) -> Array:
    return np.nextafter(value, -np.inf)


def _up(value: Array) -> Array:
    return np.nextafter(value, np.inf)


class Interval:
    """Arrays of closed intervals with outward rounding.

    An interval with a NaN end, which an overflow leaves behind, satisfies no comparison.

    Parameters
    ----------
    lo, hi : array_like of float64
        Ends, broadcast against each other.

    Examples
    --------
    >>> third = Interval(1.0, 1.0) / Interval(3.0, 3.0)
    >>> bool(third.lo < third.hi)
    True
    """

    __slots__ = ("hi", "lo")
    __array_ufunc__ = None  # ndarray * Interval is ours to answer

    def __init__(self, lo: Array | float, hi: Array | float) -> None:
        self.lo: Array = np.asarray(lo, dtype=np.float64)
        self.hi: Array = np.asarray(hi, dtype=np.float64)

    @classmethod
    def point(cls, value: Array | float) -> Interval:
        """Return the interval that holds one double alone."""
        return cls(value, value)

    def __neg__(self) -> Interval:
        return Interval(-self.hi, -self.lo)

    @_quiet
    def __add__(self, other: Interval | float) -> Interval:
        other = _interval(other)
        return Interval(_down(self.lo + other.lo), _up(self.hi + other.hi))

    __radd__ = __add__

    def __sub__(self, other: Interval | float) -> Interval:
        return self + (-_interval(other))

    def __rsub__(self, other: float) -> Interval:
        return _interval(other) - self

    @_quiet
    def __mul__(self, other: Interval | float) -> Interval:
        other = _interval(other)
        return _hull(self.lo * other.lo, self.lo * other.hi, self.hi * other.lo, self.hi * other.hi)

    __rmul__ = __mul__

    @_quiet
    def __truediv__(self, other: Interval | float) -> Interval:
        other = _interval(other)
        quotient = _hull(
            self.lo / other.lo, self.lo / other.hi, self.hi / other.lo, self.hi / other.hi
        )
        bad = (other.lo <= 0) & (other.hi >= 0)
        return Interval(np.where(bad, -np.inf, quotient.lo), np.where(bad, np.inf, quotient.hi))

    def __rtruediv__(self, other: float) -> Interval:
        return _interval(other) / self

    @_quiet
    def square(self) -> Interval:
        """Return the squares, which are nowhere negative."""
        product = self * self
        size = np.minimum(np.abs(self.lo), np.abs(self.hi))
        inside = (self.lo <= 0) & (self.hi >= 0)
        return Interval(np.where(inside, 0.0, np.maximum(_down(size * size), 0.0)), product.hi)

    def sqrt(self) -> Interval:
        """Return the square roots; the intervals must not be negative."""
        return Interval(np.maximum(_down(np.sqrt(self.lo)), 0.0), _up(np.sqrt(self.hi)))

    def where(self, condition: NDArray[np.bool_], other: Interval) -> Interval:
        """Return this interval where the condition holds and the other elsewhere."""
        return Interval(
            np.where(condition, self.lo, other.lo), np.where(condition, self.hi, other.hi)
        )


def _interval(value: Interval | float) -> Interval:
    return value if isinstance(value, Interval) else Interval.point(value)


def _hull(*values: Array) -> Interval:
    # np.minimum keeps NaN, so that 0 * inf spoils the interval instead of vanishing from it.
    lo, hi = values[0], values[0]
    for value in values[1:]:
        lo, hi = np.minimum(lo, value), np.maximum(hi, value)
    return Interval(_down(lo), _up(hi))


# The double nearest pi is below pi, and the one nearest ln 2 is below ln 2:
# 3.141592653589793115... < 3.141592653589793238..., 0.69314718055994528... < 0.69314718055994530...
PI: Final = Interval(math.pi, math.nextafter(math.pi, 4))
_LN2: Final = Interval(0.6931471805599453, math.nextafter(0.6931471805599453, 1))
_SQRT_PI: Final = PI.sqrt()
_EXP_TERMS = 14
_SERIES_TERMS = 32
_FRACTION_TERMS = 80
_SPLIT = 1.5


def _at_both_ends(rising: Callable[[Array], Interval], x: Interval) -> Interval:
    """Enclose a function that never falls, from enclosures at the two ends in one call."""
    lo, hi = np.broadcast_arrays(x.lo, x.hi)
    if np.array_equal(lo, hi):
        return rising(lo)
    both = rising(np.stack([lo, hi]))
    return Interval(both.lo[0], both.hi[1])


def exp(x: Interval) -> Interval:
    """Enclose the exponential.

    Proof: exp(x) = 2^k exp(r) with r = x - k ln 2 for whatever integer k; |r| <= 1/2 is tested, not
    assumed. After the terms to r^14 / 14! the remainder is at most
    |r|^15 / 15! e^|r| <= 2^-15 / 15! * 1.65 < 1e-16. Where x < -700 the enclosure is
    [0, 1e-300], and where x > 700 it ends in infinity.

    Parameters
    ----------
    x : Interval
        Arguments.

    Returns
    -------
    Interval
        Enclosures.

    Examples
    --------
    >>> one = exp(Interval.point(1.0))
    >>> bool(one.lo < 2.718281828459045 <= one.hi)
    True
    """
    return _at_both_ends(_exp_at, x)


def _exp_at(x: Array) -> Interval:
    k = np.rint(np.clip(x, -700.0, 700.0) / 0.6931471805599453)
    r = Interval.point(np.clip(x, -700.0, 700.0)) - Interval.point(k) * _LN2
    total = Interval.point(np.ones_like(x))
    for term in range(_EXP_TERMS, 0, -1):
        total = 1.0 + r * total / float(term)
    total = total + Interval(-1e-16, 1e-16)
    scale = np.ldexp(1.0, k.astype(np.int64))  # a normal power of two: exact, and so the product
    lo, hi = total.lo * scale, total.hi * scale
    small, large = x < -700.0, x > 700.0
    sound = (r.lo >= -0.5) & (r.hi <= 0.5)
    return Interval(
        np.where(sound, np.where(small, 0.0, lo), np.nan),
        np.where(sound, np.where(small, 1e-300, np.where(large, np.inf, hi)), np.nan),
    )


def erfcx(s: Interval) -> Interval:
    """Enclose exp(s^2) erfc(s) for s >= 0, where it falls from 1 to 0.

    Proof for s >= 1.5. The repeated integrals of erfc are positive and satisfy
    2n i^n = i^(n-2) - 2s i^(n-1) (DLMF 7.18.7). So t_n = i^(n-1) / (2 i^n) satisfies
    t_n = s + (n+1) / (2 t_(n+1)) exactly; hence t_n > s, and t_n < s + (n+1) / (2s). Beginning with
    this interval for t_80, the recurrence in interval arithmetic encloses t_0, and
    erfcx(s) = 1 / (sqrt(pi) t_0).

    Proof for s < 1.5. erfcx(s) = exp(s^2) - (2 s / sqrt(pi)) sum_n c_n with c_0 = 1 and
    c_n = c_(n-1) 2 s^2 / (2n+1) (DLMF 7.6.2). From n = 32 on each ratio is below 4.5 / 65 < 1/2,
    so that the remainder lies between 0 and the last term taken.

    Parameters
    ----------
    s : Interval
        Arguments, nowhere negative.

    Returns
    -------
    Interval
        Enclosures.

    Examples
    --------
    >>> one = erfcx(Interval.point(1.0))
    >>> bool(one.lo <= 0.42758357615580705 <= one.hi)
    True
    """
    return -_at_both_ends(lambda at: -_erfcx_at(at), s)


def _erfcx_at(s: Array) -> Interval:
    far = Interval.point(np.maximum(s, _SPLIT))
    tail = Interval(far.lo, (far + (_FRACTION_TERMS + 1) / (2.0 * far)).hi)
    for n in range(_FRACTION_TERMS - 1, -1, -1):
        tail = far + (n + 1) / 2 / tail
    fraction = 1.0 / (_SQRT_PI * tail)

    near = Interval.point(np.clip(s, 0.0, _SPLIT))
    square = near.square()
    term = total = Interval.point(np.ones_like(s))
    for n in range(1, _SERIES_TERMS + 1):
        term = term * square * 2.0 / float(2 * n + 1)
        total = total + term
    total = total + Interval(np.zeros_like(s), np.maximum(term.hi, 0.0))
    series = exp(square) - 2.0 * near * total / _SQRT_PI
    result = fraction.where(s >= _SPLIT, series)
    valid = s >= 0
    return Interval(np.where(valid, result.lo, np.nan), np.where(valid, result.hi, np.nan))


def erfc(s: Interval) -> Interval:
    """Enclose the complementary error function, which falls from 2 to 0.

    Uses erfc(s) = exp(-s^2) erfcx(s) and erfc(-s) = 2 - erfc(s).

    Parameters
    ----------
    s : Interval
        Arguments of either sign.

    Returns
    -------
    Interval
        Enclosures.

    Examples
    --------
    >>> half = erfc(Interval.point(-0.5))
    >>> bool(half.lo <= 1.5204998778130465 <= half.hi)
    True
    """
    return -_at_both_ends(lambda at: -_erfc_at(at), s)


def _erfc_at(s: Array) -> Interval:
    size = np.abs(s)
    tail = exp(-Interval.point(size).square()) * _erfcx_at(size)
    return tail.where(s >= 0, 2.0 - tail)
