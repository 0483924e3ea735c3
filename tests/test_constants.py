"""The constants, to every printed digit, against ball arithmetic and against their formula."""

from __future__ import annotations

import re
from pathlib import Path

import mpmath
import pytest

from selfnorm import constants, theory

DIGITS = dict(
    re.findall(r"^(\w+): Final\[float\] = (\S+)$", Path(constants.__file__).read_text(), re.M)
)


@pytest.mark.parametrize(
    ("name", "field"), [("ALPHA01", "alpha"), ("LAMBDA01", "scale"), ("SATURATION01", "saturation")]
)
def test_every_printed_digit(name: str, field: str) -> None:
    assert DIGITS[name] == getattr(theory.solve_digits(digits=40), field)
    assert getattr(constants, name) == float(DIGITS[name])


def test_the_closed_form_of_the_docstring() -> None:
    with mpmath.workdps(50):
        e, pi, root = mpmath.e, mpmath.pi, mpmath.sqrt
        tail = mpmath.erfc(1 / root(2))
        alpha = -root(2 / pi) / (tail * root(e) - 1)
        under = 2 * mpmath.erfc(root(2)) * e**2 + pi * tail**2 * e
        under += -2 * (2 + pi) * tail * root(e) + pi + 2
        scale = (1 - tail * root(e)) * root(2 * pi) / root(under)
        assert abs(alpha - mpmath.mpf(DIGITS["ALPHA01"])) < mpmath.mpf("1e-38")
        assert abs(scale - mpmath.mpf(DIGITS["LAMBDA01"])) < mpmath.mpf("1e-38")
