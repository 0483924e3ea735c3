"""Calibration by scale and offsets: finds what was put in, and shrinks where rows are few."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from selfnorm.errors import DomainError
from selfnorm.tabular._offsets import fit_scale_and_offsets


def drawn(rows: int, scale: float, offsets: list[float], seed: int = 0):
    """Return logits, and labels drawn from softmax(scale * logits + offsets)."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0.4, 2.0, size=(rows, len(offsets)))
    p = softmax(scale * logits + np.array(offsets), axis=1)
    y = (generator.random((rows, 1)) > p.cumsum(axis=1)).sum(axis=1)
    return logits, y


@pytest.mark.parametrize("scale", [0.3, 2.5])
def test_scale_and_offsets_are_found_again(scale: float) -> None:
    offsets = [1.0, -0.7, -0.3]
    found, b = fit_scale_and_offsets(*drawn(20_000, scale, offsets))
    # Standard errors are about 1 % of the scale and .03 of an offset at this n: 5 of them.
    assert found == pytest.approx(scale, rel=0.06)
    np.testing.assert_allclose(b, offsets, atol=0.15)
    assert b.sum() == pytest.approx(0.0, abs=1e-9)


def test_noise_is_answered_by_the_frequencies() -> None:
    generator = np.random.default_rng(1)
    y = (generator.random(1000) < 0.15).astype(int)
    logits = generator.normal(0.0, 4.0, size=(1000, 2))
    scale, b = fit_scale_and_offsets(logits, y)
    p = softmax(scale * (logits - logits.mean(1, keepdims=True)) + b, axis=1)
    assert (p.argmax(1) == 0).mean() > 0.99
    assert p[:, 1].mean() == pytest.approx(y.mean(), abs=0.01)


def test_few_rows_move_little() -> None:
    logits, y = np.array([[2.0, -2.0], [1.0, -1.0]]), np.array([0, 0])
    scale, b = fit_scale_and_offsets(logits, y)
    assert 1.0 < scale < 2.0
    assert 0.0 < b[0] < 0.5
    # Without rows that differ there is no end to certainty but the penalty and the bound.
    scale, _ = fit_scale_and_offsets(np.tile([[0.1, -0.1]], (5000, 1)), np.zeros(5000, int))
    assert scale <= 20.0


def test_weights_are_repetitions_and_their_size_does_not_matter() -> None:
    logits, y = drawn(300, 0.7, [0.5, 0.0, -0.5])
    weights = np.random.default_rng(2).integers(1, 4, size=300)
    repeated = fit_scale_and_offsets(np.repeat(logits, weights, 0), np.repeat(y, weights))
    scale, b = fit_scale_and_offsets(logits, y, weights)
    # Weights of mean 1 count as 300 rows, the repetitions as 600: the penalty weighs differently.
    assert scale == pytest.approx(repeated[0], rel=0.01)
    np.testing.assert_allclose(b, repeated[1], atol=0.02)
    again, c = fit_scale_and_offsets(logits, y, 7.0 * weights)
    assert again == pytest.approx(scale, rel=1e-5)
    np.testing.assert_allclose(c, b, atol=1e-5)
    assert abs(fit_scale_and_offsets(logits, y)[0] - scale) > 1e-4


def test_a_shift_of_all_logits_changes_nothing() -> None:
    logits, y = drawn(200, 1.4, [0.0, 0.6])
    moved = logits + np.random.default_rng(3).normal(0.0, 50.0, size=(200, 1))
    scale, b = fit_scale_and_offsets(logits, y)
    again, c = fit_scale_and_offsets(moved, y)
    assert again == pytest.approx(scale, rel=1e-4)
    np.testing.assert_allclose(c, b, atol=1e-4)


@pytest.mark.parametrize(
    ("logits", "y", "text"),
    [
        (np.zeros(3), np.zeros(3, int), "shape"),
        (np.zeros((3, 2)), np.zeros(4, int), "shape"),
        (np.zeros((0, 2)), np.zeros(0, int), "n at least 1"),
        (np.array([[np.nan, 0.0]]), np.zeros(1, int), "must be finite"),
    ],
)
def test_refusals(logits, y, text: str) -> None:
    with pytest.raises(DomainError, match=text):
        fit_scale_and_offsets(logits, y)
