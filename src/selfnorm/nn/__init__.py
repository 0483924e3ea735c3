"""Modules for self-normalizing networks in PyTorch."""

from __future__ import annotations

from selfnorm.nn._activations import ELU, SELU
from selfnorm.nn._conv import ConvSELU1d, ConvSELU2d, ConvSELU3d
from selfnorm.nn._dropout import AlphaDropout
from selfnorm.nn._linear import LinearSELU
from selfnorm.nn._self_normalized import SelfNormalized
from selfnorm.nn._snn import SNN
from selfnorm.nn._snn_conv import SNNConv
from selfnorm.nn._weight_standardized import WSConv1d, WSConv2d, WSConv3d, WSLinear

__all__ = [
    "ELU",
    "SELU",
    "SNN",
    "AlphaDropout",
    "ConvSELU1d",
    "ConvSELU2d",
    "ConvSELU3d",
    "LinearSELU",
    "SNNConv",
    "SelfNormalized",
    "WSConv1d",
    "WSConv2d",
    "WSConv3d",
    "WSLinear",
]
