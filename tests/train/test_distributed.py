"""Processes that train together give what one process gives with the whole batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from selfnorm import train
from selfnorm.errors import DomainError
from selfnorm.train._ranks import Ranks

# What each process has in common with this one. 203 rows in batches of 16: the last batch has 11
# rows, so that neither 2 nor 3 processes share it evenly.
COMMON = """
import os, sys, time, torch
from selfnorm import nn, train
from selfnorm.errors import BackendError, DomainError

torch.set_num_threads(1)
F64 = train.Architecture((6, 11, 7, 3), dtype=torch.float64)
F32 = train.Architecture((6, 11, 7, 3))

def rows():
    g = torch.Generator().manual_seed(3)
    X = torch.randn(260, 6, generator=g, dtype=torch.float64)
    y = (X[:, 0] + X[:, 1] * X[:, 2] > 0).long() + (X[:, 3] > 0.5).long()
    return X, y, torch.rand(260, generator=g) + 0.1

def trainer(architecture, **changes):
    settings = {"epochs": 3, "batch_size": 16, "dropout": 0.0, **changes}
    return train.Trainer(architecture, **settings)

def fit(t, **changes):
    X, y, w = rows()
    held = {"validation": (X[203:], y[203:]), **changes}
    return t.fit(X[:203], y[:203], sample_weight=w[:203], **held)

# Everything that looks at sums over a batch, at losses or at the metric.
CASES = {
    "plain": (F64, {}),
    "members": (
        F64,
        {
            "members": 3,
            "epochs": 20,
            "optimizer": train.SGD((0.3, 0.05, 0.1), 0.9, weight_decay=1e-3),
            "clip_norm": 0.3,
            "average": 0.9,
            "schedule": train.Plateau(0.5, 1, warmup=0.4),
            "early_stopping": train.EarlyStopping(1, min_delta=0.02),
        },
    ),
    "float32": (F32, {"optimizer": train.SGD(0.05, 0.9)}),
    "small": (F64, {"batch_size": 2, "epochs": 1, "shuffle": "shared", "members": 2}),
    "halved": (
        train.Architecture((6, 9, 3), dtype=torch.float64, activation="leaky_relu"),
        {"loss": "squared", "optimizer": train.SGD(60.0), "on_divergence": "halve"},
    ),
    "standardised": (
        train.Architecture((6, 9, 8, 3), dtype=torch.float64, weight_standardized=True),
        {"clip_norm": 0.05},
    ),
}

def started(seed):
    generator = torch.Generator().manual_seed(seed)
    model = nn.SNN(6, 3, width=9, depth=2, dropout=0.0, generator=generator)
    t = trainer(model, epochs=1, optimizer=train.SGD(0.01))
    fit(t)
    return t._weights[0]

def streamed():
    t = trainer(F64, shuffle_rows=64)
    X, y, w = rows()
    t.fit([(X[a:b], y[a:b], w[a:b]) for a, b in ((0, 90), (90, 203))])
    return t._weights[0]

def run(name, **changes):
    architecture, settings = CASES[name]
    t = trainer(architecture, **settings, **changes)
    if settings.get("loss") == "squared":
        X, y, w = rows()
        y = torch.nn.functional.one_hot(y, 3).double()
        result = t.fit(X[:203], y[:203], sample_weight=w[:203])
    else:
        result = fit(t)
    losses = [r.loss for r in result.history], [r.metric for r in result.history]
    ends = result.best_epoch, result.stopped_epoch, result.rate_factor
    return t._weights, losses, ends
