"""Modules for self-normalizing networks in PyTorch."""

from __future__ import annotations

from selfnorm.nn._activations import ELU, SELU
from selfnorm.nn._autoencoder import ELBO, SNNAutoencoder
from selfnorm.nn._conv import ConvSELU1d, ConvSELU2d, ConvSELU3d
from selfnorm.nn._dropout import AlphaDropout
from selfnorm.nn._embedding import SNNEmbedding
from selfnorm.nn._field import SNNField, flow_matching_loss, integrate_flow
from selfnorm.nn._images import ImageInput
from selfnorm.nn._inputs import StandardizedInput
from selfnorm.nn._linear import LinearSELU
from selfnorm.nn._one_hot import OneHotInput
from selfnorm.nn._pooling import AvgPool1d, AvgPool2d, AvgPool3d, MaxPool1d, MaxPool2d, MaxPool3d
from selfnorm.nn._recurrent import SELURNN
from selfnorm.nn._recurrent_cell import SELURNNCell, StateMoments
from selfnorm.nn._residual import ScaledConcat, ScaledResidual
from selfnorm.nn._row_norms import RowNorms, keep_row_norms
from selfnorm.nn._self_normalized import SelfNormalized
from selfnorm.nn._sequence_classifier import SNNSequenceClassifier
from selfnorm.nn._snn import SNN
from selfnorm.nn._snn_conv import SNNConv
from selfnorm.nn._snn_resnet import SNNResNet
from selfnorm.nn._weight_standardized import WSConv1d, WSConv2d, WSConv3d, WSLinear

__all__ = [
    "ELBO",
    "ELU",
    "SELU",
    "SELURNN",
    "SNN",
    "AlphaDropout",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "ConvSELU1d",
    "ConvSELU2d",
    "ConvSELU3d",
    "ImageInput",
    "LinearSELU",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "OneHotInput",
    "RowNorms",
    "SELURNNCell",
    "SNNAutoencoder",
    "SNNConv",
    "SNNEmbedding",
    "SNNField",
    "SNNResNet",
    "SNNSequenceClassifier",
    "ScaledConcat",
    "ScaledResidual",
    "SelfNormalized",
    "StandardizedInput",
    "StateMoments",
    "WSConv1d",
    "WSConv2d",
    "WSConv3d",
    "WSLinear",
    "flow_matching_loss",
    "integrate_flow",
    "keep_row_norms",
]
