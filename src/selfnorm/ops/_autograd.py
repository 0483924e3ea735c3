"""Derivatives of the operators: of any order, forward mode, vmap.

Each operator is a pure function of its arguments, ``rng`` among them, so a mask is never kept: it
is drawn again from the same numbers. What is kept for the backward pass is one tensor, the input of
the activation. `linear_selu` and `selu_` keep the output instead, which the next layer keeps
anyway, and take the slope from it (float32 and float64 only).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from selfnorm.ops import _reference
from selfnorm.ops._schema import LIBRARY

__all__ = ["alpha_dropout", "linear_selu", "selu", "selu_", "selu_grad"]

_OPS: Final = torch.ops.selfnorm
# The operators carry a derivative of their own (see `_differentiable`), whose dispatch would cost
# as much as they do; torch's own derivatives of operators step around it in the same way.
_below_autograd: Final = torch._C._AutoDispatchBelowAutograd

Inputs = tuple[Any, ...]
Dims = tuple[int | None, ...]


# ---- SELU with bias and dropout ----------------------------------------------------------------


class _Selu(Function):
    """y = a selu(x + bias) + b where kept; see `_schema` for the arguments."""

    @staticmethod
    def forward(x: Tensor, bias: Tensor | None, rng: Tensor | None, *constants: float) -> Tensor:
        with _below_autograd():
            return _OPS.selu.default(x, bias, rng, *constants)

    @staticmethod
    def setup_context(ctx: Any, inputs: Inputs, output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.save_for_forward(*inputs[:3])
        ctx.constants = inputs[3:7]  # The slope needs no b.

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, bias, rng = ctx.saved_tensors
        dx = selu_grad(grad, x, bias, rng, *ctx.constants)
        dbias = _sum_rows(dx, bias) if ctx.needs_input_grad[1] else None
        return dx, dbias, None, None, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor | None, dbias: Tensor | None, *_: None) -> Tensor:
        x, bias, rng = ctx.saved_tensors
        return selu_grad(_tangent(x, tangent, dbias), x, bias, rng, *ctx.constants)

    @staticmethod
    def vmap(info: Any, dims: Dims, *inputs: Any) -> tuple[Tensor, int]:
        return _vmap(selu, 1, info, dims, inputs)


class _SeluGrad(Function):
    """dx = grad times the derivative of `_Selu`."""

    @staticmethod
    def forward(
        grad: Tensor, x: Tensor, bias: Tensor | None, rng: Tensor | None, *constants: float
    ) -> Tensor:
        with _below_autograd():
            return _OPS.selu_grad.default(grad, x, bias, rng, *constants)

    @staticmethod
    def setup_context(ctx: Any, inputs: Inputs, output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:4])
        ctx.save_for_forward(*inputs[:4])
        ctx.constants = inputs[4:]

    @staticmethod
    def backward(ctx: Any, grad_dx: Tensor) -> Any:
        grad, x, bias, rng = ctx.saved_tensors
        dgrad = selu_grad(grad_dx, x, bias, rng, *ctx.constants)
        dx = _curvature(grad_dx * grad, x, bias, rng, ctx.constants)
        dbias = _sum_rows(dx, bias) if ctx.needs_input_grad[2] else None
        return dgrad, dx, dbias, None, None, None, None, None

    @staticmethod
    def jvp(
        ctx: Any, dgrad: Tensor | None, tangent: Tensor | None, dbias: Tensor | None, *_: None
    ) -> Tensor:
        grad, x, bias, rng = ctx.saved_tensors
        z = _tangent(x, tangent, dbias)
        result = _curvature(grad * z, x, bias, rng, ctx.constants)
        if dgrad is None:
            return result
        return result + selu_grad(dgrad, x, bias, rng, *ctx.constants)

    @staticmethod
    def vmap(info: Any, dims: Dims, *inputs: Any) -> tuple[Tensor, int]:
        return _vmap(selu_grad, 2, info, dims, inputs)


def _curvature(
    factor: Tensor, x: Tensor, bias: Tensor | None, rng: Tensor | None, constants: Inputs
) -> Tensor:
    """Return ``factor`` times the second derivative: the slope itself left of 0, nothing right."""
    z = x if bias is None else _reference.widen(x) + bias
    return torch.where(z > 0, 0.0, selu_grad(factor, x, bias, rng, *constants))


def _tangent(x: Tensor, tangent: Tensor | None, dbias: Tensor | None) -> Tensor:
    """Return the tangent of x + bias."""
    z = torch.zeros_like(x) if tangent is None else tangent
    return z if dbias is None else (z + dbias).to(x.dtype)


def _sum_rows(dx: Tensor, bias: Tensor) -> Tensor:
    return (
        dx.sum(tuple(range(dx.dim() - 1)), dtype=bias.dtype) if dx.dim() > 1 else dx.to(bias.dtype)
    )


# ---- alpha dropout --------------------------------------------------------------------------


class _AlphaDropout(Function):
    """y = a x + b where kept, a saturation + b where dropped: linear, so its own derivative."""

    @staticmethod
    def forward(x: Tensor, rng: Tensor, *constants: float) -> Tensor:
        with _below_autograd():
            return _OPS.alpha_dropout.default(x, rng, *constants)

    @staticmethod
    def setup_context(ctx: Any, inputs: Inputs, output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.save_for_forward(inputs[1])
        ctx.p, ctx.a = inputs[2:4]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (rng,) = ctx.saved_tensors
        return alpha_dropout(grad, rng, ctx.p, ctx.a, 0.0, 0.0), None, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        (rng,) = ctx.saved_tensors
        return alpha_dropout(tangent, rng, ctx.p, ctx.a, 0.0, 0.0)

    @staticmethod
    def vmap(info: Any, dims: Dims, *inputs: Any) -> tuple[Tensor, int]:
        return _vmap(alpha_dropout, 1, info, dims, inputs)


# ---- slopes from the output -----------------------------------------------------------------


class _SeluInPlace(Function):
    """`_Selu` written over x."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, bias: Tensor | None, rng: Tensor | None, *constants: float
    ) -> Tensor:
        _OPS.selu.out(x, bias, rng, *constants, out=x)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x, bias)
        ctx.constants = constants[1:]
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        y, bias = ctx.saved_tensors
        dx = _grad_from_output(grad, y, ctx.constants)
        dbias = _sum_rows(dx, bias) if ctx.needs_input_grad[1] else None
        return dx, dbias, None, None, None, None, None, None


