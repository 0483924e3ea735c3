"""The moments of a whole network, layer by layer, as theory predicts them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selfnorm.errors import ConvergenceError, DomainError
from selfnorm.theory._activation_type import Activation
from selfnorm.theory._activations import activation
from selfnorm.theory._dropout import alpha_dropout_affine
from selfnorm.theory._finite_width import NO_DROPPING, Dropping, Incoming, propagate, unit_counts
from selfnorm.theory._fixed_point import fixed_point
from selfnorm.theory._moments import moments
from selfnorm.theory._validation import (
    Array,
    probability,
    real_array,
    real_number,
    require,
    shown,
)

# Beyond this variance the prediction has left float64's range of squares.
_OVERFLOW = 1e300
_FOURTH_OVERFLOW = 1e70  # beyond this the standard error, which needs fourth moments, has


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer of a network, as the prediction needs it.

    Parameters
    ----------
    activation : str, callable or Activation
        The activation; see `activation`.
    weight_sum : float or array
        Sum of a unit's weights; 0 on average for all usual initialisations. An array has one entry
        per unit, as have weight_sumsq and bias: see `from_weight`.
    weight_sumsq : float or array
        Sum of the squares of a unit's weights, at least 0: fan_in times the weights' variance.
    bias_var : float
        Variance of the biases over the units, at least 0.
    dropout : float
        Probability of dropping after the activation, from 0 to 1: alpha dropout for selu,
        ordinary dropout, which divides what it keeps by 1 - dropout, for all others.
    batch_norm : bool
        Whether the pre-activation is normalised to mean 0 and variance 1.
    bias : float or array
        Mean of the biases, or each unit's bias.
    skip : float
        Weight s, from 0 to 1, of a residual sum sqrt(1 - s^2) * branch + s * input, which keeps the
        variance where the branch does; 0 is no residual sum. A plain sum x + f(x) would double
        the variance with every layer.

    Examples
    --------
    >>> from selfnorm.theory import Layer
    >>> Layer("relu", weight_sumsq=2.0).bias_var
    0.0
    """

    activation: Any
    weight_sum: Any = 0.0
    weight_sumsq: Any = 1.0
    bias_var: float = 0.0
    dropout: float = 0.0
    batch_norm: bool = False
    bias: Any = 0.0
    skip: float = 0.0

    @classmethod
    def from_weight(
        cls,
        weight: Any,
        bias: Any = None,
        activation: Any = "selu",
        *,
        dropout: float = 0.0,
        skip: float = 0.0,
    ) -> Layer:
        """Describe a layer by its real weights, row by row.

        Parameters
        ----------
        weight : array
            Weight matrix of shape (out_features, in_features).
        bias : array, optional
            Biases of shape (out_features,); none by default.
        activation : str, callable or Activation
            The activation.
        dropout : float
            Probability of dropping after the activation.
        skip : float
            Weight of a residual sum.

        Returns
        -------
        Layer
            With weight_sum and weight_sumsq of each row.

        Raises
        ------
        DomainError
            If the weight is not a matrix of real numbers, or there is not one bias per row.

        Examples
        --------
        >>> from selfnorm.theory import Layer
        >>> Layer.from_weight([[0.6, -0.8], [0.5, 0.5]], activation="elu").weight_sumsq
        array([1. , 0.5])
        """
        matrix = real_array("weight", weight)
        require(
            matrix.ndim == 2 and matrix.size > 0,
            "weight",
            matrix.shape,
            "a matrix of shape (out_features, in_features)",
            "reshape the weights of a convolution to (out_channels, -1).",
        )
        shift = np.zeros(len(matrix)) if bias is None else real_array("bias", bias)
        require(
            shift.shape == (len(matrix),),
            "bias",
            shift.shape,
            f"of shape ({len(matrix)},), one per row of the weight",
            "pass None for no biases.",
        )
        return cls(
            activation,
            weight_sum=matrix.sum(axis=1),
            weight_sumsq=np.square(matrix).sum(axis=1),
            dropout=dropout,
            bias=shift,
            skip=skip,
        )


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Predicted moments by layer.

    Parameters
    ----------
    mean : array
        Mean of each layer's output, after its dropout.
    var : array
        Variance of each layer's output.
    preactivation_mean : array
        Mean of each layer's pre-activation.
    preactivation_var : array
        Variance of each layer's pre-activation.
    mean_se : array or None
        Standard error of each mean at the width given, None without a width.
    var_se : array or None
        Standard error of each variance.

    Examples
    --------
    >>> from selfnorm.theory import Layer, predict
    >>> predict([Layer("selu")] * 3, 0.0, 2.0).var.round(4)
    array([1.7145, 1.5269, 1.3936])
    """

    mean: Array
    var: Array
    preactivation_mean: Array
    preactivation_var: Array
    mean_se: Array | None = None
    var_se: Array | None = None


def predict(
    layers: Iterable[Layer],
    mean: float,
    var: float,
    *,
    form: str = "mean_field",
    width: int | Sequence[int] | None = None,
) -> Trajectory:
    """Predict mean and variance of every layer of a network.

    In mean field, moments are pooled over units and inputs; with weights drawn independently the
    pre-activation is N(weight_sum m + bias, weight_sumsq (v + m^2) + bias_var) for inputs with
    moments (m, v), because a unit's own weighted mean differs from unit to unit and counts as
    variance. Per unit, as in the paper, it is N(weight_sum m + bias, weight_sumsq v + bias_var) for
    one unit whose weights have exactly these sums. A layer that gives the sums of each unit, as
    `Layer.from_weight` does, is taken per unit in both forms, and pooled over its units.

    Parameters
    ----------
    layers : iterable of Layer
        The layers in order.
    mean : float
        Mean of the network's input.
    var : float
        Variance of the network's input, at least 0.
    form : {"mean_field", "per_unit"}
        Which of the two.
    width : int or sequence of int, optional
        Number of units, of all layers or of each, for a standard error beside the prediction. A
        layer with given rows has as many units as rows.

    Returns
    -------
    Trajectory
        Arrays with one entry per layer. Once a variance exceeds 1e300 it is reported as inf and
        the mean as NaN.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, dropout follows a SELU that has no fixed point
        whose moments it could keep, or a standard error is asked for with batch_norm, which needs
        more inputs than one.

    Notes
    -----
    Exact for infinitely wide layers with Gaussian pre-activations; finite width n adds O(1/n) a
    layer. Alpha dropout is designed, as in a network, for the fixed point of its SELU at weight_sum
    0 and weight_sumsq 1, and applied exactly to whatever moments arrive.

    The standard error is that of mean and variance over the units of a layer, for one input vector
    with exactly the given moments, over random weights and dropout masks: the sampling error of n
    units, handed on by the linearised map, to the leading order 1/sqrt(n). Averages over many
    inputs vary less. For given rows the weights are fixed, and the input is what varies.

    References
    ----------
    Klambauer et al. 2017, arXiv:1706.02515; Poole, Lahiri, Raghu, Sohl-Dickstein, Ganguli,
    "Exponential expressivity in deep neural networks through transient chaos", NeurIPS 2016,
    arXiv:1606.05340.

    Examples
    --------
    >>> from selfnorm.theory import Layer, predict
    >>> predict([Layer("relu", weight_sumsq=1.0)] * 3, 0.0, 1.0).var.round(6)
    array([0.340845, 0.170423, 0.085211])
    >>> path = predict([Layer("selu", dropout=0.05)] * 3, 0.0, 1.0, width=256)
    >>> path.var_se.round(4)
    array([0.0752, 0.0914, 0.0982])
    """
    m, v = real_number("mean", mean), real_number("var", var)
    require(v >= 0.0, "var", var, "at least 0", "a variance cannot be negative.")
    require(
        form in ("mean_field", "per_unit"),
        "form",
        form,
        "'mean_field' or 'per_unit'",
        "use mean_field for a network with random weights.",
    )
    if not isinstance(layers, Iterable):
        raise DomainError(
            f"layers must be a sequence of Layer objects, however: layers={shown(layers)}; write "
            "[Layer(activation, weight_sumsq=…), …]."
        )
    layers = list(layers)
    widths = unit_counts(width, len(layers))
    targets: dict[tuple[float, float], tuple[float, float]] = {}
    covariance = np.zeros((2, 2))
    rows = []
    for layer, units in zip(layers, widths, strict=True):
        f = _check(layer)
        incoming = _incoming(layer, m, v, form == "mean_field")
        y, x = incoming.y, incoming.x
        if np.abs(y).max() < _OVERFLOW and x.max() < _OVERFLOW:
            drop = _dropping(f, layer.dropout, targets)
            if units:
                if layer.batch_norm:
                    raise DomainError(
                        "a standard error is that of one input, however: batch_norm=True "
                        "normalises over many; leave out width."
                    )
                n = max(y.size, x.size) if max(y.size, x.size) > 1 else units
                fits = x.max() < _FOURTH_OVERFLOW and np.abs(y).max() < _FOURTH_OVERFLOW
                covariance = (
                    propagate(f, covariance, incoming, drop, layer.skip, n)
                    if fits
                    else np.full((2, 2), np.nan)
                )
            m, v = _output(f, incoming, drop, layer.skip)
            row = (m, v, float(y.mean()), float(x.mean() + y.var()))
        else:
            m, v, row = math.nan, math.inf, (math.nan, math.inf, math.nan, math.inf)
            covariance = np.full((2, 2), np.nan)
        with np.errstate(invalid="ignore"):
            rows.append((*row, *np.sqrt(np.diag(covariance))))
    columns = [c.copy() for c in np.array(rows, dtype=np.float64).reshape(-1, 6).T]
    return Trajectory(*(columns if width is not None else columns[:4]))


def _incoming(layer: Layer, mean: float, var: float, mean_field: bool) -> Incoming:
    """Pre-activations of a layer's units and their derivatives by the moments that arrive."""
    omega, tau, bias = (
        np.atleast_1d(np.asarray(value, np.float64))
        for value in (layer.weight_sum, layer.weight_sumsq, layer.bias)
    )
    if layer.batch_norm:
        zero = np.zeros(1)
        return Incoming(mean, var, zero, np.ones(1), zero, zero, zero)
    # A given row has its own weighted mean; random rows have one that counts as variance.
    whole = 1.0 if mean_field and max(omega.size, tau.size, bias.size) == 1 else 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        y = np.asarray(omega * mean + bias)
        x = np.asarray(tau * (var + whole * mean * mean) + layer.bias_var)
    return Incoming(mean, var, y, x, omega, 2.0 * whole * mean * tau, tau)


