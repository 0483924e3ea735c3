"""Fixed points of the moment map, found wherever they lie, attracting or not."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from selfnorm.errors import ConvergenceError, DomainError
from selfnorm.theory._activation_type import Activation
from selfnorm.theory._activations import activation
from selfnorm.theory._linear_algebra import attraction, spectral
from selfnorm.theory._moments import evaluate
from selfnorm.theory._validation import Array, positive_number, real_number

# Where fixed points are sought: pre-activation variances x, and for weight_sum != 0 means y = t
# sqrt(x). Two fixed points closer than a cell may be missed.
_LOG_VAR_LINE: Final = np.linspace(math.log(1e-12), math.log(1e12), 961)
_LOG_VAR_PLANE: Final = np.linspace(math.log(1e-10), math.log(1e10), 121)
_T_PLANE: Final = np.sinh(np.linspace(-4.0, 4.0, 41))
_NOISE: Final = 1e-9  # logarithmic changes of the variance below this are taken for zero
_ROUNDING: Final = 1e-12  # changes this small may be those of float64
_MOST_CELLS: Final = 64
_MOST_ISOLATED: Final = 16
_STEPS: Final = 60


@dataclass(frozen=True)
class FixedPoint:
    """A fixed point of the moment map, and how it behaves.

    Parameters
    ----------
    mean : float
        Mean of the fixed point.
    var : float
        Variance of the fixed point.
    weight_sum : float
        Sum of a unit's weights for which it is one.
    weight_sumsq : float
        Sum of their squares.
    jacobian : array
        Jacobian of the moment map there, 2 x 2.
    spectral_norm : float
        Its largest singular value; below 1 the map contracts there.
    spectral_radius : float
        Its largest absolute eigenvalue.
    stable : bool
        Whether the fixed point attracts: spectral_radius < 1.
    chi : float
        Growth of the squared gradient norm per layer, weight_sumsq * E f'(z)^2.
    residual : float
        What one application of the map changes: the larger of the change of the mean in standard
        deviations and the relative change of the variance.
    iterations : int
        Steps of Newton's method from the cell in which it was found.
    reason : str
        Why it is stable or not, and what else was found.
    others : tuple of (float, float)
        Mean and variance of the other fixed points with positive variance.

    Examples
    --------
    >>> from selfnorm.theory import fixed_point
    >>> fixed_point("selu").reason
    'attracting: spectral radius 0.782648'
    """

    mean: float
    var: float
    weight_sum: float
    weight_sumsq: float
    jacobian: Array = field(repr=False, compare=False)
    spectral_norm: float
    spectral_radius: float
    stable: bool
    chi: float
    residual: float
    iterations: int
    reason: str
    others: tuple[tuple[float, float], ...] = ()


def fixed_point(act: Any, *, weight_sum: float = 0.0, weight_sumsq: float = 1.0) -> FixedPoint:
    """Find the fixed point of the moment map of an activation.

    Solves moment_map(mean, var) = (mean, var) with var > 0. The map is not iterated: the
    plane of pre-activation moments is searched for cells in which both equations change sign, and
    each is polished by Newton's method. Repelling fixed points are found like attracting ones.

    Parameters
    ----------
    act : str, callable or Activation
        The activation; see `activation`.
    weight_sum : float
        Sum of a unit's weights (omega).
    weight_sumsq : float
        Sum of the squares of a unit's weights (tau), greater than 0.

    Returns
    -------
    FixedPoint
        The attracting fixed point, of several the one nearest to (0, 1); if none attracts, the
        nearest of the others with ``stable=False`` and the ``reason``. All others are listed.

    Raises
    ------
    ConvergenceError
        If there is no fixed point with positive variance; the message says what the variance does
        instead and which weights would change that.
    DomainError
        If an argument lies outside its domain.

    Notes
    -----
    Variances of the pre-activation from 1e-12 to 1e12 are searched (1e-10 to 1e10, and
    means up to 27 standard deviations, if weight_sum is not 0), for a callable as far as its
    moments exist. Two fixed points within a few per cent of each other may both be missed. Moments
    that are kept only to rounding, far from a kink, are not taken for a fixed point.
    Deterministic.

    References
    ----------
    Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks", NeurIPS 2017,
    arXiv:1706.02515.

    Examples
    --------
    >>> from selfnorm.theory import fixed_point
    >>> point = fixed_point("selu", weight_sumsq=0.8)
    >>> print(f"{point.var:.5f} {point.stable}")
    0.41071 True
    """
    f = activation(act)
    omega = real_number("weight_sum", weight_sum)
    tau = positive_number(
        "weight_sumsq", weight_sumsq, "with all weights 0 nothing reaches the next layer."
    )
    layer = _Layer(f, omega, tau)
    roots, trend = layer.on_line() if omega == 0.0 else layer.in_plane()
    points = [layer.describe(*root) for root in roots]
    if not points:
        raise ConvergenceError(layer.nothing_found(trend))
    points.sort(key=lambda p: (not p.stable, math.hypot(p.mean, math.log(p.var))))
    best, rest = points[0], points[1:]
    reason = best.reason
    if trend == "neutral" or len(points) > _MOST_ISOLATED:
        reason += "; it is one of a continuum of fixed points, none of which is restored"
        rest = []
    elif any(p.stable for p in rest):
        reason += "; not unique: others attract as well"
    elif rest:
        reason += "; others repel" if best.stable else "; none of the others attracts"
    others = tuple((p.mean, p.var) for p in rest)
    return FixedPoint(**{**_fields(best), "reason": reason, "others": others})


def _fields(point: FixedPoint) -> dict[str, Any]:
    return {name: getattr(point, name) for name in FixedPoint.__dataclass_fields__}


class _Layer:
    """The moment map for one activation and one pair of weight sums, in y and log x."""

    def __init__(self, f: Activation, omega: float, tau: float) -> None:
        self.f, self.omega, self.tau = f, omega, tau

    def excess(self, y: Array, log_x: Array) -> tuple[Array, Array]:
        """Change of y and of log x by the map: zero at a fixed point."""
        x = np.exp(log_x)
        mean, var, _ = evaluate(self.f.form.moments, self.f.form.chunk, y, x)
        with np.errstate(divide="ignore"):
            return self.omega * mean - y, np.log(self.tau * var / x)

    def scan(self, y: Array, log_x: Array) -> tuple[Array, Array]:
        """Evaluate the excess on rows of growing variance, up to where the moments exist."""
        shift, growth = np.full(y.shape, np.nan), np.full(y.shape, np.nan)
        for i in range(len(y)):
            try:
                shift[i], growth[i] = self.excess(y[i], log_x[i])
            except (ConvergenceError, DomainError):
                if i == 0:
                    raise
                break
        return shift, growth

    def on_line(self) -> tuple[list[tuple[float, float, int]], str]:
        """Find the fixed points for weight_sum = 0 and what the variance does at large."""
        grid = _LOG_VAR_LINE
        growth = self.scan(np.zeros((31, 31)), grid.reshape(31, 31))[1].ravel()
        growth = growth[np.isfinite(growth)]
        clear = np.flatnonzero(np.abs(growth) > _NOISE)
        if clear.size == 0:
            return [(0.0, math.log(self.tau), 0)], "neutral"
        sign = np.sign(growth[clear])
        roots = []
        for k in np.flatnonzero(sign[1:] != sign[:-1]):
            low, high = grid[clear[k]], grid[clear[k + 1]]
            log_x, steps = self._bracketed(float(low), float(high), float(sign[k]))
            roots.append((0.0, log_x, steps))
        if np.ptp(growth) < _NOISE:
            return roots, f"{math.exp(growth[0]):.12g}"
        return roots, _trend(sign)

    def _bracketed(self, low: float, high: float, sign: float) -> tuple[float, int]:
        """Newton's method on the growth of log x, held inside a bracket by bisection."""
        log_x = 0.5 * (low + high)
        for step in range(1, _STEPS + 1):
            (_, growth), slope = self.newton(0.0, log_x)
            if growth * sign > 0.0:
                low = log_x
            else:
                high = log_x
            change = -growth / slope[1, 1] if slope[1, 1] != 0.0 else math.inf
            if abs(change) < 1e-14 * max(1.0, abs(log_x)):
                return log_x, step
            log_x = log_x + change
            if not low < log_x < high:
                log_x = 0.5 * (low + high)
            if high - low < 1e-14 * max(1.0, abs(log_x)):
                return log_x, step
        return log_x, _STEPS

    def in_plane(self) -> tuple[list[tuple[float, float, int]], str]:
        """Find those for weight_sum != 0 and what the variance does where the mean is held."""
        log_x = np.broadcast_to(_LOG_VAR_PLANE[:, None], (_LOG_VAR_PLANE.size, _T_PLANE.size))
        y = _T_PLANE * np.exp(0.5 * log_x)
        shift, growth = self.scan(y, log_x)
        held, zero = _crossings(shift), _crossings(growth)
        # Far from a kink an activation is linear to rounding: a cell in which nothing changes holds
        # fixed points only if it is linear everywhere.
        still = np.maximum(np.abs(shift) / np.exp(0.5 * log_x), np.abs(growth)) < _ROUNDING
        linear = bool(still.all())
        quiet = still[:-1, :-1] & still[1:, :-1] & still[:-1, 1:] & still[1:, 1:] & (not linear)
        cells = np.argwhere(held & zero & ~quiet)
        if len(cells) > _MOST_CELLS:
            cells = cells[np.linspace(0, len(cells) - 1, _MOST_CELLS).astype(int)]
        roots: list[tuple[float, float, int]] = []
        for i, j in cells:
            start = 0.5 * (log_x[i, j] + log_x[i + 1, j])
            t = 0.5 * (_T_PLANE[j] + _T_PLANE[j + 1])
            root = self._polished(t * math.exp(0.5 * start), float(start))
            if root is None or (self._still(*root[:2]) and not linear):
                continue
            if all(_apart(root, other) for other in roots):
                roots.append(root)
        if (held & zero & quiet).any():
            return roots, "rounding"
        return roots, _trend(np.sign(growth[:-1, :-1][held]))

    def _still(self, y: float, log_x: float) -> bool:
        """Whether to rounding the points around a fixed point are fixed as well."""
        sd = math.exp(0.5 * log_x)
        slope = self.newton(y, log_x)[1] * np.array([[1.0, 1.0 / sd], [sd, 1.0]])
        return bool(np.abs(slope).max() < _NOISE)

    def _polished(self, y: float, log_x: float) -> tuple[float, float, int] | None:
        for step in range(1, _STEPS + 1):
            excess, slope = self.newton(y, log_x)
            if not (np.isfinite(excess).all() and np.isfinite(slope).all()):
                return None
            change = -np.linalg.lstsq(slope, np.array(excess), rcond=1e-12)[0]
            sd = math.exp(0.5 * log_x)
            size = max(abs(change[0]) / (sd + abs(y)), abs(change[1]))
            factor = min(1.0, 1.0 / size) if size > 0.0 else 1.0
            y, log_x = y + factor * float(change[0]), log_x + factor * float(change[1])
            if abs(log_x) > 60.0:
                return None
            if size < 1e-12:
                (shift, growth), _ = self.newton(y, log_x)
                held = abs(shift) < 1e-10 * (math.exp(0.5 * log_x) + abs(y))
                return (y, log_x, step) if held and abs(growth) < 1e-10 else None
        return None

    def newton(self, y: float, log_x: float) -> tuple[tuple[float, float], Array]:
        """Evaluate the excess at one point and its derivatives by y and log x."""
        at = np.array([y]), np.array([log_x])
        x = np.exp(at[1])
        shift, growth = self.excess(*at)
        _, var, _ = evaluate(self.f.form.moments, 1, at[0], x)
        columns = evaluate(self.f.form.jacobian, 1, at[0], x)
        with np.errstate(all="ignore"):
            mean_y, mean_x, var_y, var_x = (float(column[0]) for column in columns)
            ratio = float(x[0] / var[0])
            slope = np.array(
                [
                    [self.omega * mean_y - 1.0, self.omega * mean_x * float(x[0])],
                    [var_y / float(var[0]), var_x * ratio - 1.0],
                ]
            )
        return (float(shift[0]), float(growth[0])), slope

    def describe(self, y: float, log_x: float, iterations: int) -> FixedPoint:
        """All that is told about the fixed point with these pre-activation moments."""
        at = np.array([y]), np.array([math.exp(log_x)])
        form = self.f.form
        mean = float(evaluate(form.moments, 1, *at)[0][0])
        var = float(at[1][0]) / self.tau
        again = evaluate(form.moments, 1, np.array([mean * self.omega]), np.array([var * self.tau]))
        residual = max(
            abs(float(again[0][0]) - mean) / math.sqrt(var), abs(float(again[1][0]) / var - 1.0)
        )
        mean_y, mean_x, var_y, var_x = (float(v[0]) for v in evaluate(form.jacobian, 1, *at))
        jacobian = np.array(
            [
                [mean_y * self.omega, mean_x * self.tau],
                [var_y * self.omega, var_x * self.tau],
            ]
        )
        norm, radius = spectral(jacobian)
        stable, reason = attraction(radius)
        chi = self.tau * float(evaluate(lambda y, x: (form.gain(y, x),), 1, *at)[0][0])
        return FixedPoint(
            mean=mean,
            var=var,
            weight_sum=self.omega,
            weight_sumsq=self.tau,
            jacobian=jacobian,
            spectral_norm=norm,
            spectral_radius=radius,
            stable=stable,
            chi=chi,
            residual=residual,
            iterations=iterations,
            reason=reason,
        )

    def nothing_found(self, trend: str) -> str:
        """Why there is no fixed point, and what to change."""
        weights = f"weight_sum={self.omega:.12g}, weight_sumsq={self.tau:.12g}"
        start = f"{self.f.name} has no fixed point with positive variance at {weights}: "
        where, drift, nearer = "wherever it starts", "", ""
        if self.omega != 0.0:
            where = "wherever the mean is held"
            drift = "; from other means the mean moves and may run away"
            nearer = ", or a weight_sum nearer to 0"
        if trend == "shrinks":
            return start + (
                f"the variance shrinks from layer to layer towards 0 {where}{drift}. Probable "
                "causes: weight_sumsq is too small for this activation, or it is bounded or flat "
                f"around its mean; use a larger weight_sumsq{nearer}, or scale the activation."
            )
        if trend == "grows":
            return start + (
                f"the variance grows from layer to layer without bound {where}{drift}. Probable "
                "causes: weight_sumsq is too large for this activation; use a smaller "
                f"weight_sumsq{nearer}."
            )
        if trend == "rounding":
            return start + (
                "where the activation is the identity to rounding, float64 shows no change of mean "
                "and variance, but nothing holds them there. Use a weight_sum nearer to 0, or "
                "another weight_sumsq."
            )
        if trend == "unclear":
            return start + (
                "the search found no place where mean and variance are kept at once. Probable "
                "causes: weight_sum drives the mean away (use one nearer to 0), weight_sumsq is "
                "too large or too small, or the fixed point lies outside the range searched."
            )
        return start + (
            f"the activation is homogeneous, each layer multiplies every variance by {trend}; only "
            f"at weight_sumsq={self.tau / float(trend):.12g} is the variance kept, and then every "
            "variance is, so that none is restored."
        )


def _trend(sign: Array) -> str:
    if sign.size and (sign < 0.0).all():
        return "shrinks"
    if sign.size and (sign > 0.0).all():
        return "grows"
    return "unclear"


def _crossings(values: Array) -> Any:
    """Cells of a grid at whose corners the values do not all have the same sign."""
    corners = np.stack([values[:-1, :-1], values[1:, :-1], values[:-1, 1:], values[1:, 1:]])
    return (corners.min(axis=0) <= 0.0) & (corners.max(axis=0) >= 0.0)


def _apart(a: tuple[float, float, int], b: tuple[float, float, int]) -> bool:
    scale = math.exp(0.5 * a[1]) + abs(a[0])
    return abs(a[1] - b[1]) > 1e-6 or abs(a[0] - b[0]) > 1e-6 * scale
