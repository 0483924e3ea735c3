"""The tabular experiment: its figures, its comparisons, its log."""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfnorm import experiments
from selfnorm.errors import DataError, DomainError
from selfnorm.experiments import _uci_cells as cells
from selfnorm.experiments._rivals import METHODS, Method
from selfnorm.experiments._tabular_data import Table, load_tables
from selfnorm.experiments._uci_statistics import Grid, grid_of, paired

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")


class Constant:
    """Answers the same probabilities for every row; counts its fits."""

    fits = 0
    classes_ = np.array([0, 2])

    def fit(self, X: Any, y: Any) -> Constant:
        """Count."""
        type(self).fits += 1
        return self

    def predict_proba(self, X: Any) -> Any:
        """Give class 2 three quarters."""
        return np.tile([0.25, 0.75], (len(X), 1))


class Broken(Constant):
    """Fails."""

    def fit(self, X: Any, y: Any) -> Constant:
        """Fail."""
        raise RuntimeError("no memory")


def method(kind: type, name: str = "constant") -> Method:
    """Return a method that builds this estimator."""
    return Method(name, "a stand-in", "numpy", "numpy", lambda classify, seed: kind())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sets that can be learnt, one of them with a fixed test part, and the paper's figures."""
    generator = np.random.default_rng(1)
    arrays = {}
    for name, rows in (("dots", 48), ("fixed", 60)):
        X = generator.normal(size=(rows, 3)).astype(np.float32)
        arrays[f"{name}/X"] = X
        arrays[f"{name}/y"] = (X[:, 0] + 0.3 * X[:, 1] > 0).astype(np.uint8)
        test = np.zeros((rows, 4), bool)
        for fold in range(4):
            test[(0 if name == "fixed" else fold) :: 4, fold] = True
        arrays[f"{name}/test"] = test
    np.savez(tmp_path / "uci.npz", **arrays)
    (tmp_path / "uci_paper_accuracy.csv").write_text("dataset,SNN\ndots,0.5\nfixed,0.75\n")
    return tmp_path


def test_figures_of_a_cell() -> None:
    y = np.array([2, 2, 0, 1, 2, 0, 0, 0])
    tests = np.arange(8)[None] < 4
    cell = cells.run_cell("uci", Table("t", np.ones((8, 1)), y, tests), 0, method(Constant))
    assert (cell["n_train"], cell["n_test"], cell["accuracy"]) == (4, 4, 0.5)
    # Class 1 was never seen: its probability is 0, and counts as the floor.
    expected = -(2 * np.log(0.75) + np.log(0.25) + np.log(1e-3)) / 4
    assert cell["log_loss"] == pytest.approx(expected)
    # All rows have confidence 0.75 and half are right.
    assert cells.calibration_error([cell["bins"]]) == pytest.approx(0.25)


