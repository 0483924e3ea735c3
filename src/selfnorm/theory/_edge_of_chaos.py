"""Initialisation at the edge of chaos."""

from __future__ import annotations

from typing import Any, NamedTuple

from selfnorm.errors import DomainError
from selfnorm.theory._activations import activation
from selfnorm.theory._local_moments import local_moments
from selfnorm.theory._validation import positive_number


class EdgeOfChaos(NamedTuple):
    """Variances of weights and biases at the edge of chaos.

    Parameters
    ----------
    weight_var : float
        The variance of a weight times fan_in (sigma_w^2); the gain is its square root.
    bias_var : float
        Variance of the biases (sigma_b^2).

    Examples
    --------
    >>> from selfnorm.theory import edge_of_chaos
    >>> edge_of_chaos("identity").bias_var
    0.0
    """

    weight_var: float
    bias_var: float


def edge_of_chaos(act: Any, second_moment: float = 1.0) -> EdgeOfChaos:
    r"""Find the initialisation that keeps both a given second moment and gradient norms.

    For pre-activations z ~ N(0, s), s the second moment, the variances of weights and biases with

    weight_var E f'(z)^2 = 1,   weight_var E f(z)^2 + bias_var = s.

    Parameters
    ----------
    act : str, callable or Activation
        The activation; see `activation`.
    second_moment : float
        Second moment of the pre-activations that shall be kept, greater than 0.

    Returns
    -------
    EdgeOfChaos
        The named tuple (weight_var, bias_var).

    Raises
    ------
    DomainError
        If the second moment is not positive, the activation is flat there, or the edge would need
        biases of negative variance.
    ConvergenceError
        If the quadrature does not converge.

    Notes
    -----
    With mean E f(z) = 0 a solution always exists, by the Gaussian Poincaré inequality
    Var f <= s E f'^2.

    References
    ----------
    Poole, Lahiri, Raghu, Sohl-Dickstein, Ganguli, "Exponential expressivity in deep neural
    networks through transient chaos", NeurIPS 2016, arXiv:1606.05340; Schoenholz, Gilmer, Ganguli,
    Sohl-Dickstein, "Deep Information Propagation", ICLR 2017, arXiv:1611.01232.

    Examples
    --------
    >>> from selfnorm.theory import edge_of_chaos
    >>> weight_var, bias_var = edge_of_chaos("selu")
    >>> print(f"{weight_var:.10f} {bias_var:.11f}")
    0.9332058018 0.06679419822
    """
    f = activation(act)
    s = positive_number("second_moment", second_moment, "there is no edge without a signal.")
    local = local_moments(f, 0.0, s)
    if not local.gain > 0.0:
        raise DomainError(
            f"the edge of chaos needs an activation with a slope, however: {f.name} has "
            f"E f'(z)^2 = 0 at second_moment={s:g}; choose another second_moment."
        )
    weight_var = 1.0 / local.gain
    bias_var = s - weight_var * (local.var + local.mean**2)
    if bias_var < -1e-9 * s:
        raise DomainError(
            f"{f.name} has no edge of chaos at second_moment={s:g}: the weights alone would carry "
            f"{s - bias_var:.6g}, so that bias_var would be {bias_var:.6g}; choose another "
            "second_moment, or an activation with mean 0 such as that of standardize()."
        )
    return EdgeOfChaos(weight_var, max(bias_var, 0.0))
