"""A ridge regression before the networks, and how far these are to be trusted beside it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from selfnorm.errors import DomainError

__all__ = ["WIDEST", "fit_ridge", "fit_shrinkage"]

Array = NDArray[Any]

WIDEST: Final = 2000  # columns; the eigenvalues of their covariance then take a few seconds
_BLOCK: Final = 1 << 16  # rows that are float64 at a time
# Relative to columns of variance 1: from next to no penalty to next to no coefficients.
_PENALTIES: Final = np.logspace(-5.0, 3.0, 33)


def fit_ridge(X: Array, y: Array, weights: Array | None = None) -> NDArray[np.float64]:
    r"""Return the coefficients of a ridge regression, with a penalty for each target.

    .. math:: \hat\beta_\alpha = \arg\min_\beta \; \frac1n \lVert y - X \beta \rVert^2
              + \alpha \lVert \beta \rVert^2

    with the :math:`\alpha` of the least generalised cross-validation error
    :math:`\frac1n \lVert y - X \hat\beta_\alpha \rVert^2 / (1 - \mathrm{df}_\alpha / n)^2`, where
    :math:`\mathrm{df}_\alpha = 1 + \sum_j \lambda_j / (\lambda_j + \alpha)` counts the mean and the
    eigenvalues :math:`\lambda_j` of :math:`X^\top X / n`.

    Parameters
    ----------
    X : numpy.ndarray, shape (n, features)
        Columns of mean 0 and variance about 1; at most ``WIDEST`` of them are quick.
    y : numpy.ndarray, shape (n, targets)
        Targets of mean 0.
    weights : numpy.ndarray, shape (n,), optional
        Weights of the rows. Their scale does not matter; n becomes Kish's effective number.

    Returns
    -------
    numpy.ndarray of float64, shape (features, targets)
        The coefficients; 0 for a target that no penalty serves better than its mean.

    Raises
    ------
    DomainError
        If the shapes do not fit.

    References
    ----------
    Golub, Heath, Wahba, "Generalized Cross-Validation as a Method for Choosing a Good Ridge
    Parameter", Technometrics 21 (1979) 215.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 4))
    >>> y = X @ [[2.0], [0.0], [0.0], [-1.0]] + rng.normal(size=(300, 1))
    >>> bool(np.abs(fit_ridge(X, y - y.mean())[:, 0] - [2, 0, 0, -1]).max() < 0.2)
    True
    """
    if X.ndim != 2 or y.ndim != 2 or len(X) != len(y) or not X.size:
        raise DomainError(
            "X must have shape (n, features) and y shape (n, targets), however: "
            f"X.shape={X.shape}, y.shape={y.shape}"
        )
    share = np.full(len(X), 1.0 / len(X)) if weights is None else weights / weights.sum()
    rows = 1.0 / float((share**2).sum())
    covariance = np.zeros((X.shape[1], X.shape[1]))
    product = np.zeros((X.shape[1], y.shape[1]))
    for start in range(0, len(X), _BLOCK):
        part = slice(start, start + _BLOCK)
        block = X[part].astype(np.float64)
        weighted = block * share[part, None]
        covariance += weighted.T @ block
        product += weighted.T @ y[part]
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 0.0)
    along = vectors.T @ product
    power = share @ y.astype(np.float64) ** 2
    # Beside the ridge stands the mean alone, with which a ridge must compete.
    best = power / (1.0 - 1.0 / rows) ** 2 if rows > 1.0 else np.full_like(power, -np.inf)
    found = np.zeros_like(product)
    for penalty in _PENALTIES:
        left = 1.0 - (1.0 + (values / (values + penalty)).sum()) / rows
        if left <= 0.0:
            continue
        explained = (along**2 * ((values + 2 * penalty) / (values + penalty) ** 2)[:, None]).sum(0)
        error = np.maximum(power - explained, 0.0) / left**2
        better = error < best
        coefficients = vectors @ (along / (values + penalty)[:, None])
        found[:, better] = coefficients[:, better]
        best = np.minimum(best, error)
    return found


def fit_shrinkage(
    outputs: Array, y: Array, weights: Array | None = None, *, clip: float | None = None
) -> float:
    r"""Return the factor in [0, 1] that makes outputs fit rows that were held out best.

    .. math:: \hat a = \arg\min_{0 \le a \le 1} \sum_i w_i \, \ell(y_i - a f_i)

    Parameters
    ----------
    outputs, y : numpy.ndarray, shape (n,)
        Outputs on rows that were not used to train what gave them, and the truth.
    weights : numpy.ndarray, shape (n,), optional
        Weights of the rows.
    clip : float, optional
        The error from which on the loss is linear, as Huber's is; None: squared error.

    Returns
    -------
    float
        The factor; 1 if all outputs are 0.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.array([1.0, -1.0, 2.0, -2.0])
    >>> fit_shrinkage(4 * truth, truth), fit_shrinkage(-truth, truth)
    (0.25, 0.0)
    """
    weighted = outputs if weights is None else outputs * weights

    def slope(factor: float) -> float:
        errors = y - factor * outputs
        if clip is not None:
            errors = np.clip(errors, -clip, clip)
        return float(weighted @ errors)

    if clip is None:
        power = float(weighted @ outputs)
        return min(1.0, max(0.0, slope(0.0) / power)) if power > 0.0 else 1.0
    # The slope falls with the factor: the loss is convex.
    if slope(1.0) >= 0.0:
        return 1.0
    return 0.0 if slope(0.0) <= 0.0 else float(brentq(slope, 0.0, 1.0, xtol=1e-6))
