"""The input layer for images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from selfnorm.errors import DomainError
from selfnorm.functional._checks import is_number

__all__ = ["ImageInput"]


class ImageInput(nn.Module):
    """Standardise images per channel: mean 0 and variance 1, as a self-normalizing net expects.

    Parameters
    ----------
    mean, std : sequence of float
        Mean and standard deviation of each channel, in the unit of float images: uint8 pixels are
        divided by 255 first.

    Attributes
    ----------
    mean, std : torch.Tensor
        Shape (channels,), float32; buffers, saved with the network.

    Raises
    ------
    DomainError
        If mean and std are not one finite number per channel, a std is not positive or, in use,
        the images have other channels.

    See Also
    --------
    ImageInput.from_images : The layer for given training images.

    Notes
    -----
    Shape: (batch, channels, height, width) or (channels, height, width), uint8 or floating point;
    kept, uint8 becomes torch's default dtype.

    Moments: pooled over the training images and positions, exactly 0 and 1 per channel. A single
    position or image has its own: the dark border of handwritten digits is constant, and reaches
    the network's fixed point layer by layer.

    Examples
    --------
    >>> import torch
    >>> images = torch.randint(0, 200, (50, 3, 8, 9), dtype=torch.uint8,
    ...                        generator=torch.Generator().manual_seed(0))
    >>> layer = ImageInput.from_images(images)
    >>> x = layer(images)
    >>> abs(round(x.mean().item(), 4)), round(x.var().item(), 3)
    (0.0, 1.0)
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        for name, value in (("mean", mean), ("std", std)):
            if not isinstance(value, tuple | list) or not all(map(is_number, value)) or not value:
                raise DomainError(
                    f"{name} must be a sequence of numbers, one per channel, however: "
                    f"{name}={value!r}; grey images have one, as [0.13]"
                )
        if len(mean) != len(std):
            raise DomainError(
                "mean and std must have one number per channel each, however: "
                f"mean={mean!r}, std={std!r}"
            )
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))
        self._check()

    @classmethod
    def from_images(cls, images: Tensor) -> ImageInput:
        """Make the layer with the mean and standard deviation of training images.

        Parameters
        ----------
        images : Tensor
            Shape (batch, channels, height, width), uint8 or floating point.

        Returns
        -------
        ImageInput
            On the device of the images.

        Raises
        ------
        DomainError
            If the images are none, contain NaN, or a channel is constant.

        Examples
        --------
        >>> import torch
        >>> ImageInput.from_images(torch.tensor([0.0, 1.0, 2.0, 3.0]).reshape(2, 1, 1, 2))
        ImageInput(mean=[1.5], std=[1.118])
        """
        _check_images(images, None)
        if images.dim() != 4 or images.numel() == 0:
            raise DomainError(
                "images must have shape (batch, channels, height, width) and not be empty, "
                f"however: images.shape={tuple(images.shape)}"
            )
        mean, std = [], []
        for channel in images.unbind(1):  # One channel in float64 at a time.
            pixels = channel.double() / (255.0 if images.dtype == torch.uint8 else 1.0)
            mean.append(pixels.mean().item())
            std.append(pixels.std(correction=0).item())
        return cls(mean, std).to(images.device)

    def forward(self, x: Tensor) -> Tensor:
        """Standardise images of shape (batch, channels, height, width), or without batch."""
        _check_images(x, len(self.mean))
        if x.dtype == torch.uint8:
            x = x.to(torch.get_default_dtype()) / 255.0
        mean, std = (t.to(x.dtype)[:, None, None] for t in (self.mean, self.std))
        return (x - mean) / std

    def _check(self) -> None:
        finite = bool(self.mean.isfinite().all() and self.std.isfinite().all())
        if not finite or not bool((self.std > 0).all()):
            bad = [k for k, s in enumerate(self.std.tolist()) if not s > 0]
            where = f" (channel {bad[0]})" if bad else ""
            raise DomainError(
                "mean must be finite and std positive and finite, however: "
                f"mean={self.mean.tolist()}, std={self.std.tolist()}{where}; leave out channels "
                "that are constant, and images with NaN"
            )

    def extra_repr(self) -> str:
        """Show the numbers, rounded."""
        mean, std = ([float(f"{v:.4g}") for v in t.tolist()] for t in (self.mean, self.std))
        return f"mean={mean}, std={std}"


def _check_images(x: Tensor, channels: int | None) -> None:
    if not isinstance(x, Tensor) or not (x.dtype == torch.uint8 or x.is_floating_point()):
        came = f"x.dtype={x.dtype}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
        raise DomainError(
            f"images must be a torch.Tensor of dtype uint8 or floating point, however: {came}; "
            "torch.as_tensor converts arrays"
        )
    if channels is not None and (x.dim() not in (3, 4) or x.shape[-3] != channels):
        raise DomainError(
            f"images must have shape (batch, {channels}, height, width), or that without batch, "
            f"however: x.shape={tuple(x.shape)}; add a missing channel with x[:, None], move a "
            "last one with x.movedim(-1, 1)"
        )
