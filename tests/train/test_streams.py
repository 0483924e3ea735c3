"""Rows that stay in files or come in batches give what the same rows in memory give."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selfnorm import train
from selfnorm.errors import DataError, DomainError, MissingDependencyError
from selfnorm.train import _parquet
from selfnorm.train._stream import Stream

G = np.random.default_rng(4)
X = G.normal(size=(331, 5))
Y = (X[:, 0] * X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 0.7)
W = G.uniform(0.1, 2.0, 331)
F64 = train.Architecture((5, 9, 8, 3), dropout=0.1, dtype=torch.float64)


class Pieces:
    """Batches of unequal sizes, one of them empty, each time the same."""

    def __init__(self, *arrays: np.ndarray, bounds: tuple[int, ...] = (0, 100, 107, 107, 250, 331)):
        self.arrays = arrays
        self.bounds = bounds
        self.passes = 0

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        self.passes += 1
        for a, b in zip(self.bounds[:-1], self.bounds[1:], strict=True):
            yield tuple(array[a:b] for array in self.arrays)


def trainer(**changes: Any) -> train.Trainer:
    settings = {"members": 2, "epochs": 3, "batch_size": 32, "random_state": 5, **changes}
    return train.Trainer(F64, **settings)


def assert_same(a: train.Trainer, b: train.Trainer, atol: float = 0.0) -> None:
    for one, other in zip(a._weights, b._weights, strict=True):
        torch.testing.assert_close(one, other, rtol=0.0, atol=atol)


# ---- memory-mapped arrays -------------------------------------------------------------------


def mapped(path: Path, array: np.ndarray, mode: str = "r") -> np.memmap:
    np.save(path, array)
    return np.load(path, mmap_mode=mode)


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("kind", ["<f8", ">f8", "fortran", "view", "copy-on-write"])
def test_memory_mapped_arrays(tmp_path: Path, members: int, kind: str, monkeypatch) -> None:
    monkeypatch.setattr("selfnorm.train._mapped._RESIDENT", 1)  # give all back, again and again
    given: Any = X
    if kind in ("<f8", ">f8"):
        found = mapped(tmp_path / "x.npy", X.astype(kind))
    elif kind == "fortran":
        found = mapped(tmp_path / "x.npy", np.asfortranarray(X))
    elif kind == "view":
        found = mapped(tmp_path / "x.npy", np.repeat(X, 2, 0)[:, ::-1])[::2, ::-1]
    else:
        found = mapped(tmp_path / "x.npy", X, "c")
        found[7, 2] = 0.25
        given = X.copy()
        given[7, 2] = 0.25
    assert isinstance(found, np.memmap)
    folds = [np.arange(k, 331, members + 1) for k in range(members)]
    results = []
    for rows in (given, found):
        t = trainer(members=members, early_stopping=train.EarlyStopping(2))
        results.append((t, t.fit(rows, Y, sample_weight=W, validation=folds)))
    (a, result), (b, other) = results
    assert_same(a, b)
    assert [r.metric for r in result.history] == [r.metric for r in other.history]
    assert torch.equal(a.predict(given), b.predict(found))


def test_memory_mapped_is_checked_by_row_and_resumes(tmp_path: Path) -> None:
    wrong = X.copy()
    wrong[300, 4] = np.inf
    with pytest.raises(DomainError, match=r"X must be finite.*inf in row 300, column 4"):
        trainer().fit(mapped(tmp_path / "w.npy", wrong), Y)
    with pytest.raises(DomainError, match=r"X.shape=\(331, 4\)"):
        trainer().fit(mapped(tmp_path / "n.npy", X[:, :4]), Y)
    found = mapped(tmp_path / "x.npy", X)
    path = tmp_path / "run.ckpt"

    def stop(record: train.EpochRecord) -> None:
        if record.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(checkpoint=train.Checkpoint(path, 1, "epochs"), callbacks=[stop]).fit(found, Y)
    again, whole = trainer().resume(path), trainer()
    again.fit(X, Y)  # the same rows, wherever they are
    whole.fit(X, Y)
    assert_same(again, whole)


# ---- batches --------------------------------------------------------------------------------


def test_batches_that_fit_in_the_buffer_are_as_arrays() -> None:
    pieces = Pieces(X, Y)
    a, b = trainer(), trainer()
    result, expected = a.fit(pieces), b.fit(X, Y)
    assert_same(a, b)
    assert [r.loss for r in result.history] == [r.loss for r in expected.history]
    assert pieces.passes == 3 + 1


@pytest.mark.parametrize("class_weight", [None, "balanced", {1: 3.0}])
def test_weights_come_with_batches(class_weight: Any) -> None:
    a, b, c = trainer(), trainer(), trainer()
    a.fit(Pieces(X, Y, W), class_weight=class_weight)
    b.fit(X, Y, sample_weight=W, class_weight=class_weight)
    assert_same(a, b, atol=1e-13)
    c.fit(Pieces(X, Y), class_weight=class_weight)
    assert not torch.allclose(a._weights[0], c._weights[0], atol=1e-3)
    b.fit(X, Y, class_weight=class_weight)
    assert_same(c, b, atol=1e-13)


def rows_of(blocks: Iterator[Any], epoch: int, member: int) -> list[list[float]]:
    """Return the first column in the order of training, block by block; blocks are overwritten."""
    return [b.X[b.order(5 + member, member, epoch), 0].tolist() for b in blocks]


def test_blocks_have_all_rows_in_bounded_disorder() -> None:
    settings = trainer(shuffle_rows=100)._settings  # becomes 96, three batches
    pieces = Pieces(X, Y)
    stream = Stream(pieces, settings, None)
    once, again = (rows_of(stream.blocks(2), 2, 1) for _ in range(2))
    other = rows_of(stream.blocks(3), 3, 1)
    member = rows_of(stream.blocks(2), 2, 0)
    assert once == again
    for k, start in enumerate(range(0, 331, 96)):
        expected = X[start : start + 96, 0].tolist()
        assert sorted(once[k]) == sorted(other[k]) == sorted(member[k]) == sorted(expected)
        assert len({tuple(r[k]) for r in (once, other, member, [[*expected]] * 4)}) == 4
    assert len(once) == 4
    orders = [block.order(6, 1, 2).tolist() for block in stream.blocks(2)]
    assert orders[0] != orders[1], "each block has an order of its own"


@pytest.mark.parametrize("source", ["pieces", "parquet"])
def test_resumed_within_an_epoch(tmp_path: Path, source: str, monkeypatch) -> None:
    monkeypatch.setattr(train._run, "_PAUSE", 0.0)
    batches: Any = Pieces(X, Y, W)
    if source == "parquet":
        batches = train.ParquetBatches(parquet(tmp_path), target="y", weight="w")
    files: list[bytes] = []

    def keep(path: Path, state: dict[str, Any]) -> None:
        train._checkpoint.save(path, state)
        files.append(Path(path).read_bytes())

    path = tmp_path / "run.ckpt"
    t = trainer(shuffle_rows=64, checkpoint=train.Checkpoint(path, 1e-9))
    with monkeypatch.context() as patch:
        patch.setattr(train._run, "save_or_warn", keep)
        t.fit(batches)
    assert len(files) == 3 * 11 + 1
    for number in (3, 14, 15, 21, 32):
        path.write_bytes(files[number])
        again = trainer(shuffle_rows=64).resume(path)
        again.fit(batches)
        assert_same(again, t)
    path.write_bytes(files[3])
    with pytest.raises(DomainError, match="shuffle_rows must be what it was"):
        trainer(shuffle_rows=96).resume(path).fit(batches)
    changed = Pieces(X, Y, W + 1e-9)
    with pytest.raises(DomainError, match="data, weights and validation must be those"):
        trainer(shuffle_rows=64).resume(path).fit(changed)


def test_validation_in_batches() -> None:
    a, b = (trainer(early_stopping=train.EarlyStopping(1), epochs=6) for _ in range(2))
    result = a.fit(Pieces(X, Y), validation=Pieces(X[:90], Y[:90], bounds=(0, 50, 90)))
    expected = b.fit(X, Y, validation=(X[:90], Y[:90]))
    assert [r.metric for r in result.history] == [r.metric for r in expected.history]
    assert_same(a, b)


# ---- Parquet --------------------------------------------------------------------------------


def parquet(folder: Path, **changes: Any) -> Path:
    """Write the rows to two files with row groups of 40."""
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    place = folder / "rows"
    place.mkdir()
    for k, part in enumerate((slice(0, 130), slice(130, 331))):
        data = {f"x{c}": X[part, c] for c in range(5)} | {"y": Y[part], "w": W[part]}
        data |= {name: values[part] for name, values in changes.items()}
        files.write_table(arrow.table(data), place / f"{k}.parquet", row_group_size=40)
    return place


def test_parquet_is_as_arrays(tmp_path: Path) -> None:
    batches = train.ParquetBatches(parquet(tmp_path), target="y", weight="w")
    assert (batches.columns, batches.n_rows) == (("x0", "x1", "x2", "x3", "x4"), 331)
    found = [np.concatenate(part) for part in zip(*batches, strict=True)]
    for one, other in zip(found, (X, Y, W), strict=True):
        np.testing.assert_array_equal(one, other)
    mixed = torch.Generator().manual_seed(1)
    order = np.concatenate([part[0] for part in batches.shuffled(mixed)])
    assert not np.array_equal(order, X)
    np.testing.assert_array_equal(np.sort(order[:, 0]), np.sort(X[:, 0]))
    assert len(list(batches)) == 4 + 6, "one batch for each row group, since they are small"
    a = trainer(shuffle_rows=64)
    a.fit(batches)
    # The order of the row groups is that of the epoch, whatever the seed: a member alone or third
    # meets the same.
    b = trainer(shuffle_rows=64, members=3, random_state=(9, 6, 5))
    b.fit(batches)
    torch.testing.assert_close(b._weights[2], a._weights[0], rtol=0.0, atol=1e-12)


def test_parquet_targets_and_columns(tmp_path: Path) -> None:
    batches = train.ParquetBatches(
        [parquet(tmp_path) / "1.parquet"], target=["w", "x0"], columns=["x4", "y"]
    )
    found, y = next(iter(batches))
    np.testing.assert_array_equal(found, np.stack([X[130:170, 4], Y[130:170]], 1))
    np.testing.assert_array_equal(y, np.stack([W[130:170], X[130:170, 0]], 1))


def test_parquet_refusals(tmp_path: Path, monkeypatch) -> None:
    gaps = X[:, 3].copy()
    gaps[200] = np.nan
    truth = np.array([True, None] * 165 + [False])
    place = parquet(tmp_path, x3=gaps, text=np.array(["a"] * 331), truth=truth)
    with pytest.raises(DataError, match="column 'text' must hold numbers, however: it holds str"):
        train.ParquetBatches(place, target="y")
    columns = ["x0", "x1", "x2", "x3", "x4"]
    with pytest.raises(DomainError, match=r"nan in row 200, column 3 \('x3'\)"):
        trainer().fit(train.ParquetBatches(place, target="y", columns=columns))
    columns[4] = "truth"
    with pytest.raises(DomainError, match=r"nan in row 1, column 4 \('truth'\)"):
        trainer().fit(train.ParquetBatches(place, target="y", columns=columns))
    with pytest.raises(DataError, match="has no 'z' but"):
        train.ParquetBatches(place, target="z", columns=columns)
    with pytest.raises(DomainError, match="columns to train on"):
        train.ParquetBatches(place, target="y", columns=[])
    with pytest.raises(DomainError, match="path must name Parquet files"):
        train.ParquetBatches(tmp_path, target="y")
    (tmp_path / "text.parquet").write_text("no")
    for name in ("text.parquet", "none.parquet"):
        with pytest.raises(DataError, match=f"{name}' cannot be read"):
            train.ParquetBatches(tmp_path / name, target="y")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingDependencyError, match="pip install"):
        _parquet._arrow()


# ---- refusals -------------------------------------------------------------------------------


class Shrinking(Pieces):
    """One row more or less in each pass."""

    def __init__(self, change: int) -> None:
        super().__init__(X, Y, bounds=(0, 60, 200))
        self.change = change

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        yield from super().__iter__()
        self.bounds = (*self.bounds[:-1], self.bounds[-1] + self.change)


def with_value(array: np.ndarray, place: Any, value: float) -> np.ndarray:
    changed = array.copy()
    changed[place] = value
    return changed


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (iter([(X, Y)]), {}, "X is an iterator, which ends once"),
    (X, {}, "y must be given with an array X, however: y=None and X is a ndarray"),
    ([X], {}, "X must be an array .* however: a batch was ndarray"),
    ([(X, Y, W, W)], {}, "a batch was 4 parts"),
    ([], {}, "batches must have at least one row"),
    (Pieces(with_value(X, (240, 1), np.nan), Y), {}, "nan in row 240, column 1"),
    (Pieces(X[:, :4], Y), {}, r"shape \(n_rows, 5\), however: X.shape=\(100, 4\) from row 0 on"),
    (Pieces(X, with_value(Y, 260, 3)), {}, r"y\[10\]=3; .*; y is that of the batch from row 250"),
    (Pieces(X, Y, with_value(W, 105, -1.0)), {}, "-1 in row 105"),
    ([(X[:9], Y[:9]), (X[:9], Y[:9], W[:9])], {}, "weights or none, however: .* row 9 on has some"),
    (Pieces(X, Y, W * 0), {}, "must not all be 0"),
    (Pieces(X, Y), {"sample_weight": W}, r"must come with them, as \(X, y, weights\)"),
    (Pieces(X, Y), {"validation": np.arange(9)}, "cannot be held out by number"),
    (Pieces(X, Y), {"validation": []}, "validation must have at least one batch"),
]


@pytest.mark.parametrize(("batches", "given", "words"), REFUSED)
def test_refusals(batches: Any, given: dict[str, Any], words: str) -> None:
    with pytest.raises(DomainError, match=words):
        trainer().fit(batches, **given)


@pytest.mark.parametrize(
    ("change", "words"), [(-1, "gave 200, that of epoch 1 199"), (1, "201 and more")]
)
def test_batches_that_change_are_refused(change: int, words: str) -> None:
    with pytest.raises(DataError, match=words):
        trainer().fit(Shrinking(change))


# ---- memory ---------------------------------------------------------------------------------

MEMORY = """
import sys
import numpy as np, torch
from selfnorm import train

