"""The cost experiment: its nets, memory by hand, turns, ratios, files, options."""

from __future__ import annotations

import copy
import html
import importlib
import json

import pytest
import torch
from torch import nn

from selfnorm.errors import DomainError
from selfnorm.experiments import COST_ARMS, _turns, cost
from selfnorm.experiments._cost import _ratios
from selfnorm.experiments._cost_nets import COST_NETS, build_costed
from selfnorm.experiments._cost_report import _verdict
from selfnorm.experiments._rival_nets import Shape
from selfnorm.experiments._turns import quartiles, times_in_turns
from selfnorm.nn import ConvSELU2d, LinearSELU
from selfnorm.report import format_number

MODULE = importlib.import_module("selfnorm.experiments._cost")

TINY = {
    "depths": [3],
    "widths": [24],
    "channels": [4],
    "image_size": 6,
    "batch_size": 5,
    "rounds": 2,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return cost(**TINY, out=tmp_path_factory.mktemp("tiny"))


def kinds(name, shape):
    net = build_costed(COST_NETS[name], shape, 0.2, torch.Generator().manual_seed(4))
    *hidden, flatten, head = net
    assert type(flatten) is nn.Flatten
    assert head.out_features == 7
    return [type(part) for part in hidden]


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_nets_are_what_their_names_say(model):
    flat = model == "mlp"
    shape = Shape(model, (1, 1, 24) if flat else (3, 6, 8), 3, 24, 7, stages=2)
    ours, layer = (LinearSELU, nn.Linear) if flat else (ConvSELU2d, nn.Conv2d)
    batch, rows = (nn.BatchNorm1d, nn.LayerNorm) if flat else (nn.BatchNorm2d, nn.GroupNorm)
    expected = {
        "selu": [ours],
        "torch-selu": [layer, nn.SELU],
        "relu": [layer, nn.ReLU],
        "relu-bn": [layer, batch, nn.ReLU],
        "relu-ln": [layer, rows, nn.ReLU],
        "selu-dropout": [ours],
        "torch-selu-dropout": [layer, nn.SELU, nn.AlphaDropout],
        "relu-bn-dropout": [layer, batch, nn.ReLU, nn.Dropout],
    }
    assert set(expected) == set(COST_ARMS)
    for name, parts in expected.items():
        assert kinds(name, shape) == parts * 3
    net = build_costed(COST_NETS["selu-dropout"], shape, 0.2, torch.Generator())
    assert net[0].dropout == 0.2
    net = build_costed(COST_NETS["selu"], shape, 0.2, torch.Generator())
    assert net[0].dropout == 0.0


def test_both_sides_compute_the_same_function():
    """Our layers and torch's with equal weights: the times compare equal work."""
    shape = Shape("mlp", (1, 1, 24), 3, 24, 7)
    ours, torchs = (
        build_costed(COST_NETS[name], shape, 0.2, torch.Generator().manual_seed(8))
        for name in ("selu", "torch-selu")
    )
    X = torch.randn(9, 24, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(X), torchs(X))


def test_bytes_kept_by_hand(tiny):
    """Plain ReLU in place keeps one buffer of 5 × 24 float32 a layer, and the loss its own."""
    mlp = tiny.record["arms"][0]
    kept = {name: found["saved_bytes"] for name, found in mlp["results"].items()}
    buffer = 4 * 5 * 24
    # The cross-entropy keeps its log-probabilities and a number.
    loss = 4 * 5 * 10 + 4
    assert kept["relu"] == 3 * buffer + loss
    # Batch norm keeps its input as well, and mean and inverse deviation of each unit.
    assert kept["relu-bn"] == kept["relu"] + 3 * buffer + 3 * 2 * 4 * 24
    assert all(found["peak_bytes"] > found["saved_bytes"] for found in mlp["results"].values())


def test_samples_are_taken_in_turns(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(_turns, "_clock", lambda: float(next(clock)))
    calls = []
    rounds = []
    samples = times_in_turns(
        {name: lambda name=name: calls.append(name) for name in "abc"},
        rounds=3,
        least_seconds=2.0,
        on_round=lambda: rounds.append(len(calls)),
    )
    assert calls[:6] == list("aabbcc"), "two calls each to warm up"
    # A call took one tick of the clock, so a sample of two seconds is two calls.
    assert "".join(calls[6:]) == "aabbcc" + "bbccaa" + "ccaabb"
    assert rounds == [12, 18, 24]
    assert samples == {name: [0.5, 0.5, 0.5] for name in "abc"}


def test_ratios_are_paired_by_round():
    samples = {"relu-bn": [1.0, 10.0, 2.0], "selu": [0.5, 6.0, 2.2], "relu": [1.0, 1.0, 1.0]}
    assert _ratios(samples, "selu") == pytest.approx((0.55, 0.6, 0.85))
    assert _ratios({"selu": [1.0]}, "selu") is None
    assert quartiles([4.0, 1.0, 3.0, 2.0, 5.0]) == (2.0, 3.0, 4.0)


def test_files_and_table(tiny):
    assert json.loads(tiny.result_path.read_text()) == tiny.record
    assert [size["name"] for size in tiny.record["arms"]] == ["mlp, 3 × 24", "cnn, 3 × 4"]
    assert [row[1] for row in tiny.rows] == [*COST_ARMS] * 2
    for size in tiny.record["arms"]:
        assert size["results"]["relu-bn"]["step_ratio"] == [1.0, 1.0, 1.0]
        low, middle, high = size["results"]["selu"]["step"]
        assert 0 < low <= middle <= high
    page = html.unescape(tiny.report_path.read_text())
    assert "Convolutional, selu beside relu-bn: a training step takes" in page
    assert "--widths 24 --channels 4" in page


def test_the_verdict_says_what_a_kind_of_net_costs(tiny):
    record = copy.deepcopy(tiny.record)
    other = copy.deepcopy(record["arms"][0])
    record["arms"].insert(1, other)
    for size, ratio in ((record["arms"][0], 0.5), (other, 1.4)):
        size["results"]["selu"]["step_ratio"] = [0.1, ratio, 9.0]
    text = _verdict(record)
    assert "Fully connected, selu beside relu-bn: a training step takes 0.5 to 1.4 times" in text
    cnn = record["arms"][-1]["results"]
    kept = cnn["selu"]["saved_bytes"] / cnn["relu-bn"]["saved_bytes"]
    assert f"and {format_number(kept, 2)} times the memory is kept" in text


def test_without_the_rival_nothing_is_divided(tmp_path):
    result = cost(**TINY | {"channels": [3]}, models=["mlp"], arms=["relu"], out=tmp_path)
    assert result.record["arms"][0]["results"]["relu"]["step_ratio"] is None
    assert "No two arms to compare." in (tmp_path / "report.html").read_text()


def test_interrupted_run_is_kept_and_continued(tmp_path, tiny, monkeypatch):
    # The pictures of the page take seconds and are tested elsewhere.
    monkeypatch.setattr(MODULE, "render", lambda record: f"complete: {record['complete']}")

    def stop(event):
        if event.index == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cost(**TINY, out=tmp_path, progress=stop)
    assert (tmp_path / "report.html").read_text() == "complete: False"
    states = []
    result = cost(**TINY, out=tmp_path, progress=lambda event: states.append(event.state))
    assert states.count("resumed") == 1
    assert [size["name"] for size in result.record["arms"]] == ["mlp, 3 × 24", "cnn, 3 × 4"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arms": ["selu", "relu-gn"]}, "arms must be among selu, .*'relu-gn'"),
        ({"models": ["rnn"]}, "models must be among mlp, cnn"),
        ({"depths": [0]}, "depths must be at least 1"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"dropout": 1.0}, "dropout must be a number above 0 and below 1, however: dropout=1.0"),
        ({"dropout": "x"}, "dropout must be a number"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"image_size": 2}, "stages must be at most 1, .* 2×2 pixels"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(DomainError, match=message):
        cost(**TINY | options)
