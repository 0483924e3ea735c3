"""The depth experiment: small runs, correlations by hand, interruption, options."""

from __future__ import annotations

import html
import importlib
import json

import numpy as np
import pytest
import torch

from selfnorm.errors import DataError, DomainError
from selfnorm.experiments import DEPTH_ARMS, depth, load_data
from selfnorm.experiments._depth import _layers
from selfnorm.experiments._depth_report import _verdict
from selfnorm.experiments._random import generator_for
from selfnorm.experiments._rival_nets import Shape, build_rival, net_named
from selfnorm.experiments._selection import parts_of

MODULE = importlib.import_module("selfnorm.experiments._depth")

TINY = {
    "depths": [12, 3],
    "arms": ["relu", "selu"],
    "lrs": [0.02],
    "width": 14,
    "epochs": 2,
    "batch_size": 40,
    "train_size": 300,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return depth(**TINY, out=tmp_path_factory.mktemp("tiny"))


def test_all_arms_at_all_depths(tiny):
    nets = [(net["arm"], net["depth"]) for net in tiny.record["arms"]]
    assert nets == [("selu", 3), ("relu", 3), ("selu", 12), ("relu", 12)]
    assert [len(net["layers"]) for net in tiny.record["arms"]] == [3, 3, 12, 12]
    every = depth(**TINY | {"depths": [3], "arms": DEPTH_ARMS, "epochs": 1})
    assert [net["arm"] for net in every.record["arms"]] == list(DEPTH_ARMS)


def test_correlation_is_that_of_all_pairs_of_rows(tiny):
    """Mean of x·x' over all pairs of rows, divided by the mean of x·x, in float64."""
    data = load_data("digits").take(300)
    X = parts_of(data).train[0][:1000]
    for net in tiny.record["arms"][2:]:
        shape = Shape("mlp", data.shape, 12, 14, 10)
        labels = (0, net["arm"], 12, "weights")
        model = build_rival(net_named(net["arm"]), shape, generator_for(*labels))
        Z = X
        with torch.no_grad():
            for block in list(model.children())[:12]:
                Z = block(Z)
        wide = Z.double().numpy()
        expected = (wide @ wide.T).mean() / np.square(wide).sum(axis=1).mean()
        last = net["layers"][-1]
        assert last["correlation"] == pytest.approx(expected, rel=1e-4)
        assert last["var"] == pytest.approx(wide.var(), rel=1e-4)


def test_up_to_sixty_layers_are_stored_with_both_ends():
    measured = [
        {"mean": 0.5, "var": 2.0 + k, "signal_var": 1.0, "grad_norm": float(k)} for k in range(400)
    ]
    kept = _layers(measured)
    assert len(kept) == 60
    assert (kept[0]["layer"], kept[-1]["layer"]) == (1, 400)
    assert kept[-1]["grad_norm"] == 399.0
    assert kept[0]["correlation"] == pytest.approx(1 - 1 / 2.25)
    dead = _layers([{"mean": 0.0, "var": 0.0, "signal_var": 0.0, "grad_norm": 0.0}])
    assert dead[0]["correlation"] is None


def test_files_and_table(tiny):
    assert json.loads(tiny.result_path.read_text()) == tiny.record
    assert [row[:2] for row in tiny.rows] == [(3, "selu"), (3, "relu"), (12, "selu"), (12, "relu")]
    page = html.unescape(tiny.report_path.read_text())
    assert "--depths 3,12 --arms selu,relu --lrs 0.02" in page
    assert page.count("In the last of 12 layers") == 1


def test_the_verdict_names_the_deepest_net_that_trains():
    """A SELU net of some layers trains in a few epochs at this rate; one at 1e-9 does not."""
    good = depth(**TINY | {"epochs": 20, "width": 40, "arms": ["selu"]})
    assert min(net["accuracy"][-1] for net in good.record["arms"]) > 0.72
    assert "selu trains up to 12 layers" in _verdict(good.record)
    bad = depth(**TINY | {"lrs": [1e-9], "arms": ["selu"]})
    assert _verdict(bad.record) == "selu trains at none of the depths."


def test_interrupted_run_is_kept_and_continued(tmp_path, tiny, monkeypatch):
    # The pictures of the page take seconds and are tested elsewhere.
    monkeypatch.setattr(MODULE, "render", lambda record: f"complete: {record['complete']}")

    def stop(event):
        if event.index == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        depth(**TINY, out=tmp_path, progress=stop)
    assert (tmp_path / "report.html").read_text() == "complete: False"
    states = []
    result = depth(**TINY, out=tmp_path, progress=lambda event: states.append(event.state))
    assert states.count("resumed") == 2
    for one, other in zip(result.record["arms"], tiny.record["arms"], strict=True):
        assert (one["accuracy"], one["layers"]) == (other["accuracy"], other["layers"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arms": ["selu", "resnet"]}, "arms must be among selu, .*'resnet'"),
        ({"data": "imagenet"}, "data must be among digits"),
        ({"depths": [3, -1]}, "depths must be at least 1, however: depths=-1"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"batch_size": 290}, r"batch_size must be at most \d+, the training rows without those"),
        ({"train_size": 3, "batch_size": 2}, "train_size must leave validation rows"),
        ({"lrs": []}, "lrs must name at least one"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(DomainError, match=message):
        depth(**TINY | options)


def test_more_rows_than_there_are():
    with pytest.raises(DataError, match="train_size must be at most 1442"):
        depth(**TINY | {"train_size": 5000})
