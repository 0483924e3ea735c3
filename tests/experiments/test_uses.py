"""What the experiments on other uses share: the choice of the rate, seeds, resuming, moments."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from selfnorm.experiments._random import generator_for
from selfnorm.experiments._records import ExperimentResult
from selfnorm.experiments._uses import Cell, Trial, fit, measure, run_cells
from selfnorm.experiments._uses_report import best_arms, by_epoch, with_spread

STEPS = 5


def trial(built: list[str] | None = None, *, sign: float = 1.0) -> Trial:
    """Fit one number to 3; the validation is the squared error times ``sign``."""

    def build(generator: torch.Generator) -> nn.Module:
        if built is not None:
            built.append("net")
        net = nn.Linear(1, 1, device="meta").to_empty(device="cpu")
        nn.init.normal_(net.weight, generator=generator)
        nn.init.zeros_(net.bias)
        return net

    def batches(generator: torch.Generator) -> Iterator[Tensor]:
        for _ in range(STEPS):
            yield torch.randn(4, 1, generator=generator)

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        return (model(x) - 3.0 * x).square().mean()

    x = torch.randn(50, 1, generator=generator_for("test"))
    return Trial(
        build=build,
        batches=batches,
        loss=loss,
        validate=lambda model: sign * float(loss(model, x)),
        test=lambda model: {"error": float(loss(model, x))},
        probe=lambda model: [{"mean": 0.0, "var": float(model.weight.detach().square().sum())}],
        predict=lambda model: [{"predicted_var": 1.0}],
    )


def cells(*names: str, **options: Any) -> list[Cell]:
    return [Cell(name, {"arm": name}, ("test",), trial(**options)) for name in names]


OPTIONS = {"seed": 0, "seeds": 3, "lrs": (0.001, 0.1, 0.3), "epochs": 4}


def train(
    given: list[Cell], out: Path | None = None, choice: tuple[str, ...] = ("arms",)
) -> ExperimentResult:
    return run_cells(
        "test",
        given,
        OPTIONS,
        lambda _: STEPS * 4,
        choice=choice,
        out=out,
        render=lambda record: "page",
        table_of=lambda record: ((), ()),
        progress=None,
    )


def run(names: list[str], out: Path | None, **more: Any) -> ExperimentResult:
    return train(cells(*names, **more), out)


def test_validation_chooses_the_rate_and_the_other_seeds_use_it() -> None:
    (cell,) = run(["a"], None).record["arms"]
    found = {one["lr"]: one["validation"] for one in cell["candidates"]}
    assert list(found) == [0.001, 0.1, 0.3]
    assert cell["lr"] == min(found, key=lambda lr: found[lr]) == 0.3
    assert [one["seed"] for one in cell["runs"]] == [0, 1, 2]
    assert cell["runs"][0]["validation"][-1] == found[0.3]
    # Turned round, the worst rate validates best: the choice is the validation's alone.
    (turned,) = run(["a"], None, sign=-1.0).record["arms"]
    assert turned["lr"] == 0.001


def test_arms_see_the_same_batches_and_seeds_differ() -> None:
    seen: dict[str, list[float]] = {"a": [], "b": []}

    def watched(cell: Cell) -> Cell:
        def batches(generator: torch.Generator) -> Iterator[Tensor]:
            for batch in cell.trial.batches(generator):
                seen[cell.name].append(float(batch.sum()))
                yield batch

        return dataclasses.replace(cell, trial=dataclasses.replace(cell.trial, batches=batches))

    a, b = train([watched(cell) for cell in cells("a", "b")]).record["arms"]
    assert seen["a"] == seen["b"]
    # Three rates with the first seed, then two more seeds.
    runs = [seen["a"][k : k + 4 * STEPS] for k in range(0, len(seen["a"]), 4 * STEPS)]
    assert runs[0] == runs[1] == runs[2]
    assert runs[2] != runs[3] != runs[4]
    # The weights are the arm's own.
    assert a["runs"][0]["loss"] != b["runs"][0]["loss"]
    losses = [one["loss"] for one in a["runs"]]
    assert losses[0] != losses[1] != losses[2]


def test_an_interrupted_run_is_taken_over(tmp_path: Path) -> None:
    built: list[str] = []
    two = cells("a", "b", built=built)
    broken = dataclasses.replace(
        two[1], trial=dataclasses.replace(two[1].trial, loss=lambda *_: 1 / 0)
    )
    with pytest.raises(ZeroDivisionError):
        train([two[0], broken], tmp_path)
    (first,) = json.loads((tmp_path / "result.json").read_text())["arms"]
    built.clear()
    second = run(["a", "b"], tmp_path, built=built).record
    assert second["complete"] is True
    assert second["arms"][0] == first
    # Only b was built: once to look at, three rates, two more seeds.
    assert len(built) == 6


def test_divergence_is_recorded_not_raised() -> None:
    broken = trial()
    broken = dataclasses.replace(
        broken, loss=lambda model, x: (model(x) * math.inf).mean(), validate=lambda _: 0.0
    )
    result = fit(
        broken.build(generator_for(0)),
        broken,
        epochs=2,
        steps=10,
        lr=0.1,
        generator=generator_for(1),
    )
    assert result.diverged == {"epoch": 1, "step": 1}
    assert result.loss == [None, None]
    assert result.score == math.inf
    recorded = train([Cell("x", {"arm": "x"}, (), broken)], choice=())
    (cell,) = recorded.record["arms"]
    assert cell["lr"] is None
    assert len(cell["runs"]) == 1
    assert cell["runs"][0]["test"] == {}


def test_the_rate_falls_along_half_a_cosine() -> None:
    """SGD-like trace: record the optimiser's rate through the parameter's steps of Adam."""
    plain = trial()
    seen: list[float] = []
    original = torch.optim.Adam.step

    def step(self: torch.optim.Adam, *args: Any, **kwargs: Any) -> Any:
        seen.append(self.param_groups[0]["lr"])
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", step)
        model = plain.build(generator_for(0))
        fit(model, plain, epochs=2, steps=10, lr=0.7, generator=generator_for(1))
    assert seen == pytest.approx([0.7 * (1 + math.cos(math.pi * k / 10)) / 2 for k in range(10)])


def test_measuring_leaves_batch_norm_and_mode_as_they_were() -> None:
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Identity())
    net.eval()
    x = 5.0 + 2.0 * torch.randn(400, 3, generator=generator_for("x"))
    found = measure(net, list(net), lambda model: model(x))
    # As in training: normalised by the batch.
    assert found[0]["mean"] == pytest.approx(0.0, abs=1e-5)
    assert found[1]["var"] == pytest.approx(1.0, abs=1e-3)
    assert not net.training
    assert net[0].running_mean is not None
    assert (net[0].running_mean == 0).all()


def test_words_and_bands() -> None:
    assert with_spread([]) is None
    assert with_spread([0.25]) == "0.25"
    assert with_spread([0.2, 0.3]) == "0.25 ± 0.071"
    cell = {
        "arm": "a",
        "runs": [{"loss": [3.0, 1.0, None]}, {"loss": [5.0, None, None]}],
    }
    (series,) = by_epoch([cell], "loss")
    middle, low, high = (list(part) for part in (series.y, series.low, series.high))
    assert middle[:2] == [4.0, 1.0]
    assert (low[0], high[0]) == (3.0, 5.0)
    assert math.isnan(middle[2])


def test_best_arms_names_what_seeds_cannot_tell_apart() -> None:
    def cell(arm: str, *errors: float) -> dict[str, Any]:
        return {"arm": arm, "runs": [{"test": {"error": value}} for value in errors]}

    clear = cell("a", 0.10, 0.11, 0.12)
    near = cell("b", 0.11, 0.12, 0.13)  # 0.01 apart, standard error 0.0082
    far = cell("c", 0.20, 0.21, 0.22)
    diverged = {"arm": "d", "runs": [{"test": {}}]}
    assert best_arms([far, near, diverged, clear], "error") == ["a", "b"]
    assert best_arms([clear, near, far], "error", highest=True) == ["c"]
    assert best_arms([diverged], "error") == []
