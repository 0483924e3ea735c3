"""The compared nets: their parts, their first moments, what vanishes, and their memory."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from selfnorm import theory
from selfnorm.errors import DomainError
from selfnorm.experiments._memory import peak_bytes, saved_bytes
from selfnorm.experiments._rival_nets import NETS, Shape, build_rival, check_maps, input_var
from selfnorm.nn import ELU, ConvSELU2d, LinearSELU, SelfNormalized, WSConv2d, WSLinear

MLP = Shape("mlp", (1, 5, 7), 6, 40, 4)
CNN = Shape("cnn", (3, 16, 20), 6, 8, 4, stages=3)


def net(name, shape, seed=2):
    return build_rival(NETS[name], shape, torch.Generator().manual_seed(seed))


def kinds(block):
    return [type(module) for module in block.modules() if not list(module.children())]


def test_hidden_layers_are_what_their_names_say():
    expected = {
        "selu": [LinearSELU],
        "selu-matched": [LinearSELU],
        "elu": [nn.Linear, ELU],
        "relu-bn": [nn.Linear, nn.BatchNorm1d, nn.ReLU],
        "relu-ln": [nn.Linear, nn.LayerNorm, nn.ReLU],
        "relu": [nn.Linear, nn.ReLU],
        "bidirectional": [nn.Linear, SelfNormalized],
        "tailored": [nn.Linear, SelfNormalized],
    }
    for name, parts in expected.items():
        *blocks, head = net(name, MLP).children()
        assert [kinds(block) for block in blocks] == [parts] * 6
        assert (head.in_features, head.out_features) == (40, 4)


def test_convolutions_are_what_their_names_say():
    expected = {
        "relu-bn": [nn.Conv2d, nn.BatchNorm2d, nn.ReLU],
        "relu-ln": [nn.Conv2d, nn.GroupNorm, nn.ReLU],
    }
    for name, parts in expected.items():
        blocks = list(net(name, CNN).children())[1:-1]
        assert [kinds(block) for block in blocks] == [parts] * 5


def test_selu_convolutions_are_the_librarys_own():
    for name, var in (("selu", 1.0), ("selu-matched", theory.match_depth(6).var)):
        blocks = list(net(name, CNN).children())[1:-1]
        assert [[type(part) for part in block] for block in blocks] == [[ConvSELU2d]] * 5
        assert blocks[0][0].var == var


@pytest.mark.parametrize("shape", [MLP, CNN])
def test_standardised_weights_from_the_second_layer_on(shape):
    first, *others = list(net("ws-selu", shape).children())[:-1]
    kinds = [WSLinear, WSConv2d]
    assert not any(type(part) in kinds for part in first.modules())
    for block in others:
        (layer,) = (part for part in block.modules() if type(part) in kinds)
        rows = layer.standardized_weight().flatten(1)
        torch.testing.assert_close(rows.sum(dim=1), torch.zeros(len(rows)), atol=1e-5, rtol=0)
        torch.testing.assert_close(rows.square().sum(dim=1), torch.ones(len(rows)))


def test_normalisation_behind_the_activation():
    after = Shape("mlp", (1, 5, 7), 2, 40, 4, norm_after=True)
    block = net("relu-bn", after)[0]
    assert kinds(block) == [nn.Linear, nn.ReLU, nn.BatchNorm1d]
    assert block[0].bias is not None
    assert net("relu-bn", MLP)[0][0].bias is None, "batch norm has a shift of its own"


def test_stages_halve_the_maps_and_double_the_channels():
    shapes = []
    X = torch.zeros(2, 3 * 16 * 20)
    for block in list(net("relu", CNN).children())[:-1]:
        X = block(X)
        shapes.append(tuple(X.shape[1:]))
    assert shapes == [(8, 8, 10)] * 2 + [(16, 4, 5)] * 2 + [(32, 2, 3)] * 2


@pytest.mark.parametrize(("name", "expected"), [("selu", 1.0), ("selu-matched", None)])
def test_selu_nets_begin_at_their_fixed_point(name, expected):
    """1,000 rows through 20 layers of 300 units; the tolerance covers what finite width adds."""
    shape = Shape("mlp", (1, 15, 20), 60, 300, 4)
    model = net(name, shape)
    target = expected or theory.match_depth(60).var
    assert input_var(NETS[name], 60) == pytest.approx(target)
    X = torch.randn(1000, 300, generator=torch.Generator().manual_seed(3)) * math.sqrt(target)
    for block in list(model.children())[:20]:
        X = block(X)
    assert X.var().item() == pytest.approx(target, rel=0.2)


def test_random_numbers_come_from_the_generator_alone():
    state = torch.random.get_rng_state()
    for name in NETS:
        first, second, other = (net(name, MLP, seed) for seed in (5, 5, 6))
        weights = [next(model.parameters()) for model in (first, second, other)]
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("image", "depth", "stages", "most"), [((1, 8, 8), 9, 4, 3), ((3, 32, 32), 2, 3, 2)]
)
def test_feature_maps_that_vanish(image, depth, stages, most):
    shape = Shape("cnn", image, depth, 8, 10, stages=stages)
    message = rf"stages must be at most {most}, however: stages={stages}; .* {image[1]}×{image[2]}"
    with pytest.raises(DomainError, match=message):
        check_maps(shape)
    with pytest.raises(DomainError, match="vanish"):
        net("relu", shape)


def test_saved_bytes_of_a_relu_net_are_counted_by_hand():
    """A linear layer keeps its input and a ReLU its output: one buffer of float32 per layer."""
    model = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 10), nn.ReLU())
    X = torch.randn(7, 30)
    found = saved_bytes(lambda: model(X), [X, *model.parameters()])
    assert found == 4 * 7 * (20 + 10)
    assert saved_bytes(lambda: model(X), list(model.parameters())) == found + 4 * 7 * 30


def test_peak_bytes_of_known_allocations(capfd):
    def step():
        a = torch.ones(1000)  # 4,000 bytes
        b = torch.cat([a, a])  # 8,000 more
        del a
        return torch.cat([b, b])  # 16,000 instead of 4,000

    assert peak_bytes(step) == 24_000
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "weight_sumsq"),
    [("relu", 2.0), ("relu-bn", 2.0), ("elu", 2.0), ("selu", 1.0), ("bidirectional", 1.0)],
)
def test_weights_have_the_stated_variance(name, weight_sumsq):
    """Mean of 200 sums of 300 squares: tolerance five standard errors, √(2/60,000) of it each."""
    shape = Shape("mlp", (1, 15, 20), 2, 200, 4)
    weight = next(net(name, shape)[0].parameters())
    found = weight.square().sum(dim=1).mean().item()
    assert found == pytest.approx(weight_sumsq, rel=5 * (2 / 60_000) ** 0.5)
    maps = Shape("cnn", (3, 8, 8), 3, 100, 4, stages=1)
    kernel = next(p for p in net(name, maps)[1].parameters() if p.dim() == 4)
    found = kernel.flatten(1).square().sum(dim=1).mean().item()
    assert found == pytest.approx(weight_sumsq, rel=5 * (2 / 90_000) ** 0.5)
