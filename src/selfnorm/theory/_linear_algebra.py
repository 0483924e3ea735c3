"""Norm and eigenvalues of a real 2 x 2 matrix, and what they say of a fixed point."""

from __future__ import annotations

import math
from typing import Any, Final

_NEUTRAL: Final = 1e-9  # a spectral radius this near to 1 is taken for 1


def spectral(matrix: Any) -> tuple[float, float]:
    """Largest singular value and largest absolute eigenvalue of a 2 x 2 matrix."""
    (a, b), (c, d) = ((float(entry) for entry in row) for row in matrix)
    norm = 0.5 * (math.hypot(a + d, b - c) + math.hypot(a - d, b + c))
    half, product = 0.5 * (a - d), b * c
    discriminant = half * half + product
    if discriminant >= 0.0:
        radius = abs(0.5 * (a + d)) + math.sqrt(discriminant)
    else:
        radius = math.sqrt(max(a * d - product, 0.0))
    return norm, radius


def attraction(radius: float) -> tuple[bool, str]:
    """Tell from the spectral radius whether a fixed point attracts, and the reason in words."""
    if radius < 1.0 - _NEUTRAL:
        return True, f"attracting: spectral radius {radius:.6g}"
    if radius > 1.0 + _NEUTRAL:
        return False, f"repelling: spectral radius {radius:.6g} is above 1, deviations grow"
    return False, "neutral: spectral radius 1, deviations neither shrink nor grow"
