"""Nets that are sick on purpose, one for each fault, and the fix of each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from selfnorm import init
from selfnorm import nn as snn
from selfnorm.diagnosis import convert
from selfnorm.experiments._tasks import Task

__all__ = ["FAULTS", "Case"]

DEPTH: Final = 24
WIDTH: Final = 64

Padding = Literal["zeros", "replicate"]
Builder = Callable[[], nn.Module]
Fix = Callable[[nn.Module, Task], nn.Module]


@dataclasses.dataclass(frozen=True)
class Case:
    """A net as people write it, and what mends it.

    Attributes
    ----------
    name : str
        Its name in the record.
    what : str
        The net in a sentence.
    task : str
        One of the tasks.
    build : callable
        Makes the net; draws from torch's generator.
    fix : callable
        Makes the mended net of the net and the task.
    fix_text : str
        The fix, as one writes it.
    expected : str
        The code that the check should name first.
    weight_decay : float
        Of the net as people write it; the mended one has none.
    keep_rows : bool
        Whether the mended one keeps its rows at length 1.
    optimizer : {"sgd", "adam"}
        SGD with momentum, or Adam.
    epochs : float
        Factor of the usual number of epochs.
    """

    name: str
    what: str
    task: str
    build: Builder
    fix: Fix
    fix_text: str
    expected: str = ""
    weight_decay: float = 0.0
    keep_rows: bool = False
    optimizer: str = "sgd"
    epochs: float = 1.0


def mlp(
    *between: Callable[[], nn.Module],
    depth: int = DEPTH,
    width: int = WIDTH,
    inputs: int = 64,
    activation: Callable[[], nn.Module] = snn.SELU,
    before: Callable[[], nn.Module] | None = None,
    start: Callable[[Tensor], object] | None = init.lecun_normal_,
) -> nn.Sequential:
    """Return a deep plain net; ``between`` stands after each activation, ``before`` before it."""
    layers: list[nn.Module] = []
    for index in range(depth):
        layers.append(nn.Linear(inputs if index == 0 else width, width))
        layers += [] if before is None else [before()]
        layers += [activation(), *(make() for make in between)]
    return drawn(nn.Sequential(*layers, nn.Linear(width, 10)), start)


def drawn(net: nn.Sequential, start: Callable[[Tensor], object] | None) -> nn.Sequential:
    """Draw every weight by a function, and set biases to 0; None leaves torch's default."""
    if start is None:
        return net
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            start(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return net


def truncated(weight: Tensor) -> None:
    """Draw a truncated normal without its correction, as timm and others do."""
    sd = 1.0 / math.sqrt(weight[0].numel())
    nn.init.trunc_normal_(weight, 0.0, sd, -2.0 * sd, 2.0 * sd)


class Plain(nn.Module):
    """x + selu(W x): a residual block without a scale."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.act = nn.Linear(WIDTH, WIDTH), snn.SELU()

    def forward(self, x: Tensor) -> Tensor:
        """Add."""
        y: Tensor = self.act(self.layer(x))
        return x + y


def residual() -> nn.Sequential:
    """Return a net of unscaled residual blocks."""
    blocks = [Plain() for _ in range(DEPTH)]
    first = [nn.Linear(64, WIDTH), snn.SELU()]
    return drawn(nn.Sequential(*first, *blocks, nn.Linear(WIDTH, 10)), init.lecun_normal_)


class Off(nn.Module):
    """Alpha dropout called without ``training``, which by default drops nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """Do nothing, by mistake."""
        return functional.alpha_dropout(x, 0.05)


def conv(pool: Callable[[], nn.Module] | None, padding: Padding, depth: int = 8) -> nn.Sequential:
    """Return a plain convolution net for images of 8×8."""
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [
            nn.Conv2d(1 if index == 0 else 12, 12, 3, padding=1, padding_mode=padding),
            snn.SELU(),
        ]
        if pool is not None and index in (2, 5):
            layers.append(pool())
    size = 12 * (64 if pool is None else 4)
    return drawn(nn.Sequential(*layers, nn.Flatten(), nn.Linear(size, 10)), init.lecun_normal_)


def _new(net: nn.Module, _: Task) -> nn.Module:
    return init.initialize_(net)


def _converted(net: nn.Module, task: Task) -> nn.Module:
    return convert(net, task.train[0], weights="new").model


def _exchanged(net: nn.Module, task: Task) -> nn.Module:
    return convert(net, weights="keep").model


def _input(net: nn.Module, task: Task) -> nn.Module:
    return nn.Sequential(snn.StandardizedInput.from_data(task.train[0], log="never"), net)


def _replaced(make: Builder) -> Fix:
    return lambda _net, _task: make()


def matched(depth: int) -> nn.Module:
    """Return a net whose fixed point suits its depth."""
    act = snn.SELU.for_depth(depth)
    net = mlp(depth=depth, activation=lambda: snn.SELU.for_depth(depth), start=_orthogonal)
    scale = torch.full((64,), 1.0 / math.sqrt(act.var))
    return nn.Sequential(snn.StandardizedInput([0.0] * 64, scale.tolist()), net)


def _orthogonal(weight: Tensor) -> object:
    return init.scaled_orthogonal_(weight)


def _gain(weight: Tensor) -> object:
    return nn.init.kaiming_normal_(weight, nonlinearity="selu")


def _he(weight: Tensor) -> object:
    return nn.init.kaiming_normal_(weight, nonlinearity="relu")


def _case(name: str, what: str, build: Builder, fix: Fix, text: str, **more: Any) -> Case:
    return Case(name, what, more.pop("task", "digits"), build, fix, text, name, **more)


_MAKE: Final = "selfnorm.init.initialize_(model)"
_CONVERT: Final = "selfnorm.convert(model, X, weights='new').model"
_EXCHANGE: Final = "selfnorm.convert(model, weights='keep').model"

FAULTS: Final = {
    case.name: case
    for case in (
        _case("default-init", "torch's default weights", lambda: mlp(start=None), _new, _MAKE),
        _case(
            "gain-three-quarters", "kaiming_normal_(nonlinearity='selu')",
            lambda: mlp(start=_gain), _new, _MAKE,
        ),
        _case(
            "he-init", "kaiming_normal_(nonlinearity='relu')", lambda: mlp(start=_he), _new, _MAKE
        ),
        _case(
            "truncated-init", "a truncated normal, not corrected", lambda: mlp(start=truncated),
            _new, _MAKE,
        ),
        _case(
            "input-not-standardised", "pixels from 0 to 16, as scikit-learn gives them", mlp,
            _input, "nn.Sequential(selfnorm.nn.StandardizedInput.from_data(X, log='never'), model)",
            task="digits-pixels",
        ),
        _case(
            "sparse-input", "pixels as one-hot codes, 1,088 columns",
            lambda: mlp(inputs=1088), _input,
            "nn.Sequential(selfnorm.nn.StandardizedInput.from_data(X, log='never'), model)",
            task="digits-onehot",
        ),
        _case(
            "plain-dropout", "8 layers, Dropout(0.2) after each",
            lambda: mlp(lambda: nn.Dropout(0.2), depth=8),
            _exchanged, _EXCHANGE,
        ),
        _case(
            "batch-norm", "BatchNorm1d before each SELU",
            lambda: mlp(before=lambda: nn.BatchNorm1d(WIDTH)), _converted, _CONVERT,
        ),
        _case(
            "layer-norm", "LayerNorm before each SELU",
            lambda: mlp(before=lambda: nn.LayerNorm(WIDTH)), _converted, _CONVERT,
        ),
        _case("unscaled-residual", "24 blocks x + selu(W x)", residual, _converted, _CONVERT),
        _case(
            "alpha-dropout-after-relu", "8 layers of ELU and AlphaDropout(0.1)",
            lambda: mlp(lambda: nn.AlphaDropout(0.1), depth=8, activation=nn.ELU), _converted,
            _CONVERT,
        ),
        _case(
            "alpha-dropout-off", "8 layers, functional.alpha_dropout(x, 0.05) without training",
            lambda: mlp(Off, depth=8),
            _replaced(lambda: mlp(lambda: snn.AlphaDropout(0.05), depth=8)),
            "selfnorm.nn.AlphaDropout(0.05)",
        ),
        _case(
            "zero-padding", "8 convolutions 3×3, zero padding, images of 8×8",
            lambda: conv(None, "zeros"), _replaced(lambda: conv(None, "replicate")),
            "padding_mode='replicate'", task="digits-image",
        ),
        _case(
            "average-pooling", "the same, replicate padding, AvgPool2d(2) twice",
            lambda: conv(lambda: nn.AvgPool2d(2), "replicate"),
            _replaced(lambda: conv(_strided, "replicate")), "a convolution of stride 2",
            task="digits-image",
        ),
        _case(
            "max-pooling", "the same with MaxPool2d(2) twice",
            lambda: conv(lambda: nn.MaxPool2d(2), "replicate"),
            _replaced(lambda: conv(_strided, "replicate")), "a convolution of stride 2",
            task="digits-image",
        ),
        _case(
            "too-deep", "100 layers at variance 1", lambda: mlp(depth=100),
            _replaced(lambda: matched(100)), "selfnorm.nn.SELU.for_depth(100), inputs scaled to it",
            epochs=0.5,
        ),
        _case(
            "narrow-layers", "24 layers of 8 units", lambda: mlp(width=8),
            lambda net, _: init.initialize_(net, method="orthogonal"),
            "selfnorm.init.initialize_(model, method='orthogonal')",
        ),
        _case(
            "weight-decay-drift", "SGD with weight decay 0.1", mlp, lambda net, _: net,
            "selfnorm.nn.keep_row_norms(model, optimizer), no weight decay",
            weight_decay=0.1, keep_rows=True, epochs=2.0,
        ),
    )
}  # fmt: skip


def _strided() -> nn.Module:
    return nn.Sequential(nn.Conv2d(12, 12, 2, stride=2), snn.SELU())
