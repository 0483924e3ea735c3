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
    border_factors,
    described,
    output_size,
    pad,
    padding_widths,
)
from selfnorm.nn._weight_standardized import WSConv1d, WSConv2d, WSConv3d

__all__ = ["PaddedConv"]

_tracing: Final = torch.jit.is_tracing  # type: ignore[attr-defined]

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
        padding_mode: str = "rescaled",
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
        self._padding_mode = padding_mode
        # Zeros that torch's convolution adds itself cost no copy of the map; it adds as many on
        # both sides.
        inside = padding_mode in ("rescaled", "zeros") and all(a == b for a, b in self.padding)
        self._added = ((0, 0),) * dims if inside else self.padding
        self._scale: tuple[object, Tensor] | None = None
        check_dtype(dtype)
        check_generator(generator)
        kind = (_STANDARDIZED if weight_standardized else _PLAIN)[dims - 1]
        # Without memory first: torch's own layers would draw from the default generator.
        self.conv = kind(
            in_channels,
            out_channels,
            self.kernel_size,  # type: ignore[arg-type]
            self.stride,  # type: ignore[arg-type]
            tuple(a for a, _ in self.padding) if inside else 0,  # type: ignore[arg-type]
            self.dilation,  # type: ignore[arg-type]
            groups,
            bias,
            device="meta",
            dtype=dtype,
        )
        self.to_empty(device=torch.get_default_device() if device is None else device)
        self.reset_parameters(generator)

    @property
    def padding_mode(self) -> str:
        """What stands beyond the border; fixed at construction."""
        return self._padding_mode

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
        y: Tensor = self.conv(pad(x, self._added, self.padding_mode))
        if self.padding_mode != "rescaled" or not any(map(any, self.padding)):
            return y
        scale = self._border_scale(size, y)
        return y.mul_(scale) if self._may_overwrite(y) else y * scale

    def _may_overwrite(self, z: Tensor) -> bool:
        """Return whether nobody else sees what the convolution gave."""
        if torch.compiler.is_compiling():  # A compiler plans the memory itself.
            return False
        conv = self.conv
        return not (conv._forward_hooks or conv._backward_hooks or conv._backward_pre_hooks)

    def _border_scale(self, size: tuple[int, ...], y: Tensor) -> Tensor:
        """Return the factor of each output position; the last one made is kept."""
        key = (size, y.dtype, y.device)
        if self._scale is not None and self._scale[0] == key and type(y) is Tensor:
            return self._scale[1]
        with torch.inference_mode(False):  # What is kept shall serve in training as well.
            scale = torch.ones((), dtype=y.dtype, device=y.device)
            for factors in border_factors(
                size, self.padding, self.kernel_size, self.stride, self.dilation
            ):
                line = torch.tensor(factors, dtype=y.dtype, device=y.device)
                scale = scale[..., None] * line
        # Tensors of a tracer or of a transform die with it.
        traced = (
            torch.compiler.is_compiling()
            or _tracing()  # type: ignore[no-untyped-call]
            or torch._C._are_functorch_transforms_active()
        )
        if type(scale) is Tensor and not traced:
            self._scale = key, scale
        return scale

    def extra_repr(self) -> str:
        """Show the padding, which the convolution inside does not know."""
        return f"padding={self.padding}, padding_mode={self.padding_mode!r}"


_AXES: Final = ("depth", "height", "width")
