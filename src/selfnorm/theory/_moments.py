"""Gaussian moments of activations: the moment map of a layer and its Jacobian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from selfnorm.errors import DomainError
from selfnorm.theory._activation_type import Activation
from selfnorm.theory._activations import activation
from selfnorm.theory._validation import (
    Array,
    real_array,
    require,
    require_broadcast,
    variance_array,
)


class Moments(NamedTuple):
    """Mean and variance of an activation, with the error of both.

    Parameters
    ----------
    mean : float or array
        E f(z).
    var : float or array
        Var f(z).
    error : float or array
        Estimate of the larger of the two absolute errors: a rounding bound where there is a
        closed form, the quadrature's estimate otherwise.

    Examples
    --------
    >>> from selfnorm.theory import moments
    >>> round(moments("relu", 0.0, 1.0).mean, 12)
    0.398942280401
    """

    mean: Any
    var: Any
    error: Any


def evaluate(
    method: Callable[[Array, Array], tuple[Array, ...]], chunk: int, y: Array, x: Array
) -> list[Array]:
    """Call a form's method on broadcast arrays of any shape, in pieces that stay in cache."""
    y, x = np.broadcast_arrays(y, x)
    flat_y, flat_x = y.ravel(), x.ravel()
    with np.errstate(all="ignore"):
        pieces = [
            method(flat_y[i : i + chunk], flat_x[i : i + chunk])
            for i in range(0, flat_y.size, chunk)
        ]
    if not pieces:
        pieces = [method(np.zeros(1), np.ones(1))]
        return [column[:0].reshape(y.shape) for column in pieces[0]]
    if len(pieces) == 1:
        return [column.reshape(y.shape) for column in pieces[0]]
    return [np.concatenate(columns).reshape(y.shape) for columns in zip(*pieces, strict=True)]


def unwrap(value: Array) -> Any:
    """Turn a 0-d array into a float and leave any other as it is."""
    return float(value) if value.ndim == 0 else value


def moments(act: Any, mean: Any, var: Any) -> Moments:
    """Compute mean and variance of an activation of a normal variable.

    E f(z) and Var f(z) for z ~ N(mean, var). Piecewise linear and exponential activations and
    the sine have closed forms (SELU: those of the paper, rewritten about f(mean) so that they
    neither overflow nor cancel); all others are integrated by adaptive quadrature.

    Parameters
    ----------
    act : str, callable or Activation
        The activation; see `activation`.
    mean : float or array
        Mean of the normal variable.
    var : float or array
        Its variance, at least 0. Arrays broadcast.

    Returns
    -------
    Moments
        Mean, variance and the estimate of their absolute error; floats for numbers, arrays of the
        broadcast shape for arrays.

    Raises
    ------
    DomainError
        If an argument is not real and finite, a variance is negative, the shapes do not broadcast,
        or a callable does not return real, finite values of the shape it is given.
    ConvergenceError
        If the quadrature does not converge.

    Notes
    -----
    Closed forms: relative error below 1e-12 for variances from 1e-6 to 1e6 and means within
    +-30, the mean's relative to sqrt(E f^2); well over a million points a second. Quadrature: about
    1e-13 relative, but for a tiny variance limited by the cancellation of f(z) - f(mean), which
    ``error`` includes; some ten thousand points a second.

    References
    ----------
    Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks", NeurIPS 2017,
    arXiv:1706.02515.

    Examples
    --------
    >>> from selfnorm.theory import moments
    >>> m = moments("elu", 0.0, 1.0)
    >>> print(f"{m.mean:.9f} {m.var:.9f}")
    0.160520572 0.619178563
    >>> moments("tanh", 0.0, [0.5, 2.0]).var.round(6)
    array([0.273676, 0.519976])
    """
    f = activation(act)
    y, x = real_array("mean", mean), variance_array("var", var)
    require_broadcast(mean=y, var=x)
    return _moments(f, y, x)


