"""The benchmark harness: statistics, verdicts, rows of who cannot run; no timing is asserted."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
try:
    from benchmarks import _harness
finally:
    sys.path.remove(str(ROOT))


def test_rows_of_a_made_up_clock() -> None:
    """A clock that moves on by a millisecond each time that anybody looks at it."""
    ticks = itertools.count()
    case = _harness.Case(
        "work",
        [
            _harness.Provider("selfnorm", lambda: None, lambda: (12.5, "digits of something")),
            _harness.Provider("other", lambda: next(ticks)),
            _harness.Provider("third", lambda: None, absent="it is not installed"),
            _harness.Provider("half the work", lambda: None, floor=True),
        ],
        items=4,
        item="point",
        goal=1.0,
        clock=lambda: next(ticks) * 1e-3,
        clock_name="ticks",
    )
    ours, other, third, floor = _harness.measure("group", case, seconds=0.0)
    assert (ours.unit, ours.n, ours.clock, ours.samples) == ("s/point", 4, "ticks", 5)
    assert ours.p20 == pytest.approx(ours.median) == pytest.approx(ours.p80)
    assert ours.median is not None
    assert other.median is not None
    assert 0.0 < ours.median < other.median
    assert (ours.goal, ours.verdict) == (1.0, "goal met")
    assert (ours.digits, ours.digits_of) == (12.5, "digits of something")
    assert other.goal is None
    assert other.verdict.endswith("times selfnorm")
    assert (third.samples, third.median) == (0, None)
    assert third.verdict == "not run: it is not installed"
    assert (floor.verdict, floor.samples) == ("floor", 5)
    lines = _harness.table([ours, other, third, floor]).splitlines()
    assert len(lines) == 6
    assert {line.count(" | ") for line in lines} == {8}
    assert "12.5" in lines[2]
    assert "goal met" in lines[2]
    assert "not run" in lines[4]


def test_quantiles() -> None:
    """Samples of 3, 1, 5, 4 and 2 s: by R's type 6 the quantiles are 1.2, 3 and 4.8 s."""
    looks = iter([0.0, 3.0, 10.0, 11.0, 20.0, 25.0, 30.0, 34.0, 40.0, 42.0])
    work = _harness.Provider("selfnorm", lambda: time.sleep(2 * _harness.SAMPLE_SECONDS))
    case = _harness.Case("work", [work], clock=lambda: next(looks))
    (row,) = _harness.measure("group", case, seconds=0.0)
    assert (row.p20, row.median, row.p80) == pytest.approx((1.2, 3.0, 4.8))


def test_a_missed_goal_is_said() -> None:
    ticks = itertools.count()
    case = _harness.Case(
        "work",
        [_harness.Provider("selfnorm", lambda: None)],
        goal=1e-30,
        clock=lambda: float(next(ticks)),
    )
    (row,) = _harness.measure("group", case, seconds=0.0)
    assert row.verdict == "GOAL MISSED"


def test_the_command_writes_rows_and_their_origin(tmp_path: Path) -> None:
    pytest.importorskip("flint")
    out = tmp_path / "new" / "rows.json"
    command = [sys.executable, "-m", "benchmarks", "theory", "--only", "solve(0, 1)"]
    result = subprocess.run(
        [*command, "--seconds", "0.01", "--out", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    content = json.loads(out.read_text(encoding="utf-8"))
    assert {"commit", "cores", "date", "load", "machine", "versions"} <= set(content["environment"])
    assert set(content["rows"][0]) == {f.name for f in dataclasses.fields(_harness.Row)}
    row = content["rows"][0]
    assert (row["provider"], row["goal"], row["unit"]) == ("selfnorm", 1e-4, "s/call")
    assert row["p20"] <= row["median"] <= row["p80"]
    assert row["digits"] > 13.0  # against ball arithmetic; the documented 1e-12 with a margin
    assert "| solve(0, 1)" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "GROUP must be one of theory, however: nothing"),
        (["--only", "no such case"], "--only must match a case, however: none has 'no such case'"),
    ],
)
def test_refusals(arguments: list[str], message: str) -> None:
    pytest.importorskip("flint")
    command = [sys.executable, "-m", "benchmarks", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert message in result.stderr
