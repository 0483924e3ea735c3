"""In which range of weight scales an activation normalises itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from selfnorm.errors import ConvergenceError, DomainError
from selfnorm.theory._activation_type import Activation
from selfnorm.theory._activations import activation
from selfnorm.theory._moments import evaluate
from selfnorm.theory._validation import Array, require

# Where the response is searched for monotony, in ln var; its ends lie where an activation is
# as good as linear on each side of 0.
_GRID: Final = np.linspace(math.log(1e-12), math.log(1e12), 481)
_FLAT: Final = 1e-5  # a response below this at the far end is that of a sublinear activation
_AGREE: Final = 1e-3  # how well the slopes and the response must agree at the ends
_NOISE: Final = 1e-10  # relative changes of the response below this are rounding
_SNAP: Final = 1e-8  # an extremum this near to a limit is the limit


class WeightScaleRange(NamedTuple):
    """The open range of weight_sumsq in which an activation has a unique attracting fixed point.

    Parameters
    ----------
    low : float
        Lower end; below it the variance dies out.
    high : float
        Upper end; above it the variance grows without bound. inf where it never does.

    Examples
    --------
    >>> from selfnorm.theory import weight_scale_range
    >>> weight_scale_range("tanh")
    WeightScaleRange(low=1.0, high=inf)
    """

    low: float
    high: float


def weight_scale_range(act: Any, *, form: str = "centered") -> WeightScaleRange | None:
    r"""Find the weight scales at which an activation normalises itself.

    With R(x) = Var f(z)/x (centered) or E f(z)^2/x (mean field), z ~ N(0, x), the moment map keeps
    the pre-activation variance x if weight_sumsq R(x) = 1, and restores it if R falls there. The
    range is that of the weight_sumsq for which exactly one such x > 0 exists and attracts; where R
    falls throughout, it is (1/R(0), 1/R(inf)), and both limits follow from the slopes of the
    activation: with r to the right, l to the left, R tends to (r^2 + l^2)/2 in mean field, and to
    that less (r - l)^2/(2 pi) for centred weights.

    Parameters
    ----------
    act : str, callable or Activation
        The activation; see `activation`.
    form : {"centered", "mean_field"}
        Weights of sum 0, so that a mean is not passed on, or independent weights, which pass
        the whole second moment on.

    Returns
    -------
    WeightScaleRange or None
        The ends (low, high), both excluded; high is inf for activations that grow more slowly
        than linearly, low is 0 where f(0) != 0 feeds the second moment in mean field. None where
        no weight scale gives a unique attracting fixed point, as for ReLU and GELU. If there are
        several ranges, the widest in ratio.

    Raises
    ------
    DomainError
        If the form is not known, or the activation has no limits of its slope at 0 and at both
        infinities that agree with its moments.
    ConvergenceError
        If the quadrature does not converge.

    Notes
    -----
    The limits are exact; an end that is an interior extremum of R is accurate to 1e-10. Monotony is
    tested on 481 variances from 1e-12 to 1e12: a numerical finding, not a proof.

    References
    ----------
    Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks", NeurIPS 2017,
    arXiv:1706.02515, whose Theorem 1 covers weight_sumsq in [0.95, 1.1].

    Examples
    --------
    >>> from selfnorm.theory import weight_scale_range
    >>> low, high = weight_scale_range("selu")
    >>> print(f"{low:.12f} {high:.11f}")
    0.495589300656 2.65757004052
    >>> low, high = weight_scale_range("selu", form="mean_field")
    >>> print(f"{low:.12f} {high:.10f}")
    0.476771017883 1.8116392234
    >>> print(weight_scale_range("gelu"))
    None
    """
    require(
        form in ("centered", "mean_field"),
        "form",
        form,
        "'centered' or 'mean_field'",
        "use mean_field for a network with independent random weights.",
    )
    f = activation(act)
    centred = form == "centered"

    def response(log_x: Array) -> Array:
        x = np.exp(log_x)
        mean, var, _ = evaluate(f.form.moments, f.form.chunk, np.zeros_like(x), x)
        result: Array = (var if centred else var + mean * mean) / x
        return result

    inner = response(_GRID)
    first, last = _limits(f, centred, float(inner[0]), float(inner[-1]))
    # The limits replace the outermost grid points.
    values = np.concatenate([[first], inner[1:-1], [last]])
    above = np.minimum.accumulate(values)[:-1]  # levels below this are not reached before
    below = np.maximum.accumulate(values[::-1])[::-1][1:]  # levels above this, not afterwards
    runs = _runs(above > below * (1.0 + _NOISE))
    if not runs:
        return None
    ranges = []
    for start, stop in runs:
        high_level = _refined(response, values, int(np.argmin(values[: start + 1])), 1.0)
        rest = stop + 1 + int(np.argmax(values[stop + 1 :]))
        low_level = _refined(response, values, rest, -1.0)
        ranges.append(WeightScaleRange(_inverse(high_level), _inverse(low_level)))
    return max(ranges, key=lambda r: r.high / r.low if r.low > 0.0 else math.inf)


def _limits(f: Activation, centred: bool, first: float, last: float) -> tuple[float, float]:
    """Compute the response at variance 0 and at infinity, by the slopes on both sides."""
    near = math.inf if not centred and f(0.0) != 0.0 else _linear(f, 1e-300, centred)
    if math.isfinite(near):
        _compare(f, "0", near, first)
    far = 0.0 if last < _FLAT else _linear(f, 1e10, centred)
    if far > 0.0:
        _compare(f, "infinity", far, last)
    return near, far


def _linear(f: Activation, at: float, centred: bool) -> float:
    right, left = f.derivative(at), f.derivative(-at)
    second: float = 0.5 * (right * right + left * left)
    return second - (right - left) ** 2 / (2.0 * math.pi) if centred else second


def _compare(f: Activation, where: str, by_slope: float, by_moments: float) -> None:
    if not abs(by_slope - by_moments) <= _AGREE * max(by_slope, _FLAT):
        raise DomainError(
            f"the slopes of {f.name} must have limits at 0 and at both infinities, however: at "
            f"{where} they give the response {by_slope:.6g}, its moments {by_moments:.6g}; pass "
            "derivative=… and kinks=… for a callable; one that grows faster than linearly has no "
            "range."
        )


def _runs(mask: Any) -> list[tuple[int, int]]:
    """First and last index of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    return [(int(a), int(b) - 1) for a, b in edges.reshape(-1, 2)]


def _refined(response: Callable[[Array], Array], values: Array, k: int, sign: float) -> float:
    """Minimum (sign 1) or maximum (sign -1) of the response near grid point k."""
    for end in (0, -1):
        # Near its ends the response is flat to rounding, and the limit itself is exact.
        if math.isclose(values[k], values[end], rel_tol=_SNAP):
            return float(values[end])
    from scipy.optimize import minimize_scalar  # takes 0.1 s to import, and is rarely needed

    found = minimize_scalar(
        lambda t: sign * float(response(np.array([t]))[0]),
        bounds=(_GRID[k - 1], _GRID[k + 1]),
        method="bounded",
        options={"xatol": 1e-7},
    )
    if not found.success:
        raise ConvergenceError(
            f"the extremum of the response near var={math.exp(_GRID[k]):g} was not found: "
            f"{found.message}."
        )
    return sign * float(found.fun)


def _inverse(level: float) -> float:
    return math.inf if level == 0.0 else 1.0 / level
