"""SNNResNet: shapes, initial moments beside the prediction, gradients, refusals."""

from __future__ import annotations

import math
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


def block_moments(net: nn.SNNResNet, x: Tensor) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    hooks = [
        block.register_forward_hook(
            lambda _m, _i, out: found.append((out.mean().item(), out.var().item()))
        )
        for block in net.hidden
    ]
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(5)
        net(x)
    for hook in hooks:
        hook.remove()
    return found


def test_shapes() -> None:
    net = nn.SNNResNet(3, 7, image_size=(20, 33), depth=11, width=6)
    assert net.widths == (6, 6, 6, 12, 12, 24)
    assert net.sizes == ((20, 33),) * 3 + ((10, 17),) * 2 + ((5, 9),)
    assert net.head.weight.shape == (7, 24 * 45)
    assert net(gaussian(5, 3, 20, 33)).shape == (5, 7)
    assert net(gaussian(3, 20, 33)).shape == (7,)


def predicted(net: nn.SNNResNet, var: float) -> list[tuple[float, float]]:
    """Moments after each part, composed of theory's prediction for each branch."""
    constants = theory.solve(0.0, net.fixed_point[1])
    selu = theory.activation("selu", alpha=constants.alpha, scale=constants.scale)
    path = theory.predict([theory.Layer(selu)], 0.0, var)
    m, v = float(path.mean[0]), float(path.var[0])
    found, s = [(m, v)], net.skip
    for width, before in zip(net.widths[1:], net.widths, strict=False):
        branch = theory.predict([theory.Layer(selu)] * 2, m, v)
        straight = (m, v) if width == before else (0.0, v + m * m)
        m = math.sqrt(1 - s * s) * float(branch.mean[1]) + s * straight[0]
        v = (1 - s * s) * float(branch.var[1]) + s * s * straight[1]
        found.append((m, v))
    return found


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((3, 32, 32), {}),
        ((3, 32, 32), {"weight_standardized": True, "dropout": 0.05}),
        ((1, 28, 28), {"skip": 0.85}),
        ((1, 8, 8), {"depth": 21}),
        ((3, 16, 16), {"depth": 25, "fixed_point": "depth-matched"}),
    ],
)
def test_moments_are_kept_at_initialisation(
    shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    net = nn.SNNResNet(shape[0], 10, image_size=shape[1:], generator=seeded(2), **options)
    target = net.fixed_point[1]
    # The worst block's deviation over 12 seeds, at most: variance 0.11 with standard deviation
    # 0.055, mean 0.025 with 0.008 (one channel of 8 x 8: nine weights a unit in the first layer).
    for mean, var in block_moments(net, gaussian(32, *shape, seed=3)):
        assert mean == pytest.approx(0, abs=0.07)
        assert var / target == pytest.approx(1, abs=0.4)


@pytest.mark.parametrize("fixed_point", [(0.0, 1.0), (0.0, 0.3)])
def test_deviations_return_as_predicted(fixed_point: tuple[float, float]) -> None:
    net = nn.SNNResNet(
        24, 4, image_size=8, depth=13, width=48, fixed_point=fixed_point, generator=seeded(4)
    )
    var = fixed_point[1]
    measured = block_moments(net, 1.8**0.5 * gaussian(64, 24, 8, 8, seed=5))
    for got, want in zip(measured, predicted(net, 1.8 * var), strict=True):
        # The worst block's deviation over 12 seeds: 0.021 ± 0.010 and 0.033 ± 0.013.
        assert got[0] == pytest.approx(want[0], abs=0.07)
        assert got[1] / var == pytest.approx(want[1] / var, abs=0.1)


def test_standardised_activations_keep_them_too() -> None:
    net = nn.SNNResNet(3, 4, image_size=8, width=48, activation="tanh", generator=seeded(6))
    for mean, var in block_moments(net, gaussian(64, 3, 8, 8)):
        assert mean == pytest.approx(0, abs=0.05)
        assert var == pytest.approx(1, abs=0.2)
    assert type(net.hidden[0][1]) is nn.SelfNormalized  # type: ignore[index]


def test_default_skip() -> None:
    net = nn.SNNResNet(1, 2, image_size=5, depth=81, width=2)
    assert net.skip == nn.ScaledResidual.skip_for_depth(40)
    assert {block.skip for block in net.hidden if isinstance(block, nn.ScaledResidual)} == {
        net.skip
    }
    assert nn.SNNResNet(1, 2, image_size=5, depth=3, width=2, skip=0.4).skip == 0.4


def test_generator_is_the_only_source_of_the_weights() -> None:
    state = torch.get_rng_state()
    first = nn.SNNResNet(2, 3, image_size=8, width=4, generator=seeded(5))
    assert torch.equal(torch.get_rng_state(), state)
    second = nn.SNNResNet(2, 3, image_size=8, width=4)
    second.reset_parameters(seeded(5))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 8}, "odd and at least 3.*depth=8; take depth=7 or depth=9"),
        ({"depth": 1}, "depth=1; take depth=3 or depth=5"),
        ({"depth": 13, "stages": 6}, "layer 9 .* halves its input of 1x1"),
        ({"stages": 6}, "one of the blocks, however: stages=6, blocks=4"),
        ({"fixed_point": (0.1, 0.8)}, r"mean 0 only, however: fixed_point=\(0\.1, 0\.8\)"),
        ({"activation": "prelu"}, "activation must be one of .*activation='prelu'"),
        ({"activation": "tanh", "fixed_point": (0.0, 0.5)}, "only SELU has"),
        ({"activation": "tanh", "weight_standardized": True}, "take activation='selu'"),
        ({"skip": -0.5}, "skip must be a number from 0 to 1"),
        ({"padding_mode": "mirror"}, "padding_mode must be one of"),
    ],
)
def test_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        nn.SNNResNet(3, 10, **{"image_size": 8} | arguments)


def test_other_images_are_refused() -> None:
    net = nn.SNNResNet(3, 10, image_size=8, depth=3, width=2)
    with pytest.raises(DomainError, match=r"x\.shape=\(2, 3, 8, 9\)"):
        net(torch.zeros(2, 3, 8, 9))
