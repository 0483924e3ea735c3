"""A box of means, variances and weight statistics, and numbers that mean what they say."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from selfnorm.errors import DomainError

__all__ = ["Box", "ExactNumber", "exact_fraction"]

_ADMITTED = "a decimal string, an int, a fractions.Fraction or a decimal.Decimal"
ExactNumber = str | int | float | Fraction | Decimal
_Ends = tuple[ExactNumber, ExactNumber]
_MAX_EXPONENT = 1000  # 10**1000 is far outside every use and still cheap as a fraction
_MAX_DIGITS = 20_000


def exact_fraction(value: object, name: str, *, floats: bool) -> Fraction:
    """Return the number that a decimal string, int, Fraction, Decimal or float means exactly.

    A string means the decimal that it shows ("0.1" is one tenth); a float means the dyadic number
    it stores (0.1 is 0.1000000000000000055...).

    Parameters
    ----------
    value : str, int, float, fractions.Fraction or decimal.Decimal
        The number; between 1e-1000 and 1e1000 in magnitude, or 0.
    name : str
        The argument that messages name.
    floats : bool
        Whether floats are admitted.

    Returns
    -------
    fractions.Fraction
        The same number, exactly.

    Raises
    ------
    DomainError
        If ``value`` is not a finite real number of an admitted type.

    Examples
    --------
    >>> exact_fraction("0.1", "var", floats=True)
    Fraction(1, 10)
    >>> exact_fraction(0.25, "var", floats=True)
    Fraction(1, 4)
    """
    if isinstance(value, bool) or not isinstance(value, (str, numbers.Real, Decimal)):
        raise DomainError(f"{name} must be {_ADMITTED}, however: {name}={value!r}")
    if isinstance(value, numbers.Rational):
        return Fraction(int(value.numerator), int(value.denominator))
    if isinstance(value, (str, Decimal)):
        return _from_decimal(value, name)
    number = float(value)
    if not floats:
        raise DomainError(
            f"{name} must be {_ADMITTED}, because a float is seldom the decimal it shows, "
            f"however: {name}={value!r}; write {str(number)!r} in quotes for that decimal"
        )
    if not math.isfinite(number):
        raise DomainError(f"{name} must be finite, however: {name}={value!r}")
    return Fraction(number)


def _from_decimal(value: str | Decimal, name: str) -> Fraction:
    try:
        if isinstance(value, str) and "/" in value:
            above, below = value.split("/")
            return _from_decimal(above, name) / _from_decimal(below, name)
        number = Decimal(value.strip()) if isinstance(value, str) else value
    except (InvalidOperation, ValueError, ZeroDivisionError):
        raise DomainError(
            f"{name} must be a decimal such as '0.1' or '2e-3' or a ratio such as '1/3', "
            f"however: {name}={value!r}"
        ) from None
    if not number.is_finite():
        raise DomainError(f"{name} must be finite, however: {name}={value!r}")
    if number and abs(number.adjusted()) > _MAX_EXPONENT:
        raise DomainError(
            f"{name} must be 0 or between 1e-{_MAX_EXPONENT} and 1e{_MAX_EXPONENT} in magnitude, "
            f"however: {name}={value!r}"
        )
    if len(number.as_tuple().digits) > _MAX_DIGITS:
        raise DomainError(f"{name} must have at most {_MAX_DIGITS} digits")
    return Fraction(number)


def _outward(ends: object, name: str) -> tuple[float, float]:
    if not isinstance(ends, (tuple, list)) or len(ends) != 2:
        raise DomainError(f"{name} must be a pair (lo, hi), however: {name}={ends!r}")
    lo, hi = (exact_fraction(end, name, floats=True) for end in ends)
    if lo > hi:
        raise DomainError(
            f"{name} must have its smaller end first, however: {name}={ends!r}; swap the ends"
        )
    try:
        low, high = float(lo), float(hi)
    except OverflowError:
        raise DomainError(
            f"{name} must fit into double precision, however: {name}={ends!r}"
        ) from None
    if Fraction(low) > lo:
        low = math.nextafter(low, -math.inf)
    if Fraction(high) < hi:
        high = math.nextafter(high, math.inf)
    return low, high


@dataclass(frozen=True, init=False)
class Box:
    """A box of input means and variances and of weight statistics.

    A unit of a self-normalizing network maps inputs of mean ``mean`` and variance ``var`` by
    weights of sum ``weight_sum`` and sum of squares ``weight_sumsq`` (mu, nu, omega and tau of the
    paper). A claim about a box is a claim about every combination of the four.

    Parameters
    ----------
    mean, var, weight_sum, weight_sumsq : pair of numbers
        Ends ``(lo, hi)`` with ``lo <= hi``; finite; ``var`` and ``weight_sumsq`` above 0. A float
        stands for the double that it is; a decimal string, int, Fraction or Decimal is meant
        exactly and rounded outward to the next double, so that the box holds all that was asked.

    Attributes
    ----------
    mean, var, weight_sum, weight_sumsq : tuple of float
        The ends, as doubles.

    Raises
    ------
    DomainError
        If a pair is not a pair, an end is not a finite number, ``lo > hi``, or ``var`` or
        ``weight_sumsq`` reaches 0.

    Examples
    --------
    >>> box = Box(mean=("-0.1", "0.1"), var=(0.5, 2), weight_sum=(0, 0), weight_sumsq=(1, 1))
    >>> box.var
    (0.5, 2.0)
    >>> box.mean[1].as_integer_ratio()[0] * 10 >= box.mean[1].as_integer_ratio()[1]
    True
    """

    mean: tuple[float, float]
    var: tuple[float, float]
    weight_sum: tuple[float, float]
    weight_sumsq: tuple[float, float]

    def __init__(self, *, mean: _Ends, var: _Ends, weight_sum: _Ends, weight_sumsq: _Ends) -> None:
        given = {"mean": mean, "var": var, "weight_sum": weight_sum, "weight_sumsq": weight_sumsq}
        for name, ends in given.items():
            object.__setattr__(self, name, _outward(ends, name))
        for name in ("var", "weight_sumsq"):
            if getattr(self, name)[0] <= 0:
                raise DomainError(f"{name} must be above 0, however: {name}={given[name]!r}")

    def contains(self, *, mean: float, var: float, weight_sum: float, weight_sumsq: float) -> bool:
        """Whether a point lies in the box, its boundary included.

        Parameters
        ----------
        mean, var, weight_sum, weight_sumsq : float
            The point.

        Returns
        -------
        bool
            True if each coordinate lies between its ends.

        Examples
        --------
        >>> box = Box(mean=(-1, 1), var=(1, 2), weight_sum=(0, 0), weight_sumsq=(1, 1))
        >>> box.contains(mean=0.5, var=2.5, weight_sum=0.0, weight_sumsq=1.0)
        False
        """
        point = (mean, var, weight_sum, weight_sumsq)
        ends = (self.mean, self.var, self.weight_sum, self.weight_sumsq)
        return all(lo <= value <= hi for value, (lo, hi) in zip(point, ends, strict=True))
