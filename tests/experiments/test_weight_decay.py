"""The weight-decay experiment: rows that are kept stay, rows that decay leave the range."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfnorm.errors import DomainError
from selfnorm.experiments import weight_decay
from selfnorm.experiments._weight_decay_report import markdown


def test_rows_leave_the_range_or_are_kept(tmp_path: Path) -> None:
    arms = ["sgd-0.1", "sgd-project", "adamw-1"]
    result = weight_decay(
        depth=3, width=12, epochs=3, batch_size=16, seeds=2, arms=arms, out=tmp_path
    )
    decayed, kept, adam = result.record["arms"]
    # Of 90 steps an epoch at the effective rate .1 the decay alone leaves exp(-2 · .1 · .1 · 90) of
    # the squares, 16 %; the loss pulls against it.
    assert decayed["left_epoch"] == [1, 1]
    assert decayed["tau"][0] < 0.477
    assert decayed["drifted_layers"] == [3, 3]
    assert kept["tau"] == pytest.approx([1.0] * 3, abs=1e-5)
    assert kept["tau_by_layer"] == pytest.approx([1.0] * 3, abs=1e-5)
    assert kept["left_epoch"] == [None, None]
    # AdamW multiplies weights by 1 - .002 · 1 a step: 270 steps alone leave 34 % of the squares.
    assert 0.34 < adam["tau"][-1] < 0.9
    assert len(adam["accuracy_by_seed"]) == 2
    assert all(len(curve) == 3 for curve in adam["loss_by_seed"])
    assert [row[4] for row in result.rows[:2]] == ["epoch 1", "never"]
    assert result.report_path is not None
    page = result.report_path.read_text(encoding="utf-8")
    assert "sgd-0.1" in page
    assert "<script" not in page
    assert "| sgd-project |" in markdown(result.record)


def test_the_same_options_give_the_same_record() -> None:
    options = {"depth": 2, "width": 5, "epochs": 1, "seeds": 1, "arms": ["adamw-0.1"]}
    one, other = (weight_decay(**options) for _ in range(2))  # type: ignore[arg-type]
    assert one.record["arms"] == other.record["arms"]


def test_bad_options_are_named() -> None:
    with pytest.raises(DomainError, match="depth must be at least 2"):
        weight_decay(depth=1)
    with pytest.raises(DomainError, match="lr_sgd"):
        weight_decay(lr_sgd=0.0)
