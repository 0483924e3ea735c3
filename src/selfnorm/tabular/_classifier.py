"""A classifier in the manner of scikit-learn."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import ClassifierMixin

from selfnorm import train
from selfnorm.errors import DataError, DomainError
from selfnorm.tabular._estimator import Estimator
from selfnorm.tabular._labels import class_factors, labels_of, numbers_of
from selfnorm.tabular._rows import Rows

__all__ = ["SNNClassifier"]

Array = NDArray[Any]


class SNNClassifier(ClassifierMixin, Estimator):  # type: ignore[misc]
    """Classify rows of a table with an ensemble of self-normalizing networks."""

    classes_: Array
    temperature_: float
    out_activation_: str

    def __init__(
        self,
        hidden_layer_sizes: Any = "auto",
        *,
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
        label_smoothing: Any = "auto",
        class_weight: Any = None,
        categorical_features: Any = "auto",
        calibrate: Any = "auto",
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
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.categorical_features = categorical_features
        self.calibrate = calibrate
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

    def _loss(self) -> train.Softmax | train.Binary:
        return train.Softmax() if self.out_activation_ == "softmax" else train.Binary()

    def _encode(self, y: Any, weights: Array | None, *, first: bool) -> tuple[Array, Array | None]:
        labels, several = labels_of(y)
        if several:
            if self.class_weight is not None:
                raise DomainError(
                    "class_weight needs one class for each row, however: y has "
                    f"{labels.shape[1]} labels; use sample_weight"
                )
            if first:
                self._describe(np.arange(labels.shape[1]), several=True)
            return labels, weights
        needed = None if weights is None else weights > 0.0
        if first:
            self._describe(np.unique(labels if needed is None else labels[needed]))
        numbers = numbers_of(labels, self.classes_, needed)
        factors = class_factors(self.class_weight, self.classes_, numbers, weights)
        if factors is not None:
            weights = factors[numbers] if weights is None else weights * factors[numbers]
        return numbers, weights

    def _describe(self, classes: Array, *, several: bool = False) -> None:
        """Set what depends on the classes."""
        if len(classes) < 2 and not several:
            raise DataError(
                "y must have at least 2 classes among the rows of positive weight, however: only "
                f"one class came, {classes[0]!r}"
            )
        self.classes_ = classes
        one = several or len(classes) == 2
        self.n_outputs_ = 1 if one and not several else len(classes)
        self.out_activation_ = "logistic" if one else "softmax"

    def _conclude(self, rows: Rows, outputs: Array | None) -> None:
        self.temperature_ = 1.0

    # ---- predictions -------------------------------------------------------------------------

    def _scaling(self) -> tuple[Array, Array]:
        return np.full(self.n_outputs_, 1.0 / self.temperature_), np.zeros(self.n_outputs_)

    def decision_function(self, X: Any) -> Array:
        """Return the logits."""
        logits: Array = self._outputs(X).mean(0) / self.temperature_
        return logits[:, 0] if self.n_outputs_ == 1 else logits

    def predict_proba(self, X: Any) -> Array:
        """Return probabilities."""
        logits = self.decision_function(X)
        if self.out_activation_ == "softmax":
            return np.asarray(softmax(logits, axis=1))
        if self.n_outputs_ == 1:
            return np.stack([expit(-logits), expit(logits)], axis=1)
        return np.asarray(expit(logits))

    def predict_log_proba(self, X: Any) -> Array:
        """Return logarithms of the probabilities."""
        logits = self.decision_function(X)
        if self.out_activation_ == "softmax":
            return np.asarray(log_softmax(logits, axis=1))
        if self.n_outputs_ == 1:
            return np.stack([log_expit(-logits), log_expit(logits)], axis=1)
        return np.asarray(log_expit(logits))

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each row."""
        logits = self.decision_function(X)
        if self.out_activation_ == "softmax":
            return np.asarray(self.classes_[logits.argmax(1)])
        positive = (logits > 0.0).astype(np.intp)
        return np.asarray(self.classes_[positive]) if self.n_outputs_ == 1 else positive

    def __sklearn_tags__(self) -> Any:
        """Say what targets are welcome."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = True
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        return tags
