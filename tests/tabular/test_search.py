"""SNNSearchCV against scikit-learn's GridSearchCV."""

from __future__ import annotations

import pickle
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.stats import loguniform
from sklearn.base import is_classifier
from sklearn.datasets import make_classification, make_regression
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.pipeline import make_pipeline

from selfnorm.errors import DomainError
from selfnorm.tabular import SNNClassifier, SNNRegressor, SNNSearchCV, _search

FEW: dict[str, Any] = {
    "hidden_layer_sizes": (10,),
    "n_members": 2,
    "max_iter": 8,
    "random_state": 0,
}
GRID = {
    "learning_rate_init": [1e-4, 1e-2],
    "dropout": [0.0, 0.2],
    "hidden_layer_sizes": [(8,), (9,)],
}
X, Y = make_classification(101, 6, random_state=0)  # 101: folds of unequal size


@pytest.mark.parametrize(
    ("options", "scoring"),
    [({}, "neg_log_loss"), ({"calibrate": True}, "neg_log_loss"), ({"early_stopping": True}, None)],
)
def test_scores_are_those_of_scikit_learn(options: dict[str, Any], scoring: Any) -> None:
    model = SNNClassifier(**FEW, **options)
    cv = KFold(3, shuffle=True, random_state=0)
    kept: dict[str, Any] = {"cv": cv, "scoring": scoring, "return_train_score": True}
    one = SNNSearchCV(model, GRID, **kept).fit(X, Y)
    other = GridSearchCV(model, GRID, **kept).fit(X, Y)
    assert set(one.cv_results_) == set(other.cv_results_)
    for name, expected in other.cv_results_.items():
        if name.endswith("_time"):
            continue
        if name.startswith("param"):
            assert np.asarray(one.cv_results_[name] == expected).all(), name
        elif "score" in name and "rank" not in name:
            # The stated bound: members of unlike rates share no call of the optimiser, whose
            # roundings differ by 1e-7 a step.
            np.testing.assert_allclose(one.cv_results_[name], expected, atol=2e-4, err_msg=name)
    assert one.best_params_ == other.best_params_
    assert one.best_score_ == pytest.approx(other.best_score_, abs=2e-4)
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))
    np.testing.assert_array_equal(one.classes_, other.classes_)
    assert one.score(X, Y) == pytest.approx(other.score(X, Y))
    assert is_classifier(one)


def test_regression_with_groups_weights_and_frames() -> None:
    matrix, y = make_regression(90, 4, noise=3.0, random_state=0)
    frame = pd.DataFrame(matrix, columns=list("abcd"))
    frame.loc[::9, "b"] = np.nan
    groups, weights = np.arange(90) % 5, np.random.default_rng(0).uniform(size=90)
    model, grid = SNNRegressor(**FEW), {"weight_decay": [0.0, 0.3], "loss": ["squared", "huber"]}
    one = SNNSearchCV(model, grid, cv=GroupKFold(3)).fit(
        frame, y, sample_weight=weights, groups=groups
    )
    other = GridSearchCV(model, grid, cv=GroupKFold(3)).fit(
        frame, y, sample_weight=weights, groups=groups
    )
    np.testing.assert_allclose(
        one.cv_results_["mean_test_score"], other.cv_results_["mean_test_score"], atol=2e-4
    )
    assert one.feature_names_in_.tolist() == list("abcd")
    assert not hasattr(one, "predict_proba")
    assert one.n_features_in_ == 4


def test_what_differs_in_a_rate_trains_together(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = _search.train

    def counted(jobs: Any) -> Any:
        calls.append(len(jobs))
        return real(jobs)

    monkeypatch.setattr(_search, "train", counted)
    grid = {"learning_rate_init": [1e-3, 1e-2], "weight_decay": [0.0, 0.1]}
    SNNSearchCV(SNNClassifier(**FEW), grid, cv=KFold(4), refit=False).fit(X[:100], Y[:100])
    assert calls == [16]  # 4 candidates, 4 folds, 32 members
    calls.clear()
    SNNSearchCV(SNNClassifier(**FEW), grid, cv=KFold(4), n_members=1, refit=False).fit(X, Y)
    assert sum(calls) == 16
    calls.clear()
    grid = {"hidden_layer_sizes": [(3,), (4,), (5,)]}
    SNNSearchCV(SNNClassifier(**FEW), grid, cv=KFold(4), refit=False).fit(X[:100], Y[:100])
    assert calls == [4, 4, 4]


def test_candidates_are_drawn() -> None:
    model = SNNClassifier(**FEW)
    space = {"learning_rate_init": loguniform(1e-4, 1e-1), "dropout": [0.0, 0.1]}
    search = [
        SNNSearchCV(model, space, n_iter=3, cv=2, random_state=s, refit=False).fit(X, Y)
        for s in (0, 0, 1)
    ]
    rates = [[p["learning_rate_init"] for p in s.cv_results_["params"]] for s in search]
    assert rates[0] == rates[1] != rates[2]
    assert len(set(rates[0])) == 3
    with pytest.raises(NotFittedError, match="refit=True"):
        search[0].predict(X)


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_joblib_gives_the_same(backend: str) -> None:
    model = SNNClassifier(**FEW)
    with joblib.parallel_config(backend=backend):
        one, two = (
            SNNSearchCV(model, GRID, cv=2, n_jobs=n, scoring="neg_log_loss").fit(X, Y)
            for n in (1, 2)
        )
    np.testing.assert_array_equal(
        one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"]
    )
    copy = pickle.loads(pickle.dumps(two))
    np.testing.assert_array_equal(copy.predict(X), one.predict(X))


@pytest.mark.parametrize(
    ("estimator", "space", "options", "text"),
    [
        (make_pipeline(SNNClassifier()), GRID, {}, "search pipelines with GridSearchCV"),
        (SNNClassifier(), {"rate": [1.0]}, {}, r"name parameters of SNNClassifier, .*'rate'"),
        (SNNClassifier(), {"dropout": []}, {}, "param_distributions must map"),
        (SNNClassifier(), {"dropout": 0.1}, {}, "param_distributions must map"),
        (SNNClassifier(), {"dropout": [0.0, 7.0]}, {}, "dropout=7.0"),
        (SNNClassifier(), [], {}, "must give a candidate"),
    ],
)
def test_refusals(estimator: Any, space: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(DomainError, match=text):
        SNNSearchCV(estimator, space, **options).fit(X, Y)
