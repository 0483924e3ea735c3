"""Standardised activations: published table, Stein's identities by mpmath, invariance, refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfnorm.errors import DomainError
from selfnorm.theory import activation, activation_names, gradient_gain, moments, standardize

# E f, gamma = 1/sd f, d var/d var, chi for z ~ N(0, 1); mpmath quadrature at 40 digits, rounded.
TABLE = {
    "elu": (0.160520572, 1.270843418, 0.860232, 1.079013),
    "tanh": (0.0, 1.592537420, 0.461071, 1.177807),
    "erf": (0.0, 1.467166950, 0.408567, 1.225700),
    "sigmoid": (0.5, 4.801313372, 0.719201, 1.033592),
    "relu": (0.398942280, 1.712858550, 1.000000, 1.466942),
    "gelu": (0.282094792, 1.700926243, 1.062116, 1.318845),
    "silu": (0.206620964, 1.787187222, 1.100947, 1.212081),
}

MP: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "tanh": (mp.tanh, lambda z: mp.sech(z) ** 2),
    "gelu": (lambda z: z * mp.ncdf(z), lambda z: mp.ncdf(z) + z * mp.npdf(z)),
    "silu": (
        lambda z: z / (1 + mp.exp(-z)),
        lambda z: (1 + z * mp.exp(-z) / (1 + mp.exp(-z))) / (1 + mp.exp(-z)),
    ),
    "softplus": (lambda z: mp.log1p(mp.exp(z)), lambda z: 1 / (1 + mp.exp(-z))),
    "mish": (
        lambda z: z * mp.tanh(mp.log1p(mp.exp(z))),
        lambda z: mp.diff(lambda t: t * mp.tanh(mp.log1p(mp.exp(t))), z),
    ),
}


def expect(f: Callable[[Any], Any]) -> Any:
    """E f(z) for a standard normal z."""
    return mp.quad(lambda z: f(z) * mp.npdf(z), [-13, -6, -3, 0, 3, 6, 13])


@pytest.mark.parametrize("name", TABLE)
def test_table(name: str) -> None:
    mean, gain, slope, chi = TABLE[name]
    s = standardize(name)
    assert s.mean == pytest.approx(mean, abs=6e-10)
    assert s.gain == pytest.approx(gain, abs=6e-10)
    assert s.shift == pytest.approx(-gain * mean, abs=2e-9)
    assert s.jacobian[1, 1] == pytest.approx(slope, abs=6e-7)
    assert s.chi == pytest.approx(chi, abs=6e-7)
    assert s.jacobian[:, 0].tolist() == [0.0, 0.0]
    assert s.spectral_radius == pytest.approx(abs(slope), abs=6e-7)
    assert s.spectral_norm == pytest.approx(math.hypot(s.jacobian[0, 1], s.jacobian[1, 1]))


@pytest.mark.parametrize("name", MP)
def test_stein_identities_at_high_precision(name: str) -> None:
    f, slope = MP[name]
    with mp.workdps(20):
        mean = expect(f)
        gain = 1 / mp.sqrt(expect(lambda z: (f(z) - mean) ** 2))

        def g(z: Any) -> Any:
            return gain * (f(z) - mean)

        expected = {
            "gain": gain,
            "mean_by_var": expect(lambda z: g(z) * (z * z - 1)) / 2,
            "var_by_var": expect(lambda z: g(z) ** 2 * (z * z - 1)) / 2,
            "chi": expect(lambda z: (gain * slope(z)) ** 2),
        }
    s = standardize(name)
    assert s.gain == pytest.approx(float(expected["gain"]), rel=1e-11)
    assert s.jacobian[0, 1] == pytest.approx(float(expected["mean_by_var"]), abs=1e-11)
    assert s.jacobian[1, 1] == pytest.approx(float(expected["var_by_var"]), rel=1e-11)
    assert s.chi == pytest.approx(float(expected["chi"]), rel=1e-9)


def test_what_attracts_and_what_does_not() -> None:
    verdict = {name: standardize(name) for name in activation_names()}
    repelling = {n for n, s in verdict.items() if s.reason.startswith("repelling")}
    neutral = {n for n, s in verdict.items() if s.reason.startswith("neutral")}
    assert repelling == {"gelu", "silu", "mish", "softplus"}
    assert neutral == {"identity", "relu", "leaky_relu", "prelu"}
    assert {n for n, s in verdict.items() if s.stable} == set(verdict) - repelling - neutral
    assert verdict["gelu"].reason == (
        "repelling: a deviation of the variance from 1 grows by the factor 1.06212 per layer"
    )
    assert standardize("selu", mean=0.2, weight_sum=0.3).reason.startswith(
        "attracting: a deviation of the moments shrinks by the factor 0."
    )


@pytest.mark.parametrize("name", ["selu", "gelu", "hardtanh"])
def test_any_target_and_its_jacobian_by_differences(name: str) -> None:
    mean, var, omega, tau = 0.3, 2.1, 0.4, 0.9
    s = standardize(name, mean=mean, var=var, weight_sum=omega, weight_sumsq=tau)
    assert (s.target_mean, s.target_var, s.weight_sum, s.weight_sumsq) == (mean, var, omega, tau)

    def step(m: float, v: float) -> np.ndarray:
        out = moments(name, m * omega, v * tau)
        return np.array([s.gain * out.mean + s.shift, s.gain**2 * out.var])

    np.testing.assert_allclose(step(mean, var), [mean, var], rtol=1e-13)
    h = 1e-5
    by_mean = (step(mean + h, var) - step(mean - h, var)) / (2 * h)
    by_var = (step(mean, var + h) - step(mean, var - h)) / (2 * h)
    np.testing.assert_allclose(s.jacobian, np.stack([by_mean, by_var], axis=1), atol=2e-9)
    expected = tau * s.gain**2 * gradient_gain(name, mean * omega, var * tau)
    assert s.chi == pytest.approx(expected, rel=1e-12)
    eigenvalues = np.abs(np.linalg.eigvals(s.jacobian))
    assert s.spectral_radius == pytest.approx(eigenvalues.max(), rel=1e-12)


@settings(max_examples=15, deadline=None)
@given(
    factor=st.floats(0.05, 20.0),
    sign=st.sampled_from([-1.0, 1.0]),
    offset=st.floats(-3.0, 3.0),
    name=st.sampled_from(["tanh", "softplus", "silu"]),
)
def test_an_affine_map_of_f_changes_nothing_but_the_sign(
    factor: float, sign: float, offset: float, name: str
) -> None:
    f, plain = activation(name), standardize(name)
    a = sign * factor
    moved = activation(lambda x: a * f(x) + offset, derivative=lambda x: a * f.derivative(x))
    s = standardize(moved)
    assert s.gain * factor == pytest.approx(plain.gain, rel=1e-9)
    x = np.linspace(-3.0, 3.0, 7)
    np.testing.assert_allclose(
        sign * (s.gain * moved(x) + s.shift), plain.gain * f(x) + plain.shift, atol=1e-8
    )
    assert s.jacobian[1, 1] == pytest.approx(plain.jacobian[1, 1], abs=1e-8)
    assert s.jacobian[0, 1] == pytest.approx(sign * plain.jacobian[0, 1], abs=1e-8)
    assert s.chi == pytest.approx(plain.chi, rel=1e-8)


def test_selu_is_standardised_already() -> None:
    s = standardize("selu")
    assert (s.gain, s.shift) == (pytest.approx(1.0, abs=1e-14), pytest.approx(0.0, abs=1e-14))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"act": lambda x: np.full_like(x, 3.0)}, "standardize needs an activation that varies"),
        ({"act": "tanh", "var": 0.0}, "var must be greater than 0, however: var=0.0"),
        ({"act": "tanh", "weight_sumsq": -1.0}, "weight_sumsq must be greater than 0"),
        ({"act": "tanh", "mean": 1e200, "weight_sum": 1e200}, "mean \\* weight_sum finite"),
        ({"act": "tanh", "mean": math.nan}, "mean must be finite"),
        ({"act": "nonsense"}, "activation must be a known name"),
    ],
)
def test_refusals(arguments: dict[str, Any], message: str) -> None:
    act = arguments.pop("act")
    with pytest.raises(DomainError, match=message):
        standardize(act, **arguments)
