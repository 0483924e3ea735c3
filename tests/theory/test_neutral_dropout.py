"""The rate at which alpha dropout and SELU leave gradients their size."""

from __future__ import annotations

import pytest

from selfnorm.theory import (
    alpha_dropout_affine,
    gradient_gain,
    gradient_neutral_dropout,
    solve,
)


def test_the_neutral_rate() -> None:
    """chi a^2 (1-p) = 1 at p* = 0.0231566 (root at 40 digits by mpmath)."""
    p = gradient_neutral_dropout()
    assert p == pytest.approx(0.0231566, abs=5e-8)
    assert gradient_gain("selu", dropout=p) == pytest.approx(1.0, rel=1e-13)
    a, _ = alpha_dropout_affine(p)
    assert 1.0715749924557993 * a * a * (1.0 - p) == pytest.approx(1.0, rel=1e-13)


@pytest.mark.parametrize(("mean", "var"), [(0.0, 0.05), (0.0, 4.0), (0.3, 1.0), (-0.2, 0.5)])
def test_the_neutral_rate_of_any_fixed_point(mean: float, var: float) -> None:
    """The product of both factors is 1, each as its own function states it."""
    p, selu = gradient_neutral_dropout(mean, var), solve(mean, var)
    a, _ = alpha_dropout_affine(p, mean=mean, var=var, saturation=selu.saturation)
    gain = var / (var + mean**2)
    assert selu.chi * gain * a * a * (1.0 - p) == pytest.approx(1.0, rel=1e-12)
    assert (p < 0.05) == (var < 2.0)
