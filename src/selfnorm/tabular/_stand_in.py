"""A stand-in for the preprocessing until that is there: numbers only, z-scored and clipped."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse


class Preprocessor:
    """Z-scores, softly clipped."""

    def __init__(self, *, categorical_features: Any = "auto", random_state: int = 0) -> None:
        self.categorical_features = categorical_features
        self.random_state = random_state

    def _array(self, X: Any) -> Any:
        X = X.toarray() if sparse.issparse(X) else X
        return np.asarray(X, dtype=np.float64)

    def fit(self, X: Any, sample_weight: Any = None) -> Preprocessor:
        """Measure."""
        X = self._array(X)
        self.n_features_in_ = X.shape[1]
        w = None if sample_weight is None else np.asarray(sample_weight)
        self.centre = np.nan_to_num(np.average(np.nan_to_num(X), axis=0, weights=w))
        self.spread = np.sqrt(
            np.average(np.square(np.nan_to_num(X) - self.centre), axis=0, weights=w)
        )
        self.kept = self.spread > 0
        self.width = int(self.kept.sum())
        self.output_names = [f"x{k}" for k in np.flatnonzero(self.kept)]
        return self

    def transform(self, X: Any) -> Any:
        """Scale."""
        X = self._array(X)[:, self.kept]
        z = (X - self.centre[self.kept]) / self.spread[self.kept]
        z = np.nan_to_num(z)
        return (z / np.sqrt(1 + (z / 6) ** 2)).astype(np.float32)

    def to_state(self) -> dict[str, Any]:
        """Return nothing of use."""
        return {}
