"""The activation and the metric of a certificate, validated."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from selfnorm.errors import DomainError
from selfnorm.theory._box import ExactNumber, exact_fraction
from selfnorm.theory._certificate_balls import MapBalls, ball, flint, selu_balls
from selfnorm.theory._certificate_proof import Metric

if TYPE_CHECKING:
    from typing import Any

__all__ = ["BITS", "Constants", "constants_of", "metric_of"]

BITS = 96
"""Precision of the balls of a proof."""


class Constants(NamedTuple):
    """The exact constants of an activation, their balls and their doubles."""

    record: dict[str, str]
    balls: MapBalls
    alpha: Any
    scale: Any


def constants_of(
    var: ExactNumber | None, alpha: ExactNumber | None, scale: ExactNumber | None
) -> Constants:
    """Enclose the constants of a SELU given by its fixed point or of any SELU or ELU.

    Parameters
    ----------
    var : number or None
        The SELU with the fixed point (0, var); 1 if nothing is given.
    alpha, scale : number or None
        The constants themselves; ``scale`` is 1 (ELU) if only ``alpha`` is given.

    Returns
    -------
    Constants
        Exact record and enclosures.

    Raises
    ------
    DomainError
        If a number is not above 0, or ``var`` comes together with ``alpha`` or ``scale``.
    """
    given = {"var": var, "alpha": alpha, "scale": scale}
    exact = {
        name: exact_fraction(value, name, floats=True)
        for name, value in given.items()
        if value is not None
    }
    for name, value in exact.items():
        if value <= 0:
            raise DomainError(f"{name} must be above 0, however: {name}={given[name]!r}")
    if var is not None and len(exact) > 1:
        raise DomainError(
            "var fixes alpha and scale, however they came together: give var alone, or alpha and "
            "scale"
        )
    if scale is not None and alpha is None:
        raise DomainError("scale needs alpha beside it, however: alpha=None; give both")
    with flint("certify()").ctx.workprec(4 * BITS):
        if "alpha" in exact:
            exact.setdefault("scale", Fraction(1))
            balls = ball(exact["alpha"]), ball(exact["scale"])
        else:
            exact.setdefault("var", Fraction(1))
            balls = selu_balls(exact["var"])
        moments = MapBalls(*balls)
    names = {"var": "fixed_point_var", "alpha": "alpha", "scale": "scale"}
    record = {names[name]: str(value) for name, value in exact.items()}
    return Constants(record, moments, *balls)


def metric_of(name: str, mean_weight: float) -> Metric:
    """Validate a metric.

    Parameters
    ----------
    name : {"euclidean", "log-variance"}
        The metric.
    mean_weight : float
        Its weight of the mean, positive and finite.

    Returns
    -------
    Metric
        The two together.

    Raises
    ------
    DomainError
        If the name is unknown or the weight is not positive and finite.

    Examples
    --------
    >>> metric_of("euclidean", 1)
    Metric(name='euclidean', mean_weight=1.0)
    """
    if name not in ("euclidean", "log-variance"):
        raise DomainError(f"metric must be 'euclidean' or 'log-variance', however: metric={name!r}")
    weight = float(exact_fraction(mean_weight, "mean_weight", floats=True))
    if not 1e-9 <= weight <= 1e9:
        raise DomainError(
            f"mean_weight must lie between 1e-9 and 1e9, however: mean_weight={mean_weight!r}"
        )
    return Metric(name, weight)
