"""The autoencoder experiment: errors, moments beside theory, the page."""

from __future__ import annotations

import html

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from selfnorm.errors import DataError, DomainError
from selfnorm.experiments import autoencoder, load_data

TINY = {
    "depths": [4, 12],
    "lrs": [0.01],
    "width": 96,
    "code": 7,
    "epochs": 1,
    "seeds": 2,
    "train_size": 500,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return autoencoder(**TINY, out=tmp_path_factory.mktemp("tiny"))


def test_cells_are_all_combinations(tiny):
    arms = ("snn", "snn-matched", "relu", "relu-batchnorm", "elu", "tanh")
    assert [(cell["arm"], cell["depth"]) for cell in tiny.record["arms"]] == [
        (arm, depth) for depth in (4, 12) for arm in arms
    ]
    for cell in tiny.record["arms"]:
        # Hidden layers, the code in the middle, the output.
        assert len(cell["layers"]) == len(cell["layers_trained"]) == cell["depth"] + 2
        assert len(cell["runs"]) == 2


def test_moments_at_the_start_are_those_predicted(tiny):
    """Width 96, so that units scatter; batch norm, elu and tanh lose their variance as foreseen."""
    for cell in tiny.record["arms"]:
        for layer in cell["layers"]:
            assert layer["var"] == pytest.approx(layer["predicted_var"], rel=0.6)
        ratios = [layer["var"] / layer["predicted_var"] for layer in cell["layers"]]
        assert float(np.exp(np.mean(np.log(ratios)))) == pytest.approx(1.0, abs=0.3)


def test_the_code_of_the_matched_net_has_variance_1(tiny):
    for cell in tiny.record["arms"]:
        if cell["arm"].startswith("snn"):
            code = cell["layers"][cell["depth"] // 2]
            assert code["predicted_var"] == pytest.approx(1.0, abs=0.1)


def test_pca_error_is_scikit_learns(tiny):
    """The same split and scale by hand, the components by scikit-learn."""
    digits = load_digits()
    data = load_data("digits").take(500)
    inner = data.with_validation()
    assert digits.data.shape[1] == inner.X_train.shape[1]
    mean = inner.X_train.mean(axis=0)
    pca = PCA(7).fit(inner.X_train)
    test = data.X_test
    left = test - pca.inverse_transform(pca.transform(test))
    error = np.square(left).sum() / np.square(test - mean).sum()
    assert tiny.record["config"]["pca_error"] == pytest.approx(float(error), rel=1e-4)


def test_an_untrained_net_is_worse_than_the_mean_image_and_a_trained_one_better():
    short = autoencoder(**TINY | {"arms": ["snn"], "depths": [2], "lrs": [1e-9], "seeds": 1})
    long = autoencoder(
        **TINY | {"arms": ["snn"], "depths": [2], "lrs": [0.01], "seeds": 1, "epochs": 40}
    )
    errors = [result.record["arms"][0]["runs"][0]["test"]["error"] for result in (short, long)]
    assert errors[1] < 0.6 < 1.0 < errors[0]


def test_the_page(tiny):
    assert [row[:2] for row in tiny.rows][:2] == [("snn", 4), ("snn-matched", 4)]
    page = html.unescape(tiny.report_path.read_text())
    assert "At 12 hidden layers the best is" in page
    assert "PCA, 7 components" in page
    assert "selfnorm experiment autoencoder --depths 4,12 --arms snn,snn-matched" in page


def test_refusals():
    with pytest.raises(DomainError, match="depths holds 5"):
        autoencoder(depths=[4, 5])
    with pytest.raises(DataError, match="train_size=100000"):
        autoencoder(train_size=100_000)
    with pytest.raises(DomainError, match="however: train_size=30"):
        autoencoder(train_size=30)
