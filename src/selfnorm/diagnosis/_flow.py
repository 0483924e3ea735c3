"""Moments and their errors, carried through single operations by theory."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from selfnorm import theory
from selfnorm.diagnosis._weights import WeightFacts
from selfnorm.theory._finite_width import Dropping, Incoming, linearised

__all__ = [
    "Flow",
    "activated",
    "average",
    "dropped",
    "joined",
    "largest",
    "scaled",
    "settled",
    "shifted",
    "standardised",
    "summed",
    "weighted",
]

_Array = NDArray[np.float64]
_REACH: Final = 8.0  # beyond so many standard deviations a normal density is below 1e-14
# Their largest value is that of the largest pre-activation.
_INCREASING: Final = frozenset(
    [
        "celu",
        "elu",
        "hardtanh",
        "leaky_relu",
        "relu",
        "selu",
        "sigmoid",
        "softplus",
        "softsign",
        "tanh",
    ]
)
_LARGEST: Final = 1e60  # of variances: fourth moments stay numbers


@dataclass(frozen=True, eq=False)
class Flow:
    """What is known of a signal.

    ``mean`` and ``var`` have one entry for each unit, or one for all. ``errors`` has shape
    (sources, 2, 2): how the pooled mean and variance of one network and one row move with each
    independent source of chance; flows that share a source move together. ``normal`` says whether
    each unit is normal; ``made`` is the activation that made the flow and the normal flow before
    it; ``window`` is a maximum (count, correlation) that is still to be taken of normal numbers.
    """

    mean: _Array
    var: _Array
    errors: _Array
    normal: bool = False
    made: tuple[Any, Flow, int] | None = None
    window: tuple[int, float] | None = None

    @classmethod
    def of(cls, mean: float, var: float) -> Flow:
        """Return a flow of known moments, without error."""
        return cls(np.array([mean]), np.array([var]), np.zeros((0, 2, 2)))

    @property
    def pooled(self) -> tuple[float, float]:
        """Mean and variance over all units."""
        return float(self.mean.mean()), float(self.var.mean() + self.mean.var())

    @property
    def error(self) -> float:
        """Standard error of the pooled variance."""
        return float(np.sqrt(np.square(self.errors[:, 1, :]).sum()))

    @property
    def usable(self) -> bool:
        """Whether the numbers are finite, and small enough to go on with."""
        numbers = np.concatenate([np.abs(self.mean), self.var, np.abs(self.errors).ravel()])
        return bool(np.isfinite(numbers).all() and numbers.max() < _LARGEST)


def weighted(flow: Flow, facts: WeightFacts) -> Flow | None:
    """Take a flow through a layer: each unit becomes N(omega m + b, tau v)."""
    if not facts.finite:
        return None
    flow = settled(flow)
    m, v = flow.pooled
    bias = 0.0 if facts.bias is None else facts.bias
    # The rows' own sums spread the means of units: that is variance as well.
    jacobian = np.array([[facts.sums.mean(), 0.0], [2.0 * m * facts.sums.var(), facts.tau]])
    made = Flow(facts.sums * m + bias, facts.sumsq * v, jacobian @ flow.errors, normal=True)
    return made if made.usable else None


def activated(flow: Flow, act: Any, units: int, sources: int) -> Flow | None:
    """Apply an activation to normal numbers; ``sources`` counts those of chance so far."""
    if not flow.normal:
        return None
    before = replace(flow, window=None)
    means, variances, _ = theory.moments(act, flow.mean, flow.var)
    errors = _errors((act, before, units), Dropping(0.0, 0.0, 1.0, 0.0), sources)
    made = (act, before, units)
    result = Flow(np.atleast_1d(means), np.atleast_1d(variances), errors, made=made)
    if flow.window is not None:
        result = _pooled(result, *_of_largest(act, before, *flow.window))
    return result if result.usable else None


def dropped(flow: Flow, drop: Dropping, units: int, sources: int) -> Flow | None:
    """Drop to a value with probability p, then map by a x + b."""
    flow = settled(flow)
    keep = 1.0 - drop.p
    distance = flow.mean - drop.value
    mean = drop.a * (keep * flow.mean + drop.p * drop.value) + drop.b
    var = drop.a**2 * keep * (flow.var + drop.p * distance**2)
    if flow.made is not None:
        errors = _errors(flow.made, drop, sources)
    else:
        m, v = flow.pooled
        far = m - drop.value
        jacobian = np.array(
            [[drop.a * keep, 0.0], [2.0 * drop.a**2 * drop.p * keep * far, drop.a**2 * keep]]
        )
        # Of n numbers that were normal before: the mask's part of the errors of mean and square.
        mask = drop.p * keep * drop.a**2 / units * np.array([far**2 + v, 3.0 * drop.a**2 * v * v])
        errors = _with_source(jacobian @ flow.errors, np.diag(np.sqrt(mask)), sources)
    result = Flow(mean, var, errors)
    return result if result.usable else None


def scaled(flow: Flow, factor: float, shift: float = 0.0) -> Flow:
    """Return the flow of factor * x + shift."""
    if factor < 0.0 or flow.window is not None:
        flow = settled(flow)
    errors = np.array([[factor], [factor**2]]) * flow.errors
    return Flow(factor * flow.mean + shift, factor**2 * flow.var, errors, flow.normal)


def shifted(flow: Flow, by: _Array) -> Flow:
    """Return the flow with a number added to each unit."""
    flow = settled(flow)
    return replace(flow, mean=flow.mean + by, var=flow.var + np.zeros(by.size), made=None)


def summed(one: Flow, other: Flow, sign: float, units: int, sources: int) -> Flow:
    """Return the flow of a sum of branches whose weights are independent."""
    one, other = settled(one), scaled(settled(other), sign)
    if one.mean.size != other.mean.size:
        one, other = (_as_one(flow) for flow in (one, other))
    errors = _aligned(one.errors, sources) + _aligned(other.errors, sources)
    # Branches are uncorrelated on average; over n units their correlation varies by 1/sqrt(n).
    cross = 2.0 * np.sqrt(one.pooled[1] * other.pooled[1] / units)
    errors = _with_source(errors, np.diag([0.0, cross]), sources)
    return Flow(one.mean + other.mean, one.var + other.var, errors, one.normal and other.normal)


def _as_one(flow: Flow) -> Flow:
    mean, var = flow.pooled
    return Flow(np.array([mean]), np.array([var]), flow.errors, flow.normal)


def joined(parts: list[Flow], shares: list[float]) -> Flow:
    """Return the flow of parts side by side."""
    parts = [settled(one) for one in parts]
    most = max(len(one.errors) for one in parts)
    moments = [one.pooled for one in parts]
    mean = sum(s * m for s, (m, _) in zip(shares, moments, strict=True))
    var = sum(s * (v + (m - mean) ** 2) for s, (m, v) in zip(shares, moments, strict=True))
    errors = np.zeros((most, 2, 2))
    for share, (m, _), one in zip(shares, moments, parts, strict=True):
        jacobian = np.array([[share, 0.0], [2.0 * share * (m - mean), share]])
        errors += _aligned(jacobian @ one.errors, most)
    return Flow(np.array([mean]), np.array([var]), errors, all(one.normal for one in parts))


def standardised(flow: Flow, by_unit: bool, gain: Any, bias: Any) -> Flow:
    """Return the flow behind a normalisation: of each unit over the rows, or of each row."""
    flow = settled(flow)
    m, v = flow.pooled
    gain, bias = (np.atleast_1d(np.asarray(one, np.float64)) for one in (gain, bias))
    mean = np.zeros(1) if by_unit else (flow.mean - m) / np.sqrt(v)
    var = np.ones(1) if by_unit else flow.var / v
    if {mean.size, gain.size, bias.size} - {1, gain.size}:
        mean, var = np.zeros(1), np.ones(1)
    mean, var = gain * mean + bias, gain**2 * var
    size = max(mean.size, var.size)
    return Flow(mean + np.zeros(size), var + np.zeros(size), np.zeros((0, 2, 2)), flow.normal)


def average(flow: Flow, ratio: float) -> Flow:
    """Return the flow of averages whose variance is a known part of that before."""
    m, v = settled(flow).pooled
    return replace(_pooled(flow, m, v * ratio), normal=flow.normal)


def largest(flow: Flow, count: int, correlation: float) -> Flow | None:
    """Return the flow of maxima over windows, of numbers of one correlation."""
    if flow.made is not None:
        act, before, _ = flow.made
        if act.name not in _INCREASING:
            return None
        return _pooled(flow, *_of_largest(act, before, count, correlation))
    if flow.normal and flow.window is None:
        return replace(flow, window=(count, correlation))  # an activation may follow
    return None


def settled(flow: Flow) -> Flow:
    """Take a maximum that is still to be taken."""
    if flow.window is None:
        return flow
    return _pooled(flow, *_of_largest(theory.activation("identity"), flow, *flow.window))


def _pooled(flow: Flow, mean: float, var: float) -> Flow:
    """Give a flow new pooled moments; the errors of its variance keep their proportion."""
    before = flow.pooled[1]
    factor = var / before if before > 0.0 else 0.0
    return Flow(np.array([mean]), np.array([var]), np.array([[1.0], [factor]]) * flow.errors)


def _errors(made: tuple[Any, Flow, int], drop: Dropping, sources: int) -> _Array:
    """Carry errors through an activation and its dropout; the sample of units adds a source."""
    act, before, units = made
    y, x = before.pooled
    one, zero = np.ones(1), np.zeros(1)
    incoming = Incoming(y, x, np.array([y]), np.array([x]), one, zero, one)
    jacobian, noise = linearised(act, incoming, drop)
    values, vectors = np.linalg.eigh(noise / units)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return _with_source(jacobian @ before.errors, root, sources)


def _aligned(errors: _Array, sources: int) -> _Array:
    """Return errors with an entry for each of so many sources."""
    return np.concatenate([errors, np.zeros((sources - len(errors), 2, 2))])


def _with_source(errors: _Array, root: _Array, sources: int) -> _Array:
    return np.concatenate([_aligned(errors, sources), root[None]])


def _of_largest(act: Any, before: Flow, count: int, correlation: float) -> tuple[float, float]:
    """Return the moments over all units of f of the largest of a window."""
    moments = (float(before.mean.mean()), float(before.mean.var()), float(before.var.mean()))
    return _largest(act, *moments, count, correlation)


@functools.lru_cache(maxsize=256)
def _largest(
    act: Any, y: float, spread: float, x: float, count: int, c: float
) -> tuple[float, float]:
    """Return the moments of f of the largest of equally correlated numbers N(y, x).

    The means of units are taken as normal of variance ``spread``: all numbers of a window share
    that of their unit. As `selfnorm.theory.maximum_moments`, whose panels end at kinks; on a plain
    grid, to about 1e-3, in a hundredth of its time.
    """
    t = np.linspace(-_REACH, _REACH, 801)
    weights = np.exp(-0.5 * t * t + (count - 1) * log_ndtr(t))
    weights /= weights.sum()
    g, share = np.polynomial.hermite_e.hermegauss(41)
    common = np.sqrt(spread + c * x)
    values = act(y + common * g[:, None] + np.sqrt((1.0 - c) * x) * t)
    both = (share / share.sum())[:, None] * weights
    mean = float((both * values).sum())
    return mean, float((both * (values - mean) ** 2).sum())
