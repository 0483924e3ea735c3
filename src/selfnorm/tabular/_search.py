"""Search for parameters, with candidates and folds trained side by side."""

from __future__ import annotations

import dataclasses
import inspect
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.base import clone, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import ParameterGrid, ParameterSampler, check_cv
from sklearn.utils import _safe_indexing
from sklearn.utils.parallel import Parallel, delayed

from selfnorm.errors import DomainError
from selfnorm.tabular._delegation import Delegation
from selfnorm.tabular._engine import Job, train
from selfnorm.tabular._estimator import Estimator, threads
from selfnorm.tabular._plan import check_parameters

__all__ = ["SNNSearchCV"]

Array = NDArray[np.float64]

# On one core 16 to 32 members of 15,000 weights take the least time a member: fewer do not fill
# the products, more do not fit the cache.
_TOGETHER: Final = 32
# What must be equal for two candidates to train on the same prepared rows.
_PREPARING: Final = (
    "bins",
    "categorical_features",
    "class_weight",
    "linear",
    "loss",
    "quantiles",
    "random_state",
)


class SNNSearchCV(Delegation):
    """Search the parameters of an estimator by cross-validation, training candidates side by side.

    Candidates that differ in ``learning_rate_init``, ``dropout`` or ``weight_decay``, and the folds
    of each, are members of one training; those that differ in anything else (widths, depth, epochs,
    label smoothing) are trained in turn. Scores are those of scikit-learn's GridSearchCV but for
    roundings that a training amplifies.

    Parameters
    ----------
    estimator : SNNClassifier or SNNRegressor
        What is not searched.
    param_distributions : dict or list of dict
        Values of each parameter; with ``n_iter`` also distributions of scipy.stats.
    n_iter : int, optional
        How many candidates to draw. Default: all combinations.
    n_members : int, optional
        Members of each candidate in the search, where fewer do for a comparison; the refit has the
        estimator's. Default: the estimator's.
    scoring : str or callable, optional
        As in GridSearchCV, one score. Default: the estimator's ``score``.
    cv : int, splitter or iterable, optional
        As in GridSearchCV. Default: 5 folds.
    refit : bool
        Whether to train ``best_estimator_`` on all rows.
    random_state : int, RandomState or None
        For drawing candidates.
    n_jobs : int, optional
        Trainings at the same time, through joblib: ``joblib.parallel_config`` sends them to a
        cluster.
    return_train_score : bool
        Whether to score the training rows too.
    verbose : int
        As in GridSearchCV: joblib tells of finished trainings.

    Attributes
    ----------
    cv_results_ : dict
        As in GridSearchCV. Times are those of the common trainings, divided evenly.
    best_params_, best_score_, best_index_ : dict, float, int
        The candidate with the highest mean score.
    best_estimator_ : SNNClassifier or SNNRegressor
        Trained on all rows with ``best_params_``.
    refit_time_ : float
        Seconds that took.
    n_splits_ : int
        Folds.
    scorer_ : callable
        The score.
    multimetric_ : bool
        False.

    Raises
    ------
    DomainError
        By `fit`: if the estimator or a parameter is none that can be searched.

    Notes
    -----
    With an int as the estimator's ``random_state`` the result is reproducible; all candidates
    start from the same weights then, which makes their comparison sharper.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from selfnorm.tabular import SNNClassifier, SNNSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> search = SNNSearchCV(
    ...     SNNClassifier(n_members=1, max_iter=20, random_state=0),
    ...     {"learning_rate_init": [1e-4, 1e-2]},
    ...     cv=3,
    ... ).fit(X, y)
    >>> search.best_params_
    {'learning_rate_init': 0.01}
    >>> search.predict(X[:1])
    array([0])
    """

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_iter: int | None = None,
        n_members: int | None = None,
        scoring: Any = None,
        cv: Any = None,
        refit: bool = True,
        random_state: Any = None,
        n_jobs: int | None = None,
        return_train_score: bool = False,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.param_distributions = param_distributions
        self.n_iter = n_iter
        self.n_members = n_members
        self.scoring = scoring
        self.cv = cv
        self.refit = refit
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.return_train_score = return_train_score
        self.verbose = verbose

    def fit(self, X: Any, y: Any, *, sample_weight: Any = None, groups: Any = None) -> Self:
        """Score all candidates, and train the best one on all rows.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), optional
            Weights for training, and for a score that takes weights.
        groups : array-like of shape (n_samples,), optional
            For splitters that keep groups together.

        Returns
        -------
        SNNSearchCV
            Itself.
        """
        if not isinstance(self.estimator, Estimator):
            raise DomainError(
                "estimator must be an SNNClassifier or an SNNRegressor, however: a "
                f"{type(self.estimator).__name__}; search pipelines with GridSearchCV"
            )
        candidates = self._candidates()
        self.scorer_ = check_scoring(self.estimator, self.scoring)
        self.multimetric_ = False
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = list(cv.split(X, y, groups))
        self.n_splits_ = len(splits)
        trials = self._trials(candidates, splits, X, y, sample_weight)
        batches = list(_together(trials))
        scoring = _Scoring(self.scorer_, X, y, sample_weight)
        scored = Parallel(n_jobs=self.n_jobs, verbose=self.verbose)(
            delayed(_run)(batch, splits, scoring, self.return_train_score) for batch in batches
        )
        shape = (len(candidates), len(splits))
        found = {
            name: np.full(shape, np.nan) for name in ("test", "train", "fit_time", "score_time")
        }
        for batch, results in zip(batches, scored, strict=True):
            for trial, result in zip(batch, results, strict=True):
                for name, value in result.items():
                    found[name][trial.candidate, trial.split] = value
        self._report(candidates, found)
        if self.refit:
            start = time.perf_counter()
            best = clone(self.estimator).set_params(**self.best_params_)
            self.best_estimator_ = best.fit(X, y, sample_weight=sample_weight)
            self.refit_time_ = time.perf_counter() - start
            if hasattr(best, "feature_names_in_"):
                self.feature_names_in_ = best.feature_names_in_
        return self

    def _candidates(self) -> list[dict[str, Any]]:
        given = self.param_distributions
        try:
            if self.n_iter is None:
                found = list(ParameterGrid(given))
            else:
                found = list(ParameterSampler(given, self.n_iter, random_state=self.random_state))
        except (TypeError, ValueError) as error:
            raise DomainError(
                "param_distributions must map parameters to lists of values, with n_iter also to "
                f"distributions, however: {error}"
            ) from error
        if not found:
            raise DomainError(
                f"param_distributions must give a candidate, however: param_distributions={given!r}"
            )
        known = self.estimator.get_params(deep=False)
        for name in {name for params in found for name in params}:
            if name not in known:
                raise DomainError(
                    f"param_distributions must name parameters of "
                    f"{type(self.estimator).__name__}, however: {name!r}; it has {sorted(known)}"
                )
        return found

    def _trials(
        self,
        candidates: Sequence[Mapping[str, Any]],
        splits: Sequence[tuple[Any, Any]],
        X: Any,
        y: Any,
        sample_weight: Any,
    ) -> list[_Trial]:
        """Prepare each candidate on each fold."""
        trials: list[_Trial] = []
        ready: dict[tuple[Any, ...], tuple[dict[str, Any], Any]] = {}
        for c, params in enumerate(candidates):
            for k, (rows, _) in enumerate(splits):
                estimator = clone(self.estimator).set_params(**params)
                if self.n_members is not None and "n_members" not in params:
                    estimator.set_params(n_members=self.n_members)
                check_parameters(estimator)
                shown = estimator.get_params(deep=False)
                # repr, since parameters need not be hashable.
                key = (k, *(repr(shown.get(name)) for name in _PREPARING))
                if key in ready:
                    learned, prepared = ready[key]
                    vars(estimator).update(learned)
                    job = estimator._job_of(prepared)
                else:
                    weights = None
                    if sample_weight is not None:
                        weights = _safe_indexing(sample_weight, rows)
                    job = estimator._job(_safe_indexing(X, rows), _safe_indexing(y, rows), weights)
                    learned = {n: v for n, v in vars(estimator).items() if n not in shown}
                    if not isinstance(estimator.random_state, np.random.RandomState):
                        ready[key] = learned, job.rows
                trials.append(_Trial(c, k, estimator, job))
        return trials

    def _report(self, candidates: list[dict[str, Any]], found: dict[str, Array]) -> None:
        """Set what GridSearchCV sets."""
        results: dict[str, Any] = {}
        for name in ("fit_time", "score_time"):
            results[f"mean_{name}"] = found[name].mean(1)
            results[f"std_{name}"] = found[name].std(1)
        for name in sorted({name for params in candidates for name in params}):
            values = np.ma.MaskedArray(np.empty(len(candidates), dtype=object), mask=True)
            for c, params in enumerate(candidates):
                if name in params:
                    values[c] = params[name]
            results[f"param_{name}"] = values
        results["params"] = candidates
        for kind in ("test", "train") if self.return_train_score else ("test",):
            scores = found[kind]
            for k in range(scores.shape[1]):
                results[f"split{k}_{kind}_score"] = scores[:, k]
            results[f"mean_{kind}_score"] = scores.mean(1)
            results[f"std_{kind}_score"] = scores.std(1)
        means = results["mean_test_score"]
        # A score that is no number comes last.
        ranks = rankdata(-np.nan_to_num(means, nan=-np.inf), method="min")
        results["rank_test_score"] = ranks.astype(np.int32)
        self.cv_results_ = results
        self.best_index_ = int(ranks.argmin())
        self.best_params_ = candidates[self.best_index_]
        self.best_score_ = float(means[self.best_index_])


