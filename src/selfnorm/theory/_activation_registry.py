"""How each named activation is made, with its exact derivative and its form of moments."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from scipy import special

from selfnorm.constants import ALPHA01, LAMBDA01
from selfnorm.theory._activation_type import Activation, Function
from selfnorm.theory._closed_forms import Form, SineForm, exponential, rectified
from selfnorm.theory._quadrature import QuadratureForm
from selfnorm.theory._validation import Array


def _closed(
    name: str,
    form: Form,
    function: Function,
    slope: Function,
    *,
    kinks: tuple[float, ...] = (0.0,),
    saturation: float | None = None,
    parameters: Mapping[str, float] | None = None,
) -> Activation:
    return Activation(name, parameters or {}, kinks, saturation, function, slope, form)


def _smooth(
    name: str,
    function: Function,
    slope: Function,
    *,
    saturation: float | None = None,
) -> Activation:
    form = QuadratureForm(name, function, slope)
    return Activation(name, {}, (), saturation, function, slope, form)


def _rectifier(name: str, left: float, **parameters: float) -> Activation:
    return _closed(
        name,
        rectified(1.0, left),
        lambda x: np.where(x > 0.0, x, left * x),
        lambda x: np.where(x > 0.0, 1.0, np.where(np.isnan(x), x, left)),
        saturation=0.0 if left == 0.0 else None,
        kinks=() if left == 1.0 else (0.0,),
        parameters=parameters,
    )


def _exponential(
    name: str, right: float, amplitude: float, rate: float = 1.0, **parameters: float
) -> Activation:
    return _closed(
        name,
        exponential(right, amplitude, rate),
        lambda x: np.where(x > 0.0, right * x, amplitude * np.expm1(rate * np.minimum(x, 0.0))),
        lambda x: np.where(x > 0.0, right, amplitude * rate * np.exp(rate * np.minimum(x, 0.0))),
        # ELU with alpha = 1 and CELU have a continuous slope.
        kinks=() if math.isclose(amplitude * rate, right, rel_tol=1e-15) else (0.0,),
        saturation=-amplitude,
        parameters=parameters,
    )


def _identity() -> Activation:
    return _closed("identity", rectified(1.0, 1.0), np.copy, np.ones_like, kinks=())


def _relu() -> Activation:
    return _rectifier("relu", 0.0)


def _leaky_relu(negative_slope: float = 0.01) -> Activation:
    return _rectifier("leaky_relu", negative_slope, negative_slope=negative_slope)


def _prelu(negative_slope: float = 0.25) -> Activation:
    return _rectifier("prelu", negative_slope, negative_slope=negative_slope)


def _elu(alpha: float = 1.0) -> Activation:
    return _exponential("elu", 1.0, alpha, alpha=alpha)


def _celu(alpha: float = 1.0) -> Activation:
    return _exponential("celu", 1.0, alpha, 1.0 / alpha, alpha=alpha)


def _selu(alpha: float = ALPHA01, scale: float = LAMBDA01) -> Activation:
    return _exponential("selu", scale, scale * alpha, alpha=alpha, scale=scale)


def _serlu(alpha: float = 2.904271233329692, scale: float = 1.078618283577227) -> Activation:
    # Zhang and Li 2018, arXiv:1807.10117, with the constants of the fixed point (0, 1).
    left = scale * alpha

    def function(x: Array) -> Array:
        negative = np.minimum(x, 0.0)
        return np.where(x > 0.0, scale * x, left * negative * np.exp(negative))

    def slope(x: Array) -> Array:
        negative = np.minimum(x, 0.0)
        return np.where(x > 0.0, scale, left * (1.0 + negative) * np.exp(negative))

    def increment(y: Array, u: Array) -> Array:
        # d(z e^z) = e^y (y (e^u - 1) + u e^u) does not cancel for small u.
        z, v = y + u, np.clip(u, -1.0, 1.0)
        near = left * np.exp(np.minimum(y, 0.0)) * (y * np.expm1(v) + v * np.exp(v))
        far = np.where(np.minimum(y, z) > 0.0, scale * u, function(z) - function(y))
        return np.where((np.maximum(y, z) <= 0.0) & (v == u), near, far)

    form = QuadratureForm("serlu", function, slope, (0.0,), increment)
    return Activation("serlu", {"alpha": alpha, "scale": scale}, (0.0,), 0.0, function, slope, form)


def _hardtanh() -> Activation:
    def function(x: Array) -> Array:
        return np.clip(x, -1.0, 1.0)

    def slope(x: Array) -> Array:
        return np.where((x > -1.0) & (x <= 1.0), 1.0, np.where(np.isnan(x), x, 0.0))

    def increment(y: Array, u: Array) -> Array:
        c = function(y)
        return np.clip(u + (y - c), -1.0 - c, 1.0 - c)

    kinks = (-1.0, 1.0)
    form = QuadratureForm("hardtanh", function, slope, kinks, increment)
    return Activation("hardtanh", {}, kinks, -1.0, function, slope, form)


def _density(x: Array) -> Array:
    result: Array = np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    return result


def _gelu() -> Activation:
    return _smooth(
        "gelu",
        lambda x: np.where(x == -np.inf, 0.0, x * special.ndtr(x)),
        lambda x: special.ndtr(x) + x * _density(x),
        saturation=0.0,
    )


def _silu() -> Activation:
    return _smooth(
        "silu",
        lambda x: x * special.expit(x),
        lambda x: special.expit(x) * (1.0 + x * special.expit(-x)),
        saturation=0.0,
    )


def _mish() -> Activation:
    def factor(x: Array) -> Array:
        # tanh(log(1 + e^x)) = n/(n + 2) with n = e^x (e^x + 2).
        e = np.exp(np.minimum(x, 20.0))
        n = e * (e + 2.0)
        result: Array = n / (n + 2.0)
        return result

    def slope(x: Array) -> Array:
        t = factor(x)
        result: Array = t + x * (1.0 - t * t) * special.expit(x)
        return result

    return _smooth("mish", lambda x: x * factor(x), slope, saturation=0.0)


def _tanh() -> Activation:
    return _smooth("tanh", np.tanh, lambda x: 1.0 / np.cosh(x) ** 2, saturation=-1.0)


def _erf() -> Activation:
    return _smooth(
        "erf",
        special.erf,
        lambda x: 2.0 / math.sqrt(math.pi) * np.exp(-x * x),
        saturation=-1.0,
    )


def _softplus() -> Activation:
    return _smooth("softplus", lambda x: np.logaddexp(0.0, x), special.expit, saturation=0.0)


def _sigmoid() -> Activation:
    return _smooth(
        "sigmoid",
        special.expit,
        lambda x: special.expit(x) * special.expit(-x),
        saturation=0.0,
    )


def _softsign() -> Activation:
    return _smooth(
        "softsign",
        lambda x: x / (1.0 + np.abs(x)),
        lambda x: 1.0 / (1.0 + np.abs(x)) ** 2,
        saturation=-1.0,
    )


def _atan() -> Activation:
    return _smooth("atan", np.arctan, lambda x: 1.0 / (1.0 + x * x), saturation=-0.5 * math.pi)


def _asinh() -> Activation:
    return _smooth("asinh", np.arcsinh, lambda x: 1.0 / np.hypot(1.0, x))


def _sin() -> Activation:
    return _closed("sin", SineForm(), np.sin, np.cos, kinks=())


REGISTRY: dict[str, Callable[..., Activation]] = {
    "identity": _identity,
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "prelu": _prelu,
    "elu": _elu,
    "celu": _celu,
    "selu": _selu,
    "serlu": _serlu,
    "gelu": _gelu,
    "silu": _silu,
    "mish": _mish,
    "tanh": _tanh,
    "erf": _erf,
    "softplus": _softplus,
    "sigmoid": _sigmoid,
    "softsign": _softsign,
    "atan": _atan,
    "asinh": _asinh,
    "sin": _sin,
    "hardtanh": _hardtanh,
}
