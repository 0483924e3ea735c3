"""The operators of the training engine: what K plain networks do in a step, one call for each part.

They are the engine's own. Their arguments are checked where they are made, in `selfnorm.train`;
none has a derivative. The reference in this file is the specification, and what other devices run;
the native library answers for CPU tensors.

mlp_forward
    ``out[l] = selu(out[l - 1] @ weights[l] + biases[l])``, then alpha dropout, for each hidden
    layer; ``x`` comes before the first. Tensors are matrices of one member or have a leading
    dimension of members. ``rng`` has shape (members, layers, 2), ``p``, ``a`` and ``b`` are one
    number for each member, as for ``selfnorm::selu``.
mlp_backward
    From the last layer to the first: ``grad_weights[l] = deltas_t[l] @ belows[l]``, where
    ``belows[l]`` is what layer l takes in; ``grad_biases[l]`` is the sum of ``deltas[l]`` over the
    rows; ``deltas[l - 1] = deltas[l] @ weights[l]`` times the slope that ``belows[l]`` tells.
    ``deltas_t`` are the transposed views of ``deltas``; the last one is given, the others are
    working memory. Without biases there are no ``grad_biases``.
softmax_loss
    For outputs ``z`` of shape (members, classes, rows) or (classes, rows) and int64 targets of one
    class: ``grad`` is softmax minus the smoothed target, ``values`` the mean of the log
    probabilities under it.
adamw
    A step of `torch.optim.AdamW` on ranges of flat buffers, each with its rate and weight decay;
    ``step`` counts from 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from selfnorm.ops._schema import LIBRARY

__all__ = ["adamw", "mlp_backward", "mlp_forward", "softmax_loss"]

_SCHEMAS: Final = {
    "mlp_forward": "Tensor x, Tensor[] weights, Tensor[] biases, Tensor rng, float[] p, "
    "float alpha, float scale, float[] a, float[] b, Tensor(a!)[] out",
    "mlp_backward": "Tensor[] belows, Tensor[] weights, float alpha, float scale, float[] a, "
    "float[] b, Tensor(a!)[] deltas, Tensor(b!)[] deltas_t, Tensor(c!)[] grad_weights, "
    "Tensor(d!)[] grad_biases",
    "softmax_loss": "Tensor z, Tensor target, float smoothing, Tensor(a!) grad, Tensor(b!) values",
    "adamw": "Tensor(a!) parameters, Tensor gradients, Tensor(b!) means, Tensor(c!) squares, "
    "int[] starts, int[] lengths, float[] rates, float[] decays, float beta1, float beta2, "
    "float eps, int step",
}


def mlp_forward(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    rng: Tensor,
    p: Sequence[float],
    alpha: float,
    scale: float,
    a: Sequence[float],
    b: Sequence[float],
    out: Sequence[Tensor],
) -> None:
    """Write what each hidden layer gives to ``out``."""
    for layer, (weight, y) in enumerate(zip(weights, out, strict=True)):
        torch.matmul(x, weight, out=y)
        if biases:
            y.add_(biases[layer])
        for k, part in enumerate(_members(y, len(p))):
            state = rng[k, layer] if p[k] > 0.0 else None
            torch.ops.selfnorm.selu.out(part, None, state, p[k], alpha, scale, a[k], b[k], out=part)
        x = y


def mlp_backward(
    belows: Sequence[Tensor],
    weights: Sequence[Tensor],
    alpha: float,
    scale: float,
    a: Sequence[float],
    b: Sequence[float],
    deltas: Sequence[Tensor],
    deltas_t: Sequence[Tensor],
    grad_weights: Sequence[Tensor],
    grad_biases: Sequence[Tensor],
) -> None:
    """Write the gradients of all weights and biases."""
    for layer in reversed(range(len(weights))):
        torch.matmul(deltas_t[layer], belows[layer], out=grad_weights[layer])
        if grad_biases:
            total = grad_biases[layer]
            torch.sum(deltas[layer], -2, keepdim=total.dim() > 1, out=total)
        if layer == 0:
            break
        lower, y = deltas[layer - 1], belows[layer]
        torch.matmul(deltas[layer], weights[layer], out=lower)
        for k, (grad, value) in enumerate(
            zip(_members(lower, len(a)), _members(y, len(a)), strict=True)
        ):
            torch.ops.selfnorm.selu_grad_from_output.out(
                grad, value, alpha, scale, a[k], b[k], out=grad
            )


def _members(x: Tensor, count: int) -> Sequence[Tensor]:
    return [x] if count == 1 else x.unbind()


def softmax_loss(z: Tensor, target: Tensor, smoothing: float, grad: Tensor, values: Tensor) -> None:
    """Write the gradient of the cross-entropy, and minus its values."""
    classes = z.shape[-2]
    torch.log_softmax(z, -2, out=grad)
    torch.gather(grad, -2, target, out=values)
    if smoothing:
        values.mul_(1.0 - smoothing).add_(grad.sum(-2, keepdim=True), alpha=smoothing / classes)
    grad.exp_()
    grad.scatter_add_(-2, target, values.new_full((), smoothing - 1.0).expand_as(values))
    if smoothing:
        grad.sub_(smoothing / classes)


def adamw(
    parameters: Tensor,
    gradients: Tensor,
    means: Tensor,
    squares: Tensor,
    starts: Sequence[int],
    lengths: Sequence[int],
    rates: Sequence[float],
    decays: Sequence[float],
    beta1: float,
    beta2: float,
    eps: float,
    step: int,
) -> None:
    """Take a step on each range."""
    correction = 1.0 / math.sqrt(1.0 - beta2**step)
    for start, length, rate, decay in zip(starts, lengths, rates, decays, strict=True):
        p, g, m, v = (
            flat.narrow(0, start, length) for flat in (parameters, gradients, means, squares)
        )
        m.lerp_(g, 1.0 - beta1)
        v.mul_(beta2).addcmul_(g, g, value=1.0 - beta2)
        p.mul_(1.0 - rate * decay)
        p.addcdiv_(m, (v.sqrt() * correction).add_(eps), value=-rate / (1.0 - beta1**step))


def _nothing(*_: object) -> None:
    """Return nothing: results are written."""


for _operator in (mlp_forward, mlp_backward, softmax_loss, adamw):
    _name = _operator.__name__
    LIBRARY.define(f"{_name}({_SCHEMAS[_name]}) -> ()")
    LIBRARY.impl(_name, _operator, "CompositeExplicitAutograd")
    torch.library.register_fake(f"selfnorm::{_name}", _nothing, lib=LIBRARY)
