"""The operators as the package calls them: by kernel where there is one, by torch elsewhere."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

from selfnorm.constants import ALPHA01, LAMBDA01
from selfnorm.ops import _autograd, _backends, _reference

__all__ = ["alpha_dropout", "draw_rng", "elu", "linear_selu", "selu_dropout"]

_EXACT: Final = (torch.float32, torch.float64)

# Below so many elements torch's own ELU costs less than the way to our kernel: its derivative is
# C++, ours is Python. Measured by benchmarks/kernels.
_LEAST_ELEMENTS: Final = 1 << 14

# The same for a linear layer's SELU without dropout, written over the product: torch's slower
# kernel and our slower way cost alike up to here (benchmarks/nets, one and two threads).
_LEAST_IN_PLACE: Final = 1 << 18

_tracing: Final = torch.jit.is_tracing  # type: ignore[attr-defined]

_CPU: Final[bool] = _backends.cpu().name == "native"


def _has_kernel(x: Tensor) -> bool:
    """Return whether a kernel of ours takes this tensor.

    Subclasses of tensors are torch's, and so is all that is written down for TorchScript and its
    ONNX exporter, which know torch's operators alone.
    """
    if (type(x) is not Tensor and type(x) is not Parameter) or _tracing():
        return False
    return _CPU if x.is_cpu else x.is_cuda and _triton_is_ready()


def _triton_is_ready() -> bool:
    return _backends.cuda().name == "triton"


# The compiler calls it while it traces and keeps the answer, as in selfnorm.functional.
_triton_is_ready._dynamo_marked_constant = True  # type: ignore[attr-defined]


def draw_rng(device: torch.device, generator: torch.Generator | None = None) -> Tensor:
    """Draw key and offset of random decisions from a generator, by default torch's own.

    Parameters
    ----------
    device : torch.device
        Where the tensor lies that will be dropped from.
    generator : torch.Generator, optional
        Of that device.

    Returns
    -------
    torch.Tensor
        Shape (2,), int64: two numbers in [0, 2**63 - 1).

    Examples
    --------
    >>> import torch
    >>> g = torch.Generator().manual_seed(0)
    >>> draw_rng(torch.device("cpu"), g).shape
    torch.Size([2])
    """
    if generator is None:  # The overload with a generator cannot be traced.
        return torch.randint(0x7FFFFFFFFFFFFFFF, (2,), device=device)
    return torch.randint(0x7FFFFFFFFFFFFFFF, (2,), device=device, generator=generator)


def elu(x: Tensor, alpha: float, scale: float = 1.0, *, inplace: bool = False) -> Tensor:
    """Apply ELU times scale: SELU with any constants.

    Parameters
    ----------
    x : torch.Tensor
        Any shape, floating point.
    alpha, scale : float
        The constants; ``-scale * alpha`` is the limit at minus infinity.
    inplace : bool
        Write the result over ``x``.

    Returns
    -------
    torch.Tensor
        Shape, dtype and memory format of ``x``.

    Examples
    --------
    >>> import torch
    >>> elu(torch.tensor([-1.0, 2.0]), 1.5, 1.1)
    tensor([-1.0430,  2.2000])
    """
    if inplace:
        return _elu_(x, alpha, scale)
    # A compiler makes torch's own formula part of its loops; a kernel it can only call.
    if torch.compiler.is_compiling() or not _has_kernel(x) or x.numel() < _LEAST_ELEMENTS:
        if alpha == ALPHA01 and scale == LAMBDA01:
            return torch.selu(x)  # The same kernel by a shorter way.
        if _tracing():  # ONNX has no factor of ELU.
            return torch.nn.functional.elu(x, alpha) * scale
        result: Tensor = torch.ops.aten.elu.default(x, alpha, scale)
        return result
    return _autograd.selu(x, None, None, 0.0, alpha, scale, 1.0, 0.0)


def _elu_(x: Tensor, alpha: float, scale: float) -> Tensor:
    if _tracing():
        if alpha == ALPHA01 and scale == LAMBDA01:
            return torch.selu_(x)
        return torch.nn.functional.elu_(x, alpha).mul_(scale)
    if _transforming() or not _has_kernel(x):
        result: Tensor = torch.ops.aten.elu_.default(x, alpha, scale)
        return result
    return _autograd.selu_(x, None, None, 0.0, alpha, scale, 1.0, 0.0)


def alpha_dropout(
    x: Tensor,
    p: float,
    a: float,
    b: float,
    saturation: float,
    mask_shape: tuple[int, ...],
    generator: torch.Generator | None,
) -> Tensor:
    """Set elements to the saturation value with probability p, then apply a x + b.

    Parameters
    ----------
    x : torch.Tensor
        Any shape, floating point.
    p : float
        Probability of dropping, in [0, 1].
    a, b : float
        The affine map that restores mean and variance.
    saturation : float
        Value of a dropped element before the affine map.
    mask_shape : tuple of int
        Shape of the decisions, broadcastable to that of ``x``.
    generator : torch.Generator or None
        Source of the decisions; None: torch's default generator.

    Returns
    -------
    torch.Tensor
        Shape, dtype and memory format of ``x``.

    Examples
    --------
    >>> import torch
    >>> alpha_dropout(torch.tensor([1.0, 2.0]), 1.0, 0.5, 3.0, -2.0, (2,), None)
    tensor([2., 2.])
    """
    if _has_kernel(x) and mask_shape == tuple(x.shape):
        rng = draw_rng(x.device, generator)
        return _autograd.alpha_dropout(x, rng, p, a, b, saturation)
    drop = _draw_mask(x, mask_shape, p, generator)
    return _reference.alpha_dropout_value(x, drop, a, b, saturation)


def selu_dropout(
    x: Tensor,
    bias: Tensor | None,
    alpha: float,
    scale: float,
    p: float,
    a: float,
    b: float,
    generator: torch.Generator | None,
    *,
    inplace: bool = False,
) -> Tensor:
    """Apply bias, SELU and alpha dropout as one operator with one rounding.

    Parameters
    ----------
    x : torch.Tensor
        Shape (..., features), floating point.
    bias : torch.Tensor or None
        Shape (features,).
    alpha, scale : float
        The constants of SELU; a dropped element is set to ``-scale * alpha``.
    p : float
        Probability of dropping, in [0, 1].
    a, b : float
        The affine map that restores mean and variance.
    generator : torch.Generator or None
        Source of the decisions; None: torch's default generator.
    inplace : bool
        Write the result over ``x``.

    Returns
    -------
    torch.Tensor
        Shape, dtype and memory format of ``x``.

    Examples
    --------
    >>> import torch
    >>> x, bias = torch.tensor([[1.0, 2.0]]), torch.tensor([0.5, -0.5])
    >>> selu_dropout(x, bias, 1.5, 1.1, 1.0, 0.5, 3.0, None)
    tensor([[2.1750, 2.1750]])
    """
    if p == 0.0 and bias is None:
        return elu(x, alpha, scale, inplace=inplace)
    if inplace and (_transforming() or not _has_kernel(x)):
        # The operator keeps its input for the gradient: that must not be what is written over.
        return x.copy_(selu_dropout(x.clone(), bias, alpha, scale, p, a, b, generator))
    if _has_kernel(x) and not (p == 0.0 and torch.compiler.is_compiling()):
        rng = None if p == 0.0 else draw_rng(x.device, generator)
        wide = None if bias is None else _as_computed(bias, x.dtype)
        function = _autograd.selu_ if inplace else _autograd.selu
        return function(x, wide, rng, p, alpha, scale, a, b)
    work = _reference.widen(x) if bias is None else _reference.widen(x) + _reference.widen(bias)
    if p == 0.0:
        return elu(work, alpha, scale).to(x.dtype)
    drop = _draw_mask(x, tuple(x.shape), p, generator)
    # SELU takes minus infinity to the saturation value, with slope 0: so one kernel does the
    # activation, the dropping and the factor a, and a dropped NaN leaves no trace in the gradient.
    return (elu(torch.where(drop, -math.inf, work), alpha, a * scale) + b).to(x.dtype)


def linear_selu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    alpha: float,
    scale: float,
    p: float,
    a: float,
    b: float,
    generator: torch.Generator | None,
) -> Tensor:
    """Apply a linear layer, SELU and alpha dropout; the result overwrites the product.

    Parameters
    ----------
    x : torch.Tensor
        Shape (..., in_features), floating point.
    weight : torch.Tensor
        Shape (out_features, in_features).
    bias : torch.Tensor or None
        Shape (out_features,).
    alpha, scale : float
        The constants of SELU; a dropped element is set to ``-scale * alpha``.
    p : float
        Probability of dropping, in [0, 1].
    a, b : float
        The affine map that restores mean and variance.
    generator : torch.Generator or None
        Source of the decisions; None: torch's default generator.

    Returns
    -------
    torch.Tensor
        Shape (..., out_features).

    Notes
    -----
    In float32 and float64, for derivatives in reverse mode, the layer keeps nothing but its input
    and its output. Everything else takes `selu_dropout` after the product.

    Examples
    --------
    >>> import torch
    >>> linear_selu(torch.eye(2), torch.eye(2), None, 1.5, 1.1, 0.0, 1.0, 0.0, None)
    tensor([[1.1000, 0.0000],
            [0.0000, 1.1000]])
    """
    if not _has_kernel(x) or _transforming() or torch.is_autocast_enabled(x.device.type):
        z = torch.nn.functional.linear(x, weight, bias)
        return selu_dropout(z, None, alpha, scale, p, a, b, generator)
    exact = x.dtype in _EXACT and torch.is_grad_enabled()
    count = x.shape[:-1].numel() * weight.shape[0]
    if exact and not (p == 0.0 and count < _LEAST_IN_PLACE):
        rng = None if p == 0.0 else draw_rng(x.device, generator)
        return _autograd.linear_selu(x, weight, bias, rng, p, alpha, scale, a, b)
    z = torch.nn.functional.linear(x, weight, bias)
    if exact and count >= _LEAST_ELEMENTS:
        result: Tensor = torch.ops.aten.elu_.default(z, alpha, scale)
        return result
    return selu_dropout(z, None, alpha, scale, p, a, b, generator)


def _transforming() -> bool:
    """Return whether anything but plain autograd in reverse mode looks on."""
    return (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )


def _as_computed(bias: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the bias in the type that a tensor of this type is computed in."""
    return bias.to(torch.float64 if dtype == torch.float64 else torch.float32)


def _draw_mask(
    x: Tensor, shape: tuple[int, ...], p: float, generator: torch.Generator | None
) -> Tensor:
    """Draw booleans that are true with probability p, in the memory format of x.

    p is rounded up to a multiple of 2**-24, the step of torch's float32 uniform numbers.
    """
    if generator is None:  # The overload with a generator takes no symbolic shape.
        drop = torch.rand(shape, dtype=torch.float32, device=x.device) < p
    else:
        drop = torch.rand(shape, dtype=torch.float32, device=x.device, generator=generator) < p
    if x.is_contiguous():
        return drop
    # torch.where takes the memory format of its condition.
    return torch.zeros_like(x, dtype=torch.bool) | drop
