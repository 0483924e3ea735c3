"""The fixed-point experiment: small runs, theory's columns, very deep nets as a slow test."""

from __future__ import annotations

import html
import json
import math

import pytest

from selfnorm.errors import DataError, DomainError
from selfnorm.experiments import fixed_point

TINY = {
    "variances": [2.0, 0.1, 2.0],
    "depths": [6, 40],
    "lrs": [0.01, 0.001],
    "width": 12,
    "epochs": 2,
    "train_size": 400,
    "batch_size": 50,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return fixed_point(**TINY, out=tmp_path_factory.mktemp("tiny"))


def test_cells_are_all_combinations_and_the_matched_ones(tiny):
    cells = [
        (cell["weights"], cell["depth"], round(cell["var"], 3), cell["matched"])
        for cell in tiny.record["arms"]
    ]
    for weights in ("gaussian", "orthogonal"):
        mine = [cell[1:] for cell in cells if cell[0] == weights]
        # chi(1)^6 = 1.51 is within the budget e, chi(1)^40 = 15.9 is not.
        assert mine[:3] == [(6, 0.1, False), (6, 2.0, False), (6, 1.0, True)]
        assert mine[3:5] == [(40, 0.1, False), (40, 2.0, False)]
        (depth, var, matched) = mine[5]
        assert (depth, matched) == (40, True)
        assert 0.1 < var < 1.0
    assert len(cells) == 12


def test_theory_columns(tiny):
    """Values for variances 0.1 and 2 from the closed forms, recomputed at 40 digits."""
    expected = {0.1: (0.899175, 1.01018), 2.0: (0.744443, 1.12084)}
    for cell in tiny.record["arms"]:
        if cell["var"] in expected:
            contraction, chi = expected[cell["var"]]
            assert cell["contraction"] == pytest.approx(contraction, abs=6e-7)
            assert cell["chi"] == pytest.approx(chi, abs=6e-6)
            assert cell["chi_depth"] == pytest.approx(cell["chi"] ** cell["depth"], rel=1e-12)
        if cell["matched"] and cell["depth"] == 40:
            assert cell["chi_depth"] == pytest.approx(math.e, rel=1e-6)


def test_validation_chooses_the_rate():
    rates = [0.03, 0.02, 0.012, 0.008, 0.005]
    result = fixed_point(**TINY | {"lrs": rates, "depths": [3], "epochs": 4})
    other_choice = 0
    for cell in result.record["arms"]:
        candidates = cell["candidates"]
        assert [candidate["lr"] for candidate in candidates] == sorted(rates)
        final = [candidate["accuracy"][-1] for candidate in candidates]
        best = candidates[final.index(max(final))]
        assert cell["lr"] == best["lr"]
        assert cell["accuracy"] == best["accuracy"]
        assert cell["test_accuracy"] == best["test_accuracy"]
        tested = [candidate["test_accuracy"] for candidate in candidates]
        other_choice += best["test_accuracy"] < max(tested)
    # Somewhere the test rows would have chosen otherwise, or the check could not fail.
    assert other_choice


def test_files_and_table(tiny):
    assert json.loads(tiny.result_path.read_text()) == tiny.record
    assert tiny.record["complete"] is True
    assert [row[:2] for row in tiny.rows] == [
        (weights, depth) for weights in ("gaussian", "orthogonal") for depth in (6, 40)
    ]
    page = html.unescape(tiny.report_path.read_text())
    assert "trades forward contraction against gradient growth" in page
    assert "Accuracy with gaussian weights" in page
    assert "--variances 0.1,2.0 --depths 6,40 --weights gaussian,orthogonal" in page


def test_a_variance_equal_to_the_matched_one_is_trained_once():
    result = fixed_point(**TINY | {"variances": [1.0], "depths": [3], "epochs": 1})
    assert [(cell["var"], cell["matched"]) for cell in result.record["arms"]] == [(1.0, True)] * 2


def test_interrupted_run_is_kept_and_continued(tmp_path, tiny):
    def stop(event):
        if event.index == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fixed_point(**TINY, out=tmp_path, progress=stop)
    assert "Not finished" in (tmp_path / "report.html").read_text()
    states = []
    result = fixed_point(**TINY, out=tmp_path, progress=lambda event: states.append(event.state))
    assert states.count("resumed") == 4
    assert [cell["test_accuracy"] for cell in result.record["arms"]] == [
        cell["test_accuracy"] for cell in tiny.record["arms"]
    ]


def test_a_cell_in_which_every_rate_diverges(tmp_path):
    result = fixed_point(**TINY | {"lrs": [1e6], "depths": [6]}, out=tmp_path)
    cell = result.record["arms"][0]
    assert (cell["test_accuracy"], cell["lr"]) == (None, None)
    assert cell["candidates"][0]["diverged"]["epoch"] == 1
    assert "none at 6 layers" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variances": [0.5, -1.0]}, "variances must be finite and above 0, however: .*-1.0"),
        ({"variances": 0.5}, "variances must be a sequence, however: variances=0.5"),
        ({"depths": [0]}, "depths must be at least 1"),
        ({"lrs": []}, "lrs must name at least one"),
        ({"weights": ["sparse"]}, "weights must be among gaussian, orthogonal, .*'sparse'"),
        ({"batch_size": 1000}, r"batch_size must be at most \d+, the training rows without those"),
        ({"train_size": 4, "batch_size": 2}, "train_size must leave validation rows"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(DomainError, match=message):
        fixed_point(**TINY | options)


def test_more_rows_than_there_are():
    with pytest.raises(DataError, match="train_size must be at most 1442"):
        fixed_point(**TINY | {"train_size": 5000})


@pytest.mark.slow
def test_a_thousand_plain_layers_train():
    result = fixed_point(
        depths=[1000], variances=[0.01], weights=["orthogonal"], lrs=[0.001], epochs=6
    )
    assert max(cell["test_accuracy"] for cell in result.record["arms"]) > 0.8
