"""Python callables as activations: their promises checked, their derivative by differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from selfnorm.errors import DomainError
from selfnorm.theory._validation import Array, shown


def five_point(function: Callable[[Array], Array], x: Array) -> Array:
    """Differentiate by the five-point central rule, exact for polynomials of degree 4."""
    h = 2.5e-4 * np.maximum(1.0, np.abs(x))
    near = function(x + h) - function(x - h)
    far = function(x + 2.0 * h) - function(x - 2.0 * h)
    result: Array = (8.0 * near - far) / (12.0 * h)
    return result


class Checked:
    """A user's callable, held to its promise of real, finite arrays of the same shape."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name, self.function = name, function

    def __call__(self, x: Array) -> Array:
        remedy = "wrap a function of single floats in np.vectorize."
        with np.errstate(all="ignore"):
            try:
                result = np.asarray(self.function(x.copy()))
            except Exception as error:
                raise DomainError(
                    f"{self.name} must take a float64 array, however: for an array of shape "
                    f"{x.shape} it raised {type(error).__name__}: {shown(str(error))}; {remedy}"
                ) from error
        if result.dtype.kind not in "iuf":
            raise DomainError(
                f"{self.name} must return real numbers, however: it returned {result.dtype}; "
                "return an array of floats."
            )
        if result.shape != x.shape:
            raise DomainError(
                f"{self.name} must return an array of the shape it is given, however: for "
                f"{x.shape} it returned {result.shape}; {remedy}"
            )
        result = result.astype(np.float64)
        bad = ~np.isfinite(result) & np.isfinite(x)
        if bad.any():
            raise DomainError(
                f"{self.name} must be finite, however: at x={x[bad].flat[0]:g} it is "
                f"{result[bad].flat[0]:g}; give a function that is finite on the whole line, or "
                "a smaller mean or variance."
            )
        return result
