"""``selfnorm solve`` and the command group: answers, errors in one line, exit codes."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest

from selfnorm.cli._main import COMMANDS
from selfnorm.constants import ALPHA01, LAMBDA01


def test_json(run) -> None:
    outcome = run("solve", "--json")
    record = json.loads(outcome.out)
    assert outcome.code == 0
    assert record["alpha"] == pytest.approx(ALPHA01, rel=1e-14)
    assert record["scale"] == pytest.approx(LAMBDA01, rel=1e-14)
    assert record["stable"] is True


def test_text_has_the_digits_people_copy(run) -> None:
    assert "1.67326324235438" in run("solve").out
    # var 0.1: alpha from the closed form sqrt(x/2pi)/(1/2-E1), E1 = e^(x/2) erfc(sqrt(x/2))/2
    assert "1.20365116" in run("solve", "--var", "0.1").out


def test_depth(run) -> None:
    record = json.loads(run("solve", "--depth", "100", "--json").out)
    assert 0.05 < record["var"] < 0.15
    assert record["chi"] ** 100 == pytest.approx(2.718281828, rel=1e-6)


def test_dropout(run) -> None:
    # chi a^2 (1 - p) at p = .05 is .928: gradients shrink
    assert json.loads(run("solve", "--dropout", "0.05", "--json").out)["chi"] == pytest.approx(
        0.928, abs=5e-4
    )


def test_another_activation(run) -> None:
    record = json.loads(run("solve", "--activation", "tanh", "--weight-sumsq", "2", "--json").out)
    assert record["mean"] == pytest.approx(0.0, abs=1e-9)
    assert record["stable"] is True


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["solve", "--var", "-1"], 2, "var"),
        (["solve", "--var", "nan"], 2, "var"),
        (["solve", "--var", "x"], 2, "not a valid float"),
        (["solve", "--vra", "1"], 2, "No such option"),
        (["solve", "--activation", "selo"], 2, "selo"),
        (["solve", "--activation", "gelu", "--var", "1"], 2, "only SELU"),
        (["solve", "--depth", "10", "--var", "1"], 2, "--depth chooses the target"),
        (["solve", "--depth", "9", "--dropout", "0.1"], 2, "no dropout"),
        (["solve", "--dropout", "1.5"], 2, "dropout"),
        (["solve", "--depth", "0"], 2, "depth"),
        (["solv"], 2, "No such command"),
        (["solve", "--activation", "relu", "--weight-sumsq", "3"], 1, "fixed point"),
    ],
)
def test_bad_input_is_one_line_on_stderr(refused, words, code, message) -> None:
    assert message in refused(code, *words)


def test_no_command_shows_help_and_usage_code(run) -> None:
    outcome = run()
    assert outcome.code == 2
    assert "solve" in outcome.out


def test_help_lists_every_command_with_its_own_summary(run) -> None:
    text = run("--help").out
    for name, (module, attribute, summary) in COMMANDS.items():
        assert name in text
        assert summary
        assert getattr(importlib.import_module(module), attribute).name == name


def test_the_installed_command() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "selfnorm", "solve", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(result.stdout)["stable"] is True
    assert result.stderr == ""


def test_solve_loads_neither_torch_nor_plots() -> None:
    code = (
        "import sys\nfrom selfnorm.cli import main\n"
        "try:\n    main(['solve'])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'matplotlib', 'sklearn', 'scipy.optimize', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
