"""Activation and dropout of a hidden layer, forward and backward, in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

import selfnorm.ops  # noqa: F401 - registers the operators
from selfnorm import nn
from selfnorm.train._architecture import LEAKY_SLOPE, Architecture

__all__ = ["activate", "apply_slope", "fused_constants"]

Call = Callable[[], object]


def activate(
    architecture: Architecture,
    z: Tensor,
    rates: Sequence[float] | None = None,
    rng: Sequence[Tensor] = (),
) -> list[Call]:
    """Return what replaces pre-activations by the layer's output.

    Parameters
    ----------
    architecture : Architecture
        Which activation and which dropout.
    z : torch.Tensor
        Shape (members, rows, units), or (rows, units) of one member.
    rates : sequence of float, optional
        Each member's probability of dropping. Default: none is dropped.
    rng : sequence of torch.Tensor
        Key and offset of each member's decisions in this layer.
    """
    if rates is None or not any(rates):
        return [_value(architecture, z)]
    members = [z] if z.dim() == 2 else list(z.unbind())
    calls: list[Call] = []
    if architecture.dropout_kind == "alpha":
        # Each member draws by its own key, as it would if it were alone: hence a call for each.
        for y, rate, state in zip(members, rates, rng, strict=True):
            calls.append(_value(architecture, y, rate, state))
        return calls
    calls.append(_value(architecture, z))
    for y, rate, state in zip(members, rates, rng, strict=True):
        if rate:
            a, b = architecture.affine(rate)
            calls.append(partial(_DROP, y, state, rate, a, b, 0.0, out=y))
    return calls


def apply_slope(
    architecture: Architecture,
    grad: Tensor,
    y: Tensor,
    rates: Sequence[float],
    rng: Sequence[Tensor],
) -> list[Call]:
    """Return what multiplies a gradient by the slope, which is read off the layer's output."""
    if len(set(rates)) > 1:
        calls: list[Call] = []
        for g, out, rate, state in zip(grad.unbind(), y.unbind(), rates, rng, strict=True):
            calls += apply_slope(architecture, g, out, (rate,), (state,))
        return calls
    rate = rates[0]
    if architecture.dropout_kind == "alpha":
        return [_slope(architecture, grad, y, *architecture.affine(rate))]
    if not rate:
        return [_slope(architecture, grad, y, 1.0, 0.0)]
    a, _ = architecture.affine(rate)
    members = [grad] if grad.dim() == 2 else list(grad.unbind())
    # The decisions are drawn again. SELU's slope brings the factor a, the others' do not.
    factor = 1.0 if _constants(architecture) else a
    again: list[Call] = [
        partial(_DROP, g, state, rate, factor, 0.0, 0.0, out=g)
        for g, state in zip(members, rng, strict=True)
    ]
    return [*again, _slope(architecture, grad, y, a, 0.0)]


_DROP = torch.ops.selfnorm.alpha_dropout.out
_SELU = torch.ops.selfnorm.selu.out
_SELU_SLOPE = torch.ops.selfnorm.selu_grad_from_output.out


def _constants(architecture: Architecture) -> tuple[float, float] | None:
    """Return alpha and scale of the SELU or ELU; None for another activation."""
    if architecture.activation == "selu":
        selu = nn.SELU(*architecture.moments)
        return selu.alpha, selu.scale
    return (1.0, 1.0) if architecture.activation == "elu" else None


def fused_constants(
    architecture: Architecture, rates: Sequence[float]
) -> tuple[float, float] | None:
    """Return alpha and scale for ``mlp_forward`` and ``mlp_backward``; None if they do not apply.

    They know alpha dropout, and no other.
    """
    if architecture.dropout_kind != "alpha" and any(rates):
        return None
    # ReLU is the SELU of alpha 0 and scale 1.
    return (0.0, 1.0) if architecture.activation == "relu" else _constants(architecture)


def _value(
    architecture: Architecture,
    z: Tensor,
    rate: float = 0.0,
    rng: Tensor | None = None,
) -> Call:
    constants = _constants(architecture)
    if constants:
        a, b = architecture.affine(rate) if rate else (1.0, 0.0)
        return partial(_SELU, z, None, rng if rate else None, rate, *constants, a, b, out=z)
    if architecture.activation == "relu":
        return partial(torch.relu_, z)
    return partial(torch.nn.functional.leaky_relu_, z, LEAKY_SLOPE)


def _slope(architecture: Architecture, grad: Tensor, y: Tensor, a: float, b: float) -> Call:
    constants = _constants(architecture)
    if constants:
        return partial(_SELU_SLOPE, grad, y, *constants, a, b, out=grad)
    # Torch's own backward kernels; the leaky one knows that y is the result and not the argument.
    if architecture.activation == "relu":
        return partial(torch.ops.aten.threshold_backward.grad_input, grad, y, 0.0, grad_input=grad)
    leaky = torch.ops.aten.leaky_relu_backward.grad_input
    return partial(leaky, grad, y, LEAKY_SLOPE, True, grad_input=grad)