def test_area_under_the_curve_by_counting_pairs(tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    X = generator.normal(size=(90, 2))
    y = (X[:, 0] + generator.normal(size=90) > 0).astype(np.int64)
    np.savez(tmp_path / "htru2.npz", X=X, y=y)
    result = experiments.uci(data="htru2", data_dir=tmp_path, methods=["svm", "mlp"], folds=[3])
    (table,) = load_tables("htru2", data_dir=tmp_path)
    test = table.tests[3]
    model = METHODS["svm"].estimator(table, 3).fit(table.X[~test], table.y[~test])
    score = model.decision_function(table.X[test])
    right, wrong = score[table.y[test] == 1], score[table.y[test] == 0]
    rows = {row[0]: row[1] for row in result.rows}
    assert result.columns[1] == "AUC"
    assert rows["svm"] == pytest.approx((right[:, None] > wrong).mean(), abs=1e-4)
    assert 0.5 < rows["mlp"] <= 1.0


def test_a_talkative_rival_is_not_heard(capsys: pytest.CaptureFixture[str]) -> None:
    class Loud(Constant):
        def fit(self, X: Any, y: Any) -> Constant:
            print("epoch 1")
            print("a tip", file=sys.stderr)
            warnings.warn("not converged", stacklevel=1)
            return self

    table = Table("t", np.ones((8, 1)), 2 * (np.arange(8) % 2), np.arange(8)[None] < 4)
    assert "accuracy" in cells.run_cell("uci", table, 0, method(Loud))
    assert capsys.readouterr() == ("", "")


def test_calibration_error_pools_rows_before_it_compares() -> None:
    over, under = np.zeros((cells.BINS, 3)), np.zeros((cells.BINS, 3))
    over[9], under[9] = (10, 6.0, 4), (10, 6.0, 8)
    assert cells.calibration_error([over, under]) == pytest.approx(0.0)
    under[9], under[11] = 0, (30, 22.5, 30)
    assert cells.calibration_error([over, under]) == pytest.approx((2 + 7.5) / 40)


def test_a_failure_is_kept_as_such_and_tried_again(tmp_path: Path) -> None:
    table = Table("t", np.ones((8, 1)), np.arange(8) % 2, np.arange(8)[None] < 4)
    cell = cells.run_cell("uci", table, 0, method(Broken))
    assert cell["error"] == "RuntimeError: no memory"
    log = cells.Log(tmp_path / "log")
    log.add(cell)
    assert log.find(cell) is not None
    assert cells.Log(tmp_path / "log").find(cell) is None


def test_half_a_line_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "log"
    whole = {"data": "uci", "set": "t", "fold": 0, "method": "m", "version": "m 1", "accuracy": 1.0}
    path.write_text(json.dumps(whole) + "\n" + json.dumps(whole | {"fold": 1})[:40])
    log = cells.Log(path)
    log.add(whole | {"fold": 2})
    again = cells.Log(path)
    assert [again.find(whole | {"fold": k}) is not None for k in (0, 1, 2)] == [True, False, True]
    assert again.find(whole | {"version": "m 2"}) is None
    assert cells.Log(path, resume=False).find(whole) is None


def test_paired_against_counting() -> None:
    first, second = np.array([0.9, 0.8, 0.7, np.nan]), np.array([0.8, 0.8, 0.75, 0.5])
    result = paired(first, second)
    assert result is not None
    assert (result.units, result.wins, result.ties, result.losses) == (3, 1, 1, 1)
    assert result.low <= result.difference <= result.high
    lower = paired(first, second, higher=False)
    assert lower is not None
    assert (lower.wins, lower.losses) == (1, 1)
    assert lower.difference == result.difference
    assert paired(first[:1], second[:1]) is None


def test_interval_covers_the_mean_as_often_as_it_says() -> None:
    # 200 samples of 40 differences of mean 0.3: coverage of the percentile interval is about .94;
    # fewer than 174 or more than 199 has a probability below 1e-4, an 80 % interval fails surely.
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        gap = generator.normal(0.3, 1.0, size=40)
        result = paired(gap, np.zeros(40))
        assert result is not None
        covered += result.low <= 0.3 <= result.high
    assert 174 <= covered <= 199


def test_wilcoxon_sees_a_shift_and_no_noise() -> None:
    # 30 differences of mean 1 standard deviation: p < .001 but for a probability below 1e-3.
    generator = np.random.default_rng(6)
    gap = generator.normal(size=30)
    shifted, noise = paired(gap + 1.0, np.zeros(30)), paired(np.r_[gap, -gap], np.zeros(60))
    assert shifted is not None
    assert noise is not None
    assert shifted.p < 1e-3
    assert noise.p > 0.9


def test_ranks_share_ties_and_follow_the_direction() -> None:
    values = np.array([[0.9, 0.8, 0.8], [0.5, 0.7, 0.6], [np.nan, 0.1, 0.2]])
    grid = Grid(("a", "b", "c"), ("x", "y", "z"), values)
    assert grid.common().units == ("a", "b")
    np.testing.assert_allclose(grid.ranks(higher=True), [2.0, 1.75, 2.25])
    np.testing.assert_allclose(grid.ranks(higher=False), [2.0, 2.25, 1.75])


def test_a_set_counts_when_all_its_folds_are_finished() -> None:
    def cell(fold: int, name: str, accuracy: float) -> dict[str, Any]:
        return {"set": "s", "fold": fold, "method": name, "accuracy": accuracy}

    record = {
        "methods": [{"name": "a"}, {"name": "b"}],
        "sets": [{"name": "s", "fixed": False, "folds": [0, 2]}],
        "cells": [cell(0, "a", 0.5), cell(2, "a", 0.9), cell(0, "b", 0.4)],
    }
    np.testing.assert_allclose(grid_of(record, "accuracy").values, [[0.7, np.nan]])
    by_fold = grid_of(record, "accuracy", by_fold=True)
    assert by_fold.units == ("s, fold 0", "s, fold 2")
    np.testing.assert_allclose(by_fold.values, [[0.5, 0.4], [0.9, np.nan]])
    assert grid_of(record, "accuracy", fixed=True).units == ()


def test_a_run_is_written_and_taken_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "rf", method(Constant, "rf"))
    monkeypatch.setattr(Constant, "classes_", np.array([0, 1]))
    out = folder / "out"
    seen: list[Any] = []
    options: dict[str, Any] = {"data_dir": folder, "methods": ["rf", "svm"], "out": out}
    result = experiments.uci(**options, progress=seen.append)
    # Four folds, and one where the test part is fixed.
    assert [(c["set"], c["fold"]) for c in result.record["cells"][::2]] == [
        ("dots", 0), ("dots", 1), ("dots", 2), ("dots", 3), ("fixed", 0),
    ]  # fmt: skip
    assert [event.arm for event in seen if event.state == "finished"] == ["rf", "svm"]
    rows = {row[0]: row for row in result.rows}
    assert rows["svm"][1] > 0.75 > rows["rf"][1]
    assert rows["paper's SNN, 2 sets"][1] == 0.625
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Sets with a fixed test part" in page
    assert "rf – paper" in (out / "tables.md").read_text(encoding="utf-8")
    fits = Constant.fits
    again = experiments.uci(**options)
    assert Constant.fits == fits
    assert again.record["cells"] == result.record["cells"]
    experiments.uci(**options, resume=False)
    assert Constant.fits == fits + 5


