"""The claims experiment: variants differ in one thing, dead units, predictions, files, options."""

from __future__ import annotations

import html
import importlib
import json
import math

import pytest
import torch
from torch import nn

from selfnorm import theory
from selfnorm.errors import DomainError
from selfnorm.experiments import CLAIM_NAMES, claims, load_data
from selfnorm.experiments._claims import _dead_share
from selfnorm.experiments._claims_variants import (
    CLAIMS,
    VARIANTS,
    build_variant,
    predicted_var,
)
from selfnorm.experiments._selection import parts_of

MODULE = importlib.import_module("selfnorm.experiments._claims")

TINY = {
    "names": ["init", "regularisers"],
    "depth": 4,
    "width": 20,
    "epochs": 1,
    "lrs": [0.01, 0.05],
    "batch_size": 50,
    "seeds": 2,
    "train_size": 200,
}
BY_NAME = {(one.claim, one.name): one for one in VARIANTS}


def net(claim, name, depth=3, width=40, seed=5):
    return build_variant(
        BY_NAME[claim, name],
        n_features=64,
        width=width,
        depth=depth,
        n_classes=10,
        generator=torch.Generator().manual_seed(seed),
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return claims(**TINY, out=tmp_path_factory.mktemp("tiny"))


def test_every_claim_has_several_variants_with_names_of_their_own():
    assert tuple(CLAIMS) == CLAIM_NAMES
    assert len(BY_NAME) == len(VARIANTS)
    for claim in CLAIM_NAMES:
        assert sum(one.claim == claim for one in VARIANTS) >= 3


@pytest.mark.parametrize("name", ["mean 0.25", "mean 0.5", "mean 1"])
def test_a_shift_changes_the_mean_and_not_the_variance(name):
    """SELU + c has mean c and variance 1, and its smaller weights give pre-activations 1 again.

    20,000 draws: the tolerances are five standard errors (SELU's fourth moment is about 3).
    """
    shift = float(name.split()[1])
    variant = BY_NAME["zero-mean", name]
    z = torch.randn(20_000, generator=torch.Generator().manual_seed(1))
    out = variant.activation()(z)
    assert out.mean().item() == pytest.approx(shift, abs=0.036)
    assert out.var().item() == pytest.approx(1.0, abs=0.055)
    assert variant.gain**2 * (1 + shift**2) == pytest.approx(1.0)


def test_gains_scale_the_same_weights():
    base, he, small = (net("init", name) for name in ("lecun", "he", "gain 3/4"))
    torch.testing.assert_close(he[1][0].weight, base[1][0].weight * math.sqrt(2))
    torch.testing.assert_close(small[1][0].weight, base[1][0].weight * 0.75)
    torch.testing.assert_close(he[-1].weight, base[-1].weight)


def test_regularisers_stand_where_they_are_said_to():
    from selfnorm.nn import SELU, AlphaDropout

    expected = {
        "none": [nn.Linear, SELU],
        "alpha dropout 0.1": [nn.Linear, SELU, AlphaDropout],
        "dropout 0.1": [nn.Linear, SELU, nn.Dropout],
        "batch norm": [nn.Linear, nn.BatchNorm1d, SELU],
    }
    for name, parts in expected.items():
        assert [type(part) for part in net("regularisers", name)[0]] == parts
    assert BY_NAME["regularisers", "decay 1e-3"].weight_decay == 1e-3


def test_one_claim_changes_alpha_alone():
    kinked, plain = (net("alpha", f"α × {factor}")[0][1] for factor in ("2", "1"))
    x = torch.tensor([-30.0, 2.0])
    torch.testing.assert_close(kinked(x), plain(x) * torch.tensor([2.0, 1.0]))
    assert plain(x)[0].item() == pytest.approx(-1.7580993, abs=1e-5)


def test_predictions_are_those_of_theory():
    """SELU at τ = 9/16 settles at E x² = 0.0409, at 1 at 1; ordinary nets have no prediction."""
    sizes = {"n_features": 64, "width": 64, "depth": 400, "second_moment": 1.0}
    found = predicted_var(BY_NAME["init", "gain 3/4"], **sizes)
    point = theory.moments("selu", 0.0, 9 / 16 * 0.040949)
    assert found == pytest.approx(float(point.var), rel=1e-3)
    assert predicted_var(BY_NAME["init", "lecun"], **sizes) == pytest.approx(1.0)
    assert predicted_var(BY_NAME["target", "(0, 4)"], **sizes | {"second_moment": 4.0}) == (
        pytest.approx(4.0)
    )
    assert predicted_var(BY_NAME["dying", "relu"], **sizes) is None


def test_dead_units_are_counted():
    parts = parts_of(load_data("digits").take(200))
    model = net("dying", "relu", depth=2, width=40)
    before = _dead_share(model, parts)
    with torch.no_grad():
        model[0][0].bias[:10] = -1e4  # never positive again
    alone = _dead_share(model, parts)
    assert before < 0.05
    assert alone == pytest.approx(before + 10 / 80, abs=0.03)
    with torch.no_grad():
        model[1][0].weight.fill_(math.nan)
    assert _dead_share(model, parts) is None


def test_dropout_disturbs_the_moments_and_alpha_dropout_does_not(tiny):
    """Both measured before training, in training mode: the digits of the record."""
    by_name = {one["variant"]: one for one in tiny.record["arms"] if one["claim"] == "regularisers"}
    wide = claims(names=["regularisers"], depth=14, width=200, epochs=1, lrs=[0.01], seeds=1)
    found = {one["variant"]: one["init_var"] for one in wide.record["arms"]}
    assert found["dropout 0.1"] / found["none"] > 1.3
    assert found["alpha dropout 0.1"] / found["none"] == pytest.approx(1.0, abs=0.25)
    assert by_name["none"]["predicted_var"] is None


def test_variants_of_a_seed_begin_alike_and_the_default_generator_is_put_back():
    state = torch.random.get_rng_state()
    options = TINY | {"names": ["regularisers"], "lrs": [0.01], "seeds": 1}
    first, second = claims(**options), claims(**options)
    assert torch.equal(torch.random.get_rng_state(), state)
    for one, other in zip(first.record["arms"], second.record["arms"], strict=True):
        assert (one["accuracy"], one["init_var"]) == (other["accuracy"], other["init_var"])
    by_name = {one["variant"]: one["init_var"] for one in first.record["arms"]}
    assert by_name["none"] == by_name["decay 1e-2"]


def test_files_and_table(tiny):
    assert json.loads(tiny.result_path.read_text()) == tiny.record
    assert [one["claim"] for one in tiny.record["arms"]] == ["init"] * 6 + ["regularisers"] * 9
    assert all("dead" in cell for one in tiny.record["arms"] for cell in one["candidates"])
    page = html.unescape(tiny.report_path.read_text())
    assert f"“{CLAIMS['init']}”" in page
    assert "--names init,regularisers --lrs 0.01,0.05" in page


def test_interrupted_run_is_kept_and_continued(tmp_path, tiny, monkeypatch):
    # The pictures of the page take seconds and are tested elsewhere.
    monkeypatch.setattr(MODULE, "render", lambda record: f"complete: {record['complete']}")

    def stop(event):
        if event.index == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        claims(**TINY, out=tmp_path, progress=stop)
    assert (tmp_path / "report.html").read_text() == "complete: False"
    states = []
    result = claims(**TINY, out=tmp_path, progress=lambda event: states.append(event.state))
    assert states.count("resumed") == 5
    assert [one["accuracy"] for one in result.record["arms"]] == [
        one["accuracy"] for one in tiny.record["arms"]
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["smooth", "fast"]}, "names must be among smooth, .*'fast'"),
        ({"data": "iris"}, "data must be among digits"),
        ({"depth": 0}, "depth must be at least 1"),
        ({"batch_size": 5000}, "batch_size must be at most"),
        ({"train_size": 3, "batch_size": 2}, "train_size must leave validation rows"),
        ({"seeds": 0}, "seeds must be at least 1"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(DomainError, match=message):
        claims(**TINY | options)
