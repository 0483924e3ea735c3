"""``selfnorm experiment autoencoder | generative | recurrent``: options, files, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

TINY = {
    "autoencoder": "--depths 2 --arms snn,relu --lrs 0.01 --width 8 --epochs 1 --seeds 1"
    " --train-size 200 --code 3",
    "generative": "--depths 2 --arms snn,silu --lrs 0.01 --width 8 --epochs 1 --seeds 1"
    " --batch-size 4000 --sampling-steps 2",
    "recurrent": "--tasks recall --lengths 4 --arms selu,gru --lrs 0.01 --hidden 5 --epochs 1"
    " --seeds 1",
}


@pytest.mark.parametrize("name", TINY)
def test_runs_and_writes(run, tmp_path: Path, name: str) -> None:
    words = [*TINY[name].split(), "--out", str(tmp_path)]
    outcome = run("experiment", name, *words)
    assert outcome.code == 0, outcome.err
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["experiment"] == name
    assert record["complete"] is True
    assert len(record["arms"]) == 2
    assert (tmp_path / "report.html").read_text().lower().startswith("<!doctype html>")
    table, _, rest = outcome.out.partition("\n\n")
    assert max(map(len, table.splitlines())) <= 80
    assert str(tmp_path / "report.html") in rest


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["autoencoder", "--depths", "3"], 2, "depths must be even"),
        (["autoencoder", "--data", "moons"], 2, "digits, mnist"),
        (["autoencoder", "--train-size", "90"], 2, "batch_size=100"),
        (["autoencoder", "--arms", "snn,gelu"], 2, "gelu"),
        (["autoencoder", "--code", "0"], 2, "code"),
        (["generative", "--data", "mnist"], 2, "moons, circles, digits"),
        (["generative", "--batch-size", "9000"], 2, "batch_size=9000"),
        (["generative", "--sampling-steps", "0"], 2, "sampling_steps"),
        (["recurrent", "--lengths", "1"], 2, "lengths must be at least 2"),
        (["recurrent", "--tasks", "copy"], 2, "recall, adding, digits"),
        (["recurrent", "--tasks", "digits", "--batch-size", "5000"], 2, "batch_size=5000"),
        (["recurrent", "--lrs", "x"], 2, "numbers separated by commas"),
    ],
)
def test_bad_input(refused, words, code, message) -> None:
    assert message in refused(code, "experiment", *words)
