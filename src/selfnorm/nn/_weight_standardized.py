"""Linear and convolution layers whose units keep weights of sum 0 and sum of squares 1."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from selfnorm import init
from selfnorm.errors import DomainError
from selfnorm.nn._checks import (
    check_channels,
    check_dtype,
    check_generator,
    check_size,
    check_sizes,
)

__all__ = ["WSConv1d", "WSConv2d", "WSConv3d", "WSLinear"]

_PADDING_MODES: Final = ("zeros", "reflect", "replicate", "circular")


def standardize_weight(weight: Tensor) -> Tensor:
    """Return the weight, shape (out, ...), with sum 0 and sum of squares 1 per row.

    A row of equal entries has no direction left once centred: it becomes 0, and its gradient that
    of the centred row, so that it can leave this state.
    """
    low = weight.dtype in (torch.bfloat16, torch.float16)
    raw = weight.float() if low else weight
    dims = tuple(range(1, raw.dim()))
    centred = raw - raw.mean(dims, keepdim=True)
    length = torch.linalg.vector_norm(centred, dim=dims, keepdim=True)
    # What rounding leaves of equal entries is at most half a unit in the last place of each.
    noise = torch.finfo(raw.dtype).eps * torch.linalg.vector_norm(
        raw.detach(), dim=dims, keepdim=True
    )
    length = torch.where(length > noise, length, 1.0)
    result = centred / length
    return result.to(weight.dtype) if low else result


class _Standardized(nn.Module):
    """What the four layers share: construction without torch's draws, and the weight in use."""

    weight: Tensor

    def _start(
        self,
        fan_in: int,
        sizes: str,
        generator: torch.Generator | None,
        device: torch.device | str | None,
    ) -> None:
        if fan_in < 2:
            raise DomainError(
                "weight standardisation needs a fan_in of at least 2, because one weight of sum 0 "
                f"is 0, however: fan_in={fan_in} ({sizes}); take the plain layer here"
            )
        self.to_empty(device=torch.get_default_device() if device is None else device)
        init.initialize_(self, generator=generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the raw weights anew (LeCun normal) and set the bias to zero."""
        if not self.weight.is_meta:  # torch's constructor calls this before there is memory.
            init.initialize_(self, generator=generator)

    def standardized_weight(self) -> Tensor:
        """Return the weight in use: that of the parameter, standardised per unit.

        Returns
        -------
        Tensor
            Shape of ``weight``; each ``[k]`` has sum 0 and sum of squares 1.
        """
        return standardize_weight(self.weight)


class WSLinear(_Standardized, nn.Linear):
    r"""Linear layer with standardised weights: sum 0 and sum of squares 1 per unit, always.

    .. math:: y_k = \sum_i \hat w_{ki} x_i + b_k, \qquad
              \hat w_k = \frac{w_k - \bar w_k}{\lVert w_k - \bar w_k \rVert}

    Drop-in for :class:`torch.nn.Linear`. The theorems on self-normalizing networks assume
    :math:`\omega = \sum_i \hat w_i = 0` and :math:`\tau = \sum_i \hat w_i^2 = 1`; independent
    initial weights have omega of variance 1 whatever the width, and training moves both. Here both
    hold exactly, at every step.

    Parameters
    ----------
    in_features, out_features : int
        Numbers of inputs, at least 2, and of units, at least 1.
    bias : bool
        Whether the layer has a bias. It starts at zero.
    generator : torch.Generator, optional
        Source of the initial weights. Default: torch's default generator.
    device : torch.device, optional
        Where the parameters lie.
    dtype : torch.dtype, optional
        Type of the parameters.

    Attributes
    ----------
    weight : torch.nn.Parameter
        The raw weight w, shape (out_features, in_features); ``standardized_weight()`` is the one
        in use. Scale and mean of its rows have no effect, so weight decay only changes the
        effective learning rate.
    bias : torch.nn.Parameter or None
        Shape (out_features,).

    Raises
    ------
    DomainError
        If an argument lies outside its domain, or there is one input only: a single weight of
        sum 0 is 0.

    Notes
    -----
    Shape: input (..., in_features), output (..., out_features).

    Moments: independent inputs of mean m and variance v give pre-activations of mean 0 and
    variance v exactly, whatever m: a SELU's fixed point (m, v) is kept without a gain, where
    independent weights give the variance v + m². Over random weights and one given input vector,
    the pre-activation's variance is the sample variance of that vector's entries. So what all
    inputs of a unit share is removed: do not put it first where the inputs of a unit are nearly
    equal, such as the pixels of a grey image's 3 x 3 window.

    There is no learned gain, which would give up tau = 1. bfloat16 and float16 weights are
    standardised in float32 and rounded once. A unit whose raw weights are all equal outputs its
    bias. Without a gain the head of a network, whose outputs shall have any size, is better a
    plain linear layer.

    References
    ----------
    Qiao, Wang, Liu, Shen, Yuille, "Micro-Batch Training with Batch-Channel Normalization and
    Weight Standardization", arXiv:1903.10520. Klambauer et al., "Self-Normalizing Neural
    Networks", NeurIPS 2017, arXiv:1706.02515.

    Examples
    --------
    >>> import torch
    >>> layer = WSLinear(5, 3, dtype=torch.float64)
    >>> w = layer.standardized_weight().detach()
    >>> torch.allclose(w.sum(1), torch.zeros(3).double()), torch.allclose(w.norm(dim=1)**2,
    ...                                                            torch.ones(3).double())
    (True, True)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_size("in_features", in_features, 1)
        check_size("out_features", out_features, 1)
        check_dtype(dtype)
        check_generator(generator)
        super().__init__(in_features, out_features, bias, device="meta", dtype=dtype)
        self._start(in_features, f"in_features={in_features}", generator, device)

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer to inputs of shape (..., in_features)."""
        return functional.linear(input, self.standardized_weight(), self.bias)


class _WSConv(_Standardized):
    """The constructor and the product of the three convolutions."""

    _dims: ClassVar[int]
    _conv_forward: Any  # torch's, which pads as padding_mode says

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: str | int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_channels(in_channels, out_channels, groups)
        check_sizes("kernel_size", kernel_size, self._dims, 1)
        check_sizes("stride", stride, self._dims, 1)
        check_sizes("dilation", dilation, self._dims, 1)
        if not isinstance(padding, str) or padding not in ("same", "valid"):
            sides: Any = padding  # another text is refused with all that is no number
            check_sizes("padding", sides, self._dims, 0)
        if not isinstance(padding_mode, str) or padding_mode not in _PADDING_MODES:
            raise DomainError(
                f"padding_mode must be among {', '.join(_PADDING_MODES)}, however: "
                f"padding_mode={padding_mode!r}"
            )
        check_dtype(dtype)
        check_generator(generator)
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device="meta",
            dtype=dtype,
        )
        fan_in = self.weight[0].numel()
        sizes = f"in_channels={in_channels}, groups={groups}, kernel_size={kernel_size}"
        self._start(fan_in, sizes, generator, device)

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer to inputs of shape (batch, in_channels, *size), or without batch."""
        result: Tensor = self._conv_forward(input, self.standardized_weight(), self.bias)
        return result


class WSConv1d(_WSConv, nn.Conv1d):
    r"""1-d convolution with standardised weights: sum 0, sum of squares 1 per channel.

    Drop-in for :class:`torch.nn.Conv1d`; per output channel the weights over its input channels
    and the kernel are standardised as in :class:`WSLinear`, which says what that does to moments.

    Parameters
    ----------
    in_channels, out_channels : int
        Numbers of channels.
    kernel_size : int or tuple of int
        Size of the window; fan_in = in_channels / groups times its product, at least 2.
    stride : int or tuple of int
        Step of the window.
    padding : int, tuple of int, "same" or "valid"
        Padding as in torch.
    dilation : int or tuple of int
        Distance of the taps.
    groups : int
        Blocks of channels that do not see each other; divides both numbers of channels.
    bias : bool
        Whether the layer has a bias. It starts at zero.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        Padding as in torch, whose zeros lower the variance at the border; :class:`ConvSELU1d`
        keeps it.
    generator : torch.Generator, optional
        Source of the initial weights. Default: torch's default generator.
    device : torch.device, optional
        Where the parameters lie.
    dtype : torch.dtype, optional
        Type of the parameters.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, groups do not divide the channels, or fan_in is 1.

    Notes
    -----
    Shape: as :class:`torch.nn.Conv1d`.

    References
    ----------
    Qiao et al., arXiv:1903.10520.

    Examples
    --------
    >>> import torch
    >>> layer = WSConv1d(4, 6, 3, groups=2)
    >>> layer(torch.zeros(2, 4, 5)).shape
    torch.Size([2, 6, 3])
    """

    _dims = 1


class WSConv2d(_WSConv, nn.Conv2d):
    r"""2-d convolution with standardised weights: sum 0, sum of squares 1 per channel.

    Drop-in for :class:`torch.nn.Conv2d`; per output channel the weights over its input channels
    and the kernel are standardised as in :class:`WSLinear`, which says what that does to moments.

    Parameters
    ----------
    in_channels, out_channels : int
        Numbers of channels.
    kernel_size : int or tuple of int
        Size of the window; fan_in = in_channels / groups times its product, at least 2.
    stride : int or tuple of int
        Step of the window.
    padding : int, tuple of int, "same" or "valid"
        Padding as in torch.
    dilation : int or tuple of int
        Distance of the taps.
    groups : int
        Blocks of channels that do not see each other; divides both numbers of channels.
    bias : bool
        Whether the layer has a bias. It starts at zero.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        Padding as in torch, whose zeros lower the variance at the border; :class:`ConvSELU2d`
        keeps it.
    generator : torch.Generator, optional
        Source of the initial weights. Default: torch's default generator.
    device : torch.device, optional
        Where the parameters lie.
    dtype : torch.dtype, optional
        Type of the parameters.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, groups do not divide the channels, or fan_in is 1.

    Notes
    -----
    Shape: as :class:`torch.nn.Conv2d`.

    References
    ----------
    Qiao et al., arXiv:1903.10520.

    Examples
    --------
    >>> import torch
    >>> layer = WSConv2d(4, 6, 3, groups=2)
    >>> layer(torch.zeros(2, 4, 5, 6)).shape
    torch.Size([2, 6, 3, 4])
    """

    _dims = 2


class WSConv3d(_WSConv, nn.Conv3d):
    r"""3-d convolution with standardised weights: sum 0, sum of squares 1 per channel.

    Drop-in for :class:`torch.nn.Conv3d`; per output channel the weights over its input channels
    and the kernel are standardised as in :class:`WSLinear`, which says what that does to moments.

    Parameters
    ----------
    in_channels, out_channels : int
        Numbers of channels.
    kernel_size : int or tuple of int
        Size of the window; fan_in = in_channels / groups times its product, at least 2.
    stride : int or tuple of int
        Step of the window.
    padding : int, tuple of int, "same" or "valid"
        Padding as in torch.
    dilation : int or tuple of int
        Distance of the taps.
    groups : int
        Blocks of channels that do not see each other; divides both numbers of channels.
    bias : bool
        Whether the layer has a bias. It starts at zero.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        Padding as in torch, whose zeros lower the variance at the border; :class:`ConvSELU3d`
        keeps it.
    generator : torch.Generator, optional
        Source of the initial weights. Default: torch's default generator.
    device : torch.device, optional
        Where the parameters lie.
    dtype : torch.dtype, optional
        Type of the parameters.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, groups do not divide the channels, or fan_in is 1.

    Notes
    -----
    Shape: as :class:`torch.nn.Conv3d`.

    References
    ----------
    Qiao et al., arXiv:1903.10520.

    Examples
    --------
    >>> import torch
    >>> layer = WSConv3d(4, 6, 3, groups=2)
    >>> layer(torch.zeros(2, 4, 5, 6, 7)).shape
    torch.Size([2, 6, 3, 4, 5])
    """

    _dims = 3
