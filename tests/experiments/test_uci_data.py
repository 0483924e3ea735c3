"""The tabular data sets: read as written, refused with the file's name where they are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from selfnorm.errors import DataError, DomainError
from selfnorm.experiments._tabular_data import load_paper_accuracy, load_tables, stratified_folds


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three small sets, one with a fixed test part and a gap in its class numbers."""
    generator = np.random.default_rng(0)
    arrays = {}
    for name, rows, columns in (("wide", 40, 9), ("small", 20, 3), ("fixed", 30, 4)):
        arrays[f"{name}/X"] = generator.normal(size=(rows, columns)).astype(np.float32)
        arrays[f"{name}/y"] = (np.arange(rows) % 3).astype(np.uint8) * (2 if name == "fixed" else 1)
        test = np.zeros((rows, 4), bool)
        for fold in range(4):
            test[(0 if name == "fixed" else fold) :: 4, fold] = True
        arrays[f"{name}/test"] = test
    np.savez(tmp_path / "uci.npz", **arrays)
    (tmp_path / "uci_paper_accuracy.csv").write_text("dataset,SNN,MS\nsmall,0.5,NA\n")
    return tmp_path


def test_sets_come_smallest_first_with_their_folds(folder: Path) -> None:
    tables = load_tables("uci", data_dir=folder)
    assert [table.name for table in tables] == ["small", "fixed", "wide"]
    small, fixed, _ = tables
    assert small.tests.shape == (4, 20)
    assert np.flatnonzero(small.tests[1]).tolist() == [1, 5, 9, 13, 17]
    assert (small.n_train, small.fixed, fixed.fixed) == (15, False, True)
    # Class numbers 0, 2, 4 are three classes.
    assert (fixed.n_classes, set(fixed.y.tolist())) == (3, {0, 1, 2})
    assert load_paper_accuracy(folder) == {"small": {"SNN": 0.5}}


def test_the_folder_may_be_named_by_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFNORM_DATA", str(folder))
    assert len(load_tables("uci", sets=["wide"])) == 1


def test_folds_divide_each_class_evenly() -> None:
    y = np.repeat([0, 1, 2], [41, 13, 7])
    fold = stratified_folds(y, 5, seed=3)
    assert np.ptp(np.bincount(fold)) <= 1
    for label in range(3):
        assert np.ptp(np.bincount(fold[y == label], minlength=5)) <= 1
    assert (fold != stratified_folds(y, 5, seed=4)).any()


def test_the_csv_of_the_repository_serves_as_well(tmp_path: Path) -> None:
    rows = np.column_stack([np.arange(40.0) / 8, np.arange(40) % 7, np.arange(40) % 4 == 0])
    np.savetxt(tmp_path / "HTRU_2.csv", rows, delimiter=",")
    (table,) = load_tables("htru2", data_dir=tmp_path)
    assert (table.X.shape, table.n_classes, len(table.tests)) == ((40, 2), 2, 10)
    assert (table.tests.sum(axis=0) == 1).all()
    np.testing.assert_allclose(table.X[:, 0], np.arange(40) / 8)


def test_houses_are_in_units_of_100000_dollars(tmp_path: Path) -> None:
    np.savez(tmp_path / "houses.npz", X=np.ones((10, 2)), y=np.full(10, 250_000.0))
    (table,) = load_tables("houses", data_dir=tmp_path)
    assert (table.task, table.n_classes, set(table.y.tolist())) == ("regression", 0, {2.5})


def test_what_is_wrong_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data_dir must be a folder"):
        load_tables("uci", data_dir=folder / "nothing")
    with pytest.raises(DataError, match=r"htru2.npz is needed.*holds none.*SELFNORM_DATA"):
        load_tables("htru2", data_dir=folder)
    with pytest.raises(DomainError, match="sets must be among"):
        load_tables("uci", data_dir=folder, sets=["iris"])
    with pytest.raises(DomainError, match="data must be among"):
        load_tables("kaggle", data_dir=folder)
    (folder / "uci.npz").write_bytes(b"not an archive")
    with pytest.raises(DataError, match=r"uci.npz.*archive of NumPy arrays"):
        load_tables("uci", data_dir=folder)
    np.savez(folder / "uci.npz", **{"a/X": np.ones((4, 2)), "a/y": np.zeros(4)})
    with pytest.raises(DataError, match="a/test"):
        load_tables("uci", data_dir=folder)
    np.savez(
        folder / "uci.npz",
        **{"a/X": np.ones((4, 2)), "a/y": np.zeros(4), "a/test": np.zeros((3, 4), bool)},
    )
    with pytest.raises(DataError, match=r"mask of shape \(4, folds\)"):
        load_tables("uci", data_dir=folder)
    (folder / "uci_paper_accuracy.csv").write_text("dataset,SNN\nsmall,high\n")
    with pytest.raises(DataError, match="numbers beside it"):
        load_paper_accuracy(folder)


def test_an_archive_of_pickles_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "houses.npz", X=np.array([{}], object), y=np.ones(1))
    with pytest.raises(DataError, match="archive of NumPy arrays"):
        load_tables("houses", data_dir=tmp_path)


def test_without_a_folder_houses_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("sklearn.datasets")

    def refused(**_: object) -> None:
        raise OSError("no network")

    monkeypatch.delenv("SELFNORM_DATA", raising=False)
    monkeypatch.setattr(datasets, "fetch_openml", refused)
    with pytest.raises(DataError, match=r"could not be fetched.*no network.*houses.npz"):
        load_tables("houses")
    with pytest.raises(DataError, match="no folder is named"):
        load_tables("uci")
