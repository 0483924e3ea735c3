"""Modules for self-normalizing networks in PyTorch."""

from __future__ import annotations

from selfnorm.nn._activations import ELU, SELU
from selfnorm.nn._dropout import AlphaDropout
from selfnorm.nn._embedding import SNNEmbedding
from selfnorm.nn._inputs import OneHotInput, StandardizedInput
from selfnorm.nn._linear import LinearSELU
from selfnorm.nn._recurrent import SELURNN, SELURNNCell, StateMoments
from selfnorm.nn._self_normalized import SelfNormalized
from selfnorm.nn._snn import SNN

__all__ = [
    "ELU",
    "SELU",
    "SELURNN",
    "SNN",
    "AlphaDropout",
    "LinearSELU",
    "OneHotInput",
    "SELURNNCell",
    "SNNEmbedding",
    "SelfNormalized",
    "StandardizedInput",
    "StateMoments",
]
