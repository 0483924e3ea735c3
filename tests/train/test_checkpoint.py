"""A training that is killed at any moment and resumed ends with the same bits."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

from selfnorm import train
from selfnorm.errors import DomainError
from selfnorm.train import _checkpoint, _run

# Everything that has a state: two optimiser moments, an average, early stopping, a plateau,
# members that stop at different times, weights, a last partial batch.
SCRIPT = """
import sys, torch
from selfnorm import train

torch.set_num_threads(1)

def problem():
    g = torch.Generator().manual_seed(1)
    X = torch.randn(700, 8, generator=g)
    y = (X[:, 0] + X[:, 1] * X[:, 2] > 0).long() + (X[:, 3] > 1).long()
    return X, y, torch.rand(700, generator=g)

def trainer(path, members=3, every=0.02, unit="seconds", epochs=60, patience=5, **settings):
    return train.Trainer(
        train.Architecture((8, 24, 17, 3)),
        members=members,
        optimizer=train.AdamW((0.02, 0.002, 0.06)[:members], weight_decay=0.01),
        schedule=train.Plateau(0.5, 2, warmup=0.7),
        epochs=epochs,
        batch_size=16,
        dropout=0.1,
        clip_norm=2.0,
        average=0.95,
        early_stopping=train.EarlyStopping(patience),
        checkpoint=None if path is None else train.Checkpoint(path, every, unit),
        **settings,
    )

def fit(t):
    X, y, w = problem()
    return t.fit(X[:550], y[:550], sample_weight=w[:550], validation=(X[550:], y[550:]))
"""
MAIN = """
train._run._PAUSE = 0.0
path, resume, out = sys.argv[1:4]
t = trainer(path)
if resume == "1":
    t.resume(path)
fit(t)
torch.save([t.export(k).state_dict() for k in range(3)], out)
"""
# The same text in this process and in those that are killed.
space: dict[str, object] = {}
exec(SCRIPT, space)
trainer, fit, problem = space["trainer"], space["fit"], space["problem"]


def states(t: train.Trainer, members: int) -> list[dict[str, Tensor]]:
    return [t.export(k).state_dict() for k in range(members)]


def assert_same(a: list[dict[str, Tensor]], b: list[dict[str, Tensor]]) -> None:
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert torch.equal(one[name], other[name]), name


@pytest.fixture(scope="module")
def uninterrupted() -> list[dict[str, Tensor]]:
    t = trainer(None)
    result = fit(t)
    assert len({*result.stopped_epoch}) > 1, "the members should end at different epochs"
    return states(t, 3)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in range(1, 8))]
)
def test_killed_again_and_again(tmp_path: Path, seed: int, uninterrupted) -> None:
    """Processes are killed at random moments of their training; the last one may finish."""
    chance = random.Random(seed)
    path, out = tmp_path / "run.ckpt", tmp_path / "out.pt"
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + MAIN)
    kills = 0
    while not out.exists():
        before = path.stat().st_mtime_ns if path.exists() else 0
        command = [sys.executable, str(script), str(path), str(int(path.exists())), str(out)]
        process = subprocess.Popen(command)
        while process.poll() is None and not (
            path.exists() and path.stat().st_mtime_ns > before
        ):  # its first checkpoint: from now on it trains
            time.sleep(0.002)
        if kills < 4:
            time.sleep(chance.uniform(0.0, 0.4))
            process.send_signal(signal.SIGKILL)
        code = process.wait(600)
        assert code in (0, -signal.SIGKILL)
        kills += code != 0
    assert kills > 0
    assert_same(torch.load(out, weights_only=True), uninterrupted)


@pytest.mark.parametrize("patience", [9, 1])
def test_what_has_ended_is_resumed(tmp_path: Path, patience: int) -> None:
    """A process that is killed after its last checkpoint leaves one of a finished training."""
    settings = {"epochs": 3 if patience == 9 else 60, "patience": patience}
    path = tmp_path / "run.ckpt"
    first = trainer(path, 2, every=1e-9, **settings)
    ended = fit(first)
    again = trainer(path, 2, every=1e-9, **settings).resume(path)
    assert fit(again).loss == ended.loss
    assert_same(states(again, 2), states(first, 2))


@pytest.mark.parametrize("members", [1, 3])
def test_resumed_after_every_step(tmp_path: Path, members: int, monkeypatch) -> None:
    """The file of each step, the middle of epochs and their ends included, leads to the same."""
    monkeypatch.setattr(_run, "_PAUSE", 0.0)
    files: list[Path] = []

    def keep(path, state) -> None:
        _checkpoint.save(path, state)
        files.append(tmp_path / f"{len(files)}.ckpt")
        files[-1].write_bytes(Path(path).read_bytes())

    settings = {"epochs": 14, "patience": 2, "on_divergence": "halve"}
    t = trainer(tmp_path / "run.ckpt", members, every=1e-9, **settings)
    with monkeypatch.context() as patch:
        patch.setattr(_run, "save_or_warn", keep)
        expected = fit(t)
    assert members == 1 or any(expected.stopped_epoch)
    assert len(files) == expected.history[-1].step + 1
    chance = random.Random(members)
    for epoch in range(len(expected.history)):
        number = 35 * epoch + chance.randrange(35)
        again = trainer(None, members, **settings).resume(files[number])
        result = fit(again)
        assert_same(states(again, members), states(t, members))
        assert [r.loss for r in result.history] == [r.loss for r in expected.history]
        assert [r.metric for r in result.history] == [r.metric for r in expected.history]
        assert (result.best_epoch, result.rate_factor) == (
            expected.best_epoch,
            expected.rate_factor,
        )


def test_resumed_between_divergences(tmp_path: Path, monkeypatch) -> None:
    """What was tried so far, and the state to go back to, are in the file."""
    monkeypatch.setattr(_run, "_PAUSE", 0.0)
    files: list[Path] = []

    def keep(path, state) -> None:
        files.append(tmp_path / f"{len(files)}.ckpt")
        _checkpoint.save(files[-1], state)

    def make(checkpoint: train.Checkpoint | None) -> train.Trainer:
        return train.Trainer(
            train.Architecture((8, 13, 11, 3), dtype=torch.float64, activation="leaky_relu"),
            members=2,
            loss="squared",
            optimizer=train.SGD((0.01, 1e3), 0.9),
            epochs=6,
            batch_size=64,
            dropout=0.1,
            on_divergence="halve",
            checkpoint=checkpoint,
        )

    X, _, _ = problem()
    y = torch.randn(700, 3, generator=torch.Generator().manual_seed(2))
    t = make(train.Checkpoint(tmp_path / "run.ckpt", 1e-9))
    with monkeypatch.context() as patch:
        patch.setattr(_run, "save_or_warn", keep)
        expected = t.fit(X, y)
    assert expected.rate_factor[1] < 2.0**-5
    for file in random.Random(0).sample(files[:-1], 12):
        again = make(None).resume(file)
        assert again.fit(X, y).rate_factor == expected.rate_factor
        assert_same(states(again, 2), states(t, 2))


def test_a_longer_training_can_follow(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    fit(trainer(path, epochs=2, on_divergence="raise"))
    more = trainer(None, epochs=3).resume(path)
    assert [r.epochs for r in fit(more).history] == [2, 2]  # That training had ended.


def test_another_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    fit(trainer(path, 1, epochs=2))
    other = trainer(None, 1, epochs=2, random_state=1).resume(path)
    with pytest.raises(
        DomainError, match=r"seeds must be what it was .* \(0,\), however: .*\(1,\)"
    ):
        fit(other)
    X, y, w = problem()
    X[3, 4] += 1.0
    with pytest.raises(DomainError, match="data, weights and validation must be those"):
        trainer(None, 1, epochs=2).resume(path).fit(
            X[:550], y[:550], sample_weight=w[:550], validation=(X[550:], y[550:])
        )


def test_epochs_as_unit(tmp_path: Path, monkeypatch) -> None:
    saved = []
    monkeypatch.setattr(_run, "save_or_warn", lambda path, state: saved.append(state["epoch"]))
    fit(trainer(tmp_path / "a.ckpt", 1, 2, "epochs", epochs=5))
    assert saved == [2, 4, 5]


def test_nothing_is_trained_if_the_file_cannot_be_written(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("a file is no folder")
    monkeypatch.setattr(_run.Run, "_run_epoch", lambda *_: pytest.fail("trained"))
    with pytest.raises(OSError, match="file"):
        fit(trainer(tmp_path / "file" / "run.ckpt"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_later_is_told_and_loses_nothing(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "run.ckpt"
    t = trainer(path, 1, 1, "epochs", epochs=3)
    real_fsync = os.fsync
    calls = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 2:
            with open("/dev/full", "wb", buffering=0) as device:
                device.write(b"x")
        real_fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    before: list[bytes] = []
    t._settings = type(t._settings)(
        **{**t._settings.__dict__, "callbacks": (lambda r: before.append(path.read_bytes()),)}
    )
    with pytest.warns(RuntimeWarning, match="could not be written .*No space left"):
        fit(t)
    assert before[0] == before[1], "the file should be as it was"
    assert before[2] != before[1]
    assert list(tmp_path.iterdir()) == [path], "no temporary file should be left"
    with warnings.catch_warnings():
        assert _checkpoint.load(path)["epoch"] == 3


FULL = """
import os, resource, warnings
path = sys.argv[1]
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

