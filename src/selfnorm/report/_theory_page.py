"""The page of the theory: pictures and tables made from its record."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfnorm.report._dependencies import require
from selfnorm.report._numbers import format_number
from selfnorm.report._page import Page
from selfnorm.report._theory_curves import curve_sections
from selfnorm.report._theory_fields import field_sections
from selfnorm.report._theory_record import theory_record
from selfnorm.report._theory_tables import CLAIMS, activation_section, certificate_sections

__all__ = ["theory_report"]


def theory_report(path: str | os.PathLike[str], *, record: Mapping[str, Any] | None = None) -> Path:
    """Write the theory of self-normalizing networks as pictures and tables, in one HTML file.

    Shows the vector field of the moment map with certified boxes, for several target variances and
    weight scales; the constants of SELU against the target variance; contraction against gradient
    growth; which activations can be made self-normalizing; and the theorems of the paper,
    certified anew, with what no certificate covers. All numbers are computed when it is called.

    Parameters
    ----------
    path : str or path-like
        The file; missing folders are made.
    record : mapping, optional
        From :func:`theory_record`; computed if left out.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    MissingDependencyError
        If matplotlib or jinja2 is not installed. Without python-flint the page is written and
        says how to get the certificates.
    OSError
        If the file cannot be written.

    Notes
    -----
    Takes about 6 s on one core.

    References
    ----------
    Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks", NeurIPS 2017,
    arXiv:1706.02515.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     theory_report(Path(folder) / "theory.html").name
    'theory.html'
    """
    require()
    return _page(theory_record() if record is None else record).write(path)


def _page(record: Mapping[str, Any]) -> Page:
    return Page(
        "How self-normalizing networks hold their activations",
        "A layer maps mean and variance of its inputs to those of its outputs. SELU’s constants "
        "are chosen so that this map has an attracting fixed point. This page draws the map, "
        "varies the point, and says what is proven. Numbers are derived (closed forms and "
        "quadrature in float64), certified (ball arithmetic) or measured (seconds).",
        [
            *field_sections(record),
            *curve_sections(record),
            activation_section(record),
            *certificate_sections(record),
        ],
        verdict=_verdict(record),
        environment=record["environment"],
        command="selfnorm theory-report",
    )


def _verdict(record: Mapping[str, Any]) -> str:
    standard = next(one for one in record["targets"] if one["var"] == 1.0)
    text = (
        f"At SELU’s own fixed point (0, 1) a layer leaves {format_number(standard['var_slope'], 3)}"
        " of a small error in the variance and multiplies the squared gradient by "
        f"{format_number(standard['chi'])}."
    )
    if record["missing"] is not None:
        return f"{text} The theorems were not certified: {record['missing']}."
    false = [CLAIMS[one["claim"]] for one in record["certificates"] if not one["holds"]]
    if false:
        return f"{text} Not true as stated: {', '.join(false)}."
    seconds = sum(one["seconds"] for one in record["certificates"])
    larger = sum(one["claim"] == "box" for one in record["certificates"])
    return (
        f"{text} Theorems 1 to 3 and Lemma 12 of the paper hold, and so does Theorem 1’s statement "
        f"on {larger} larger boxes: certified here in {format_number(seconds, 2)} s."
    )
