"""Scores, pictures' numbers, importance and health, each against another's computation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn import metrics

from selfnorm import nn
from selfnorm.tabular import _importance
from selfnorm.tabular._health import health
from selfnorm.tabular._importance import permutation_importance
from selfnorm.tabular._scores import (
    calibration,
    classification_baseline,
    classification_scores,
    confusion,
    regression_scores,
    residuals,
)


def guesses(classes: int, rows: int = 300):
    """True classes and probabilities that know something of them, with ties."""
    generator = np.random.default_rng(classes)
    y = generator.integers(0, classes, rows)
    logits = generator.standard_normal((rows, classes)) + 1.3 * np.eye(classes)[y]
    proba = np.round(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), 2) + 1e-6
    return y, proba / proba.sum(1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 4])
def test_classification_scores(classes: int) -> None:
    y, proba = guesses(classes)
    found = classification_scores(y, proba)
    assert found["accuracy"] == metrics.accuracy_score(y, proba.argmax(1))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(y, proba), rel=1e-12)
    scores = proba[:, 1] if classes == 2 else proba
    auc = metrics.roc_auc_score(y, scores, multi_class="ovr")
    assert found["auc"] == pytest.approx(auc, rel=1e-12)


def test_scores_where_a_class_is_absent_or_impossible() -> None:
    y = np.array([0, 0, 0])
    found = classification_scores(y, np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]))
    assert found["auc"] is None
    assert 200 < found["log_loss"] < 300  # the worst float64 can tell, not infinite


def test_the_baseline_knows_the_frequencies_alone() -> None:
    found = classification_baseline(np.array([0, 0, 0, 1]), np.array([0, 1, 1]), 2)
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["auc"] == 0.5
    assert found["log_loss"] == pytest.approx(-(np.log(0.75) + 2 * np.log(0.25)) / 3)


def test_calibration() -> None:
    """Bins written out: .95 of two, one right; .62 of one, right; .65 of one, wrong."""
    proba = np.array([[0.95, 0.05], [0.05, 0.95], [0.62, 0.38], [0.65, 0.35]])
    found = calibration(np.array([0, 0, 0, 1]), proba)
    assert found["ece"] == pytest.approx(0.5 * (0.95 - 0.5) + 0.5 * (0.635 - 0.5))
    assert [one["count"] for one in found["bins"]] == [2, 2]
    assert [one["confidence"] for one in found["bins"]] == pytest.approx([0.635, 0.95])
    y, proba = guesses(3)
    for one in calibration(y, proba)["bins"]:
        right = round(one["accuracy"] * one["count"])
        interval = stats.binomtest(right, one["count"]).proportion_ci(method="wilson")
        assert (one["low"], one["high"]) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_sure_and_right_is_calibrated() -> None:
    assert calibration(np.array([1, 0]), np.array([[0.0, 1.0], [1.0, 0.0]]))["ece"] == 0.0


def test_confusion() -> None:
    y, proba = guesses(4)
    found = confusion(y, proba.argmax(1), list("abcd"))
    assert found["counts"] == metrics.confusion_matrix(y, proba.argmax(1)).tolist()
    generator = np.random.default_rng(0)
    y, guess = generator.integers(0, 50, (2, 1000)) // np.array([[1], [2]])
    found = confusion(y, guess, [f"c{k}" for k in range(50)])
    assert len(found["labels"]) == len(found["counts"]) == 20
    assert found["labels"][-1] == "(31 others)"
    assert np.sum(found["counts"]) == 1000
    first = found["labels"][0]
    assert sum(found["counts"][0]) == (y == int(first[1:])).sum()


def test_regression_scores() -> None:
    generator = np.random.default_rng(1)
    y = 5 + 3 * generator.standard_normal(50)
    guess = y + generator.standard_normal(50)
    found = regression_scores(y, guess)
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(y, guess))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(y, guess))
    assert found["r2"] == pytest.approx(metrics.r2_score(y, guess))
    assert regression_scores(np.ones(3), np.zeros(3))["r2"] is None


def test_residuals_are_pairs_of_some_rows() -> None:
    y = np.arange(1000.0)
    found = residuals(y, 2 * y, np.random.default_rng(0))
    assert len(found["actual"]) == 400
    assert found["rows"] == 1000
    np.testing.assert_array_equal(np.array(found["predicted"]), 2 * np.array(found["actual"]))


# ---- importance ---------------------------------------------------------------------------------


def squared(frame: pd.DataFrame, y) -> float:
    """The loss of a model that knows y = 3 a + b."""
    return float(np.square(y - 3 * frame["a"] - frame["b"]).mean())


def columns(rows: int, noise: int = 3):
    generator = np.random.default_rng(2)
    data = {name: generator.standard_normal(rows) for name in ["a", "b", "self"]}
    data |= {f"n{k}": generator.standard_normal(rows) for k in range(noise)}
    frame = pd.DataFrame(data)
    frame["kind"] = pd.Categorical(generator.choice(["u", "v"], rows))
    return frame, 3 * data["a"] + data["b"]


def test_importance_is_twice_the_variance_a_column_explains() -> None:
    """Shuffling a column of weight w adds E w² (x - x')² = 2 w² var(x) to the squared error."""
    frame, y = columns(2000)
    copy = frame.copy()
    found = permutation_importance(frame, y, squared, np.random.default_rng(0))
    pd.testing.assert_frame_equal(frame, copy)
    means = {one["name"]: one["mean"] for one in found["columns"]}
    # standard error of a repeat about 2 w² sqrt(3 / 2000) = .7 and .08; mean of 5: 5 sigma
    assert means["a"] == pytest.approx(18 * frame["a"].var(), abs=1.7)
    assert means["b"] == pytest.approx(2 * frame["b"].var(), abs=0.2)
    assert means["self"] == means["kind"] == 0.0
    assert [one["name"] for one in found["columns"]][:2] == ["a", "b"]
    assert all(one["low"] <= one["mean"] <= one["high"] for one in found["columns"])
    assert found["columns"][0]["low"] < found["columns"][0]["high"]


def test_of_many_columns_the_best_are_measured_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_importance, "IMPORTANCE_ROWS", 100)
    frame, y = columns(400, noise=80)
    found = permutation_importance(frame, y, squared, np.random.default_rng(0), 100)
    assert found["rows"] == 100
    assert len(found["columns"]) == 30
    assert found["left_out"] == len(frame.columns) - 30
    assert [one["name"] for one in found["columns"]][:2] == ["a", "b"]