def watch(record):
    if record.epoch == 3:  # as if the disk had room for some more bytes, but not for a file
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, unlimited[1]))
    if record.epoch == 5:
        print("after", record.epoch, "epochs the file has", train._checkpoint.load(path)["epoch"])
        if sys.argv[2] == "dies":
            os._exit(3)
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

t = trainer(path, every=1, unit="epochs", callbacks=(watch,))
fit(t)
torch.save([t.export(k).state_dict() for k in range(3)], sys.argv[3])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of the file size")
@pytest.mark.parametrize("then", ["dies", "has room again"])
def test_a_disk_that_fills_up_while_training(tmp_path: Path, then: str, uninterrupted) -> None:
    """Writing fails in the kernel, in the middle of a file, from epoch 3 on."""
    path, out, script = tmp_path / "a" / "run.ckpt", tmp_path / "out.pt", tmp_path / "script.py"
    script.write_text(SCRIPT + FULL)
    command = [sys.executable, str(script), str(path), then, str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert "after 5 epochs the file has 2" in done.stdout
    assert "RuntimeWarning: the checkpoint" in done.stderr
    assert "could not be written ([Errno 27] File too large)" in done.stderr
    assert list(path.parent.iterdir()) == [path], "no temporary file should be left"
    if then == "dies":
        assert done.returncode == 3
        t = trainer(None).resume(path)
        fit(t)
        assert_same(states(t, 3), uninterrupted)
    else:
        assert done.returncode == 0, done.stderr
        assert _checkpoint.load(path)["epoch"] > 5
        assert_same(torch.load(out, weights_only=True), uninterrupted)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harm",))

    torch.save({"format": "selfnorm.train 1", "settings": Harmful()}, tmp_path / "bad.ckpt")
    from selfnorm.errors import DataError

    with pytest.raises(DataError, match="cannot be read as one"):
        trainer(None).resume(tmp_path / "bad.ckpt")
    assert not (tmp_path / "harm").exists()
