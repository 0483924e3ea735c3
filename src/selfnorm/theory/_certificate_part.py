"""One part of a certificate: which bounds to prove, the proof, or a point where it is false."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from selfnorm.errors import CertificateError
from selfnorm.theory._box import Box
from selfnorm.theory._certificate_inputs import Constants
from selfnorm.theory._certificate_proof import (
    Kind,
    Metric,
    Violation,
    prove,
    rectangle_of,
    value_at,
)
from selfnorm.theory._certificate_result import CertificatePart, Counterexample
from selfnorm.theory._certificate_search import (
    Array,
    jacobian_norm,
    largest,
    moments_at,
    sumsq_limit,
    weight_limit,
)

if TYPE_CHECKING:
    from typing import Any

__all__ = ["certify_part"]

_SLACK = 2e-4  # share of the room between an extreme value and the claim that a bound gives away
_ROUNDS = 10


class _Side(NamedTuple):
    """One inequality: sign * function(y, x) < sign * limit, where ``value`` of it is tightest."""

    function: Callable[[Array, Array], Array]
    sign: int
    limit: float
    fixed: bool

    def strain(self, y: Array, x: Array) -> Array:
        return self.sign * self.function(y, x)


def _sides(
    kind: Kind, box: Box, constants: Constants, metric: Metric, bound: float | None
) -> list[_Side]:
    alpha, scale = float(constants.alpha), float(constants.scale)

    def moments(y: Array, x: Array) -> Any:
        return moments_at(alpha, scale, y, x)

    def norm(y: Array, x: Array) -> Array:
        weight, sumsq = weight_limit(box, y), sumsq_limit(box, x)
        return jacobian_norm(moments(y, x), x, weight, sumsq, *metric)

    def above(y: Array, x: Array) -> Array:
        return np.asarray(moments(y, x).var - np.maximum(x / box.weight_sumsq[1], box.var[0]))

    def below(y: Array, x: Array) -> Array:
        return np.asarray(moments(y, x).var - np.minimum(x / box.weight_sumsq[0], box.var[1]))

    fixed = bound is not None
    if kind == "contraction":
        return [_Side(norm, 1, math.nextafter(1, 0) if bound is None else bound, fixed)]
    if kind == "variance_shrinks":
        return [_Side(above, 1, 0.0 if bound is None else bound, fixed)]
    if kind == "variance_grows":
        return [_Side(below, -1, 0.0 if bound is None else bound, fixed)]
    return [
        _Side(lambda y, x: moments(y, x).mean, -1, box.mean[0], False),
        _Side(lambda y, x: moments(y, x).mean, 1, box.mean[1], False),
        _Side(lambda y, x: moments(y, x).var, -1, box.var[0], False),
        _Side(lambda y, x: moments(y, x).var, 1, box.var[1], False),
    ]


def _provable(value: float, side: _Side) -> float:
    """Return a short number a little beyond the extreme value found, towards the limit."""
    gap = side.sign * (side.limit - value)
    if gap <= 0:
        return side.limit
    beyond = value + side.sign * _SLACK * gap
    unit = 10.0 ** (math.floor(math.log10(abs(beyond))) - 4) if beyond else 1e-12
    short = float(f"{side.sign * math.ceil(side.sign * beyond / unit) * unit:.5g}")
    return short if side.sign * (short - value) < gap / 2 else value + side.sign * gap / 2


def _point(kind: Kind, box: Box, y: float, x: float) -> tuple[float, float, float, float] | None:
    """Return a point of the box with this (y, x), the one that strains the claim most."""

    def clip(value: float, ends: tuple[float, float]) -> float:
        return min(max(value, ends[0]), ends[1])

    weights = [*box.weight_sum, *(y / mean for mean in box.mean if mean)]
    pairs = [
        (clip(y / weight if weight else 0.0, box.mean), weight)
        for weight in weights
        if box.weight_sum[0] <= weight <= box.weight_sum[1]
    ]
    near = [pair for pair in pairs if abs(pair[0] * pair[1] - y) <= 1e-12 * max(abs(y), 1e-300)]
    if not near:
        return None
    mean, weight = max(near, key=lambda pair: abs(pair[1]))
    if kind == "variance_shrinks":
        var = max(x / box.weight_sumsq[1], box.var[0])
    elif kind == "variance_grows":
        var = min(x / box.weight_sumsq[0], box.var[1])
    else:
        var = x / min(box.weight_sumsq[1], x / box.var[0])
    var = clip(var, box.var)
    return mean, var, weight, clip(x / var, box.weight_sumsq)


def _counterexample(
    kind: Kind,
    box: Box,
    constants: Constants,
    metric: Metric,
    limits: tuple[float, ...],
    where: tuple[float, float],
) -> Counterexample | None:
    """Confirm a violation of the limits at a point, or return None."""
    point = _point(kind, box, *where)
    if point is None:
        return None
    found = value_at(constants.balls, kind, point, metric)
    names = {
        "contraction": ("the spectral norm of the Jacobian",),
        "self_map": ("the new mean", "the new variance"),
    }.get(kind, ("the change of the variance",))
    low = kind == "variance_grows"
    sides = (
        [(0, limits[0], True), (0, limits[1], False), (1, limits[2], True), (1, limits[3], False)]
        if kind == "self_map"
        else [(0, limits[0], low)]
    )
    for index, limit, is_lower in sides:
        if found[index] < limit if is_lower else found[index] > limit:
            relation = "less" if is_lower else "greater"
            value = f"{float(found[index]):.12g}"
            statement = f"{names[index]} is {value}, {relation} than {limit:.12g}"
            return Counterexample(*point, statement)
    return None


def certify_part(
    kind: Kind,
    box: Box,
    constants: Constants,
    metric: Metric,
    bound: float | None,
    max_boxes: int,
    progress: Callable[[str, int, float], None] | None,
) -> CertificatePart | Counterexample:
    """Prove one inequality over a box, or find a point of the box where it is false.

    Parameters
    ----------
    kind : str
        What is bounded.
    box : Box
        Where.
    constants : Constants
        The activation.
    metric : Metric
        The metric of a contraction.
    bound : float or None
        The bound; chosen near the extreme value if None.
    max_boxes, progress
        As for ``certify``.

    Returns
    -------
    CertificatePart or Counterexample
        The proof, or a confirmed violation.

    Raises
    ------
    CertificateError
        If the claim is not decided within ``max_boxes``.
    """
    sides = _sides(kind, box, constants, metric, bound)
    limits = tuple(side.limit for side in sides)
    rectangle = rectangle_of(box)

    def refutes(y: float, x: float, against: tuple[float, ...]) -> Counterexample | None:
        return _counterexample(kind, box, constants, metric, against, (y, x))

    extremes = []
    for side in sides:
        value, y, x = largest(side.strain, rectangle)
        if value >= side.sign * side.limit and (refuted := refutes(y, x, limits)):
            return refuted
        extremes.append(side.sign * value)
    for _ in range(_ROUNDS):
        bounds = tuple(
            side.limit if side.fixed else _provable(value, side)
            for side, value in zip(sides, extremes, strict=True)
        )
        proof = prove(
            constants.balls,
            kind,
            box,
            bounds,
            metric,
            refuted=lambda y, x, bounds=bounds: refutes(y, x, bounds) is not None,  # type: ignore[misc]
            max_boxes=max_boxes,
            progress=progress,
        )
        if not isinstance(proof, Violation):
            return CertificatePart(kind, box, bounds, proof.leaves, proof.boxes)
        # The search in doubles had missed this point: the claim is false, or its bound too tight.
        if refuted := refutes(proof.y, proof.x, limits):
            return refuted
        # Go half of the way to the claim, from the worst value known.
        here = np.array([proof.y]), np.array([proof.x])
        worst = [
            side.sign * max(side.sign * value, float(side.strain(*here)[0]))
            for side, value in zip(sides, extremes, strict=True)
        ]
        extremes = [(value + side.limit) / 2 for side, value in zip(sides, worst, strict=True)]
    raise CertificateError(
        f"no bound for the {kind} of the claim was found in {_ROUNDS} rounds: the moment map "
        "varies too fast over the box; shrink the box or give a bound"
    )