@dataclasses.dataclass
class _Trial:
    """One candidate on one fold."""

    candidate: int
    split: int
    estimator: Estimator
    job: Job


def _together(trials: Sequence[_Trial]) -> Iterator[list[_Trial]]:
    """Yield trials that train together."""
    kinds: list[tuple[Any, list[_Trial]]] = []
    for trial in trials:
        kind = trial.job.kind()
        # By comparison, since a plan need not be hashable.
        same = next((group for other, group in kinds if other == kind), None)
        if same is None:
            kinds.append((kind, [trial]))
        else:
            same.append(trial)
    for _, group in kinds:
        step = max(1, _TOGETHER // len(group[0].job.plans))
        for start in range(0, len(group), step):
            yield group[start : start + step]


@dataclasses.dataclass
class _Scoring:
    """A score of some rows."""

    scorer: Any
    X: Any
    y: Any
    weights: Any

    def __call__(self, estimator: Estimator, rows: Any) -> float:
        options = {}
        if self.weights is not None and _takes_weights(self.scorer):
            options["sample_weight"] = _safe_indexing(self.weights, rows)
        part = _safe_indexing(self.X, rows), _safe_indexing(self.y, rows)
        return float(self.scorer(estimator, *part, **options))


def _takes_weights(scorer: Any) -> bool:
    """Tell what GridSearchCV asks too before it hands weights to a score."""
    if hasattr(scorer, "_accept_sample_weight"):
        return bool(scorer._accept_sample_weight())
    return "sample_weight" in inspect.signature(scorer).parameters


def _run(
    trials: list[_Trial],
    splits: Sequence[tuple[Any, Any]],
    scoring: _Scoring,
    train_score: bool,
) -> list[dict[str, float]]:
    """Train and score."""
    start = time.perf_counter()
    with threads(trials[0].estimator.n_jobs):
        trained = train([trial.job for trial in trials])
        for trial, own in zip(trials, trained, strict=True):
            trial.estimator._conclude(trial.job, own)
    seconds = (time.perf_counter() - start) / len(trials)
    found = []
    for trial in trials:
        used, tested = splits[trial.split]
        start = time.perf_counter()
        result = {"test": scoring(trial.estimator, tested), "fit_time": seconds}
        result["score_time"] = time.perf_counter() - start
        if train_score:
            result["train"] = scoring(trial.estimator, used)
        found.append(result)
    return found
