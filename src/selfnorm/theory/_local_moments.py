"""All Gaussian statistics of an activation at given pre-activation moments, in one call."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from selfnorm.theory._activation_type import Activation
from selfnorm.theory._moments import evaluate
from selfnorm.theory._quadrature import QuadratureForm
from selfnorm.theory._validation import Array


class LocalMoments(NamedTuple):
    """Statistics of f(z) for z ~ N(y, x), x > 0, with the derivatives by y and x."""

    mean: Any
    var: Any
    mean_y: Any
    mean_x: Any
    var_y: Any
    var_x: Any
    gain: Any  # E f'(z)^2


def local_moments(f: Activation, y: Any, x: Any) -> LocalMoments:
    """Evaluate `LocalMoments`: floats for floats, arrays for arrays."""
    y, x = np.asarray(y, np.float64), np.asarray(x, np.float64)
    columns = evaluate(f.form.moments, f.form.chunk, y, x)[:2]
    columns += evaluate(f.form.jacobian, f.form.chunk, y, x)
    columns += evaluate(lambda y, x: (f.form.gain(y, x),), f.form.chunk, y, x)
    if columns[0].ndim == 0:
        return LocalMoments(*map(float, columns))
    return LocalMoments(*columns)


def slope_fourth(f: Activation, y: float, x: float) -> float:
    """E f'(z)^4 for z ~ N(y, x)."""

    def square(z: Array) -> Array:
        return np.square(f.slope(z))

    form = QuadratureForm(f"the slope of {f.name}", f.function, square, f.kinks)
    gain = evaluate(lambda y, x: (form.gain(y, x),), 1, np.asarray(y), np.asarray(x))
    return float(gain[0])