# ---- health -------------------------------------------------------------------------------------


def networks(scale: float = 1.0, **options) -> list[nn.SNN]:
    nets = [
        nn.SNN(30, 2, width=300, depth=4, generator=torch.Generator().manual_seed(k), **options)
        for k in range(3)
    ]
    with torch.no_grad():
        for net in nets:
            net.hidden[1].weight.mul_(scale)
            net.hidden[1].bias.add_(0.3)
    return [net.eval() for net in nets]


@pytest.mark.parametrize("options", [{}, {"fixed_point": (0.0, 0.25)}, {"fixed_point": (0.2, 0.5)}])
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_random_weights_do_what_theory_says(scale: float, options) -> None:
    """Independent inputs and random weights: measured and predicted differ by the width's scatter.

    Width 300 and 3 members: relative standard error of a variance about sqrt(2 / 900) = 5 %, of
    which up to four layers add up; the tolerance is 4 of these. Forgetting the factor 2 of the
    second layer would be off by 100 % there.
    """
    x = np.random.default_rng(1).standard_normal((3000, 30)).astype(np.float32)
    nets = networks(scale, **options)
    found = health(nets, x)
    assert len(found["layers"]) == 4
    target = options.get("fixed_point", (0.0, 1.0))
    assert (found["target"]["mean"], found["target"]["var"]) == target
    for layer in found["layers"]:
        assert layer["var"] == pytest.approx(layer["predicted_var"], rel=0.25)
        assert abs(layer["mean"] - layer["predicted_mean"]) < 0.2 * np.sqrt(layer["var"])
        assert layer["var_low"] < layer["var"] < layer["var_high"]
    with torch.no_grad():
        first = [net.hidden[0](torch.from_numpy(x) * net.input_scale) for net in nets]
    assert found["layers"][0]["var"] == pytest.approx(
        np.mean([h.var().item() for h in first]), 1e-3
    )
    mean, var = target
    wanted = scale**2 * var / (var + mean**2)  # the gain that keeps the fixed point, squared
    assert found["layers"][1]["weight_sumsq"] == pytest.approx(wanted, rel=0.05)
    assert found["healthy"]


def test_a_dead_and_a_wild_network_are_told() -> None:
    x = np.random.default_rng(1).standard_normal((500, 30)).astype(np.float32)
    for factor, words in ((1e-3, "fades"), (30.0, "too strong")):
        nets = networks()
        with torch.no_grad():
            for net in nets:
                for block in net.hidden:
                    block.weight.mul_(factor)
                    block.bias.zero_()
        found = health(nets, x)
        assert not found["healthy"]
        assert words in found["verdict"]


def test_a_linear_model_and_other_activations() -> None:
    x = np.random.default_rng(1).standard_normal((50, 30)).astype(np.float32)
    assert health([nn.SNN(30, 2, depth=0).eval()], x)["layers"] == []
    found = health([nn.SNN(30, 2, width=200, depth=2, activation="relu").eval()], x)
    assert found["layers"][1]["var"] == pytest.approx(found["layers"][1]["predicted_var"], rel=0.5)
