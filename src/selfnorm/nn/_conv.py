"""Convolutions with their padding, their SELU, their alpha dropout and their initialisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from selfnorm import functional, theory
from selfnorm.functional._checks import check_rate
from selfnorm.nn._padded_conv import PaddedConv

__all__ = ["ConvSELU1d", "ConvSELU2d", "ConvSELU3d"]


class _ConvSELU(PaddedConv):
    """The three layers, which differ in their number of spatial dimensions."""

    _dims: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: str | int | Sequence[int] = "same",
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        mean: float = 0.0,
        var: float = 1.0,
        dropout: float = 0.0,
        channel_dropout: bool = False,
        padding_mode: str = "rescaled",
        weight_standardized: bool = False,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        theory.solve(mean, var)  # refuses a fixed point that no SELU has
        check_rate("dropout", dropout)
        super().__init__(
            self._dims,
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode=padding_mode,
            weight_standardized=weight_standardized,
            generator=generator,
            device=device,
            dtype=dtype,
        )
        self.mean = float(mean)
        self.var = float(var)
        self.dropout = float(dropout)
        self.channel_dropout = bool(channel_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to inputs of shape (batch, in_channels, *size), or without batch."""
        z = super().forward(x)
        p = self.dropout if self.training else 0.0
        mean, var = self.mean, self.var
        inplace = self._may_overwrite(z)
        if p == 0.0 or not self.channel_dropout:
            return functional.selu_dropout(z, p, mean=mean, var=var, inplace=inplace)
        y = functional.selu(z, mean=mean, var=var, inplace=inplace)
        space = tuple(range(-self._dims, 0))
        return functional.alpha_dropout(y, p, mean=mean, var=var, shared_dims=space)

    def _may_overwrite(self, z: Tensor) -> bool:
        """Return whether nobody else sees the pre-activations and no gradient suffers."""
        if z.dtype not in (torch.float32, torch.float64) and torch.is_grad_enabled():
            return False
        return super()._may_overwrite(z)

    def extra_repr(self) -> str:
        """Show the padding and what differs from the defaults."""
        shown = super().extra_repr()
        if (self.mean, self.var) != (0.0, 1.0):
            shown += f", mean={self.mean:g}, var={self.var:g}"
        if self.dropout:
            shown += f", dropout={self.dropout:g}"
            shown += ", channel_dropout=True" if self.channel_dropout else ""
        return shown


class ConvSELU2d(_ConvSELU):
    r"""2-d convolution, SELU and alpha dropout in one, with a border that keeps the variance.

    .. math:: y = \mathrm{alpha\_dropout}(\mathrm{selu}(w * \mathrm{pad}(x) + b), p)

    Parameters
    ----------
    in_channels, out_channels : int
        Numbers of channels, at least 1.
    kernel_size : int or (int, int)
        Size of the window.
    stride : int or (int, int)
        Step of the window.
    padding : "same", "valid", int or (int, int)
        "same" adds dilation * (kernel_size - 1) in all, so that the output has
        ceil(size / stride) positions, for every stride. "valid" is 0. An integer is added on both
        sides.
    dilation : int or (int, int)
        Distance of the taps.
    groups : int
        Blocks of channels that do not see each other; divides both numbers of channels.
    bias : bool
        Whether the layer has a bias. It starts at zero.
    mean, var : float
        The fixed point of the SELU.
    dropout : float
        Probability of dropping in training, in [0, 1].
    channel_dropout : bool
        Drop whole channels of a sample instead of single elements, which their neighbours in the
        map all but replace.
    padding_mode : {"rescaled", "replicate", "reflect", "circular", "zeros"}
        What stands beyond the border. All but the last keep the variance there: see the notes.
    weight_standardized : bool
        Standardise the weights at every step (:class:`WSConv2d`).
    generator : torch.Generator, optional
        Source of the initial weights. Default: torch's default generator, which the dropout
        always uses.
    device : torch.device, optional
        Where the parameters lie.
    dtype : torch.dtype, optional
        Type of the parameters.

    Attributes
    ----------
    conv : torch.nn.Conv2d or WSConv2d
        The convolution, without padding. Its weight, of shape ``(out_channels,
        in_channels // groups, *kernel_size)``, starts as :func:`selfnorm.init.lecun_normal_`
        with fan_in = in_channels / groups times the taps of the kernel.
    padding : tuple of (int, int)
        What is added before and after, per dimension.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, groups do not divide the channels, or, in use, the
        map vanishes or is too small for its padding.

    Notes
    -----
    Shape: input (batch, in_channels, height, width), output ``(batch, out_channels, *size)`` with
    size = (n + added - dilation (kernel_size - 1) - 1) // stride + 1; the same without batch.

    Moments. Independent weights of variance 1/fan_in give, at every position, a pre-activation of
    mean 0 and variance = the mean of x² over the window, whatever the correlations of
    neighbouring pixels; so the moment map is that of a linear layer, position by position. Zero
    padding breaks it: a window with k of its K taps inside the map gets k/K of the variance, 4/9
    in the corner for 3 x 3, and through 16 layers of 64 channels the second moment of the corner
    falls to 0.26. "rescaled" pads zeros and multiplies what the convolution gives, bias included,
    by sqrt(K/k): mean 0, and variance = the mean of x² over the taps inside the map. The others
    fill all taps with pixels of the map. Standardised weights have sum 0 over the whole window
    only, so behind "rescaled" an input mean m adds m² (1 - k/K) to the variance at the border, and
    nothing behind the others.

    Measured over 8 networks, 64 channels, 3 x 3, 8 x 8 map, 16 layers: second moment in the
    corner 0.99 (rescaled), 0.99 (replicate), 1.01 (reflect), 1.00 (circular), each with a
    standard error of 0.02 at most. What differs is the squared gradient that comes back to the
    corner, relative to that of the centre: 0.46, 0.98, 0.26, 1.00; a border pixel stands under
    fewer windows. "rescaled" is the default because it costs one multiplication per output
    element, in place, and keeps nothing for the backward pass, and fits maps of any size: the
    others copy each map and keep the copy, with which a training step takes 1.7 times as long
    (measured, 8 layers, one CPU thread). "replicate" keeps the gradients too with 3 x 3 windows,
    but makes neighbours at the border alike, and trains at smaller rates only (docs,
    "Convolutional and residual networks").

    Strided layers keep the moments as others do, and are the simplest way to a smaller map.
    There is no transposed layer: a nearest-neighbour upsampling (:class:`torch.nn.Upsample`)
    copies pixels, so keeps all moments, and a ConvSELU2d after it does the rest.

    References
    ----------
    Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017, arXiv:1706.02515. The
    rescaling is that of Liu et al., "Partial Convolution based Padding", arXiv:1811.11718, but by
    the root of the ratio, as variance asks and not the mean.

    Examples
    --------
    >>> import torch
    >>> layer = ConvSELU2d(3, 16, 3, stride=2, dropout=0.05)
    >>> layer(torch.zeros(5, 3, 7, 9)).shape
    torch.Size([5, 16, 4, 5])
    """

    _dims = 2


