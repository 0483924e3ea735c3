"""Growth of gradients through a layer, in mean field."""

from __future__ import annotations

from typing import Any

import numpy as np

from selfnorm.errors import DomainError
from selfnorm.theory._activations import activation
from selfnorm.theory._moments import evaluate, moments, unwrap
from selfnorm.theory._validation import probability, real_array, require_broadcast, variance_array


def gradient_gain(act: Any, mean: Any = 0.0, var: Any = 1.0, *, dropout: float = 0.0) -> Any:
    r"""Compute the factor chi of the squared gradient norm per layer.

    chi = E f'(z)^2 for a pre-activation z ~ N(mean, var) and weights with sum of squares 1. With
    alpha dropout at rate p it is chi a^2 (1-p) = chi v/(p (s - m)^2 + v), where m and v are the
    moments of f(z), s is the saturation value of f and a the factor of `alpha_dropout_affine`
    for these.

    Parameters
    ----------
    act : str, callable or Activation
        The activation; see `activation`.
    mean : float or array
        Mean of the pre-activation.
    var : float or array
        Variance of the pre-activation, at least 0; at 0 it is f'(mean)^2.
    dropout : float
        Probability of dropping, from 0 to 1.

    Returns
    -------
    float or array
        The factor chi, of the broadcast shape of mean and var.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, or dropout is asked of an activation without a
        saturation value.
    ConvergenceError
        If the quadrature does not converge.

    Notes
    -----
    By the Gaussian Poincaré inequality chi > 1 for every activation that is not linear and has the
    fixed point (0, 1). Closed form for the piecewise linear and exponential activations, adaptive
    quadrature of the derivative for all others.

    References
    ----------
    Schoenholz, Gilmer, Ganguli, Sohl-Dickstein, "Deep Information Propagation", ICLR 2017,
    arXiv:1611.01232.

    Examples
    --------
    >>> from selfnorm.theory import gradient_gain
    >>> round(gradient_gain("selu"), 12)
    1.071574992456
    >>> round(gradient_gain("selu", dropout=0.05), 3)
    0.928
    """
    f = activation(act)
    y, x = real_array("mean", mean), variance_array("var", var)
    require_broadcast(mean=y, var=x)
    p = probability("dropout", dropout)
    zero = x == 0.0
    (gain,) = evaluate(lambda y, x: (f.form.gain(y, x),), f.form.chunk, y, np.where(zero, 1.0, x))
    gain = np.where(zero, np.square(f.derivative(y)), gain)
    if p > 0.0:
        if f.saturation is None:
            raise DomainError(
                f"alpha dropout needs an activation with a saturation value, however: {f.name} has "
                "none; use dropout=0, or give a callable its saturation=…"
            )
        m, v, _ = moments(f, y, x)
        # a^2 (1-p); a unit without variance (v = 0) carries no gradient through dropout.
        with np.errstate(divide="ignore", invalid="ignore"):
            kept = v / (p * np.square(f.saturation - m) + v)
        gain = 0.0 * gain if p == 1.0 else gain * np.where(np.isnan(kept), 1.0, kept)
    return unwrap(np.asarray(gain))
