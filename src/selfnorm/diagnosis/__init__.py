"""Why a network does not normalise itself, and the line that mends it."""

from __future__ import annotations

from selfnorm.diagnosis._check import check
from selfnorm.diagnosis._diagnose import diagnose
from selfnorm.diagnosis._records import Diagnosis, Finding, LayerMoments
from selfnorm.diagnosis._rule_table import RULES, Rule

__all__ = ["RULES", "Diagnosis", "Finding", "LayerMoments", "Rule", "check", "diagnose"]