def moment_map(
    act: Any, mean: Any, var: Any, *, weight_sum: Any = 0.0, weight_sumsq: Any = 1.0
) -> Moments:
    """Map mean and variance of a layer's input to those of its output.

    The map g of the paper (eq. 3): the pre-activation of a unit with weights w is
    N(mean * weight_sum, var * weight_sumsq), and its activation has the moments returned.

    Parameters
    ----------
    act : str, callable or Activation
        The activation; see `activation`.
    mean : float or array
        Mean of the inputs.
    var : float or array
        Variance of the inputs, at least 0.
    weight_sum : float or array
        Sum of the unit's weights (omega).
    weight_sumsq : float or array
        Sum of the squares of the unit's weights (tau), at least 0.

    Returns
    -------
    Moments
        Mean and variance of the output and the estimate of their absolute error.

    Raises
    ------
    DomainError
        As `moments`; also if the product of the arguments overflows.

    References
    ----------
    Klambauer et al. 2017, arXiv:1706.02515.

    Examples
    --------
    >>> from selfnorm.theory import moment_map
    >>> out = moment_map("selu", 0.1, 1.2, weight_sum=0.1, weight_sumsq=1.1)
    >>> print(f"{out.mean:.9f} {out.var:.9f}")
    0.038265007 1.245731231
    """
    f = activation(act)
    y, x = preactivation(mean, var, weight_sum, weight_sumsq)
    return _moments(f, y, x)


def preactivation(mean: Any, var: Any, weight_sum: Any, weight_sumsq: Any) -> tuple[Array, Array]:
    """Check the arguments of a layer and return the moments of its pre-activation."""
    mu, nu = real_array("mean", mean), variance_array("var", var)
    omega = real_array("weight_sum", weight_sum)
    tau = variance_array("weight_sumsq", weight_sumsq)
    require_broadcast(mean=mu, var=nu, weight_sum=omega, weight_sumsq=tau)
    with np.errstate(over="ignore"):
        y, x = np.asarray(mu * omega), np.asarray(nu * tau)
    for name, value in (("mean * weight_sum", y), ("var * weight_sumsq", x)):
        if not np.isfinite(value).all():
            raise DomainError(f"{name} must be finite, however: it overflows; scale the inputs.")
    return y, x


def _moments(f: Activation, y: Array, x: Array) -> Moments:
    zero = x == 0.0
    if not zero.any():
        return Moments(*map(unwrap, evaluate(f.form.moments, f.form.chunk, y, x)))
    mean, var, error = evaluate(f.form.moments, f.form.chunk, y, np.where(zero, 1.0, x))
    mean = np.where(zero, f(y), mean)
    return Moments(
        unwrap(mean), unwrap(np.where(zero, 0.0, var)), unwrap(np.where(zero, 0.0, error))
    )


def moment_jacobian(
    act: Any, mean: Any, var: Any, *, weight_sum: Any = 0.0, weight_sumsq: Any = 1.0
) -> Array:
    """Compute the Jacobian of the moment map.

    Derivatives of (new mean, new variance) with respect to (mean, var). With the pre-activation
    N(y, x), the derivatives by x follow from the heat equation d/dx = (1/2) d^2/dy^2.

    Parameters
    ----------
    act : str, callable or Activation
        The activation; see `activation`.
    mean : float or array
        Mean of the inputs.
    var : float or array
        Variance of the inputs, greater than 0.
    weight_sum : float or array
        Sum of the unit's weights (omega).
    weight_sumsq : float or array
        Sum of the squares of the unit's weights (tau), greater than 0.

    Returns
    -------
    array
        Of shape (..., 2, 2): rows new mean and new variance, columns mean and var.

    Raises
    ------
    DomainError
        As `moment_map`; also if var * weight_sumsq is 0, where the derivative at a kink does not
        exist.

    Notes
    -----
    Quadrature activations need no derivative here: Stein's identity turns each derivative into
    a moment of f itself, so that kinks need no care.

    References
    ----------
    Klambauer et al. 2017, arXiv:1706.02515, section "Self-normalizing Neural Networks".

    Examples
    --------
    >>> from selfnorm.theory import moment_jacobian
    >>> moment_jacobian("selu", 0.0, 1.0).round(6)
    array([[0.      , 0.088835],
           [0.      , 0.782648]])
    """
    f = activation(act)
    y, x = preactivation(mean, var, weight_sum, weight_sumsq)
    require(
        bool((x > 0.0).all()),
        "var * weight_sumsq",
        x.min() if x.size else 0.0,
        "greater than 0",
        "the Jacobian is that of a normal variable, not of a constant.",
    )
    columns = evaluate(f.form.jacobian, f.form.chunk, y, x)
    omega, tau = np.asarray(weight_sum, np.float64), np.asarray(weight_sumsq, np.float64)
    mean_y, mean_x, var_y, var_x = columns
    rows = [[mean_y * omega, mean_x * tau], [var_y * omega, var_x * tau]]
    return np.stack([np.stack(np.broadcast_arrays(*row), axis=-1) for row in rows], axis=-2)
