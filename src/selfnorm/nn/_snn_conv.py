"""Self-normalizing convolutional networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from selfnorm import init
from selfnorm.functional._checks import check_rate
from selfnorm.nn._checks import check_dtype, check_generator, check_size, check_sizes
from selfnorm.nn._image_network import (
    ImageNetwork,
    check_choices,
    check_map,
    conv_block,
    initialize_block,
    stage_starts,
)
from selfnorm.nn._padded_conv import PaddedConv
from selfnorm.nn._snn import _ACTIVATIONS, _fixed_point, weight_gain

__all__ = ["SNNConv"]


class SNNConv(ImageNetwork):
    r"""Self-normalizing convolutional network for standardised images, without batch norm.

    ``depth`` convolutions (:class:`ConvSELU2d`) in ``stages``; every stage but the first begins
    with a stride of 2 and doubles the channels. The last map is flattened into a linear head.
    With other activations it is the plain network to compare with, as :class:`SNN` is: ordinary
    dropout, and weights of the gain that keeps the pre-activations' variance.

    Parameters
    ----------
    in_channels : int
        Channels of an image, at least 1.
    out_features : int
        Number of outputs, at least 1.
    image_size : int or (int, int)
        Height and width of the images; one number for square ones.
    depth : int
        Number of convolutions, at least 1.
    width : int
        Channels of the first stage, at least 1.
    stages : int, optional
        Number of stages, from 1 to ``depth``. Default: as many, up to 3, as keep the last map at
        4 x 4 or more.
    kernel_size : int or (int, int)
        Size of the windows.
    padding : "same", "valid", int or (int, int)
        As for :class:`ConvSELU2d`.
    padding_mode : {"rescaled", "replicate", "reflect", "circular", "zeros"}
        As for :class:`ConvSELU2d`.
    dropout : float
        Probability of dropping in training, in [0, 1], after each convolution.
    channel_dropout : bool
        Drop whole channels of a sample instead of single elements.
    activation : str
        ``"selu"`` or one of those of :class:`SNN`.
    fixed_point : (float, float) or "depth-matched"
        Mean and variance that the SELU layers keep, as for :class:`SNN`. SELU only.
    weight_standardized : bool
        Whether all convolutions but the first standardise their weights (:class:`WSConv2d`). SELU
        only. The first sees neighbouring pixels of few channels, whose common part
        standardisation would remove.
    weight_init : {"lecun_normal", "lecun_uniform", "orthogonal"}
        Distribution of the initial weights.
    bias : bool
        Whether the layers have biases. They start at zero.
    generator : torch.Generator, optional
        Source of the initial weights. Default: torch's default generator, which the dropout
        always uses.
    device : torch.device, optional
        Where the parameters lie.
    dtype : torch.dtype, optional
        Type of the parameters.

    Attributes
    ----------
    hidden : torch.nn.Sequential
        The convolutional layers, one block each.
    head : torch.nn.Linear
        The output layer on the flattened last map; LeCun normal.
    widths : tuple of int
        Channels of each layer.
    sizes : tuple of (int, int)
        Height and width of each layer's map.
    fixed_point : tuple of float
        Mean and variance that the SELU layers keep; (0, 1) for other activations.
    input_scale : float
        Factor of the inputs, the standard deviation of the fixed point.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, or the map vanishes at a layer, which is named.

    Notes
    -----
    Shape: input (batch, in_channels, height, width), output (batch, out_features); the same without
    batch.

    Moments: with independent weights and a padding that keeps the border, each position of a
    layer follows the moment map of the linear layer, for the local mean of x² over its window
    (:class:`ConvSELU2d`); theory.predict for a plain network is thus that for this one. Images
    shall have mean 0 and variance 1 per channel (:class:`ImageInput`). Flat regions of an image
    start with their own second moment and are drawn to the fixed point layer by layer.

    Nothing is averaged before the head: a mean over correlated positions has a variance that no
    constant corrects.

    References
    ----------
    Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017, arXiv:1706.02515. Simonyan,
    Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
    arXiv:1409.1556.

    Examples
    --------
    >>> import torch
    >>> net = SNNConv(3, 10, image_size=32, depth=5, width=8)
    >>> net.widths, net.sizes
    ((8, 8, 16, 16, 32), ((32, 32), (32, 32), (16, 16), (16, 16), (8, 8)))
    >>> net(torch.zeros(4, 3, 32, 32)).shape
    torch.Size([4, 10])
    """

    def __init__(
        self,
        in_channels: int,
        out_features: int,
        *,
        image_size: int | Sequence[int],
        depth: int = 8,
        width: int = 32,
        stages: int | None = None,
        kernel_size: int | Sequence[int] = 3,
        padding: str | int | Sequence[int] = "same",
        padding_mode: str = "rescaled",
        dropout: float = 0.0,
        channel_dropout: bool = False,
        activation: str = "selu",
        fixed_point: tuple[float, float] | Literal["depth-matched"] = (0.0, 1.0),
        weight_standardized: bool = False,
        weight_init: Literal["lecun_normal", "lecun_uniform", "orthogonal"] = "lecun_normal",
        bias: bool = True,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = check_size("in_channels", in_channels, 1)
        self.out_features = check_size("out_features", out_features, 1)
        self.image_size = check_sizes("image_size", image_size, 2, 1)
        check_size("depth", depth, 1)
        check_size("width", width, 1)
        check_rate("dropout", dropout)
        check_dtype(dtype)
        check_generator(generator)
        check_choices(activation, _ACTIVATIONS, weight_init, weight_standardized)
        self.activation = activation
        self.weight_init = weight_init
        self.fixed_point = _fixed_point(fixed_point, activation, depth)
        self.input_scale = math.sqrt(self.fixed_point[1])
        starts = stage_starts(depth, stages, self.image_size, "layers")
        mean, var = self.fixed_point
        widths: list[int] = []
        sizes: list[tuple[int, ...]] = []
        # Without memory first: torch's own layers would draw from the default generator.
        self.hidden = nn.Sequential()
        for index in range(depth):
            halved = index in starts[1:]
            block = conv_block(
                widths[-1] if widths else in_channels,
                width * 2 ** (sum(index >= start for start in starts) - 1),
                kernel_size,
                2 if halved else 1,
                padding=padding,
                bias=bias,
                padding_mode=padding_mode,
                dropout=dropout,
                channel_dropout=channel_dropout,
                function=_ACTIVATIONS.get(activation),
                mean=mean,
                var=var,
                weight_standardized=weight_standardized and index > 0,
                dtype=dtype,
            )
            conv = next(m for m in block.modules() if isinstance(m, PaddedConv))
            before = sizes[-1] if sizes else self.image_size
            after = conv.output_size(before)
            check_map(index, before, after, halved)
            self.hidden.append(block)
            widths.append(conv.conv.out_channels)
            sizes.append(after)
        self.widths = tuple(widths)
        self.sizes = tuple(sizes)
        features = widths[-1] * math.prod(sizes[-1])
        self.head = nn.Linear(features, out_features, bias, device="meta", dtype=dtype)
        self.to_empty(device=torch.get_default_device() if device is None else device)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew, from ``generator`` alone if one is given."""
        gain = weight_gain(self.activation, self.fixed_point)
        for index, block in enumerate(self.hidden):
            initialize_block(block, self.weight_init, gain if index else 1.0, generator)
        init.initialize_(self.head, generator=generator)
