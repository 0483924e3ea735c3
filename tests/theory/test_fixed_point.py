"""Fixed points: found wherever they lie, and told for what they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from selfnorm.errors import ConvergenceError, DomainError
from selfnorm.theory import activation, fixed_point, moment_jacobian, moment_map, moments


@pytest.mark.parametrize(
    ("tau", "var"),
    [
        (0.5625, None),
        (0.6, 0.06125),
        (0.8, 0.41071),
        (0.9, 0.67425),
        (1.1, 1.39931),
        (1.25, 2.17886),
        (2.0, 18.4599),
    ],
)
def test_variance_of_selu_by_weight_sumsq(tau: float, var: float | None) -> None:
    """Zeros of v(0, tau var) - var, at 40 digits."""
    point = fixed_point("selu", weight_sumsq=tau)
    if var is not None:
        assert point.var == pytest.approx(var, rel=1.2e-4 if var < 0.1 else 1e-5)
    assert point.stable
    assert point.reason.startswith("attracting: spectral radius 0.")
    assert point.others == ()
    assert point.residual < 1e-12


def test_the_range_of_weights_that_hold_selu() -> None:
    """A unique attracting fixed point exists iff 0.495589300656 < tau < 2.65757004052."""
    low, high = 0.495589300656, 2.65757004052
    assert fixed_point("selu", weight_sumsq=low * 1.0003).stable
    assert fixed_point("selu", weight_sumsq=high * 0.999).stable
    with pytest.raises(ConvergenceError, match=r"no fixed point.*shrinks.*larger weight_sumsq"):
        fixed_point("selu", weight_sumsq=low * 0.9997)
    with pytest.raises(ConvergenceError, match=r"no fixed point.*grows.*smaller weight_sumsq"):
        fixed_point("selu", weight_sumsq=high * 1.001)


@pytest.mark.parametrize(
    ("name", "tau", "omega"),
    [
        ("selu", 1.1, 0.1),
        ("selu", 0.9, -0.6),
        ("selu", 1.3, 0.5),
        ("elu", 1.9, 0.2),
        ("tanh", 2.5, 0.4),
        ("serlu", 1.2, -0.3),
        ("sin", 2.0, 0.3),
        ("hardtanh", 3.0, 0.5),
        ("sigmoid", 40.0, -2.0),
    ],
)
def test_iteration_ends_at_the_attracting_point(name: str, tau: float, omega: float) -> None:
    """The map itself, iterated from three places, is the independent witness."""
    point = fixed_point(name, weight_sum=omega, weight_sumsq=tau)
    assert point.stable, point.reason
    f = activation(name)
    mean, var = np.array([0.0, -0.5, 1.0]), np.array([1.0, 0.05, 5.0])
    for _ in range(400):
        mean, var, _ = moment_map(f, mean, var, weight_sum=omega, weight_sumsq=tau)
    np.testing.assert_allclose(mean, point.mean, atol=1e-8)
    np.testing.assert_allclose(var, point.var, rtol=1e-7)
    h = moment_jacobian(f, point.mean, point.var, weight_sum=omega, weight_sumsq=tau)
    np.testing.assert_allclose(point.jacobian, h, atol=1e-10)
    assert point.spectral_norm == pytest.approx(np.linalg.norm(h, 2), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "h22", "chi"),
    [
        ("elu", 0.860232, 1.079013),
        ("tanh", 0.461071, 1.177807),
        ("erf", 0.408567, 1.225700),
        ("sigmoid", 0.719201, 1.033592),
        ("gelu", 1.062116, 1.318845),
        ("silu", 1.100947, 1.212081),
    ],
)
def test_standardised_activations(name: str, h22: float, chi: float) -> None:
    """f^ = (f - E f)/sd f has the fixed point (0, 1), H22 = E[f^2 (z^2 - 1)]/2, chi = E f^'^2."""
    f = activation(name)
    m = moments(f, 0.0, 1.0)
    sd = math.sqrt(m.var)
    hat = activation(
        lambda x: (f(x) - m.mean) / sd, derivative=lambda x: f.derivative(x) / sd, name="hat"
    )
    point = fixed_point(hat)
    everything = {(point.mean, point.var), *point.others}
    nearest = min(everything, key=lambda p: abs(p[1] - 1.0))
    assert nearest == pytest.approx((0.0, 1.0), abs=1e-9)
    if h22 < 1.0:
        assert point.stable
        assert point.jacobian[1, 1] == pytest.approx(h22, abs=6e-7)
        assert point.chi == pytest.approx(chi, abs=6e-7)
    else:
        h = moment_jacobian(hat, 0.0, 1.0)
        assert h[1, 1] == pytest.approx(h22, abs=6e-7)


def test_a_repelling_point_is_found_and_said_to_repel() -> None:
    point = fixed_point("gelu", weight_sumsq=3.0)
    assert point.stable is False
    assert point.spectral_radius > 1.0
    assert point.reason.startswith("repelling: spectral radius 1.09")
    assert point.residual < 1e-12
    below, above = (
        moment_map("gelu", point.mean, point.var * c, weight_sumsq=3.0).var for c in (0.99, 1.01)
    )
    assert below < 0.99 * point.var
    assert above > 1.01 * point.var


def staircase(x: np.ndarray) -> np.ndarray:
    """Steep at 0, flat from 1 to 4, steep to 200, flat beyond: the variance is held twice."""
    return np.tanh(1.5 * x) + 1.2 * np.sign(x) * np.clip(np.abs(x) - 4.0, 0.0, 200.0)


