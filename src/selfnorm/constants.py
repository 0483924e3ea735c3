"""The constants of SELU for the fixed point mean 0, variance 1.

Source: Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks",
NeurIPS 2017 (arXiv:1706.02515), eq. 14; recomputed to 40 digits from the closed form::

    alpha = -sqrt(2/pi) / (erfc(1/sqrt 2) exp(1/2) - 1)
    scale = (1 - erfc(1/sqrt 2) sqrt e) sqrt(2 pi) (2 erfc(sqrt 2) e^2 + pi erfc(1/sqrt 2)^2 e
            - 2 (2 + pi) erfc(1/sqrt 2) sqrt e + pi + 2)^(-1/2)

which holds for weight_sum = 0 and weight_sumsq = 1. ``selfnorm.theory.solve`` gives the
constants of any other fixed point.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ALPHA01", "LAMBDA01", "SATURATION01"]

ALPHA01: Final[float] = 1.673263242354377284817042991671652038461
"""SELU's alpha for the fixed point (0, 1)."""

LAMBDA01: Final[float] = 1.050700987355480493419334985294606351959
"""SELU's scale for the fixed point (0, 1)."""

SATURATION01: Final[float] = -1.758099340847376859940217520812279577324
"""SELU's limit at minus infinity, -scale * alpha, for the fixed point (0, 1)."""
