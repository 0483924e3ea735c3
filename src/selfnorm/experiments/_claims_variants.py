"""What the claims experiment trains: for each claim, nets that differ in the one thing claimed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Final

import torch
from torch import nn

from selfnorm import theory
from selfnorm.constants import ALPHA01, LAMBDA01
from selfnorm.experiments._nets import initializer
from selfnorm.nn import ELU, SELU, AlphaDropout, SelfNormalized

__all__ = ["CLAIMS", "VARIANTS", "Variant", "build_variant", "predicted_var"]

CLAIMS: Final = {
    "smooth": "A smooth activation learns faster than one with a kink.",
    "dying": "ReLU units die; ELU and SELU units do not.",
    "zero-mean": "Activations of mean zero speed up learning.",
    "alpha": "SELU is sensitive to α: only α = 1.6733 works.",
    "init": "SELU is sensitive to the initialisation: it needs LeCun normal weights.",
    "regularisers": "SELU does not go together with dropout, batch norm and weight decay.",
    "target": "(0, 1) is the right fixed point, rather than (0, 4).",
}


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to build and train a net.

    Attributes
    ----------
    claim, name, words : str
        The claim it belongs to, its name, and what it is.
    activation : callable
        Makes the activation of a hidden layer.
    init : str
        Initialisation of the hidden layers: a name of :func:`initializer`, or "normal".
    gain : float
        With "normal", the weights have variance gain² / fan_in.
    behind : callable, optional
        Makes what stands behind each activation, given the width.
    before : callable, optional
        Makes what stands before it, given the width.
    weight_decay : float
        Weight decay in training.
    input_var : float
        Variance of the inputs.
    act : Activation, optional
        The activation as theory knows it, where theory predicts the net.
    """

    claim: str
    name: str
    words: str
    activation: Callable[[], nn.Module]
    init: str = "normal"
    gain: float = 1.0
    behind: Callable[[int], nn.Module] | None = None
    before: Callable[[int], nn.Module] | None = None
    weight_decay: float = 0.0
    input_var: float = 1.0
    act: theory.Activation | None = None


class _Elu(nn.Module):
    """λ·elu with free constants, plus a shift."""

    def __init__(self, alpha: float, scale: float, shift: float = 0.0) -> None:
        super().__init__()
        self.alpha, self.scale, self.shift = alpha, scale, shift

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * nn.functional.elu(x, self.alpha) + self.shift


def _shifted(shift: float) -> Variant:
    """SELU plus a constant; smaller weights leave the variance of the pre-activations at 1."""
    return Variant(
        "zero-mean",
        f"mean {shift:g}",
        "SELU" + (f" + {shift:g}, weights of variance 1/((1 + {shift:g}²)n)" if shift else ""),
        lambda: _Elu(ALPHA01, LAMBDA01, shift),
        gain=1 / math.sqrt(1 + shift**2),
    )


def _alpha(factor: float) -> Variant:
    """SELU with another α and the same λ."""
    alpha = factor * ALPHA01
    return Variant(
        "alpha",
        f"α × {factor:g}",
        f"λ·elu with α = {alpha:.3f}",
        lambda: _Elu(alpha, LAMBDA01),
        act=theory.activation("selu", alpha=alpha, scale=LAMBDA01),
    )


def _init(name: str, words: str, init: str = "normal", gain: float = 1.0) -> Variant:
    return Variant("init", name, words, SELU, init, gain, act=theory.activation("selu"))


def _target(var: float) -> Variant:
    solution = theory.solve(0.0, var)
    alpha, scale = float(solution.alpha), float(solution.scale)
    return Variant(
        "target",
        f"(0, {var:g})",
        f"SELU with α = {alpha:.3f}, λ = {scale:.3f}, inputs of variance {var:g}",
        lambda: SELU(0.0, var),
        input_var=var,
        act=theory.activation("selu", alpha=alpha, scale=scale),
    )


def _dropout(kind: Callable[[float], nn.Module], rate: float) -> Variant:
    """SELU with alpha dropout or ordinary dropout."""
    name = "alpha dropout" if kind is AlphaDropout else "dropout"
    words = f"{'' if kind is AlphaDropout else 'ordinary '}{name}, rate {rate:g}"
    return Variant("regularisers", f"{name} {rate:g}", words, SELU, behind=lambda width: kind(rate))


