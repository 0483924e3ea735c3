"""Any activation made self-normalizing by an affine map of its output."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from selfnorm.errors import DomainError
from selfnorm.theory._activations import activation
from selfnorm.theory._linear_algebra import spectral
from selfnorm.theory._local_moments import local_moments
from selfnorm.theory._validation import Array, positive_number, real_number, require

# A spectral radius this near to 1 is taken for 1: ReLU's is 1 up to rounding.
NEUTRAL: Final = 1e-9
# Below this share of the second moment about f(y) a variance is rounding.
_CONSTANT: Final = 1e-20


@dataclass(frozen=True)
class Standardized:
    """The affine map that gives an activation its fixed point, and how that point behaves.

    The self-normalizing activation is gain * f(x) + shift.

    Parameters
    ----------
    gain : float
        Factor gamma, greater than 0.
    shift : float
        Offset, added after the factor.
    mean : float
        E f(z) of the activation as it was given.
    var : float
        Var f(z) of the activation as it was given.
    target_mean : float
        Mean of the fixed point.
    target_var : float
        Variance of the fixed point.
    weight_sum : float
        Sum of a unit's weights for which it is one.
    weight_sumsq : float
        Sum of their squares.
    jacobian : array
        Jacobian of the moment map of gain * f + shift at the fixed point, 2 x 2.
    spectral_norm : float
        Its largest singular value; below 1 the map contracts there.
    spectral_radius : float
        Its largest absolute eigenvalue.
    stable : bool
        Whether the fixed point attracts: spectral_radius < 1.
    chi : float
        Growth of the squared gradient norm per layer, weight_sumsq * E (gain f'(z))^2.
    reason : str
        In words: whether the fixed point attracts, repels or neither.

    Examples
    --------
    >>> from selfnorm.theory import standardize
    >>> standardize("tanh").stable
    True
    """

    gain: float
    shift: float
    mean: float
    var: float
    target_mean: float
    target_var: float
    weight_sum: float
    weight_sumsq: float
    jacobian: Array = field(repr=False, compare=False)
    spectral_norm: float
    spectral_radius: float
    stable: bool
    chi: float
    reason: str


def standardize(
    act: Any,
    *,
    mean: float = 0.0,
    var: float = 1.0,
    weight_sum: float = 0.0,
    weight_sumsq: float = 1.0,
) -> Standardized:
    r"""Make (mean, var) a fixed point of an activation by an affine map of its output.

    With the pre-activation z ~ N(mean * weight_sum, var * weight_sumsq), the activation
    gain f + shift has moments (mean, var) if

    gain = sqrt(var / Var f(z)),   shift = mean - gain E f(z).

    For the target (0, 1) that is gamma (f - E f) with gamma = 1/sd f(z). Whether the fixed point
    attracts is another matter: for (0, 1), weight_sum 0 and g = gain f + shift, Stein's identity
    gives the entries d mean/d var = E[g (z^2 - 1)]/2 and d var/d var = E[g^2 (z^2 - 1)]/2 of the
    Jacobian, whose first column is 0; it attracts if abs(d var/d var) < 1.

    Parameters
    ----------
    act : str, callable or Activation
        The activation; see `activation`.
    mean : float
        Target mean.
    var : float
        Target variance, greater than 0.
    weight_sum : float
        Sum of a unit's weights (omega). It matters only where the target mean is not 0.
    weight_sumsq : float
        Sum of the squares of a unit's weights (tau), greater than 0.

    Returns
    -------
    Standardized
        The affine map, and the Jacobian, stability and gradient growth at the fixed point.
        A repelling point is returned with ``stable=False`` and a ``reason`` that says so.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, or the activation is constant where the
        pre-activation lies.
    ConvergenceError
        If the quadrature does not converge.

    Notes
    -----
    The point (0, 1) repels for GELU, SiLU, Mish and softplus, and ReLU and the other
    piecewise linear activations with one kink at 0 restore nothing: there every variance is
    kept. Accuracy is that of `moments`.

    References
    ----------
    Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks", NeurIPS 2017,
    arXiv:1706.02515. Stein, "Estimation of the mean of a multivariate normal distribution",
    Annals of Statistics 9 (1981).

    Examples
    --------
    >>> from selfnorm.theory import standardize
    >>> elu = standardize("elu")
    >>> print(f"{elu.gain:.9f} {elu.shift:.9f} {elu.stable}")
    1.270843418 -0.203996513 True
    >>> standardize("gelu").reason
    'repelling: a deviation of the variance from 1 grows by the factor 1.06212 per layer'
    """
    f = activation(act)
    mean = real_number("mean", mean)
    var = positive_number("var", var, "a fixed point needs a variance to hold.")
    weight_sum = real_number("weight_sum", weight_sum)
    weight_sumsq = positive_number(
        "weight_sumsq", weight_sumsq, "with all weights 0 nothing reaches the next layer."
    )
    y, x = mean * weight_sum, var * weight_sumsq
    require(
        math.isfinite(y) and 1e-300 < x < 1e300,
        "var * weight_sumsq",
        x,
        "between 1e-300 and 1e300, and mean * weight_sum finite",
        "measure the inputs in other units.",
    )
    local = local_moments(f, y, x)
    if not local.var > _CONSTANT * (local.mean**2 + local.gain * x):
        raise DomainError(
            f"standardize needs an activation that varies, however: {f.name} is constant for "
            f"pre-activations N({y:g}, {x:g}); choose another activation or larger weights."
        )
    gain = math.sqrt(var / local.var)
    jacobian = np.array(
        [
            [gain * local.mean_y * weight_sum, gain * local.mean_x * weight_sumsq],
            [gain**2 * local.var_y * weight_sum, gain**2 * local.var_x * weight_sumsq],
        ]
    )
    norm, radius = spectral(jacobian)
    what = f"variance from {var:g}" if weight_sum == 0.0 else "moments"
    return Standardized(
        gain=gain,
        shift=mean - gain * local.mean,
        mean=local.mean,
        var=local.var,
        target_mean=mean,
        target_var=var,
        weight_sum=weight_sum,
        weight_sumsq=weight_sumsq,
        jacobian=jacobian,
        spectral_norm=norm,
        spectral_radius=radius,
        stable=radius < 1.0 - NEUTRAL,
        chi=weight_sumsq * gain**2 * local.gain,
        reason=stability_reason(radius, f"a deviation of the {what}"),
    )


def stability_reason(factor: float, what: str) -> str:
    """Say in words what becomes of a deviation that each layer multiplies by the factor."""
    if factor < 1.0 - NEUTRAL:
        return f"attracting: {what} shrinks by the factor {factor:.6g} per layer"
    if factor > 1.0 + NEUTRAL:
        return f"repelling: {what} grows by the factor {factor:.6g} per layer"
    return f"neutral: {what} neither shrinks nor grows"
