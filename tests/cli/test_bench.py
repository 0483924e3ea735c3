"""``selfnorm bench``: a row for each who takes part, as text and as JSON."""

from __future__ import annotations

import json

import pytest

from selfnorm import experiments
from selfnorm.errors import DomainError


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[experiments.BenchRow]:
    """What was measured."""
    found = [
        experiments.BenchRow("a task", "selfnorm", 0.0018, 0.002, 0.0025, 1.0),
        experiments.BenchRow("a task", "another", 0.004, 0.005, 0.0055, 2.5),
    ]
    monkeypatch.setattr(experiments, "bench", lambda *, rounds: found * rounds)
    return found


def test_lines(run, rows) -> None:
    lines = run("bench", "--rounds", "1").out.splitlines()
    assert lines[1] == "a task"
    assert lines[2].split() == ["selfnorm", "2", "ms", "(1.8", "to", "2.5)"]
    assert lines[3].endswith("2.50 times selfnorm's")


def test_json(run, rows) -> None:
    (first, _) = json.loads(run("bench", "--rounds", "1", "--json").out)
    assert first == {
        "task": "a task",
        "provider": "selfnorm",
        "lower": 0.0018,
        "median": 0.002,
        "upper": 0.0025,
        "factor": 1.0,
    }


def test_all_tasks_are_measured() -> None:
    found = experiments.bench(rounds=1)
    assert len({row.task for row in found}) == len(experiments.BENCH_TASKS) == 4
    assert [row.factor for row in found if row.provider == "selfnorm"] == [1.0] * 4
    assert all(0.0 < row.lower <= row.median <= row.upper for row in found)


@pytest.mark.parametrize("wrong", [{"tasks": ("relu",)}, {"rounds": 0}, {"rounds": True}])
def test_refusals(wrong) -> None:
    with pytest.raises(DomainError, match=f"{next(iter(wrong))} .*however"):
        experiments.bench(**wrong)
