"""``selfnorm check`` and ``selfnorm diagnose``: exit codes, forms of output, clear refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

SOURCE = """
from torch import nn
import selfnorm as sn

def layers(width):
    return nn.Linear(20, width), nn.SELU(), nn.Dropout(0.2), nn.Linear(width, width), nn.SELU()

def sick():
    return nn.Sequential(*layers(64))

def good():
    return sn.nn.SNN(20, 3, width=64, depth=3)

def falls():
    raise ValueError("no licence here")

def text():
    return "a network"

class Zoo:
    model = good()

number = 3
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "zoo_of_nets.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "zoo_of_nets", raising=False)
    return tmp_path


def test_findings_leave_with_one(nets, run) -> None:
    outcome = run("check", "zoo_of_nets:sick")
    assert outcome.code == 1
    assert outcome.err == ""
    lines = outcome.out.splitlines()
    assert lines[0] == "1. error: 0, 3 [default-init]"
    assert lines[2] == "   fix: selfnorm.init.initialize_(model)"
    assert "selfnorm.nn.AlphaDropout(0.0576).train(model.training)" in outcome.out


@pytest.mark.parametrize("target", ["zoo_of_nets:good", "zoo_of_nets.py:good"])
def test_a_healthy_network_leaves_with_zero(nets, run, target) -> None:
    assert run("check", target)[:2] == (0, "No findings.\n")


def test_a_model_itself_may_be_named(nets, run) -> None:
    assert run("check", "zoo_of_nets:Zoo.model", "--normal", "60x20").code == 0


def test_json_and_markdown(nets, run) -> None:
    found = json.loads(run("check", "zoo_of_nets:sick", "--json").out)
    assert [one["code"] for one in found] == ["default-init", "plain-dropout"]
    outcome = run("check", "--markdown", "zoo_of_nets:sick")
    assert outcome.out.startswith("1. **error** `0, 3` (default-init):")
    record = json.loads(run("diagnose", "zoo_of_nets:good", "--normal", "90x20", "--json").out)
    assert record["healthy"] is True
    assert record["rows"] == 90


FILES = ["rows.npy", "rows.npz", "only.npz", "rows.pt", "rows.csv"]


@pytest.mark.parametrize("name", FILES)
def test_data_of_each_kind(nets, run, name) -> None:
    X = np.random.default_rng(0).normal(size=(70, 20)).astype(np.float32)
    np.save("rows.npy", X)
    np.savez("rows.npz", X=X, y=np.zeros(70))
    np.savez("only.npz", input=X)
    torch.save({"x": torch.from_numpy(X)}, "rows.pt")
    np.savetxt("rows.csv", X, delimiter=",", header=",".join("abcdefghijklmnopqrst"), comments="")
    outcome = run("diagnose", "zoo_of_nets:good", "--data", name, "--json")
    assert outcome.code == 0, outcome
    record = json.loads(outcome.out)
    assert record["rows"] == 70
    assert record["input_var"] == pytest.approx(float(X.var()), rel=1e-4)


def test_raw_data_are_found_by_both(nets, run) -> None:
    np.save("pixels.npy", np.random.default_rng(0).integers(0, 256, (64, 20)).astype(np.float32))
    for command in ("check", "diagnose"):
        outcome = run(command, "zoo_of_nets:good", "--data", "pixels.npy")
        assert outcome.code == 1
        assert "[input-not-standardised]" in outcome.out


def test_the_tolerance_counts(nets, run) -> None:
    words = ("diagnose", "zoo_of_nets:good", "--normal", "90x20", "--eval")
    assert run(*words).code == 0
    assert run(*words, "--tolerance", "1.001").code in (0, 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", "zoo_of_nets"), "must be named as module:factory"),
        (("check", "no_such_zoo:good"), "No module named 'no_such_zoo'"),
        (("check", "nothing.py:good"), "'nothing.py' does not"),
        (("check", "zoo_of_nets:nothing"), "it has nn, sn, layers, sick, good, falls, text, Zoo"),
        (("check", "zoo_of_nets:falls"), "ValueError: no licence here"),
        (("check", "zoo_of_nets:layers"), "missing 1 required positional argument"),
        (("check", "zoo_of_nets:text"), "a str came"),
        (("check", "zoo_of_nets:number"), "it is a int"),
        (("check", "zoo_of_nets:good", "--data", "no.npy"), "'no.npy' does not"),
        (("check", "zoo_of_nets:good", "--data", "zoo_of_nets.py"), "a file ending in"),
        (("check", "zoo_of_nets:good", "--data", "broken.npy"), "must be readable"),
        (("check", "zoo_of_nets:good", "--data", "broken.pt"), "must be readable"),
        (("check", "zoo_of_nets:good", "--normal", "20"), "rows x features"),
        (("check", "zoo_of_nets:good", "--normal", "9x21"), "must run on x"),
        (("diagnose", "zoo_of_nets:good", "--normal", "9x21"), "must run on the data"),
        (("diagnose", "zoo_of_nets:good"), "the data are needed"),
        (("diagnose", "zoo_of_nets:good", "--normal", "9x20", "--data", "broken.npy"), "not both"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(nets, refused, words, message) -> None:
    (nets / "broken.npy").write_bytes(b"not an array")
    (nets / "broken.pt").write_bytes(b"not a tensor")
    assert message in refused(2, *words)


def test_a_pickle_that_runs_code_is_not_run(nets, refused) -> None:
    class Bomb:
        def __reduce__(self):
            return Path.touch, (nets / "ran",)

    torch.save(Bomb(), "bomb.pt")
    assert "must be readable" in refused(2, "check", "zoo_of_nets:good", "--data", "bomb.pt")
    assert not (nets / "ran").exists()


def test_a_process_of_its_own(nets) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "selfnorm", "check", "zoo_of_nets:sick", "--html", "page.html"],
        capture_output=True,
        text=True,
        cwd=nets,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "default-init" in (nets / "page.html").read_text(encoding="utf-8")
