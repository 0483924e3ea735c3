"""What a trained classifier says of rows: logits, probabilities, classes, disagreement."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfnorm.tabular._estimator import Estimator
from selfnorm.tabular._probabilities import (
    log_probabilities,
    mutual_information,
    probabilities,
)

__all__ = ["ClassPredictions"]

Array = NDArray[Any]


class ClassPredictions(Estimator):
    """The predictions of `SNNClassifier`."""

    classes_: Array
    temperature_: float
    logit_offsets_: Array
    out_activation_: str

    def _scaling(self) -> tuple[Array, Array]:
        return np.full(self.n_outputs_, 1.0 / self.temperature_), self.logit_offsets_

    def _logits(self, X: Any) -> Array:
        """Return calibrated logits (n, outputs)."""
        logits: Array = self._outputs(X).mean(0) / self.temperature_ + self.logit_offsets_
        return logits

    def decision_function(self, X: Any) -> Array:
        """Return the calibrated logits.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        numpy.ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Mean logits of the members, divided by ``temperature_``, plus ``logit_offsets_``; for
            two classes the log odds of the second.
        """
        logits = self._logits(X)
        return logits[:, 0] if self.n_outputs_ == 1 else logits

    def predict_proba(self, X: Any) -> Array:
        """Return probabilities.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        numpy.ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            Of the classes, in the order of ``classes_``; for an indicator y of each label.
        """
        return probabilities(self._logits(X), self.out_activation_)

    def predict_log_proba(self, X: Any) -> Array:
        """Return logarithms of the probabilities, exact where a probability is tiny.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        numpy.ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            In nats.
        """
        return log_probabilities(self._logits(X), self.out_activation_)

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each row.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        numpy.ndarray of shape (n_samples,) or (n_samples, n_labels)
            Classes; for an indicator y 1 for each label whose probability is above one half.
        """
        logits = self._logits(X)
        if self.out_activation_ == "softmax":
            return np.asarray(self.classes_[logits.argmax(1)])
        positive = (logits > 0.0).astype(np.intp)
        return np.asarray(self.classes_[positive[:, 0]]) if self.n_outputs_ == 1 else positive

    def predict_members(self, X: Any) -> Array:
        """Return each member's own probabilities, with the same temperature and offsets.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        numpy.ndarray of shape (n_members, n_samples, n_classes or n_labels)
            The probabilities.
        """
        logits = self._outputs(X) / self.temperature_ + self.logit_offsets_
        return probabilities(logits, self.out_activation_)

    def mutual_information(self, X: Any) -> Array:
        r"""Return how much the members disagree about each row.

        .. math:: H\Big(\frac{1}{K} \sum_k p_k\Big) - \frac{1}{K} \sum_k H(p_k)

        the part of the entropy H that is due to the choice of network: large where more data would
        help, zero where all members say the same, however unsure they are.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        numpy.ndarray of shape (n_samples,) or (n_samples, n_labels)
            In nats, from 0 to log(n_classes), for labels from 0 to log(2) each.

        References
        ----------
        Houlsby, Huszár, Ghahramani, Lengyel, "Bayesian Active Learning for Classification and
        Preference Learning" (2011), arXiv:1112.5745.
        """
        labels = self.out_activation_ == "logistic" and self.n_outputs_ > 1
        return mutual_information(self.predict_members(X), labels=labels)
