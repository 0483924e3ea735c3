"""Gaussian moments: closed forms and quadrature against high precision, invariants, refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfnorm.constants import ALPHA01, LAMBDA01
from selfnorm.errors import ConvergenceError, DomainError
from selfnorm.theory import (
    activation,
    activation_names,
    gradient_gain,
    moment_jacobian,
    moment_map,
    moments,
)

# Means and variances of the accuracy promise; 0.0099 and 0.0101 lie beside the series' limit.
MEANS = [0.0, *(s * m for m in (1e-4, 3e-3, 0.07, 0.6, 2.5, 9.0, 30.0) for s in (-1.0, 1.0))]
VARIANCES = [1e-6, 4e-5, 1e-3, 0.0099, 0.0101, 0.07, 0.5, 1.0, 3.0, 20.0, 200.0, 1e4, 1e6]
# The variance of a saturated hardtanh is the difference of numbers that agree to 250 digits.
DIGITS = {"hardtanh": 350}

Reference = tuple[Any, Any, Any]


def _halves(y: float, x: float) -> tuple[Any, ...]:
    """Probabilities and first two moments of z ~ N(y, x) on z > 0 and on z < 0."""
    y, x = mp.mpf(y), mp.mpf(x)
    sd = mp.sqrt(x)
    phi = sd * mp.exp(-y * y / (2 * x)) / mp.sqrt(2 * mp.pi)
    up, down = mp.erfc(-y / sd / mp.sqrt(2)) / 2, mp.erfc(y / sd / mp.sqrt(2)) / 2
    first = y * up + phi, y * down - phi
    second = (y * y + x) * up + y * phi, (y * y + x) * down - y * phi
    return up, down, first, second


def _tilted(k: float, y: float, x: float) -> tuple[Any, Any, Any]:
    """E[e^{kz} z^n 1{z<0}] for n = 0, 1, 2: e^{kz} shifts the mean by k x."""
    k, y, x = mp.mpf(k), mp.mpf(y), mp.mpf(x)
    factor = mp.exp(k * y + k * k * x / 2)
    _, down, (_, first), (_, second) = _halves(y + k * x, x)
    return factor * down, factor * first, factor * second


def _finish(mean: Any, second: Any) -> Reference:
    return mean, second - mean * mean, mp.sqrt(second)


def exponential(right: float, amplitude: float, rate: float, y: float, x: float) -> Reference:
    _, down, (first, _), (second, _) = _halves(y, x)
    a, b = _tilted(rate, y, x)[0], _tilted(2 * rate, y, x)[0]
    r, c = mp.mpf(right), mp.mpf(amplitude)
    return _finish(r * first + c * (a - down), r * r * second + c * c * (b - 2 * a + down))


def rectified(left: float, y: float, x: float) -> Reference:
    _, _, (up1, down1), (up2, down2) = _halves(y, x)
    return _finish(up1 + mp.mpf(left) * down1, up2 + mp.mpf(left) ** 2 * down2)


def serlu(alpha: float, scale: float, y: float, x: float) -> Reference:
    _, _, (first, _), (second, _) = _halves(y, x)
    s, c = mp.mpf(scale), mp.mpf(scale) * mp.mpf(alpha)
    return _finish(
        s * first + c * _tilted(1, y, x)[1], s * s * second + c * c * _tilted(2, y, x)[2]
    )


def hardtanh(y: float, x: float) -> Reference:
    # f = -1 + (z+1)^+ - (z-1)^+; on z > 1 the product of the two ramps is (z-1)^2 + 2 (z-1).
    low, high = _halves(mp.mpf(y) + 1, x), _halves(mp.mpf(y) - 1, x)
    ramp = low[2][0] - high[2][0]
    square = low[3][0] - high[3][0] - 4 * high[2][0]
    return _finish(ramp - 1, square - 2 * ramp + 1)


def sine(y: float, x: float) -> Reference:
    y, x = mp.mpf(y), mp.mpf(x)
    return _finish(mp.exp(-x / 2) * mp.sin(y), (1 - mp.exp(-2 * x) * mp.cos(2 * y)) / 2)


CLOSED: dict[str, tuple[dict[str, float], Callable[[float, float], Reference]]] = {
    "identity": ({}, lambda y, x: rectified(1.0, y, x)),
    "relu": ({}, lambda y, x: rectified(0.0, y, x)),
    "leaky_relu": ({"negative_slope": 0.2}, lambda y, x: rectified(0.2, y, x)),
    "prelu": ({"negative_slope": -0.3}, lambda y, x: rectified(-0.3, y, x)),
    "elu": ({"alpha": 0.3}, lambda y, x: exponential(1.0, 0.3, 1.0, y, x)),
    "celu": ({"alpha": 0.5}, lambda y, x: exponential(1.0, 0.5, 2.0, y, x)),
    "selu": ({}, lambda y, x: exponential(LAMBDA01, LAMBDA01 * ALPHA01, 1.0, y, x)),
    "serlu": ({"alpha": 2.5, "scale": 1.2}, lambda y, x: serlu(2.5, 1.2, y, x)),
    "hardtanh": ({}, hardtanh),
    "sin": ({}, sine),
}


@pytest.mark.parametrize("name", CLOSED)
def test_relative_accuracy_over_the_promised_range(name: str) -> None:
    """The promise is 1e-12: the mean's error against sqrt(E f^2), the variance's to itself."""
    parameters, reference = CLOSED[name]
    y, x = (grid.ravel() for grid in np.meshgrid(MEANS, VARIANCES))
    found = moments(activation(name, **parameters), y, x)
    with mp.workdps(DIGITS.get(name, 80)):
        for mean, var, error, y_, x_ in zip(*found, y, x, strict=True):
            true_mean, true_var, rms = reference(y_, x_)
            if true_var < mp.mpf("1e-250"):
                continue
            # Arguments such as z = 30 - 1e-3 are themselves rounded: sine sees that.
            allowed = 1e-12 if name != "sin" else 1e-12 + 1e-14 * abs(y_)
            assert abs(mean - true_mean) <= allowed * rms, (y_, x_)
            assert abs(var - true_var) <= allowed * true_var, (y_, x_)
            assert max(abs(mean - true_mean), abs(var - true_var)) <= max(error, 1e-300), (y_, x_)


@pytest.mark.parametrize("h", [1.9, 2.4999, 2.5001, 2.7, 3.3, 5.0, 12.0, 30.0])
def test_tails_where_recurrence_and_continued_fraction_meet(h: float) -> None:
    """relu of N(-h sd, var): nothing but the tail moments remains."""
    found = moments("relu", -0.3 * h, 0.09)
    with mp.workdps(80):
        mean, var, _ = rectified(0.0, -0.3 * h, 0.09)
        # Beyond twelve deviations h^2 eps/2 of the exponential's argument is seen.
        allowed = 2e-13 + 2e-15 * h * h
        assert abs(found.mean / mean - 1) < allowed
        assert abs(found.var / var - 1) < allowed


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize(("y", "x"), [(0.4, 1.7), (-1.3, 0.6)])
def test_the_reference_itself_against_the_definition(name: str, y: float, x: float) -> None:
    """The closed forms above are the integrals of the functions of the registry."""
    parameters, reference = CLOSED[name]
    f = activation(name, **parameters)
    sd = math.sqrt(x)
    cuts = [(k - y) / sd for k in {*f.kinks, 0.0, y - 12 * sd, y + 12 * sd}]
    nodes, weights = np.polynomial.legendre.leggauss(100)
    mean = second = 0.0
    for low, high in zip(sorted(cuts)[:-1], sorted(cuts)[1:], strict=True):
        w = 0.5 * (high + low) + 0.5 * (high - low) * nodes
        mass = 0.5 * (high - low) * weights * np.exp(-0.5 * w * w) / math.sqrt(2 * math.pi)
        mean += float(mass @ f(y + sd * w))
        second += float(mass @ f(y + sd * w) ** 2)
    with mp.workdps(30):
        true_mean, true_var, _ = reference(y, x)
    assert mean == pytest.approx(float(true_mean), abs=1e-13)
    assert second - mean * mean == pytest.approx(float(true_var), rel=1e-12)


SMOOTH = {
    "gelu": lambda z: z * mp.ncdf(z),
    "silu": lambda z: z / (1 + mp.exp(-z)),
    "mish": lambda z: z * mp.tanh(mp.log1p(mp.exp(z))),
    "tanh": mp.tanh,
    "erf": mp.erf,
    "softplus": lambda z: mp.log1p(mp.exp(z)),
    "sigmoid": lambda z: 1 / (1 + mp.exp(-z)),
    "softsign": lambda z: z / (1 + abs(z)),
    "atan": mp.atan,
    "asinh": mp.asinh,
}


def test_every_activation_has_a_reference() -> None:
    assert {*CLOSED, *SMOOTH} == set(activation_names())


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize(("y", "x"), [(0.7, 1.3), (-2.0, 0.02), (1.5, 2500.0)])
def test_quadrature_against_high_precision(name: str, y: float, x: float) -> None:
    def mass(w: Any) -> Any:
        return mp.exp(-w * w / 2) / mp.sqrt(2 * mp.pi)

    with mp.workdps(20):
        sd = mp.sqrt(x)
        scale = {(mp.mpf(s) * b - y) / sd for b in (0, 0.5, 2, 8, 40, 200) for s in (-1, 1)}
        cuts = sorted(c for c in {*map(mp.mpf, range(-9, 10, 3)), *scale} if abs(c) <= 9)
        mean = mp.quad(lambda w: SMOOTH[name](y + sd * w) * mass(w), cuts)
        var = mp.quad(lambda w: (SMOOTH[name](y + sd * w) - mean) ** 2 * mass(w), cuts)
    found = moments(name, y, x)
    assert found.mean == pytest.approx(float(mean), rel=1e-12)
    assert found.var == pytest.approx(float(var), rel=1e-12)
    assert 0.0 < found.error < 1e-11 * max(1.0, found.var)


def test_golden_values_of_the_paper_and_of_standardised_activations() -> None:
    """SELU's defining property, and gamma = 1/sd f, E f for z ~ N(0, 1), at 40 digits by mpmath."""
    m = moments("selu", 0.0, 1.0)
    assert m.mean == pytest.approx(0.0, abs=2e-16)
    assert m.var == pytest.approx(1.0, rel=1e-14)
    table = {
        "elu": (0.160520572, 1.270843418),
        "tanh": (0.0, 1.592537420),
        "erf": (0.0, 1.467166950),
        "sigmoid": (0.5, 4.801313372),
        "relu": (0.398942280, 1.712858550),
        "gelu": (0.282094792, 1.700926243),
        "silu": (0.206620964, 1.787187222),
    }
    for name, (mean, gamma) in table.items():
        m = moments(name, 0.0, 1.0)
        assert m.mean == pytest.approx(mean, abs=5.1e-10), name
        assert m.var**-0.5 == pytest.approx(gamma, abs=5.1e-10), name


