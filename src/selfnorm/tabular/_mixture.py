"""How much each of several kinds of members counts, from rows that were held out."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

__all__ = ["fit_shares"]

Array = NDArray[Any]

_PENALTY: Final = 1.0  # of factors and offsets, as much as one row's log-loss can weigh
_LEAST: Final = 1 / 20  # of a factor, as a share of what it is without any row; 20 is the most


def fit_shares(unseen: Array, seen: Array, y: Array, weights: Array | None = None) -> Array:
    r"""Return the shares of kinds of members whose mixture is most probable to be right.

    Factors a and offsets b minimise, over rows that were held out,

    .. math:: -\sum_i w_i \log \operatorname{softmax}\Big(\sum_g a_g z_{gi} + b\Big)_{y_i}
              + \tfrac12 \Big(G \sum_g (a_g - 1/G)^2 + \lVert b \rVert^2\Big)

    and the shares are the factors divided by their sum.

    Parameters
    ----------
    unseen : numpy.ndarray, shape (kinds, n, outputs)
        Logits z of each kind from members that have not trained on the row. One output: the log
        odds of the second of two classes.
    seen : numpy.ndarray, shape (kinds, n, outputs)
        Those of members that have; NaN where there are none.
    y : numpy.ndarray of int, shape (n,)
        Class numbers.
    weights : numpy.ndarray, shape (n,), optional
        Weights of the rows.

    Returns
    -------
    numpy.ndarray of float64, shape (kinds,)
        The shares, positive and of sum 1.

    Notes
    -----
    The objective is convex: there is one optimum. This is stacking (Wolpert, "Stacked
    generalization", Neural Networks 5, 1992) of logits.

    **Copies.** A weight of k stands for k copies. Whoever leaves one of them out leaves another to
    train on: with regard to such a row new data are like what has been seen. So a row of weight w
    counts as seen to the extent of w / u - 1, from 0 to 1, where u is the least weight. Held-out
    rows alone would be without any copy, and would call memorising vain in a table that pays it.

    Examples
    --------
    The second kind knows nothing:

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(500) % 2
    >>> right = np.eye(2)[y] + 0.5 * rng.normal(size=(500, 2))
    >>> both = np.stack([right, rng.normal(size=(500, 2))])
    >>> bool(fit_shares(both, both, y)[0] > 0.9)
    True
    """
    counts = np.ones(len(y))
    if weights is not None and np.isfinite(seen).all():
        twin = np.clip(weights / weights.min() - 1.0, 0.0, 1.0)
        counts = np.concatenate([weights * (1.0 - twin), weights * twin])
        unseen, y = np.concatenate([unseen, seen], axis=1), np.tile(y, 2)
        unseen, y, counts = unseen[:, counts > 0.0], y[counts > 0.0], counts[counts > 0.0]
    elif weights is not None:
        counts = weights
    factors = _factors(_centred(unseen), y, counts / counts.mean())
    shares: Array = factors / factors.sum()
    return shares


def _centred(logits: Array) -> Array:
    logits = np.asarray(logits, np.float64)
    if logits.shape[2] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=2)
    centred: Array = logits - logits.mean(axis=2, keepdims=True)
    return centred


def _factors(logits: Array, y: Array, weights: Array) -> Array:
    """Return the factors for logits (kinds, n, classes) of mean 0."""
    kinds, rows, classes = logits.shape
    hot = np.eye(classes)[y]

    def objective(at: Array) -> tuple[float, Array]:
        factors, offsets = at[:kinds], at[kinds:]
        outputs = np.tensordot(factors, logits, 1) + offsets
        loss = -(weights * log_softmax(outputs, axis=1)[np.arange(rows), y]).sum()
        slope = weights[:, None] * (softmax(outputs, axis=1) - hot)
        moved = factors - 1.0 / kinds
        loss += 0.5 * _PENALTY * (kinds * (moved @ moved) + offsets @ offsets)
        by_factor = np.tensordot(logits, slope, 2) + _PENALTY * kinds * moved
        return float(loss), np.concatenate([by_factor, slope.sum(axis=0) + _PENALTY * offsets])

    bounds = [(_LEAST / kinds, 1.0 / _LEAST / kinds)] * kinds + [(None, None)] * classes
    start = np.concatenate([np.full(kinds, 1.0 / kinds), np.zeros(classes)])
    found: Array = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return found[:kinds]
