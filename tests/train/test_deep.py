"""Fifty layers with what is chosen for them learn."""

from __future__ import annotations

import pytest
import torch

from selfnorm import nn, theory, train


@pytest.mark.parametrize("dropout", ["auto", 0.05])
def test_fifty_matched_layers_learn_at_the_rate_chosen_for_them(dropout: float) -> None:
    """Images of digits; with the usual rate nothing of the gradient is left at the first layer."""
    datasets = pytest.importorskip("sklearn.datasets")
    X, y = (torch.as_tensor(a) for a in datasets.load_digits(return_X_y=True))
    X = ((X - X.mean(0)) / (X.std(0) + 1e-3)).float()
    net = nn.SNN(
        *(64, 10),
        width=48,
        depth=50,
        dropout=dropout,
        fixed_point="depth-matched",
        weight_init="orthogonal",
        generator=torch.Generator().manual_seed(0),
    )
    trainer = train.Trainer(net, optimizer=train.AdamW(lr=5e-4), epochs=8, batch_size=32)
    trainer.fit(X[:1200], y[:1200])
    right = (trainer.predict(X[1200:])[0].argmax(-1) == y[1200:]).float().mean()
    assert (right > 0.8) == (dropout == "auto")


def test_the_rate_follows_the_fixed_point() -> None:
    assert nn.SNN(7, 3).dropout == train.Architecture((7, 5, 3)).rate == 0.05
    assert nn.SNN(7, 3, fixed_point=(0.0, 4.0)).dropout == 0.05
    matched = nn.SNN(7, 3, depth=50, fixed_point="depth-matched")
    neutral = theory.gradient_neutral_dropout(*matched.fixed_point)
    assert matched.dropout == neutral < 0.003
    assert all(layer.dropout == neutral for layer in matched.hidden)
    sizes = (7, *[5] * 50, 3)
    assert train.Architecture(sizes, fixed_point="depth-matched").rate == neutral
    assert train.Architecture(sizes, fixed_point="depth-matched", dropout=0.05).rate == 0.05
