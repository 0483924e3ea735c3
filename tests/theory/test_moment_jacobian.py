"""The Jacobian of the moment map against high-precision derivatives and published numbers."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfnorm.errors import DomainError
from selfnorm.theory import activation, activation_names, moment_jacobian, moment_map


def exponential_moments(right: Any, amplitude: Any, rate: Any, y: Any, x: Any) -> tuple[Any, Any]:
    """Mean and variance by the textbook form, at the working precision."""
    sd = mp.sqrt(x)
    phi = sd * mp.npdf(y / sd)
    up, down = mp.ncdf(y / sd), mp.ncdf(-y / sd)
    a = mp.exp(rate * y + rate**2 * x / 2) * mp.ncdf(-(y + rate * x) / sd)
    b = mp.exp(2 * rate * y + 2 * rate**2 * x) * mp.ncdf(-(y + 2 * rate * x) / sd)
    mean = right * (y * up + phi) + amplitude * (a - down)
    second = right**2 * ((y * y + x) * up + y * phi) + amplitude**2 * (b - 2 * a + down)
    return mean, second - mean**2


@pytest.mark.parametrize(
    ("name", "parameters", "form"),
    [
        ("selu", {"alpha": 1.3, "scale": 1.1}, (1.1, 1.43, 1.0)),
        ("celu", {"alpha": 0.5}, (1.0, 0.5, 2.0)),
        ("elu", {"alpha": 0.4}, (1.0, 0.4, 1.0)),
    ],
)
@pytest.mark.parametrize("y", [-6.0, -0.8, -0.01, 0.0, 0.05, 1.7, 9.0])
@pytest.mark.parametrize("x", [1e-4, 0.03, 0.9, 40.0])
def test_closed_forms(
    name: str, parameters: dict[str, float], form: Any, y: float, x: float
) -> None:
    found = moment_jacobian(activation(name, **parameters), y, x, weight_sum=1.0)
    with mp.workdps(60):
        form = [mp.mpf(1.1) * mp.mpf(1.3) if v == 1.43 else mp.mpf(v) for v in form]
        step = mp.mpf(10) ** -20

        def derivative(k: int, order: tuple[int, int]) -> float:
            return float(
                mp.diff(lambda *p: exponential_moments(*form, *p)[k], (y, x), order, h=step)
            )

        expected = [[derivative(k, order) for order in ((1, 0), (0, 1))] for k in (0, 1)]
    # Each derivative against its natural size: E f'^2 <= the larger slope squared.
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", activation_names())
@pytest.mark.parametrize(("mean", "var"), [(0.6, 1.4), (-1.9, 0.3)])
def test_every_activation_against_differences(name: str, mean: float, var: float) -> None:
    """The five-point rule; moments are accurate to 1e-13, so that h = 0.01 leaves 1e-9."""
    weights = {"weight_sum": 0.7, "weight_sumsq": 1.3}
    h = 0.01

    def at(d_mean: float, d_var: float) -> Any:
        m = moment_map(name, mean + d_mean, var + d_var, **weights)
        return np.array([m.mean, m.var])

    columns = [
        (8 * (at(*d) - at(*(-d))) - (at(*(2 * d)) - at(*(-2 * d)))) / (12 * h)
        for d in (np.array([h, 0.0]), np.array([0.0, h]))
    ]
    found = moment_jacobian(name, mean, var, **weights)
    np.testing.assert_allclose(found, np.stack(columns, axis=1), atol=2e-7)


def test_golden_values_at_the_fixed_point_of_the_paper() -> None:
    """H at mean 0, var 1 and the largest singular value on Theorem 1's box, at 40 digits."""
    h = moment_jacobian("selu", 0.0, 1.0)
    expected = [[0.0, 0.088834755106890123], [0.0, 0.782647883196812847]]
    np.testing.assert_allclose(h, expected, rtol=1e-14, atol=1e-15)
    assert np.linalg.norm(h, 2) == pytest.approx(0.787673360465715602, rel=1e-14)
    corner = moment_jacobian("selu", -0.1, 0.8, weight_sum=-0.1, weight_sumsq=1.1)
    assert np.linalg.norm(corner, 2) == pytest.approx(0.8976083584089180, rel=1e-13)


