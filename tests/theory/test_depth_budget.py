"""Depth matching at the small end of the budget."""

from __future__ import annotations

import pytest

from selfnorm.theory import match_depth, solve


@pytest.mark.parametrize("budget", [1.005, 1.00001])
def test_a_budget_barely_above_one_is_used_up(budget: float) -> None:
    match = match_depth(10, budget=budget)
    assert solve(0.0, match.var).chi ** 10 == pytest.approx(budget, rel=1e-9)
    assert 0.0 < match.var < 0.01
