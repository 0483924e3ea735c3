"""Spread of the singular values of the input-output Jacobian."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from selfnorm.theory._activations import activation
from selfnorm.theory._local_moments import local_moments, slope_fourth
from selfnorm.theory._validation import (
    layer_count,
    positive_number,
    real_number,
    require,
)

# What one weight matrix itself adds to the spread: minus the first moment of its S-transform.
_OF_WEIGHTS: Final = {"gaussian": 1.0, "orthogonal": 0.0}


@dataclass(frozen=True)
class JacobianSpread:
    """Mean and variance of the squared singular values of the input-output Jacobian.

    Parameters
    ----------
    mean : float
        Mean of the squared singular values over a network of this depth, chi**depth.
    var : float
        Their variance; inf where it leaves the range of float64.
    relative_var : float
        The ratio var / mean**2 = depth * per_layer; 0 is dynamical isometry.
    per_layer : float
        What one layer adds to relative_var.
    chi : float
        What one layer multiplies the mean by.

    Examples
    --------
    >>> from selfnorm.theory import jacobian_spread
    >>> jacobian_spread("identity", 10, weights="orthogonal").relative_var
    0.0
    """

    mean: float
    var: float
    relative_var: float
    per_layer: float
    chi: float


def jacobian_spread(
    act: Any,
    depth: int,
    *,
    weights: str = "gaussian",
    mean: float = 0.0,
    var: float = 1.0,
    weight_sumsq: float = 1.0,
) -> JacobianSpread:
    r"""Compute how the squared singular values of the input-output Jacobian spread.

    For square layers J = D_L W_L ... D_1 W_1, D = diag f'(z) with z ~ N(mean, var) in each layer,
    and freely independent factors, the logarithm of the S-transform adds up, so that

    E s^2 = chi^L,   Var s^2 = chi^{2L} L (E f'^4/(E f'^2)^2 - 1 + w),

    with chi = weight_sumsq E f'^2, w = 1 for Gaussian and 0 for orthogonal weights.

    Parameters
    ----------
    act : str, callable or Activation
        The activation; see `activation`.
    depth : int
        Number of layers, at least 1.
    weights : {"gaussian", "orthogonal"}
        Kind of random weights.
    mean : float
        Mean of the pre-activations.
    var : float
        Variance of the pre-activations, greater than 0, the same in every layer.
    weight_sumsq : float
        Sum of the squares of a unit's weights (tau), greater than 0.

    Returns
    -------
    JacobianSpread
        Mean and variance of the squared singular values, in all and per layer.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, or the activation is flat.
    ConvergenceError
        If the quadrature does not converge.

    Notes
    -----
    Exact in the limit of wide layers at fixed depth. Gaussian weights of width n add fluctuations
    of order depth/n.

    References
    ----------
    Pennington, Schoenholz, Ganguli, "Resurrecting the sigmoid in deep learning through dynamical
    isometry", NeurIPS 2017, arXiv:1711.04735; the same, "The Emergence of Spectral Universality in
    Deep Networks", AISTATS 2018, arXiv:1802.09979.

    Examples
    --------
    >>> from selfnorm.theory import jacobian_spread
    >>> print(f"{jacobian_spread('selu', 1, weights='orthogonal').per_layer:.5f}")
    0.31620
    >>> deep = jacobian_spread("selu", 50)
    >>> print(f"{deep.mean:.3f} {deep.relative_var:.3f}")
    31.705 65.810
    """
    f = activation(act)
    layers = layer_count(depth)
    require(
        isinstance(weights, str) and weights in _OF_WEIGHTS,
        "weights",
        weights,
        "'gaussian' or 'orthogonal'",
        "use gaussian for any independent weights.",
    )
    y = real_number("mean", mean)
    x = positive_number("var", var, "the slope of a constant pre-activation does not spread.")
    tau = positive_number("weight_sumsq", weight_sumsq, "with all weights 0 the Jacobian is 0.")
    gain = local_moments(f, y, x).gain
    require(
        gain > 0.0,
        "E f'(z)^2",
        gain,
        "greater than 0",
        f"{f.name} is flat there; choose another mean or var.",
    )
    per_layer = max(slope_fourth(f, y, x) / gain**2 - 1.0, 0.0) + _OF_WEIGHTS[weights]
    if per_layer < 1e-12:
        per_layer = 0.0
    chi = tau * gain
    with np.errstate(over="ignore"):
        total = float(np.exp(layers * math.log(chi)))
        spread = float(np.square(total) * layers * per_layer) if per_layer else 0.0
    return JacobianSpread(total, spread, layers * per_layer, per_layer, chi)
