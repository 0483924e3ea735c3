"""Augmentation of images with plain torch: horizontal flips and random crops."""

from __future__ import annotations

import dataclasses

import torch

from selfnorm.errors import DomainError

__all__ = ["Augmentation", "crop", "flip"]


@dataclasses.dataclass(frozen=True, eq=False)
class Augmentation:
    """Flips and crops batches of flat rows, as the training loop hands them over.

    Only one batch at a time is augmented, so nothing is kept beside the data themselves.

    Attributes
    ----------
    image : tuple of int
        Channels, height and width of an image.
    padding : int
        Largest shift in pixels by a crop.
    flips : bool
        Whether half of the images are mirrored; not for digits, which have a side.
    generator : torch.Generator
        Draws flips and shifts.
    """

    image: tuple[int, int, int]
    padding: int
    flips: bool
    generator: torch.Generator

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return a changed copy of rows of shape (batch, channels · height · width)."""
        images = rows.reshape(-1, *self.image)
        if self.flips:
            images = flip(images, self.generator)
        if self.padding:
            images = crop(images, self.padding, self.generator)
        return images.flatten(1)


def flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror each image left to right with probability 1/2.

    Parameters
    ----------
    images : torch.Tensor
        Shape (batch, channels, height, width).
    generator : torch.Generator
        Source of the choice.

    Returns
    -------
    torch.Tensor
        A new tensor of the same shape.
    """
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def crop(images: torch.Tensor, padding: int, generator: torch.Generator) -> torch.Tensor:
    """Shift each image by up to ``padding`` pixels down or up and right or left.

    The same as padding all four sides with zeros (the mean, for standardised images) and
    cutting a window of the old size out at random.

    Parameters
    ----------
    images : torch.Tensor
        Shape (batch, channels, height, width).
    padding : int
        Largest shift, less than height and width.
    generator : torch.Generator
        Source of the shifts; each of the (2·padding + 1)² is as likely as any other.

    Returns
    -------
    torch.Tensor
        A new tensor of the same shape.

    Raises
    ------
    DomainError
        If an image could be shifted out of its frame.
    """
    height, width = images.shape[2:]
    if not 0 <= padding < min(height, width):
        raise DomainError(
            f"padding must be at least 0 and less than the images' {height}×{width} pixels, "
            f"however: padding={padding}"
        )
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    shifts = torch.randint(2 * padding + 1, (2, len(images)), generator=generator)
    rows = shifts[0][:, None] + torch.arange(height)
    columns = shifts[1][:, None] + torch.arange(width)
    batch = torch.arange(len(images))[:, None, None]
    # Advanced indices around the slice of channels come first: (batch, height, width, channels).
    windows: torch.Tensor = padded[batch, :, rows[:, :, None], columns[:, None, :]]
    return windows.permute(0, 3, 1, 2).contiguous()