def test_several_points_are_all_listed() -> None:
    f = activation(staircase, kinks=[-204.0, -4.0, 4.0, 204.0])
    point = fixed_point(f)
    grid = np.geomspace(1e-6, 1e6, 4000)
    change = np.sign(moments(f, 0.0, grid).var - grid)
    crossings = np.flatnonzero(change[1:] != change[:-1])
    variances = sorted([point.var, *(var for _, var in point.others)])
    assert len(variances) == len(crossings) == 3
    for var, k in zip(variances, crossings, strict=True):
        assert grid[k] <= var <= grid[k + 1]
    # The lowest and the highest attract; the lowest is the one nearest to (0, 1).
    assert point.stable
    assert point.var == variances[0]
    assert "not unique: others attract as well" in point.reason
    repelling = moment_jacobian(f, 0.0, variances[1])[1, 1]
    assert repelling > 1.0


def test_a_repelling_point_beside_an_attracting_one() -> None:
    f = activation(lambda x: np.where(np.abs(x) < 200.0, staircase(x), 1.2 * x - 3.8 * np.sign(x)))
    point = fixed_point(f)
    assert point.stable
    assert len(point.others) == 1
    assert point.reason.endswith("; others repel")


def test_homogeneous_activations_have_no_isolated_point() -> None:
    with pytest.raises(ConvergenceError, match=r"homogeneous.*by 0\.681690113816;.*=2\.93388441"):
        fixed_point("relu", weight_sumsq=2.0)
    with pytest.raises(ConvergenceError, match=r"weight_sumsq=2\.93388441: .*by 0\.99999999868\d;"):
        fixed_point("relu", weight_sumsq=2.93388441)
    # 1/(1/2 - 1/2pi): every variance is kept and none restored.
    point = fixed_point("relu", weight_sumsq=1.0 / (0.5 - 0.5 / math.pi))
    assert point.stable is False
    assert point.reason.startswith("neutral: spectral radius 1")
    assert "continuum" in point.reason
    assert point.mean == pytest.approx(math.sqrt(2.93388441384852 / (2 * math.pi)), rel=1e-12)
    both = fixed_point("identity", weight_sum=1.0)
    assert both.stable is False
    assert "continuum" in both.reason
    assert both.others == ()


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("tanh", {}, r"tanh has no fixed point .*weight_sum=0, weight_sumsq=1: .*shrinks"),
        ("tanh", {"weight_sum": 0.5, "weight_sumsq": 0.9}, r"shrinks"),
        ("tanh", {"weight_sum": 1.0}, r"shrinks .* wherever the mean is held; from other means"),
        (
            "elu",
            {"weight_sum": 2.0},
            r"wherever the mean is held; .*the mean moves and may run away",
        ),
        ("mish", {"weight_sumsq": 3.0}, r"grows from layer to layer"),
        ("relu", {"weight_sum": 0.7, "weight_sumsq": 4.0}, r"grows .* wherever the mean is held"),
        ("identity", {"weight_sumsq": 3.0}, r"multiplies every variance by 3;"),
        (np.exp, {"weight_sumsq": 1.0}, r"exp has no fixed point with positive variance"),
    ],
)
def test_where_there_is_none(name: Any, weights: dict[str, float], message: str) -> None:
    with pytest.raises(ConvergenceError, match=message):
        fixed_point(name, **weights)


@pytest.mark.parametrize("name", ["elu", "relu", "leaky_relu", "celu", "softplus"])
def test_moments_kept_only_to_rounding_are_no_fixed_point(name: str) -> None:
    """f(z) - z falls below rounding far above 0, but f(z) >= z, so that E f(z) > E z."""
    with pytest.raises(ConvergenceError, match=r"identity to rounding.*weight_sum nearer to 0"):
        fixed_point(name, weight_sum=1.0)


def test_an_isolated_point_is_found_beside_those_of_rounding() -> None:
    """f(z) = z + s h(z), h = 0 above 0: E h = 0 and E (z + s h)^2 = E z^2 at N(0.3, 1)."""

    def below(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.minimum(z, 0.0), np.expm1(np.minimum(z, 0.0))

    z = np.linspace(-12.0, 0.0, 200_001)
    weight = np.exp(-0.5 * (z - 0.3) ** 2) / math.sqrt(2.0 * math.pi) * (z[1] - z[0])
    weight[[0, -1]] *= 0.5
    first, second = (float(part @ weight) for part in below(z))
    h = below(z)[0] / first - below(z)[1] / second
    s = -2.0 * float((z * h) @ weight) / float((h * h) @ weight)
    f = activation(
        lambda z: z + s * (below(z)[0] / first - below(z)[1] / second), kinks=[0.0], name="bent"
    )
    point = fixed_point(f, weight_sum=1.0)
    assert (point.mean, point.var) == pytest.approx((0.3, 1.0), rel=1e-7)
    assert "continuum" not in point.reason


def test_a_callable_whose_moments_end_somewhere() -> None:
    """A plain sine cannot be integrated at vast variances; its fixed point lies before them."""
    point = fixed_point(activation(np.sin, derivative=np.cos), weight_sumsq=3.0)
    assert point.var == pytest.approx(fixed_point("sin", weight_sumsq=3.0).var, rel=1e-11)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight_sumsq": 0.0}, r"weight_sumsq must be greater than 0, however: weight_sumsq=0.0"),
        ({"weight_sumsq": math.nan}, r"weight_sumsq must be finite"),
        ({"weight_sum": "1"}, r"weight_sum must be a real number"),
        ({"weight_sum": [0.0, 1.0]}, r"weight_sum must be a single number"),
    ],
)
def test_refusals(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        fixed_point("selu", **arguments)
    with pytest.raises(DomainError, match="must return real numbers"):
        fixed_point(lambda x: 1j * x)
