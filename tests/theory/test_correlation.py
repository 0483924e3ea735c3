"""Correlation maps: known kernels, double quadrature, finite differences, simulation, refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfnorm.constants import ALPHA01, LAMBDA01
from selfnorm.errors import DomainError
from selfnorm.theory import activation, correlation_map, depth_scale, gradient_gain

C = np.array([-1.0, -0.97, -0.4, -0.01, 0.0, 0.2, 0.8, 0.999, 1.0 - 1e-7, 1.0])


def test_arc_cosine_kernel() -> None:
    """ReLU: (sqrt(1-c^2) + c (pi - arccos c))/pi (Cho and Saul 2009), for every variance."""
    expected = (np.sqrt(1.0 - C * C) + C * (np.pi - np.arccos(C))) / np.pi
    np.testing.assert_allclose(correlation_map("relu", C, var=3.7), expected, atol=1e-14)


def test_arc_sine_kernel() -> None:
    """erf: E f f = (2/pi) arcsin(2 c x/(1 + 2 x)) (Williams 1997)."""
    x, tau, bias = 0.6, 1.3, 0.2
    product = 2.0 / np.pi * np.arcsin(2.0 * C * x / (1.0 + 2.0 * x))
    expected = (tau * product + bias) / (tau * product[-1] + bias)
    found = correlation_map("erf", C, var=x, weight_sumsq=tau, bias_var=bias)
    np.testing.assert_allclose(found, expected, atol=1e-13)


def test_sine_kernel() -> None:
    """sin, with mean y: E f f = e^{-x} (e^{cx} - e^{-cx} cos 2y)/2."""
    x, y = 0.7, 0.4
    product = 0.5 * np.exp(-x) * (np.exp(C * x) - np.exp(-C * x) * math.cos(2.0 * y))
    found = correlation_map("sin", C, mean=y, var=x)
    np.testing.assert_allclose(found, product / product[-1], atol=1e-13)


@pytest.mark.parametrize("c", [-0.6, 0.35])
@pytest.mark.parametrize("name", ["selu", "gelu", "hardtanh"])
def test_double_quadrature(name: str, c: float) -> None:
    """E f(u) f(v) over a plane, u and v written by two independent normals."""
    f, y, x = activation(name), 0.3, 1.7
    w = np.linspace(-9.0, 9.0, 2001)
    p = 0.009 * np.exp(-0.5 * w * w) / math.sqrt(2.0 * math.pi)
    u = y + math.sqrt(x) * w[:, None]
    v = y + math.sqrt(x) * (c * w[:, None] + math.sqrt(1.0 - c * c) * w[None, :])
    product = float(p @ (f(u) * f(v)) @ p)
    second = float(p @ f(u[:, 0]) ** 2)
    found = correlation_map(name, c, mean=y, var=x)
    # Equal steps h are exact to rounding for smooth f; a kink costs h^2.
    assert found == pytest.approx(product / second, abs=1e-12 if name == "gelu" else 3e-5)


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(["selu", "elu", "relu", "sin"]),
    c=st.floats(-1.0, 1.0),
    var=st.floats(0.05, 20.0),
    bias=st.floats(0.0, 2.0),
)
def test_bounds_and_convexity(name: str, c: float, var: float, bias: float) -> None:
    """C(1) = 1, abs C <= 1; on [0, 1] C rises and is convex (a power series, terms >= 0)."""

    def at(values: Any) -> Any:
        return correlation_map(name, values, var=var, weight_sumsq=0.7, bias_var=bias)

    assert -1.0 - 1e-12 <= at(c) <= 1.0 + 1e-12
    low, middle, high, top = at([0.0, abs(c) / 2.0, abs(c), 1.0])
    assert top == 1.0
    assert low - 1e-12 <= middle <= high + 1e-12
    assert middle <= 0.5 * (low + high) + 1e-12


@pytest.mark.parametrize("name", ["selu", "tanh", "hardtanh", "serlu"])
def test_slopes_by_differences(name: str) -> None:
    x, tau, bias = 1.4, 1.2, 0.02
    scale = depth_scale(name, weight_sumsq=tau, bias_var=bias, var=x)

    def at(c: float) -> float:
        return float(correlation_map(name, c, var=x, weight_sumsq=tau, bias_var=bias))

    h = 1e-4
    assert scale.slope_at_zero == pytest.approx((at(h) - at(-h)) / (2 * h), rel=1e-6)
    c = scale.correlation
    assert 0.0 < c < 1.0
    assert at(c) == pytest.approx(c, abs=1e-11)
    assert scale.slope == pytest.approx((at(c + h) - at(c - h)) / (2 * h), rel=1e-5)
    assert scale.forward == pytest.approx(-1.0 / math.log(scale.slope), rel=1e-12)
    second = tau * at_second(name, x) + bias
    assert scale.slope_at_one == pytest.approx(
        tau * x * gradient_gain(name, 0.0, x) / second, rel=1e-9
    )


def at_second(name: str, x: float) -> float:
    """E f^2 from the correlation map at c = 0 and 1: C(0) = (E f)^2/E f^2, by a unit bias."""
    plain = float(correlation_map(name, 0.0, var=x))
    mixed = float(correlation_map(name, 0.0, var=x, bias_var=1.0))
    # mixed = (plain s + 1)/(s + 1) for s = E f^2.
    return (1.0 - mixed) / (mixed - plain)


def test_golden_depth_scales() -> None:
    """SELU: (E f')^2 = .9706803523 with -1/ln = 33.60; chi = 1.07157499 with 1/ln = 14.4656."""
    s = depth_scale("selu")
    assert s.var == pytest.approx(1.0, rel=1e-12)
    assert s.slope_at_zero == pytest.approx(0.9706803523, abs=6e-11)
    assert s.slope_at_one == pytest.approx(1.0715749924557993, rel=1e-12)
    assert (s.correlation, s.slope) == (0.0, s.slope_at_zero)
    assert s.forward == pytest.approx(33.60, abs=6e-3)
    assert s.backward == pytest.approx(14.4656, abs=6e-5)


def test_phases_of_tanh() -> None:
    """Below the edge of chaos inputs merge, above it they are drawn to a correlation below 1."""
    ordered = depth_scale("tanh", weight_sumsq=1.2, bias_var=0.1)
    assert ordered.correlation == 1.0
    assert ordered.slope == ordered.slope_at_one < 1.0
    assert ordered.forward == ordered.backward
    chaotic = depth_scale("tanh", weight_sumsq=3.0, bias_var=0.1)
    assert 0.0 < chaotic.correlation < 1.0
    assert chaotic.slope < 1.0 < chaotic.slope_at_one
    critical = depth_scale("relu", weight_sumsq=2.0)
    assert critical.var == 1.0  # every variance is kept
    assert (critical.forward, critical.backward) == (math.inf, math.inf)


def test_just_above_the_edge_of_chaos() -> None:
    """A slope of 1 + 1e-8 at 1 puts the attracting correlation closer to 1 than is resolved."""
    weight_var = (1.0 + 1e-8) / gradient_gain("selu", 0.0, 1.0)
    s = depth_scale("selu", weight_sumsq=weight_var, bias_var=1.0 - weight_var, var=1.0)
    assert s.slope_at_one > 1.0
    assert 1.0 - 2e-6 < s.correlation <= 1.0


def test_simulation_of_a_deep_network() -> None:
    """Correlation of two inputs through 12 SELU layers of width 400, over 40 networks.

    One-sample t-tests at three depths at 3e-5 each (39 degrees of freedom, |t| < 4.7), plus the
    bias 2/width. One layer too many or a missing square would move the mean by 0.01 to 0.02,
    against a standard error of 0.006 and less.
    """
    rng = np.random.default_rng(7)
    n, depth, f = 400, 12, activation("selu")
    found = np.empty((40, depth))
    for net in range(40):
        a, b = rng.standard_normal((2, n))
        h = np.stack([a, 0.9 * a + math.sqrt(1.0 - 0.81) * b])
        h /= np.sqrt(np.mean(h * h, axis=1, keepdims=True))
        start = float(h[0] @ h[1]) / n
        for layer in range(depth):
            h = f(h @ rng.standard_normal((n, n)) / math.sqrt(n))
            found[net, layer] = float(h[0] @ h[1]) / math.sqrt(float(h[0] @ h[0] * (h[1] @ h[1])))
        expected = start
        for layer in range(depth):
            expected = float(correlation_map("selu", expected))
            found[net, layer] -= expected
    for layer in (0, 4, 11):
        error = found[:, layer]
        assert abs(error.mean()) < 4.7 * error.std(ddof=1) / math.sqrt(40) + 2.0 / n


@pytest.mark.parametrize("c", [9e-10, 1e-12, -1e-17, 1e-17, 5e-324])
def test_faint_correlations_have_the_first_coefficient_of_the_series(c: float) -> None:
    # C'(0) is (E f')^2 for E f^2 = 1, with E f' = scale (1/2 + alpha sqrt(e) Phi(-1)); of z^2 - 1
    # it is 0, with C = c^2.
    phi = 0.5 * math.erfc(math.sqrt(0.5))
    slope = (LAMBDA01 * (0.5 + ALPHA01 * math.sqrt(math.e) * phi)) ** 2
    assert correlation_map("selu", c) == pytest.approx(slope * c, rel=1e-7, abs=1e-30)
    assert abs(correlation_map(lambda z: z * z - 1.0, c)) < 1e-16


def test_refusals() -> None:
    with pytest.raises(DomainError, match=r"c must be between -1 and 1, however: c=1\.5"):
        correlation_map("selu", 1.5)
    with pytest.raises(DomainError, match="var must be greater than 0"):
        correlation_map("selu", 0.5, var=0.0)
    with pytest.raises(DomainError, match="weight_sumsq must be greater than 0"):
        correlation_map("selu", 0.5, weight_sumsq=0.0)
    with pytest.raises(DomainError, match="bias_var must be at least 0"):
        depth_scale("selu", bias_var=-0.1)
    with pytest.raises(DomainError, match="bias_var must be a single number"):
        depth_scale("selu", bias_var=[0.1, 0.2])
    with pytest.raises(DomainError, match="the next layer needs a signal, however: zeros_like"):
        correlation_map(np.zeros_like, 0.5)
    with pytest.raises(DomainError, match="gelu restores no variance at weight_sumsq=1, bias"):
        depth_scale("gelu")
    with pytest.raises(DomainError, match="var must be greater than 0"):
        depth_scale("gelu", var=-1.0)