def test_extreme_arguments_stay_finite_and_right() -> None:
    # relu of a vast variance: mean sqrt(x/2pi), var x (1/2 - 1/2pi); of a far mean: the identity.
    m = moments("selu", 0.0, 1e300)
    assert m.mean == pytest.approx(LAMBDA01 * math.sqrt(1e300 / (2 * math.pi)), rel=1e-12)
    assert m.var == pytest.approx(LAMBDA01**2 * 1e300 * (0.5 - 0.5 / math.pi), rel=1e-12)
    m = moments("selu", 1e9, 1e-9)
    assert (m.mean, m.var) == pytest.approx((LAMBDA01 * 1e9, LAMBDA01**2 * 1e-9), rel=1e-14)
    m = moments("selu", -1e9, 1e-9)
    assert m.mean == pytest.approx(-LAMBDA01 * ALPHA01, rel=1e-15)
    assert m.var == 0.0
    assert moments("relu", -50.0, 1.0).mean == pytest.approx(0.0, abs=1e-300)
    # Far below, the second moment of gelu underflows; the first, by Stein's identity with
    # E Phi(z) = Phi(y/sqrt(1+x)), is y Phi(t) + x phi(t)/sqrt(1+x) at t = y/sqrt(1+x).
    far = moments("gelu", -40.0, 0.5)
    root = mp.sqrt(1.5)
    with mp.workdps(40):
        expected = -40 * mp.ncdf(-40 / root) + mp.npdf(-40 / root) / 2 / root
    assert abs(far.mean / expected - 1) < 1e-6
    assert far.var == 0.0


