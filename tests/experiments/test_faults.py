"""The faults experiment: each fault is told first, its fix removes it, the scores are right."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from selfnorm import diagnosis
from selfnorm.errors import DomainError
from selfnorm.experiments import faults
from selfnorm.experiments._faults import CASES
from selfnorm.experiments._faults_report import comparison, markdown, render
from selfnorm.experiments._tasks import TASKS, _concordance, _cox, fit

# VGG's first layer has so small a fan-in that He weights by fan-out look like another fault.
FIRST = [name for name, case in CASES.items() if case.expected and name != "vgg"]
# What their fixes make bearable stays what it is: one-hot columns, and eight units.
STAYS = {"sparse-input", "narrow-layers"}


@pytest.mark.parametrize("name", FIRST)
def test_the_fault_is_told_first_and_its_fix_removes_it(name: str) -> None:
    case, task = CASES[name], TASKS[CASES[name].task]()
    X = task.train[0][:200]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        sick = case.build()
        mended = case.fix(copy.deepcopy(sick), task)
    optimizer = torch.optim.SGD(sick.parameters(), lr=0.01, weight_decay=case.weight_decay)
    found = diagnosis.check(sick, X, optimizer=optimizer)
    assert found[0].code == case.expected
    if name not in STAYS:
        assert case.expected not in {one.code for one in diagnosis.check(mended, X)}


def test_record_report_and_resuming(tmp_path: Path) -> None:
    arms = ["plain-dropout", "deep-surv"]
    result = faults(epochs=1, seeds=2, arms=arms, out=tmp_path)
    one, other = result.record["arms"]
    assert result.record["complete"]
    assert (one["right"], one["public"], other["public"]) == (True, False, True)
    assert one["sick"]["var"] > 1.3  # 8 layers of Dropout(0.2)
    assert 0.6 < one["mended"]["var"] < 1.5
    assert len(one["sick"]["score_by_seed"]) == 2
    assert "plain-dropout" not in one["mended"]["codes"]
    assert [row[0] for row in result.rows] == arms
    assert result.report_path is not None
    page = result.report_path.read_text(encoding="utf-8")
    assert "<script" not in page
    assert "selfnorm experiment faults --epochs 1 --seed 0 --seeds 2" in page
    assert "| plain-dropout |" in markdown(result.record)
    half = json.loads((tmp_path / "result.json").read_text())
    half["complete"], half["arms"] = False, half["arms"][:1]
    (tmp_path / "result.json").write_text(json.dumps(half))
    states: list[str] = []
    again = faults(
        epochs=1,
        seeds=2,
        arms=arms,
        out=tmp_path,
        progress=lambda event: states.append(event.state),
    )
    assert states[0] == "resumed"
    assert again.record["arms"] == result.record["arms"]


def test_names_are_escaped() -> None:
    half = {"var": 1.0, "codes": [], "var_by_layer": [1.0], "score_by_seed": [[0.5], [0.6]]}
    arm = {
        "name": "<b>x", "what": "<i>y", "public": False, "expected": "", "right": True,
        "findings": [], "fix": "<u>z", "sick": half, "mended": half,
    }  # fmt: skip
    config = {"epochs": 1, "seed": 0, "seeds": 2, "lr_sgd": 1, "lr_adam": 1, "batch_size": 2}
    record = {
        "arms": [arm],
        "config": config | {"arms": ["a"]},
        "environment": {},
        "complete": True,
    }
    page = render(record)
    assert "&lt;b&gt;x" in page
    assert not any(tag in page for tag in ("<b>x", "<i>y", "<u>z"))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([0.5, 0.6, 0.55], [0.9, 0.9, 0.9], ("+35.0 ± 2.9", "better")),
        ([0.9, 0.9, 0.9], [0.5, 0.6, 0.55], ("-35.0 ± 2.9", "worse")),
        ([0.5, 0.7], [0.6, 0.6], ("+0.0 ± 10.0", "the same")),
        ([None, None], [0.4, 0.5], ("trains at last", "better")),
        ([None, 0.2], [None, 0.3], ("+10.0", "the same")),
        ([None], [None], None),
    ],
)
def test_comparison_of_pairs(
    before: list[float], after: list[float], expected: tuple[str, str] | None
) -> None:
    halves = {"sick": before, "mended": after}
    arm = {half: {"score_by_seed": [[v] for v in values]} for half, values in halves.items()}
    assert comparison(arm) == expected


def test_cox_and_concordance_are_those_of_their_definitions() -> None:
    generator = torch.Generator().manual_seed(0)
    risk = torch.randn(30, 1, generator=generator)
    time = torch.rand(30, generator=generator)
    event = (torch.rand(30, generator=generator) < 0.6).float()
    total, pairs, right = 0.0, 0, 0
    for i in range(30):
        if event[i]:
            at_risk = sum(math.exp(risk[j]) for j in range(30) if time[j] >= time[i])
            total += math.log(at_risk) - float(risk[i])
            later = [j for j in range(30) if time[j] > time[i]]
            pairs += len(later)
            right += sum(bool(risk[i] > risk[j]) for j in later)
    target = torch.stack([time, event], 1)
    assert float(_cox(risk, target)) == pytest.approx(total / float(event.sum()), rel=1e-5)
    assert _concordance(risk, target) == pytest.approx(right / pairs)


@pytest.mark.parametrize("name", TASKS)
def test_tasks_have_rows_of_one_form(name: str) -> None:
    task = TASKS[name]()
    for part in (task.train, task.test):
        assert len(part[0]) == len(part[1]) > 300
        assert all(bool(torch.isfinite(rows).all()) for rows in part)
    assert task.train[0].shape[1:] == task.test[0].shape[1:]
    again = TASKS[name]()
    assert torch.equal(again.train[0], task.train[0])


def test_a_training_leaves_the_generator_and_stops_when_it_diverges() -> None:
    task = TASKS["survival"]()
    net = nn.Sequential(nn.Linear(10, 8), nn.Dropout(0.3), nn.Linear(8, 1))
    state = torch.get_rng_state()
    for lr, finite in ((0.01, True), (1e30, False)):
        result = fit(
            net,
            task,
            optimizer=torch.optim.SGD(net.parameters(), lr=lr),
            epochs=2,
            batch_size=500,
            generator=torch.Generator().manual_seed(1),
        )
        assert [value is not None for value in result.score] == [finite] * 2
        assert len(result.loss) == 2
    assert torch.equal(torch.get_rng_state(), state)


def test_bad_options_are_named() -> None:
    with pytest.raises(DomainError, match="no-such"):
        faults(arms=["no-such"])
