"""docs/from-csv-to-onnx.md: its commands and its code, as a newcomer types them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "from-csv-to-onnx.md"


def blocks(kind: str) -> list[str]:
    """The page's blocks of one kind."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    return [text for name, text in fenced if name == kind]


def test_five_commands_lead_from_a_table_to_onnx(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    commands = [shlex.split(line[2:], comments=True) for line in blocks("console")[0].splitlines()]
    assert len(commands) <= 5
    said = ""
    for program, *words in commands:
        if program == "python":
            subprocess.run([sys.executable, *words], check=True)
        elif program == "selfnorm":
            outcome = run(*words)
            assert outcome.code == 0, outcome.err
            said += outcome.out
        else:
            assert (program, *words) == ("pip", "install", ".[all]")
    # The scores depend on the machine in their last digits; what is said of the table does not.
    for line in blocks("")[0].splitlines()[:2]:
        assert line in said
    code = [block for block in blocks("") if "import" in block]
    assert len(code) == 2
    names: dict[str, object] = {}
    for block in code:
        exec(block, names)
    predicted = pd.read_csv("predictions.csv")
    assert (predicted["prediction"] == pd.read_csv("wine.csv")["target"]).mean() > 0.9
    np.testing.assert_array_equal(names["label"], predicted["prediction"])
    np.testing.assert_allclose(
        names["probabilities"], predicted.filter(like="probability_"), atol=1e-5
    )
