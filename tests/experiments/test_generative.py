"""The generative experiment: data, distance, moments beside theory, the page."""

from __future__ import annotations

import html

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from selfnorm.experiments import generative
from selfnorm.experiments._generative_data import load_rows, sliced_distance
from selfnorm.experiments._random import generator_for

TINY = {"depths": [3], "lrs": [0.003], "width": 128, "epochs": 1, "batch_size": 2000, "seeds": 1}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return generative(**TINY, out=tmp_path_factory.mktemp("tiny"))


def test_the_distance_is_the_mean_of_scipys_over_directions():
    a = torch.randn(60, 3, generator=generator_for("a"))
    b = torch.rand(60, 3, generator=generator_for("b"))
    rays = torch.randn(
        (100, 3), generator=generator_for("generative", "directions"), dtype=torch.float64
    ).numpy()
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    want = np.mean([wasserstein_distance(a.numpy() @ ray, b.numpy() @ ray) for ray in rays])
    assert sliced_distance(a, b) == pytest.approx(float(want), rel=1e-6)
    assert sliced_distance(a, a.flip(0)) == 0.0


@pytest.mark.parametrize("name", ["moons", "circles", "digits"])
def test_rows_are_centred_and_of_mean_square_1(name):
    rows = load_rows(name)
    torch.testing.assert_close(
        rows.train.mean(0), torch.zeros(rows.train.shape[1]), atol=1e-5, rtol=0
    )
    assert rows.train.square().mean().item() == pytest.approx(1.0, abs=1e-5)
    # Real rows lie closer to the test rows than noise of the same moments.
    noise = torch.randn(rows.test.shape, generator=generator_for("noise"))
    assert rows.floor() < 0.5 * sliced_distance(noise, rows.test)


def test_rings_and_moons_have_their_shape():
    """Radii 1 and 1/2; the moons' box is 3 by 3/2, and the noise adds about 0.2 to both sides."""
    circles = load_rows("circles").train
    radius = circles.norm(dim=1)
    inner = radius < radius.mean()
    ratio = radius[~inner].median() / radius[inner].median()
    assert ratio.item() == pytest.approx(2.0, abs=0.05)
    moons = load_rows("moons").train
    low, high = (torch.quantile(moons, q, dim=0) for q in (0.002, 0.998))
    box = high - low
    assert (box[0] / box[1]).item() == pytest.approx(3.2 / 1.7, abs=0.1)


def test_moments_at_the_start_are_those_predicted(tiny):
    assert [cell["arm"] for cell in tiny.record["arms"]] == [
        "snn",
        "silu",
        "relu-layernorm",
        "selu-default",
    ]
    for cell in tiny.record["arms"]:
        assert len(cell["layers"]) == 3
        for layer in cell["layers"]:
            assert layer["var"] == pytest.approx(layer["predicted_var"], rel=0.4)
    variances = {cell["arm"]: cell["layers"][-1]["predicted_var"] for cell in tiny.record["arms"]}
    # Two coordinates give rows of many mean squares: 1 only about.
    assert variances["snn"] == pytest.approx(1.0, abs=0.06)
    assert variances["silu"] < 0.01


def test_the_page_and_its_samples(tiny):
    page = html.unescape(tiny.report_path.read_text())
    assert "Flow matching on moons" in page
    assert "At 3 hidden layers" in page
    shown = tiny.record["arms"][0]["runs"][0]["test"]["shown"]
    assert np.shape(shown) == (300, 2)
    config = tiny.record["config"]
    assert 0 < config["floor"] < config["noise"]


def test_digits_are_drawn_as_images(tmp_path):
    options = {**TINY, "width": 8, "batch_size": 1000, "sampling_steps": 2, "arms": ["snn"]}
    result = generative(data="digits", **options, out=tmp_path)
    assert np.shape(result.record["arms"][0]["runs"][0]["test"]["shown"]) == (8, 64)
    assert "Real rows and samples of each arm" in result.report_path.read_text()


def test_training_brings_the_samples_closer():
    before, after = (
        generative(**TINY | {"arms": ["snn"], "width": 48, "batch_size": 200} | changes)
        for changes in ({"lrs": [1e-9]}, {"epochs": 8})
    )
    far, near = (r.record["arms"][0]["runs"][0]["test"]["distance"] for r in (before, after))
    assert near < 0.6 * far