def test_variance_zero_is_the_function_itself() -> None:
    m = moments("tanh", [0.3, -0.7], [0.0, 0.5])
    assert m.mean[0] == math.tanh(0.3)
    assert m.var[0] == 0.0
    assert m.error[0] == 0.0
    assert m.var[1] == moments("tanh", -0.7, 0.5).var
    assert moments("selu", 2.0, 0.0) == (2.0 * LAMBDA01, 0.0, 0.0)


def test_shapes_and_chunks() -> None:
    y = np.linspace(-3.0, 3.0, 20001)
    whole = moments("selu", y, 0.7)
    assert whole.var.shape == (20001,)
    for k in (0, 8191, 8192, 20000):
        assert whole.var[k] == moments("selu", y[k], 0.7).var
    table = moments("gelu", y[:150, None][::50], [0.1, 2.0])
    assert table.mean.shape == (3, 2)
    assert table.mean[2, 1] == pytest.approx(moments("gelu", y[100], 2.0).mean, rel=1e-14)
    assert moments("gelu", np.zeros((0, 2)), 1.0).mean.shape == (0, 2)
    assert type(moments("gelu", 0, 1).var) is float


def test_moment_map_is_the_moments_of_the_preactivation() -> None:
    found = moment_map("elu", 0.3, 1.2, weight_sum=-0.5, weight_sumsq=0.8)
    assert found == moments("elu", 0.3 * -0.5, 1.2 * 0.8)
    assert moment_map("elu", 0.3, 1.2) == moments("elu", 0.0, 1.2)


