"""The page of a diagnosis: verdict, findings, moments by layer, structure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfnorm.report._dependencies import require
from selfnorm.report._page import Page, Section
from selfnorm.report._table import Table

__all__ = ["diagnosis_report"]


def diagnosis_report(path: str | os.PathLike[str], record: Mapping[str, Any]) -> Path:
    """Write a diagnosis as one HTML file.

    Parameters
    ----------
    path : str or path-like
        The file; missing folders are made.
    record : mapping
        From ``Diagnosis.to_dict()``.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    MissingDependencyError
        If matplotlib or jinja2 is not installed.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from selfnorm.report import diagnosis_report
    >>> record = {
    ...     "model": "Net", "verdict": "No finding.", "healthy": True, "rows": 8, "input_mean": 0.0,
    ...     "input_var": 1.0, "tolerance": 2.0, "findings": [], "layers": [], "structure": [],
    ... }
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     diagnosis_report(Path(folder) / "net.html", record).name
    'net.html'
    """
    require()
    return _page(record).write(path)


def _page(record: Mapping[str, Any]) -> Page:
    return Page(
        f"Does {record['model']} normalise itself?",
        f"{record['rows']:,} rows went through the network.",
        [_findings(record["findings"])],
        verdict=record["verdict"],
    )


def _findings(findings: list[Mapping[str, Any]]) -> Section:
    if not findings:
        return Section("Findings", see="Nothing was found.")
    rows = [
        [one["code"], one["severity"], one["place"] or "(model)", one["message"], one["fix"]]
        for one in findings
    ]
    return Section(
        "Findings",
        table=Table(["fault", "severity", "place", "what was found", "how to mend it"], rows),
        see="The first finding changes most: mend it first, then diagnose again.",
    )