class ConvSELU1d(_ConvSELU):
    r"""1-d convolution, SELU and alpha dropout in one, with a border that keeps the variance.

    The theory, and why the padding is as it is, stand at :class:`ConvSELU2d`.

    Parameters
    ----------
    in_channels, out_channels : int
        Numbers of channels, at least 1.
    kernel_size : int
        Size of the window.
    stride : int
        Step of the window.
    padding : "same", "valid" or int
        "same" gives ceil(size / stride) positions, for every stride.
    dilation : int
        Distance of the taps.
    groups : int
        Blocks of channels that do not see each other; divides both numbers of channels.
    bias : bool
        Whether the layer has a bias. It starts at zero.
    mean, var : float
        The fixed point of the SELU.
    dropout : float
        Probability of dropping in training, in [0, 1].
    channel_dropout : bool
        Drop whole channels of a sample instead of single elements.
    padding_mode : {"rescaled", "replicate", "reflect", "circular", "zeros"}
        What stands beyond the border.
    weight_standardized : bool
        Standardise the weights at every step (:class:`WSConv1d`).
    generator : torch.Generator, optional
        Source of the initial weights. Default: torch's default generator, which the dropout
        always uses.
    device : torch.device, optional
        Where the parameters lie.
    dtype : torch.dtype, optional
        Type of the parameters.

    Attributes
    ----------
    conv : torch.nn.Conv1d or WSConv1d
        The convolution, without padding.
    padding : tuple of (int, int)
        What is added before and after, per dimension.

    Raises
    ------
    DomainError
        As :class:`ConvSELU2d`.

    Notes
    -----
    Shape: input (batch, in_channels, width), or without batch; output alike
    with out_channels.

    References
    ----------
    Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017, arXiv:1706.02515.

    Examples
    --------
    >>> import torch
    >>> layer = ConvSELU1d(3, 16, 3, stride=2)
    >>> layer(torch.zeros(2, 3, 9)).shape
    torch.Size([2, 16, 5])
    """

    _dims = 1


class ConvSELU3d(_ConvSELU):
    r"""3-d convolution, SELU and alpha dropout in one, with a border that keeps the variance.

    The theory, and why the padding is as it is, stand at :class:`ConvSELU2d`.

    Parameters
    ----------
    in_channels, out_channels : int
        Numbers of channels, at least 1.
    kernel_size : int or (int, int, int)
        Size of the window.
    stride : int or (int, int, int)
        Step of the window.
    padding : "same", "valid", int or (int, int, int)
        "same" gives ceil(size / stride) positions, for every stride.
    dilation : int or (int, int, int)
        Distance of the taps.
    groups : int
        Blocks of channels that do not see each other; divides both numbers of channels.
    bias : bool
        Whether the layer has a bias. It starts at zero.
    mean, var : float
        The fixed point of the SELU.
    dropout : float
        Probability of dropping in training, in [0, 1].
    channel_dropout : bool
        Drop whole channels of a sample instead of single elements.
    padding_mode : {"rescaled", "replicate", "reflect", "circular", "zeros"}
        What stands beyond the border.
    weight_standardized : bool
        Standardise the weights at every step (:class:`WSConv3d`).
    generator : torch.Generator, optional
        Source of the initial weights. Default: torch's default generator, which the dropout
        always uses.
    device : torch.device, optional
        Where the parameters lie.
    dtype : torch.dtype, optional
        Type of the parameters.

    Attributes
    ----------
    conv : torch.nn.Conv3d or WSConv3d
        The convolution, without padding.
    padding : tuple of (int, int)
        What is added before and after, per dimension.

    Raises
    ------
    DomainError
        As :class:`ConvSELU2d`.

    Notes
    -----
    Shape: input (batch, in_channels, depth, height, width), or without batch; output alike
    with out_channels.

    References
    ----------
    Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017, arXiv:1706.02515.

    Examples
    --------
    >>> import torch
    >>> layer = ConvSELU3d(3, 16, 3, stride=2)
    >>> layer(torch.zeros(2, 3, 5, 6, 7)).shape
    torch.Size([2, 16, 3, 3, 4])
    """

    _dims = 3
