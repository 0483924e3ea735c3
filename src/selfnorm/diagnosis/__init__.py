"""Why a network does not normalise itself, and the line that mends it."""

from __future__ import annotations

from selfnorm.diagnosis._check import check
from selfnorm.diagnosis._coord_check import CoordCheck, coord_check
from selfnorm.diagnosis._diagnose import diagnose
from selfnorm.diagnosis._records import Diagnosis, Finding, LayerMoments
from selfnorm.diagnosis._rule_table import RULES, Rule
from selfnorm.diagnosis._text import findings_markdown, findings_text

__all__ = [
    "RULES",
    "CoordCheck",
    "Diagnosis",
    "Finding",
    "LayerMoments",
    "Rule",
    "check",
    "coord_check",
    "diagnose",
    "findings_markdown",
    "findings_text",
]
