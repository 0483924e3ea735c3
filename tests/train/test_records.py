"""What a training tells: records, results, the bar."""

from __future__ import annotations

import dataclasses
import io
import sys

import pytest
import torch

from selfnorm import train
from selfnorm.train import _progress


def problem() -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    X = torch.randn(45, 6, generator=g, dtype=torch.float64)
    return X, (X[:, 0] > 0).long()


def run(members: int = 2, **settings) -> tuple[train.Trainer, train.Result]:
    trainer = train.Trainer(
        train.Architecture((6, 12, 10, 2), dtype=torch.float64),
        members=members,
        epochs=3,
        batch_size=16,
        **settings,
    )
    return trainer, trainer.fit(*problem())


def test_callbacks_get_each_record() -> None:
    first, second = [], []
    _, result = run(
        callbacks=(first.append, second.append), schedule=train.Constant(2.0), progress=False
    )
    assert first == second == list(result.history)
    assert [(r.epoch, r.epochs, r.step) for r in first] == [(1, 3, 3), (2, 3, 6), (3, 3, 9)]
    assert [r.rate for r in first] == [(0.0005, 0.0005), (0.001, 0.001), (0.001, 0.001)]
    assert first[0].seconds < first[2].seconds
    assert first[0].validation_loss is first[0].metric is first[0].moments is None
    assert result.best_epoch == (3, 3)
    assert result.stopped_epoch == result.best_metric == (None, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        first[0].epoch = 5


@pytest.mark.parametrize("members", [1, 2])
def test_moments_are_those_of_the_last_batch(members: int) -> None:
    """One batch and a rate near 0: the layers' outputs follow from the initial weights."""
    X, y = problem()
    trainer = train.Trainer(
        train.Architecture((6, 12, 10, 2), dtype=torch.float64),
        members=members,
        epochs=1,
        batch_size=45,
        dropout=0.0,
        optimizer=train.SGD(1e-14),
        moments=True,
    )
    record = trainer.fit(X, y).history[0]
    for member in range(members):
        net, h = trainer.export(member), X
        for layer, block in enumerate(net.hidden):
            h = block(h).detach()
            mean, var = record.moments[member][layer]
            assert mean == pytest.approx(float(h.mean()), abs=1e-9)
            assert var == pytest.approx(float(h.var(correction=0)), rel=1e-9)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_no_bar_without_a_terminal(monkeypatch, capfd) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    run()
    assert sys.stderr.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", Terminal())
    run(progress=False)
    assert sys.stderr.getvalue() == ""
    assert capfd.readouterr() == ("", "")


def test_the_bar(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    X, y = problem()
    trainer = train.Trainer(train.Architecture((6, 12, 2)), epochs=3)
    trainer.fit(X, y, validation=(X, y))
    shown = sys.stderr.getvalue()
    for part in ("epoch 3/3", "loss 0.", "validation 0.", "rate 0.001"):
        assert part in shown, part


def test_the_words_of_the_bar() -> None:
    record = train.EpochRecord(
        epoch=4,
        epochs=9,
        step=40,
        seconds=1.0,
        loss=(0.5, None, 0.7),
        validation_loss=(9.0, None, 9.0),
        metric=(0.25, None, 0.5),
        rate=(0.01, None, 0.03),
        moments=None,
    )
    assert _progress.summary(record) == (
        "epoch 4/9  loss 0.6  validation 0.375  rate 0.02  2/3 members"
    )
