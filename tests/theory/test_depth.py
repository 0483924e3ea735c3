"""Depth-matched SELU: within budget, at its edge, never beyond."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from selfnorm.constants import ALPHA01, LAMBDA01
from selfnorm.errors import DomainError
from selfnorm.theory import activation, gradient_gain, match_depth, solve


@pytest.mark.parametrize(("depth", "budget"), [(20, 2.0), (50, math.e), (100, math.e), (1000, 1.5)])
def test_the_budget_is_used_up_and_not_exceeded(depth: int, budget: float) -> None:
    match = match_depth(depth, budget=budget)
    s = solve(0.0, match.var)
    assert (match.alpha, match.scale) == pytest.approx((s.alpha, s.scale), rel=1e-14)
    assert match.saturation == -match.scale * match.alpha
    assert s.chi**depth == pytest.approx(budget, rel=1e-9)
    assert match.growth == pytest.approx(budget, rel=1e-12)
    assert match.growth <= budget * (1.0 + 1e-14)
    assert match.chi == pytest.approx(s.chi, rel=1e-14)
    assert solve(0.0, match.var * 1.001).chi ** depth > budget
    assert (match.depth, match.budget, match.mean) == (depth, budget, 0.0)


def test_golden_values() -> None:
    """chi(0.1) = 1.01018, chi(2) = 1.12084, 40 digits: the budget chi^L gives the variance back."""
    assert match_depth(100, budget=1.01018**100).var == pytest.approx(0.1, rel=1e-3)
    assert match_depth(7, budget=1.12084**7, max_var=10.0).var == pytest.approx(2.0, rel=1e-3)
    # A hundred layers with the standard SELU grow the squared gradient 1005-fold.
    s = match_depth(100, budget=1e4)
    assert s.growth == pytest.approx(1005, rel=1e-3)


def test_shallow_networks_get_the_standard_selu() -> None:
    match = match_depth(8)
    assert match.var == 1.0
    assert (match.alpha, match.scale) == pytest.approx((ALPHA01, LAMBDA01), rel=1e-14)
    assert match.growth < math.e
    assert match_depth(8, max_var=0.3).var == 0.3


def test_the_variance_falls_with_depth() -> None:
    variances = [match_depth(depth).var for depth in (10, 30, 100, 1000, 10**6, 10**9)]
    assert all(b < a for a, b in itertools.pairwise(variances))
    # chi = 1 + c var as var -> 0, so that var * depth tends to a constant.
    assert variances[-1] * 10**9 == pytest.approx(variances[-2] * 10**6, rel=1e-2)


def test_the_result_is_a_selu_with_that_gain() -> None:
    match = match_depth(np.int64(60))
    f = activation("selu", alpha=match.alpha, scale=match.scale)
    assert gradient_gain(f, 0.0, match.var) ** 60 == pytest.approx(math.e, rel=1e-10)
    assert type(match.depth) is int


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 0}, r"depth must be a whole number of at least 1, however: depth=0"),
        ({"depth": -3}, r"depth must be a whole number of at least 1"),
        ({"depth": 2.5}, r"depth must be a whole number of at least 1, however: depth=2.5"),
        ({"depth": True}, r"depth must be a whole number of at least 1, however: depth=True; cou"),
        ({"depth": "9"}, r"depth must be a whole number"),
        ({"depth": 10, "budget": 1.0}, r"budget must be greater than 1, however: budget=1.0"),
        ({"depth": 10, "budget": -1.0}, r"budget must be greater than 0"),
        ({"depth": 10, "budget": math.nan}, r"budget must be finite"),
        ({"depth": 10, "max_var": 0.0}, r"max_var must be greater than 0"),
        (
            {"depth": 10**15},
            r"depth=1000000000000000 .*needs a variance below 1e-12; choose a smal",
        ),
        ({"depth": 10**14, "max_var": 1e-12}, r"needs a variance below 1e-12"),
    ],
)
def test_refusals(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        match_depth(**arguments)
