"""Depth-matched SELU: the largest target variance whose gradient growth a depth can bear."""

from __future__ import annotations

import math
from dataclasses import dataclass

from selfnorm.errors import DomainError
from selfnorm.theory._solve import design
from selfnorm.theory._validation import layer_count, positive_number, require

_SMALLEST = 1e-12


@dataclass(frozen=True)
class DepthMatch:
    """SELU's constants for a depth.

    Parameters
    ----------
    depth : int
        Number of layers.
    budget : float
        Allowed growth of the squared gradient norm over that depth.
    mean : float
        Mean of the fixed point, 0.
    var : float
        Variance of the fixed point.
    alpha : float
        Alpha of the ELU inside.
    scale : float
        Scale (lambda).
    saturation : float
        Limit at minus infinity, -scale * alpha.
    chi : float
        Growth of the squared gradient norm per layer.
    growth : float
        Its growth over all layers, chi**depth.

    Examples
    --------
    >>> from selfnorm.theory import match_depth
    >>> match_depth(8).var
    1.0
    """

    depth: int
    budget: float
    mean: float
    var: float
    alpha: float
    scale: float
    saturation: float
    chi: float
    growth: float


def match_depth(depth: int, *, budget: float = math.e, max_var: float = 1.0) -> DepthMatch:
    """Find the SELU with the largest target variance whose gradients a depth can bear.

    The largest var <= max_var with chi(var)**depth <= budget, where chi(var) = E f'(z)^2 is the
    growth of squared gradient norms per layer of the SELU whose fixed point is (0, var). chi
    grows with var from 1; a smaller variance therefore keeps gradients over more layers, and pulls
    activations back more slowly.

    Parameters
    ----------
    depth : int
        Number of layers, at least 1.
    budget : float
        Allowed growth of the squared gradient norm over all layers, greater than 1.
    max_var : float
        Upper end of the search, greater than 0. With the default, networks that are shallow
        enough get the standard SELU.

    Returns
    -------
    DepthMatch
        Variance, constants and gradient growth. Scale the network's input to ``var`` as well.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, or the depth needs a variance below 1e-12.

    Examples
    --------
    >>> from selfnorm.theory import match_depth
    >>> deep = match_depth(100)
    >>> print(f"{deep.var:.6f} {deep.alpha:.6f} {deep.scale:.6f} {deep.growth:.6f}")
    0.098614 1.202200 1.022296 2.718282
    """
    layers = layer_count(depth)
    budget = positive_number("budget", budget, "gradients grow at every depth.")
    require(
        budget > 1.0,
        "budget",
        budget,
        "greater than 1",
        "every SELU lets gradients grow a little; ask for a growth such as 2.",
    )
    var = positive_number("max_var", max_var, "the default is 1, the standard SELU.")
    allowed = math.log(budget) / layers
    if _log_chi(var) > allowed:
        low, high = math.log(_SMALLEST), math.log(var)
        if low >= high or _log_chi(_SMALLEST) > allowed:
            raise DomainError(
                f"depth={layers} with budget={budget:g} needs a variance below {_SMALLEST:g}; "
                "choose a smaller depth or a larger budget."
            )
        while high - low > 1e-15 * max(1.0, abs(low)):
            middle = 0.5 * (low + high)
            if middle in (low, high):
                break
            if _log_chi(math.exp(middle)) > allowed:
                high = middle
            else:
                low = middle
        var = math.exp(low)
    alpha, scale, central = design(0.0, var, 0.0, var)
    log_chi = math.log(float(central.gain[0]))
    return DepthMatch(
        depth=layers,
        budget=budget,
        mean=0.0,
        var=var,
        alpha=alpha,
        scale=scale,
        saturation=-scale * alpha,
        chi=math.exp(log_chi),
        growth=math.exp(layers * log_chi),
    )


def _log_chi(var: float) -> float:
    _, _, central = design(0.0, var, 0.0, var)
    return math.log(float(central.gain[0]))
