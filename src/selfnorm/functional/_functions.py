"""SELU, ELU, alpha dropout and the linear layer with them."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import torch
from torch import Tensor

from selfnorm import ops, theory
from selfnorm.constants import ALPHA01, LAMBDA01, SATURATION01
from selfnorm.errors import DomainError
from selfnorm.functional._checks import (
    check_alpha,
    check_bias,
    check_generator,
    check_inplace,
    check_linear,
    check_rate,
    check_tensor,
    is_number,
    is_recorded,
    mask_shape,
    record,
)

__all__ = ["alpha_dropout", "elu", "linear_selu", "selu", "selu_dropout"]


def selu(x: Tensor, *, mean: float = 0.0, var: float = 1.0, inplace: bool = False) -> Tensor:
    r"""Apply the SELU whose fixed point is (mean, var).

    .. math:: \mathrm{selu}(x) = \lambda \begin{cases} x & x > 0 \\
              \alpha (e^x - 1) & x \le 0 \end{cases}

    with alpha and scale from :func:`selfnorm.theory.solve`, the paper's eq. 2 and 14 for (0, 1).

    Parameters
    ----------
    x : torch.Tensor
        Any shape; float64, float32, bfloat16 or float16.
    mean, var : float
        Mean and variance that a layer of inputs with this mean and variance, weights of sum 0
        and sum of squares 1, reproduces. ``var`` is positive.
    inplace : bool
        Write the result over ``x``, and keep only it for the gradient. Not for gradients in
        bfloat16 and float16: a slope rebuilt from such an output is wrong by 31 % at x = -5.

    Returns
    -------
    torch.Tensor
        Shape, dtype and memory format of ``x``.

    Raises
    ------
    DomainError
        If ``x`` is not such a tensor or no SELU has this fixed point.

    Notes
    -----
    The slope at 0 is the left one, scale times alpha. In place, the slope is right to 2**-23 of
    its largest value (float32) instead of to its own last digits.

    References
    ----------
    Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017, arXiv:1706.02515.

    Examples
    --------
    >>> import torch
    >>> selu(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-1.1113,  0.0000,  1.0507])
    >>> selu(torch.tensor([-1.0, 0.0, 1.0]), var=0.1)
    tensor([-0.7779,  0.0000,  1.0224])
    """
    if is_recorded(x):
        return record(selu, locals())
    check_tensor("selu", "x", x)
    alpha, scale, _ = _constants(mean, var)
    if inplace:
        check_inplace("selu", x)
    return ops.elu(x, alpha, scale, inplace=inplace)


def elu(x: Tensor, alpha: float = 1.0, *, inplace: bool = False) -> Tensor:
    r"""Apply the exponential linear unit: x for x > 0, alpha (exp(x) - 1) elsewhere.

    Parameters
    ----------
    x : torch.Tensor
        Any shape; float64, float32, bfloat16 or float16.
    alpha : float
        Minus the limit at minus infinity; finite and not negative.
    inplace : bool
        Write the result over ``x``; as in :func:`selu`.

    Returns
    -------
    torch.Tensor
        Shape, dtype and memory format of ``x``.

    Raises
    ------
    DomainError
        If ``x`` is not such a tensor or ``alpha`` is negative or not finite.

    Notes
    -----
    The slope at 0 is the left one, alpha.

    References
    ----------
    Clevert, Unterthiner, Hochreiter, "Fast and Accurate Deep Network Learning by Exponential
    Linear Units (ELUs)", ICLR 2016, arXiv:1511.07289.

    Examples
    --------
    >>> import torch
    >>> elu(torch.tensor([-1.0, 0.0, 1.0]), alpha=1.5)
    tensor([-0.9482,  0.0000,  1.0000])
    """
    if is_recorded(x):
        return record(elu, locals())
    check_tensor("elu", "x", x)
    check_alpha(alpha)
    if inplace:
        check_inplace("elu", x)
    return ops.elu(x, float(alpha), inplace=inplace)


def alpha_dropout(
    x: Tensor,
    p: float,
    training: bool = True,
    *,
    mean: float = 0.0,
    var: float = 1.0,
    shared_dims: Sequence[int] = (),
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Set elements to SELU's saturation value at random, keeping mean and variance.

    .. math:: y = a\,(x d + s (1 - d)) + b, \qquad d \sim \mathrm{Bernoulli}(1 - p)

    with the saturation s of the SELU of this fixed point and a, b from
    :func:`selfnorm.theory.alpha_dropout_affine`: an input of mean ``mean`` and variance ``var``
    gives an output of the same (the paper's section "New Dropout Technique").

    Parameters
    ----------
    x : torch.Tensor
        Any shape; float64, float32, bfloat16 or float16.
    p : float
        Probability of dropping, in [0, 1]. 0 is the identity; 1 gives the constant ``mean`` with
        zero gradient.
    training : bool
        If false, ``x`` is returned unchanged. True by default, as in ``torch``'s ``dropout``
        (and unlike its ``alpha_dropout``).
    mean, var : float
        The fixed point of the SELU that made ``x``.
    shared_dims : sequence of int
        Dimensions along which one decision is shared; negative ones count from the end. For
        images (N, C, H, W), ``(2, 3)`` drops whole channels; for sequences (N, T, F), ``(1,)``
        drops features for all times.
    generator : torch.Generator, optional
        Source of the decisions, and the only one then. Default: torch's default generator of
        the device.

    Returns
    -------
    torch.Tensor
        Shape, dtype and memory format of ``x``.

    Raises
    ------
    DomainError
        If an argument lies outside its domain.

    Notes
    -----
    The gradient is a where kept and exactly 0 where dropped, also if the dropped element is
    infinite or NaN. The rate is p rounded up to a multiple of 2**-24. The decisions depend on
    the generator's state and the shape, not on the memory layout. ``torch.compile`` cannot
    trace a ``generator``, and compiles anew for each new ``p``, ``mean`` or ``var``.

    References
    ----------
    Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017, arXiv:1706.02515.

    Examples
    --------
    >>> import torch
    >>> g = torch.Generator().manual_seed(0)
    >>> y = alpha_dropout(torch.randn(1000, 500, generator=g), 0.2, generator=g)
    >>> abs(round(y.mean().item(), 2)), round(y.var().item(), 2)
    (0.0, 1.0)
    """
    if is_recorded(x):
        return record(alpha_dropout, locals())
    check_tensor("alpha_dropout", "x", x)
    check_rate("p", p)
    check_generator(generator, x)
    shape = mask_shape(tuple(x.shape), shared_dims)
    _, _, saturation = _constants(mean, var)
    if not training or p == 0:
        return x
    rate, a, b = _affine(p, mean, var)
    return ops.alpha_dropout(x, rate, a, b, saturation, shape, generator)


