"""SELU's constants for any fixed point: published numbers, round trips, refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from selfnorm.constants import ALPHA01, LAMBDA01, SATURATION01
from selfnorm.errors import DomainError
from selfnorm.theory import (
    activation,
    fixed_point,
    gradient_gain,
    moment_jacobian,
    moment_map,
    solve,
)


def test_the_constants_of_the_paper() -> None:
    """Klambauer et al. 2017, eq. 14."""
    s = solve()
    assert s.alpha == pytest.approx(ALPHA01, rel=2e-15)
    assert s.scale == pytest.approx(LAMBDA01, rel=2e-15)
    assert s.saturation == pytest.approx(SATURATION01, rel=2e-15)
    assert (s.mean, s.var, s.weight_sum, s.weight_sumsq) == (0.0, 1.0, 0.0, 1.0)
    assert s.stable is True
    assert s.spectral_norm == pytest.approx(0.787673360465715602, rel=1e-14)
    assert s.spectral_radius == pytest.approx(0.782647883196812847, rel=1e-14)
    assert s.chi == pytest.approx(1.0715749924557993, rel=1e-14)


@pytest.mark.parametrize(
    ("var", "alpha", "scale", "h12", "h22", "chi"),
    [
        (0.1, 1.20365116302, 1.0224242514, 0.111827, 0.899175, 1.01018),
        (0.5, 1.4680598705305, 1.0409573375386, 0.097777, 0.821428, 1.04108),
        (2.0, 1.9712557503463, 1.0607090761030, 0.078202, 0.744443, 1.12084),
        (4.0, 2.4040053382165, 1.0702322744471, 0.066386, 0.709850, 1.19765),
    ],
)
def test_other_variances(
    var: float, alpha: float, scale: float, h12: float, h22: float, chi: float
) -> None:
    """alpha = sqrt(x/2pi)/(1/2 - E1), scale = sqrt(x/(x/2 + alpha^2 (E2 - 2 E1 + 1/2))), 40 digits.

    E1 = e^(x/2) erfc(sqrt(x/2))/2 and E2 = e^(2x) erfc(sqrt(2x))/2 with x = var.
    """
    s = solve(var=var)
    assert s.alpha == pytest.approx(alpha, rel=6e-12)
    assert s.scale == pytest.approx(scale, rel=6e-11)
    np.testing.assert_allclose(s.jacobian, [[0.0, h12], [0.0, h22]], atol=6e-7)
    assert s.chi == pytest.approx(chi, abs=6e-6)


def test_a_target_mean_depends_on_the_weight_sum() -> None:
    """The authors' notebook solves (-0.1, 2) at weight_sum 1; at 0 the answer is another."""
    s = solve(-0.1, 2.0, weight_sum=1.0)
    assert (s.alpha, s.scale) == pytest.approx((1.9769021954242, 1.0738512396160), rel=3e-13)
    s = solve(-0.1, 2.0)
    assert (s.alpha, s.scale) == pytest.approx((2.32699077881934, 0.982180433795927), rel=3e-14)
    assert s.spectral_norm == pytest.approx(0.71432, abs=6e-6)


@pytest.mark.parametrize("x", [1e-6, 1e-3, 0.00999, 0.01001, 0.3, 17.0, 1e3, 1e6])
def test_accuracy_over_the_promised_range(x: float) -> None:
    with mp.workdps(60):
        v = mp.mpf(x)
        e1 = mp.exp(v / 2) * mp.erfc(mp.sqrt(v / 2)) / 2
        e2 = mp.exp(2 * v) * mp.erfc(mp.sqrt(2 * v)) / 2
        alpha = mp.sqrt(v / (2 * mp.pi)) / (mp.mpf(1) / 2 - e1)
        scale = mp.sqrt(v / (v / 2 + alpha**2 * (e2 - 2 * e1 + mp.mpf(1) / 2)))
    s = solve(0.0, x)
    assert s.alpha == pytest.approx(float(alpha), rel=1e-12)
    assert s.scale == pytest.approx(float(scale), rel=1e-12)


def test_weight_sumsq_enters_through_the_preactivation() -> None:
    s = solve(0.0, 1.0, weight_sumsq=0.5)
    x = solve(0.0, 0.5)
    # Same pre-activation variance, hence the same alpha; the output variance doubles.
    assert s.alpha == pytest.approx(x.alpha, rel=1e-14)
    assert s.scale == pytest.approx(math.sqrt(2.0) * x.scale, rel=1e-14)


