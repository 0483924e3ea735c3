"""Why a network does not normalise itself, and the line that mends it."""

from __future__ import annotations

from selfnorm.diagnosis._conversion import Change, Conversion, Refusal
from selfnorm.diagnosis._convert import convert
from selfnorm.diagnosis._records import Diagnosis, Finding, LayerMoments
from selfnorm.diagnosis._rewrite import ScaledSum
from selfnorm.diagnosis._rule_table import RULES, Rule

__all__ = [
    "RULES",
    "Change",
    "Conversion",
    "Diagnosis",
    "Finding",
    "LayerMoments",
    "Refusal",
    "Rule",
    "ScaledSum",
    "convert",
]
