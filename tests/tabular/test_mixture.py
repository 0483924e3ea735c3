"""Members of two weight decays, and rows that tell how much each kind counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.datasets import make_classification

import selfnorm
from selfnorm.tabular import SNNClassifier, _defaults
from selfnorm.tabular._defaults import defaults_for
from selfnorm.tabular._engine import train
from selfnorm.tabular._ensemble import Ensemble
from selfnorm.tabular._held_out import held_out_outputs
from selfnorm.tabular._mixture import fit_shares

FEW: dict[str, Any] = {"hidden_layer_sizes": (8, 8), "n_members": 5, "max_iter": 6}
THREE = 2.0 * (1.0 - np.log(3 / 2) / np.log(5.0))  # the weight decay for three classes


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tables of 50 rows have what those of 3,000 have."""
    monkeypatch.setattr(_defaults, "_SEVERAL", 40.0)
    monkeypatch.setattr(_defaults, "_DECAY_FROM", 50.0)


def table(rows: int, classes: int = 3) -> tuple[Any, Any]:
    X, y = make_classification(
        rows, 6, n_informative=4, n_classes=classes, flip_y=0.2, random_state=0
    )
    return X, y


def test_shares_are_those_of_the_optimum() -> None:
    generator = np.random.default_rng(0)
    y = generator.integers(0, 3, 90)
    z = generator.normal(size=(2, 90, 3)) + np.array([1.5, 0.6])[:, None, None] * np.eye(3)[y]
    z[1] *= 2.0
    weights = np.array([1.3, 1.9])[generator.integers(0, 2, 90)]

    def cost(at: Any) -> float:
        logits = at[0] * (z[0] - z[0].mean(1)[:, None]) + at[1] * (z[1] - z[1].mean(1)[:, None])
        p = np.exp(logits + at[2:])
        own = p[np.arange(90), y] / p.sum(1)
        penalty = (2.0 * ((at[:2] - 0.5) ** 2).sum() + (at[2:] ** 2).sum()) / 2.0
        return float(-(weights / weights.mean() * np.log(own)).sum() + penalty)

    options = {"xatol": 1e-6, "fatol": 1e-9, "maxiter": 9000, "maxfev": 9000}
    best = minimize(cost, [0.5, 0.5, 0.0, 0.0, 0.0], method="Nelder-Mead", options=options).x
    found = fit_shares(z, np.full_like(z, np.nan), y, weights)
    np.testing.assert_allclose(found, best[:2] / best[:2].sum(), atol=1e-3)
    assert 0.55 < found[0] < 0.95


def test_one_output_means_two_classes_and_copies_count_as_seen() -> None:
    generator = np.random.default_rng(1)
    y = generator.integers(0, 2, 60)
    unseen, seen = generator.normal(size=(2, 2, 60, 1)) + 1.2 * (2 * y - 1)[:, None]
    weights = np.array([2.0, 3.0, 4.0, 7.0])[np.arange(60) % 4]
    # In units of the least weight: as it is; half of 1.5 seen; all of 2 seen; all of 3.5 seen.
    both = np.concatenate([unseen[:, :, 0], seen[:, :, 0]], axis=1)
    shares = np.array([0.0, 0.5, 1.0, 1.0])[np.arange(60) % 4]
    counts = np.concatenate([weights * (1.0 - shares), weights * shares])
    used = counts > 0.0
    pairs = np.stack([np.zeros_like(both), both], axis=2)[:, used]
    expected = fit_shares(pairs, np.full_like(pairs, np.nan), np.tile(y, 2)[used], counts[used])
    found = fit_shares(unseen, seen, y, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert abs(found[0] - fit_shares(unseen, unseen, y, weights)[0]) > 0.01


@pytest.mark.usefixtures("early")
def test_half_of_the_members_decay_and_the_kinds_hold_out_the_same_rows() -> None:
    X, y = table(160)
    model = SNNClassifier(**FEW, random_state=0)
    job = model._job(X, y, None)
    decays = [plan.weight_decay for plan in job.plans]
    assert decays == pytest.approx([0.0, 0.0, 0.0, THREE, THREE])
    assert job.extra == 0
    assert job.held_out is not None
    for k in (3, 4):
        np.testing.assert_array_equal(job.held_out[k], job.held_out[k - 3])
    assert not set(job.held_out[0]) & set(job.held_out[1])
    (trained,) = train([job])
    unseen, seen = held_out_outputs(Ensemble(trained.networks), job)
    with torch.no_grad():
        outputs = torch.stack([net(torch.from_numpy(job.rows.X)) for net in trained.networks])
    first = job.held_out[0]
    np.testing.assert_allclose(unseen[1, first], outputs[3, first], atol=1e-5)
    np.testing.assert_allclose(seen[1, first], outputs[4, first], atol=1e-5)
    np.testing.assert_allclose(seen[0, first], outputs[1:3, first].mean(0), atol=1e-5)


@pytest.mark.usefixtures("early")
@pytest.mark.parametrize("classes", [2, 3])
def test_what_was_chosen_is_in_the_networks_and_wherever_they_go(
    classes: int, tmp_path: Path
) -> None:
    X, y = table(160, classes)
    model = SNNClassifier(**FEW, random_state=0).fit(X, y)
    factors = model.member_factors_
    decay = {2: 2.0, 3: THREE}[classes]
    np.testing.assert_allclose(model.member_weight_decays_, [0.0, 0.0, 0.0, decay, decay])
    assert factors.mean() == pytest.approx(1.0)
    assert factors[0] == factors[2] != factors[3] == factors[4]
    plain = SNNClassifier(**FEW, random_state=0, calibrate=False).fit(X, y)
    np.testing.assert_array_equal(plain.member_weight_decays_, model.member_weight_decays_)
    np.testing.assert_array_equal(plain.member_factors_, np.ones(5))
    assert selfnorm.load(model.save(tmp_path / "a")).member_factors_.tolist() == factors.tolist()
    rows = torch.from_numpy(model.preprocessor_.transform(X))
    logits = model.to_torch()(rows).detach().numpy().squeeze()
    np.testing.assert_allclose(logits, model.decision_function(X), atol=1e-4)
    with torch.no_grad():
        mean = torch.stack([network(rows) for network in model.networks_]).mean(0).numpy()
    mean = mean / model.temperature_ + model.logit_offsets_
    np.testing.assert_allclose(mean.squeeze(), model.decision_function(X), atol=1e-4)


def test_a_factor_multiplies_outputs() -> None:
    X, y = table(60)
    model = SNNClassifier(**{**FEW, "max_iter": 2}, random_state=0).fit(X, y)
    before, factors = model._outputs(X), np.linspace(0.2, 1.8, 5)
    model._weigh(factors)
    np.testing.assert_allclose(model._outputs(X), factors[:, None, None] * before, rtol=1e-5)


@pytest.mark.usefixtures("early")
def test_weights_are_copies_and_the_order_does_not_matter() -> None:
    X, y = table(120)
    weights = np.arange(120) % 3 + 1.0
    model = SNNClassifier(**FEW, random_state=0).fit(X, y, weights)
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(120), weights.astype(int)))
    copies = SNNClassifier(**FEW, random_state=0).fit(X[order], y[order])
    assert copies.member_factors_[0] != 1.0
    np.testing.assert_array_equal(model.member_factors_, copies.member_factors_)
    np.testing.assert_array_equal(model.predict_proba(X), copies.predict_proba(X))


