"""The moments of a whole network, layer by layer, as theory predicts them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from selfnorm.errors import ConvergenceError, DomainError
from selfnorm.theory._activation_type import Activation
from selfnorm.theory._activations import activation
from selfnorm.theory._dropout import alpha_dropout_affine
from selfnorm.theory._fixed_point import fixed_point
from selfnorm.theory._moments import moments
from selfnorm.theory._validation import Array, probability, real_number, require, shown

# Beyond this variance the prediction has left float64's range of squares.
_OVERFLOW = 1e300


@dataclass(frozen=True)
class Layer:
    """One layer of a network, as the prediction needs it.

    Parameters
    ----------
    activation : str, callable or Activation
        The activation; see `activation`.
    weight_sum : float
        Sum of a unit's weights; 0 on average for all usual initialisations.
    weight_sumsq : float
        Sum of the squares of a unit's weights, at least 0: fan_in times the weights' variance.
    bias_var : float
        Variance of the biases over the units, at least 0.
    dropout : float
        Probability of dropping after the activation, from 0 to 1: alpha dropout for selu,
        ordinary dropout, which divides what it keeps by 1 - dropout, for all others.
    batch_norm : bool
        Whether the pre-activation is normalised to mean 0 and variance 1.

    Examples
    --------
    >>> from selfnorm.theory import Layer
    >>> Layer("relu", weight_sumsq=2.0).bias_var
    0.0
    """

    activation: Any
    weight_sum: float = 0.0
    weight_sumsq: float = 1.0
    bias_var: float = 0.0
    dropout: float = 0.0
    batch_norm: bool = False


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


def predict(
    layers: Iterable[Layer], mean: float, var: float, *, form: str = "mean_field"
) -> Trajectory:
    """Predict mean and variance of every layer of a network.

    In mean field, moments are pooled over units and inputs; with weights drawn independently the
    pre-activation is N(weight_sum m, weight_sumsq (v + m^2) + bias_var) for inputs with moments
    (m, v), because a unit's own weighted mean differs from unit to unit and counts as variance.
    Per unit, as in the paper, it is N(weight_sum m, weight_sumsq v + bias_var) for one unit whose
    weights have exactly these sums.

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

    Returns
    -------
    Trajectory
        Arrays with one entry per layer. Once a variance exceeds 1e300 it is reported as inf and
        the mean as NaN.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, or dropout follows a SELU that has no fixed point
        whose moments it could keep.

    Notes
    -----
    Exact for infinitely wide layers with Gaussian pre-activations; finite width n adds O(1/n) a
    layer. Alpha dropout is designed, as in a network, for the fixed point of its SELU at weight_sum
    0 and weight_sumsq 1, and applied exactly to whatever moments arrive.

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
    targets: dict[tuple[float, float], tuple[float, float]] = {}
    rows = []
    for layer in layers:
        f = _check(layer)
        if layer.batch_norm:
            y, x = 0.0, 1.0
        else:
            y = layer.weight_sum * m
            incoming = v + m * m if form == "mean_field" else v
            x = layer.weight_sumsq * incoming + layer.bias_var
        if x < _OVERFLOW and abs(y) < _OVERFLOW:
            m, v, _ = moments(f, y, x)
            if layer.dropout > 0.0:
                m, v = _dropped(f, layer.dropout, m, v, targets)
        else:
            m, v, y, x = math.nan, math.inf, math.nan, math.inf
        rows.append((m, v, y, x))
    columns = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    return Trajectory(*(column.copy() for column in columns))


def _check(layer: Any) -> Activation:
    if not isinstance(layer, Layer):
        raise DomainError(
            f"layers must contain Layer objects, however: {shown(layer)} came; write "
            "Layer(activation, weight_sumsq=…)."
        )
    real_number("weight_sum", layer.weight_sum)
    for name in ("weight_sumsq", "bias_var"):
        value = real_number(name, getattr(layer, name))
        require(value >= 0.0, name, value, "at least 0", "it is a sum of squares or a variance.")
    probability("dropout", layer.dropout)
    return activation(layer.activation)


def _dropped(
    f: Activation,
    p: float,
    mean: float,
    var: float,
    targets: dict[tuple[float, float], tuple[float, float]],
) -> tuple[float, float]:
    """Moments after dropout, from the moments before."""
    keep = 1.0 - p
    if f.name != "selu" or f.saturation is None:
        if p == 1.0:
            return 0.0, 0.0
        return mean, (var + p * mean * mean) / keep
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
    target_mean, target_var = targets[constants]
    saturation = f.saturation
    a, b = alpha_dropout_affine(p, mean=target_mean, var=target_var, saturation=saturation)
    mixed_mean = keep * mean + p * saturation
    mixed_var = keep * var + p * keep * (mean - saturation) ** 2
    return a * mixed_mean + b, a * a * mixed_var