def test_an_interrupted_run_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, options = folder / "out", {"data_dir": folder, "methods": ["svm"], "sets": ["dots"]}

    def interrupt(event: Any) -> None:
        if event.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        experiments.uci(**options, out=out, progress=interrupt)
    assert json.loads((out / "result.json").read_text())["complete"] is False
    assert "Not complete" in (out / "report.html").read_text(encoding="utf-8")
    result = experiments.uci(**options, out=out)
    assert result.record["complete"]
    assert [cell["fold"] for cell in result.record["cells"]] == [0, 1, 2, 3]


def test_regression_is_measured_in_root_mean_squares(tmp_path: Path) -> None:
    X = np.random.default_rng(2).normal(size=(60, 2))
    np.savez(tmp_path / "houses.npz", X=X, y=1e5 * (2.0 + X[:, 0]))
    result = experiments.uci(data="houses", data_dir=tmp_path, methods=["svm", "mlp"], folds=[0, 4])
    svm, mlp = result.rows
    assert result.columns[1].startswith("RMSE")
    assert svm[1] < 0.5
    assert [cell["fold"] for cell in result.record["cells"]] == [0, 0, 4, 4]
    figures = {(c["method"], c["fold"]): c["rmse"] for c in result.record["cells"]}
    wins = sum(figures["svm", fold] < figures["mlp", fold] for fold in (0, 4))
    assert (svm[2], mlp[2]) == (2 - wins / 2, 1 + wins / 2)  # lower is better, and has rank 1


def test_missing_methods_are_left_out_with_a_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "catboost" else found(name)
    )
    options = {"data_dir": folder, "sets": ["dots"], "folds": [1]}
    result = experiments.uci(**options, methods=["svm", "catboost"])
    assert result.record["absent"] == [METHODS["catboost"].absence]
    assert "pip install catboost" in result.record["absent"][0]
    assert [row[0] for row in result.rows] == ["svm", "paper's SNN, 1 sets"]
    with pytest.raises(DomainError, match="must name one that is installed"):
        experiments.uci(**options, methods=["catboost"])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"methods": ["xgb"]}, "methods must be among"),
        ({"folds": [4]}, "folds must be among 0 to 3"),
        ({"folds": []}, "folds must name at least one"),
        ({"max_rows": 5}, "max_rows must leave a data set"),
        ({"data": "iris"}, "data must be among"),
    ],
)
def test_refusals(folder: Path, options: dict[str, Any], text: str) -> None:
    with pytest.raises(DomainError, match=text):
        experiments.uci(**({"data_dir": folder, "methods": ["svm"]} | options))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"uci\.npz is needed"):
        experiments.uci(data_dir=tmp_path)
