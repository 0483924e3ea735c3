"""What a search hands on to the estimator that it found."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if

__all__ = ["Delegation"]


def _has(name: str) -> Callable[[Any], bool]:
    return lambda search: hasattr(search.estimator, name)


class Delegation(MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """The methods of ``best_estimator_``."""

    estimator: Any
    best_estimator_: Any
    scorer_: Any

    def _best(self) -> Any:
        if not hasattr(self, "best_estimator_"):
            raise NotFittedError(
                f"{type(self).__name__} must have trained a best estimator first, however: it has "
                "none; call fit, with refit=True"
            )
        return self.best_estimator_

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether there is a best estimator."""
        return hasattr(self, "best_estimator_")

    @property
    def classes_(self) -> Any:
        """The classes of a classifier."""
        return self._best().classes_

    @property
    def n_features_in_(self) -> int:
        """Columns of X."""
        return int(self._best().n_features_in_)

    def score(self, X: Any, y: Any) -> float:
        """Return the score of the search for other rows."""
        return float(self.scorer_(self._best(), X, y))

    def predict(self, X: Any, **options: Any) -> Any:
        """Predict as the best estimator does."""
        return self._best().predict(X, **options)

    @available_if(_has("predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Any:
        """Return probabilities as the best estimator does."""
        return self._best().predict_proba(X)

    @available_if(_has("predict_log_proba"))  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> Any:
        """Return logarithms of probabilities as the best estimator does."""
        return self._best().predict_log_proba(X)

    @available_if(_has("decision_function"))  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> Any:
        """Return logits as the best estimator does."""
        return self._best().decision_function(X)

    def __sklearn_tags__(self) -> Any:
        """Say of data and targets what the estimator says."""
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        for name in ("estimator_type", "classifier_tags", "regressor_tags", "target_tags"):
            setattr(tags, name, copy.deepcopy(getattr(inner, name)))
        tags.input_tags = copy.deepcopy(inner.input_tags)
        return tags
