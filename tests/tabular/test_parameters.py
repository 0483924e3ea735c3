"""What the estimators refuse, and in what words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from selfnorm.errors import BackendError, DataError, DomainError
from selfnorm.tabular import SNNClassifier, SNNRegressor
from selfnorm.tabular._plan import seeds_for

X = np.random.default_rng(0).normal(size=(30, 3))
Y = np.arange(30) % 3


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("hidden_layer_sizes", (8, 0), r"hidden_layer_sizes must be an integer, 1 or more"),
        ("hidden_layer_sizes", "wide", r"hidden_layer_sizes must be 'auto' or the units"),
        ("hidden_layer_sizes", None, r"hidden_layer_sizes=None"),
        ("activation", "swish", r"activation must be one of .*activation='swish'"),
        ("fixed_point", (0.0, -1.0), r"var"),
        ("fixed_point", "deep", r"fixed_point must be \(mean, var\) or 'depth-matched'"),
        ("dropout", 1.0, r"dropout must be a number in \[0, 1\), however: dropout=1.0"),
        ("dropout", "none", r"dropout='none'"),
        ("n_members", 0, r"n_members must be an integer, 1 or more, however: n_members=0"),
        ("n_members", 2.5, r"n_members=2.5"),
        ("solver", "lbfgs", r"solver must be one of \['adamw', 'sgd'\], however: solver='lbfgs'"),
        ("learning_rate", "invscaling", r"learning_rate must be one of"),
        ("learning_rate_init", 0.0, r"learning_rate_init must be a number in \(0, inf\)"),
        ("weight_decay", -1.0, r"weight_decay=-1.0"),
        ("batch_size", 0, r"batch_size=0"),
        ("max_iter", 0, r"max_iter must be an integer, 1 or more, however: max_iter=0"),
        ("bins", 1, r"bins must be 0 or at least 2"),
        ("bins", -3, r"bins=-3"),
        ("label_smoothing", 1.0, r"label_smoothing=1.0"),
        ("class_weight", "even", r"class_weight must be None, 'balanced' or a dict"),
        ("class_weight", {5: 2.0}, r"class_weight must map classes of y, \[0, 1, 2\]"),
        ("class_weight", {0: -2.0}, r"class_weight\[0\]=-2.0"),
        ("calibrate", "yes", r"calibrate must be True or False"),
        ("early_stopping", "yes", r"early_stopping must be True or False"),
        ("validation_fraction", 1.0, r"validation_fraction=1.0"),
        ("n_iter_no_change", 0, r"n_iter_no_change=0"),
        ("tol", -1.0, r"tol=-1.0"),
        ("warm_start", None, r"warm_start must be True or False"),
        ("random_state", -1, r"random_state must be an integer, 0 or more"),
        ("random_state", "zero", r"random_state='zero'"),
        ("device", "abacus", r"device must be 'cpu', 'cuda' or 'cuda:N', however"),
        ("n_jobs", 0, r"n_jobs must be an integer, 1 or more, however: n_jobs=0; None"),
        ("categorical_features", ["colour"], r"categorical_features"),
    ],
)
def test_a_parameter_is_refused_by_fit(name: str, value: Any, text: str) -> None:
    model = SNNClassifier(**{name: value})  # the constructor takes everything
    with pytest.raises(DomainError, match=text) as caught:
        model.fit(X, Y)
    assert "however: " in str(caught.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"loss": "absolute"}, r"loss must be one of"),
        ({"quantiles": ()}, r"quantiles must have at least one number"),
        ({"quantiles": (0.5, 1.0)}, r"quantiles=1.0"),
        ({"quantiles": (0.5,), "loss": "huber"}, r"loss='huber'"),
    ],
)
def test_a_parameter_of_the_regressor_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(DomainError, match=text):
        SNNRegressor(**options).fit(X, X[:, 0])


@pytest.mark.parametrize(
    ("y", "text"),
    [
        (np.zeros(30), r"at least 2 classes .* only one class came, .*0.0"),
        (np.where(Y == 1, np.nan, Y), r"y must have no missing .*, however: y\[1\]=.*nan"),
        ([None, *"ab" * 14, "a"], r"y must have no missing"),
        (np.linspace(0, 1, 30), r"Unknown label type: continuous"),
        (Y[:-1], r"inconsistent numbers of samples"),
        (np.column_stack([Y, Y + 1]), r"several classes a column"),
        (None, r"must have targets; give y"),
    ],
)
def test_labels_are_refused(y: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        SNNClassifier().fit(X, y)


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        (np.where(Y == 2, -1.0, 1.0), r"sample_weight must be 0 or more, .*sample_weight\[2\]=-1"),
        (np.zeros(30), r"all weights are zero"),
        (np.ones(29), r"sample_weight.shape=\(29,\)"),
        (np.full(30, np.nan), r"sample_weight contains NaN"),
        ((Y == 1).astype(float), r"only one class came"),
    ],
)
def test_weights_are_refused(weights: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        SNNClassifier().fit(X, Y, sample_weight=weights)


def test_other_refusals() -> None:
    with pytest.raises(ValueError, match=r"Input y contains NaN"):
        SNNRegressor().fit(X, np.full(30, np.nan))
    with pytest.raises(DataError, match=r"at least 2 rows of positive weight, however: n_samples"):
        SNNRegressor().fit(X[:1], [1.0])
    with pytest.raises(ValueError, match="row 4"):
        SNNRegressor().fit(np.where(X[4, 1] == X, np.inf, X), X[:, 0])
    with pytest.raises(DomainError, match="holds no rows out"):
        SNNRegressor(early_stopping=True).partial_fit(X, X[:, 0])
    with pytest.raises(DomainError, match="class_weight needs one class for each row"):
        SNNClassifier(class_weight="balanced").fit(X, X > 0)
    with pytest.raises(BackendError, match="torch sees no CUDA device"):
        SNNClassifier(device="cuda:99").fit(X, Y)


def test_constant_columns_give_the_most_frequent_class() -> None:
    y = np.array([0] * 20 + [1] * 10)
    model = SNNClassifier(n_members=2, random_state=0).fit(np.ones((30, 2)), y)
    assert set(model.predict(np.ones((3, 2)))) == {0}
    assert model.predict_proba(np.ones((1, 2)))[0, 0] == pytest.approx(2 / 3, abs=0.1)


def test_seeds_of_different_states_are_unrelated() -> None:
    found = [seed for state in range(50) for seed in seeds_for(state, 8)]
    assert len(set(found)) == 400
    assert seeds_for(3, 2) == seeds_for(3, 8)[:2]  # more members: the first ones stay
    assert seeds_for(None, 2) != seeds_for(None, 2)
    generator = np.random.default_rng(0)
    assert seeds_for(generator, 2) != seeds_for(generator, 2)