class _LinearSelu(Function):
    """`_Selu` of x W^T + bias, written over the product."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rng: Tensor | None,
        *constants: float,
    ) -> Tensor:
        y = _linear_selu(x, weight, bias, rng, *constants)
        ctx.save_for_backward(x, weight, y)
        ctx.constants = constants[1:]
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight, y = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        dz = _grad_from_output(grad, y, ctx.constants)
        rows, inputs = (dz, x) if dz.dim() == 2 else (_rows(dz), _rows(x))
        dx = torch.matmul(dz, weight) if wanted[0] else None
        dweight = rows.t().mm(inputs) if wanted[1] else None
        dbias = rows.sum(0) if wanted[2] else None
        return dx, dweight, dbias, None, None, None, None, None, None


def _linear_selu(
    x: Tensor, weight: Tensor, bias: Tensor | None, rng: Tensor | None, *constants: float
) -> Tensor:
    if x.is_cuda and x.dtype == torch.float32 and weight.shape[0] % 8 == 0:
        from selfnorm.ops import _triton_linear

        if _triton_linear.enabled():
            return _triton_linear.linear_selu(x, weight, bias, rng, *constants)
    y = torch.nn.functional.linear(x, weight, bias)
    _OPS.selu.out(y, None, rng, *constants, out=y)
    return y


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


def _grad_from_output(grad: Tensor, y: Tensor, constants: tuple[float, ...]) -> Tensor:
    if torch.is_grad_enabled():  # create_graph=True: a composition that can be differentiated
        alpha, scale, a, b = constants
        slope = torch.where(y > b, a * scale, (y - (b - a * scale * alpha)).clamp(min=0.0))
        return torch.where(slope == 0.0, 0.0, grad * slope)
    return _OPS.selu_grad_from_output.default(grad, y, *constants)


# ---- vmap ---------------------------------------------------------------------------------------


def _vmap(
    function: Callable[..., Tensor], tensors: int, info: Any, dims: Dims, inputs: Inputs
) -> tuple[Tensor, int]:
    """Apply to a batch. The first ``tensors`` inputs have the shape of x."""
    shared = all(d is None for d in dims[tensors:])
    dropped = any(isinstance(v, Tensor) and v.dtype == torch.int64 for v in inputs[tensors:])
    if shared and not dropped:  # One call: decisions, which follow the shape, are the only snag.
        moved = [
            v.expand(info.batch_size, *v.shape) if d is None else v.movedim(d, 0)
            for v, d in zip(inputs[:tensors], dims[:tensors], strict=True)
        ]
        return function(*moved, *inputs[tensors:]), 0
    samples = [
        function(*(v if d is None else v.select(d, k) for v, d in zip(inputs, dims, strict=True)))
        for k in range(info.batch_size)
    ]
    return torch.stack(samples), 0


# ---- what is called -----------------------------------------------------------------------------


def _direct(function: type[Function]) -> Callable[..., Tensor]:
    """Return ``function.apply`` without what only functorch needs.

    Function.apply inspects the signature of forward at each call, 25 of its 30 microseconds; its
    base class does the rest.
    """
    return super(Function, function).apply  # type: ignore[misc]


def _differentiable(name: str, function: type[Function]) -> Callable[..., Tensor]:
    """Give an operator its derivative; return the cheapest way to call it in each situation."""
    operator = getattr(_OPS, name).default
    # For the compiler, which takes the operator into its graph, and for whoever calls it himself.
    torch.library.register_autograd(
        f"selfnorm::{name}",
        function.backward,
        setup_context=function.setup_context,
        lib=LIBRARY,
    )
    direct = _direct(function)

    def call(*inputs: Any) -> Tensor:
        if torch.compiler.is_compiling():
            return operator(*inputs)
        if torch._C._are_functorch_transforms_active():
            return function.apply(*inputs)
        if torch.is_grad_enabled() or forward_ad._current_level >= 0:
            return direct(*inputs)
        return function.forward(*inputs)

    return call


selu = _differentiable("selu", _Selu)
selu_grad = _differentiable("selu_grad", _SeluGrad)
alpha_dropout = _differentiable("alpha_dropout", _AlphaDropout)
selu_ = _direct(_SeluInPlace)
linear_selu = _direct(_LinearSelu)
