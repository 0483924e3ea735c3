"""What a trained regressor says of rows: means, quantiles, and how far its members disagree."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfnorm.errors import DomainError
from selfnorm.tabular._estimator import Estimator

__all__ = ["NumberPredictions"]

Array = NDArray[Any]


class NumberPredictions(Estimator):
    """The predictions of `SNNRegressor`."""

    target_mean_: Array
    target_scale_: Array
    out_activation_: str
    quantiles_: tuple[float, ...] | None
    linear_: Array | None
    residual_scale_: Array
    shrinkage_: Array
    quantile_shifts_: Array

    def _scaling(self) -> tuple[Array, Array]:
        count = len(self.quantiles_ or (0.5,))
        shift = self.target_mean_[:, None] + self.target_scale_[:, None] * self.quantile_shifts_
        scale = self.target_scale_ * self.residual_scale_ * self.shrinkage_
        return np.repeat(scale, count), shift.ravel()

    def _linear_part(self) -> Array | None:
        if self.linear_ is None:
            return None
        found = np.zeros((self.preprocessor_.width, self.n_outputs_))
        found[: len(self.linear_)] = self.linear_ * self.target_scale_
        return np.repeat(found, len(self.quantiles_ or (0.5,)), axis=1)

    def _members(self, X: Any) -> Array:
        """Return each member's outputs in the targets' units, shape (members, n, outputs)."""
        rows, outputs = self._rows_and_outputs(X)
        scale, shift = self._scaling()
        values = outputs * scale + shift
        linear = self._linear_part()
        if linear is not None:
            values += rows.astype(np.float64) @ linear
        return values

    def _by_target(self, values: Array) -> Array:
        """Return values with axes (..., n, targets, quantiles), sorted along the last."""
        values = values.reshape(*values.shape[:-1], self.n_outputs_, -1)
        return np.sort(values, axis=-1) if self.quantiles_ is not None else values

    def predict(self, X: Any, quantile: Any = None, return_std: bool = False) -> Any:
        """Return the predicted numbers.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            Rows.
        quantile : float or sequence of float, optional
            Which of the quantiles that were trained. Default: of these the one nearest to one half.
        return_std : bool
            Whether to return the members' standard deviation too: how far they disagree, not how
            far the target scatters. Needs two members.

        Returns
        -------
        numpy.ndarray of shape (n_samples,) or (n_samples, n_targets)
            In the units of y; with a sequence of quantiles a last axis for them. Quantiles never
            cross: each row's are sorted (Chernozhukov, Fernández-Val, Galichon 2010).
        numpy.ndarray of the same shape
            If asked for, the standard deviation.

        Raises
        ------
        DomainError
            If a standard deviation is asked of one member, or a quantile that was not trained.
        """
        members = self._members(X)
        if return_std and len(members) < 2:
            raise DomainError(
                "how far members disagree takes two of them, however: return_std=True and there is "
                "1; fit with n_members=2 or more"
            )
        pick = self._pick(quantile)
        mean = self._by_target(members.mean(0))[..., pick]
        if self.n_outputs_ == 1:
            mean = mean[:, 0]
        if not return_std:
            return mean
        each = self._by_target(members)[..., pick]
        return mean, each.std(0).reshape(mean.shape)

    def predict_members(self, X: Any, quantile: Any = None) -> Array:
        """Return each member's own prediction.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            Rows.
        quantile : float or sequence of float, optional
            As in `predict`.

        Returns
        -------
        numpy.ndarray of shape (n_members, n_samples) or (n_members, n_samples, n_targets)
            In the units of y; with a sequence of quantiles a last axis for them.
        """
        each = self._by_target(self._members(X))[..., self._pick(quantile)]
        return np.asarray(each[:, :, 0] if self.n_outputs_ == 1 else each)

    def _pick(self, quantile: Any) -> Any:
        """Return the place of a quantile, or the places of several."""
        levels = self.quantiles_
        if quantile is None:
            return 0 if levels is None else int(np.argmin(np.abs(np.array(levels) - 0.5)))
        wanted = np.atleast_1d(quantile).tolist()
        if levels is None or any(q not in levels for q in wanted):
            raise DomainError(
                f"quantile must be one that was trained ({levels}), however: "
                f"quantile={quantile!r}; give SNNRegressor(quantiles=...) those you need"
            )
        places = [levels.index(q) for q in wanted]
        return places if np.ndim(quantile) else places[0]
