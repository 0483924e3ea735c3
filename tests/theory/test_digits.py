"""Constants to many digits: against mpmath, and that each digit is right."""

from __future__ import annotations

import re
import sys
from decimal import Decimal
from fractions import Fraction

import mpmath
import pytest

from selfnorm.errors import CertificateError, DomainError, MissingDependencyError
from selfnorm.theory import _digits, solve_digits

# Closed form of the constants of (0, 1) in Klambauer et al. 2017, eq. 14, at 40 digits.
ALPHA01 = "1.673263242354377284817042991671652038461"
SCALE01 = "1.050700987355480493419334985294606351959"
SATURATION01 = "-1.758099340847376859940217520812279577324"  # ...3235068: rounded up


def significant(text: str) -> int:
    return len(Decimal(text).as_tuple().digits)


def moments(alpha: mpmath.mpf, scale: mpmath.mpf, y: mpmath.mpf, x: mpmath.mpf) -> tuple:
    """Mean and second moment of selu(z), z ~ N(y, x), by quadrature of the definition."""
    sd = mpmath.sqrt(x)

    def density(z: mpmath.mpf) -> mpmath.mpf:
        return mpmath.exp(-((z - y) ** 2) / (2 * x)) / (sd * mpmath.sqrt(2 * mpmath.pi))

    def selu(z: mpmath.mpf) -> mpmath.mpf:
        return scale * z if z > 0 else scale * alpha * mpmath.expm1(z)

    nodes = [y + step * sd for step in (-17, -8, -4, -2, 0, 2, 4, 8, 17)]
    nodes = sorted([*nodes, mpmath.mpf(0)])
    return (
        mpmath.quad(lambda z: selu(z) * density(z), nodes),
        mpmath.quad(lambda z: selu(z) ** 2 * density(z), nodes),
    )


def test_standard_constants_to_forty_digits() -> None:
    found = solve_digits(digits=40)
    assert (found.alpha, found.scale, found.saturation) == (ALPHA01, SCALE01, SATURATION01)
    assert found.digits == 40


@pytest.mark.parametrize(
    ("target", "alpha", "scale"),
    [
        # From the closed form for mean 0; for the last two from the fixed point equations.
        ({"var": "0.1"}, 1.20365116302, 1.0224242514),
        ({"var": "4"}, 2.4040053382165, 1.0702322744471),
        ({"mean": "-0.1", "var": 2, "weight_sum": 1}, 1.9769021954242, 1.0738512396160),
        ({"mean": "-0.1", "var": 2}, 2.32699077881934, 0.982180433795927),
    ],
)
def test_other_fixed_points(target: dict[str, object], alpha: float, scale: float) -> None:
    found = solve_digits(**target, digits=17)  # type: ignore[arg-type]
    assert float(found.alpha) == pytest.approx(alpha, rel=1e-11)
    assert float(found.scale) == pytest.approx(scale, rel=1e-10)


@pytest.mark.parametrize(
    ("mean", "var", "weight_sum", "weight_sumsq"),
    [("0", "0.3", "0.7", "1.1"), ("0.25", "1.5", "-0.4", "0.9"), ("-0.35", "0.8", "0.6", "1.2")],
)
def test_the_moments_of_the_solution_are_the_target(
    mean: str, var: str, weight_sum: str, weight_sumsq: str
) -> None:
    found = solve_digits(mean, var, weight_sum=weight_sum, weight_sumsq=weight_sumsq, digits=40)
    with mpmath.workdps(45):
        m, v, w, t = map(mpmath.mpf, (mean, var, weight_sum, weight_sumsq))
        first, second = moments(mpmath.mpf(found.alpha), mpmath.mpf(found.scale), m * w, v * t)
        assert abs(first - m) < mpmath.mpf(10) ** -37
        assert abs(second - m * m - v) < mpmath.mpf(10) ** -37
        assert abs(mpmath.mpf(found.saturation) + mpmath.fmul(found.alpha, found.scale)) < 1e-38


def test_every_length_is_the_correct_rounding_of_a_longer_one() -> None:
    longer = solve_digits(var="0.37", digits=120)
    for digits in range(1, 60):
        shorter = solve_digits(var="0.37", digits=digits)
        for name in ("alpha", "scale", "saturation"):
            text, reference = getattr(shorter, name), Fraction(getattr(longer, name))
            assert significant(text) == digits, (name, digits)
            last = Fraction(10) ** (Decimal(text).adjusted() - digits + 1)
            assert abs(Fraction(text) - reference) <= last / 2, (name, digits)


