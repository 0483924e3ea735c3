"""The fifty-layers experiment: small runs of everything, the published order as slow tests."""

from __future__ import annotations

import html
import json
import os
import re
from pathlib import Path

import pytest
import torch

from selfnorm.errors import DataError, DomainError
from selfnorm.experiments import ARMS, fifty_layers

TINY = {"depth": 4, "width": 16, "epochs": 2, "seeds": 2, "train_size": 300, "batch_size": 50}
LECTURE_FAILURES = ("raw-relu", "raw-selu", "std-selu", "std-relu-lecun")
MNIST = Path(os.environ.get("SELFNORM_DATA", Path(__file__).parents[3] / "shared" / "data"))


def without_times(record):
    """Return the record as text, times and date left out."""
    text = json.dumps(record, sort_keys=True)
    text = re.sub(r'"seconds": [^,}]*', "", text)
    return re.sub(r'"date": "[^"]*"', "", text)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    out = tmp_path_factory.mktemp("tiny")
    events = []
    return fifty_layers(**TINY, out=out, progress=events.append), events


def test_record_has_the_documented_form(tiny):
    record = json.loads(tiny[0].result_path.read_text())
    assert record == tiny[0].record
    assert record["complete"] is True
    assert set(record) >= {"arms", "config", "environment"}
    assert [arm["name"] for arm in record["arms"]] == list(ARMS)
    assert {"python", "torch", "numpy", "selfnorm", "cores", "threads", "date"} <= set(
        record["environment"]
    )
    assert record["config"]["train_size"] == 300
    for arm in record["arms"]:
        assert len(arm["accuracy"]) == len(arm["loss"]) == 2
        for key in ("accuracy", "loss"):
            seeds = arm[f"{key}_by_seed"]
            assert len(seeds) == 2
            assert arm[key] == pytest.approx([sum(pair) / 2 for pair in zip(*seeds, strict=True)])
        assert arm["seconds"] > 0
        assert arm["diverged"] == []
        assert len(arm["layers"]) == len(arm["layers_trained"]) == 4
        for layer in arm["layers"]:
            assert {"mean", "var", "predicted_mean", "predicted_var", "grad_norm"} <= set(layer)
            assert all(isinstance(value, float) for value in layer.values())


def test_text_of_the_result_is_the_file(tiny):
    assert tiny[0].to_json() == tiny[0].result_path.read_text().rstrip("\n")