torch.set_num_threads(1)
kind, folder = sys.argv[1:]
SIZES = {"mapped": (144_000, 1024), "batches": (72_000, 1024), "parquet": (576_000, 128)}
ROWS, FEATURES = SIZES[kind]
y = np.arange(ROWS) % 2

def mib(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name)) / 1024

class Zeros:
    def __iter__(self):
        for start in range(0, ROWS, 2000):
            yield np.zeros((2000, FEATURES), np.float32), y[start : start + 2000]

if kind == "mapped":
    X = np.memmap(f"{folder}/x", np.float32, "w+", shape=(ROWS, FEATURES))  # a file of holes
    given = np.memmap(f"{folder}/x", np.float32, "r", shape=(ROWS, FEATURES)), y
elif kind == "batches":
    given = (Zeros(),)
else:
    import pyarrow, pyarrow.parquet
    zeros = pyarrow.array(np.zeros(24_000, np.float32))
    table = pyarrow.table({"y": y[:24_000], **{f"x{k}": zeros for k in range(FEATURES)}})
    with pyarrow.parquet.ParquetWriter(f"{folder}/x.parquet", table.schema) as writer:
        for _ in range(ROWS // 24_000):
            writer.write_table(table)
    given = (train.ParquetBatches(f"{folder}/x.parquet", target="y"),)
    del table

architecture = train.Architecture((FEATURES, 4, 2))

def fit(*given, **validation):
    t = train.Trainer(architecture, epochs=1, batch_size=500, shuffle_rows=4000)
    t.fit(*given, **validation)

fit(np.zeros((500, FEATURES), np.float32), y[:500])  # what is needed once
before = mib("VmRSS")
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")
fit(*given, **({"validation": np.arange(0, ROWS, 2)} if kind == "mapped" else {}))
print(mib("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(("kind", "bound"), [("mapped", 190), ("batches", 110), ("parquet", 150)])
def test_memory_is_bounded(tmp_path: Path, kind: str, bound: float) -> None:
    """The rows take 281 MiB as float32, those that are mapped 562."""
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    script = tmp_path / "script.py"
    script.write_text(MEMORY)
    command = [sys.executable, str(script), kind, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    print(kind, done.stdout)
    assert float(done.stdout) < bound
