"""What the estimators refuse in data, and what they warn of after a training."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_array, validate_data

from selfnorm import train
from selfnorm.errors import DomainError
from selfnorm.tabular._engine import Trained
from selfnorm.tabular._plan import Plan

__all__ = ["check_table", "check_weights", "warn_of"]

Array = NDArray[Any]


def check_table(estimator: Any, X: Any, *, reset: bool) -> Any:
    """Check form and names; what the columns hold is the preprocessor's to check."""
    if not reset and _is_plain(estimator, X):
        return X
    names_only = hasattr(X, "columns") or (isinstance(X, np.ndarray) and X.dtype == object)
    if names_only:
        validate_data(estimator, X=X, reset=reset, skip_check_array=True)
        if np.ndim(X) != 2:
            check_array(X, dtype=None)  # raises with scikit-learn's words
        return X
    return validate_data(
        estimator,
        X=X,
        reset=reset,
        accept_sparse=True,
        dtype=None,
        ensure_all_finite=False,
    )


def _is_plain(estimator: Any, X: Any) -> bool:
    """Tell whether X is a matrix of numbers with nothing left to check but its values.

    scikit-learn's own checks take longer than the prediction of a row.
    """
    return (
        type(X) is np.ndarray
        and X.dtype in (np.float32, np.float64)
        and X.ndim == 2
        and X.shape[0] > 0
        and X.shape[1] == estimator.n_features_in_
        and not hasattr(estimator, "feature_names_in_")
    )


def check_weights(sample_weight: Any, count: int) -> Array | None:
    """Return weights as float64; refuse negative ones, and zeros alone."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, int | float):
        sample_weight = np.full(count, float(sample_weight))
    weights: Array = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weights.shape != (count,):
        raise DomainError(
            f"sample_weight must have one number for each of the {count} rows, however: "
            f"sample_weight.shape={weights.shape}"
        )
    if (weights < 0.0).any():
        row = int(np.argmax(weights < 0.0))
        raise DomainError(
            f"sample_weight must be 0 or more, however: sample_weight[{row}]={weights[row]:g}"
        )
    if not weights.any():
        raise DomainError(
            "sample_weight must be positive for some rows, however: all weights are zero"
        )
    return weights


def warn_of(estimator: Any, plan: Plan, trained: Trained) -> None:
    """Tell of a training that should be repeated in another way."""
    if trained.slowed:
        warnings.warn(
            f"the loss of {trained.slowed} of {len(trained.stopped)} members became infinite "
            "or NaN, and they were trained again at half the rate or less: lower "
            "learning_rate_init",
            ConvergenceWarning,
            stacklevel=6,
        )
    # A rate that falls to zero ends a training by itself; others end where they happen to be.
    if isinstance(plan.schedule, train.Cosine):
        return
    if plan.early_stopping is not None:
        unfinished = all(epoch is None for epoch in trained.stopped)
    else:
        last = estimator.loss_curve_[-estimator.n_iter_no_change - 1 :]
        unfinished = len(last) <= estimator.n_iter_no_change or last[0] - min(last) > estimator.tol
    if unfinished:
        warnings.warn(
            f"the loss was still falling after max_iter={plan.epochs} epochs: raise max_iter, "
            "or take learning_rate='cosine'",
            ConvergenceWarning,
            stacklevel=6,
        )
