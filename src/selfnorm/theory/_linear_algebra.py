"""Norm and eigenvalues of a real 2 x 2 matrix in plain floats."""

from __future__ import annotations

import math
from typing import Any


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
