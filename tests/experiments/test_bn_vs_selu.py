"""The bn-vs-selu experiment: small runs, the choice of rates, refusals, interruption, options."""

from __future__ import annotations

import dataclasses
import html
import importlib
import json
import statistics

import numpy as np
import pytest
import torch
from torch import nn

from selfnorm.errors import DataError, DomainError
from selfnorm.experiments import bn_vs_selu, load_data
from selfnorm.experiments._bn_vs_selu_presets import preset_for
from selfnorm.experiments._bn_vs_selu_report import _protocol, _verdict
from selfnorm.experiments._progress import Watch
from selfnorm.experiments._rival_words import ties
from selfnorm.experiments._selection import Protocol, parts_of, train_selected

MODULE = importlib.import_module("selfnorm.experiments._bn_vs_selu")

TINY = {
    "arms": ["relu-bn", "selu"],
    "depths": [5, 3],
    "batch_sizes": [1, 50],
    "lrs": [0.02, 0.1],
    "width": 12,
    "epochs": 2,
    "small_epochs": 1,
    "seeds": 2,
    "train_size": 240,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return bn_vs_selu(**TINY, out=tmp_path_factory.mktemp("tiny"))


def test_depths_at_the_largest_batch_then_other_batches_at_the_smallest_depth(tiny):
    cells = [(cell["arm"], cell["depth"], cell["batch_size"]) for cell in tiny.record["arms"]]
    assert cells == [
        ("selu", 3, 50),
        ("relu-bn", 3, 50),
        ("selu", 5, 50),
        ("relu-bn", 5, 50),
        ("selu", 3, 1),
        ("relu-bn", 3, 1),
    ]
    assert [cell["epochs"] for cell in tiny.record["arms"]] == [2, 2, 2, 2, 1, 1]


def test_batch_norm_on_single_rows_is_refused_with_the_reason(tiny):
    *others, last = tiny.record["arms"]
    assert all(cell["refused"] is None for cell in others)
    assert "more than 1 value per channel" in last["refused"]
    assert (last["accuracy"], last["lr"], last["seconds"]) == ([], None, 0.0)
    assert tiny.rows[-1][-1] == "cannot train"
    page = html.unescape(tiny.report_path.read_text())
    assert "Cannot be trained at all: relu-bn at batch 1." in page
    assert "torch says “Expected more than 1 value per channel" in page


def test_rates_follow_the_batch_size(tiny):
    rates = {
        cell["batch_size"]: [one["lr"] for one in cell["candidates"]]
        for cell in tiny.record["arms"]
        if cell["candidates"]
    }
    assert rates[50] == pytest.approx([0.02, 0.1])
    assert rates[1] == pytest.approx([0.0004, 0.002])


def test_curves_are_means_over_the_seeds(tiny):
    for cell in tiny.record["arms"][:5]:
        for key in ("accuracy", "loss", "validation"):
            curves = cell[f"{key}_by_seed"]
            assert len(curves) == 2
            assert key != "loss" or curves[0] != curves[1]
            for epoch, value in enumerate(cell[key]):
                assert value == pytest.approx(statistics.fmean(one[epoch] for one in curves))


def test_validation_rows_choose_the_rate(tiny):
    for cell in tiny.record["arms"][:5]:
        best = max(cell["candidates"], key=lambda one: one["validation"])
        assert cell["lr"] == best["lr"]
        assert cell["validation_by_seed"][0][-1] == best["validation"]
        assert cell["lr_at_end"] == (
            "lowest" if best["lr"] == cell["candidates"][0]["lr"] else "highest"
        )


def test_parts_share_no_rows_and_scale_by_the_training_part():
    data = load_data("digits").take(300)
    parts = parts_of(data, var=0.3)
    assert len(parts.train[0]) + len(parts.validation[0]) == 300
    assert len(parts.test[0]) == len(data.X_test)
    live = parts.train[0].var(dim=0) > 0
    np.testing.assert_allclose(parts.train[0][:, live].var(dim=0, correction=0), 0.3, rtol=1e-4)
    by_channel = parts_of(data, var=0.3, by_channel=True)
    assert by_channel.train[0].double().var(correction=0).item() == pytest.approx(0.3, rel=1e-5)
    assert by_channel.train[0].double().mean().item() == pytest.approx(0.0, abs=1e-6)


class Watched(nn.Linear):
    """A linear model that keeps what it was trained on."""

    def __init__(self, generator):
        super().__init__(64, 10, device="meta")
        self.to_empty(device="cpu")
        nn.init.normal_(self.weight, std=0.1, generator=generator)
        nn.init.zeros_(self.bias)
        self.batches = []

    def forward(self, x):
        if self.training:
            self.batches.append(x.clone())
        return super().forward(x)


def test_whatever_is_compared_sees_the_same_batches_and_test_rows_are_reported():
    parts = parts_of(load_data("digits").take(300))
    first_row = tuple(part[:1] for part in parts.test)
    alone = dataclasses.replace(parts, test=first_row)
    protocol = Protocol(2, 50, (0.01,), 0, 2, 0.9, "constant")
    runs = []
    for label in ("one", "another"):
        models = []

        def build(generator, models=models):
            models.append(Watched(generator))
            return models[-1]

        watch = Watch(None, seed=0)
        found = train_selected(build, alone, protocol, labels=(label,), watch=watch)
        # One test row: right or wrong and nothing between, which no validation accuracy is.
        assert all(end in (0.0, 1.0) for curve in found["accuracy_by_seed"] for end in curve)
        assert 0.1 < found["validation"][-1] < 1.0
        runs.append(models)
    for one, other in zip(*runs, strict=True):
        assert all(map(torch.equal, one.batches, other.batches))
        assert not torch.equal(one.weight, other.weight)
    assert not torch.equal(runs[0][0].batches[0], runs[0][1].batches[0]), "seeds differ"


def test_all_rates_diverging_leaves_no_rate():
    protocol = Protocol(2, 50, (1e39, 1e40), 0, 3, 0.9, "constant")

    def build(generator):
        layer = nn.Linear(64, 10, device="meta").to_empty(device="cpu")
        nn.init.normal_(layer.weight, generator=generator)
        nn.init.zeros_(layer.bias)
        return layer

    parts = parts_of(load_data("digits").take(300))
    watch = Watch(None, seed=0)
    found = train_selected(build, parts, protocol, labels=("x",), watch=watch)
    assert (found["lr"], found["accuracy"]) == (None, [None, None])
    assert [one["seed"] for one in found["diverged"]] == [0], "no further seeds are tried"


def test_files_and_table(tiny):
    assert json.loads(tiny.result_path.read_text()) == tiny.record
    assert tiny.record["complete"] is True
    assert [row[:3] for row in tiny.rows[:2]] == [("selu", 3, 50), ("relu-bn", 3, 50)]
    page = html.unescape(tiny.report_path.read_text())
    assert "--arms selu,relu-bn --depths 3,5 --batch-sizes 1,50 --lrs 0.02,0.1" in page
    assert "--train-size 240" in page


def test_interrupted_run_is_kept_and_continued(tmp_path, tiny, monkeypatch):
    # The pictures of the page take seconds and are tested elsewhere.
    monkeypatch.setattr(MODULE, "render", lambda record: f"complete: {record['complete']}")

    def stop(event):
        if event.index == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bn_vs_selu(**TINY, out=tmp_path, progress=stop)
    assert (tmp_path / "report.html").read_text() == "complete: False"
    states = []
    result = bn_vs_selu(**TINY, out=tmp_path, progress=lambda event: states.append(event.state))
    assert states.count("resumed") == 3
    for one, other in zip(result.record["arms"], tiny.record["arms"], strict=True):
        assert (one["accuracy"], one["loss"]) == (other["accuracy"], other["loss"])


def test_a_convolutional_net_and_augmentation():
    options = TINY | {"model": "cnn", "width": 3, "batch_sizes": [50], "depths": [3]}
    options |= {"seeds": 1, "lrs": [0.02], "epochs": 1}
    plain = bn_vs_selu(**options)
    shifted = bn_vs_selu(**options, augment=True)
    assert plain.record["config"]["augment"] is False
    losses = [[cell["loss"][-1] for cell in one.record["arms"]] for one in (plain, shifted)]
    assert all(a != b for a, b in zip(*losses, strict=True))
    assert "3×3 convolutions, 3 channels" in _protocol(plain.record["config"])


def test_the_papers_setting():
    """Figure 1: rate 1e-5 on the summed loss over 128 rows, 2,000 epochs, as wide as the input."""
    paper = preset_for("paper", "mnist", "mlp")
    assert (paper.lrs, paper.summed, paper.batch_sizes) == ((1e-5,), True, (128,))
    assert (paper.epochs, paper.width, paper.momentum) == (2000, None, 0.0)
    assert (paper.norm_after, paper.schedule, paper.train_size) == (True, "constant", None)
    assert paper.depths == (8, 16, 32)
    result = bn_vs_selu(
        preset="paper", depths=[2], epochs=1, train_size=170, arms=["selu", "relu-bn"]
    )
    assert result.record["config"]["width"] == 64
    assert result.record["arms"][0]["candidates"][0]["lr"] == 1e-5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arms": ["relu-bm"]}, "arms must be among selu, .*'relu-bm'"),
        ({"data": "cifar"}, "data must be among digits, mnist, cifar10, .*'cifar'"),
        ({"model": "rnn"}, "model must be among mlp, cnn, however: model='rnn'"),
        ({"preset": "slow"}, "preset must be among quick, paper, paper-small"),
        ({"depths": [0, 3]}, "depths must be at least 1, however: depths=0"),
        ({"width": 0}, "width must be at least 1"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"lrs": [0.1, -1]}, "lrs must be finite and above 0"),
        ({"batch_sizes": [4, 500]}, r"batch_sizes must be at most \d+, .*holds 500; choose"),
        ({"train_size": 4, "batch_sizes": [2]}, "train_size must leave validation rows"),
        ({"model": "cnn", "stages": 4}, "stages must be at most 3, .*feature maps would vanish"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(DomainError, match=message):
        bn_vs_selu(**TINY | options)


def test_more_rows_than_there_are():
    with pytest.raises(DataError, match="train_size must be at most 1442"):
        bn_vs_selu(**TINY | {"train_size": 5000})
    with pytest.raises(DataError, match=r"test_size must be at most 355, .*test_size=356"):
        bn_vs_selu(**TINY, test_size=356)


def cell(name, *ends, diverged=()):
    known = [end for end in ends if end is not None]
    return {
        "arm": name,
        "accuracy": [statistics.fmean(known)] if known else [],
        "accuracy_by_seed": [[end] for end in ends],
        "diverged": list(diverged),
    }


def test_who_cannot_be_told_from_the_best():
    """400 test rows at 0.96: two errors of a difference are 0.031 to 0.034, seeds add little."""
    best = cell("best", 0.96, 0.962, 0.958)
    near, far = cell("near", 0.94, 0.938, 0.936), cell("far", 0.92, 0.92, 0.92)
    wild = cell("wild", 0.99, 0.1, 0.96)
    broken = cell("broken", 0.959, None, 0.959, diverged=[{"seed": 1}])
    nothing = cell("nothing")
    found = ties([far, wild, best, nothing, broken, near], 400)
    assert [one["arm"] for one in found] == ["best", "near"]
    assert [one["arm"] for one in ties([far, best, near], 40)] == ["far", "best", "near"]
    assert ties([nothing], 400) == []


def test_an_unfinished_page_says_so(tiny):
    record = tiny.record | {"complete": False, "arms": tiny.record["arms"][:3]}
    assert _verdict(record).startswith("Not finished: the cells done so far are shown.")
