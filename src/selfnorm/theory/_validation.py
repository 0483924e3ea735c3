"""Checks of arguments: every refusal names the argument, its value and its domain."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfnorm.errors import DomainError

Array = NDArray[np.float64]


def shown(value: object) -> str:
    """Write a value for a message, shortened to one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def real_array(name: str, value: Any) -> Array:
    """Turn a real, finite number or array into float64, or say why that cannot be done."""
    if isinstance(value, float) and math.isfinite(value):
        return np.asarray(value, np.float64)
    try:
        raw = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DomainError(
            f"{name} must be a real number or an array of them, however: {name}={shown(value)}; "
            "pass a float or a NumPy array."
        ) from error
    if raw.dtype.kind == "c":
        raise DomainError(
            f"{name} must be real, however: {name}={shown(value)} is complex; "
            "pass its real part if the imaginary part is zero."
        )
    if raw.dtype.kind not in "iuf":
        raise DomainError(
            f"{name} must be a real number or an array of them, however: {name}={shown(value)} "
            f"({raw.dtype}); pass a float or a NumPy array of floats."
        )
    array: Array = raw.astype(np.float64)
    if not np.isfinite(array).all():
        raise DomainError(
            f"{name} must be finite, however: {name}={shown(value)}; remove NaN and infinity first."
        )
    return array


def real_number(name: str, value: Any) -> float:
    """Like `real_array` for one number."""
    array = real_array(name, value)
    if array.ndim:
        raise DomainError(
            f"{name} must be a single number, however: an array of shape {array.shape} came; "
            "call the function once for each value."
        )
    return float(array)


def require(condition: bool, name: str, value: object, domain: str, remedy: str) -> None:
    """Raise `DomainError` in the house form unless the condition holds."""
    if not condition:
        raise DomainError(f"{name} must be {domain}, however: {name}={shown(value)}; {remedy}")


def variance_array(name: str, value: Any) -> Array:
    """Check that an array is real and none of it negative."""
    array = real_array(name, value)
    require(bool((array >= 0.0).all()), name, value, "at least 0", "a variance cannot be negative.")
    return array


def positive_number(name: str, value: Any, remedy: str) -> float:
    """One number above 0."""
    number = real_number(name, value)
    require(number > 0.0, name, value, "greater than 0", remedy)
    return number


def require_broadcast(**arrays: Array) -> None:
    """Check that named arrays have shapes that broadcast against each other."""
    try:
        np.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise DomainError(
            f"{', '.join(arrays)} must have shapes that broadcast, however: {shapes}; give them "
            "one shape, or an axis of length 1 as in mean[:, None]."
        ) from None


def probability(name: str, value: Any) -> float:
    """One number from 0 to 1."""
    number = real_number(name, value)
    require(
        0.0 <= number <= 1.0, name, value, "between 0 and 1", "give the probability of dropping."
    )
    return number


def layer_count(depth: Any) -> int:
    """Whole number of layers, at least 1."""
    try:
        layers = 0 if isinstance(depth, bool) else operator.index(depth)
    except TypeError:
        layers = 0
    require(layers >= 1, "depth", depth, "a whole number of at least 1", "count the layers.")
    return layers
