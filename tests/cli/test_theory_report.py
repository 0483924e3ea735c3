"""``selfnorm theory-report``: the page, the numbers as JSON, places that cannot be written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfnorm import report


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Numbers and page in no time; the record may be changed."""
    record: dict[str, object] = {"missing": None, "certificates": [{"holds": False}], "basins": []}
    monkeypatch.setattr(report, "theory_record", lambda: record)
    monkeypatch.setattr(report, "theory_report", lambda path, record: Path(path))
    return record


def test_the_page_and_its_numbers(run, tmp_path: Path) -> None:
    page = tmp_path / "a" / "theory.html"
    outcome = run("theory-report", "--out", str(page))
    assert outcome.code == 0
    assert outcome.out == f"16 of 16 claims certified\nreport  {page}\n"
    assert page.read_text("utf-8").startswith("<!doctype html>")


def test_json_to_stdout_is_json_alone(run, stubbed) -> None:
    assert json.loads(run("theory-report", "--json").out) == stubbed


def test_a_claim_that_is_false_is_not_counted(run, stubbed) -> None:
    assert run("theory-report").out.startswith("0 of 1 claims certified\nreport  theory.html\n")


def test_without_certificates_the_remedy_is_printed(run, stubbed) -> None:
    stubbed["missing"] = "certify() needs python-flint; install it"
    outcome = run("theory-report")
    assert outcome.code == 0
    assert outcome.out.startswith("without certificates: certify() needs python-flint; install it")


def test_bad_input(refused, tmp_path: Path, monkeypatch) -> None:
    assert "is a directory" in refused(2, "theory-report", "--out", str(tmp_path))
    assert "No such option" in refused(2, "theory-report", "--no-such")
    (tmp_path / "file").touch()
    record = {"missing": None, "certificates": [], "basins": []}
    monkeypatch.setattr(report, "theory_record", lambda: record)
    monkeypatch.setattr("selfnorm.report._theory_page._page", lambda record: _page())
    target = str(tmp_path / "file" / "theory.html")
    assert "cannot use" in refused(1, "theory-report", "--out", target)


def _page() -> report.Page:
    return report.Page("T", "S", [report.Section("H", see="See.")])
