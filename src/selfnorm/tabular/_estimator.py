"""What SNNClassifier and SNNRegressor have in common."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from selfnorm import nn, train
from selfnorm.errors import ConvergenceError, DataError, DomainError
from selfnorm.tabular._checks import check_table, check_weights, warn_of
from selfnorm.tabular._defaults import Task, defaults_for
from selfnorm.tabular._engine import Job, Trained, trainer_of
from selfnorm.tabular._engine import train as train_members
from selfnorm.tabular._ensemble import AveragedNetworks, Ensemble
from selfnorm.tabular._held_out import held_out, held_out_outputs
from selfnorm.tabular._plan import Plan, check_parameters, plan_for, seeds_for
from selfnorm.tabular._preprocessing import Preprocessor
from selfnorm.tabular._preprocessing._target_codes import FOLDS, target_columns
from selfnorm.tabular._rows import Rows, merge, parts

if TYPE_CHECKING:
    from pathlib import Path

    from selfnorm.train._losses import Loss

__all__ = ["Estimator"]

Array = NDArray[Any]

_STREAM_ROWS: Final = 10_000  # what partial_fit takes a stream to have, at least


class Estimator(BaseEstimator):  # type: ignore[misc]
    """Preprocessing, members in training, and their mean: all but the meaning of y."""

    # Subclasses take all parameters by name, as scikit-learn asks; they are read here.
    hidden_layer_sizes: Any
    bins: Any
    categorical_features: Any
    random_state: Any
    device: Any
    n_jobs: Any
    early_stopping: Any
    warm_start: Any
    validation_fraction: Any
    weight_decay: Any

    preprocessor_: Preprocessor
    networks_: list[nn.SNN]
    n_features_in_: int
    n_outputs_: int
    out_activation_: str
    t_: int
    _online: train.Trainer | None = None

    # ---- what subclasses say -----------------------------------------------------------------

    def _loss(self) -> Loss:
        """Return the engine's loss, without label smoothing."""
        raise NotImplementedError

    def _network_outputs(self) -> int:
        """Return the number of outputs of each network."""
        raise NotImplementedError

    def _encode(
        self, y: Any, weights: Array | None, *, describe: bool
    ) -> tuple[Array, Array | None]:
        """Check y and set what describes it; return the engine's targets and the rows' weights."""
        raise NotImplementedError

    def _scale_targets(self, rows: Rows, *, first: bool, stream: bool = False) -> Rows:
        """Bring real targets to what the networks learn, of mean 0 and variance 1."""
        return rows

    def _cross_fit(self, job: Job) -> Job:
        """Return the job with what calibration needs: further members, or rows held out."""
        return job

    def _calibrate(self, rows: Rows, outputs: Array, seen: Array) -> None:
        """Learn from outputs (kinds, n, outputs) for held-out and for seen rows, else NaN."""

    def _mixes(self) -> bool:
        """Tell whether members may differ in weight decay, their shares being calibrated."""
        return False

    def _scaling(self) -> tuple[Array, Array]:
        """Return factor and summand of the mean output."""
        raise NotImplementedError

    def _linear_part(self) -> Array | None:
        """Return coefficients (columns, outputs) of what is added to the scaled mean output."""
        return None

    # ---- data in -----------------------------------------------------------------------------

    def _prepare(self, X: Any, y: Any, sample_weight: Any, *, first: bool, described: bool) -> Rows:
        """Check the data and return training rows.

        If ``first``, fit the preprocessing; if not ``described``, see what y is.
        """
        X = check_table(self, X, reset=first)
        if y is None:
            raise DomainError(
                f"requires y to be passed, but the target y is None: {type(self).__name__}.fit "
                "must have targets; give y"
            )
        check_consistent_length(X, y)
        count = X.shape[0]
        weights = check_weights(sample_weight, count)
        y, weights = self._encode(y, weights, describe=not described)
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
        job = self._job(X, y, sample_weight)
        with threads(self.n_jobs):
            (trained,) = train_members([job])
            self._conclude(job, trained)
        return self

    def _job(self, X: Any, y: Any, sample_weight: Any) -> Job:
        """Check everything, fit the preprocessing, and say what is to be trained."""
        check_parameters(self)
        going_on = bool(self.warm_start) and hasattr(self, "networks_")
        rows = self._prepare(X, y, sample_weight, first=not going_on, described=going_on)
        rows = merge(rows.X, rows.y, rows.weights)
        if not going_on:
            rows = self._describe_levels(rows)
        rows = self._scale_targets(rows, first=not going_on)
        if not going_on:
            rows = self._widen(rows, len(rows))
        return self._job_of(rows, going_on=going_on)

    def _describe_levels(self, rows: Rows) -> Rows:
        """Append to categories of many levels what the targets are like in each."""
        if not self.preprocessor_.coded:
            return rows
        classes = rows.y.ndim == 1
        folds = parts(rows.y, FOLDS, self.preprocessor_.random_state, classes=classes)
        X = self.preprocessor_.add_targets(
            rows.X, target_columns(rows.y, classes), rows.weights, folds
        )
        return dataclasses.replace(rows, X=X)

    def _widen(self, rows: Rows, count: int) -> Rows:
        """Append the piecewise linear features that a table of ``count`` rows shall have."""
        task: Task = "regression" if self.out_activation_ == "identity" else "classification"
        bins = self.bins
        if isinstance(bins, str):
            bins = defaults_for(count, rows.X.shape[1], self._network_outputs(), task).bins
        if not bins:
            return rows
        return dataclasses.replace(rows, X=self.preprocessor_.add_bins(int(bins), rows.X))

    def _job_of(self, rows: Rows, *, going_on: bool = False) -> Job:
        """Say what is to be trained on rows that are ready."""
        start = self.networks_ if going_on else None
        plans = self._plans(rows, start)
        self._online = None
        job = Job(rows, plans, start=start)
        if plans[0].early_stopping is not None:
            return held_out(job, self.validation_fraction)
        return self._cross_fit(job)

    def _plans(self, rows: Rows, networks: list[nn.SNN] | None, count: int = 0) -> list[Plan]:
        """Return a plan for each member, for as many rows as there are or for ``count``.

        Members that go on from ``networks`` keep their number and sizes where these are "auto".
        """
        plan, members = plan_for(
            self, count or len(rows), rows.X.shape[1], self._network_outputs(), self._loss()
        )
        if networks is not None:
            known = train.Architecture.of(networks[0])
            if isinstance(self.hidden_layer_sizes, str):
                plan = dataclasses.replace(
                    plan, architecture=dataclasses.replace(plan.architecture, sizes=known.sizes)
                )
            if isinstance(self.n_members, str):
                members = len(networks)
            kind = (known.sizes, known.activation, len(networks))
            if kind != (plan.architecture.sizes, plan.architecture.activation, members):
                raise DomainError(
                    "training goes on with the networks at hand, "
                    f"{len(networks)} of sizes {known.sizes} with {known.activation}, however: "
                    f"hidden_layer_sizes={self.hidden_layer_sizes!r}, "
                    f"activation={self.activation!r}, n_members={members}; leave "
                    "these as they were, or start anew with a clone"
                )
        decays = [plan.weight_decay] * members
        if isinstance(self.weight_decay, str):
            # The streams of partial_fit hold no rows out that could tell how the kinds compare.
            decaying = members // 2 if self._mixes() and not count else 0
            decays[: members - decaying] = [0.0] * (members - decaying)
        seeds = seeds_for(self.random_state, members)
        return [
            dataclasses.replace(plan, seed=seed, weight_decay=decay)
            for seed, decay in zip(seeds, decays, strict=True)
        ]

    def _conclude(self, job: Job, trained: Trained) -> None:
        """Take over what was trained."""
        members = len(job.plans) - job.extra
        self._set_networks(trained.networks[:members])
        self._describe_members(job.plans[:members])
        self._set_history(job, trained, members)
        if job.held_out is not None:
            networks = trained.networks[members:] if job.extra else trained.networks
            self._calibrate(job.rows, *held_out_outputs(Ensemble(networks, self.device), job))

    def _set_networks(self, networks: list[nn.SNN]) -> None:
        self.networks_ = networks
        self.n_layers_ = len(networks[0].widths) + 2
        self._averaged = Ensemble(networks, self.device)

    def _describe_members(self, plans: Sequence[Plan]) -> None:
        self.member_weight_decays_ = np.array([plan.weight_decay for plan in plans])
        self.member_factors_ = np.ones(len(plans))

    def _weigh(self, factors: Array) -> None:
        """Multiply each member's outputs by a factor; the heads take it up."""
        self.member_factors_ = factors
        with torch.no_grad():
            for network, factor in zip(self.networks_, factors.tolist(), strict=True):
                for parameter in network.head.parameters():
                    parameter.mul_(factor)
        self._set_networks(self.networks_)

    def _set_history(self, job: Job, trained: Trained, members: int) -> None:
        plan = job.plans[0]
        self.n_iter_ = len(trained.loss)
        before = self.t_ if self.warm_start and hasattr(self, "t_") else 0
        self.t_ = before + self.n_iter_ * len(job.rows)
        self.loss_curve_ = [_mean(losses[:members]) for losses in trained.loss]
        self.loss_ = self.loss_curve_[-1]
        self.best_loss_ = min(self.loss_curve_)
        self.validation_scores_ = self.best_validation_score_ = None
        if plan.early_stopping is not None:
            self.validation_scores_ = [-_mean(losses) for losses in trained.validation_loss]
            self.best_validation_score_ = max(self.validation_scores_)
        warn_of(self, plan, trained)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, *, described: bool) -> Self:
        check_parameters(self)
        if self.early_stopping:
            raise DomainError(
                "partial_fit holds no rows out, however: early_stopping=True; set it to False"
            )
        first = not hasattr(self, "networks_")
        rows = self._prepare(X, y, sample_weight, first=first, described=described)
        if first:
            rows = self._widen(rows, max(_STREAM_ROWS, len(rows)))
        rows = self._scale_targets(rows, first=first, stream=True)
        if self._online is None:
            # A stream has more rows than its first batch.
            start = None if first else self.networks_
            plans = self._plans(rows, start, max(_STREAM_ROWS, len(rows)))
            self._online = trainer_of(plans, start)
            self._describe_members(plans)
            if first:
                self.t_, self.n_iter_, self.loss_curve_ = 0, 0, []
                self.validation_scores_ = self.best_validation_score_ = None
        try:
            with threads(self.n_jobs):
                losses = self._online.partial_fit(rows.X, rows.y, sample_weight=rows.weights)
        except ConvergenceError as error:
            raise ConvergenceError(
                "the weights must stay finite, however: they did not in call "
                f"{self.n_iter_ + 1} of partial_fit, and what was learned before is kept; lower "
                f"learning_rate_init={self.learning_rate_init!r} and start anew"
            ) from error
        members = range(len(losses))
        self._set_networks([self._online.export(k).cpu() for k in members])
        self.t_ += len(rows)
        self.n_iter_ += 1
        self.loss_ = float(np.mean(losses))
        self.loss_curve_ = [*self.loss_curve_, self.loss_]
        self.best_loss_ = min(self.loss_curve_)
        return self

    # ---- predictions -------------------------------------------------------------------------

    def _ensemble(self) -> Ensemble:
        """Return the members as one function; a loaded estimator builds it at first use."""
        if "_averaged" not in self.__dict__:
            self._averaged = Ensemble(self.networks_, self.device)
        return self._averaged

    def _outputs(self, X: Any) -> Array:
        """Return the members' outputs, shape (members, n, outputs)."""
        return self._rows_and_outputs(X)[1]

    def _rows_and_outputs(self, X: Any) -> tuple[Array, Array]:
        """Return the preprocessed rows too."""
        if not hasattr(self, "networks_"):
            check_is_fitted(self, "networks_")
        X = check_table(self, X, reset=False)
        with threads(self.n_jobs):
            rows = self.preprocessor_.transform(X)
            return rows, self._ensemble()(rows)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is built from the rest."""
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_averaged"}

    def to_torch(self) -> AveragedNetworks:
        """Return the members as one module, for preprocessed rows.

        Returns
        -------
        torch.nn.Module
            In evaluation mode: maps ``preprocessor_.transform(X)``, float32 of shape
            (n, features), to what `predict` starts from, shape (n, outputs): logits of calibrated
            probabilities for classes; units of the targets for regression, where quantiles stand
            target by target. Copies of the members are in its ``networks``.
        """
        check_is_fitted(self, "networks_")
        quantiles = self._network_outputs() // self.n_outputs_
        networks = copy.deepcopy(self.networks_)
        return AveragedNetworks(
            networks, *self._scaling(), quantiles, linear=self._linear_part()
        ).eval()

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


def _mean(values: Sequence[float | None]) -> float:
    return float(np.mean([value for value in values if value is not None]))


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
