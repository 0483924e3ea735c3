"""Numbers as a reader wants them: few digits, thousands separators, a real minus sign."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real

__all__ = ["format_column", "format_number", "power_of_ten"]

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# Outside [_PLAIN_FROM, _PLAIN_TO) a number is written with a power of ten.
_PLAIN_FROM = 1e-4
_PLAIN_TO = 1e7


def power_of_ten(exponent: int) -> str:
    """Return ``10`` with the exponent in superscript digits.

    Examples
    --------
    >>> power_of_ten(-30)
    '10⁻³⁰'
    """
    return "10" + str(exponent).translate(_SUPERSCRIPTS)


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _special(value: float) -> str | None:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return "0" if value == 0 else None


def _significant(value: float, digits: int) -> tuple[str, int]:
    """Return the significant digits without trailing zeros, and the decimal exponent."""
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return mantissa.rstrip("0").rstrip("."), int(exponent)


def format_number(value: float, digits: int = 4) -> str:
    """Write one number for people.

    Parameters
    ----------
    value : float or int
        Any real number, NaN and infinities included.
    digits : int, default 4
        Significant digits of a float, at least 1; integers are written whole.

    Returns
    -------
    str
        Thousands separators, U+2212 as the minus sign, a power of ten only below 0.0001 and
        from 10,000,000 on (integers: from 10¹⁵ on), no trailing zeros.

    Examples
    --------
    >>> format_number(1234567.0), format_number(-0.04872), format_number(2.5e-31)
    ('1,234,567', '−0.04872', '2.5×10⁻³¹')
    >>> format_number(20000), format_number(float("inf"))
    ('20,000', '∞')
    """
    if isinstance(value, Integral) and abs(int(value)) < 10**15:
        return _minus(f"{int(value):,}")
    value = float(value)
    if (special := _special(value)) is not None:
        return special
    mantissa, exponent = _significant(value, digits)
    if not _PLAIN_FROM <= abs(value) < _PLAIN_TO:
        return _minus(mantissa) + "×" + power_of_ten(exponent)
    fraction = len(mantissa.partition(".")[2])
    return _minus(f"{value:,.{max(0, fraction - exponent)}f}")


def format_column(values: Sequence[float]) -> list[str]:
    """Write the numbers of one column alike, so that their decimal points stand in one line.

    All get the same number of decimals: as many as four significant digits of the largest need,
    fewer where the values have fewer. Where that would leave a value less than two significant
    digits, each number is written on its own by :func:`format_number`.

    Examples
    --------
    >>> format_column([0.05, 0.1, 4.0]), format_column([12.345, 1043.21])
    (['0.05', '0.10', '4.00'], ['12', '1,043'])
    >>> format_column([1.0, 2e-31])
    ['1', '2×10⁻³¹']
    """
    floats = [
        float(v)
        for v in values
        if isinstance(v, Real) and not isinstance(v, Integral) and _special(float(v)) is None
    ]
    if not floats or not _PLAIN_FROM <= max(map(abs, floats)) < _PLAIN_TO:
        return [format_number(v) for v in values]
    cap = max(0, 3 - max(_significant(v, 4)[1] for v in floats))
    wanted = 0
    for v in floats:
        mantissa, exponent = _significant(v, 4)
        wanted = max(wanted, len(mantissa.partition(".")[2]) - exponent)
        if exponent + cap < min(1, len(mantissa.replace("-", "").replace(".", "")) - 1):
            return [format_number(v) for v in values]
    decimals = min(cap, wanted)
    return [
        format_number(v)
        if isinstance(v, Integral) or math.isnan(v) or math.isinf(v)
        else _minus(f"{v + 0.0:,.{decimals}f}")
        for v in values
    ]
