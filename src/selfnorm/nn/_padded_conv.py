"""A convolution with the padding that keeps the variance at the border."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from selfnorm import init
from selfnorm.errors import DomainError
from selfnorm.nn._checks import check_channels, check_dtype, check_generator, check_sizes
from selfnorm.nn._padding import (
    PADDING_MODES,
    border_scale,
    described,
    output_size,
    pad,
    padding_widths,
)
from selfnorm.nn._weight_standardized import WSConv1d, WSConv2d, WSConv3d

__all__ = ["PaddedConv"]

_PLAIN: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_STANDARDIZED: Final = (WSConv1d, WSConv2d, WSConv3d)


class PaddedConv(nn.Module):
    """A convolution whose border keeps the variance: what ConvSELU does before the SELU."""

    def __init__(
        self,
        dims: int,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: str | int | Sequence[int] = "same",
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        padding_mode: str = "replicate",
        weight_standardized: bool = False,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels, out_channels, groups)
        self.kernel_size = check_sizes("kernel_size", kernel_size, dims, 1)
        self.stride = check_sizes("stride", stride, dims, 1)
        self.dilation = check_sizes("dilation", dilation, dims, 1)
        self.padding = padding_widths(padding, self.kernel_size, self.dilation)
        if padding_mode not in PADDING_MODES:
            raise DomainError(
                f"padding_mode must be one of {list(PADDING_MODES)}, however: "
                f"padding_mode={padding_mode!r}"
            )
        self.padding_mode = padding_mode
        check_dtype(dtype)
        check_generator(generator)
        kind = (_STANDARDIZED if weight_standardized else _PLAIN)[dims - 1]
        # Without memory first: torch's own layers would draw from the default generator.
        self.conv = kind(
            in_channels,
            out_channels,
            self.kernel_size,  # type: ignore[arg-type]
            self.stride,  # type: ignore[arg-type]
            0,
            self.dilation,  # type: ignore[arg-type]
            groups,
            bias,
            device="meta",
            dtype=dtype,
        )
        self.to_empty(device=torch.get_default_device() if device is None else device)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights anew (LeCun normal) and set the bias to zero."""
        init.initialize_(self.conv, generator=generator)

    def output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Return the spatial size of the output for that of an input.

        Parameters
        ----------
        size : sequence of int
            Spatial size of the input, (height, width) for images.

        Returns
        -------
        tuple of int
            Spatial size of the output; an entry of 0 or less says that the map vanishes.
        """
        return output_size(size, self.padding, self.kernel_size, self.stride, self.dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Return the pre-activations, bias included."""
        dims = len(self.kernel_size)
        channels = self.conv.in_channels
        if x.dim() not in (dims + 1, dims + 2) or x.shape[-dims - 1] != channels:
            raise DomainError(
                f"x must have shape (batch, {channels}, {', '.join(_AXES[-dims:])}), or that "
                f"without batch, however: x.shape={tuple(x.shape)}"
            )
        size = tuple(x.shape[-dims:])
        if min(self.output_size(size)) < 1:
            raise DomainError(
                f"the map must be at least as large as the kernel, however: map={described(size)}, "
                f"kernel_size={self.kernel_size}, dilation={self.dilation}, "
                f"padding={self.padding} leave {described(self.output_size(size))}; "
                "take padding='same' or a smaller kernel"
            )
        y: Tensor = self.conv(pad(x, self.padding, self.padding_mode))
        if self.padding_mode != "rescaled" or not any(map(any, self.padding)):
            return y
        scale = border_scale(x, self.padding, self.kernel_size, self.stride, self.dilation)
        scale = scale.to(y.dtype)
        if self.conv.bias is None:
            return y * scale
        # The bias shall not be rescaled: (y - b) scale + b.
        bias = self.conv.bias.to(y.dtype).reshape(-1, *(1,) * dims)
        return torch.addcmul(bias * (1.0 - scale), y, scale)

    def extra_repr(self) -> str:
        """Show the padding, which the convolution inside does not know."""
        return f"padding={self.padding}, padding_mode={self.padding_mode!r}"


_AXES: Final = ("depth", "height", "width")
