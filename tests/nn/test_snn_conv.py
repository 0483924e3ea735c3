"""SNNConv: shapes, initial moments beside the prediction, refusals."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from selfnorm import nn, theory
from selfnorm.errors import DomainError


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=seeded(seed))


def layer_moments(net: nn.SNNConv, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each hidden layer's output, over images, channels and positions."""
    found: list[Tensor] = []
    hooks = [
        block.register_forward_hook(
            lambda _m, _i, out: found.append(torch.stack([out.mean(), out.var()]))
        )
        for block in net.hidden
    ]
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(5)
        net(x)
    for hook in hooks:
        hook.remove()
    means, variances = torch.stack(found).T
    return means, variances


def smooth_images(channels: int, height: int, width: int) -> Tensor:
    """Standardised images whose neighbouring pixels are correlated, as photographs are."""
    noise = gaussian(32, channels, height, width, seed=2)
    smooth = torch.nn.functional.avg_pool2d(noise, 5, 1, 2, count_include_pad=False)
    return (smooth - smooth.mean((0, 2, 3), keepdim=True)) / smooth.std((0, 2, 3), keepdim=True)


# ---- shape --------------------------------------------------------------------------------


def test_shapes() -> None:
    net = nn.SNNConv(3, 7, image_size=(20, 33), depth=7, width=6)
    assert net.widths == (6, 6, 6, 12, 12, 24, 24)
    assert net.sizes == ((20, 33),) * 3 + ((10, 17),) * 2 + ((5, 9),) * 2
    assert net.head.weight.shape == (7, 24 * 45)
    assert net(gaussian(5, 3, 20, 33)).shape == (5, 7)
    assert net(gaussian(3, 20, 33)).shape == (7,)


@pytest.mark.parametrize(
    ("size", "depth", "stages"),
    [(32, 8, 3), (28, 8, 3), (8, 8, 2), (7, 5, 2), (6, 5, 1), (99, 2, 2)],
)
def test_default_stages_end_at_four_pixels_or_more(size: int, depth: int, stages: int) -> None:
    net = nn.SNNConv(1, 2, image_size=size, depth=depth, width=1)
    assert net.widths[-1] == 2 ** (stages - 1)
    assert len(net.hidden) == depth


def test_valid_padding_and_own_stages() -> None:
    net = nn.SNNConv(2, 3, image_size=11, depth=4, width=4, stages=1, padding="valid")
    assert net.sizes == ((9, 9), (7, 7), (5, 5), (3, 3))
    assert nn.SNNConv(2, 3, image_size=3, depth=3, width=4, stages=3).sizes[-1] == (1, 1)


# ---- moments ------------------------------------------------------------------------------
# The first layer's units have few weights on correlated pixels: its moments are those of the draw.
# The worst layer's deviation over ten seeds, at most: mean 0.033 ± 0.012, variance 0.18 ± 0.09.


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (1, 8, 8)])
@pytest.mark.parametrize("standardized", [False, True])
def test_moments_are_kept_at_initialisation(shape: tuple[int, ...], standardized: bool) -> None:
    net = nn.SNNConv(
        shape[0],
        10,
        image_size=shape[1:],
        dropout=0.05,
        weight_standardized=standardized,
        generator=seeded(3),
    )
    predicted = theory.predict([theory.Layer("selu", dropout=0.05)] * 8, 0.0, 1.0)
    for x in (gaussian(32, *shape), smooth_images(*shape)):
        mean, var = layer_moments(net, x)
        assert (mean - torch.from_numpy(predicted.mean)).abs().max() < 0.1
        assert (var - torch.from_numpy(predicted.var)).abs().max() < 0.5


def test_depth_matched() -> None:
    net = nn.SNNConv(
        3, 4, image_size=16, depth=24, width=24, fixed_point="depth-matched", generator=seeded(3)
    )
    target = theory.match_depth(24).var
    assert net.fixed_point == (0.0, target)
    assert net.input_scale == pytest.approx(target**0.5)
    mean, var = layer_moments(net, gaussian(32, 3, 16, 16))
    assert mean.abs().max() < 0.1
    assert (var / target - 1).abs().max() < 0.25


