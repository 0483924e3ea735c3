"""SNNClassifier as its users meet it."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from scipy.stats import entropy
from sklearn.base import clone
from sklearn.datasets import load_iris, make_classification, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from selfnorm.errors import ConvergenceError
from selfnorm.tabular import SNNClassifier

FEW: dict[str, Any] = {"hidden_layer_sizes": (16, 12), "n_members": 3, "max_iter": 12}


@pytest.fixture(scope="module")
def three() -> tuple[np.ndarray, np.ndarray]:
    return make_classification(180, 6, n_informative=5, n_redundant=0, n_classes=3, random_state=0)


def fitted(X: Any, y: Any, **options: Any) -> SNNClassifier:
    return SNNClassifier(**{**FEW, "random_state": 0, **options}).fit(X, y)


def test_defaults_classify_iris() -> None:
    X, y = load_iris(return_X_y=True)
    model = SNNClassifier(random_state=0).fit(X[::2], y[::2])
    assert model.score(X[1::2], y[1::2]) > 0.9
    assert len(model.networks_) == 8
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert model.t_ == model.n_iter_ * len(np.unique(np.c_[X, y][::2], axis=0))


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["red", "green", "blue"]),
        np.array([7, -2, 30]),
        np.array([2.0, 0.5, 1.5]) * 2,
        np.array(["a", "b", "c"], dtype=object),
    ],
    ids=["str", "int", "float", "object"],
)
def test_labels_of_any_kind_come_back(three: Any, labels: np.ndarray) -> None:
    X, y = three
    model = fitted(X, labels[y])
    np.testing.assert_array_equal(model.classes_, np.sort(labels))
    found = model.predict(X)
    assert found.dtype == labels.dtype
    assert (found == labels[y]).mean() > 0.7
    best = model.classes_[model.predict_proba(X).argmax(1)]
    np.testing.assert_array_equal(best, found)


def test_two_classes_have_one_logit() -> None:
    X, y = make_classification(100, 5, random_state=1)
    model = fitted(X, y.astype(bool))
    z, p = model.decision_function(X), model.predict_proba(X)
    assert (model.n_outputs_, model.out_activation_, z.shape) == (1, "logistic", (100,))
    np.testing.assert_allclose(np.log(p[:, 1] / p[:, 0]), z, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(model.predict(X), z > 0)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), p, rtol=1e-12)


def test_labels_that_come_together() -> None:
    X, Y = make_multilabel_classification(150, 8, n_classes=4, random_state=0)
    model = fitted(X, Y)
    assert model.predict_proba(X).shape == (150, 4)
    np.testing.assert_array_equal(model.predict(X), model.predict_proba(X) > 0.5)
    assert (model.predict(X) == Y).mean() > 0.75
    as_sparse = fitted(X, sparse.csr_array(Y))
    np.testing.assert_array_equal(as_sparse.predict_proba(X), model.predict_proba(X))


def test_predictions_are_the_mean_of_the_networks(three: Any) -> None:
    X, y = three
    model = fitted(X, y, calibrate=True)
    rows = torch.from_numpy(model.preprocessor_.transform(X))
    with torch.no_grad():
        mean = sum(network(rows) for network in model.networks_) / 3
        module = model.to_torch()(rows)
    expected = mean / model.temperature_ + torch.from_numpy(model.logit_offsets_)
    np.testing.assert_allclose(model.decision_function(X), expected, atol=1e-5)
    np.testing.assert_allclose(model.decision_function(X), module, atol=1e-5)
    assert model.temperature_ != 1.0
    # A copy: what is done to it does not reach the estimator.
    before = model.decision_function(X)
    with torch.no_grad():
        next(model.to_torch().parameters()).zero_()
    np.testing.assert_array_equal(model.decision_function(X), before)


def test_one_seed_one_model_and_no_global_state(three: Any) -> None:
    X, y = three
    np.random.seed(1)  # noqa: NPY002 - that is what must not be touched
    torch.manual_seed(1)
    states = str(np.random.get_state()), torch.get_rng_state().clone()  # noqa: NPY002
    one, same, other = (fitted(X, y, random_state=s).predict_proba(X) for s in (3, 3, 4))
    fresh = [fitted(X, y, random_state=None).predict_proba(X) for _ in range(2)]
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3
    assert np.abs(fresh[0] - fresh[1]).max() > 1e-3
    assert states[0] == str(np.random.get_state())  # noqa: NPY002
    assert torch.equal(states[1], torch.get_rng_state())
    state = np.random.RandomState(5)
    drawn = [fitted(X, y, random_state=state).predict_proba(X) for _ in range(2)]
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-3
    again = fitted(X, y, random_state=np.random.RandomState(5)).predict_proba(X)
    np.testing.assert_array_equal(drawn[0], again)


def test_neighbouring_seeds_share_no_member(three: Any) -> None:
    X, y = three
    weights = [
        network.head.weight.detach().numpy().tobytes()
        for seed in (0, 1)
        for network in fitted(X, y, random_state=seed).networks_
    ]
    assert len(set(weights)) == 6


@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"class_weight": "balanced"}])
def test_a_weight_is_a_number_of_copies(three: Any, options: dict[str, Any]) -> None:
    X, y = three
    times = np.random.default_rng(0).integers(0, 4, len(y))
    rows = np.random.default_rng(1).permutation(np.repeat(np.arange(len(y)), times))
    copies = fitted(X[rows], y[rows], **options)
    weighted = SNNClassifier(**FEW, random_state=0, **options).fit(X, y, sample_weight=times)
    np.testing.assert_array_equal(copies.predict_proba(X), weighted.predict_proba(X))


@pytest.mark.parametrize("weight", ["balanced", {0: 5.0, 2: 0.2}])
def test_class_weights_are_sample_weights(three: Any, weight: Any) -> None:
    X, y = three
    keep = (y != 1) | (np.arange(len(y)) % 3 == 0)
    X, y = X[keep], y[keep]
    known = {0: 1.0, 1: 1.0, 2: 1.0, **weight} if isinstance(weight, dict) else weight
    by_class = fitted(X, y, class_weight=weight)
    by_row = SNNClassifier(**FEW, random_state=0).fit(
        X, y, sample_weight=compute_sample_weight(known, y)
    )
    np.testing.assert_allclose(by_class.predict_proba(X), by_row.predict_proba(X), atol=1e-5)
    assert np.abs(by_class.predict_proba(X) - fitted(X, y).predict_proba(X)).max() > 0.02


def test_frames_with_gaps_and_texts() -> None:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": generator.normal(size=120),
            "colour": pd.Series(generator.choice(["red", "blue", None], 120), dtype=object),
        }
    )
    frame.loc[::7, "size"] = np.nan
    y = np.where(frame["colour"] == "red", "warm", "cold")
    model = fitted(frame, y, max_iter=40)
    assert model.score(frame, y) > 0.95
    assert model.feature_names_in_.tolist() == ["size", "colour"]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns={"size": "weight"}))
    new = pd.DataFrame({"size": [1e9, np.nan], "colour": ["mauve", "red"]})
    assert np.isfinite(model.predict_proba(new)).all()


def test_plain_matrices_take_the_short_way_and_give_the_same(three: Any) -> None:
    X, y = three
    model = fitted(X, y)
    expected = model.predict_proba(X.tolist())  # lists take the long one
    np.testing.assert_array_equal(model.predict_proba(X), expected)
    np.testing.assert_allclose(model.predict_proba(X.astype(np.float32)), expected, atol=1e-4)
    for bad, text in (
        (X[:, :-1], "X has 5 features, but SNNClassifier is expecting 6"),
        (X[0], "Reshape your data"),
        (X[:0], "0 sample"),
        (np.where(X[3, 2] == X, np.inf, X), "row 3"),
    ):
        with pytest.raises(ValueError, match=text):
            model.predict(bad)
    frame = fitted(pd.DataFrame(X, columns=list("abcdef")), y)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        frame.predict(X)


def test_early_stopping_keeps_the_best_and_tells(three: Any) -> None:
    X, y = three
    model = fitted(
        X, y, early_stopping=True, validation_fraction=0.2, n_iter_no_change=3, max_iter=300
    )
    assert model.n_iter_ < 300
    assert len(model.validation_scores_) == len(model.loss_curve_) == model.n_iter_
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.temperature_ != 1.0  # the held-out rows serve twice
    assert fitted(X, y).validation_scores_ is None


def test_warm_start_goes_on(three: Any) -> None:
    X, y = three
    model = fitted(X, y, warm_start=True)
    first, seen = model.loss_, model.t_
    model.fit(X, y)
    assert model.loss_ < first
    assert model.t_ == 2 * seen
    assert fitted(X, y).fit(X, y).t_ == seen
    model.set_params(hidden_layer_sizes=(5,))
    with pytest.raises(ValueError, match="goes on with the networks at hand"):
        model.fit(X, y)


def test_batches_are_steps_of_torchs_adamw(three: Any) -> None:
    X, y = three
    options = {
        "hidden_layer_sizes": (9, 7),
        "n_members": 2,
        "dropout": 0.0,
        "label_smoothing": 0.1,
        "learning_rate_init": 3e-3,
        "weight_decay": 0.1,
        "batch_size": len(y),
        "random_state": 0,
    }
    model = SNNClassifier(**options).partial_fit(X, y, classes=[0, 1, 2])
    rows = torch.from_numpy(model.preprocessor_.transform(X))
    start = SNNClassifier(**{**options, "learning_rate_init": 1e-30})
    net = start.partial_fit(X, y, classes=[0, 1, 2]).to_torch().networks[1].train()
    weights = [p for n, p in net.named_parameters() if not n.endswith("bias")]
    biases = [p for n, p in net.named_parameters() if n.endswith("bias")]
    optimizer = torch.optim.AdamW(
        [{"params": weights, "weight_decay": 0.1}, {"params": biases, "weight_decay": 0.0}],
        lr=3e-3,
    )
    loss = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    for calls in range(3):
        if calls:
            model.partial_fit(X, y)
        optimizer.zero_grad()
        value = loss(net(rows), torch.from_numpy(y))
        value.backward()
        optimizer.step()
        assert model.n_iter_ == calls + 1
    with torch.no_grad():
        torch.testing.assert_close(model.networks_[1](rows), net(rows), atol=2e-4, rtol=0)
    assert model.t_ == 3 * len(y)
    assert model.loss_curve_[2] < model.loss_curve_[0]


def test_a_stream_is_learnt(three: Any) -> None:
    X, y = make_classification(3000, 6, n_informative=5, n_redundant=0, random_state=0)
    model = SNNClassifier(hidden_layer_sizes=(16, 16), n_members=2, random_state=0)
    for start in range(0, 2500, 250):
        part = slice(start, start + 250)
        model.partial_fit(X[part], y[part], classes=[0, 1])
    assert model.score(X[2500:], y[2500:]) > 0.85
    assert pickle.loads(pickle.dumps(model)).partial_fit(X[:9], y[:9]).n_iter_ == 11
    with pytest.raises(ValueError, match="classes must be those of the first call"):
        model.partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="first call"):
        SNNClassifier().partial_fit(X, y)
    whole = fitted(*three)
    before = whole.loss_
    assert whole.partial_fit(*three).loss_ < 2 * before


def test_disagreement_is_the_mutual_information(three: Any) -> None:
    X, y = three
    model = fitted(X, y, max_iter=30)
    members = model.predict_members(X)
    assert members.shape == (3, 180, 3)
    expected = entropy(members.mean(0), axis=1) - entropy(members, axis=2).mean(0)
    np.testing.assert_allclose(model.mutual_information(X), expected, atol=1e-12)
    assert model.mutual_information(X).max() > 0.01
    assert fitted(X, y, n_members=1).mutual_information(X).max() == 0.0
    X, Y = make_multilabel_classification(60, 8, n_classes=4, random_state=0)
    found = fitted(X, Y).mutual_information(X)
    assert found.shape == (60, 4)
    assert 0.0 < found.max() < np.log(2)


def test_it_works_in_scikit_learns_machinery(three: Any) -> None:
    X, y = three
    pipe = make_pipeline(StandardScaler(), SNNClassifier(**FEW, random_state=0))
    assert cross_val_score(pipe, X, y, cv=3).mean() > 0.6
    search = GridSearchCV(SNNClassifier(**FEW), {"dropout": [0.0, 0.1]}, cv=2).fit(X, y)
    assert set(search.best_params_) == {"dropout"}
    model = fitted(X, y)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
    with pytest.raises(NotFittedError):
        clone(model).predict(X)


def test_warnings_mean_something(three: Any) -> None:
    X, y = three
    with pytest.warns(ConvergenceWarning, match="still falling after max_iter=12"):
        fitted(X, y, learning_rate="constant")
    with pytest.warns(ConvergenceWarning, match="infinite or NaN"):
        fitted(X, y, learning_rate_init=1e4, solver="sgd")
    with pytest.raises(ConvergenceError, match="learning_rate_init=1e\\+30"):
        fitted(X, y, learning_rate_init=1e30, solver="sgd")
    # The cosine has come to its end: nothing to warn of (warnings are errors here).
    fitted(X, y, max_iter=2)
    fitted(X, y, learning_rate="constant", tol=10.0, n_iter_no_change=3)


@pytest.mark.parametrize(
    "options",
    [
        {"solver": "sgd", "learning_rate_init": 0.02},
        {"activation": "relu"},
        {"fixed_point": "depth-matched"},
        {"fixed_point": [0.0, 0.5]},
        {"hidden_layer_sizes": ()},
        {"hidden_layer_sizes": 20},
        {"learning_rate": "adaptive", "max_iter": 60, "tol": 0.5},
        {"n_jobs": 1},
        {"bins": 0},
        {"n_members": 1, "calibrate": True},
    ],
    ids=str,
)
def test_options_train(three: Any, options: dict[str, Any]) -> None:
    X, y = three
    assert fitted(X, y, **options).score(X, y) > 0.55
