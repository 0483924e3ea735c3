"""Bidirectional activations: published numbers, both conditions by quadrature, refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from selfnorm.errors import DomainError
from selfnorm.theory import activation, activation_names, bidirectional

# a = (E f'^2)^(-1/2) and the roots b of b^2 + 2 a b E f + a^2 E f^2 - 1 = 0; 40-digit quadrature.
GOLDEN = {
    "selu": (0.9660258, 0.2584457, -0.2584457),
    "tanh": (1.4674136, 0.3885417, -0.3885417),
    "elu": (1.2234286, 0.0742203, -0.4669913),
    "relu": (1.4142136, 0.0, -1.1283792),
    "gelu": (1.4811144, 0.0738771, -0.9095064),
}


def expect(f: Any, *, var: float = 1.0) -> float:
    sd = math.sqrt(var)

    def integrand(w: float) -> float:
        return float(f(sd * w)) * math.exp(-0.5 * w * w) / math.sqrt(2.0 * math.pi)

    kinks = [-1.0 / sd, 0.0, 1.0 / sd]
    return quad(integrand, -12.0, 12.0, points=kinks, limit=200, epsabs=1e-12, epsrel=1e-12)[0]


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str) -> None:
    scale, small, large = GOLDEN[name]
    b = bidirectional(name)
    assert b.scale == pytest.approx(scale, abs=6e-8)
    assert b.shifts == (pytest.approx(small, abs=6e-8), pytest.approx(large, abs=6e-8))
    assert (b.shift, b.branch) == (b.shifts[0], "small")
    other = bidirectional(name, branch="large")
    assert (other.shift, other.branch, other.scale) == (b.shifts[1], "large", b.scale)


@pytest.mark.parametrize("branch", ["small", "large"])
@pytest.mark.parametrize("name", sorted(set(activation_names()) - {"identity"}))
def test_both_second_moments_are_one(name: str, branch: str) -> None:
    f, b = activation(name), bidirectional(name, branch=branch)

    def g(z: float) -> float:
        return b.scale * f(z) + b.shift

    assert expect(lambda z: g(z) ** 2) == pytest.approx(1.0, abs=1e-9)
    assert expect(lambda z: (b.scale * f.derivative(z)) ** 2) == pytest.approx(1.0, abs=1e-9)
    assert expect(g) == pytest.approx(b.mean, abs=1e-9)
    h = 1e-4
    up, down = (expect(lambda z: g(z) ** 2, var=1.0 + d) for d in (h, -h))
    assert b.slope == pytest.approx((up - down) / (2.0 * h), abs=1e-6)


def test_stability_is_told() -> None:
    assert bidirectional("selu").stable
    gelu = bidirectional("gelu")
    assert not gelu.stable
    assert gelu.reason.startswith("repelling: a deviation of the second moment from 1 grows by")
    assert bidirectional("relu").reason.startswith("neutral")
    assert bidirectional("identity").shifts == (0.0, 0.0)


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(0.05, 20.0), offset=st.floats(-3.0, 3.0))
def test_an_affine_map_of_f_is_undone(factor: float, offset: float) -> None:
    f, plain = activation("softplus"), bidirectional("softplus")
    moved = activation(
        lambda x: factor * f(x) + offset, derivative=lambda x: factor * f.derivative(x)
    )
    b = bidirectional(moved)
    assert b.scale * factor == pytest.approx(plain.scale, rel=1e-9)
    shifts = sorted(shift + b.scale * offset for shift in b.shifts)
    assert shifts == pytest.approx(sorted(plain.shifts), abs=1e-7)


def test_refusals() -> None:
    with pytest.raises(DomainError, match="branch must be 'small' or 'large', however: branch='x'"):
        bidirectional("selu", branch="x")
    with pytest.raises(DomainError, match="needs an activation with a slope"):
        bidirectional(np.ones_like)
    wrong = activation(np.tanh, derivative=lambda x: 0.1 / np.cosh(x) ** 2)
    with pytest.raises(DomainError, match="which the Gaussian Poincaré inequality excludes"):
        bidirectional(wrong)
