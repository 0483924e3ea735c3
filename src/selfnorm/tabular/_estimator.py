"""What SNNClassifier and SNNRegressor have in common."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import _safe_indexing, check_array
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from selfnorm import nn, train
from selfnorm.errors import DataError, DomainError
from selfnorm.tabular._engine import Trained, mean_curve
from selfnorm.tabular._engine import train as train_members
from selfnorm.tabular._ensemble import AveragedNetworks, Ensemble
from selfnorm.tabular._plan import Plan, check_parameters, plan_for, seeds_for
from selfnorm.tabular._preprocessing import Preprocessor
from selfnorm.tabular._rows import Rows, merge, parts

if TYPE_CHECKING:
    from pathlib import Path

    from selfnorm.train._losses import Loss

__all__ = ["Estimator"]

Array = NDArray[Any]


class Estimator(BaseEstimator):  # type: ignore[misc]
    """Preprocessing, members in training, and their mean: all but the meaning of y."""

    # Subclasses take all parameters by name, as scikit-learn asks; they are read here.
    hidden_layer_sizes: Any
    categorical_features: Any
    random_state: Any
    device: Any
    n_jobs: Any
    early_stopping: Any
    warm_start: Any
    validation_fraction: Any

    preprocessor_: Preprocessor
    networks_: list[nn.SNN]
    n_features_in_: int
    n_outputs_: int

    # ---- what subclasses say -----------------------------------------------------------------

    def _loss(self) -> Loss:
        """Return the engine's loss, without label smoothing."""
        raise NotImplementedError

    def _encode(self, y: Any, weights: Array | None, *, first: bool) -> tuple[Array, Array | None]:
        """Check y and set what describes it; return the engine's targets and the rows' weights."""
        raise NotImplementedError

    def _conclude(self, rows: Rows, outputs: Array | None) -> None:
        """Take note of the held-out outputs (n, outputs), NaN where there are none."""

    # ---- data in -----------------------------------------------------------------------------

    def _check_inputs(self, X: Any, *, reset: bool) -> Any:
        """Check form and names; what the columns hold is the preprocessor's to check."""
        names_only = hasattr(X, "columns") or (isinstance(X, np.ndarray) and X.dtype == object)
        if names_only:
            validate_data(self, X=X, reset=reset, skip_check_array=True)
            if np.ndim(X) != 2:
                check_array(X, dtype=None)  # raises with scikit-learn's words
            return X
        return validate_data(
            self,
            X=X,
            reset=reset,
            accept_sparse=True,
            dtype=None,
            ensure_all_finite=False,
        )

    def _check_weights(self, sample_weight: Any, count: int) -> Array | None:
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

    def _prepare(self, X: Any, y: Any, sample_weight: Any, *, first: bool = True) -> Rows:
        """Check the data, fit the preprocessing if ``first``, and return training rows."""
        X = self._check_inputs(X, reset=first)
        if y is None:
            raise DomainError(
                f"requires y to be passed, but the target y is None: {type(self).__name__}.fit "
                "must have targets; give y"
            )
        check_consistent_length(X, y)
        count = X.shape[0]
        weights = self._check_weights(sample_weight, count)
        y, weights = self._encode(y, weights, first=first)
        if weights is not None and not weights.all():
            used = np.flatnonzero(weights)
            X, y, weights = _safe_indexing(X, used), y[used], weights[used]
        if first:
            if len(y) < 2:
                raise DataError(
                    "X must have at least 2 rows of positive weight, however: n_samples=1"
                )
            seed = seeds_for(self.random_state if isinstance(self.random_state, int) else 0, 1)[0]
            self.preprocessor_ = Preprocessor(
                categorical_features=self.categorical_features, random_state=seed
            ).fit(X, sample_weight=weights)
        return Rows(self.preprocessor_.transform(X), y, weights)

    # ---- training ----------------------------------------------------------------------------

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> Self:
        check_parameters(self)
        going_on = bool(self.warm_start) and hasattr(self, "networks_")
        rows = self._prepare(X, y, sample_weight, first=not going_on)
        rows = self._scale_targets(merge(rows.X, rows.y, rows.weights), first=not going_on)
        plan, members = plan_for(self, len(rows), rows.X.shape[1], self.n_outputs_, self._loss())
        seeds = seeds_for(self.random_state, members)
        plans = [plan.__class__(**{**vars(plan), "seed": seed}) for seed in seeds]
        start = self.networks_ if going_on else None
        if start is not None and (
            len(start) != members
            or train.Architecture.of(start[0]).sizes != plan.architecture.sizes
        ):
            raise DomainError(
                "warm_start goes on with the same networks, however: hidden_layer_sizes, n_members "
                "or the data ask for others; set warm_start=False"
            )
        only = held = None
        if plan.early_stopping is not None:
            only, held = self._split(rows, members, seeds[0])
        with threads(self.n_jobs):
            trained = train_members(plans, rows, only=only, held=held, start=start)
        self._keep(trained, plan, len(rows))
        outputs = None
        if held is not None:
            outputs = self._held_outputs(rows, held)
        self._conclude(rows, outputs)
        return self

    def _scale_targets(self, rows: Rows, *, first: bool) -> Rows:
        """Bring real targets to mean 0 and variance 1."""
        return rows

    def _split(self, rows: Rows, members: int, seed: int) -> tuple[list[Array], list[Array]]:
        """Return rows to train on and rows to hold out for each member.

        The members hold different parts out, so that together they see all rows.
        """
        count = max(2, min(len(rows), round(1.0 / self.validation_fraction)))
        pieces = parts(rows.y, count, seed, classes=rows.y.ndim == 1)
        everything = np.arange(len(rows))
        held = [pieces[k % count] for k in range(members)]
        return [np.setdiff1d(everything, part) for part in held], held

    def _held_outputs(self, rows: Rows, held: Sequence[Array]) -> Array:
        """Return each row's mean output of the members that held it out; NaN for none."""
        outputs = self._ensemble()(rows.X)
        mask = np.zeros((len(held), len(rows), 1), dtype=bool)
        for k, part in enumerate(held):
            mask[k, part] = True
        counts = mask.sum(0)
        total = np.where(mask, outputs, 0.0).sum(0)
        mean: Array = np.divide(total, counts, out=np.full_like(total, np.nan), where=counts > 0)
        return mean

    def _keep(self, trained: Trained, plan: Plan, count: int) -> None:
        history = trained.result.history
        self.networks_ = trained.networks
        self.n_layers_ = len(plan.architecture.hidden) + 2
        self.n_iter_ = len(history)
        self.t_ = getattr(self, "t_", 0) if self.warm_start else 0
        self.t_ += self.n_iter_ * count
        self.loss_curve_ = mean_curve([record.loss for record in history])
        self.loss_ = self.loss_curve_[-1]
        self.best_loss_ = min(self.loss_curve_)
        self.validation_scores_ = None
        self.best_validation_score_ = None
        if plan.early_stopping is not None:
            losses = mean_curve([record.metric or () for record in history])
            self.validation_scores_ = [-loss for loss in losses]
            self.best_validation_score_ = max(self.validation_scores_)
        self._averaged = Ensemble(self.networks_, plan.device)

    # ---- predictions -------------------------------------------------------------------------

    def _ensemble(self) -> Ensemble:
        """Return the members as one function; a loaded estimator builds it at first use."""
        if "_averaged" not in self.__dict__:
            self._averaged = Ensemble(self.networks_, self.device)
        return self._averaged

    def _outputs(self, X: Any) -> Array:
        """Return the members' outputs, shape (members, n, outputs)."""
        check_is_fitted(self, "networks_")
        X = self._check_inputs(X, reset=False)
        with threads(self.n_jobs):
            return self._ensemble()(self.preprocessor_.transform(X))

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is built from the rest."""
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_averaged"}

    def _scaling(self) -> tuple[Array, Array]:
        """Return factor and summand of the mean output."""
        raise NotImplementedError

    def to_torch(self) -> AveragedNetworks:
        """Return the members as one module, for preprocessed rows.

        Returns
        -------
        torch.nn.Module
            In evaluation mode: maps ``preprocessor_.transform(X)``, float32 of shape
            (n, features), to what `predict` starts from, shape (n, outputs): logits of calibrated
            probabilities for classes, units of the target for regression. Copies of the members
            are in its ``networks``.
        """
        import copy

        check_is_fitted(self, "networks_")
        return AveragedNetworks(copy.deepcopy(self.networks_), *self._scaling()).eval()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the estimator to a file that `selfnorm.load` reads; see there.

        Parameters
        ----------
        path : str or path-like
            The file: safetensors with JSON in it, no code.

        Returns
        -------
        pathlib.Path
            The file written.
        """
        from selfnorm.tabular._saving import save

        check_is_fitted(self, "networks_")
        return save(self, path)

    def to_onnx(self, path: str | os.PathLike[str]) -> Path:
        """Write the estimator, preprocessing included, to an ONNX file.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        pathlib.Path
            The file written.
        """
        from selfnorm.tabular._onnx import export

        check_is_fitted(self, "networks_")
        return export(self, path)

    def __sklearn_tags__(self) -> Any:
        """Say what data are welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags


@contextlib.contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Let torch use so many threads; None leaves it as it is."""
    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(int(count))
    try:
        yield
    finally:
        torch.set_num_threads(before)