@pytest.mark.usefixtures("early")
@pytest.mark.parametrize(
    ("parameters", "decays"),
    [
        ({"weight_decay": 0.3}, [0.3] * 5),
        ({"early_stopping": True}, [0.0] * 5),
        ({"solver": "sgd"}, [0.0] * 5),
        ({"n_members": 1}, [0.0]),
        ({"n_members": 2}, [0.0, THREE]),
    ],
)
def test_what_is_given_wins(parameters: dict[str, Any], decays: list[float]) -> None:
    X, y = table(90)
    model = SNNClassifier(**{**FEW, **parameters, "max_iter": 2}, random_state=0).fit(X, y)
    np.testing.assert_allclose(model.member_weight_decays_, decays)
    np.testing.assert_array_equal(model.member_factors_, np.ones(len(decays)))


@pytest.mark.usefixtures("early")
def test_streams_and_labels_that_come_together_have_no_kinds() -> None:
    X, y = table(90)
    stream = SNNClassifier(**FEW, random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    labels = SNNClassifier(**FEW, random_state=0).fit(X, np.eye(3, dtype=int)[y])
    for model in (stream, labels):
        np.testing.assert_array_equal(model.member_weight_decays_, np.zeros(5))


def test_the_rule_begins_above_2400_rows() -> None:
    decays = [defaults_for(n, 9, 1, "classification").weight_decay for n in (2400, 2700, 3000)]
    assert decays[0] == 0.0
    assert 0.5 < decays[1] < 1.5
    assert decays[2] == 2.0
    assert defaults_for(90_000, 9, 1, "classification").weight_decay == 2.0
    assert defaults_for(90_000, 9, 1, "regression").weight_decay == 0.0
    small, large = (defaults_for(n, 9, 1, "classification").steps(n) for n in (2400, 19_200))
    assert large == pytest.approx(2.0 * small, rel=0.06)  # the cube root of 8


def test_many_classes_train_longer_and_all_alike() -> None:
    rules = [defaults_for(19_200, 9, classes, "classification") for classes in (1, 2, 4, 10, 40)]
    decays = [rule.weight_decay for rule in rules]
    assert decays[0] == decays[1] == 2.0
    assert decays[2] == pytest.approx(2.0 * (1.0 - np.log(2.0) / np.log(5.0)))
    assert decays[3:] == [0.0, 0.0]
    steps = [rule.steps(19_200) for rule in rules]
    assert steps[0] == steps[1] < steps[2] < steps[3] == steps[4]
    assert steps[4] == pytest.approx(150.0 * 96.0**0.7, rel=0.06)