@settings(max_examples=100, deadline=None)
@given(
    share=st.floats(0.02, 0.98),
    var=st.floats(1e-3, 1e3),
    omega=st.floats(-1.0, 1.0),
    tau=st.floats(0.2, 3.0),
)
def test_the_target_is_a_fixed_point(share: float, var: float, omega: float, tau: float) -> None:
    """Any reachable target, on both sides of mean 0: one application of the map changes nothing."""
    mean = (1.5 * share - 0.9) * math.sqrt(var)
    try:
        s = solve(mean, var, weight_sum=omega, weight_sumsq=tau)
    except DomainError:
        # Far below 0 the exponential branch cannot follow a large variance.
        assume(False)
    f = activation("selu", alpha=s.alpha, scale=s.scale)
    out = moment_map(f, mean, var, weight_sum=omega, weight_sumsq=tau)
    assert out.mean == pytest.approx(mean, abs=1e-10 * math.sqrt(var + mean * mean))
    assert out.var == pytest.approx(var, rel=1e-9)
    h = moment_jacobian(f, mean, var, weight_sum=omega, weight_sumsq=tau)
    np.testing.assert_allclose(s.jacobian, h, rtol=1e-9, atol=1e-12)
    assert s.spectral_norm == pytest.approx(np.linalg.norm(h, 2), rel=1e-9)
    assert s.spectral_radius == pytest.approx(np.abs(np.linalg.eigvals(h)).max(), rel=1e-6)
    assert s.stable == (s.spectral_radius < 1.0)
    assert s.chi == pytest.approx(tau * gradient_gain(f, mean * omega, var * tau), rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(var=st.floats(0.02, 50.0), tau=st.floats(0.6, 1.6))
def test_fixed_point_finds_what_solve_made(var: float, tau: float) -> None:
    s = solve(0.0, var, weight_sumsq=tau)
    f = activation("selu", alpha=s.alpha, scale=s.scale)
    point = fixed_point(f, weight_sumsq=tau)
    assert point.mean == pytest.approx(0.0, abs=1e-9 * math.sqrt(var))
    assert point.var == pytest.approx(var, rel=1e-9)
    assert point.stable == s.stable
    assert point.chi == pytest.approx(s.chi, rel=1e-8)


def test_a_repelling_target_is_solved_and_said_to_repel() -> None:
    s = solve(0.0, 1.0, weight_sum=-1.2)
    assert s.spectral_radius > 1.0
    assert s.stable is False
    assert s.reason.startswith("repelling: spectral radius ")
    assert s.reason.endswith(" is above 1, deviations grow")
    s = solve(-0.1, 2.0, weight_sum=1.0)
    assert (
        s.reason
        == f"repelling: spectral radius {s.spectral_radius:.6g} is above 1, deviations grow"
    )
    f = activation("selu", alpha=s.alpha, scale=s.scale)
    assert not s.stable
    h = moment_jacobian(f, -0.1, 2.0, weight_sum=1.0)
    assert np.abs(np.linalg.eigvals(h)).max() > 1.0
    assert solve().reason == fixed_point("selu").reason == "attracting: spectral radius 0.782648"


def test_the_edge_of_the_reachable_means() -> None:
    """For N(0, 1): mean/rms from 1/sqrt(pi) (alpha = 0, ReLU) down to M_-/sqrt(S_-)."""
    e1, e2 = (
        0.5 * math.sqrt(math.e) * math.erfc(math.sqrt(0.5)),
        0.5 * math.e**2 * math.erfc(2**0.5),
    )
    for ratio, sign in (
        (1 / math.sqrt(math.pi), 1.0),
        ((e1 - 0.5) / (e2 - 2 * e1 + 0.5) ** 0.5, -1),
    ):
        edge = ratio / math.sqrt(1.0 - ratio * ratio)
        inside = solve(edge - sign * 1e-6, 1.0)
        assert inside.alpha < 1e-4 if sign > 0 else inside.alpha > 1e4
        with pytest.raises(DomainError, match=f"{abs(edge):.6g}"):
            solve(edge + sign * 1e-6, 1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: solve(0.0, 0.0), r"var must be greater than 0, however: var=0.0"),
        (lambda: solve(0.0, -1.0), r"var must be greater than 0, however: var=-1.0"),
        (lambda: solve(math.nan), r"mean must be finite, however: mean=nan"),
        (lambda: solve(0.0, [1.0, 2.0]), r"var must be a single number.*call .* once for each"),
        (lambda: solve(0.0, 1.0, weight_sum=1j), r"weight_sum must be real"),
        (lambda: solve(0.0, 1.0, weight_sumsq=0.0), r"weight_sumsq must be greater than 0"),
        (lambda: solve(0.0, 1e301), r"var \* weight_sumsq must be between 1e-300 and 1e300"),
        (lambda: solve(1e200, 1.0, weight_sum=1e200), r"mean \* weight_sum finite"),
        (lambda: solve(2.0, 1.0), r"has mean=2 at var=1.*between -0\.\d+ and 0\.683\d*; choose"),
        (lambda: solve(-40.0, 1.0, weight_sum=1.0), r"must visit both branches.*smaller mean"),
        (lambda: solve(40.0, 1.0, weight_sum=1.0), r"must visit both branches"),
    ],
)
def test_refusals(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        call()
