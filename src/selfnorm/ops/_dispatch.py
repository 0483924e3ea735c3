"""Which implementation answers for each operator."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from selfnorm.ops import _reference

__all__ = ["Backend", "alpha_dropout", "backends", "elu", "selu", "selu_dropout"]


class Backend(NamedTuple):
    """What computes an operator, and why.

    Parameters
    ----------
    name : str
        ``"reference"`` (compositions of torch functions) or ``"aten"`` (torch's own kernel).
    reason : str
        Why it is in use.

    Examples
    --------
    >>> Backend("reference", "there is no other").name
    'reference'
    """

    name: str
    reason: str


_ATEN = Backend(
    "aten", "torch's ELU kernel is as accurate as the reference and several times faster"
)
_REFERENCE = Backend("reference", "no compiled kernel is part of this installation")


def backends() -> dict[str, Backend]:
    """Return which implementation is in use for each operator, and why.

    Returns
    -------
    dict of str to Backend
        ``(name, reason)`` for ``"elu"``, ``"selu"``, ``"alpha_dropout"``, ``"selu_dropout"``.

    Examples
    --------
    >>> from selfnorm import ops
    >>> ops.backends()["selu"].name
    'aten'
    >>> ops.backends()["alpha_dropout"].name
    'reference'
    """
    return {"alpha_dropout": _REFERENCE, "elu": _ATEN, "selu": _ATEN, "selu_dropout": _ATEN}


def elu(x: Tensor, alpha: float) -> Tensor:
    """Apply ELU: x for x > 0, alpha (exp(x) - 1) elsewhere.

    Parameters
    ----------
    x : torch.Tensor
        Any shape, floating point.
    alpha : float
        Minus the limit at minus infinity.

    Returns
    -------
    torch.Tensor
        Shape, dtype and memory format of ``x``.

    Examples
    --------
    >>> import torch
    >>> elu(torch.tensor([-1.0, 2.0]), 1.5)
    tensor([-0.9482,  2.0000])
    """
    return torch.nn.functional.elu(x, alpha)


def selu(x: Tensor, alpha: float, scale: float) -> Tensor:
    """Apply SELU with any constants: scale times ``elu(x, alpha)``.

    Parameters
    ----------
    x : torch.Tensor
        Any shape, floating point.
    alpha, scale : float
        The constants; ``-scale * alpha`` is the limit at minus infinity.

    Returns
    -------
    torch.Tensor
        Shape, dtype and memory format of ``x``.

    Examples
    --------
    >>> import torch
    >>> selu(torch.tensor([-1.0, 2.0]), 1.5, 1.1)
    tensor([-1.0430,  2.2000])
    """
    result: Tensor = torch.ops.aten.elu.default(x, alpha, scale, 1.0)
    return result


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
        Probability of dropping, in [0, 1], rounded up to a multiple of 2**-24.
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
    drop = _reference.drop_mask(x, mask_shape, p, generator)
    return _reference.alpha_dropout(x, drop, a, b, saturation)


def selu_dropout(
    x: Tensor,
    bias: Tensor | None,
    alpha: float,
    scale: float,
    p: float,
    a: float,
    b: float,
    generator: torch.Generator | None,
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
        Probability of dropping, in [0, 1], rounded up to a multiple of 2**-24.
    a, b : float
        The affine map that restores mean and variance.
    generator : torch.Generator or None
        Source of the decisions; None: torch's default generator.

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
    work = _reference.widen(x) if bias is None else _reference.widen(x) + _reference.widen(bias)
    if p == 0.0:
        return selu(work, alpha, scale).to(x.dtype)
    drop = _reference.drop_mask(x, tuple(x.shape), p, generator)
    # SELU takes minus infinity to the saturation value, with slope 0: so one kernel does the
    # activation, the dropping and the factor a, and a dropped NaN leaves no trace in the gradient.
    return (selu(torch.where(drop, -math.inf, work), alpha, a * scale) + b).to(x.dtype)
