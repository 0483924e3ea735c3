"""Constants with alpha dropout between the layers: derivation, differences, simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from selfnorm.errors import DomainError
from selfnorm.theory import (
    activation,
    alpha_dropout_affine,
    gradient_gain,
    gradient_neutral_dropout,
    moments,
    solve,
)

TARGETS = [(0.0, 1.0, 0.0, 1.0), (0.2, 1.7, 0.3, 0.9), (-0.1, 2.0, 1.0, 1.0)]


def layer(mean: float, var: float, target: tuple[float, ...], p: float) -> np.ndarray:
    """Moments after SELU and alpha dropout, by the mixture that dropping makes."""
    constants = solve(*target[:2], weight_sum=target[2], weight_sumsq=target[3])
    f = activation("selu", alpha=constants.alpha, scale=constants.scale)
    m, v, _ = moments(f, mean * target[2], var * target[3])
    s = constants.saturation
    a, b = alpha_dropout_affine(p, mean=target[0], var=target[1], saturation=s)
    mixed = (1.0 - p) * m + p * s
    second = (1.0 - p) * (v + m * m) + p * s * s
    return np.array([a * mixed + b, a * a * (second - mixed**2)])


@pytest.mark.parametrize("p", [0.05, 0.4])
@pytest.mark.parametrize("target", TARGETS)
def test_fixed_point_and_jacobian(target: tuple[float, ...], p: float) -> None:
    mean, var, omega, tau = target
    plain = solve(mean, var, weight_sum=omega, weight_sumsq=tau)
    s = solve(mean, var, weight_sum=omega, weight_sumsq=tau, dropout=p)
    assert (s.alpha, s.scale, s.saturation) == (plain.alpha, plain.scale, plain.saturation)
    assert (s.dropout, plain.dropout) == (p, 0.0)
    np.testing.assert_allclose(layer(mean, var, target, p), [mean, var], atol=1e-13)
    h = 1e-5
    by_mean = (layer(mean + h, var, target, p) - layer(mean - h, var, target, p)) / (2 * h)
    by_var = (layer(mean, var + h, target, p) - layer(mean, var - h, target, p)) / (2 * h)
    np.testing.assert_allclose(s.jacobian, np.stack([by_mean, by_var], axis=1), atol=1e-9)
    norm = np.linalg.svd(s.jacobian, compute_uv=False)[0]
    radius = np.abs(np.linalg.eigvals(s.jacobian)).max()
    assert (s.spectral_norm, s.spectral_radius) == (pytest.approx(norm), pytest.approx(radius))


def test_gradient_growth() -> None:
    """chi a^2 (1-p): .928 at p = .05, .819 at .1, and 1 at the neutral rate."""
    assert solve(dropout=0.05).chi == pytest.approx(0.928, abs=6e-4)
    assert solve(dropout=0.1).chi == pytest.approx(0.819, abs=6e-4)
    assert solve(dropout=gradient_neutral_dropout()).chi == pytest.approx(1.0, rel=1e-13)
    mean, var, omega, tau = TARGETS[1]
    s = solve(mean, var, weight_sum=omega, weight_sumsq=tau, dropout=0.3)
    f = activation("selu", alpha=s.alpha, scale=s.scale)
    expected = tau * gradient_gain(f, mean * omega, var * tau, dropout=0.3)
    assert s.chi == pytest.approx(expected, rel=1e-12)


def test_simulated_gradients() -> None:
    """E (a d f'(z))^2 over 400,000 draws, two-sided z-test at 6e-7 (5 sigma)."""
    rng = np.random.default_rng(3)
    s = solve(0.0, 0.5, dropout=0.2)
    a, _ = alpha_dropout_affine(0.2, var=0.5, saturation=s.saturation)
    f = activation("selu", alpha=s.alpha, scale=s.scale)
    z = rng.standard_normal(400_000) * math.sqrt(0.5)
    squares = np.where(rng.random(z.size) < 0.2, 0.0, (a * f.derivative(z)) ** 2)
    assert abs(squares.mean() - s.chi) < 5.0 * squares.std() / math.sqrt(z.size)


def test_the_ends_of_the_rate() -> None:
    all_dropped = solve(dropout=1.0)
    assert (all_dropped.chi, all_dropped.spectral_norm) == (0.0, 0.0)
    assert all_dropped.alpha == solve().alpha
    with pytest.raises(
        DomainError, match=r"dropout must be between 0 and 1, however: dropout=1\.5"
    ):
        solve(dropout=1.5)