def selu_dropout(
    x: Tensor,
    p: float,
    bias: Tensor | None = None,
    *,
    training: bool = True,
    mean: float = 0.0,
    var: float = 1.0,
    generator: torch.Generator | None = None,
    inplace: bool = False,
) -> Tensor:
    """Apply bias, SELU and alpha dropout in one operator.

    Equal to ``alpha_dropout(selu(x + bias), p)``, with one rounding in bfloat16 and float16
    instead of three.

    Parameters
    ----------
    x : torch.Tensor
        Shape (..., features); float64, float32, bfloat16 or float16.
    p : float
        Probability of dropping, in [0, 1].
    bias : torch.Tensor, optional
        Shape (features,), added to ``x``.
    training : bool
        If false, nothing is dropped.
    mean, var : float
        The fixed point of the SELU.
    generator : torch.Generator, optional
        Source of the decisions. Default: torch's default generator of the device.
    inplace : bool
        Write the result over ``x``; as in :func:`selu`.

    Returns
    -------
    torch.Tensor
        Shape, dtype and memory format of ``x``.

    Raises
    ------
    DomainError
        If an argument lies outside its domain.

    See Also
    --------
    selu : The activation.
    alpha_dropout : The dropout, with decisions shared along dimensions.

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([[-1.0, 1.0]])
    >>> selu_dropout(x, 0.5, torch.tensor([0.5, 0.5]), training=False)
    tensor([[-0.6918,  1.5761]])
    """
    if is_recorded(x):
        return record(selu_dropout, locals())
    check_tensor("selu_dropout", "x", x)
    check_rate("p", p)
    check_generator(generator, x)
    if bias is not None:
        check_bias(bias, x)
    if inplace:
        check_inplace("selu_dropout", x)
    alpha, scale, _ = _constants(mean, var)
    rate, a, b = _affine(p, mean, var) if training and p != 0 else (0.0, 1.0, 0.0)
    return ops.selu_dropout(x, bias, alpha, scale, rate, a, b, generator, inplace=inplace)


