"""Activations tailored to a depth: deep kernel shaping and tailored activation transformation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from selfnorm.errors import ConvergenceError, DomainError
from selfnorm.theory._activation_type import Activation
from selfnorm.theory._activations import activation
from selfnorm.theory._local_moments import LocalMoments, local_moments
from selfnorm.theory._validation import Array, layer_count, real_number, require

# Where solutions of DKS are sought: squares of the input scale, and input shifts, dense around 0.
_LOG_X: Final = np.linspace(math.log(1e-7), math.log(30.0), 53)
_SHIFTS: Final = 0.02 * np.sinh(np.linspace(-1.0, 1.0, 69) * math.asinh(6.0 / 0.02))
# Cells of that grid at whose corners a residual exceeds this hold a pole and no root.
_POLE: Final = 30.0
_ACCEPTED: Final = 1e-9
_SOLVER: Final = {"xtol": 1e-13, "maxfev": 60}
_SMALLEST_PIECE: Final = 8
# A solution where the activation is flatter than this share of the steepest one lies in a tail.
_TAIL: Final = 1.0 / 3.0
_DEEPER: Final = 0.999  # the step in C'(1) - 1 by which a branch is followed


@dataclass(frozen=True)
class Tailored:
    """An activation tailored to a depth.

    The activation is output_scale * (f(input_scale * x + input_shift) + output_shift).

    Parameters
    ----------
    input_scale : float
        Factor of the input, greater than 0.
    input_shift : float
        Added to the scaled input.
    output_shift : float
        Added to f.
    output_scale : float
        Factor of all, greater than 0.
    activation : Activation
        The function f; under TAT the leaky ReLU with the slope found.
    method : str
        "dks" or "tat".
    depth : int
        Number of layers it is meant for.
    residual : float
        Largest absolute error of the conditions, evaluated at the solution.
    others : tuple of (float, float)
        Input scale and input shift of the other solutions.

    Examples
    --------
    >>> from selfnorm.theory import tailor
    >>> tailor("selu", 8).residual < 1e-9
    True
    """

    input_scale: float
    input_shift: float
    output_shift: float
    output_scale: float
    activation: Activation = field(repr=False, compare=False)
    method: str
    depth: int
    residual: float
    others: tuple[tuple[float, float], ...] = ()


def tailor(
    act: Any,
    depth: int,
    zeta: float = 1.5,
    *,
    method: str = "dks",
    eta: float = 0.9,
    branch: str = "small_input_scale",
) -> Tailored:
    r"""Tailor an activation to the depth of a multilayer perceptron.

    g(x) = output_scale (f(input_scale x + input_shift) + output_shift) shall have, with the
    second-moment map Q(s) = E g(sqrt(s) z)^2 and the correlation map C of a layer,

    * under ``dks``: Q(1) = 1, Q'(1) = 1, C(0) = 0, C'(1) = zeta^(1/depth). With m, v the moments
      of f(u), u ~ N(input_shift, x), x = input_scale^2, that is output_shift = -m,
      output_scale = v^(-1/2), x dv/dx = v and x E f'(u)^2 = zeta^(1/depth) v.
    * under ``tat``, for leaky ReLU: Q(s) = s by output_scale = sqrt(2/(1 + a^2)), and the slope a
      with C(C(...C(0))) = eta over the depth, where C(c) = c + (1-a)^2/(pi (1+a^2))
      (sqrt(1-c^2) - c arccos c).

    Parameters
    ----------
    act : str, callable or Activation
        The activation; see `activation`. Under ``tat`` leaky_relu, whose own slope is replaced.
    depth : int
        Number of layers, at least 1.
    zeta : float
        Under ``dks`` the slope at 1 of the whole network's correlation map, greater than 1.
    method : {"dks", "tat"}
        Deep kernel shaping or tailored activation transformation.
    eta : float
        Under ``tat`` the correlation that uncorrelated inputs have after all layers, between 0
        and 1.
    branch : {"small_input_scale", "large_input_scale"}
        Under ``dks`` the family of solutions: the one whose input scale shrinks towards 0 as the
        depth grows, which exists at every depth, or the one whose input scale grows, which SELU
        has from depth 12 on.

    Returns
    -------
    Tailored
        The four numbers, what they leave of the conditions, and the other solutions.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, if the method does not apply to the activation
        (``tat`` for any other than leaky ReLU, ``dks`` for piecewise linear ones with one kink), if
        it has no solution of the branch, or if eta cannot be reached at that depth.
    ConvergenceError
        If no solution was found whose conditions hold to 1e-9.

    Notes
    -----
    Weights: of sum of squares 1, orthogonal or Gaussian; biases 0. Inputs: each vector scaled to
    mean square 1. Solutions are sought for input scales from 0.0003 to 5 and input shifts within
    +-6, and each is polished; those in a tail, where f is flatter than a third of the steepest
    solution, are listed in ``others`` and never chosen. Of two solutions with the same input scale
    the one with the input shift nearer to 0, then the positive one, comes first. Deterministic.
    SELU and ELU take up to half a second, activations without closed-form moments one or two.

    References
    ----------
    Martens, Ballard, Desjardins, Swirszcz, Dalibard, Sohl-Dickstein, Schoenholz, "Rapid training
    of deep neural networks without skip connections or normalization layers using Deep Kernel
    Shaping", 2021, arXiv:2110.01765. Zhang, Botev, Martens, "Deep Learning without Shortcuts:
    Shaping the Kernel with Tailored Rectifiers", ICLR 2022, arXiv:2203.08120.

    Examples
    --------
    >>> from selfnorm.theory import tailor
    >>> t = tailor("selu", 8)
    >>> print(f"{t.input_scale:.11f} {t.input_shift:.11f}")
    0.35245331715 -0.66768513061
    >>> print(f"{t.output_shift:.11f} {t.output_scale:.10f}")
    0.80235787224 2.9818523084
    >>> t = tailor("leaky_relu", 50, method="tat")
    >>> print(f"{t.activation.parameters['negative_slope']:.6f}")
    0.430523
    """
    f = activation(act)
    layers = layer_count(depth)
    zeta, eta = real_number("zeta", zeta), real_number("eta", eta)
    for name, value, known in (
        ("method", method, ("dks", "tat")),
        ("branch", branch, ("small_input_scale", "large_input_scale")),
    ):
        require(value in known, name, value, " or ".join(map(repr, known)), "choose one of them.")
    require(zeta > 1.0, "zeta", zeta, "greater than 1", "1 would be a linear network; try 1.5.")
    require(0.0 < eta < 1.0, "eta", eta, "between 0 and 1, both excluded", "try 0.9.")
    if method == "tat":
        return _tat(f, layers, eta)
    return _dks(f, layers, zeta, branch)


def _tat(f: Activation, depth: int, eta: float) -> Tailored:
    if f.name not in ("leaky_relu", "relu", "prelu"):
        reason = (
            f"the slope of {f.name} jumps, which makes the second derivative of the correlation "
            "map at 1 infinite, the very number that TAT sets for an activation that is not a "
            "leaky ReLU"
            if f.kinks
            else f"for a smooth activation such as {f.name} TAT sets a second derivative of the "
            "correlation map, which this function does not offer"
        )
        raise DomainError(
            f"TAT must be given leaky_relu, however: act={f.name}; {reason}. Use method='dks'."
        )

    def correlation(slope: float) -> float:
        """Correlation after all layers of two inputs that had none."""
        share = (1.0 - slope) ** 2 / (math.pi * (1.0 + slope * slope))
        c = 0.0
        for _ in range(depth):
            c = min(c + share * (math.sqrt(1.0 - c * c) - c * math.acos(c)), 1.0)
        return c

    from scipy.optimize import brentq  # takes 0.1 s to import

    highest = correlation(0.0)
    if highest < eta:
        raise DomainError(
            f"eta must be within reach, however: eta={eta:g} and at depth={depth} even slope 0 "
            f"(ReLU) brings uncorrelated inputs to {highest:.6g} only; choose eta below that, or "
            "method='dks'."
        )
    slope = float(brentq(lambda a: correlation(a) - eta, 0.0, 1.0, xtol=1e-15, rtol=1e-14))
    residual = abs(correlation(slope) - eta)
    if residual > _ACCEPTED:
        raise ConvergenceError(
            f"no slope meets eta={eta:g} at depth={depth} to {_ACCEPTED:g}; what is left is "
            f"{residual:.3g}. The depth is beyond double precision: choose a smaller one."
        )
    return Tailored(
        input_scale=1.0,
        input_shift=0.0,
        output_shift=0.0,
        output_scale=math.sqrt(2.0 / (1.0 + slope * slope)),
        activation=activation("leaky_relu", negative_slope=slope),
        method="tat",
        depth=depth,
        residual=residual,
    )


def _dks(f: Activation, depth: int, zeta: float, branch: str) -> Tailored:
    if f.name in ("identity", "leaky_relu", "prelu", "relu"):
        raise DomainError(
            f"DKS does not apply to {f.name}: for an activation that is linear on each side of 0 "
            "only the ratio of input shift to input scale matters, and one number cannot meet two "
            "conditions; use method='tat' for leaky_relu."
        )
    target = zeta ** (1.0 / depth)
    growth, slope = _residuals(_on_grid(f), target)
    found: list[tuple[float, float]] = []
    for i, j in np.argwhere(_may_vanish(growth) & _may_vanish(slope)):
        start = [0.5 * (_SHIFTS[i] + _SHIFTS[i + 1]), 0.5 * (_LOG_X[j] + _LOG_X[j + 1])]
        solution = _polished(f, target, start)
        if solution is not None and all(_apart(solution, other) for other in found):
            found.append(solution)
    if not found:
        raise ConvergenceError(
            f"DKS found no solution for {f.name} at depth={depth}, zeta={zeta:g}. Probable causes: "
            "a kink lets the conditions contradict each other at small input scales, or the "
            f"target C'(1) = {target:.6g} asks for an input scale outside 0.0003 to 5; choose "
            "another activation, depth or zeta."
        )
    results = [_tailored(f, depth, target, *solution) for solution in found]
    # 1/(output_scale * input_scale) is how steep f is there.
    steepest = min(r.output_scale * r.input_scale for r in results)

    def chosen(k: int) -> bool:
        in_tail = _TAIL * results[k].output_scale * results[k].input_scale > steepest
        return not in_tail and _shrinks(f, target, found[k]) == (branch == "small_input_scale")

    def rank(k: int) -> tuple[Any, ...]:
        scale, shift = results[k].input_scale, results[k].input_shift
        return not chosen(k), round(math.log(scale), 8), round(abs(shift), 8), shift < 0.0

    order = sorted(range(len(results)), key=rank)
    scales = tuple((results[k].input_scale, results[k].input_shift) for k in order)
    if not chosen(order[0]):
        raise DomainError(
            f"branch={branch!r} must exist, however: {f.name} at depth={depth}, zeta={zeta:g} has "
            f"none, only (input scale, input shift) = {scales}; choose the other branch."
        )
    return Tailored(**{**vars(results[order[0]]), "others": scales[1:]})


def _shrinks(f: Activation, target: float, solution: tuple[float, float]) -> bool:
    """Whether the input scale of this solution shrinks as the network grows deeper."""
    deeper = _polished(f, 1.0 + (target - 1.0) * _DEEPER, list(solution))
    return deeper is not None and deeper[1] < solution[1]


def _on_grid(f: Activation) -> LocalMoments:
    """All local moments on the grid, NaN where they do not exist."""
    y, log_x = np.meshgrid(_SHIFTS, _LOG_X, indexing="ij")
    columns = _as_far_as_they_exist(f, y.ravel(), np.exp(log_x).ravel())
    return LocalMoments(*(column.reshape(y.shape) for column in columns))


def _as_far_as_they_exist(f: Activation, y: Array, x: Array) -> list[Array]:
    try:
        return list(local_moments(f, y, x))
    except (ConvergenceError, DomainError):
        if y.size <= _SMALLEST_PIECE:
            return [np.full(y.size, np.nan) for _ in LocalMoments._fields]
        half = y.size // 2
        pieces = (
            _as_far_as_they_exist(f, y[:half], x[:half]),
            _as_far_as_they_exist(f, y[half:], x[half:]),
        )
        return [np.concatenate(columns) for columns in zip(*pieces, strict=True)]


def _residuals(local: LocalMoments, target: float) -> tuple[Any, Any]:
    """Q'(1) - 1 and (C'(1) - 1)/(target - 1) - 1 on the grid."""
    x = np.exp(_LOG_X)
    with np.errstate(all="ignore"):
        growth = x * local.var_x / local.var - 1.0
        slope = (x * local.gain / local.var - target) / (target - 1.0)
    return growth, slope


def _may_vanish(values: Array) -> Any:
    corners = np.stack([values[:-1, :-1], values[1:, :-1], values[:-1, 1:], values[1:, 1:]])
    with np.errstate(invalid="ignore"):
        low, high = corners.min(axis=0), corners.max(axis=0)
        return (low <= 0.0) & (high >= 0.0) & ((low > -_POLE) | (high < _POLE))


def _polished(f: Activation, target: float, start: list[float]) -> tuple[float, float] | None:
    """Input shift and log of the squared input scale of the solution near a start."""
    from scipy.optimize import root  # takes 0.1 s to import

    def conditions(at: Array) -> Array:
        x = math.exp(min(max(float(at[1]), -40.0), 40.0))
        local = local_moments(f, float(at[0]), x)
        if not local.var > 0.0:
            return np.full(2, 1e6)
        growth = x * local.var_x / local.var - 1.0
        return np.array([growth, x * local.gain / local.var - target]) / (target - 1.0)

    try:
        result = root(conditions, np.array(start), method="hybr", options=_SOLVER)
        left = float(np.abs(conditions(result.x)).max()) * (target - 1.0)
    except (ConvergenceError, DomainError):
        return None
    shift, log_x = (float(value) for value in result.x)
    inside = abs(shift) <= _SHIFTS[-1] and _LOG_X[0] <= log_x <= _LOG_X[-1]
    # The conditions must hold to a part in a million of what distinguishes them from linearity.
    return (shift, log_x) if inside and left < min(_ACCEPTED, 1e-6 * (target - 1.0)) else None


def _tailored(f: Activation, depth: int, target: float, shift: float, log_x: float) -> Tailored:
    x = math.exp(log_x)
    local = local_moments(f, shift, x)
    return Tailored(
        input_scale=math.exp(0.5 * log_x),
        input_shift=shift,
        output_shift=-local.mean,
        output_scale=1.0 / math.sqrt(local.var),
        activation=f,
        method="dks",
        depth=depth,
        residual=max(
            abs(x * local.var_x / local.var - 1.0), abs(x * local.gain / local.var - target)
        ),
    )


def _apart(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return abs(a[1] - b[1]) > 1e-5 or abs(a[0] - b[0]) > 1e-5 * (abs(a[0]) + math.exp(0.5 * a[1]))