def test_the_image_of_the_box_of_theorem_1() -> None:
    """Extremes of the map on the box; new mean and variance are monotone, the corners suffice."""
    mean, omega = np.array([-0.1, 0.1]), np.array([-0.1, 0.1])
    var, tau = np.array([0.8, 1.5]), np.array([0.95, 1.1])
    grid = np.meshgrid(mean, omega, var, tau)
    out = moment_map("selu", grid[0], grid[2], weight_sum=grid[1], weight_sumsq=grid[3])
    assert out.mean.min() == pytest.approx(-0.0310605017922177, rel=1e-12)
    assert out.mean.max() == pytest.approx(0.0677251016898786, rel=1e-12)
    assert out.var.min() == pytest.approx(0.8037117576791128, rel=1e-12)
    assert out.var.max() == pytest.approx(1.4815749582711647, rel=1e-12)


def test_theorems_2_and_3_at_their_tightest_points() -> None:
    """Largest growth and least growth of the variance on the boxes, at 40 digits."""
    shrink = moment_map("selu", 1.0, 3.0, weight_sum=0.1, weight_sumsq=1.25).var - 3.0
    assert shrink == pytest.approx(-0.119744289956, abs=1e-12)
    grow = moment_map("selu", 0.1, 0.02, weight_sum=0.1, weight_sumsq=0.8).var - 0.02
    assert grow == pytest.approx(0.00773608321059, abs=1e-14)
    grow = moment_map("selu", -0.1, 0.02, weight_sum=-0.1, weight_sumsq=0.9).var - 0.02
    assert grow == pytest.approx(0.0110292742044, abs=1e-13)


@settings(max_examples=30, deadline=None)
@given(x=st.floats(0.01, 100.0), y=st.floats(-5.0, 5.0))
def test_identity_and_relu_obey_euler(x: float, y: float) -> None:
    """Homogeneity of degrees 1 and 2 in (y, sqrt x): y m_y + 2x m_x = m, y v_y + 2x v_x = 2v."""
    for name in ("relu", "prelu", "identity"):
        m = moment_map(name, y, x, weight_sum=1.0)
        j = moment_jacobian(name, y, x, weight_sum=1.0)
        assert y * j[0, 0] + 2 * x * j[0, 1] == pytest.approx(m.mean, rel=1e-10, abs=1e-13)
        assert y * j[1, 0] + 2 * x * j[1, 1] == pytest.approx(2 * m.var, rel=1e-10, abs=1e-13)


def test_where_the_function_is_flat_to_rounding() -> None:
    """The derivative of tanh is 1e-26 at 30: nothing to integrate, and no reason to refuse."""
    np.testing.assert_allclose(moment_jacobian("tanh", 30.0, 0.5, weight_sum=1.0), 0.0, atol=1e-20)
    slope = 1.0 / np.hypot(1.0, 1e3)
    found = moment_jacobian("asinh", 1e3, 1e-12, weight_sum=1.0)
    assert found[0, 0] == pytest.approx(slope, rel=1e-6)
    assert found[1, 1] == pytest.approx(slope**2, rel=1e-4)


def test_shapes() -> None:
    j = moment_jacobian("tanh", np.zeros((3, 1)), [0.5, 2.0], weight_sum=0.3)
    assert j.shape == (3, 2, 2, 2)
    np.testing.assert_allclose(j[1, 1], moment_jacobian("tanh", 0.0, 2.0, weight_sum=0.3))
    assert moment_jacobian("selu", 0.0, 1.0, weight_sumsq=[0.5, 1.0, 2.0]).shape == (3, 2, 2)


@pytest.mark.parametrize("arguments", [{"var": 0.0}, {"var": 1.0, "weight_sumsq": 0.0}])
def test_a_constant_has_no_jacobian(arguments: dict[str, float]) -> None:
    with pytest.raises(DomainError, match=r"var \* weight_sumsq must be greater than 0, however"):
        moment_jacobian("selu", 0.1, **arguments)
