"""What deep networks are given that the user has not set."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from selfnorm import theory, train
from selfnorm.tabular import SNNClassifier
from selfnorm.tabular._plan import Plan, plan_for


def plan(depth: int, **parameters: Any) -> Plan:
    model = SNNClassifier((7,) * depth, **parameters)
    return plan_for(model, 150, 5, 3, train.Softmax())[0]


def gradient_growth(plan: Plan) -> float:
    """Return the growth of squared gradients through one layer of SELU and alpha dropout."""
    point = plan.architecture.fixed_point
    assert not isinstance(point, str)
    mean, var = point
    selu = theory.solve(mean, var)
    step = 24.0 * math.sqrt(var) / 40_000
    z = step * (np.arange(40_000) - 19_999.5)  # the kink between two of them
    density = np.exp(-(z**2) / (2.0 * var)) / math.sqrt(2.0 * math.pi * var)
    slope = selu.scale * np.where(z > 0.0, 1.0, selu.alpha * np.exp(np.minimum(z, 0.0)))
    chi = step * float(np.sum(slope**2 * density)) * var / (var + mean**2)
    q = 1.0 - plan.dropout
    factor, _ = theory.alpha_dropout_affine(
        plan.dropout, mean=mean, var=var, saturation=selu.saturation
    )
    return chi * factor**2 * q


@pytest.mark.parametrize("depth", [16, 33])
def test_many_layers_are_matched_to_their_depth_and_drop_at_the_neutral_rate(depth: int) -> None:
    deep = plan(depth)
    assert deep.architecture.fixed_point == pytest.approx((0.0, theory.match_depth(depth).var))
    assert 0.0 < deep.dropout < 0.02
    assert gradient_growth(deep) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("point", [(0.0, 0.2), (0.15, 0.4)])
def test_a_small_variance_drops_at_the_neutral_rate_at_any_depth(point: Any) -> None:
    small = plan(3, fixed_point=point)
    assert small.architecture.fixed_point == point
    assert 0.0 < small.dropout < 0.02
    assert gradient_growth(small) == pytest.approx(1.0, abs=1e-6)


def test_more_layers_than_four_take_smaller_steps_and_more() -> None:
    four, deep = plan(4), plan(36)
    assert plan(2).epochs == four.epochs
    assert plan(2).learning_rate == four.learning_rate == 3e-3
    assert deep.learning_rate == pytest.approx(3e-3 / 9.0)
    assert deep.epochs == 3 * four.epochs
    given = plan(36, max_iter=7, learning_rate_init=0.01)
    assert (given.epochs, given.learning_rate) == (7, 0.01)


def test_few_layers_and_given_values_stay() -> None:
    assert plan(15).architecture.fixed_point == (0.0, 1.0)
    assert plan(15).dropout == 0.05
    assert plan(32, fixed_point=(0.0, 1.0)).architecture.fixed_point == (0.0, 1.0)
    assert plan(32, dropout=0.07).dropout == 0.07
    assert plan(32, activation="elu").architecture.fixed_point == (0.0, 1.0)
    assert plan(32, activation="elu").dropout == 0.05
