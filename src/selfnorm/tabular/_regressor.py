"""A regressor in the manner of scikit-learn."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_array, column_or_1d

from selfnorm import train
from selfnorm.errors import DomainError
from selfnorm.tabular._estimator import Estimator
from selfnorm.tabular._rows import Rows

__all__ = ["SNNRegressor"]

Array = NDArray[Any]


class SNNRegressor(RegressorMixin, Estimator):  # type: ignore[misc]
    """Predict numbers from rows of a table with an ensemble of self-normalizing networks."""

    target_mean_: Array
    target_scale_: Array
    out_activation_: str

    def __init__(
        self,
        hidden_layer_sizes: Any = "auto",
        *,
        loss: str = "squared",
        quantiles: Any = None,
        activation: str = "selu",
        fixed_point: Any = "auto",
        dropout: Any = "auto",
        n_members: Any = "auto",
        solver: str = "adamw",
        learning_rate: str = "cosine",
        learning_rate_init: Any = "auto",
        weight_decay: Any = "auto",
        batch_size: Any = "auto",
        max_iter: Any = "auto",
        categorical_features: Any = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        warm_start: bool = False,
        random_state: Any = None,
        device: Any = "cpu",
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.loss = loss
        self.quantiles = quantiles
        self.activation = activation
        self.fixed_point = fixed_point
        self.dropout = dropout
        self.n_members = n_members
        self.solver = solver
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.categorical_features = categorical_features
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.n_jobs = n_jobs
        self.verbose = verbose

    # ---- training ----------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on a table."""
        return self._fit(X, y, sample_weight)

    def _loss(self) -> train.Squared | train.Huber | train.Pinball:
        return train.Squared() if self.loss == "squared" else train.Huber()

    def _encode(self, y: Any, weights: Array | None, *, first: bool) -> tuple[Array, Array | None]:
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if y.ndim > 2:
            raise DomainError(f"y must have shape (n,) or (n, targets), however: y.shape={y.shape}")
        columns = y.reshape(len(y), -1)
        if first:
            self._one_dimensional = y.ndim == 1
            self.n_outputs_ = columns.shape[1]
            self.out_activation_ = "identity"
        return columns, weights

    def _scale_targets(self, rows: Rows, *, first: bool) -> Rows:
        if first:
            self.target_mean_ = np.average(rows.y, axis=0, weights=rows.weights)
            var = np.average((rows.y - self.target_mean_) ** 2, axis=0, weights=rows.weights)
            self.target_scale_ = np.where(var > 0.0, np.sqrt(var), 1.0)
        return Rows(rows.X, (rows.y - self.target_mean_) / self.target_scale_, rows.weights)

    # ---- predictions -------------------------------------------------------------------------

    def _scaling(self) -> tuple[Array, Array]:
        return self.target_scale_, self.target_mean_

    def predict(self, X: Any) -> Array:
        """Return the predicted numbers."""
        found: Array = self._outputs(X).mean(0) * self.target_scale_ + self.target_mean_
        return found[:, 0] if self.n_outputs_ == 1 else found

    def __sklearn_tags__(self) -> Any:
        """Say what targets are welcome."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
