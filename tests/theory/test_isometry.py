"""Spread of the input-output Jacobian: golden values, closed forms, simulation, refusals."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest

from selfnorm.constants import ALPHA01, LAMBDA01
from selfnorm.errors import DomainError
from selfnorm.theory import activation, gradient_gain, jacobian_spread


def test_golden_selu() -> None:
    """E f'^4 = scale^4 (1/2 + alpha^4 t), t = E[e^{4z} 1_{z<0}] = e^8 erfc(4/sqrt 2)/2."""
    with mp.workdps(30):
        tail = mp.exp(8) * mp.erfc(4 / mp.sqrt(2)) / 2
        fourth = float(mp.mpf(LAMBDA01) ** 4 * (mp.mpf(1) / 2 + mp.mpf(ALPHA01) ** 4 * tail))
    assert fourth == pytest.approx(1.51135290239, abs=6e-12)
    chi = 1.0715749924557993
    orthogonal = jacobian_spread("selu", 1, weights="orthogonal")
    assert orthogonal.per_layer == pytest.approx(fourth / chi**2 - 1.0, rel=1e-11)
    assert orthogonal.per_layer == pytest.approx(0.31620, abs=6e-6)
    assert jacobian_spread("selu", 1).per_layer == pytest.approx(1.31620, abs=6e-6)


def test_depth_adds_up() -> None:
    tau, x = 0.8, 1.7
    deep = jacobian_spread("elu", 12, mean=0.3, var=x, weight_sumsq=tau)
    assert deep.chi == pytest.approx(tau * gradient_gain("elu", 0.3, x), rel=1e-13)
    assert deep.mean == pytest.approx(deep.chi**12, rel=1e-12)
    assert deep.relative_var == pytest.approx(12 * deep.per_layer, rel=1e-14)
    assert deep.var == pytest.approx(deep.mean**2 * deep.relative_var, rel=1e-12)


def test_linear_networks() -> None:
    """A product of L Gaussian matrices has the Fuss-Catalan law: m2/m1^2 = L + 1."""
    assert jacobian_spread("identity", 7).relative_var == pytest.approx(7.0, rel=1e-12)
    isometry = jacobian_spread("identity", 7, weights="orthogonal")
    assert (isometry.mean, isometry.var, isometry.relative_var) == (1.0, 0.0, 0.0)
    # ReLU keeps half of the slopes: E f'^4/(E f'^2)^2 = 2.
    relu = jacobian_spread("relu", 3, weights="orthogonal", weight_sumsq=2.0)
    assert (relu.mean, relu.relative_var) == (pytest.approx(1.0), pytest.approx(3.0))


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_simulation_of_wide_networks(weights: str) -> None:
    """Twelve nets of width 250 and depth 4.

    Two-sided t-test with 11 degrees of freedom at 4e-5 (|t| < 6.5), plus 1.5 % for the bias of
    order depth/width: a missing or doubled weight term would be 40 to 75 % of the spread.
    """
    rng = np.random.default_rng(20)
    n, depth, f = 250, 4, activation("selu")
    means, spreads = [], []
    for _ in range(12):
        h = rng.standard_normal(n)
        jacobian = np.eye(n)
        for _ in range(depth):
            w = rng.standard_normal((n, n)) / math.sqrt(n)
            if weights == "orthogonal":
                w, r = np.linalg.qr(w)
                w = w * np.sign(np.diag(r))
            z = w @ h
            h = f(z)
            jacobian = f.derivative(z)[:, None] * (w @ jacobian)
        squares = np.linalg.svd(jacobian, compute_uv=False) ** 2
        means.append(squares.mean())
        spreads.append(squares.var() / squares.mean() ** 2)
    expected = jacobian_spread("selu", depth, weights=weights)
    for sample, value in ((means, expected.mean), (spreads, expected.relative_var)):
        error = abs(np.mean(sample) - value)
        assert error < 6.5 * np.std(sample, ddof=1) / math.sqrt(12) + 0.015 * value


def test_out_of_range_is_inf() -> None:
    deep = jacobian_spread("selu", 100_000)
    assert (deep.mean, deep.var) == (math.inf, math.inf)
    assert math.isfinite(deep.relative_var)


def test_refusals() -> None:
    with pytest.raises(DomainError, match="depth must be a whole number of at least 1"):
        jacobian_spread("selu", 0)
    with pytest.raises(DomainError, match="weights must be 'gaussian' or 'orthogonal', however"):
        jacobian_spread("selu", 3, weights="uniform")
    with pytest.raises(DomainError, match="var must be greater than 0"):
        jacobian_spread("selu", 3, var=0.0)
    with pytest.raises(DomainError, match="weight_sumsq must be greater than 0"):
        jacobian_spread("selu", 3, weight_sumsq=0.0)
    with pytest.raises(DomainError, match=r"E f'\(z\)\^2 must be greater than 0"):
        jacobian_spread(np.ones_like, 3)