"""
space: dict[str, object] = {}
exec(COMMON, space)
CASES, run, started, streamed = (space[n] for n in ("CASES", "run", "started", "streamed"))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(script: Path, size: int, arguments: list[str]) -> list[subprocess.Popen]:
    """Start processes as torchrun does, without the seconds that it takes itself."""
    port = str(free_port())
    return [
        subprocess.Popen(
            [sys.executable, str(script), *arguments],
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "RANK": str(rank),
                "WORLD_SIZE": str(size),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def ended(processes: list[subprocess.Popen]) -> list[tuple[int, str]]:
    """Return how each ended and what it said; none is left over."""
    try:
        texts = [p.communicate(timeout=600) for p in processes]
        return [(p.returncode, a + b) for p, (a, b) in zip(processes, texts, strict=True)]
    finally:
        for process in processes:
            process.kill()


def write(folder: Path, main: str) -> Path:
    script = folder / "script.py"
    script.write_text(COMMON + textwrap.dedent(main))
    return script


@pytest.fixture(scope="module", params=[2, 3])
def together(request, tmp_path_factory) -> list[dict]:
    """Return what each of 2 or 3 processes found in each case; torchrun starts the 2."""
    folder, size = tmp_path_factory.mktemp("together"), request.param
    script = write(
        folder,
        """
        found = {name: run(name) for name in CASES}
        rank = int(os.environ["RANK"])
        found["start"] = started(rank)
        found["stream"] = streamed()
        t = trainer(F32, epochs=1, batch_size=60, dropout=0.5, moments=True)
        alike = torch.ones(60, 6), torch.zeros(60, dtype=torch.int64)
        found["moments"] = t.fit(*alike).history[0].moments
        found["dropout"] = [run("float32", dropout=0.2)[0] for _ in range(2)]
        torch.save(found, f"{sys.argv[1]}/{rank}.pt")
        """,
    )
    if size == 2:
        run_module = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command = [*run_module, "--nproc-per-node=2", str(script), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
    else:
        for code, text in ended(start(script, size, [str(folder)])):
            assert code == 0, text
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(size)]


@pytest.mark.parametrize("case", CASES)
def test_as_one_process_with_the_whole_batch(case: str, together) -> None:
    weights, numbers, ends = run(case)
    bound = 1e-6 if case == "float32" else 1e-11
    for found in together:
        theirs, their_numbers, their_ends = found[case]
        assert their_ends == ends
        for a, b in zip(theirs, weights, strict=True):
            torch.testing.assert_close(a, b, rtol=0.0, atol=bound)
        for one, other in zip(their_numbers, numbers, strict=True):
            assert len(one) == len(other)
            flat = [
                [x if x is not None else -1.0 for r in part if r for x in r]
                for part in (one, other)
            ]
            assert flat[0] == pytest.approx(flat[1], abs=bound)
    if case == "members":
        assert len(set(ends[1])) > 1, "members should stop at different epochs"
    if case == "halved":
        assert ends[2][0] < 1.0, "the training should diverge"


@pytest.mark.parametrize("case", CASES)
def test_all_processes_have_the_same_bits(case: str, together) -> None:
    weights, *rest = together[0][case]
    for found in together[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[case][0], weights, strict=True))
        assert found[case][1:] == tuple(rest)


def test_initial_weights_are_those_of_the_first(together) -> None:
    expected = started(0)
    for found in together:
        torch.testing.assert_close(found["start"], expected, rtol=0.0, atol=1e-6)
    assert not torch.allclose(started(1), expected, atol=0.01)


def test_batches_are_shared_too(together) -> None:
    for found in together:
        torch.testing.assert_close(found["stream"], streamed(), rtol=0.0, atol=1e-11)


def test_dropout_repeats_itself_and_differs_between_processes(together) -> None:
    once, again = together[0]["dropout"]
    assert torch.equal(once[0], again[0])
    # All rows were alike: equal decisions would give equal moments.
    assert together[0]["moments"] != together[1]["moments"]


def test_killed_and_resumed(tmp_path: Path) -> None:
    """The first process is killed within an epoch; the others say so, and all can go on."""
    script = write(
        tmp_path,
        """
        train._run._PAUSE = 0.0
        folder, rank = sys.argv[2], os.environ["RANK"]
        path, seen = folder + "/run.ckpt", []

        def make(**changes):
            return trainer(F32, dropout=0.2, average=0.9, epochs=4, **changes)

        def kept(name):
            return train.Checkpoint(f"{folder}/{name}", every=1e-9)

        if sys.argv[1] == "killed":
            real = train._run.Run._pause

            def pause(run, now):
                real(run, now)
                if rank == "0" and run._epoch == 2 and run._step == 5:
                    os.kill(os.getpid(), 9)

            train._run.Run._pause = pause
            fit(make(checkpoint=kept("run.ckpt")))
        else:
            t, u = make(checkpoint=kept("run.ckpt"), callbacks=[seen.append]), make()
            a, b = fit(t.resume(path)), fit(u)
            assert [r.loss for r in a.history] == [r.loss for r in b.history]
            assert torch.equal(t._weights[0], u._weights[0])
            assert [r.epoch for r in seen] == ([3, 4] if rank == "0" else []), seen
            t = make(checkpoint=kept("run.ckpt"))
            try:
                fit(t)
            except DomainError as error:
                assert rank == "0" and "exists; call resume" in str(error)
            except BackendError as error:
                assert rank != "0" and "the first one failed: DomainError" in str(error)
            else:
                raise AssertionError("the file was overwritten")
        """,
    )
    killed = ended(start(script, 2, ["killed", str(tmp_path)]))
    assert killed[0][0] == -9
    assert killed[1][0] == 1
    assert "BackendError: all processes must stay in the training, however: one was" in killed[1][1]
    for code, text in ended(start(script, 2, ["resumed", str(tmp_path)])):
        assert code == 0, text


def test_what_cannot_go_on_ends_everywhere(tmp_path: Path) -> None:
    """Unequal rows, an error in one process, and a process that hangs."""
    script = write(
        tmp_path,
        """
        from datetime import timedelta
        torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=2))
        rank = torch.distributed.get_rank()

        def refused(words, architecture=F32, held=None, **settings):
            try:
                fit(trainer(architecture, **settings), **({} if held is None else held))
            except (BackendError, DomainError) as error:
                assert words in str(error), error
                return type(error)
            raise AssertionError("nothing was refused")

        X, y, _ = rows()
        other = {"validation": (X[200 + rank :], y[200 + rank :])}
        assert refused("data must be the same in all processes", held=other) is DomainError
        assert refused("batch_size must be the same", batch_size=16 + rank) is DomainError
        X[230, 2] = float("nan") if rank == 1 else 0.0
        other = {"validation": (X[203:], y[203:])}
        kind = refused("nan in row 27, column 2", held=other)
        assert kind is (DomainError if rank == 1 else BackendError)

        def broken(outputs, y):
            raise ValueError("no such metric")

        try:
            fit(trainer(F32, early_stopping=train.EarlyStopping(metric=broken, mode="min")))
        except (ValueError, BackendError) as error:
            assert "no such metric" in str(error)
            assert type(error) is (BackendError if rank else ValueError)

        if rank == 2:
            train._run.Run._pause = lambda run, now: time.sleep(60)
            train._run._PAUSE = 0.0
        begun = time.monotonic()
        refused("one was lost at a step")
        print("told after", time.monotonic() - begun)
        os._exit(0)
        """,
    )
    processes = start(script, 3, [])
    for process in processes[:2]:
        text = "".join(process.communicate(timeout=600))
        assert process.returncode == 0, text
        assert "told after" in text
    processes[2].kill()
    processes[2].communicate()


def test_off_and_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert Ranks.find("auto", cpu).size == 1
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1")):
        monkeypatch.setenv(name, value)
    assert Ranks.find("auto", cpu).size == 1, "without a port there is nothing to join"
    monkeypatch.setenv("MASTER_PORT", "1")
    assert Ranks.find("off", cpu).size == 1
    with pytest.raises(DomainError, match=r"distributed must be one of .*distributed='always'"):
        train.Trainer(train.Architecture((3, 2)), distributed="always")


@pytest.mark.parametrize(("rows", "size"), [(11, 3), (2, 3), (0, 2), (16, 4)])
def test_shares_are_whole(rows: int, size: int) -> None:
    shares = [Ranks(rank, size).share(5, 5 + rows) for rank in range(size)]
    assert [k for s in shares for k in range(s.start, s.stop)] == list(range(5, 5 + rows))
    lengths = [s.stop - s.start for s in shares]
    assert max(lengths) - min(lengths) <= 1
