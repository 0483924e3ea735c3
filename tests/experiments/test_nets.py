"""Initialisers, nets, prediction and measurement, each against an independent reference."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from selfnorm.experiments._nets import NetPlan, build_net, initializer, predict_net
from selfnorm.experiments._probe import measure_layers
from selfnorm.experiments._random import generator_for

INITS = ("torch", "glorot", "uniform05", "lecun", "he", "orthogonal")


def plan(**changes):
    options = {
        "n_features": 40,
        "width": 24,
        "depth": 3,
        "n_classes": 5,
        "activation": "selu",
        "hidden_init": "lecun",
        "head_init": "lecun",
        "target_var": 0.4,
    }
    return NetPlan(**(options | changes))


def test_torch_init_equals_torch_bit_by_bit():
    layer = nn.Linear(30, 17)
    initializer("torch").fill(layer, torch.Generator().manual_seed(11))
    with torch.random.fork_rng():
        torch.manual_seed(11)
        expected = nn.Linear(30, 17)
    assert torch.equal(layer.weight, expected.weight)
    assert torch.equal(layer.bias, expected.bias)


@pytest.mark.parametrize("name", INITS)
def test_initial_moments_are_as_stated(name):
    # 400 × 300 weights: the mean row sum of squares has a relative standard error of at most
    # sqrt(2/120000) = 0.41 %; 2.5 % is 6 of them (false positives below 1e-8). Biases: 400
    # uniform values, standard error of the second moment 4.5 %; 25 % is 5.5 of them.
    layer = nn.Linear(300, 400)
    init = initializer(name)
    init.fill(layer, torch.Generator().manual_seed(5))
    weight_sumsq, bias_var = init.moments(300, 400)
    assert layer.weight.square().sum(1).mean().item() == pytest.approx(weight_sumsq, rel=0.025)
    assert layer.bias.square().mean().item() == pytest.approx(bias_var, rel=0.25, abs=0)


@pytest.mark.parametrize("name", INITS)
def test_the_same_generator_state_gives_the_same_net(name):
    nets = [build_net(plan(hidden_init=name), generator_for(1, "arm")) for _ in range(2)]
    other = build_net(plan(hidden_init=name), generator_for(2, "arm"))
    for first, second in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(next(nets[0].parameters()), next(other.parameters()))


def test_the_global_generator_is_not_touched():
    before = torch.get_rng_state()
    for name in INITS:
        build_net(plan(hidden_init=name, batch_norm=True), generator_for(0, name))
    assert torch.equal(torch.get_rng_state(), before)


def test_generators_differ_by_any_label():
    states = {
        bytes(generator_for(*labels).get_state().numpy())
        for labels in ((0, "a", "x"), (1, "a", "x"), (0, "b", "x"), (0, "a", "y"))
    }
    assert len(states) == 4


@pytest.mark.parametrize("batch_norm", [False, True])
def test_structure(batch_norm):
    net = build_net(plan(batch_norm=batch_norm), generator_for(0))
    *blocks, head = net.children()
    shapes = [next(block.children()).weight.shape for block in blocks]
    assert shapes == [(24, 40), (24, 24), (24, 24)]
    assert head.weight.shape == (5, 24)
    kinds = [type(part).__name__ for part in blocks[1]]
    assert kinds == (["Linear", "BatchNorm1d", "SELU"] if batch_norm else ["Linear", "SELU"])
    assert blocks[0][-1].var == 0.4


@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        ({"hidden_init": "lecun"}, 0.3),
        ({"hidden_init": "orthogonal", "target_var": 0.1}, 0.3),
        ({"hidden_init": "torch", "activation": "relu"}, 0.4),
        ({"hidden_init": "glorot", "target_var": 1.0}, 0.3),
        ({"hidden_init": "he", "activation": "relu", "batch_norm": True}, 0.2),
    ],
)
def test_prediction_agrees_with_simulation(changes, tolerance):
    # Layers of 400 units: where inputs have become alike, a layer adds a relative fluctuation of
    # sqrt(5/400) = 11 % for ReLU (E f⁴ = 6 (E f²)²), 27 % over six layers, 14 % in the mean of four
    # nets; less for SELU, which takes it back. The tolerances are about three such deviations; to
    # forget the biases or to halve weight_sumsq misses by a factor of two and more.
    wide = plan(n_features=300, width=400, depth=6, **changes)
    X = 0.3 + 0.8 * torch.randn(200, 300, generator=torch.Generator().manual_seed(2))
    rows = (X, torch.arange(200) % 5)
    nets = [measure_layers(build_net(wide, generator_for(seed)), rows) for seed in range(4)]
    predicted = predict_net(wide, float(X.square().mean()))
    assert [set(layer) for layer in predicted] == [{"predicted_mean", "predicted_var"}] * 6
    for index, foreseen in enumerate(predicted):
        var = np.mean([net[index]["var"] for net in nets])
        mean = np.mean([net[index]["mean"] for net in nets])
        assert var == pytest.approx(foreseen["predicted_var"], rel=tolerance)
        assert abs(mean - foreseen["predicted_mean"]) < 0.15 * np.sqrt(foreseen["predicted_var"])


def test_measurement_by_hand():
    net = build_net(plan(depth=2, width=6, activation="relu"), generator_for(4)).double()
    generator = torch.Generator().manual_seed(9)
    X = torch.randn(50, 40, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 5, (50,), generator=generator)
    first, second = (
        parameter.detach().numpy() for parameter in (net[0][0].weight, net[1][0].weight)
    )
    hidden = np.maximum(X.numpy() @ first.T, 0)
    out = np.maximum(hidden @ second.T, 0)
    layers = measure_layers(net, (X, y))
    for layer, values in zip(layers, (hidden, out), strict=True):
        assert layer["mean"] == pytest.approx(values.mean(), rel=1e-9)
        assert layer["var"] == pytest.approx(values.var(), rel=1e-9)
        assert layer["signal_var"] == pytest.approx(values.var(axis=0).mean(), rel=1e-9)
    # Finite difference of the loss along the gradient's own direction gives its norm.
    weight = net[1][0].weight
    loss = nn.functional.cross_entropy(net(X), y)
    (gradient,) = torch.autograd.grad(loss, weight)
    direction = gradient / gradient.norm()
    values = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            moved = copy.deepcopy(net)
            moved[1][0].weight += step * direction
            values.append(nn.functional.cross_entropy(moved(X), y).item())
    assert layers[1]["grad_norm"] == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5)


def test_measurement_leaves_the_net_as_it_was():
    net = build_net(plan(batch_norm=True), generator_for(4))
    net.eval()
    before = copy.deepcopy(net.state_dict())
    measure_layers(net, (torch.randn(30, 40, generator=generator_for(1)), torch.arange(30) % 5))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not net.training
