"""Modules for self-normalizing networks in PyTorch."""

from __future__ import annotations

from selfnorm.nn._activations import ELU, SELU
from selfnorm.nn._autoencoder import ELBO, SNNAutoencoder
from selfnorm.nn._dropout import AlphaDropout
from selfnorm.nn._embedding import SNNEmbedding
from selfnorm.nn._field import SNNField, flow_matching_loss, integrate_flow
from selfnorm.nn._inputs import OneHotInput, StandardizedInput
from selfnorm.nn._linear import LinearSELU
from selfnorm.nn._recurrent import SELURNN, SELURNNCell, StateMoments
from selfnorm.nn._self_normalized import SelfNormalized
from selfnorm.nn._sequence_classifier import SNNSequenceClassifier
from selfnorm.nn._snn import SNN

__all__ = [
    "ELBO",
    "ELU",
    "SELU",
    "SELURNN",
    "SNN",
    "AlphaDropout",
    "LinearSELU",
    "OneHotInput",
    "SELURNNCell",
    "SNNAutoencoder",
    "SNNEmbedding",
    "SNNField",
    "SNNSequenceClassifier",
    "SelfNormalized",
    "StandardizedInput",
    "StateMoments",
    "flow_matching_loss",
    "integrate_flow",
]