_HE: Final = math.sqrt(2)

VARIANTS: Final = (
    Variant("smooth", "kink", "SELU: the slope jumps from 1.76 to 1.05 at 0", SELU),
    Variant(
        "smooth",
        "smooth",
        "ELU (α = 1) standardised: one slope at 0, the same fixed point (0, 1)",
        lambda: SelfNormalized("elu"),
    ),
    Variant(
        "smooth",
        "smoother",
        "tanh standardised: smooth of every order, the same fixed point",
        lambda: SelfNormalized("tanh"),
    ),
    Variant("dying", "relu", "ReLU, He normal", nn.ReLU, gain=_HE),
    Variant("dying", "leaky", "leaky ReLU (slope 0.01), He normal", nn.LeakyReLU, gain=_HE),
    Variant("dying", "elu", "ELU (α = 1), He normal", ELU, gain=_HE),
    Variant("dying", "selu", "SELU, LeCun normal", SELU),
    *(_shifted(shift) for shift in (0.0, 0.25, 0.5, 1.0)),
    *(_alpha(factor) for factor in (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)),
    _init("torch", "torch.nn.Linear's own: Σw² = 1/3", init="torch"),
    _init("gain 3/4", "what calculate_gain('selu') gives: Σw² = 9/16", gain=0.75),
    _init("glorot", "Glorot uniform: Σw² = 1 between layers of one width", init="glorot"),
    _init("lecun", "LeCun normal: Σw² = 1"),
    _init("orthogonal", "orthogonal: Σw² = 1", init="orthogonal"),
    _init("he", "He normal: Σw² = 2", gain=_HE),
    Variant("regularisers", "none", "SELU alone", SELU),
    *(_dropout(kind, rate) for rate in (0.02, 0.1) for kind in (AlphaDropout, nn.Dropout)),
    Variant(
        "regularisers",
        "batch norm",
        "batch norm before each SELU",
        SELU,
        before=nn.BatchNorm1d,
    ),
    Variant("regularisers", "decay 1e-3", "weight decay 0.001", SELU, weight_decay=1e-3),
    Variant("regularisers", "decay 1e-2", "weight decay 0.01", SELU, weight_decay=1e-2),
    Variant(
        "regularisers",
        "relu decay 1e-2",
        "the same on ReLU, He normal",
        nn.ReLU,
        gain=_HE,
        weight_decay=1e-2,
    ),
    *(_target(var) for var in (0.1, 1.0, 4.0)),
)


def build_variant(
    variant: Variant,
    *,
    n_features: int,
    width: int,
    depth: int,
    n_classes: int,
    generator: torch.Generator,
) -> nn.Sequential:
    """Build a net: one ``nn.Sequential`` per hidden layer, then the head (LeCun normal)."""
    blocks: list[nn.Module] = []
    fan_in = n_features
    for _ in range(depth):
        layer = _linear(fan_in, width)
        if variant.init == "normal":
            initializer("lecun").fill(layer, generator)
            with torch.no_grad():
                layer.weight.mul_(variant.gain)
        else:
            initializer(variant.init).fill(layer, generator)
        parts = [layer, variant.activation()]
        if variant.before is not None:
            parts.insert(1, variant.before(width))
        if variant.behind is not None:
            parts.append(variant.behind(width))
        blocks.append(nn.Sequential(*parts))
        fan_in = width
    head = _linear(width, n_classes)
    initializer("lecun").fill(head, generator)
    return nn.Sequential(*blocks, head)


def predicted_var(
    variant: Variant, *, n_features: int, width: int, depth: int, second_moment: float
) -> float | None:
    """Return the last layer's variance before training by mean field, None without a theory."""
    if variant.act is None:
        return None
    layers = []
    for index in range(depth):
        if variant.init == "normal":
            sumsq, bias = variant.gain**2, 0.0
        else:
            fan_in = width if index else n_features
            sumsq, bias = initializer(variant.init).moments(fan_in, width)
        layers.append(theory.Layer(variant.act, weight_sumsq=sumsq, bias_var=bias))
    trajectory = theory.predict(layers, 0.0, second_moment, form="mean_field")
    return float(trajectory.var[-1])


def _linear(fan_in: int, fan_out: int) -> nn.Linear:
    return nn.Linear(fan_in, fan_out, device="meta").to_empty(device="cpu")
