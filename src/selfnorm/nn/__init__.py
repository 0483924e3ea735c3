"""Modules for self-normalizing networks in PyTorch."""

from __future__ import annotations

from selfnorm.nn._activations import ELU, SELU
from selfnorm.nn._dropout import AlphaDropout
from selfnorm.nn._linear import LinearSELU
from selfnorm.nn._row_norms import RowNorms, keep_row_norms
from selfnorm.nn._self_normalized import SelfNormalized
from selfnorm.nn._snn import SNN
from selfnorm.nn._standardize import Standardize

__all__ = [
    "ELU",
    "SELU",
    "SNN",
    "AlphaDropout",
    "LinearSELU",
    "RowNorms",
    "SelfNormalized",
    "Standardize",
    "keep_row_norms",
]
