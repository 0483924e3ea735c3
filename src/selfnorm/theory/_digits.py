"""The constants of any SELU fixed point to any number of digits, each of them guaranteed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from selfnorm.errors import CertificateError, DomainError
from selfnorm.theory._box import exact_fraction
from selfnorm.theory._certificate_balls import ball, flint, half_moments

if TYPE_CHECKING:
    from typing import Any

__all__ = ["SELUDigits", "solve_digits"]

ExactDecimal = str | int | Fraction | Decimal
_MAX_DIGITS = 10_000
_EXTRA_BITS = 1 << 16  # more than this lost to cancellation means that the target is on the edge


@dataclass(frozen=True)
class SELUDigits:
    """Constants of a SELU as decimal strings, correctly rounded.

    Attributes
    ----------
    alpha, scale, saturation : str
        The constants, each with ``digits`` significant digits; saturation is -scale * alpha.
    digits : int
        The number of significant digits.
    """

    alpha: str
    scale: str
    saturation: str
    digits: int


def solve_digits(
    mean: ExactDecimal = "0",
    var: ExactDecimal = "1",
    *,
    weight_sum: ExactDecimal = "0",
    weight_sumsq: ExactDecimal = "1",
    digits: int = 50,
) -> SELUDigits:
    """Solve for the SELU with a given fixed point, every printed digit guaranteed.

    With y = mean * weight_sum, x = var * weight_sumsq, z ~ N(y, x) and the half moments
    A = E[z 1(z>0)], B = E[(1 - e^z) 1(z<0)], C = E[z^2 1(z>0)], G = E[(1 - e^z)^2 1(z<0)], the
    fixed point means scale (A - alpha B) = mean and scale^2 (C + alpha^2 G) = var + mean^2: a line
    and an ellipse in (scale, scale * alpha), which meet at most once where both are positive. For
    mean 0 this is alpha = A / B, scale = sqrt(var / (C + alpha^2 G)), the paper's eq. 14.

    Parameters
    ----------
    mean, var : str, int, fractions.Fraction or decimal.Decimal, default="0", "1"
        The fixed point; var above 0. A string means the decimal it shows; floats are refused,
        because 0.1 as a float is not one tenth.
    weight_sum, weight_sumsq : same types, default="0", "1"
        Sum and sum of squares of the weights of a unit; weight_sumsq above 0.
    digits : int, default=50
        Significant digits, 1 to 10,000.

    Returns
    -------
    SELUDigits
        ``.alpha``, ``.scale`` and ``.saturation``, rounded to nearest: each string differs from
        the true number by at most half a unit of its last digit.

    Raises
    ------
    DomainError
        If a number is not exact, not finite or out of its domain, or if no alpha, scale > 0 has
        the fixed point asked for.
    CertificateError
        If the precision that decides the digits is out of reach.
    MissingDependencyError
        If python-flint is not installed.

    Notes
    -----
    Ball arithmetic (Arb), repeated with twice the precision until both ends of each ball round to
    the same digits. 50 digits take less than a millisecond, 1,000 some 10 ms.

    References
    ----------
    Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks", NeurIPS 2017
    (arXiv:1706.02515), eq. 14.
    Johansson, "Arb: efficient arbitrary-precision midpoint-radius interval arithmetic", IEEE
    Transactions on Computers 66 (2017).

    Examples
    --------
    >>> solve_digits(digits=30).alpha
    '1.67326324235437728481704299167'
    >>> solve_digits(var="0.1", digits=20).scale
    '1.0224242513959473603'
    """
    exact = {
        name: exact_fraction(value, name, floats=False)
        for name, value in (
            ("mean", mean),
            ("var", var),
            ("weight_sum", weight_sum),
            ("weight_sumsq", weight_sumsq),
        )
    }
    for name in ("var", "weight_sumsq"):
        if exact[name] <= 0:
            given = var if name == "var" else weight_sumsq
            raise DomainError(f"{name} must be above 0, however: {name}={given!r}")
    if isinstance(digits, bool) or not isinstance(digits, int) or not 1 <= digits <= _MAX_DIGITS:
        raise DomainError(
            f"digits must be an int from 1 to {_MAX_DIGITS}, however: digits={digits!r}"
        )
    wanted = int(digits * 3.33) + 32
    bits = wanted
    context = flint("solve_digits()").ctx
    while bits <= wanted + _EXTRA_BITS:
        with context.workprec(bits):
            constants = _constants(**exact)
            if constants is not None:
                alpha, scale = constants
                texts = [_rounded(value, digits) for value in (alpha, scale, -scale * alpha)]
                decided = [text for text in texts if text is not None]
                if len(decided) == 3:
                    return SELUDigits(decided[0], decided[1], decided[2], digits)
        bits *= 2
    raise CertificateError(
        f"the digits were not decided at {bits // 2} bits: probably the target mean={mean!r}, "
        f"var={var!r} lies on the edge of what SELU reaches, or its scales are too far apart; "
        "change the target or ask for fewer digits"
    )


def _constants(
    mean: Fraction, var: Fraction, weight_sum: Fraction, weight_sumsq: Fraction
) -> tuple[Any, Any] | None:
    """Return balls of alpha and scale, or None where the precision does not decide."""
    first, gap, second, gap2 = half_moments(ball(mean * weight_sum), ball(var * weight_sumsq))
    if not (first > 0 and gap > 0 and second > 0 and gap2 > 0):
        return None
    square = ball(var + mean * mean)
    if mean == 0:
        alpha = first / gap
        return alpha, (square / (second + alpha * alpha * gap2)).sqrt()
    target = ball(mean)
    # The line gap * beta = first * scale - mean cuts the ellipse second * scale^2 + gap2 * beta^2
    # = square. Solve for the one that the line makes positive by itself: beta if mean > 0 (then
    # scale = (mean + gap * beta) / first), else scale.
    own, other, own2, other2 = (
        (gap, first, gap2, second) if mean > 0 else (first, gap, second, gap2)
    )
    room = square * other * other - other2 * target * target
    if not room > 0:
        if room < 0:
            raise _unreachable(mean, var, other * other / other2)
        return None
    lead = other2 * own * own + own2 * other * other
    half = other2 * abs(target) * own
    # Stable form of the one positive root of lead s^2 + 2 half s - room = 0.
    root = room / (half + (half * half + lead * room).sqrt())
    partner = (abs(target) + own * root) / other
    scale, beta = (partner, root) if mean > 0 else (root, partner)
    return beta / scale, scale


def _unreachable(mean: Fraction, var: Fraction, share: Any) -> DomainError:
    limit = (ball(var) * share / (1 - share)).sqrt().str(6, radius=False)
    edge = f"below {limit}" if mean > 0 else f"above -{limit}"
    return DomainError(
        "no alpha, scale > 0 has this fixed point: at this variance and pre-activation the mean "
        f"must be {edge}, however: mean={ball(mean).str(6, radius=False)}; move the mean towards 0 "
        "or raise var"
    )


def _rounded(value: Any, digits: int) -> str | None:
    """Round a ball to significant digits, or return None where its ends round differently."""
    if not value.is_finite() or value.contains(0):
        return None
    low, high = (_round_exact(_fraction(end), digits) for end in (value.lower(), value.upper()))
    return low if low == high else None


def _fraction(end: Any) -> Fraction:
    mantissa, exponent = end.man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def _round_exact(value: Fraction, digits: int) -> str:
    size = abs(value)
    # From bit lengths the decimal exponent comes out right or a little too small.
    bits = size.numerator.bit_length() - size.denominator.bit_length()
    exponent = math.floor((bits - 1) * math.log10(2)) - 1
    while Fraction(10) ** (exponent + 1) <= size:
        exponent += 1
    scaled = round(size / Fraction(10) ** (exponent - digits + 1))
    if scaled == 10**digits:
        scaled, exponent = scaled // 10, exponent + 1
    # Python refuses to print integers of more than 4,300 digits; flint prints any.
    text = str(flint("solve_digits()").fmpz(scaled))
    return str(Decimal((int(value < 0), tuple(map(int, text)), exponent - digits + 1)))