def test_fixed_point_with_a_mean() -> None:
    net = nn.SNNConv(2, 4, image_size=9, width=48, fixed_point=(0.3, 0.8), generator=seeded(4))
    mean, var = layer_moments(net, gaussian(64, 2, 9, 9))
    assert (mean[1:] - 0.3).abs().max() < 0.1
    assert (var[1:] - 0.8).abs().max() < 0.2
    gains = [block.conv.weight.square().sum((1, 2, 3)).mean().item() for block in net.hidden]
    assert gains[4:] == pytest.approx([0.8 / 0.89] * 4, rel=0.05)


@pytest.mark.parametrize("activation", ["relu", "tanh", "elu", "prelu"])
def test_other_activations_start_at_their_gain(activation: str) -> None:
    net = nn.SNNConv(
        3,
        4,
        image_size=8,
        depth=3,
        width=64,
        activation=activation,
        dropout=0.1,
        generator=seeded(4),
    )
    f = theory.moments(theory.activation(activation), 0.0, 1.0)
    gain = 1 / float(f.var + f.mean**2)
    sums = [b[0].conv.weight.square().sum((1, 2, 3)).mean().item() for b in net.hidden]
    assert sums[1:] == pytest.approx([gain] * 2, rel=0.05)
    assert sums[0] == pytest.approx(1, rel=0.2)
    assert net(gaussian(2, 3, 8, 8)).shape == (2, 4)


def test_first_layer_is_not_standardised() -> None:
    net = nn.SNNConv(1, 2, image_size=8, depth=3, width=4, weight_standardized=True)
    kinds = [type(block.conv) for block in net.hidden]
    assert kinds == [torch.nn.Conv2d, nn.WSConv2d, nn.WSConv2d]


# ---- parts --------------------------------------------------------------------------------


def test_generator_is_the_only_source_of_the_weights() -> None:
    state = torch.get_rng_state()
    first = nn.SNNConv(2, 3, image_size=8, width=4, generator=seeded(5))
    assert torch.equal(torch.get_rng_state(), state)
    second = copy.deepcopy(first)
    second.reset_parameters()
    assert not torch.equal(first.head.weight, second.head.weight)
    second.reset_parameters(seeded(5))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_it_learns() -> None:
    net = nn.SNNConv(1, 2, image_size=6, depth=3, width=8, generator=seeded(6))
    x = gaussian(64, 1, 6, 6)
    y = (x[:, 0, :3].mean((1, 2)) > x[:, 0, 3:].mean((1, 2))).long()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2


# ---- refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stages": 5}, "layer 7 .* halves its input of 1x1; take fewer stages"),
        ({"padding": "valid"}, "layer 3 .* turns its input of 2x2 into 0x0"),
        ({"stages": 9}, "stages=9, layers=8; take at most stages=8"),
        ({"stages": 0}, "stages must be an integer, 1 or more"),
        ({"depth": 0}, "depth must be an integer, 1 or more"),
        ({"width": 0}, "width must be an integer, 1 or more"),
        ({"image_size": (8, 8, 8)}, r"image_size must be .* or 2 of them"),
        ({"image_size": 0}, "image_size must be an integer, 1 or more"),
        ({"activation": "swish"}, "activation must be one of .*activation='swish'"),
        ({"weight_init": "he"}, "weight_init must be one of .*weight_init='he'"),
        (
            {"activation": "relu", "weight_standardized": True},
            "weight_standardized=True, activation='relu'; take activation='selu'",
        ),
        ({"activation": "relu", "fixed_point": "depth-matched", "depth": 40}, "only SELU has"),
        ({"dropout": -0.1}, "dropout is the probability"),
    ],
)
def test_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        nn.SNNConv(3, 10, **{"image_size": 8, "depth": 8} | arguments)


@pytest.mark.parametrize("shape", [(2, 3, 8, 9), (2, 1, 8, 8), (3, 64), (1, 2, 3, 8, 8)])
def test_other_images_are_refused(shape: tuple[int, ...]) -> None:
    net = nn.SNNConv(3, 10, image_size=8, depth=2, width=2)
    with pytest.raises(DomainError, match=r"\(batch, 3, 8, 8\), or that without batch.*x\.shape"):
        net(torch.zeros(shape))
