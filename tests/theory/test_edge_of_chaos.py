"""The edge of chaos: golden values, both conditions by mpmath, refusals."""

from __future__ import annotations

import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest

from selfnorm.errors import DomainError
from selfnorm.theory import depth_scale, edge_of_chaos, standardize


def test_golden_selu() -> None:
    """weight_var = 1/chi, bias_var = 1 - 1/chi with chi = 1.0715749924557993 (E f^2 = 1)."""
    edge = edge_of_chaos("selu")
    assert edge == (edge.weight_var, edge.bias_var)
    assert edge.weight_var == pytest.approx(1.0 / 1.0715749924557993, rel=1e-13)
    assert edge.weight_var == pytest.approx(0.9332058018, abs=6e-11)
    assert edge.bias_var == pytest.approx(0.06679419822, abs=6e-12)


def test_he_initialisation_is_the_edge_of_relu() -> None:
    for second_moment in (0.3, 4.0):
        assert edge_of_chaos("relu", second_moment) == (pytest.approx(2.0), pytest.approx(0.0))


@pytest.mark.parametrize("second_moment", [0.4, 2.5])
def test_both_conditions(second_moment: float) -> None:
    def expect(f: Any) -> Any:
        sd = mp.sqrt(second_moment)
        return mp.quad(lambda w: f(sd * w) * mp.npdf(w), [-12, -4, 0, 4, 12])

    weight_var, bias_var = edge_of_chaos("tanh", second_moment)
    assert weight_var * float(expect(lambda z: mp.sech(z) ** 4)) == pytest.approx(1.0, rel=1e-11)
    total = weight_var * float(expect(lambda z: mp.tanh(z) ** 2)) + bias_var
    assert total == pytest.approx(second_moment, rel=1e-11)


def test_the_edge_keeps_gradients_and_the_variance() -> None:
    weight_var, bias_var = edge_of_chaos("elu", 0.7)
    scale = depth_scale("elu", weight_sumsq=weight_var, bias_var=bias_var)
    assert scale.var == pytest.approx(0.7, rel=1e-9)
    assert scale.slope_at_one == pytest.approx(1.0, abs=1e-9)


def test_refusals() -> None:
    with pytest.raises(DomainError, match="second_moment must be greater than 0"):
        edge_of_chaos("selu", 0.0)
    with pytest.raises(DomainError, match="needs an activation with a slope"):
        edge_of_chaos(np.ones_like)
    with pytest.raises(DomainError, match="sigmoid has no edge of chaos at second_moment=1: the"):
        edge_of_chaos("sigmoid")
    s, sigmoid = standardize("sigmoid"), lambda x: 1.0 / (1.0 + np.exp(-x))
    remedy = edge_of_chaos(lambda x: s.gain * sigmoid(x) + s.shift)
    assert remedy.bias_var > 0.0
    assert math.isclose(remedy.weight_var, 1.0 / s.chi, rel_tol=1e-9)
