"""What the checker tests of the leaves of a certificate: they tile, and each is proven."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from selfnorm.errors import CertificateError
from selfnorm.theory._checker_interval import Array, Interval
from selfnorm.theory._checker_map import Constants, enclose

__all__ = ["Claim", "assert_proven", "assert_tiling"]

_CHUNK = 4096
_ROUNDS = 24


class Claim:
    """One part of a certificate, in the checker's own words.

    Parameters
    ----------
    kind : str
        What is bounded.
    box : dict of str to tuple of float
        Ends of mean, var, weight_sum and weight_sumsq.
    bounds : tuple of float
        The bound, or the four bounds of an image.
    logarithmic : bool
        Whether the metric measures ln var.
    mean_weight : float
        Weight of the mean in the metric.
    """

    def __init__(
        self,
        kind: str,
        box: dict[str, tuple[float, float]],
        bounds: tuple[float, ...],
        *,
        logarithmic: bool,
        mean_weight: float,
    ) -> None:
        self.kind = kind
        self.box = box
        self.bounds = bounds
        self.logarithmic = logarithmic
        self.mean_weight = mean_weight

    def rectangle(self) -> tuple[Fraction, Fraction, Fraction, Fraction]:
        """Return the exact ranges of y = mean * weight_sum and x = var * weight_sumsq."""
        exact = {name: [Fraction(end) for end in ends] for name, ends in self.box.items()}
        y = [mean * weight for mean in exact["mean"] for weight in exact["weight_sum"]]
        x = [var * weight for var in exact["var"] for weight in exact["weight_sumsq"]]
        return min(y), max(y), min(x), max(x)

    def holds(self, selu: Constants, leaves: Array) -> NDArray[np.bool_]:
        """Test each leaf.

        Parameters
        ----------
        selu : Constants
            The activation.
        leaves : ndarray of float64, shape (n, 4)
            y_lo, y_hi, x_lo, x_hi.

        Returns
        -------
        ndarray of bool, shape (n,)
            True where the inequality is proven on the whole leaf.
        """
        y, x = Interval(leaves[:, 0], leaves[:, 1]), Interval(leaves[:, 2], leaves[:, 3])
        with np.errstate(all="ignore"):
            local = _Local(selu, y, x)
            if self.kind == "contraction":
                return self._contracts(local, y, x)
            mean, var = local.mean, local.var
            if self.kind == "self_map":
                a, b, c, d = self.bounds
                return (mean.lo >= a) & (mean.hi <= b) & (var.lo >= c) & (var.hi <= d)
            return self._moves(local)

    def _moves(self, local: _Local) -> NDArray[np.bool_]:
        (bound,), sumsq, ends = self.bounds, self.box["weight_sumsq"], self.box["var"]
        shrinks = self.kind == "variance_shrinks"
        slope = 1.0 / Interval.point(sumsq[1] if shrinks else sumsq[0])
        sloped = (
            (local.var0 - slope * local.x0)
            + local.var_y * local.dy
            + (local.var_x - slope) * local.dx
        )
        level = local.var - (ends[0] if shrinks else ends[1])
        if shrinks:
            return (sloped.hi <= bound) | (level.hi <= bound)
        return (sloped.lo >= bound) | (level.lo >= bound)

    def _contracts(self, local: _Local, y: Interval, x: Interval) -> NDArray[np.bool_]:
        k, limit = self.mean_weight, Interval.point(self.bounds[0]).square()
        weight = Interval.point(self._largest_weight(y))
        if self.logarithmic:
            a, b, c, d = local.logarithmic(x)
            c11, c12, c21, c22 = weight * a, k * b, weight * c / k, d
        else:
            (var_lo, _), (_, sumsq_hi) = self.box["var"], self.box["weight_sumsq"]
            ratio = (Interval.point(x.hi) / Interval.point(var_lo)).hi
            sumsq = Interval.point(np.minimum(sumsq_hi, ratio))
            c11, c12 = weight * local.mean_y, k * (sumsq * local.mean_x)
            c21, c22 = weight * local.var_y / k, sumsq * local.var_x
        first = limit - c11.square() - c21.square()
        second = limit - c12.square() - c22.square()
        mixed = c11 * c12 + c21 * c22
        determinant = first * second - mixed.square()
        return (first.lo > 0) & (second.lo > 0) & (determinant.lo > 0)

    def _largest_weight(self, y: Interval) -> Array:
        (mean_lo, mean_hi), ends = self.box["mean"], self.box["weight_sum"]
        largest = np.full_like(y.lo, max(abs(ends[0]), abs(ends[1])))
        if mean_lo <= 0 <= mean_hi:
            return largest
        nearest = Interval.point(min(abs(mean_lo), abs(mean_hi)))
        size = Interval.point(np.maximum(np.abs(y.lo), np.abs(y.hi)))
        return np.minimum(largest, (size / nearest).hi)


class _Local:
    """Mean-value forms of the moments and their derivatives over leaves."""

    def __init__(self, selu: Constants, y: Interval, x: Interval) -> None:
        y_mid, x_mid = y.lo / 2 + y.hi / 2, x.lo / 2 + x.hi / 2
        self.y0 = Interval.point(np.clip(y_mid, y.lo, y.hi))
        self.x0 = Interval.point(np.clip(x_mid, x.lo, x.hi))
        self.dy, self.dx = y - self.y0, x - self.x0
        here, over = enclose(selu, self.y0, self.x0), enclose(selu, y, x)
        m, q = here.mean, here.second
        self.var0 = q[0] - m[0].square()
        self.mean0_x, self.var0_y = m[2] / 2.0, q[1] - 2.0 * m[0] * m[1]
        self.var0_x = q[2] / 2.0 - m[0] * m[2]
        _, m1, m2, m3, m4 = over.mean
        _, _, q2, q3, q4 = over.second
        self.mean = m[0] + m1 * self.dy + m2 / 2.0 * self.dx
        self.mean_yx, self.mean_xx = m3 / 2.0, m4 / 4.0
        self.var_yy = q2 - 2.0 * (m1.square() + self.mean * m2)
        self.var_yx = q3 / 2.0 - m1 * m2 - self.mean * m3
        self.var_xx = (q4 / 2.0 - m2.square() - self.mean * m4) / 2.0
        self.mean_y = m[1] + m2 * self.dy + self.mean_yx * self.dx
        self.mean_x = self.mean0_x + self.mean_yx * self.dy + self.mean_xx * self.dx
        self.var_y = self.var0_y + self.var_yy * self.dy + self.var_yx * self.dx
        self.var_x = self.var0_x + self.var_yx * self.dy + self.var_xx * self.dx
        self.var = self.var0 + self.var_y * self.dy + self.var_x * self.dx

    def logarithmic(self, x: Interval) -> tuple[Interval, Interval, Interval, Interval]:
        """Enclose m_y, x m_x, (ln v)_y and x (ln v)_x."""
        log_y, log_x = self.var_y / self.var, self.var_x / self.var
        log_yy = self.var_yy / self.var - log_y.square()
        log_yx = self.var_yx / self.var - log_y * log_x
        log_xx = self.var_xx / self.var - log_x.square()
        x0, dy, dx = self.x0, self.dy, self.dx
        return (
            self.mean_y,
            x0 * self.mean0_x + x * self.mean_yx * dy + (self.mean_x + x * self.mean_xx) * dx,
            self.var0_y / self.var0 + log_yy * dy + log_yx * dx,
            x0 * self.var0_x / self.var0 + x * log_yx * dy + (log_x + x * log_xx) * dx,
        )


def assert_proven(
    claim: Claim,
    selu: Constants,
    leaves: Array,
    where: str,
    progress: Callable[[float], None] | None,
) -> int:
    """Prove a claim on each leaf, halving a leaf where the checker's arithmetic is too coarse.

    Parameters
    ----------
    claim : Claim
        The claim.
    selu : Constants
        The activation.
    leaves : ndarray of float64, shape (n, 4)
        The leaves.
    where : str
        Name of the part, for the message.
    progress : callable or None
        Called with the proven fraction of the leaves.

    Returns
    -------
    int
        How many halvings were needed.

    Raises
    ------
    CertificateError
        If a leaf is not proven after 24 halvings.
    """
    halvings = 0
    for start in range(0, len(leaves), _CHUNK):
        pending = leaves[start : start + _CHUNK]
        budget = 16 * len(pending) + 512
        for _ in range(_ROUNDS):
            pending = pending[~claim.holds(selu, pending)]
            if not len(pending) or len(pending) > budget:
                break
            halvings += len(pending)
            pending = _halved(pending)
        if len(pending):
            y_lo, y_hi, x_lo, x_hi = pending[0]
            raise CertificateError(
                f"{where}: the {claim.kind} with bounds {claim.bounds} is not proven for y in "
                f"[{y_lo:.17g}, {y_hi:.17g}], x in [{x_lo:.17g}, {x_hi:.17g}]; the bound is false "
                "there, or too close to the truth for double precision"
            )
        if progress is not None:
            progress(min(1.0, (start + _CHUNK) / len(leaves)))
    return halvings


def _halved(leaves: Array) -> Array:
    y_lo, y_hi, x_lo, x_hi = leaves.T
    x_mid, y_mid = x_lo / 2 + x_hi / 2, y_lo / 2 + y_hi / 2
    across = (y_hi - y_lo) * np.sqrt(x_mid) > x_hi - x_lo
    lower, upper = leaves.copy(), leaves.copy()
    lower[across, 1] = upper[across, 0] = y_mid[across]
    lower[~across, 3] = upper[~across, 2] = x_mid[~across]
    return np.concatenate([lower, upper])


def assert_tiling(leaves: Array, where: str) -> None:
    """Require that leaves tile their bounding rectangle: no gap, no overlap, all comparisons exact.

    The leaves are cut apart along every line that crosses none of them, again and again, until
    single leaves are left; each must then fill its piece. Bisection always yields such tilings.

    Parameters
    ----------
    leaves : ndarray of float64, shape (n, 4)
        y_lo, y_hi, x_lo, x_hi of each leaf.
    where : str
        Name of the part, for the message.

    Raises
    ------
    CertificateError
        If two leaves overlap or a gap is left.

    Examples
    --------
    >>> assert_tiling(np.array([[0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 2.0, 3.0]]), "example")
    """
    hull = (leaves[:, 0].min(), leaves[:, 1].max(), leaves[:, 2].min(), leaves[:, 3].max())
    pending: list[tuple[Array, tuple[float, ...]]] = [(leaves, hull)]
    while pending:
        group, piece = pending.pop()
        if len(group) == 1:
            if tuple(group[0]) != piece:
                raise CertificateError(f"{where}: the leaves leave a gap in {_text(piece)}")
            continue
        parts = _cut(group, piece, 0) or _cut(group, piece, 2)
        if not parts:
            raise CertificateError(f"{where}: leaves overlap in {_text(piece)}")
        pending += parts


def _cut(
    group: Array, piece: tuple[float, ...], axis: int
) -> list[tuple[Array, tuple[float, ...]]]:
    if piece[axis] == piece[axis + 1]:
        return []  # a rectangle without extent in this direction
    order = np.argsort(group[:, axis], kind="stable")
    group = group[order]
    reached = np.maximum.accumulate(group[:, axis + 1])
    cuts = np.flatnonzero(reached[:-1] <= group[1:, axis]) + 1
    if not len(cuts):
        return []
    lows = [piece[axis], *group[cuts, axis]]
    highs = [*group[cuts, axis], piece[axis + 1]]
    return [
        (part, (*piece[:axis], float(low), float(high), *piece[axis + 2 :]))
        for part, low, high in zip(np.split(group, cuts), lows, highs, strict=True)
    ]


def _text(piece: tuple[float, ...]) -> str:
    return f"y [{piece[0]:.9g}, {piece[1]:.9g}], x [{piece[2]:.9g}, {piece[3]:.9g}]"
