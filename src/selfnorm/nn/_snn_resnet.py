"""Self-normalizing residual networks."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn

from selfnorm import init, theory
from selfnorm.errors import DomainError
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
from selfnorm.nn._residual import ScaledResidual
from selfnorm.nn._self_normalized import SelfNormalized
from selfnorm.nn._snn import _fixed_point

__all__ = ["SNNResNet"]


class SNNResNet(ImageNetwork):
    r"""Self-normalizing residual network for standardised images, without batch norm.

    One convolution, then blocks sqrt(1 - s²) f(x) + s x (:class:`ScaledResidual`) of two
    convolutions each (:class:`ConvSELU2d`), in ``stages``; every stage but the first begins with a
    stride of 2 and doubles the channels, and its shortcut is a 1 x 1 convolution of that stride.
    The last map is flattened into a linear head.

    Parameters
    ----------
    in_channels : int
        Channels of an image, at least 1.
    out_features : int
        Number of outputs, at least 1.
    image_size : int or (int, int)
        Height and width of the images; one number for square ones.
    depth : int
        Number of convolutions on the longest way: odd, 1 + 2 blocks, at least 3.
    width : int
        Channels of the first stage, at least 1.
    stages : int, optional
        Number of stages, from 1 to the number of blocks. Default: as many, up to 3, as keep the
        last map at 4 x 4 or more.
    kernel_size : int or (int, int)
        Size of the windows.
    padding_mode : {"rescaled", "replicate", "reflect", "circular", "zeros"}
        As for :class:`ConvSELU2d`.
    skip : float, optional
        The weight s of the shortcuts, in [0, 1]. Default: ``ScaledResidual.skip_for_depth``, with
        which gradients grow by a factor e at most over all blocks, at least sqrt(1/2).
    dropout : float
        Probability of dropping in training, in [0, 1], after each convolution.
    channel_dropout : bool
        Drop whole channels of a sample instead of single elements.
    activation : str
        ``"selu"``, or the name of another, which is standardised to keep mean 0 and variance 1
        (:class:`SelfNormalized`, which tells whether these are stable); dropout is ordinary then.
    fixed_point : (float, float) or "depth-matched"
        Mean, which must be 0, and variance that the SELU layers keep, as for :class:`SNN`.
    weight_standardized : bool
        Whether the convolutions of the blocks standardise their weights (:class:`WSConv2d`). SELU
        only.
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
        The first convolution and the blocks.
    head : torch.nn.Linear
        The output layer on the flattened last map; LeCun normal.
    widths : tuple of int
        Channels after each of these.
    sizes : tuple of (int, int)
        Height and width of the map after each of these.
    skip : float
        The weight of the shortcuts.
    fixed_point : tuple of float
        Mean and variance that the SELU layers keep.
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

    Moments: branch and shortcut have mean 0 and the variance of the fixed point, and their
    covariance is 0 averaged over the weights, so that all sums keep both
    (:class:`ScaledResidual`). A deviation d of the variance is multiplied by
    (1 - s²) H² + s² per block, H = 0.7826 per SELU layer at (0, 1): shortcuts hand it on where
    layers without them take it back.

    References
    ----------
    Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017, arXiv:1706.02515. He,
    Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385.

    Examples
    --------
    >>> import torch
    >>> net = SNNResNet(3, 10, image_size=32, depth=7, width=8)
    >>> net.widths, net.sizes[-1], round(net.skip, 4)
    ((8, 8, 16, 32), (8, 8), 0.7071)
    >>> net(torch.zeros(4, 3, 32, 32)).shape
    torch.Size([4, 10])
    """

    def __init__(
        self,
        in_channels: int,
        out_features: int,
        *,
        image_size: int | Sequence[int],
        depth: int = 9,
        width: int = 32,
        stages: int | None = None,
        kernel_size: int | Sequence[int] = 3,
        padding_mode: str = "rescaled",
        skip: float | None = None,
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
        blocks = _blocks(check_size("depth", depth, 1))
        check_size("width", width, 1)
        check_rate("dropout", dropout)
        check_dtype(dtype)
        check_generator(generator)
        names = [name for name in theory.activation_names() if name != "prelu"]
        check_choices(activation, names, weight_init, weight_standardized)
        self.activation = activation
        self.weight_init = weight_init
        self.fixed_point = _fixed_point(fixed_point, activation, depth)
        mean, var = self.fixed_point
        if mean != 0.0:
            raise DomainError(
                "residual sums keep the mean 0 only, however: "
                f"fixed_point={fixed_point!r}; take (0.0, var)"
            )
        self.input_scale = math.sqrt(var)
        self.skip = ScaledResidual.skip_for_depth(blocks, 2, var=var) if skip is None else skip
        layer: dict[str, Any] = {
            "bias": bias,
            "padding_mode": padding_mode,
            "dropout": dropout,
            "channel_dropout": channel_dropout,
            "function": None
            if activation == "selu"
            else functools.partial(SelfNormalized, activation),
            "mean": mean,
            "var": var,
            "dtype": dtype,
        }
        # Without memory first: torch's own layers would draw from the default generator.
        self.hidden = nn.Sequential(
            conv_block(in_channels, width, kernel_size, 1, weight_standardized=False, **layer)
        )
        layer["weight_standardized"] = weight_standardized
        starts = stage_starts(blocks, stages, self.image_size, "blocks")
        widths, sizes = [width], [self.image_size]
        for index in range(blocks):
            stride = 2 if index in starts[1:] else 1
            after = tuple(-(-n // stride) for n in sizes[-1])
            check_map(1 + 2 * index, sizes[-1], after, stride > 1)
            channels = widths[-1] * stride
            branch = nn.Sequential(
                conv_block(widths[-1], channels, kernel_size, stride, **layer),
                conv_block(channels, channels, kernel_size, 1, **layer),
            )
            shortcut = (
                None
                if stride == 1
                else PaddedConv(
                    2, widths[-1], channels, 1, stride, bias=False, device="meta", dtype=dtype
                )
            )
            self.hidden.append(ScaledResidual(branch, self.skip, shortcut))
            widths.append(channels)
            sizes.append(after)
        self.widths = tuple(widths)
        self.sizes = tuple(sizes)
        features = widths[-1] * math.prod(sizes[-1])
        self.head = nn.Linear(features, out_features, bias, device="meta", dtype=dtype)
        self.to_empty(device=torch.get_default_device() if device is None else device)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew, from ``generator`` alone if one is given."""
        initialize_block(self.hidden, self.weight_init, 1.0, generator)
        init.initialize_(self.head, generator=generator)


def _blocks(depth: int) -> int:
    if depth < 3 or depth % 2 == 0:
        near = max(3, depth - 1 + depth % 2)
        raise DomainError(
            "depth must be odd and at least 3, one convolution and two per block, however: "
            f"depth={depth}; take depth={near} or depth={near + 2}"
        )
    return depth // 2
