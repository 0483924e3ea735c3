"""Moments of the largest of several activations, as max pooling takes it."""

from __future__ import annotations

import itertools
import math
from typing import Any, Final

import numpy as np
from scipy.special import log_ndtr

from selfnorm.errors import DomainError
from selfnorm.theory._activation_type import Activation
from selfnorm.theory._activations import activation
from selfnorm.theory._moments import Moments, moments
from selfnorm.theory._validation import Array, positive_number, real_number, require

# Beyond this many standard deviations a normal density is below 1e-31.
_REACH: Final = 12.0
_PANELS: Final = 12
_NODES: Final = 16


def maximum_moments(
    act: Any, count: int, mean: float = 0.0, var: float = 1.0, *, correlation: float = 0.0
) -> Moments:
    r"""Compute mean and variance of the largest of several activations.

    For non-decreasing f the largest of f(z_1), …, f(z_k) is f of the largest pre-activation. With
    equally correlated z_i ~ N(mean, var) that is

    mean + sqrt(var) (sqrt(c) g + sqrt(1 - c) M),   g ~ N(0, 1),   P(M <= t) = Phi(t)^k,

    so that E f is an integral over g of an integral over M, whose density is
    k phi(t) Phi(t)^(k-1).

    Parameters
    ----------
    act : str, callable or Activation
        The activation f; "identity" gives the order statistic itself.
    count : int
        Number k of activations, at least 1.
    mean : float
        Mean of the pre-activations.
    var : float
        Variance of the pre-activations, greater than 0.
    correlation : float
        Correlation c of each pair of pre-activations, from 0 to 1.

    Returns
    -------
    Moments
        Mean, variance, and the estimate of their error: the difference to half the nodes.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, or the activation decreases somewhere.

    Notes
    -----
    Gauss-Legendre quadrature on panels that end at the kinks of f.

    References
    ----------
    David, Nagaraja, "Order Statistics", 3rd edition, Wiley 2003, sections 2.1 and 5.3.

    Examples
    --------
    >>> from selfnorm.theory import maximum_moments
    >>> round(maximum_moments("identity", 2).mean, 9)  # 1/sqrt(pi)
    0.564189584
    >>> round(maximum_moments("selu", 4, correlation=0.5).var, 6)
    0.86439
    """
    f = activation(act)
    y = real_number("mean", mean)
    v = positive_number("var", var, "a constant is its own maximum.")
    c = real_number("correlation", correlation)
    require(0.0 <= c <= 1.0, "correlation", correlation, "from 0 to 1", "0 is independence.")
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise DomainError(
            f"count must be an integer, 1 or more, however: count={count!r}; count the elements "
            "of a window, 4 for 2 x 2"
        )
    grid = y + math.sqrt(v) * np.linspace(-_REACH, _REACH, 4001)
    if (np.diff(f(grid)) < -1e-12).any():
        raise DomainError(
            "the activation must not decrease, because only then its largest value is that of the "
            f"largest pre-activation, however: act={f.name!r} does; take a monotone one, such as "
            "'selu'"
        )
    if count == 1 or c == 1.0:
        return moments(f, y, v)
    (m, s), (m2, s2) = (_integrate(f, count, y, v, c, nodes) for nodes in (_NODES, _NODES // 2))
    return Moments(m, s, max(abs(m - m2), abs(s - s2)))


def _integrate(
    f: Activation, count: int, mean: float, var: float, c: float, nodes: int
) -> tuple[float, float]:
    shared, share_weights = (
        _panels(np.array([-_REACH, _REACH]), nodes) if c > 0.0 else (np.zeros(1), np.ones(1))
    )
    if c > 0.0:
        share_weights = share_weights * np.exp(-0.5 * shared**2) / math.sqrt(2.0 * math.pi)
    sd = math.sqrt(var)
    first, second = 0.0, 0.0
    for g, weight in zip(shared, share_weights, strict=True):
        centre = mean + sd * math.sqrt(c) * g
        spread = sd * math.sqrt(1.0 - c)
        kinks = [(kink - centre) / spread for kink in f.kinks]
        inside = [kink for kink in kinks if -_REACH < kink < _REACH]
        t, w = _panels(np.array([-_REACH, *sorted(inside), _REACH]), nodes)
        # k phi(t) Phi(t)^(k-1), by logarithms: Phi underflows at the left end.
        log_density = -0.5 * t * t + (count - 1) * log_ndtr(t)
        w = w * count * np.exp(log_density) / math.sqrt(2.0 * math.pi)
        value = f(centre + spread * t)
        first += float(weight * (w @ value))
        second += float(weight * (w @ value**2))
    return first, second - first**2


def _panels(ends: Array, nodes: int) -> tuple[Array, Array]:
    """Return nodes and weights of composite Gauss-Legendre quadrature between given ends."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    pieces = [np.linspace(a, b, _PANELS + 1) for a, b in itertools.pairwise(ends)]
    edges = np.unique(np.concatenate(pieces))
    half = 0.5 * np.diff(edges)[:, None]
    middle = 0.5 * (edges[1:] + edges[:-1])[:, None]
    return (middle + half * x).ravel(), (half * w).ravel()
