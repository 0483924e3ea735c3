"""Flips and crops: against slow copies pixel by pixel, and by their frequencies."""

from __future__ import annotations

import pytest
import torch

from selfnorm.errors import DomainError
from selfnorm.experiments._augment import Augmentation, crop, flip


def numbered(n, channels=3, height=5, width=4):
    """Return images whose every pixel is another number above zero."""
    count = n * channels * height * width
    return torch.arange(1.0, count + 1).reshape(n, channels, height, width)


def seeded(seed=11):
    return torch.Generator().manual_seed(seed)


def test_a_flipped_image_is_the_image_or_its_mirror():
    images = numbered(40)
    flipped = flip(images, seeded())
    mirrored = 0
    for old, new in zip(images, flipped, strict=True):
        if not torch.equal(old, new):
            assert torch.equal(new, old[:, :, [3, 2, 1, 0]])
            mirrored += 1
    assert 0 < mirrored < 40


def test_half_of_the_images_are_flipped():
    """False positives: 5.5 standard errors of 20,000 draws, 4e-8."""
    images = torch.tensor([[[[0.0, 1.0]]]]).expand(20_000, 1, 1, 2)
    share = flip(images, seeded(3))[:, 0, 0, 0].mean().item()
    assert abs(share - 0.5) < 5.5 * (0.25 / 20_000) ** 0.5


def test_a_crop_is_a_shift_with_zeros_behind_it():
    images = numbered(60)
    cropped = crop(images, 2, seeded())
    seen = set()
    for old, new in zip(images, cropped, strict=True):
        found = []
        for down in range(-2, 3):
            for right in range(-2, 3):
                expected = torch.zeros_like(old)
                for row in range(5):
                    for column in range(4):
                        if 0 <= row - down < 5 and 0 <= column - right < 4:
                            expected[:, row, column] = old[:, row - down, column - right]
                if torch.equal(expected, new):
                    found.append((down, right))
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) > 15


def test_all_shifts_are_equally_likely():
    """Chi-square with 8 degrees of freedom; beyond 44.5 in 4.5e-7 of cases."""
    images = torch.zeros(9000, 1, 3, 3)
    images[:, 0, 1, 1] = 1.0
    counts = crop(images, 1, seeded(5)).sum(dim=0).flatten()
    assert counts.sum() == 9000
    assert ((counts - 1000) ** 2 / 1000).sum() < 44.5


def test_rows_are_images_flattened_and_batches_differ():
    augment = Augmentation((3, 5, 4), 1, True, seeded())
    images = numbered(7)
    rows = images.flatten(1).clone()
    first, second = augment(rows), augment(rows)
    again = seeded()
    expected = crop(flip(images, again), 1, again).flatten(1)
    assert torch.equal(first, expected)
    assert first.shape == rows.shape
    assert not torch.equal(first, second)
    assert torch.equal(rows, images.flatten(1)), "the data themselves stay as they are"


def test_nothing_asked_changes_nothing():
    rows = numbered(3).flatten(1)
    assert torch.equal(Augmentation((3, 5, 4), 0, False, seeded())(rows), rows)


@pytest.mark.parametrize("padding", [4, -1])
def test_a_shift_out_of_the_frame(padding):
    with pytest.raises(DomainError, match=rf"5×4 pixels, however: padding={padding}"):
        crop(numbered(2), padding, seeded())
