"""Alpha dropout: drop to the saturation value, then restore mean and variance."""

from __future__ import annotations

import math
from typing import NamedTuple

from selfnorm.constants import SATURATION01
from selfnorm.theory._validation import positive_number, probability, real_number


class Affine(NamedTuple):
    """The affine map a x + b.

    Parameters
    ----------
    a : float
        Factor.
    b : float
        Offset.

    Examples
    --------
    >>> from selfnorm.theory import alpha_dropout_affine
    >>> alpha_dropout_affine(0.0)
    Affine(a=1.0, b=0.0)
    """

    a: float
    b: float


def alpha_dropout_affine(
    p: float, *, mean: float = 0.0, var: float = 1.0, saturation: float = SATURATION01
) -> Affine:
    r"""Compute the affine map that restores the moments after dropping to the saturation value.

    If x with moments (mean, var) is replaced by the saturation value s with probability p, then
    a x + b has the old moments for (paper, section "New Dropout Technique", there for mean 0)

    a = sqrt(var / ((1-p) (p (s - mean)^2 + var))),   b = mean - a ((1-p) mean + p s).

    Parameters
    ----------
    p : float
        Probability of dropping, from 0 to 1. 0 gives the identity. At 1 nothing is left to scale:
        the output is the constant mean, (0, mean).
    mean : float
        Mean to keep.
    var : float
        Variance to keep, greater than 0.
    saturation : float
        Value that a dropped unit takes: -scale * alpha for SELU.

    Returns
    -------
    Affine
        The named tuple (a, b).

    Raises
    ------
    DomainError
        If p lies outside [0, 1], var is not positive, or an argument is not finite.

    References
    ----------
    Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks", NeurIPS 2017,
    arXiv:1706.02515.

    Examples
    --------
    >>> from selfnorm.theory import alpha_dropout_affine
    >>> a, b = alpha_dropout_affine(0.05)
    >>> print(f"{a:.14f} {b:.14f}")
    0.95484447600503 0.08393557219381
    """
    p = probability("p", p)
    mean = real_number("mean", mean)
    var = positive_number("var", var, "a constant needs no dropout.")
    saturation = real_number("saturation", saturation)
    if p == 0.0:
        return Affine(1.0, 0.0)
    if p == 1.0:
        return Affine(0.0, mean)
    keep = 1.0 - p
    a = math.sqrt(retained(p, mean, var, saturation) / keep)
    return Affine(a, mean - a * (keep * mean + p * saturation))


def retained(p: float, mean: float, var: float, saturation: float) -> float:
    """a^2 (1-p): the factor of the squared gradient norm that alpha dropout leaves."""
    # In units of the standard deviation: neither the square nor var can overflow alone.
    distance = (saturation - mean) / math.sqrt(var)
    return 1.0 / (p * distance * distance + 1.0)
