"""Activations that keep second moments forward and gradient norms backward."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from selfnorm.errors import DomainError
from selfnorm.theory._activations import activation
from selfnorm.theory._local_moments import local_moments
from selfnorm.theory._standardize import NEUTRAL, stability_reason
from selfnorm.theory._validation import require

# Two shifts whose sizes differ by less than this are of the same size; the positive one is then
# the small one, so that rounding does not choose.
_SAME: Final = 1e-9
_ROUNDING: Final = 1e-9


@dataclass(frozen=True)
class Bidirectional:
    """The affine map that makes an activation keep both directions, and what it does.

    The activation is scale * f(x) + shift.

    Parameters
    ----------
    scale : float
        Factor, greater than 0.
    shift : float
        Offset of the chosen branch, added after the factor.
    branch : str
        The chosen branch, "small" or "large".
    shifts : tuple of float
        The offsets of both branches, the small one first.
    mean : float
        Mean of scale * f(z) + shift; its second moment is 1.
    slope : float
        Factor by which a layer multiplies a small deviation of the second moment from 1.
    stable : bool
        Whether the second moment 1 attracts: abs(slope) < 1.
    reason : str
        The same in words.

    Examples
    --------
    >>> from selfnorm.theory import bidirectional
    >>> bidirectional("tanh").stable
    True
    """

    scale: float
    shift: float
    branch: str
    shifts: tuple[float, float]
    mean: float
    slope: float
    stable: bool
    reason: str


def bidirectional(act: Any, *, branch: str = "small") -> Bidirectional:
    r"""Find the affine map of an activation that keeps forward and backward second moments.

    For z ~ N(0, 1), scale a and shift b such that E (a f + b)^2 = 1 and E (a f')^2 = 1:

    a = (E f'^2)^{-1/2},   b = -a E f +- sqrt(1 - a^2 Var f).

    The roots are real for every activation: the Gaussian Poincaré inequality says
    Var f <= E f'^2.

    Parameters
    ----------
    act : str, callable or Activation
        The activation; see `activation`.
    branch : {"small", "large"}
        Which root: the shift that is smaller in size or the other; of two of the same size the
        positive one counts as small.

    Returns
    -------
    Bidirectional
        The affine map, both shifts, and whether the second moment 1 attracts.

    Raises
    ------
    DomainError
        If the branch is not known, the activation is constant, or the derivative given for a
        callable contradicts the callable.
    ConvergenceError
        If the quadrature does not converge.

    Notes
    -----
    Meant for orthogonal weights, where the second moment 1 is kept even though the mean is not 0.

    References
    ----------
    Lu, Gould, Ajanthan, "Bidirectional Self-Normalizing Neural Networks", 2020, arXiv:2006.12169.

    Examples
    --------
    >>> from selfnorm.theory import bidirectional
    >>> gelu = bidirectional("gelu")
    >>> print(f"{gelu.scale:.7f} {gelu.shifts[0]:.7f} {gelu.shifts[1]:.7f}")
    1.4811144 0.0738771 -0.9095064
    """
    require(
        branch in ("small", "large"),
        "branch",
        branch,
        "'small' or 'large'",
        "small is the shift nearer to 0.",
    )
    f = activation(act)
    local = local_moments(f, 0.0, 1.0)
    if not local.gain > 0.0:
        raise DomainError(
            f"bidirectional needs an activation with a slope, however: {f.name} has E f'(z)^2 = 0 "
            "for z ~ N(0, 1); choose another activation."
        )
    scale = 1.0 / math.sqrt(local.gain)
    share = scale * scale * local.var
    if share > 1.0 + _ROUNDING:
        raise DomainError(
            f"the derivative of {f.name} must agree with the function, however: E f'(z)^2 = "
            f"{local.gain:.6g} is below Var f(z) = {local.var:.6g}, which the Gaussian Poincaré "
            "inequality excludes; correct derivative=…, or name every jump of it in kinks=(…)."
        )
    centre, reach = -scale * local.mean, math.sqrt(max(1.0 - share, 0.0))
    high, low = centre + reach, centre - reach + 0.0  # no minus zero
    shifts = (high, low) if abs(high) <= abs(low) + _SAME else (low, high)
    shift = shifts[branch == "large"]
    # d/dx E (a f + b)^2 = d/dx Var (a f) + 2 E(a f + b) d/dx E(a f).
    slope = scale**2 * local.var_x + 2.0 * (shift - centre) * scale * local.mean_x
    reason = stability_reason(abs(slope), "a deviation of the second moment from 1")
    return Bidirectional(
        scale=scale,
        shift=shift,
        branch=branch,
        shifts=shifts,
        mean=shift - centre,
        slope=slope,
        stable=abs(slope) < 1.0 - NEUTRAL,
        reason=reason,
    )
