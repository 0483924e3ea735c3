"""``selfnorm experiment``: options reach the experiment, files are written, errors are one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from selfnorm import experiments

TINY = ["--depth", "3", "--width", "16", "--epochs", "1", "--seeds", "1"]


def test_fifty_layers(run, tmp_path: Path) -> None:
    arms = "std-selu-lecun,raw-relu"
    words = [*TINY, "--arms", arms, "--out", str(tmp_path)]
    outcome = run("experiment", "fifty-layers", *words)
    assert outcome.code == 0
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["config"]["depth"] == 3
    assert [len(arm["layers"]) for arm in record["arms"]] == [3, 3]
    assert (tmp_path / "report.html").read_text().lower().startswith("<!doctype html>")
    assert str(tmp_path / "report.html") in outcome.out
    # Not a terminal: one line per arm on stderr.
    assert [line.split(":")[0] for line in outcome.err.splitlines()] == [
        "[1/2] raw-relu",
        "[2/2] std-selu-lecun",
    ]


def test_json_to_stdout_is_json_alone(run, tmp_path: Path) -> None:
    words = [*TINY, "--arms", "std-selu-lecun", "--out", str(tmp_path), "--json"]
    outcome = run("experiment", "fifty-layers", *words)
    assert json.loads(outcome.out)["arms"][0]["name"] == "std-selu-lecun"


def test_the_table_fits_a_terminal(run, tmp_path: Path) -> None:
    outcome = run("experiment", "fifty-layers", *TINY, "--out", str(tmp_path))
    table, _, _ = outcome.out.partition("\n\n")
    assert len(table.splitlines()) == 1 + len(experiments.ARMS)
    assert max(map(len, table.splitlines())) <= 80


def test_fixed_point(run, tmp_path: Path) -> None:
    words = ["--variances", "0.5", "--depths", "3,4", "--weights", "orthogonal", "--lrs", "0.01"]
    sizes = ["--width", "16", "--epochs", "1", "--out", str(tmp_path)]
    assert run("experiment", "fixed-point", *words, *sizes).code == 0
    record = json.loads((tmp_path / "result.json").read_text())
    assert {arm["depth"] for arm in record["arms"]} == {3, 4}


def test_interrupting_keeps_what_is_finished(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments, "fifty_layers", interrupted)
    outcome = run("experiment", "fifty-layers", "--out", str(tmp_path))
    assert outcome.code == 130
    assert str(tmp_path) in outcome.err
    assert "goes on from there" in outcome.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["no-such"], 2, "No such command"),
        (["fifty-layers", "--depth", "0"], 2, "depth"),
        (["fifty-layers", "--depth", "x"], 2, "not a valid integer"),
        (["fifty-layers", "--arms", "std-relu,foo"], 2, "std-relu"),
        (["fifty-layers", "--data", "imagenet"], 2, "imagenet"),
        (["fifty-layers", "--data", "mnist", "--data-dir", "/no/such"], 1, "/no/such"),
        (["fifty-layers", "--lr", "nan"], 2, "lr"),
        (["fifty-layers", "--train-size", "100000"], 1, "train_size"),
        (["fifty-layers", "--default-init", "xavier"], 2, "xavier"),
        (["fifty-layers", "--out", "/proc/nowhere"], 2, "/proc/nowhere"),
        (["bn-vs-selu", "--arms", "selu,resnet"], 2, "resnet"),
        (["bn-vs-selu", "--model", "rnn"], 2, "mlp, cnn"),
        (["bn-vs-selu", "--batch-sizes", "4,2000"], 2, "2000"),
        (["bn-vs-selu", "--model", "cnn", "--stages", "5"], 2, "vanish"),
        (["bn-vs-selu", "--data", "cifar10", "--data-dir", "/no/such"], 1, "/no/such"),
        (["cost", "--arms", "selu,gelu"], 2, "gelu"),
        (["depth", "--depths", "8,0"], 2, "depths=0"),
        (["claims", "--names", "fast"], 2, "fast"),
        (["fifty-layers", "--width", "999999999999"], 1, "memory"),
        (["fixed-point", "--variances", "1,x"], 2, "numbers separated by commas"),
        (["fixed-point", "--depths", "1.5"], 2, "whole numbers"),
        (["fixed-point", "--variances", "-1"], 2, "variances"),
    ],
)
def test_bad_input(refused, words, code, message) -> None:
    assert message in refused(code, "experiment", *words)


def test_uci(run, tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(40, 2))
    test = (np.arange(40)[:, None] % 4) == np.arange(4)
    np.savez(tmp_path / "uci.npz", **{"a/X": X, "a/y": X[:, 0] > 0, "a/test": test})
    words = ["--data-dir", str(tmp_path), "--methods", "svm,mlp", "--folds", "0,2"]
    outcome = run("experiment", "uci", *words, "--out", str(tmp_path / "out"))
    assert outcome.code == 0
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [cell["fold"] for cell in record["cells"]] == [0, 0, 2, 2]
    assert max(map(len, outcome.out.partition("\n\n")[0].splitlines())) <= 80
    outcome = run("experiment", "uci", *words, "--sets", "b", "--out", str(tmp_path / "out"))
    assert outcome.code == 2
    assert "sets must be among a" in outcome.err


NARROW = ["--width", "12", "--epochs", "1", "--seeds", "1", "--lrs", "0.02", "--train-size", "200"]


def test_bn_vs_selu(run, tmp_path: Path) -> None:
    words = [
        "--depths",
        "2",
        "--batch-sizes",
        "1,50",
        "--arms",
        "selu,relu-bn",
        "--small-epochs",
        "1",
    ]
    outcome = run("experiment", "bn-vs-selu", *NARROW, *words, "--out", str(tmp_path))
    assert outcome.code == 0
    record = json.loads((tmp_path / "result.json").read_text())
    assert [cell["batch_size"] for cell in record["arms"]] == [50, 50, 1, 1]
    table, _, _ = outcome.out.partition("\n\n")
    assert max(map(len, table.splitlines())) <= 80


def test_depth(run, tmp_path: Path) -> None:
    words = ["--depths", "3,2", "--arms", "relu,tailored", "--out", str(tmp_path)]
    outcome = run("experiment", "depth", *NARROW, *words)
    assert outcome.code == 0
    assert outcome.out.splitlines()[1].split()[:2] == ["2", "tailored"]


def test_cost(run, tmp_path: Path) -> None:
    words = ["--models", "mlp", "--depths", "2", "--widths", "16", "--rounds", "1"]
    outcome = run("experiment", "cost", *words, "--out", str(tmp_path), "--json")
    assert list(json.loads(outcome.out)["arms"][0]["results"]) == list(experiments.COST_ARMS)


def test_claims(run, tmp_path: Path) -> None:
    words = ["--names", "target", "--depth", "2", "--out", str(tmp_path)]
    outcome = run("experiment", "claims", *NARROW, *words)
    assert outcome.code == 0
    assert [line.split()[0] for line in outcome.out.splitlines()[1:4]] == ["(0,", "(0,", "(0,"]
