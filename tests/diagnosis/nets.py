"""The suites: networks that are healthy and sick, each with its known answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import selfnorm as sn

from .parts import (
    VAE,
    AlphaOff,
    Autoencoder,
    BackboneHead,
    BrainFloat,
    Branching,
    ClampedSELU,
    Dense,
    FlowMatching,
    Functional,
    Gated,
    GraphNet,
    LstmHead,
    Residual,
    ResNet,
    ReZero,
    ScaledELU,
    SeluHead,
    SNNBlock,
    Tagger,
    TimeEmbedding,
    Transformer,
    VisionBlock,
    WideAndDeep,
    WrittenSELU,
    conv_net,
    drawn,
    graph_data,
    half_in_place,
    images,
    lecun,
    mlp,
    one_hot,
    pooled,
    shared_twice,
    standard,
    standardised_backbone,
    steps,
    trained,
)

__all__ = ["HEALTHY", "SICK"]

Case = tuple[Callable[[], nn.Module], Callable[[], Any] | None]

HEALTHY: dict[str, Case] = {
    "mlp": (lambda: lecun(mlp()), None),
    "mlp with data": (lambda: lecun(mlp()), standard),
    "mlp xavier": (lambda: drawn(nn.init.xavier_normal_), standard),
    "mlp orthogonal": (lambda: drawn(nn.init.orthogonal_), standard),
    "mlp alpha dropout": (lambda: lecun(mlp(5, 96, nn.SELU, lambda: nn.AlphaDropout(0.07))), None),
    "sn.init": (lambda: sn.init.initialize_(mlp(), method="lecun_truncated_normal"), standard),
    "SNN": (lambda: sn.nn.SNN(30, 4, width=96, depth=6), standard),
    "SNN conic": (lambda: sn.nn.SNN(30, 4, width=96, depth=6, shape="conic"), standard),
    "SNN depth-matched": (
        lambda: sn.nn.SNN(30, 4, width=64, depth=40, dropout=0.0, fixed_point="depth-matched"),
        standard,
    ),
    "SNNConv": (lambda: sn.nn.SNNConv(3, 5, image_size=16, depth=5, width=12), images),
    "SNNConv rescaled": (
        lambda: sn.nn.SNNConv(3, 5, image_size=16, depth=5, width=12, padding_mode="rescaled"),
        images,
    ),
    "SNNResNet": (lambda: sn.nn.SNNResNet(3, 5, image_size=16, depth=9, width=12), images),
    "SNNAutoencoder": (lambda: sn.nn.SNNAutoencoder(30, 4, width=80, variational=True), standard),
    "SNNField": (lambda: sn.nn.SNNField(7, width=96), None),
    "SNNSequenceClassifier": (
        lambda: sn.nn.SNNSequenceClassifier(6, 3, width=48),
        lambda: standard(9 * 11, 6).reshape(9, 11, 6),
    ),
    "pools that keep moments": (pooled, images),
    "weight standardised": (
        lambda: nn.Sequential(
            sn.nn.WSLinear(30, 64), nn.SELU(), sn.nn.WSLinear(64, 64), nn.SELU(), nn.Linear(64, 2)
        ),
        standard,
    ),
    "SNN elu": (lambda: sn.nn.SNN(30, 4, width=64, depth=3, activation="elu"), standard),
    "SNN untouched by eval": (lambda: sn.nn.SNN(30, 4, width=64, depth=3).eval(), standard),
    "fifty layers": (lambda: lecun(mlp(50, 96)), standard),
    "functional": (lambda: lecun(Functional()), standard),
    "functional alpha dropout": (lambda: lecun(Functional(sn.functional.alpha_dropout)), standard),
    "functional torch alpha dropout": (lambda: lecun(Functional(F.alpha_dropout)), None),
    "data-dependent": (lambda: lecun(Branching()), standard),
    "scaled residual": (lambda: lecun(Residual(8, 0.3)), standard),
    "conv without padding": (lambda: conv_net(), None),
    "conv reflecting": (lambda: conv_net(padding=1, padding_mode="reflect"), None),
    "ResNet": (ResNet, lambda: torch.rand(4, 3, 48, 48)),
    "ResNet without data": (ResNet, None),
    "LSTM": (Tagger, None),
    "transformer": (Transformer, None),
    "transformer selu": (lambda: Transformer(F.selu), None),
    "highway": (Gated, standard),
    "time embedding": (TimeEmbedding, None),
    "wide and deep": (WideAndDeep, standard),
    "autoencoder": (Autoencoder, standard),
    "shared twice": (shared_twice, standard),
    "relu mlp": (lambda: mlp(4, 64, nn.ReLU, lambda: nn.Dropout(0.3)), lambda: torch.rand(40, 30)),
    "gelu layer norm": (lambda: mlp(4, 64, nn.GELU, lambda: nn.LayerNorm(64)), None),
    "input batch norm": (
        lambda: nn.Sequential(nn.BatchNorm1d(30), *lecun(mlp(3)).children()),
        lambda: 5.0 + 3.0 * standard(),
    ),
    "trained": (lambda: trained(lecun(mlp(4))), standard),
    "VAE": (VAE, standard),
    "graph": (lambda: lecun(GraphNet()), graph_data),
    "re-zero": (ReZero, standard),
    "dense": (Dense, standard),
    "vision": (lambda: nn.Sequential(nn.Linear(16, 32), VisionBlock(), VisionBlock()), None),
    "backbone and norm": (lambda: BackboneHead(nn.BatchNorm1d(50)), images),
    "backbone standardised": (standardised_backbone, images),
    "backbone without data": (BackboneHead, None),
    "written out": (lambda: lecun(mlp(4, 96, WrittenSELU)), standard),
    "float64": (lambda: lecun(mlp()).double(), standard),
    "meta": (lambda: mlp().to("meta"), None),
    "empty": (nn.Identity, standard),
}

SICK: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any] | None, str]] = {
    "default": (mlp, standard, "default-init"),
    "default without data": (mlp, None, "default-init"),
    "default functional": (Functional, None, "default-init"),
    "default data-dependent": (Branching, None, "default-init"),
    "default nested": (
        lambda: nn.Sequential(nn.Sequential(mlp(2), nn.SELU()), nn.Linear(7, 7)),
        None,
        "default-init",
    ),
    "default and dropout": (
        lambda: mlp(3, 64, nn.SELU, lambda: nn.Dropout(0.2)),
        None,
        "default-init",
    ),
    "default conv": (
        lambda: nn.Sequential(nn.Conv2d(3, 24, 3), nn.SELU(), nn.Conv2d(24, 24, 3), nn.SELU()),
        None,
        "default-init",
    ),
    "flow matching": (FlowMatching, None, "default-init"),
    "head": (SeluHead, lambda: torch.rand(6, 3, 48, 48), "default-init"),
    "default graph": (GraphNet, graph_data, "default-init"),
    "default written out": (lambda: mlp(3, 64, WrittenSELU), None, "default-init"),
    "default clamped": (lambda: mlp(3, 64, ClampedSELU), None, "default-init"),
    "default scaled ELU": (lambda: mlp(3, 64, ScaledELU), None, "default-init"),
    "gain 3/4": (
        lambda: drawn(lambda w: nn.init.kaiming_normal_(w, nonlinearity="selu")),
        standard,
        "gain-three-quarters",
    ),
    "gain 3/4 uniform": (
        lambda: drawn(lambda w: nn.init.kaiming_uniform_(w, nonlinearity="selu")),
        None,
        "gain-three-quarters",
    ),
    "he": (lambda: drawn(nn.init.kaiming_normal_), standard, "he-init"),
    "he uniform": (lambda: drawn(nn.init.kaiming_uniform_), None, "he-init"),
    "truncated": (
        lambda: drawn(
            lambda w: nn.init.trunc_normal_(
                w, std=w.shape[1] ** -0.5, a=-2 * w.shape[1] ** -0.5, b=2 * w.shape[1] ** -0.5
            )
        ),
        standard,
        "truncated-init",
    ),
    "std .02": (lambda: drawn(lambda w: nn.init.normal_(w, std=0.02)), None, "weight-scale"),
    "raw input": (lambda: lecun(mlp()), lambda: torch.rand(100, 30), "input-not-standardised"),
    "pixels": (
        lambda: lecun(mlp()),
        lambda: torch.randint(256, (100, 30)).float(),
        "input-not-standardised",
    ),
    "backbone": (BackboneHead, images, "input-not-standardised"),
    "LSTM, last step": (lambda: LstmHead(True), steps, "input-not-standardised"),
    "LSTM, all steps": (lambda: LstmHead(False), steps, "input-not-standardised"),
    "plain dropout": (
        lambda: lecun(mlp(4, 80, nn.SELU, lambda: nn.Dropout(0.1))),
        None,
        "plain-dropout",
    ),
    "functional dropout": (lambda: lecun(Functional(F.dropout)), None, "plain-dropout"),
    "batch norm": (
        lambda: lecun(mlp(4, 80, nn.SELU, lambda: nn.BatchNorm1d(80))),
        None,
        "batch-norm",
    ),
    "layer norm": (
        lambda: lecun(mlp(4, 80, nn.SELU, lambda: nn.LayerNorm(80))),
        None,
        "layer-norm",
    ),
    "residual": (lambda: lecun(Residual()), standard, "unscaled-residual"),
    "residual without data": (lambda: lecun(Residual()), None, "unscaled-residual"),
    "zero padding": (lambda: conv_net(padding=1), None, "zero-padding"),
    "max pooling": (
        lambda: conv_net(padding=1, padding_mode="circular", pool=nn.MaxPool2d),
        None,
        "max-pooling",
    ),
    "average pooling": (
        lambda: conv_net(padding=1, padding_mode="circular", pool=nn.AvgPool2d),
        None,
        "average-pooling",
    ),
    "SNN block": (SNNBlock, None, "alpha-dropout-after-relu"),
    "relu alpha dropout": (
        lambda: mlp(3, 64, nn.ReLU, lambda: nn.AlphaDropout(0.2)),
        None,
        "alpha-dropout-after-relu",
    ),
    "alpha dropout off": (lambda: lecun(AlphaOff()), None, "alpha-dropout-off"),
    "alpha dropout of another SELU": (
        lambda: lecun(
            mlp(3, 64, lambda: sn.nn.SELU(var=0.2), lambda: nn.AlphaDropout(0.1)),
        ),
        None,
        "alpha-dropout-mismatch",
    ),
    "float16 in place": (half_in_place, None, "in-place-low-precision"),
    "bfloat16 in place": (BrainFloat, lambda: standard().bfloat16(), "in-place-low-precision"),
    "too deep": (lambda: lecun(mlp(70, 64)), None, "too-deep"),
    "too much dropout": (
        lambda: lecun(mlp(30, 96, nn.SELU, lambda: nn.AlphaDropout(0.2))),
        None,
        "too-deep",
    ),
    "narrow": (lambda: lecun(mlp(6, 6)), None, "narrow-layers"),
    "one-hot": (lambda: lecun(mlp()), one_hot, "sparse-input"),
    "decayed": (
        lambda: trained(lecun(mlp(6)), 200, keep=0.45),
        standard,
        "weight-decay-drift",
    ),
}