def linear_selu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    p: float = 0.0,
    *,
    training: bool = True,
    mean: float = 0.0,
    var: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Apply a linear layer, SELU and alpha dropout.

    Equal to ``selu_dropout(linear(x, weight, bias), p)``, which it writes over the product: the
    layer keeps its input and its output for the gradient and nothing else (float32 and float64).

    Parameters
    ----------
    x : torch.Tensor
        Shape (..., in_features); float64, float32, bfloat16 or float16.
    weight : torch.Tensor
        Shape (out_features, in_features).
    bias : torch.Tensor, optional
        Shape (out_features,).
    p : float
        Probability of dropping, in [0, 1].
    training : bool
        If false, nothing is dropped.
    mean, var : float
        The fixed point of the SELU.
    generator : torch.Generator, optional
        Source of the decisions. Default: torch's default generator of the device.

    Returns
    -------
    torch.Tensor
        Shape (..., out_features), dtype of ``x``.

    Raises
    ------
    DomainError
        If an argument lies outside its domain.

    Notes
    -----
    The slope comes from the output; it is right to 2**-23 of its largest value (float32).

    Examples
    --------
    >>> import torch
    >>> weight = torch.tensor([[1.0, 0.5], [-1.0, 0.5]])
    >>> linear_selu(torch.tensor([[1.0, 2.0]]), weight)
    tensor([[2.1014, 0.0000]])
    """
    if is_recorded(x):
        return record(linear_selu, locals())
    check_tensor("linear_selu", "x", x)
    check_tensor("linear_selu", "weight", weight)
    check_rate("p", p)
    check_generator(generator, x)
    check_linear(x, weight)
    alpha, scale, _ = _constants(mean, var)
    rate, a, b = _affine(p, mean, var) if training and p != 0 else (0.0, 1.0, 0.0)
    return ops.linear_selu(x, weight, bias, alpha, scale, rate, a, b, generator)


# ---- constants ---------------------------------------------------------------------------


def _constants(mean: float, var: float) -> tuple[float, float, float]:
    """Return alpha, scale and saturation of the SELU with this fixed point."""
    # Only the type: theory.solve refuses values that no SELU reaches.
    if not (is_number(mean) and is_number(var)):
        name, value = ("var", var) if is_number(mean) else ("mean", mean)
        raise DomainError(
            f"{name} must be one number, however: {name}={value!r}; one fixed point holds for "
            "the whole tensor"
        )
    if torch.compiler.is_compiling():
        return _solve_marked(_concrete(mean), _concrete(var))
    return _solve_cached(mean, var)


def _affine(p: float, mean: float, var: float) -> tuple[float, float, float]:
    """Return p, and a and b of alpha dropout."""
    if torch.compiler.is_compiling():
        rate = _concrete(p)
        a, b = _affine_marked(rate, _concrete(mean), _concrete(var))
        return rate, a, b
    a, b = _affine_cached(p, mean, var)
    return float(p), a, b


@functools.lru_cache(maxsize=256)
def _solve_cached(mean: float, var: float) -> tuple[float, float, float]:
    if mean == 0.0 and var == 1.0:  # the published ones, to the last digit
        return ALPHA01, LAMBDA01, SATURATION01
    constants = theory.solve(mean, var)
    return float(constants.alpha), float(constants.scale), float(constants.saturation)


@functools.lru_cache(maxsize=256)
def _affine_cached(p: float, mean: float, var: float) -> tuple[float, float]:
    saturation = _solve_cached(mean, var)[2]
    a, b = theory.alpha_dropout_affine(p, mean=mean, var=var, saturation=saturation)
    return float(a), float(b)


def _solve_marked(mean: float, var: float) -> tuple[float, float, float]:
    return _solve_cached(mean, var)


def _affine_marked(p: float, mean: float, var: float) -> tuple[float, float]:
    return _affine_cached(p, mean, var)


# torch.compile calls these while it traces and keeps the numbers. This is what
# torch.compiler.assume_constant_result does, without its import of the whole compiler (1.4 s).
_solve_marked._dynamo_marked_constant = True  # type: ignore[attr-defined]
_affine_marked._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _concrete(value: float) -> float:
    """Return a number that torch.compile knows, where it had made a symbol of a float.

    It does so with dynamic=True and with a float that changed since the last compilation. Only
    indices are made concrete again (and guarded), hence the way over two integers; the result
    is within 2**-62 of the value. (The power is a literal: a global would become a symbol too.)
    """
    if not -(2.0**62) < value < 2.0**62:
        return value
    whole = operator.index(int(value))
    return whole + operator.index(int((value - whole) * 2.0**62)) / 2.0**62