def test_a_callable_equals_the_registered_function() -> None:
    for name in activation_names():
        f = activation(name)
        plain = moments(lambda x, f=f: f(x), -0.4, 1.9)
        named = moments(f, -0.4, 1.9)
        assert plain.mean == pytest.approx(named.mean, abs=1e-13), name
        assert plain.var == pytest.approx(named.var, rel=1e-12), name


@pytest.mark.parametrize(
    # 0.25, 1, 2, 4 and 5 are ends of panels and 0.625, 1.5 middles: nodes are farthest from there.
    "place",
    [0.37, 0.2498, 1.0026, -1.0026, 1.9985, 2.0024, 0.6251, 1.4999, -3.9, 4.987],
)
def test_jumps_and_kinks_are_found_without_being_told(place: float) -> None:
    m = moments(lambda x: np.sign(x - place), 0.0, 1.0)
    tail = float(mp.ncdf(-place))
    assert m.mean == pytest.approx(2.0 * tail - 1.0, abs=1e-10)
    assert abs(m.mean - (2.0 * tail - 1.0)) <= m.error
    m = moments(lambda x: np.abs(x - place), 0.0, 1.0)
    mean = 2.0 * float(mp.npdf(place)) + place * (1.0 - 2.0 * tail)
    assert abs(m.mean - mean) <= m.error < 1e-10


def test_growth_is_followed_far_into_the_tail() -> None:
    # E e^z = e^{x/2}, Var = e^x (e^x - 1): at x = 36 the second moment sits at 12 deviations.
    m = moments(np.exp, 0.0, 36.0)
    assert m.mean == pytest.approx(math.exp(18.0), rel=1e-11)
    assert m.var == pytest.approx(math.exp(36.0) * math.expm1(36.0), rel=1e-11)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["identity", "relu", "leaky_relu", "prelu"]),
    y=st.floats(-20.0, 20.0),
    x=st.floats(1e-4, 1e4),
    c=st.floats(1e-3, 1e3),
)
def test_positive_homogeneity(name: str, y: float, x: float, c: float) -> None:
    """f(cz) = c f(z) for c > 0, hence the mean scales by c and the variance by c^2."""
    one, other = moments(name, y, x), moments(name, c * y, c * c * x)
    rms = math.hypot(one.mean, math.sqrt(one.var))
    assert other.mean == pytest.approx(c * one.mean, rel=1e-11, abs=1e-12 * c * rms)
    if one.var > 1e-200:
        assert other.var == pytest.approx(c * c * one.var, rel=1e-11)


