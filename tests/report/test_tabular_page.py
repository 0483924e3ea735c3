"""The page of a trained table model: complete, honest, and safe with hostile names."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfnorm.errors import DomainError
from selfnorm.report import tabular_report
from selfnorm.report._tabular_bars import Bar, bars
from selfnorm.report._tabular_page import _page

from .support import Document, assert_self_contained

HOSTILE = '<script>alert("1")</script>'


def layer(k: int) -> dict[str, float]:
    values = {"mean": 0.01 * k, "mean_low": -0.1, "mean_high": 0.1, "var": 1.0 + k}
    values |= {"var_low": 0.9 + k, "var_high": 1.1 + k, "predicted_mean": 0.0}
    return values | {"predicted_var": 1.03, "weight_sum": 0.1, "weight_sumsq": 1.1}


@pytest.fixture
def record() -> dict[str, Any]:
    """A record of a classification, every name hostile."""
    return {
        "file": f"/data/{HOSTILE}.csv",
        "folder": f"out/{HOSTILE}",
        "target": HOSTILE,
        "task": "classification",
        "task_reason": f"Column {HOSTILE!r} holds texts.",
        "rows": {"file": 100, "without_target": 3, "training": 77, "held_out": 20},
        "columns": [
            {"name": HOSTILE, "kind": "text", "missing": 3, "levels": 2, "low": None, "high": None,
             "used": "target"},
            {"name": "a$x$&amp;", "kind": "number", "missing": 0, "levels": None, "low": -2.0,
             "high": 1.5e9, "used": "yes"},
            {"name": "\u202eevil\x00", "kind": "identifier", "missing": 0, "levels": None,
             "low": None, "high": None, "used": "no"},
        ],
        "notes": [f"note of {HOSTILE}"],
        "classes": [HOSTILE, " "],
        "metrics": {"accuracy": 0.85, "auc": None, "log_loss": 0.3123, "ece": 0.0712},
        "baseline": {"accuracy": 0.55, "auc": None, "log_loss": 0.69, "ece": 0.0},
        "baseline_name": "the frequencies",
        "confusion": {"labels": [HOSTILE, " "], "counts": [[11, 2], [1, 6]]},
        "calibration": {
            "ece": 0.0712,
            "bins": [{"confidence": 0.95, "accuracy": 0.85, "count": 20, "low": 0.6, "high": 0.95}],
        },
        "importance": {
            "rows": 20,
            "repeats": 5,
            "loss": 0.3123,
            "left_out": 0,
            "columns": [{"name": "a$x$&amp;", "mean": 0.2, "low": 0.1, "high": 0.3}],
        },
        "curves": {"loss": [0.69, 0.5, 0.31]},
        "health": {
            "rows": 20,
            "members": 4,
            "activation": "selu",
            "target": {"mean": 0.0, "var": 1.0},
            "input": {"mean": 0.0, "var": 1.0},
            "layers": [layer(k) for k in range(3)],
            "healthy": True,
            "verdict": "No layer has faded.",
        },
        "settings": {
            "parameters": {"n_members": "auto", "dropout": "auto", "class_weight": None},
            "used": {"members": 4, "units of each": "64", "held-out share": 0.2, "seed": 7,
                     "time limit, s": None},
        },
        "environment": {"selfnorm": "0"},
        "seconds": {"reading": 0.1, "training": 2.0},
    }  # fmt: skip


@pytest.fixture
def regression(record: dict[str, Any]) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    actual = generator.standard_normal(20)
    return {k: v for k, v in record.items() if k not in ("confusion", "calibration")} | {
        "task": "regression",
        "classes": [],
        "metrics": {"rmse": 1234.5, "mae": 2.0, "r2": 0.5},
        "baseline": {"rmse": 4321.5, "mae": 1.0, "r2": -0.01},
        "residuals": {
            "actual": actual.tolist(),
            "predicted": (actual + 0.25).tolist(),
            "rows": 500,
        },
    }


def text_of(record: dict[str, Any]) -> str:
    """Sentences and tables of the page, without drawing."""
    page = _page(record)
    parts = [page.title, page.summary, page.verdict or ""]
    for section in page.sections:
        parts += [section.title, *section.paragraphs, section.see]
        if section.table is not None:
            parts += [" | ".join(row) for row in section.table.cells]
    return "\n".join(parts)


def test_the_page_is_self_contained_and_safe(record, tmp_path: Path) -> None:
    path = tabular_report(tmp_path / "new" / "report.html", record)
    html = path.read_text("utf-8")
    assert "<script" not in html
    document = Document(html)
    assert_self_contained(document)
    assert document.text.count(HOSTILE) > 5  # shown as it is named
    for word in ("\u202e", "\x00"):
        assert word not in html
    pictures = [a for a in document.all("svg") if "role" in a]
    assert len(pictures) == 2 * 5  # wide and narrow: confusion, calibration, bars, curve, health


def test_regression_has_its_own_pictures(regression, tmp_path: Path) -> None:
    document = Document(tabular_report(tmp_path / "r.html", regression).read_text("utf-8"))
    assert_self_contained(document)
    assert len([a for a in document.all("svg") if "role" in a]) == 2 * 4
    assert "the mean error here is 0.25" in document.text
    assert "20 of 500 held-out rows" in document.text
    assert "Off by 1,234" in document.text
    assert "beats the baseline in 2 of 3 scores" in document.text


def test_sentences_follow_from_the_numbers(record) -> None:
    text = text_of(record)
    for words in (
        "Right for 85.0 % of the held-out rows",
        "for 55.0 %",
        "beats the baseline in 2 of 3 scores",  # no area under the curve, and no credit for it
        f"the most frequent one, 2 times, took {HOSTILE} for ' '",
        "ECE 0.071: on average the model is too sure of itself by 0.1",
        "grows by 0.2 (from 0.312)",
        "The loss went from 0.69 to 0.31 in 3 epochs; it was still falling",
        "100 rows; 1 of 3 columns are used, 0 of these",
        "selfnorm.load('out/",
    ):
        assert words in text, words


def test_other_numbers_other_sentences(record) -> None:
    other = copy.deepcopy(record)
    other["confusion"]["counts"] = [[12, 0], [0, 8]]
    other["calibration"]["bins"][0]["accuracy"] = 1.0
    other["importance"]["columns"][0]["low"] = -0.01
    other["curves"]["loss"] = [0.7, *[0.3] * 30]
    text = text_of(other)
    for words in ("no class was mistaken", "too cautious by 0.05", "No column matters clearly",
                  "has levelled off"):  # fmt: skip
        assert words in text, words


def test_the_command_makes_the_page_again(record) -> None:
    record["settings"]["used"]["time limit, s"] = 60.0
    record["settings"]["parameters"]["n_members"] = 3
    command = _page(record).command
    assert command is not None
    assert command.startswith("selfnorm train '/data/<script>")
    for words in ("--seed 7", "--members 3", "--time-limit 60", "--test-fraction 0.2"):
        assert words in command


def test_parts_that_are_absent_leave_no_hole(record) -> None:
    record["importance"]["columns"] = []
    record["health"]["layers"] = []
    titles = [section.title for section in _page(record).sections]
    assert "Which columns matter" not in titles
    assert "Does the network normalise itself?" not in titles


def test_bars_hold_their_names_and_ends() -> None:
    figure = bars(
        [Bar(HOSTILE, 2.0, 1.0, 3.5), Bar("long " * 40, -0.5, -1.0, 0.0)],
        value_label="growth",
        alt="Two bars",
    )
    assert HOSTILE.replace("<", "&lt;").replace(">", "&gt;") in figure.html.replace("&quot;", '"')
    for wrong in ([], [Bar(" ", 1.0, 1.0, 1.0)]):
        with pytest.raises(DomainError):
            bars(wrong, value_label="growth", alt="None")