def test_a_thousand_digits_agree_with_mpmath() -> None:
    found = solve_digits(var="0.1", digits=1000)
    with mpmath.workdps(1060):
        x = mpmath.mpf(1) / 10
        e1 = mpmath.exp(x / 2) * mpmath.erfc(mpmath.sqrt(x / 2)) / 2
        e2 = mpmath.exp(2 * x) * mpmath.erfc(mpmath.sqrt(2 * x)) / 2
        half = mpmath.mpf(1) / 2
        alpha = mpmath.sqrt(x / (2 * mpmath.pi)) / (half - e1)
        scale = mpmath.sqrt(x / (x / 2 + alpha**2 * (e2 - 2 * e1 + half)))
        assert abs(mpmath.mpf(found.alpha) - alpha) <= mpmath.mpf(10) ** -999 / 2
        assert abs(mpmath.mpf(found.scale) - scale) <= mpmath.mpf(10) ** -999 / 2
    assert significant(found.alpha) == significant(found.scale) == 1000


@pytest.mark.parametrize("var", ["1e-300", "1e300"])
def test_extreme_variances(var: str) -> None:
    # alpha -> 1 as var -> 0; alpha -> sqrt(2 var / pi) and scale^2 -> 2 / (1 + 2/pi) as it grows.
    found = solve_digits(var=var, digits=20)
    with mpmath.workdps(30):
        if var == "1e-300":
            alpha, scale = mpmath.mpf(1), mpmath.mpf(1)
        else:
            alpha = mpmath.sqrt(2 * mpmath.mpf(var) / mpmath.pi)
            scale = mpmath.sqrt(2 / (1 + 2 / mpmath.pi))
        assert abs(mpmath.mpf(found.alpha) / alpha - 1) < 1e-19
        assert abs(mpmath.mpf(found.scale) / scale - 1) < 1e-19


def test_more_digits_than_python_prints_of_an_int() -> None:
    assert significant(solve_digits(digits=5000).alpha) == 5000


@pytest.mark.parametrize("sign", [1, -1])
def test_the_edge_of_the_reachable_means(sign: int) -> None:
    # At y=0, x=1: A = 1 / sqrt(2 pi), C = 1/2, so mean^2 < var A^2 / (C - A^2) from above; from
    # below the same with B = 1/2 - E1, G = 1/2 - 2 E1 + E2. Both edges by mpmath:
    with mpmath.workdps(30):
        e1 = mpmath.exp(0.5) * mpmath.erfc(mpmath.sqrt(0.5)) / 2
        e2 = mpmath.exp(2) * mpmath.erfc(mpmath.sqrt(2)) / 2
        first = 1 / mpmath.sqrt(2 * mpmath.pi) if sign > 0 else mpmath.mpf(0.5) - e1
        second = mpmath.mpf(0.5) if sign > 0 else mpmath.mpf(0.5) - 2 * e1 + e2
        edge = sign * mpmath.sqrt(first**2 / (second - first**2))
        inside, outside = (mpmath.nstr(edge * factor, 20) for factor in (1 - 1e-9, 1 + 1e-9))
    assert float(solve_digits(inside, digits=10).alpha) > 0
    with pytest.raises(DomainError, match="no alpha, scale > 0 has this fixed point"):
        solve_digits(outside)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"var": 0.1}, "because a float is seldom the decimal it shows, however: var=0.1"),
        ({"mean": 0.0}, "write '0.0' in quotes"),
        ({"var": "0"}, "var must be above 0, however: var='0'"),
        ({"weight_sumsq": -1}, "weight_sumsq must be above 0, however: weight_sumsq=-1"),
        ({"weight_sum": "x"}, "weight_sum must be a decimal such as '0.1'"),
        ({"digits": 0}, "digits must be an int from 1 to 10000, however: digits=0"),
        ({"digits": 10_001}, "digits must be an int from 1 to 10000"),
        ({"digits": True}, "digits must be an int"),
        ({"digits": 5.0}, "digits must be an int"),
        ({"mean": "3"}, "the mean must be below 0.683332, however: mean=3"),
        ({"mean": "-3"}, "the mean must be above -0.803261, however: mean=-3"),
    ],
)
def test_bad_targets_are_refused_by_name(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DomainError, match=re.escape(message)):
        solve_digits(**arguments)  # type: ignore[arg-type]


def test_an_undecided_precision_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_digits, "_constants", lambda **_: None)
    monkeypatch.setattr(_digits, "_EXTRA_BITS", 64)
    with pytest.raises(CertificateError, match="the digits were not decided at"):
        solve_digits()


def test_without_flint_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flint", None)
    with pytest.raises(MissingDependencyError, match=r"solve_digits.*selfnorm\[certificate\]"):
        solve_digits()


def test_the_precision_of_flint_is_left_as_it_was() -> None:
    flint = pytest.importorskip("flint")
    before = flint.ctx.prec
    solve_digits(digits=100)
    assert flint.ctx.prec == before