@settings(max_examples=60, deadline=None)
@given(y=st.floats(-5.0, 5.0), x=st.floats(1e-3, 1e3), alpha=st.floats(0.1, 3.0))
def test_a_deeper_saturation_lowers_the_mean(y: float, x: float, alpha: float) -> None:
    shallow = moments(activation("elu", alpha=alpha), y, x).mean
    deep = moments(activation("elu", alpha=1.1 * alpha), y, x).mean
    assert deep <= shallow
    if y < 1.0:
        assert deep < shallow or x < 0.01


@settings(max_examples=40, deadline=None)
@given(y=st.floats(-4.0, 4.0), x=st.floats(0.01, 50.0))
def test_gelu_and_silu_split_the_identity(y: float, x: float) -> None:
    """z = f(z) - f(-z) for both, so E f(z) - E f(-z) = y."""
    for name in ("gelu", "silu"):
        assert moments(name, y, x).mean - moments(name, -y, x).mean == pytest.approx(y, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: moments("selu", 0.0, -1.0), r"var must be at least 0, however: var=-1.0"),
        (lambda: moments("selu", 0.0, [1.0, -1.0]), r"var must be at least 0"),
        (lambda: moments("selu", math.nan, 1.0), r"mean must be finite, however: mean=nan"),
        (lambda: moments("selu", 0.0, math.inf), r"var must be finite, however: var=inf"),
        (lambda: moments("selu", 1j, 1.0), r"mean must be real, however: mean=1j is complex"),
        (lambda: moments("selu", "0", 1.0), r"mean must be a real number .* however: mean='0'"),
        (lambda: moments("selu", None, 1.0), r"mean must be a real number .* however: mean=None"),
        (lambda: moments("selu", True, 1.0), r"mean must be a real number"),
        (lambda: moments("selu", [[1.0], [1.0, 2.0]], 1.0), r"mean must be a real number"),
        (
            lambda: moments("selu", [0, 1, 2], [1, 2]),
            r"mean, var must have shapes that broadcast, however: mean \(3,\), var \(2,\); give",
        ),
        (
            lambda: moment_map("selu", [0.0, 1.0, 2.0], 1.0, weight_sum=[0.1, 0.2]),
            r"must have shapes that broadcast, however: mean \(3,\), .*weight_sum \(2,\)",
        ),
        (
            lambda: moment_jacobian("selu", [0.0, 1.0, 2.0], [1.0, 2.0]),
            r"must have shapes that broadcast, however: mean \(3,\), var \(2,\)",
        ),
        (
            lambda: gradient_gain("selu", [0.0, 1.0, 2.0], [1.0, 2.0]),
            r"mean, var must have shapes that broadcast",
        ),
        (lambda: moment_map("selu", 1.0, 1.0, weight_sumsq=-0.1), r"weight_sumsq must be at least"),
        (lambda: moment_map("selu", 1.0, 1.0, weight_sum=math.nan), r"weight_sum must be finite"),
        (
            lambda: moment_map("selu", 1e200, 1.0, weight_sum=1e200),
            r"mean \* weight_sum .*overflow",
        ),
        (
            lambda: moment_map("selu", 0.0, 1e200, weight_sumsq=1e200),
            r"var \* weight_sumsq .*overf",
        ),
    ],
)
def test_refusals(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        call()


def test_an_integral_that_cannot_be_done_says_so() -> None:
    with pytest.raises(
        ConvergenceError, match=r"moments of wave at mean=0, var=1e\+14 .*oscillates"
    ):
        moments(activation(np.sin, name="wave"), 0.0, 1e14)


@pytest.mark.parametrize("name", ["gelu", "silu", "tanh", "mish", "softplus", "erf"])
def test_a_mean_next_to_the_kink_is_no_obstacle(name: str) -> None:
    """Between a subnormal mean and 0 the first panel has no width left to halve."""
    assert moments(name, 5e-324, 1.0) == moments(name, 0.0, 1.0)
