"""Gradient gain with dropout at its edges."""

from __future__ import annotations

import numpy as np

from selfnorm.constants import SATURATION01
from selfnorm.theory import gradient_gain, moments


def test_a_flat_activation_has_no_gradient_even_where_all_is_dropped() -> None:
    """Far left the slope of SELU underflows to 0; 0 times 0 must not become NaN."""
    assert gradient_gain("selu", -800.0, 0.0, dropout=1.0) == 0.0
    assert gradient_gain("selu", -800.0, 0.0, dropout=0.3) == 0.0


def test_dropping_everything_is_not_the_limit_of_dropping_nearly_everything() -> None:
    """a^2 (1-p) = v / (p (s - m)^2 + v) tends to v / ((s - m)^2 + v); at p = 1 the output is b."""
    mean, var = np.array([-0.4, 0.2]), np.array([0.5, 3.0])
    assert gradient_gain("selu", mean, var, dropout=1.0).tolist() == [0.0, 0.0]
    m, v, _ = moments("selu", mean, var)
    kept = v / (np.square(SATURATION01 - m) + v)
    expected = kept * gradient_gain("selu", mean, var)
    found = gradient_gain("selu", mean, var, dropout=1.0 - 1e-12)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