def _output(f: Activation, incoming: Incoming, drop: Dropping, skip: float) -> tuple[float, float]:
    """Moments of a layer's output, pooled over its units."""
    means, variances, _ = moments(f, incoming.y, incoming.x)
    mean, var = float(means.mean()), float(variances.mean() + means.var())
    if drop.p > 0.0:
        keep = 1.0 - drop.p
        var = drop.a**2 * keep * (var + drop.p * (mean - drop.value) ** 2)
        mean = drop.a * (keep * mean + drop.p * drop.value) + drop.b
    if skip == 0.0:
        return mean, var
    share = 1.0 - skip * skip
    return (
        math.sqrt(share) * mean + skip * incoming.mean,
        share * var + skip * skip * incoming.var,
    )


def _check(layer: Any) -> Activation:
    if not isinstance(layer, Layer):
        raise DomainError(
            f"layers must contain Layer objects, however: {shown(layer)} came; write "
            "Layer(activation, weight_sumsq=…)."
        )
    shapes = {
        name: real_array(name, getattr(layer, name)).shape
        for name in ("weight_sum", "weight_sumsq", "bias")
    }
    units = {shape for shape in shapes.values() if shape}
    if len(units) > 1 or any(len(shape) != 1 or 0 in shape for shape in units):
        raise DomainError(
            "weight_sum, weight_sumsq and bias must be numbers or arrays of one length, one entry "
            f"per unit, however: their shapes are {tuple(shapes.values())}; use "
            "Layer.from_weight(weight, bias, activation)."
        )
    real_number("bias_var", layer.bias_var)
    for name in ("weight_sumsq", "bias_var"):
        value = np.asarray(getattr(layer, name))
        require(
            bool((value >= 0.0).all()),
            name,
            getattr(layer, name),
            "at least 0",
            "it is a sum of squares or a variance.",
        )
    probability("dropout", layer.dropout)
    skip = real_number("skip", layer.skip)
    require(0.0 <= skip <= 1.0, "skip", skip, "between 0 and 1", "0 is no residual sum.")
    return activation(layer.activation)


def _dropping(
    f: Activation, p: float, targets: dict[tuple[float, float], tuple[float, float]]
) -> Dropping:
    """Dropout after an activation, as a map."""
    if p == 0.0:
        return NO_DROPPING
    if f.name != "selu" or f.saturation is None:
        return Dropping(p, 0.0, 0.0 if p == 1.0 else 1.0 / (1.0 - p), 0.0)
    constants = (f.parameters["alpha"], f.parameters["scale"])
    if constants not in targets:
        try:
            point = fixed_point(f)
        except ConvergenceError as error:
            raise DomainError(
                "alpha dropout keeps the moments of a fixed point, however: selu with "
                f"alpha={constants[0]:g}, scale={constants[1]:g} has none at weight_sum=0 and "
                "weight_sumsq=1; use the constants of solve(), or dropout=0."
            ) from error
        targets[constants] = (point.mean, point.var)
    mean, var = targets[constants]
    a, b = alpha_dropout_affine(p, mean=mean, var=var, saturation=f.saturation)
    return Dropping(p, f.saturation, a, b)
