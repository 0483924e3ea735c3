"""What a time limit is spent on: plans from given rates, checked against sums made here."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from selfnorm.errors import DomainError
from selfnorm.tabular import SNNClassifier, SNNRegressor
from selfnorm.tabular._defaults import defaults_for
from selfnorm.tabular._importance import permutation_importance, predictions_per_row
from selfnorm.tabular._table_target import Target
from selfnorm.tabular._table_training import MOST_HELD_OUT, _hold_out
from selfnorm.tabular._time_limit import Budget, Rates, measurable, rates_of, within

RATES = Rates(fixed=0.3, a_row=2e-5, a_step=0.02, a_prediction=5e-5)


class Left(Budget):
    """A budget of which so much is left, whatever the clock says."""

    def __init__(self, seconds: float, left: float) -> None:
        super().__init__(seconds)
        self.rest = left

    @property
    def left(self) -> float:
        return self.rest


def table(rows: int, columns: int = 7) -> tuple[pd.DataFrame, np.ndarray]:
    generator = np.random.default_rng(rows)
    frame = pd.DataFrame(generator.standard_normal((rows, columns)).astype(np.float32))
    return frame.rename(columns=str), (frame[0] > 0).to_numpy()


def cost(rows: int, epochs: int, batch: int) -> float:
    """Seconds of a training at RATES."""
    return RATES.fixed + RATES.a_row * rows + epochs * math.ceil(rows / batch) * RATES.a_step


@pytest.mark.parametrize(("limit", "left"), [(60, 40), (120, 80), (20, 5)])
def test_training_gets_the_bulk_and_measuring_a_bounded_share(limit: float, left: float) -> None:
    frame, y = table(150_000)
    rule = defaults_for(150_000, 7, 2, "classification")
    estimator = SNNClassifier()
    wanted = 10**7  # predictions, 500 s: far more than there is time for
    rows, targets, notes = within(
        Left(limit, left), RATES, estimator, frame, y, wanted, np.random.default_rng(1)
    )
    taken = cost(len(rows), estimator.max_iter, rule.batch_size)
    measuring = 0.15 * limit
    assert 0.64 * (left - measuring) < taken < 0.9 * (left - measuring)
    assert len(rows) == len(targets)
    np.testing.assert_array_equal(rows["0"].to_numpy() > 0, targets)
    assert all(note.startswith("To keep the time limit, training took") for note in notes)
    assert f"{estimator.max_iter} of {rule.epochs} epochs" in notes[-1]


def test_enough_time_changes_nothing() -> None:
    frame, y = table(3000)
    for budget in (Budget(None), Left(3600, 3000)):
        estimator = SNNRegressor()
        rows, targets, notes = within(
            budget, RATES, estimator, frame, y * 1.0, 5000, np.random.default_rng(1)
        )
        assert rows is frame
        assert len(targets) == 3000
        assert (estimator.max_iter, notes) == ("auto", [])


def test_a_late_training_still_has_rows_and_epochs() -> None:
    frame, y = table(5000)
    estimator = SNNClassifier()
    rows, _, notes = within(
        Left(1, -9.0), RATES, estimator, frame, y, 100, np.random.default_rng(1)
    )
    assert (len(rows), estimator.max_iter, len(notes)) == (256, 3, 2)


def test_what_can_be_measured() -> None:
    everything = (80_000, 2000)
    assert measurable(Budget(None), RATES, 80_000, 2000, 62) == everything
    assert measurable(Left(240, 30.0), RATES, 80_000, 2000, 62) == everything  # takes 10.2 s
    held, shuffled = measurable(Left(60, 2.55), RATES, 80_000, 2000, 62)
    assert (held, shuffled) == pytest.approx((20_000, 500), abs=1)
    # Late, but a quarter of 15 % of the limit remains; below, a least number of rows.
    held, shuffled = measurable(Left(240, -3.0), RATES, 80_000, 2000, 62)
    assert (held + 62 * shuffled) * RATES.a_prediction == pytest.approx(0.25 * 36, rel=0.01)
    assert measurable(Left(1, -3.0), RATES, 80_000, 2000, 62) == (1000, 100)
    assert measurable(Left(1, -3.0), RATES, 37, 37, 62) == (37, 37)


def test_the_report_has_its_time() -> None:
    assert 236.0 < Budget(240.0).left < 237.0
    assert 8.5 < Budget(10.0).left < 9.0
    assert Budget(None).left == Budget(None).measuring == math.inf
    with pytest.raises(DomainError, match="time_limit=0"):
        Budget(0.0)


def test_rates_are_of_the_network_that_will_be_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows are trained on, in the shape that all rows get; the estimator stays as it was."""
    frame, y = table(30_000)
    rule = defaults_for(30_000, 7, 2, "classification")
    seen = []
    fit = SNNClassifier.fit

    def spied(self: SNNClassifier, X: pd.DataFrame, y: np.ndarray) -> SNNClassifier:
        seen.append((len(X), self.hidden_layer_sizes, self.batch_size, self.max_iter))
        return fit(self.set_params(hidden_layer_sizes=(4,), n_members=1), X, y)

    monkeypatch.setattr(SNNClassifier, "fit", spied)
    estimator = SNNClassifier()
    rates = rates_of(Left(1, 1e-3), estimator, frame, y, np.random.default_rng(0))
    assert min(rates.a_step, rates.a_prediction, rates.fixed) > 0.0
    assert rates.a_row >= 0.0
    assert [one[0] for one in seen[2:]] == [8192, 8192]
    assert [one[3] for one in seen] == [1, 1, 1, 4]
    assert {one[2] for one in seen} == {rule.batch_size}
    assert seen[0][1] == (rule.width,) * rule.depth
    assert estimator.hidden_layer_sizes == "auto"
    seen.clear()
    rates_of(Left(1e6, 1e6), estimator, frame, y, np.random.default_rng(0))
    assert [one[3] for one in seen] == [1, 1, 1]  # time in plenty: no longer training


@pytest.mark.parametrize("columns", [3, 60, 61, 400])
def test_predictions_of_the_importance_are_counted(columns: int) -> None:
    """The plan's number is what the importance really predicts, to a hundredth."""
    generator = np.random.default_rng(2)
    frame = pd.DataFrame(generator.standard_normal((1000, columns))).rename(columns=str)
    rows = [0]

    def loss(part: pd.DataFrame, truth: np.ndarray) -> float:
        rows[0] += len(part)
        return float(np.square(part["0"] - truth).mean())

    found = permutation_importance(frame, frame["0"].to_numpy(), loss, generator, 800)
    assert found["rows"] == 800
    assert rows[0] == pytest.approx(800 * predictions_per_row(columns), rel=0.01)


def test_at_most_a_hundred_thousand_rows_are_held_out() -> None:
    """Of a rare class its share all the same."""
    rows = 4 * MOST_HELD_OUT
    codes = (np.arange(rows) % 1000 == 7).astype(np.intp)
    goal = Target("y", "classification", "", np.ones(rows, bool), codes, np.array(["a", "b"]))
    for fraction, expected in ((0.5, MOST_HELD_OUT), (0.2, 80_000)):
        notes: list[str] = []
        held = _hold_out(goal, fraction, np.random.default_rng(0), notes)
        assert held.sum() == expected
        assert codes[held].sum() == expected // 1000
        assert len(notes) == (expected < fraction * rows)
    assert MOST_HELD_OUT == 100_000
