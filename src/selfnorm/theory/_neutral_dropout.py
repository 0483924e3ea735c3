"""The rate of alpha dropout at which gradients keep their size."""

from __future__ import annotations

from selfnorm.theory._solve import solve

__all__ = ["gradient_neutral_dropout"]


def gradient_neutral_dropout(mean: float = 0.0, var: float = 1.0) -> float:
    r"""Compute the rate of alpha dropout at which a SELU layer keeps gradient norms.

    Alpha dropout multiplies squared gradient norms by a^2 (1-p) = v / (v + p (s - m)^2) a layer,
    where (m, v) is the fixed point and s the saturation value; SELU with weights of gain
    sqrt(v / (v + m^2)), which keep the variance, multiplies them by
    chi = E f'(z)^2 v / (v + m^2). The product is 1 at p = (chi - 1) v / (s - m)^2.

    A small variance, as that of a SELU matched to a depth, lies far from its saturation and bears
    little dropout: at variance 0.05 the usual rate of 0.05 would leave four tenths of a squared
    gradient in each layer.

    Parameters
    ----------
    mean : float
        Mean of the fixed point.
    var : float
        Variance of the fixed point, greater than 0.

    Returns
    -------
    float
        The rate, 0.0231566... for the standard SELU; 0 where SELU alone makes gradients shrink.

    Raises
    ------
    DomainError
        If no SELU has this fixed point.

    Examples
    --------
    >>> from selfnorm.theory import gradient_neutral_dropout, match_depth
    >>> round(gradient_neutral_dropout(), 7)
    0.0231566
    >>> round(gradient_neutral_dropout(var=match_depth(50).var), 6)
    0.002425
    """
    selu = solve(mean, var)
    chi = selu.chi * var / (var + mean**2)
    return min(1.0, max(0.0, (chi - 1.0) * var / (selu.saturation - mean) ** 2))
