"""Why a network does not normalise itself, and the line that mends it."""

from __future__ import annotations

from selfnorm.diagnosis._adapters import (
    engine_monitor,
    lightning_monitor,
    skorch_monitor,
    transformers_monitor,
)
from selfnorm.diagnosis._check import check
from selfnorm.diagnosis._conversion import Change, Conversion, Refusal
from selfnorm.diagnosis._convert import convert
from selfnorm.diagnosis._coord_check import CoordCheck, coord_check
from selfnorm.diagnosis._diagnose import diagnose
from selfnorm.diagnosis._monitor import Monitor
from selfnorm.diagnosis._records import Diagnosis, Finding, LayerMoments
from selfnorm.diagnosis._rewrite import ScaledSum
from selfnorm.diagnosis._rule_table import RULES, Rule
from selfnorm.diagnosis._text import findings_markdown, findings_text

__all__ = [
    "RULES",
    "Change",
    "Conversion",
    "CoordCheck",
    "Diagnosis",
    "Finding",
    "LayerMoments",
    "Monitor",
    "Refusal",
    "Rule",
    "ScaledSum",
    "check",
    "convert",
    "coord_check",
    "diagnose",
    "engine_monitor",
    "findings_markdown",
    "findings_text",
    "lightning_monitor",
    "skorch_monitor",
    "transformers_monitor",
]
