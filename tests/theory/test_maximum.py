"""Moments of the largest of several activations: closed forms, sampling, refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from selfnorm import theory
from selfnorm.errors import DomainError

# Means of the largest of k standard normals in closed form (David & Nagaraja, section 3.2), and
# its variance for k = 2: 1 - 1/pi.
NORMAL = {
    2: 1 / math.sqrt(math.pi),
    3: 1.5 / math.sqrt(math.pi),
    4: 3 / math.sqrt(math.pi) * (0.5 + math.asin(1 / 3) / math.pi),
    5: 5 / (2 * math.sqrt(math.pi)) * (0.5 + 3 * math.asin(1 / 3) / math.pi),
}


@pytest.mark.parametrize("count", NORMAL)
def test_largest_normal(count: int) -> None:
    found = theory.maximum_moments("identity", count, 0.3, 2.5)
    assert found.mean == pytest.approx(0.3 + math.sqrt(2.5) * NORMAL[count], abs=1e-11)
    assert found.error < 1e-6
    if count == 2:
        assert found.var == pytest.approx(2.5 * (1 - 1 / math.pi), abs=1e-11)


def test_equally_correlated_normals() -> None:
    # The shared part adds c to the variance, the rest is scaled by 1 - c.
    alone = theory.maximum_moments("identity", 6, 0.0, 1.0)
    found = theory.maximum_moments("identity", 6, -0.4, 1.7, correlation=0.35)
    assert found.mean == pytest.approx(-0.4 + math.sqrt(1.7 * 0.65) * alone.mean, abs=1e-11)
    assert found.var == pytest.approx(1.7 * (0.35 + 0.65 * alone.var), abs=1e-11)


def test_relu_of_the_largest_of_two_in_closed_form() -> None:
    # The integral of 2 t phi(t) Phi(t) over t > 0, by parts.
    want = (1 + 1 / math.sqrt(2)) / math.sqrt(2 * math.pi)
    assert theory.maximum_moments("relu", 2).mean == pytest.approx(want, abs=1e-11)


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_selu_against_sampling(correlation: float) -> None:
    # 400,000 windows: standard errors about 0.0016 and 0.003; bounds of six.
    rng = np.random.default_rng(1)
    z = math.sqrt(correlation) * rng.normal(size=(400_000, 1))
    z = z + math.sqrt(1 - correlation) * rng.normal(size=(400_000, 6))
    sample = theory.activation("selu")(0.2 + math.sqrt(0.8) * z).max(axis=1)
    found = theory.maximum_moments("selu", 6, 0.2, 0.8, correlation=correlation)
    assert found.mean == pytest.approx(sample.mean(), abs=0.01)
    assert found.var == pytest.approx(sample.var(), abs=0.018)


def test_limits_are_the_moments_of_one() -> None:
    want = theory.moments("selu", 0.2, 0.8)
    for found in (
        theory.maximum_moments("selu", 1, 0.2, 0.8),
        theory.maximum_moments("selu", 5, 0.2, 0.8, correlation=1.0),
    ):
        assert (found.mean, found.var) == (want.mean, want.var)
    near = theory.maximum_moments("selu", 5, 0.2, 0.8, correlation=1 - 1e-9)
    assert near.mean == pytest.approx(float(want.mean), abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"act": "gelu"}, "must not decrease.*act='gelu'"),
        ({"count": 0}, "count must be an integer, 1 or more, however: count=0"),
        ({"count": 2.0}, "count must be an integer"),
        ({"var": 0.0}, "var"),
        ({"correlation": -0.1}, "correlation must be from 0 to 1"),
        ({"correlation": 1.1}, "correlation must be from 0 to 1"),
    ],
)
def test_refusals(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        theory.maximum_moments(**{"act": "selu", "count": 4} | arguments)
