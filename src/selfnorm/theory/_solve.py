"""The inverse problem: SELU's constants for a given fixed point."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from selfnorm.errors import DomainError
from selfnorm.theory._closed_forms import (
    Central,
    derivatives,
    exponential_above,
    exponential_below,
)
from selfnorm.theory._dropout import alpha_dropout_affine
from selfnorm.theory._gaussian import Parts, parts_above, parts_below
from selfnorm.theory._linear_algebra import attraction, spectral
from selfnorm.theory._validation import Array, positive_number, probability, real_number, require


@dataclass(frozen=True)
class SELUConstants:
    """SELU's constants for one fixed point, and how that fixed point behaves.

    Parameters
    ----------
    alpha : float
        Alpha of the ELU inside.
    scale : float
        Scale (lambda).
    saturation : float
        Limit at minus infinity, -scale * alpha.
    mean : float
        Mean of the fixed point.
    var : float
        Variance of the fixed point.
    weight_sum : float
        Sum of a unit's weights for which it is one.
    weight_sumsq : float
        Sum of their squares.
    jacobian : array
        Jacobian of the moment map at the fixed point, 2 x 2.
    spectral_norm : float
        Its largest singular value; below 1 the map contracts there.
    spectral_radius : float
        Its largest absolute eigenvalue.
    stable : bool
        Whether the fixed point attracts: spectral_radius < 1.
    chi : float
        Growth of the squared gradient norm per layer, weight_sumsq * E f'(z)^2, times
        a^2 (1 - dropout) with dropout.
    reason : str
        Why it is stable or not.
    dropout : float
        Probability of dropping for which the Jacobian, stability and chi hold.

    Examples
    --------
    >>> from selfnorm.theory import solve
    >>> solve().reason
    'attracting: spectral radius 0.782648'
    """

    alpha: float
    scale: float
    saturation: float
    mean: float
    var: float
    weight_sum: float
    weight_sumsq: float
    jacobian: Array = field(repr=False, compare=False)
    spectral_norm: float
    spectral_radius: float
    stable: bool
    chi: float
    reason: str
    dropout: float = 0.0


def solve(
    mean: float = 0.0,
    var: float = 1.0,
    *,
    weight_sum: float = 0.0,
    weight_sumsq: float = 1.0,
    dropout: float = 0.0,
) -> SELUConstants:
    r"""Find SELU's constants that make (mean, var) a fixed point of the moment map.

    With the pre-activation z ~ N(y, x), y = mean * weight_sum, x = var * weight_sumsq, the target
    requires scale (M1 + alpha M2) = mean and scale^2 (S1 + alpha^2 S2) = var + mean^2, where M1 and
    S1 are the first and second moments of z on z > 0, M2 and S2 those of e^z - 1 on z < 0.
    Eliminating the scale leaves a quadratic equation for alpha with one admissible root; for mean
    0 it is alpha = -M1/M2, and for (0, 1) the constants of the paper (eq. 14).

    Alpha dropout at rate p after the SELU, with the affine map (a, b) that keeps (mean, var),
    changes neither the fixed point nor alpha and scale: keeping these moments is what it is made
    for. It does change how the point behaves. With q = 1-p and s the saturation value, a deviation
    (dm, dv) leaves the dropout as (a q dm, a^2 q (dv + 2 p (mean - s) dm)), which multiplies the
    Jacobian from the left, and squared gradient norms are multiplied by a^2 q.

    Parameters
    ----------
    mean : float
        Target mean.
    var : float
        Target variance, greater than 0.
    weight_sum : float
        Sum of a unit's weights (omega). It matters only where the target mean is not 0.
    weight_sumsq : float
        Sum of the squares of a unit's weights (tau), greater than 0.
    dropout : float
        Probability of dropping in the alpha dropout that follows, from 0 to 1.

    Returns
    -------
    SELUConstants
        The constants, and the Jacobian, stability and gradient growth at the fixed point. A fixed
        point that repels is returned with ``stable=False`` and a ``reason`` that says so.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, or no alpha, scale > 0 reach the target: the
        message names the means that can be reached.

    Notes
    -----
    Explicit: no iteration. Relative accuracy 1e-12 for variances from 1e-6 to 1e6 unless the
    target lies at the edge of what can be reached.

    References
    ----------
    Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks", NeurIPS 2017,
    arXiv:1706.02515.

    Examples
    --------
    >>> from selfnorm.theory import solve
    >>> selu = solve()
    >>> print(f"{selu.alpha:.13f} {selu.scale:.13f}")
    1.6732632423544 1.0507009873555
    >>> selu = solve(-0.1, 2.0, weight_sum=1.0)
    >>> print(f"{selu.alpha:.13f} {selu.scale:.13f}")
    1.9769021954242 1.0738512396160
    >>> selu = solve(dropout=0.05)  # the same alpha and scale
    >>> print(f"{selu.alpha:.6f} {selu.chi:.6f} {selu.spectral_radius:.6f}")
    1.673263 0.928136 0.691411
    """
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
    p = probability("dropout", dropout)
    alpha, scale, central = design(mean, var, y, x)
    mean_y, mean_x, var_y, var_x = (float(entry[0]) for entry in derivatives(central))
    jacobian = np.array(
        [
            [mean_y * weight_sum, mean_x * weight_sumsq],
            [var_y * weight_sum, var_x * weight_sumsq],
        ]
    )
    chi = weight_sumsq * float(central.gain[0])
    if p > 0.0:
        a, _ = alpha_dropout_affine(p, mean=mean, var=var, saturation=-scale * alpha)
        kept = a * a * (1.0 - p)
        pull = 2.0 * p * (mean + scale * alpha)
        jacobian = np.array([[a * (1.0 - p), 0.0], [kept * pull, kept]]) @ jacobian
        chi *= kept
    norm, radius = spectral(jacobian)
    stable, reason = attraction(radius)
    return SELUConstants(
        alpha=alpha,
        scale=scale,
        saturation=-scale * alpha,
        mean=mean,
        var=var,
        weight_sum=weight_sum,
        weight_sumsq=weight_sumsq,
        jacobian=jacobian,
        spectral_norm=norm,
        spectral_radius=radius,
        stable=stable,
        chi=chi,
        reason=reason,
        dropout=p,
    )


def design(mean: float, var: float, y: float, x: float) -> tuple[float, float, Central]:
    """Alpha and scale for which z ~ N(y, x) has output moments (mean, var), and what follows."""
    at = np.array([y])
    with np.errstate(all="ignore"):
        p = (parts_above if y > 0.0 else parts_below)(at, np.array([x]))
        alpha, scale = _constants(mean, var, y, x, p)
        if y > 0.0:
            return alpha, scale, exponential_above(p, scale, scale * alpha)
        return alpha, scale, exponential_below(p, at, scale, scale * alpha)


def _constants(mean: float, var: float, y: float, x: float, p: Parts) -> tuple[float, float]:
    m_pos, s_pos, m_neg, s_neg = _halves(y, x, p)
    second = var + mean * mean
    if min(m_pos, s_pos, -m_neg, s_neg) <= 0.0:
        raise DomainError(
            "the pre-activation must visit both branches of SELU, however: with "
            f"mean * weight_sum = {y:g} and var * weight_sumsq = {x:g} one of them has no weight "
            "in float64; choose a smaller mean or weight_sum, or a larger var."
        )
    # The ratio mean/sqrt(second) falls strictly from the first of these to the other as alpha
    # goes from 0 to infinity.
    highest, lowest = m_pos / math.sqrt(s_pos), m_neg / math.sqrt(s_neg)
    ratio = mean / math.sqrt(second)
    if not lowest < ratio < highest:
        raise DomainError(
            f"no SELU with alpha > 0 and scale > 0 has mean={mean:g} at var={var:g}, however: for "
            f"pre-activations N({y:g}, {x:g}) the means within reach at that variance lie between "
            f"{_odds(lowest) * math.sqrt(var):.6g} and {_odds(highest) * math.sqrt(var):.6g}; "
            "choose a mean nearer to 0 or a larger var."
        )
    share = mean * mean / second
    if mean >= 0.0:
        rest = m_pos * m_pos - share * s_pos
        root = math.sqrt(share * (m_neg * m_neg * s_pos + s_neg * rest))
        alpha = rest / (root - m_pos * m_neg)
    else:
        rest = m_neg * m_neg - share * s_neg
        root = math.sqrt(share * (m_pos * m_pos * s_neg + s_pos * rest))
        alpha = (root - m_pos * m_neg) / rest
    return alpha, math.sqrt(second / (s_pos + alpha * alpha * s_neg))


def _halves(y: float, x: float, p: Parts) -> tuple[float, float, float, float]:
    """First and second moment of z on z > 0 and of e^z - 1 on z < 0, for z ~ N(y, x)."""
    n, j1, j2 = (float(moment[0]) for moment in p.tail)
    first, second, sigma = float(p.first[0]), float(p.second[0]), float(p.sigma[0])
    if y > 0.0:
        return y + sigma * j1, x + y * y - x * j2, first, second
    depth = math.expm1(y)
    return (
        sigma * j1,
        x * j2,
        first + depth * (1.0 - n),
        second + depth * (2.0 * first + depth * (1.0 - n)),
    )


def _odds(ratio: float) -> float:
    """mean/sd for a given mean/rms."""
    return ratio / math.sqrt(1.0 - ratio * ratio)
