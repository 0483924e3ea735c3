"""The default rule: smooth and monotone in the rows, sane everywhere, refusing what is no table."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest

from selfnorm.errors import DomainError
from selfnorm.tabular._defaults import Defaults, defaults_for

ROWS = sorted({round(2 * 1.05**k) for k in range(364)})  # 2 … 1e8, in steps of 5 % or of 1


def by_rows(task: str = "classification") -> list[Defaults]:
    """Return the rule along the rows."""
    return [defaults_for(n, 20, 3, task) for n in ROWS]  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_nothing_jumps(task: str) -> None:
    for (n, a), (m, b) in itertools.pairwise(zip(ROWS, by_rows(task), strict=True)):
        ratio = max(m / n, 1.05)
        for name in ("learning_rate", "width", "batch_size"):
            x, y = getattr(a, name), getattr(b, name)
            # Whole numbers may round: 8 is the grain of the widths, 1 that of the batches.
            grain = {"width": 8, "batch_size": 1}.get(name, 0)
            assert abs(y - x) <= x * (ratio**1.0 - 1.0) + grain, (name, n, m, x, y)
        assert abs(b.dropout - a.dropout) <= 0.05 * math.log(ratio) + 1e-12
        assert abs(b.steps(m) - a.steps(n)) <= 0.35 * a.steps(n) + 2 * math.ceil(m / b.batch_size)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_more_rows_never_mean_a_smaller_net_or_less_training(task: str) -> None:
    rules = by_rows(task)
    for a, b in itertools.pairwise(rules):
        assert a.width <= b.width
        assert a.batch_size <= b.batch_size
        assert a.dropout >= b.dropout
        assert a.label_smoothing >= b.label_smoothing
    # Epochs are whole, so the steps are monotone up to one epoch's.
    most = 0
    for n, rule in zip(ROWS, rules, strict=True):
        assert rule.steps(n) >= most - math.ceil(n / rule.batch_size)
        most = max(most, rule.steps(n))
    assert most > 20 * rules[0].steps(2)


@pytest.mark.parametrize("features", [1, 100_000])
@pytest.mark.parametrize("outputs", [1, 2, 10_000])
@pytest.mark.parametrize("rows", [1, 2, 10, 10**4, 10**8, 10**12])
def test_extremes_are_sane(rows: int, features: int, outputs: int) -> None:
    rule = defaults_for(rows, features, outputs, "classification")
    assert 16 <= rule.width <= 512
    assert 2 <= rule.depth <= 16
    assert 0.0 <= rule.dropout <= 0.1
    assert 0.0 <= rule.label_smoothing <= 0.1
    assert 1e-4 <= rule.learning_rate <= 1e-2
    assert 1 <= rule.epochs <= 1000
    assert 16 <= rule.batch_size <= 4096
    assert 4 <= rule.n_members <= 32
    assert rule.steps(rows) >= 50
    # One pass over the rows is the least there is; beyond it the work is bounded.
    assert rule.steps(rows) <= max(20_000, math.ceil(rows / rule.batch_size))


def test_products_of_a_fit_stay_within_the_time_that_is_meant_for_them() -> None:
    # Multiply-adds forward and backward (three products a layer) of all members, at 2e10 a second,
    # about what a core does: small tables well under a second, a million rows in minutes.
    def seconds(rows: int, features: int = 40) -> float:
        r = defaults_for(rows, features, 3, "classification")
        weights = features * r.width + (r.depth - 1) * r.width**2 + r.width * 3
        return 3 * weights * min(rows, r.batch_size) * r.steps(rows) * r.n_members / 2e10

    assert seconds(200) < 0.5
    assert seconds(1_000) < 2.0
    assert seconds(1_000_000) < 1200.0


def test_tasks_differ_in_what_only_classes_have() -> None:
    assert defaults_for(500, 8, 3, "classification").label_smoothing > 0.0
    assert defaults_for(500, 8, 1, "regression").label_smoothing == 0.0


def test_the_result_is_frozen() -> None:
    rule = defaults_for(500, 8, 3, "classification")
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule.width = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0, 4, 3, "classification"), "rows must be at least 1, however: rows=0"),
        ((100, 0, 3, "classification"), "features must be at least 1, however: features=0"),
        ((100, 4, -1, "regression"), "outputs must be at least 1, however: outputs=-1"),
        ((100.0, 4, 3, "classification"), "rows must be an integer, however: rows=100.0"),
        ((True, 4, 3, "classification"), "rows must be an integer, however: rows=True"),
        ((100, 4, 3, "ranking"), "task must be 'classification' or 'regression'"),
    ],
)
def test_refusals(arguments: tuple[object, ...], text: str) -> None:
    with pytest.raises(DomainError, match=text):
        defaults_for(*arguments)  # type: ignore[arg-type]


def test_bins_keep_within_their_budget_and_are_never_one() -> None:
    counts = [defaults_for(500, d, 2, "classification").bins for d in range(1, 2000)]
    assert counts[0] == 8
    assert counts[-1] == 0
    assert 1 not in counts
    assert all(a >= b for a, b in itertools.pairwise(counts))
    assert max(d * count for d, count in enumerate(counts, 1)) == 1024
