"""``selfnorm certify``: the table, a false claim, stored proofs, ranges typed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

BOX = "mean=-0.1:0.2,var=0.39:2.3,weight_sum=-0.1:0.1,weight_sumsq=0.8:1.25"


def test_all_four_by_default(run) -> None:
    outcome = run("certify")
    assert outcome.code == 0
    for claim in ("theorem1", "theorem2", "theorem3", "lemma12"):
        assert claim in outcome.out
    assert outcome.out.count("holds") == 4
    assert "Not covered" in outcome.out


def test_json_has_the_constants(run) -> None:
    (record,) = json.loads(run("certify", "theorem1", "--json").out)
    # The true supremum is 0.89760835840892 at (-.1, -.1, .8, 1.1); the proof may not claim less.
    assert 0.8976083584 < record["contraction"] < 0.8977
    assert {part["kind"] for part in record["parts"]} == {"contraction", "self_map"}


def test_a_false_claim_has_code_1_and_a_point(run) -> None:
    outcome = run("certify", "lemma12", "--bound", "0.98", "--json")
    (record,) = json.loads(outcome.out)
    assert outcome.code == 1
    assert record["holds"] is False
    assert record["counterexample"]["weight_sumsq"] == pytest.approx(1.25)


def test_store_and_check(run, tmp_path: Path) -> None:
    path = tmp_path / "box.json"
    made = run("certify", "--box", BOX, "--metric", "log-variance", "--out", str(path))
    assert made.code == 0
    assert str(path) in made.out
    assert run("certify", "--check", str(path)).code == 0


def test_a_tampered_certificate_is_refused(refused, run, tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    run("certify", "theorem1", "--out", str(path))
    record = json.loads(path.read_text())
    record["parts"][0]["leaves"].pop()
    path.write_text(json.dumps(record))
    assert "part 0" in refused(1, "certify", "--check", str(path))


def test_the_basin_of_a_small_target_variance(run) -> None:
    (record,) = json.loads(run("certify", "fixed-point", "--var", "0.1", "--json").out)
    low, high = record["parts"][0]["box"]["var"]
    assert low < 0.1 < high
    assert record["contraction"] < 1


def test_the_basin_of_an_elu(run) -> None:
    words = ["fixed-point", "--alpha", "1", "--weight-sumsq", "1.4:1.6", "--weight-sum", "0:0"]
    (record,) = json.loads(run("certify", *words, "--json").out)
    assert record["holds"]
    assert record["parts"][0]["box"]["weight_sumsq"] == pytest.approx([1.4, 1.6])


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["theorem4"], 2, "theorem4"),
        (["--box", "mean=0:1"], 2, "needs var, weight_sum, weight_sumsq"),
        (["--box", "mean=0"], 2, "--box mean expects lo:hi"),
        (["--box", "mena=0:1"], 2, "expects mean=lo:hi"),
        (["theorem1", "--weight-sumsq", "1:2"], 2, "--weight-sumsq"),
        (["fixed-point", "--weight-sumsq", "1.5"], 2, "--weight-sumsq expects lo:hi"),
        (["--box", BOX.replace("0.39:2.3", "2.3:0.39")], 2, "smaller end first"),
        (["--box", BOX.replace("0.39:2.3", "0.39:inf")], 2, "inf"),
        (["theorem1", "--box", BOX], 2, "not both"),
        (["--out", "x.json"], 2, "--out stores one"),
        (["theorem1", "--check", "x.json"], 2, "stands alone"),
        (["--check", "x.json", "--var", "5"], 2, "stands alone"),
        (["--bound", "0.9"], 2, "belongs to one claim"),
        (["fixed-point", "--bound", "0.5", "--mean-weight", "7"], 2, "--bound, --mean-weight"),
        (["theorem1", "--metric", "log-variance"], 2, "metric"),
        (["--check", "no-such-file.json"], 1, "no-such-file.json"),
        (["theorem1", "--bound", "2"], 2, "bound"),
    ],
)
def test_bad_input(refused, words, code, message) -> None:
    assert message in refused(code, "certify", *words)