def test_progress_counts_every_step(tiny):
    result, events = tiny
    steps = 2 * 2 * (300 // 50)
    for index, name in enumerate(ARMS):
        mine = [event for event in events if event.arm == name]
        told = [*range(1, steps + 1)]  # by step with batch normalisation, else by epoch
        if name != "std-relu-he-batchnorm":
            told = [steps // 2, steps]
        assert [event.step for event in mine] == [*told, steps]
        assert [event.state for event in mine] == ["training"] * len(told) + ["finished"]
        assert {event.total for event in mine} == {steps}
        assert {(event.index, event.arms, event.epochs) for event in mine} == {(index, 7, 2)}
        assert {event.seed for event in mine} <= {0, 1}
        assert mine[-1].accuracy == result.record["arms"][index]["accuracy"][-1]
        if name != "std-relu-he-batchnorm":
            assert mine[-2].loss == pytest.approx(result.record["arms"][index]["loss"][-1])
            assert mine[-2].accuracy == pytest.approx(mine[-1].accuracy)


def test_table_has_one_row_per_arm(tiny):
    result = tiny[0]
    assert [row[0] for row in result.rows] == list(ARMS)
    assert {len(row) for row in result.rows} == {len(result.columns)}
    row = dict(zip(result.columns, result.rows[5], strict=True))
    assert (row["input"], row["activation"]) == ("standardized", "batch norm, relu")
    assert row["initialisation"] == "He normal"
    assert re.fullmatch(r"\d+\.\d ± \d+\.\d\s%", row["test accuracy"])


def test_page_names_every_arm_and_is_self_contained(tiny):
    page = tiny[0].report_path.read_text()
    for name in ARMS:
        assert name in page
    assert not re.search(r"""(?:src|href|xmlns)\s*=\s*["']?(?:https?:)?//""", page)
    assert page.count("<section") == 5
    assert "selfnorm experiment fifty-layers --data digits --depth 4 --width 16" in page


def test_page_says_the_accuracies_of_the_record(tiny):
    page = html.unescape(tiny[0].report_path.read_text())
    best = max(tiny[0].record["arms"], key=lambda arm: arm["accuracy"][-1])
    assert f"{best['name']} ends at {100 * best['accuracy'][-1]:.1f}\N{NO-BREAK SPACE}%" in page


def test_the_same_seed_gives_the_same_record(tiny):
    again = fifty_layers(**TINY)
    assert without_times(again.record) == without_times(tiny[0].record)
    assert again.result_path is again.report_path is None


def test_an_arm_does_not_depend_on_the_others(tiny):
    alone = fifty_layers(**TINY, arms=["std-relu-he-batchnorm"])
    assert without_times(alone.record["arms"][0]) == without_times(tiny[0].record["arms"][5])


def test_another_seed_gives_another_record(tiny):
    other = fifty_layers(**TINY | {"seed": 5, "seeds": 1}, arms=["depth-matched"])
    assert other.record["arms"][0]["loss"] != tiny[0].record["arms"][6]["loss_by_seed"][0]


def test_nothing_global_is_touched(monkeypatch):
    threads = [3]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    before = torch.get_rng_state().clone()
    fifty_layers(**TINY | {"epochs": 1, "seeds": 1}, arms=["raw-relu"])
    assert torch.equal(torch.get_rng_state(), before)
    assert threads[1] == 1
    assert set(threads[1:-1]) == {1}
    assert threads[-1] == 3


def test_interrupted_run_is_kept_and_continued(tmp_path, tiny):
    def stop_in_the_second_arm(event):
        if event.index == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fifty_layers(**TINY, arms=ARMS[:3], out=tmp_path, progress=stop_in_the_second_arm)
    record = json.loads((tmp_path / "result.json").read_text())
    assert [arm["name"] for arm in record["arms"]] == [ARMS[0]]
    assert record["complete"] is False
    assert "Not finished" in (tmp_path / "report.html").read_text()
    events = []
    result = fifty_layers(**TINY, arms=ARMS[:3], out=tmp_path, progress=events.append)
    assert [event.arm for event in events if event.state == "resumed"] == [ARMS[0]]
    assert without_times(result.record["arms"]) == without_times(tiny[0].record["arms"][:3])
    assert "Not finished" not in (tmp_path / "report.html").read_text()


def test_divergence_is_recorded_and_other_arms_go_on(tmp_path):
    result = fifty_layers(
        **TINY | {"lr": 1e6}, arms=["raw-relu", "std-selu-lecun", "depth-matched"], out=tmp_path
    )
    assert len(result.record["arms"]) == 3
    for arm in result.record["arms"][1:]:
        assert arm["accuracy"] == [None, None]
        assert [entry["seed"] for entry in arm["diverged"]] == [0, 1]
        assert all(entry["step"] >= 1 for entry in arm["diverged"])
    assert dict(zip(result.columns, result.rows[1], strict=True))["outcome"].startswith("diverges")
    json.loads((tmp_path / "result.json").read_text(), parse_constant=pytest.fail)
    assert "std-selu-lecun and depth-matched diverge" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("default_init", ["glorot", "uniform05"])
def test_default_init_means_what_is_asked(tmp_path, default_init):
    options = TINY | {"seeds": 1, "epochs": 1, "default_init": default_init}
    result = fifty_layers(**options, arms=["raw-selu"], out=tmp_path)
    assert result.record["arms"][0]["init"] == default_init
    page = html.unescape(result.report_path.read_text())
    assert {"glorot": "Glorot uniform here", "uniform05": "±0.05 make that sum 0.0133"}[
        default_init
    ] in page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth must be at least 1, however: depth=0"),
        ({"width": -1}, "width must be at least 1, however: width=-1"),
        ({"epochs": -2}, "epochs must be at least 1, however: epochs=-2"),
        ({"epochs": 1.5}, "epochs must be an integer, however: epochs=1.5"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"batch_size": 301}, "batch_size must be at most 300, the number of training rows"),
        ({"lr": 0.0}, "lr must be finite and above 0, however: lr=0.0"),
        ({"lr": float("nan")}, "lr must be finite and above 0"),
        ({"lr": "fast"}, "lr must be a number, however: lr='fast'"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"seeds": True}, "seeds must be an integer, however: seeds=True"),
        ({"data": "cifar"}, "data must be among digits, mnist"),
        ({"arms": ["raw-relu", "gelu"]}, "arms must be among raw-relu, .*'gelu'"),
        ({"arms": []}, "arms must name at least one"),
        ({"arms": "raw-relu"}, "arms must be a sequence, however: arms='raw-relu'"),
        ({"default_init": "he"}, "default_init must be among torch, glorot, uniform05"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(DomainError, match=message):
        fifty_layers(**TINY | options)


def test_more_rows_than_there_are():
    with pytest.raises(DataError, match="train_size must be at most 1442"):
        fifty_layers(**TINY | {"train_size": 5000})


def test_unwritable_folder_is_found_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DomainError, match="out must be a folder"):
        fifty_layers(**TINY, out=tmp_path / "file", progress=lambda event: pytest.fail("trained"))


def test_order_on_digits_quickly():
    """Two arms at full depth; guessing exceeds 0.15 on 355 rows once in 1,000 times."""
    result = fifty_layers(epochs=3, seeds=1, arms=["std-selu", "std-selu-lecun"])
    default, lecun = (arm["accuracy"][-1] for arm in result.record["arms"])
    assert default < 0.2
    assert lecun > 0.5


@pytest.mark.slow
def test_order_on_digits():
    result = fifty_layers(seeds=3)
    arms = {arm["name"]: arm["accuracy_by_seed"] for arm in result.record["arms"]}
    for curves in zip(*arms.values(), strict=True):
        final = {name: curve[-1] for name, curve in zip(arms, curves, strict=True)}
        assert all(final[name] < 0.2 for name in LECTURE_FAILURES)
        assert final["std-selu-lecun"] > 0.85
        assert final["depth-matched"] > final["std-selu-lecun"]
        assert final["std-relu-he-batchnorm"] < 0.5


@pytest.mark.slow
@pytest.mark.skipif(
    not (MNIST / "mnist_train.npz").is_file(),
    reason="MNIST is absent: name its folder by SELFNORM_DATA",
)
def test_statement_on_mnist():
    result = fifty_layers(data="mnist", data_dir=MNIST)
    config = result.record["config"]
    assert (config["train_size"], config["epochs"], config["width"]) == (20_000, 3, 128)
    assert (config["lr"], config["momentum"], config["batch_size"]) == (0.001, 0.9, 100)
    final = {arm["name"]: arm["accuracy"][-1] for arm in result.record["arms"]}
    assert final["std-selu-lecun"] > 0.88
    assert all(final[name] < 0.30 for name in LECTURE_FAILURES)
    assert final["depth-matched"] > final["std-selu-lecun"]
