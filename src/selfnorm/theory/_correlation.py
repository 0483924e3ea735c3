"""How the correlation of two inputs, and gradients, develop with depth in mean field."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from selfnorm.errors import ConvergenceError, DomainError
from selfnorm.theory._activation_type import Activation
from selfnorm.theory._activations import activation
from selfnorm.theory._local_moments import local_moments
from selfnorm.theory._moments import evaluate, unwrap
from selfnorm.theory._quadrature import QuadratureForm
from selfnorm.theory._validation import (
    Array,
    positive_number,
    real_array,
    real_number,
    require,
    variance_array,
)

_NEAR_ONE: Final = 1.0 - 1e-6
_LOG_VAR: Final = np.linspace(math.log(1e-8), math.log(1e8), 321)
_FAINT: Final = 1e-9  # correlations below are taken as proportional to their effect
_NOISE: Final = 1e-10


def correlation_map(
    act: Any,
    c: Any,
    *,
    mean: float = 0.0,
    var: float = 1.0,
    weight_sumsq: float = 1.0,
    bias_var: float = 0.0,
) -> Any:
    r"""Map the correlation of two inputs' pre-activations to that of the next layer.

    For u, v ~ N(mean, var) with correlation c and independent weights,

    C(c) = (tau E f(u) f(v) + bias_var) / (tau E f(u)^2 + bias_var),   tau = weight_sumsq.

    Parameters
    ----------
    act : str, callable or Activation
        The activation; see `activation`.
    c : float or array
        Correlation, from -1 to 1.
    mean : float
        Mean of the pre-activations.
    var : float
        Variance of the pre-activations, greater than 0.
    weight_sumsq : float
        Sum of the squares of a unit's weights (tau), greater than 0.
    bias_var : float
        Variance of the biases, at least 0.

    Returns
    -------
    float or array
        The next layer's correlation, of the shape of c.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, or the activation is 0 there and there is no bias.
    ConvergenceError
        If the quadrature does not converge.

    Notes
    -----
    The variance need not be kept: C(1) = 1 always. E f(u) f(v) is integrated over what u and v
    share, the rest of each in closed form where `moments` has one; accuracy 1e-12, 2 ms a point
    (activations without a closed form: some 0.1 s).

    References
    ----------
    Poole, Lahiri, Raghu, Sohl-Dickstein, Ganguli, "Exponential expressivity in deep neural
    networks through transient chaos", NeurIPS 2016, arXiv:1606.05340.

    Examples
    --------
    >>> from selfnorm.theory import correlation_map
    >>> correlation_map("selu", [-0.5, 0.0, 0.5, 1.0]).round(6)
    array([-0.482661,  0.      ,  0.490569,  1.      ])
    >>> round(correlation_map("relu", 0.0), 12)  # 1/pi
    0.318309886184
    """
    f = activation(act)
    array = real_array("c", c)
    require(
        bool((np.abs(array) <= 1.0).all()),
        "c",
        c,
        "between -1 and 1",
        "a correlation cannot lie outside.",
    )
    layer = _layer(f, mean, var, weight_sumsq, bias_var)
    return unwrap(np.array([layer(float(x)) for x in array.ravel()]).reshape(array.shape))


@dataclass(frozen=True)
class DepthScale:
    """How far signals and gradients reach, in layers.

    Parameters
    ----------
    var : float
        Variance of the pre-activations for which this holds.
    slope_at_zero : float
        Slope of the correlation map at 0.
    slope_at_one : float
        Slope of the correlation map at 1; where ``var`` is kept, it is chi, the growth of squared
        gradient norms per layer.
    correlation : float
        The correlation in [0, 1] to which two inputs are drawn.
    slope : float
        Slope of the correlation map there.
    forward : float
        Layers in which a deviation from that correlation shrinks by the factor e, -1/ln slope;
        inf if the slope is 1.
    backward : float
        Layers in which squared gradient norms, and small differences of inputs, change by the
        factor e, 1/abs(ln slope_at_one); inf at the edge of chaos.

    Examples
    --------
    >>> from selfnorm.theory import depth_scale
    >>> depth_scale("relu", weight_sumsq=2.0, var=1.0).correlation
    1.0
    """

    var: float
    slope_at_zero: float
    slope_at_one: float
    correlation: float
    slope: float
    forward: float
    backward: float


def depth_scale(
    act: Any, *, weight_sumsq: float = 1.0, bias_var: float = 0.0, var: float | None = None
) -> DepthScale:
    r"""Compute over how many layers correlations and gradients survive, in mean field.

    With the correlation map C of `correlation_map` at the variance x that the layers keep,
    C'(c) = tau x E f'(u) f'(v) / (tau E f(u)^2 + bias_var). Two inputs are drawn to the fixed
    point c* = C(c*) with C'(c*) <= 1, and their deviation from it decays as exp(-l/forward) with
    forward = -1/ln C'(c*). Squared gradients change as exp(+-l/backward) with
    backward = 1/abs(ln C'(1)).

    Parameters
    ----------
    act : str, callable or Activation
        The activation; see `activation`.
    weight_sumsq : float
        Sum of the squares of a unit's weights (tau), greater than 0.
    bias_var : float
        Variance of the biases, at least 0.
    var : float, optional
        Variance of the pre-activations, greater than 0. By default the one that layers keep and
        restore, x = tau E f(z)^2 + bias_var, of several the one nearest to 1 in ratio; 1 if they
        keep every variance.

    Returns
    -------
    DepthScale
        Slopes at 0 and 1, the attracting correlation, and both depths.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, or no variance is kept and none was given.
    ConvergenceError
        If the quadrature does not converge.

    Notes
    -----
    For SELU c* = 0: two inputs become uncorrelated, over 33.6 layers, while gradients grow
    by e in 14.5.

    References
    ----------
    Schoenholz, Gilmer, Ganguli, Sohl-Dickstein, "Deep Information Propagation", ICLR 2017,
    arXiv:1611.01232.

    Examples
    --------
    >>> from selfnorm.theory import depth_scale
    >>> selu = depth_scale("selu")
    >>> print(f"{selu.slope_at_zero:.10f} {selu.forward:.2f} {selu.backward:.4f}")
    0.9706803523 33.60 14.4656
    """
    f = activation(act)
    tau = positive_number("weight_sumsq", weight_sumsq, "with all weights 0 nothing is passed on.")
    bias = _bias(bias_var)
    x = _kept_variance(f, tau, bias) if var is None else positive_number("var", var, _NO_SIGNAL)
    layer = _layer(f, 0.0, x, tau, bias)
    correlation = layer.attractor()
    at_zero, at_one, slope = (layer.slope(c) for c in (0.0, 1.0, correlation))
    return DepthScale(
        var=x,
        slope_at_zero=at_zero,
        slope_at_one=at_one,
        correlation=correlation,
        slope=slope,
        forward=_length(slope),
        backward=_length(at_one),
    )


_NO_SIGNAL = "a constant pre-activation has no correlation."


class _Layer(NamedTuple):
    """The correlation map at one pre-activation N(y, x)."""

    f: Activation
    y: float
    x: float
    tau: float
    bias: float
    mean: float
    second: float  # next layer's second moment, tau E f^2 + bias

    def __call__(self, c: float) -> float:
        if c == 1.0:
            return 1.0
        covariance = _covariance(self.f, self.y, self.x, c, 0)
        return (self.tau * (covariance + self.mean**2) + self.bias) / self.second

    def slope(self, c: float) -> float:
        """C'(c), by E f'(u) f'(v)."""
        if c == 1.0:
            product = float(local_moments(self.f, self.y, self.x).gain)
        else:
            mean_y = evaluate(self.f.form.jacobian, 1, np.array([self.y]), np.array([self.x]))[0]
            product = _covariance(self.f, self.y, self.x, c, 1) + float(mean_y[0]) ** 2
        return self.tau * self.x * product / self.second

    def attractor(self) -> float:
        """Find the largest fixed point in [0, 1] at which the map does not cross upwards.

        On [0, 1] the map is a power series with coefficients >= 0, hence convex: it meets the
        diagonal at 1 and at most once below.
        """
        if self.slope(1.0) <= 1.0 + _NOISE:
            return 1.0
        if self(0.0) <= _NOISE:
            return 0.0
        if self(_NEAR_ONE) >= _NEAR_ONE:
            return _NEAR_ONE
        return _root(lambda c: self(c) - c, 0.0, _NEAR_ONE)


def _layer(f: Activation, mean: Any, var: Any, weight_sumsq: Any, bias_var: Any) -> _Layer:
    y, x = real_number("mean", mean), positive_number("var", var, _NO_SIGNAL)
    tau = positive_number("weight_sumsq", weight_sumsq, "with all weights 0 nothing is passed on.")
    bias = _bias(bias_var)
    m, v = (float(e[0]) for e in evaluate(f.form.moments, 1, np.array([y]), np.array([x]))[:2])
    second = tau * (v + m * m) + bias
    if not second > 0.0:
        raise DomainError(
            f"the next layer needs a signal, however: {f.name} is 0 for pre-activations "
            f"N({y:g}, {x:g}) and bias_var=0; choose another mean or var."
        )
    return _Layer(f, y, x, tau, bias, m, second)


def _bias(value: Any) -> float:
    real_number("bias_var", value)
    return float(variance_array("bias_var", value))


def _covariance(f: Activation, y: float, x: float, c: float, column: int) -> float:
    """Cov[f(u), f(v)] (column 0) or Cov[f'(u), f'(v)] (column 1) for correlation c < 1.

    u and +-v share sqrt(abs c) w. With h(w) the mean of f given w, the covariance is Var h(w) for
    c >= 0; for c < 0 it is Cov[h(w), h(-w)], from Var[h(w) + h(-w)/2] = 5/4 Var h + Cov. (The
    plain sum would be nothing but rounding for an odd f.)
    """
    if c == 0.0:
        return 0.0
    if abs(c) < _FAINT:
        # A power series in c without constant: what is left out is c times _FAINT at most, while
        # the quadrature would see nothing but rounding. So it does at _FAINT itself where the
        # linear term is below 1e-7, which leaves less than 1e-16 here.
        try:
            return c / _FAINT * _covariance(f, y, x, _FAINT, column)
        except ConvergenceError:
            return 0.0
    share, rest = math.sqrt(abs(c) * x), (1.0 - abs(c)) * x

    function = f.slope if column else f.function
    method: Callable[[Array, Array], tuple[Array, ...]] = f.form.moments
    if column:
        if isinstance(f.form, QuadratureForm):
            method = QuadratureForm(f"the slope of {f.name}", function, function, f.kinks).moments
        else:
            method = f.form.jacobian

    def conditional(w: Array) -> Array:
        centre = y + share * w
        if rest == 0.0:
            return function(centre)
        return evaluate(method, f.form.chunk, centre, np.full_like(w, rest))[0]

    places = [(kink - y) / share for kink in f.kinks]
    if c > 0.0:
        return _variance(f, conditional, places)
    places += [-place for place in places]
    plain = _variance(f, conditional, places)
    mixed = _variance(f, lambda w: conditional(w) + 0.5 * conditional(-w), places)
    return mixed - 1.25 * plain


def _variance(f: Activation, function: Callable[[Array], Array], places: list[float]) -> float:
    form = QuadratureForm(f"a product of {f.name}", function, function, tuple(sorted(places)))
    return float(evaluate(form.moments, 1, np.zeros(1), np.ones(1))[1][0])


def _kept_variance(f: Activation, tau: float, bias: float) -> float:
    """Find the pre-activation variance x = tau E f^2 + bias that is restored, nearest to 1."""

    def growth(log_x: Array) -> Array:
        x = np.exp(log_x)
        mean, var, _ = evaluate(f.form.moments, f.form.chunk, np.zeros_like(x), x)
        result: Array = np.log((tau * (var + mean * mean) + bias) / x)
        return result

    values = growth(_LOG_VAR)
    if np.abs(values).max() < _NOISE:
        return 1.0
    falls = np.flatnonzero((values[:-1] >= 0.0) & (values[1:] < 0.0))
    if falls.size == 0:
        raise DomainError(
            f"{f.name} restores no variance at weight_sumsq={tau:g}, bias_var={bias:g}: "
            f"there is no fixed point of the second moment between 1e-8 and 1e8 that attracts; "
            "give the variance of the pre-activations as var=…, or other weights."
        )
    k = min(falls, key=lambda k: abs(_LOG_VAR[k]))
    return math.exp(_root(lambda t: float(growth(np.array([t]))[0]), _LOG_VAR[k], _LOG_VAR[k + 1]))


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import brentq  # takes 0.1 s to import, and few callers come here

    return float(brentq(function, low, high, xtol=1e-14, rtol=1e-14))


def _length(slope: float) -> float:
    if abs(slope - 1.0) <= _NOISE:
        return math.inf
    if slope <= 0.0:
        return 0.0
    return 1.0 / abs(math.log(slope))
