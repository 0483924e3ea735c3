"""The registry of activations: values and derivatives against mpmath, refusals by message."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest

from selfnorm.constants import ALPHA01, LAMBDA01
from selfnorm.errors import DomainError
from selfnorm.theory import Activation, activation, activation_names, gradient_gain, moments


def _elu(alpha: float, rate: float = 1.0, scale: float = 1.0) -> Callable[[Any], Any]:
    return lambda x: mp.mpf(scale) * (x if x > 0 else mp.mpf(alpha) * mp.expm1(mp.mpf(rate) * x))


def _leaky(slope: float) -> Callable[[Any], Any]:
    return lambda x: x if x > 0 else mp.mpf(slope) * x


# The definitions, as the literature writes them, at 50 digits.
DEFINITIONS: dict[str, tuple[dict[str, float], Callable[[Any], Any], float | None]] = {
    "identity": ({}, lambda x: x, None),
    "relu": ({}, lambda x: max(x, mp.mpf(0)), 0.0),
    "leaky_relu": ({"negative_slope": 0.2}, _leaky(0.2), None),
    "prelu": ({"negative_slope": -0.3}, _leaky(-0.3), None),
    "elu": ({"alpha": 0.7}, _elu(0.7), -0.7),
    "celu": ({"alpha": 2.5}, _elu(2.5, 0.4), -2.5),
    "selu": ({"alpha": 1.3, "scale": 1.1}, _elu(1.3, 1.0, 1.1), -1.43),
    "serlu": (
        {"alpha": 2.5, "scale": 1.2},
        lambda x: mp.mpf(1.2) * (x if x > 0 else mp.mpf(2.5) * x * mp.exp(x)),
        0.0,
    ),
    "gelu": ({}, lambda x: x * mp.erfc(-x / mp.sqrt(2)) / 2, 0.0),
    "silu": ({}, lambda x: x / (1 + mp.exp(-x)), 0.0),
    "mish": ({}, lambda x: x * mp.tanh(mp.log1p(mp.exp(x))), 0.0),
    "tanh": ({}, mp.tanh, -1.0),
    "erf": ({}, mp.erf, -1.0),
    "softplus": ({}, lambda x: mp.log1p(mp.exp(x)), 0.0),
    "sigmoid": ({}, lambda x: 1 / (1 + mp.exp(-x)), 0.0),
    "softsign": ({}, lambda x: x / (1 + abs(x)), -1.0),
    "atan": ({}, mp.atan, -math.pi / 2),
    "asinh": ({}, mp.asinh, None),
    "sin": ({}, mp.sin, None),
    "hardtanh": ({}, lambda x: max(mp.mpf(-1), min(mp.mpf(1), x)), -1.0),
}

POINTS = [
    -600.0,
    -37.0,
    -9.5,
    -2.3,
    -1.1,
    -0.4,
    -1e-3,
    -1e-9,
    1e-9,
    1e-3,
    0.3,
    1.7,
    8.0,
    45.0,
    600.0,
]


def test_every_registered_name_has_a_definition_here() -> None:
    assert set(activation_names()) == set(DEFINITIONS)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_values(name: str) -> None:
    parameters, definition, saturation = DEFINITIONS[name]
    f = activation(name, **parameters)
    with mp.workdps(50):
        expected = [float(definition(mp.mpf(x))) for x in POINTS]
    np.testing.assert_allclose(f(np.array(POINTS)), expected, rtol=3e-15, atol=1e-250)
    assert f.name == name
    assert dict(f.parameters) == parameters
    if saturation is None:
        assert f.saturation is None
    else:
        assert f.saturation == pytest.approx(saturation, rel=1e-15)
        assert f(-1e5) == pytest.approx(saturation, abs=1e-4)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_derivatives(name: str) -> None:
    parameters, definition, _ = DEFINITIONS[name]
    f = activation(name, **parameters)
    with mp.workdps(50):
        expected = [float(mp.diff(definition, mp.mpf(x), h=mp.mpf("1e-15"))) for x in POINTS]
    # Near its minimum a derivative is the difference of numbers of order one.
    np.testing.assert_allclose(f.derivative(np.array(POINTS)), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_derivative_jumps_at_the_kinks_and_only_there(name: str) -> None:
    f = activation(name, **DEFINITIONS[name][0])
    grid = np.array([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
    jump = np.abs(f.derivative(grid + 1e-9) - f.derivative(grid - 1e-9)) > 1e-6
    assert tuple(grid[jump]) == f.kinks
    # At a kink: the limit from the left.
    np.testing.assert_allclose(f.derivative(grid), f.derivative(grid - 1e-9), atol=1e-8)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_shapes_types_and_special_values(name: str) -> None:
    f = activation(name, **DEFINITIONS[name][0])
    assert type(f(2)) is float
    assert type(f.derivative(np.float32(2.0))) is float
    assert f(np.zeros((2, 0, 3))).shape == (2, 0, 3)
    assert f([[1, -1]]).shape == (1, 2)
    assert math.isnan(f(math.nan))
    x = np.array([1.5, -1.5])
    f(x)
    assert x.tolist() == [1.5, -1.5]


def test_defaults_are_those_of_the_papers() -> None:
    assert activation("selu").parameters == {"alpha": ALPHA01, "scale": LAMBDA01}
    assert activation("leaky_relu").derivative(-1.0) == 0.01
    assert activation("prelu").derivative(-1.0) == 0.25
    assert activation("elu").saturation == -1.0
    assert activation("celu").saturation == -1.0
    # SERLU, Zhang and Li 2018 (arXiv:1807.10117): the fixed point is (0, 1).
    m = moments("serlu", 0.0, 1.0)
    assert m.mean == pytest.approx(0.0, abs=1e-15)
    assert m.var == pytest.approx(1.0, rel=1e-14)


def test_an_activation_passes_through() -> None:
    f = activation("elu", alpha=0.5)
    assert activation(f) is f
    assert isinstance(f, Activation)


def test_a_callable_with_all_it_can_be_told() -> None:
    f = activation(
        lambda x: np.where(x > 1.0, 2.0 * x - 1.0, x),
        derivative=lambda x: np.where(x > 1.0, 2, 1),
        kinks=[1.0],
        saturation=-3.0,
        name="bend",
    )
    assert (f.name, f.kinks, f.saturation) == ("bend", (1.0,), -3.0)
    assert f.derivative(2.0) == 2.0
    # E f'^2 = 1 + 3 P(z > 1), z ~ N(0.5, 4): P = Phi(-1/4).
    expected = 1.0 + 3.0 * float(mp.ncdf(-0.25))
    assert gradient_gain(f, 0.5, 4.0) == pytest.approx(expected, rel=1e-13)


def test_the_numerical_derivative_of_a_callable() -> None:
    x = np.array([-3.0, -0.2, 0.0, 1.3, 40.0])
    np.testing.assert_allclose(activation(np.tanh).derivative(x), 1 / np.cosh(x) ** 2, atol=5e-12)
    quartic = activation(lambda x: x**4)
    np.testing.assert_allclose(quartic.derivative(x), 4 * x**3, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: activation("selo"),
            r"known name, however: activation='selo'; the names are asinh",
        ),
        (lambda: activation(3.0), r"a name, a callable or an Activation, however: activation=3.0"),
        (lambda: activation("elu", beta=2.0), r"elu has no parameter 'beta'.*are: alpha\."),
        (lambda: activation("tanh", alpha=2.0), r"tanh has no parameter 'alpha'.*are: none\."),
        (lambda: activation("elu", alpha=0.0), r"alpha must be greater than 0, however: alpha=0.0"),
        (lambda: activation("selu", scale=-1.0), r"scale must be greater than 0"),
        (lambda: activation("elu", alpha=math.nan), r"alpha must be finite, however: alpha=nan"),
        (lambda: activation("elu", alpha="1"), r"alpha must be a real number .*alpha='1'"),
        (lambda: activation("elu", alpha=[1.0, 2.0]), r"alpha must be a single number"),
        (lambda: activation(activation("elu"), alpha=2.0), r"takes no further parameters"),
        (
            lambda: activation(np.tanh, alpha=2.0),
            r"takes derivative, kinks, name, saturation.*alpha",
        ),
        (lambda: activation(np.tanh, derivative=1.0), r"derivative must be a callable"),
        (lambda: activation(np.tanh, kinks=[math.inf]), r"kinks must be finite"),
        (lambda: activation(np.tanh, saturation=1j), r"saturation must be real"),
        (lambda: activation("tanh")(1j), r"x must be a real number"),
        (lambda: activation("tanh").derivative("1"), r"x must be a real number .*x='1'"),
    ],
)
def test_refusals(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        call()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x if x > 0 else 0.0, r"must take a float64 array.*raised ValueError.*vectorize"),
        (math.tanh, r"tanh must take a float64 array.*raised TypeError.*np\.vectorize"),
        (lambda x: 1.0, r"must return an array of the shape it is given.*it returned \(\)"),
        (lambda x: np.append(x, 0.0), r"must return an array of the shape"),
        (lambda x: x + 1j, r"must return real numbers, however: it returned complex128"),
        (lambda x: x.astype(str), r"must return real numbers, however: it returned <U"),
        (lambda x: np.sqrt(x), r"must be finite, however: at x=-.* it is nan"),
        (lambda x: 1.0 / np.maximum(x, 0.0), r"must be finite, however: at x=-.* it is inf"),
    ],
)
def test_callables_that_break_their_promise(function: Any, message: str) -> None:
    with pytest.raises(DomainError, match=message):
        moments(function, 0.3, 1.7)


def test_np_vectorize_is_the_remedy_it_is_said_to_be() -> None:
    scalar = np.vectorize(lambda x: x if x > 0 else 0.0, otypes=[float])
    assert moments(scalar, 0.3, 1.7).mean == pytest.approx(
        moments("relu", 0.3, 1.7).mean, rel=1e-13
    )
