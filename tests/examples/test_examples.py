"""Every script of examples/ runs at small size and prints what it promises."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS = sorted(FOLDER.glob("*.py"))


def run(path: Path) -> dict[str, float]:
    """Call a script's ``main(["--quick"])``; it returns the figures that it prints."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with torch.random.fork_rng():  # a script may seed torch's generator
        figures: dict[str, float] = module.main(["--quick"])
    return figures


def test_there_are_scripts() -> None:
    assert SCRIPTS


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script_runs(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = run(path)
    assert figures
    assert all(math.isfinite(value) for value in figures.values())
    assert "theory" in capsys.readouterr().out
    # Guessing gets 0.1 of the ten digits; each names its own figures.
    if "accuracy" in figures:
        assert figures["accuracy"] > 0.5
    if "start variance" in figures:  # the largest deviation from theory before training
        assert figures["start variance"] < 0.5
