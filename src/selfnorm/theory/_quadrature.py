"""Gaussian moments by adaptive quadrature, for activations without a closed form.

The line is cut at the kinks, at fixed multiples of the standard deviation and, because a large
variance makes a tanh a step, at geometric distances from zero and from each kink on the
activation's own scale. Each panel is integrated with a Gauss-Lobatto rule of 12 nodes and a
Gauss-Legendre rule of 21, and halved while they disagree. All points are refined together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from selfnorm.errors import ConvergenceError
from selfnorm.theory._validation import Array

# Multiples of the standard deviation; the normal density is zero in float64 beyond the last.
_REACH: Final = 38.5
_SIGMAS: Final = np.array([1.0, 2.0, 3.0, 5.0, 7.5, 11.0, 16.0, 24.0, _REACH])
_SIGMAS_BOTH: Final = np.concatenate([-_SIGMAS[::-1], [0.0], _SIGMAS])

_TOLERANCE: Final = 1e-14  # for one panel, relative to the whole
_EPS: Final = float(np.finfo(np.float64).eps)
_ROUNDS: Final = 45
_PANELS_PER_POINT: Final = 4000
_REFUSED: Final = 1e-7  # relative error beyond which there is no answer
_UNDERFLOW: Final = 1e-150  # moments below this have squares that underflow: as good as 0


def _lobatto(n: int) -> tuple[Array, Array]:
    """Nodes and weights of the Gauss-Lobatto rule, the ends a hair's breadth inside the panel."""
    legendre = np.polynomial.legendre.Legendre.basis(n - 1)
    inner = np.sort(legendre.deriv().roots().real)
    nodes = np.concatenate([[-1.0], inner, [1.0]])
    weights = 2.0 / (n * (n - 1) * legendre(nodes) ** 2)
    nodes[[0, -1]] *= 1.0 - 1e-11
    return nodes, weights


# The coarse rule has nodes at the ends and the fine one in the middle: two Gauss rules would agree
# on a jump that is hidden there.
_COARSE, _COARSE_WEIGHTS = _lobatto(12)
_FINE, _FINE_WEIGHTS = np.polynomial.legendre.leggauss(21)
_NODES: Final = np.concatenate([_COARSE, _FINE])

Index = NDArray[np.intp]
Integrand = Callable[[Array, Array, Index], Array]


