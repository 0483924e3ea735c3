"""ImageInput: values, types, saving, refusals."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from selfnorm import nn
from selfnorm.errors import DomainError


def pixels(*shape: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    return torch.randint(3, 230, shape, dtype=torch.uint8, generator=g)


def test_training_images_get_mean_0_and_variance_1_per_channel() -> None:
    images = pixels(40, 3, 5, 7)
    images[:, 1] //= 4
    layer = nn.ImageInput.from_images(images)
    x = layer(images).double()
    assert x.dtype == torch.float64
    assert x.mean((0, 2, 3)).abs().max() < 1e-5
    assert (x.square().mean((0, 2, 3)) - 1).abs().max() < 1e-5
    # The unit is that of images divided by 255.
    torch.testing.assert_close(layer(images.float() / 255), layer(images))
    torch.testing.assert_close(layer(images[0]), layer(images)[0])


def test_given_numbers() -> None:
    layer = nn.ImageInput([0.5, 0.2], [0.25, 2.0])
    x = torch.full((1, 2, 1, 1), 0.7, dtype=torch.float64)
    got = layer(x)
    assert got.dtype == torch.float64
    torch.testing.assert_close(got.flatten(), torch.tensor([0.8, 0.25], dtype=torch.float64))
    assert layer(torch.full((1, 2, 1, 1), 51, dtype=torch.uint8)).flatten().tolist() == (
        pytest.approx([-1.2, 0.0])
    )
    assert layer(x.bfloat16()).dtype == torch.bfloat16


def test_float_images_are_taken_in_their_own_unit() -> None:
    images = pixels(20, 1, 3, 4).double()
    layer = nn.ImageInput.from_images(images)
    assert layer.std.item() == pytest.approx(images.std(correction=0).item(), rel=1e-6)


def test_numbers_are_saved_with_the_network() -> None:
    net = torch.nn.Sequential(nn.ImageInput.from_images(pixels(20, 2, 3, 4)))
    other = torch.nn.Sequential(nn.ImageInput([0, 0], [1, 1]))
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(pixels(2, 2, 3, 4)), net(pixels(2, 2, 3, 4)))
    assert not list(net.parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.ImageInput([0, 0], [1, 0]), r"std positive.*std=\[1\.0, 0\.0\] \(channel 1\)"),
        (lambda: nn.ImageInput([0], [1, 1]), r"one number per channel each.*std=\[1, 1\]"),
        (lambda: nn.ImageInput([math.nan], [1]), "mean must be finite"),
        (lambda: nn.ImageInput(0.5, [1]), r"mean must be a sequence.*mean=0\.5; grey"),
        (lambda: nn.ImageInput([], []), "mean must be a sequence"),
        (lambda: nn.ImageInput.from_images(torch.ones(3, 1, 4, 4)), r"constant"),
        (
            lambda: nn.ImageInput.from_images(torch.ones(0, 1, 4, 4)),
            r"not be empty.*\(0, 1, 4, 4\)",
        ),
        (lambda: nn.ImageInput.from_images(torch.ones(5, 4, 4)), r"shape \(batch, channels"),
        (lambda: nn.ImageInput([0], [1])(torch.ones(5, 4, 4)), r"x\[:, None\]"),
        (lambda: nn.ImageInput([0], [1])(torch.ones(5, 1, 4, 4).int()), r"x\.dtype=torch\.int32"),
        (lambda: nn.ImageInput([0], [1])([[1.0]]), "a list; torch.as_tensor"),
    ],
)
def test_refusals(make: Any, message: str) -> None:
    with pytest.raises(DomainError, match=message):
        make()
