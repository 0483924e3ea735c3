"""Members trained in several processes are those trained together."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selfnorm import nn, train
from selfnorm.errors import DomainError, MissingDependencyError

joblib = pytest.importorskip("joblib")

G = torch.Generator().manual_seed(7)
X = torch.randn(300, 6, generator=G)
Y = (X[:, 0] * X[:, 1] > 0).long()
W = torch.rand(300, generator=G) + 0.2


def trainer(dtype: torch.dtype = torch.float32, **changes: Any) -> train.Trainer:
    generator = torch.Generator().manual_seed(11)
    settings = {
        "members": 5,
        "epochs": 3,
        "batch_size": 32,
        "dropout": (0.1, 0.0, 0.2, 0.3, 0.05),
        "moments": True,
        "random_state": (3, 1, 4, 1, 5),
        **changes,
    }
    model = nn.SNN(6, 2, width=12, depth=3, generator=generator).to(dtype)
    return train.Trainer(model, **settings)


FOLDS = [np.arange(k, 300, 5) for k in range(5)]
UNEQUAL = [*FOLDS[:4], FOLDS[4][:-1]]


def assert_equal(results: list[train.Result], trainers: list[train.Trainer], atol: float) -> None:
    a, b = results
    assert a.best_epoch == b.best_epoch
    assert a.stopped_epoch == b.stopped_epoch
    assert len(a.history) == len(b.history)
    for one, other in zip(a.history, b.history, strict=True):
        assert (one.epoch, one.epochs, one.step) == (other.epoch, other.epochs, other.step)
        for name in ("loss", "validation_loss", "metric", "rate"):
            found, expected = getattr(one, name), getattr(other, name)
            assert (found is None) == (expected is None)
            if found is None:
                continue
            assert [x is None for x in found] == [x is None for x in expected]
            pairs = zip(found, expected, strict=True)
            assert all(x is None or abs(x - y) <= 10 * atol for x, y in pairs)
        assert [m is None for m in one.moments] == [m is None for m in other.moments]
    for x, y in zip(trainers[0]._weights, trainers[1]._weights, strict=True):
        torch.testing.assert_close(x, y, rtol=0.0, atol=atol)


def test_as_together() -> None:
    """Two processes of this machine, 2 and 3 members in each job: the bits are the same."""
    a, b = trainer(), trainer()
    given = {"sample_weight": W, "class_weight": {1: 1.7}, "validation": FOLDS}
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        found = train.spread(a, X, Y, **given)
    assert_equal([found, b.fit(X, Y, **given)], [a, b], 0.0)
    assert torch.equal(a.predict(X), b.predict(X))


@pytest.mark.parametrize("members_per_job", [1, 2])
def test_members_that_stop(members_per_job: int) -> None:
    """Who is left alone is trained as a single member, which rounds otherwise: here in float64."""
    stopping = {
        "early_stopping": train.EarlyStopping(2),
        "optimizer": train.AdamW(0.01),
        "epochs": 12,
        "dtype": torch.float64,
    }
    a, b = trainer(**stopping), trainer(**stopping)
    found = train.spread(a, X, Y, validation=UNEQUAL, members_per_job=members_per_job, n_jobs=1)
    expected = b.fit(X, Y, validation=UNEQUAL)
    stopped = [epoch or 13 for epoch in expected.stopped_epoch]
    assert len(set(stopped)) > 2, "members should stop at different epochs"
    assert max(stopped[:2]) != max(stopped[2:]), "so should jobs"
    assert_equal([found, expected], [a, b], 1e-11)


def test_rates_of_each_member() -> None:
    settings = {
        "optimizer": train.SGD((0.1, 0.02, 0.3, 0.1, 0.05), 0.9, (0.0, 1e-3, 0.0, 0.1, 0.0)),
    }
    a, b = trainer(**settings), trainer(**settings)
    found = train.spread(a, X, Y, members_per_job=2, n_jobs=1)
    assert_equal([found, b.fit(X, Y)], [a, b], 1e-5)


def test_dask_cluster(tmp_path: Path) -> None:
    """Two processes of a Dask cluster, rows in a file that each of them maps."""
    distributed = pytest.importorskip("distributed")
    np.save(tmp_path / "x.npy", X.numpy())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    a, b = trainer(), trainer()
    pids: list[int] = []
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config("dask"),
    ):
        pids += client.run(os.getpid).values()
        found = train.spread(a, mapped, Y, sample_weight=W, validation=FOLDS)
        tasks = client.run(lambda dask_worker: dask_worker.state.executed_count)
    assert os.getpid() not in pids
    assert min(tasks.values()) > 0, "both processes should have had work"
    together = b.fit(X, Y, sample_weight=W, validation=FOLDS)
    assert_equal([found, together], [a, b], 0.0)


def test_batches_go_to_jobs_too() -> None:
    rows = [(X[:170].numpy(), Y[:170].numpy()), (X[170:].numpy(), Y[170:].numpy())]
    held = {"validation": (X[:50], Y[:50])}
    a, b = trainer(), trainer()
    found = train.spread(a, rows, n_jobs=1, members_per_job=2, **held)
    assert_equal([found, b.fit(X, Y, **held)], [a, b], 0.0)


@pytest.mark.parametrize(
    ("settings", "given", "words"),
    [
        ({"checkpoint": train.Checkpoint("a")}, {}, "must not have checkpoint"),
        ({"callbacks": [print]}, {}, "must not have callbacks"),
        ({"shuffle": "shared"}, {}, "must stay together, however: shuffle='shared'"),
        ({}, {"members_per_job": 0}, "members_per_job must be an integer, 1 or more"),
        ({}, {"validation": FOLDS[:4]}, "validation must list rows for each of members"),
    ],
)
def test_refusals(settings: dict[str, Any], given: dict[str, Any], words: str) -> None:
    with pytest.raises(DomainError, match=words):
        train.spread(trainer(**settings), X, Y, **{"members_per_job": 2, **given})


def test_without_joblib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(MissingDependencyError, match="joblib, which is not installed; install"):
        train.spread(trainer(), X, Y)