@dataclass(frozen=True)
class QuadratureForm:
    """Gaussian moments of f by quadrature; see `selfnorm.theory._closed_forms.Form`.

    `increment(y, u)` is f(y + u) - f(y), given where the plain difference would cancel.
    """

    name: str
    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    kinks: tuple[float, ...] = ()
    increment: Callable[[Array, Array], Array] | None = None
    chunk: int = 64

    def moments(self, y: Array, x: Array) -> tuple[Array, Array, Array]:
        """Mean, variance and their error estimate."""
        (first, second), (error1, error2), c = self._central(y, x, 0)
        mean = c + first
        var = np.maximum(second - first * first, 0.0)
        rms = np.sqrt(second)
        rounding = 0.0 if self.increment else 2.0 * _EPS * np.abs(c)
        error = np.maximum(
            error1 + rounding + 8.0 * _EPS * np.maximum(np.abs(mean), rms),
            error2 + 2.0 * np.abs(first) * error1 + 2.0 * rounding * rms + 8.0 * _EPS * second,
        )
        self._refuse(error, np.maximum(np.hypot(rms, c), second), y, x)
        return mean, var, error

    def jacobian(self, y: Array, x: Array) -> tuple[Array, Array, Array, Array]:
        """Differentiate by Stein's identity: d/dy = E w f/sigma, d/dx = E (w^2 - 1) f/(2 x)."""
        totals, errors, c = self._central(y, x, 2)
        first, second, first_w, second_w, first_h, second_h = totals
        # Where f is nearly flat, f(z) - f(y) is rounding: that is no failure of the quadrature.
        self._refuse(errors[1], second + np.square(1e-6 * c), y, x)
        sigma = np.sqrt(x)
        mean_y, mean_x = first_w / sigma, first_h / (2.0 * x)
        var_y = second_w / sigma - 2.0 * first * mean_y
        var_x = second_h / (2.0 * x) - 2.0 * first * mean_x
        return mean_y, mean_x, var_y, var_x

    def gain(self, y: Array, x: Array) -> Array:
        """E f'(z)^2."""

        def integrand(w: Array, z: Array, owner: Index) -> Array:
            half = np.exp(-0.25 * w * w)
            return np.stack([np.square(self.slope(z) * half)])

        totals, errors = self._integrate(y, x, integrand, lambda total: _TOLERANCE * total)
        self._refuse(errors[0], totals[0], y, x)
        result: Array = totals[0]
        return result

    def _central(self, y: Array, x: Array, order: int) -> tuple[Array, Array, Array]:
        """E d and E d^2 of d = f(z) - f(y); with order 2 also against w and w^2 - 1."""
        c = self.value(y)
        sigma = np.sqrt(x)

        def integrand(w: Array, z: Array, owner: Index) -> Array:
            # Half of the weight goes to each factor of d^2: a large d meets a small weight.
            half = np.exp(-0.25 * w * w)
            if self.increment is None:
                d = (self.value(z) - c[owner, None]) * half
            else:
                d = self.increment(y[owner, None], sigma[owner, None] * w) * half
            plain = [d * half, d * d]
            if order:
                plain += [plain[0] * w, plain[1] * w]
                plain += [plain[0] * (w * w - 1.0), plain[1] * (w * w - 1.0)]
            return np.stack(plain)

        def tolerance(totals: Array) -> Array:
            rms = np.sqrt(totals[1])
            noise = 0.0 if self.increment else 4.0 * _EPS * np.abs(c)
            pair = [_TOLERANCE * rms + noise, _TOLERANCE * totals[1] + noise * rms]
            return np.stack(pair * (len(totals) // 2))

        totals, errors = self._integrate(y, x, integrand, tolerance)
        return totals, errors, c

    def _integrate(
        self, y: Array, x: Array, integrand: Integrand, tolerance: Callable[[Array], Array]
    ) -> tuple[Array, Array]:
        """Integrals against the standard normal density and their error estimates.

        `integrand` gives all functionals at nodes w with z = y + sigma w, times exp(-w^2/2).
        """
        sigma = np.sqrt(x)
        low, high, owner = _panels(y, sigma, (0.0, *self.kinks))
        done = done_error = np.zeros(0)
        budget = _PANELS_PER_POINT * len(y)
        for round_ in range(_ROUNDS):
            half = 0.5 * (high - low)
            w = 0.5 * (high + low)[:, None] + half[:, None] * _NODES
            values = integrand(w, y[owner, None] + sigma[owner, None] * w, owner)
            integral, error = _rules(values, half)
            if round_ == 0:
                done = np.zeros((len(values), len(y)))
                done_error = np.zeros_like(done)
            allowed = tolerance(np.abs(done + _by_owner(integral, owner, len(y))))
            split = np.asarray((error > allowed[:, owner]).any(axis=0))
            budget -= len(owner)
            if round_ == _ROUNDS - 1 or budget < 0:
                split[:] = False
            kept = ~split
            done += _by_owner(integral[:, kept], owner[kept], len(y))
            done_error += _by_owner(error[:, kept], owner[kept], len(y))
            if not split.any():
                break
            low, high, owner = low[split], high[split], owner[split]
            middle = 0.5 * (low + high)
            low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
            owner = np.concatenate([owner, owner])
        scale = 1.0 / np.sqrt(2.0 * np.pi)
        return done * scale, done_error * scale

    def _refuse(self, error: Array, scale: Array, y: Array, x: Array) -> None:
        bad = ~(error <= _REFUSED * np.maximum(scale, _UNDERFLOW))
        if bad.any():
            i = int(np.argmax(bad))
            raise ConvergenceError(
                f"the Gaussian moments of {self.name} at mean={y[i]:g}, var={x[i]:g} could not be "
                "integrated. Probable causes: it oscillates many times within a standard "
                "deviation (use a smaller variance), it jumps at places that are not given as "
                "kinks=(…), or it grows so fast that the moment does not exist."
            )


def _panels(y: Array, sigma: Array, centres: tuple[float, ...]) -> tuple[Array, Array, Index]:
    """Place the first panels, in units of the standard deviation, and say whose each is."""
    farthest = float(np.max(np.abs(y) + _REACH * sigma)) + max(map(abs, centres))
    rings = 4.0 ** np.arange(-1.0, np.log2(max(farthest, 1.0)) / 2.0 + 1.0)
    marks = np.concatenate([-rings[::-1], [0.0], rings])
    z = np.unique(np.concatenate([centre + marks for centre in centres]))
    own = np.clip((z - y[:, None]) / sigma[:, None], -_REACH, _REACH)
    ends = np.concatenate([own, np.broadcast_to(_SIGMAS_BOTH, (len(y), len(_SIGMAS_BOTH)))], axis=1)
    ends.sort(axis=1)
    low, high = ends[:, :-1], ends[:, 1:]
    real = high - low > np.finfo(float).tiny  # narrower, half the width could round to zero
    owner = np.broadcast_to(np.arange(len(y), dtype=np.intp)[:, None], real.shape)[real]
    return low[real], high[real], owner


def _rules(values: Array, half: Array) -> tuple[Array, Array]:
    """Apply the fine rule and estimate its error.

    The estimate is the one of QUADPACK: the distance of the rules, sharpened by the power 3/2
    relative to the variation of the integrand on the panel.
    """
    n = len(_COARSE)
    coarse = values[..., :n] @ _COARSE_WEIGHTS * half
    fine = values[..., n:] @ _FINE_WEIGHTS * half
    mean = (fine / (2.0 * half))[..., None]
    distance = np.abs(fine - coarse)
    variation = np.maximum(np.abs(values[..., n:] - mean) @ _FINE_WEIGHTS * half, distance)
    ratio = np.divide(
        200.0 * distance, variation, out=np.zeros_like(distance), where=variation > 0.0
    )
    return fine, variation * np.minimum(1.0, ratio**1.5)


def _by_owner(values: Array, owner: Index, n: int) -> Array:
    return np.stack([np.bincount(owner, row, minlength=n) for row in values])
