"""Alpha dropout's affine map: published numbers, kept moments, the ends of the range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfnorm.constants import SATURATION01
from selfnorm.errors import DomainError
from selfnorm.theory import alpha_dropout_affine, solve


@pytest.mark.parametrize(
    ("p", "a", "b"),
    [
        (0.05, 0.95484447600503, 0.08393557219381),
        (0.1, 0.92128451614971, 0.16197097005757),
        (0.2, 0.87890358344353, 0.30903996214409),
        (0.5, 0.88640489466593, 0.77919393051803),
    ],
)
def test_golden_values(p: float, a: float, b: float) -> None:
    """a = sqrt(1/(q(p s^2 + 1))), b = -a p s with SELU's saturation value, 40 digits by mpmath."""
    assert alpha_dropout_affine(p) == pytest.approx((a, b), abs=5.1e-15)


@settings(max_examples=100, deadline=None)
@given(
    p=st.floats(0.001, 0.999),
    mean=st.floats(-3.0, 3.0),
    var=st.floats(1e-3, 1e3),
    saturation=st.floats(-50.0, 5.0),
)
def test_the_moments_of_the_mixture_are_restored(
    p: float, mean: float, var: float, saturation: float
) -> None:
    """Mean and variance of a(d x + (1-d) s) + b by the law of total variance."""
    a, b = alpha_dropout_affine(p, mean=mean, var=var, saturation=saturation)
    q = 1.0 - p
    between = q * p * (mean - saturation) ** 2
    size = abs(mean) + abs(a * saturation) + math.sqrt(var)
    assert a * (q * mean + p * saturation) + b == pytest.approx(mean, abs=1e-13 * size)
    assert a * a * (q * var + between) == pytest.approx(var, rel=1e-11)


def test_the_ends_of_the_range() -> None:
    assert alpha_dropout_affine(0.0, mean=0.3, var=2.0) == (1.0, 0.0)
    assert alpha_dropout_affine(1.0, mean=0.3, var=2.0) == (0.0, 0.3)
    result = alpha_dropout_affine(0, mean=0, var=1)
    assert (result.a, result.b) == (1.0, 0.0)


def test_a_small_target_variance_pays_more() -> None:
    """At variance 0.1 the saturation value lies far out: a^2 (1-p) is .57 at p = .05."""
    s = solve(0.0, 0.1)
    a, _ = alpha_dropout_affine(0.05, var=0.1, saturation=s.saturation)
    assert a * a * 0.95 == pytest.approx(0.57, abs=0.005)


def test_the_default_is_standard_selu() -> None:
    explicit = alpha_dropout_affine(0.3, mean=0.0, var=1.0, saturation=SATURATION01)
    assert alpha_dropout_affine(0.3) == explicit


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"p": -0.1}, r"p must be between 0 and 1, however: p=-0.1; give the probability of dropp"),
        ({"p": 1.5}, r"p must be between 0 and 1, however: p=1.5"),
        ({"p": math.nan}, r"p must be finite, however: p=nan"),
        ({"p": "0.5"}, r"p must be a real number"),
        ({"p": np.array([0.1, 0.2])}, r"p must be a single number"),
        ({"p": 0.1, "var": 0.0}, r"var must be greater than 0, however: var=0.0"),
        ({"p": 0.1, "mean": math.inf}, r"mean must be finite"),
        ({"p": 0.1, "saturation": -math.inf}, r"saturation must be finite"),
    ],
)
def test_refusals(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        alpha_dropout_affine(**arguments)
