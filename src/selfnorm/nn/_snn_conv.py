"""Self-normalizing convolutional networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from selfnorm import init
from selfnorm.errors import DomainError
from selfnorm.functional._checks import check_rate
from selfnorm.nn._checks import check_dtype, check_generator, check_size, check_sizes
from selfnorm.nn._conv import ConvSELU2d
from selfnorm.nn._padded_conv import PaddedConv
from selfnorm.nn._padding import described
from selfnorm.nn._snn import _ACTIVATIONS, _WEIGHT_INITS, _fixed_point, weight_gain

__all__ = ["SNNConv"]


class SNNConv(nn.Module):
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
    padding_mode : {"replicate", "reflect", "circular", "rescaled", "zeros"}
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
        padding_mode: str = "replicate",
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

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network to images of shape (batch, in_channels, height, width)."""
        check_images(x, self.in_channels, self.image_size)
        if self.input_scale != 1.0:
            x = x * self.input_scale
        out: Tensor = self.head(self.hidden(x).flatten(-3))
        return out

    def extra_repr(self) -> str:
        """Show what the blocks do not."""
        shown = f"image_size={self.image_size}, activation={self.activation!r}"
        if self.fixed_point != (0.0, 1.0):
            mean, var = self.fixed_point
            shown += f", fixed_point=({mean:g}, {var:g}), input_scale={self.input_scale:g}"
        return shown


def conv_block(
    in_channels: int,
    out_channels: int,
    kernel_size: int | Sequence[int],
    stride: int,
    *,
    function: Callable[[], nn.Module] | None,
    mean: float,
    var: float,
    dropout: float,
    channel_dropout: bool,
    weight_standardized: bool,
    dtype: torch.dtype | None,
    **convolution: Any,
) -> nn.Module:
    """Return a layer without memory: ConvSELU2d, or convolution, function, ordinary dropout."""
    if function is None:
        return ConvSELU2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            mean=mean,
            var=var,
            dropout=dropout,
            channel_dropout=channel_dropout,
            weight_standardized=weight_standardized,
            device="meta",
            dtype=dtype,
            **convolution,
        )
    sizes = (in_channels, out_channels, kernel_size, stride)
    return nn.Sequential(
        PaddedConv(2, *sizes, device="meta", dtype=dtype, **convolution),
        function().to(device="meta", dtype=dtype),
        (nn.Dropout2d if channel_dropout else nn.Dropout)(dropout),
    )


def initialize_block(
    block: nn.Module, method: str, gain: float, generator: torch.Generator | None
) -> None:
    """Draw a block's weights; a learned slope starts where its gain assumes it."""
    init.initialize_(block, method=method, gain=gain, generator=generator)
    for part in block.modules():
        if isinstance(part, nn.PReLU):
            part.reset_parameters()


def check_choices(
    activation: str, known: Iterable[str], weight_init: str, weight_standardized: bool
) -> None:
    """Refuse names that are none, and standardised weights beside other activations."""
    names = sorted({*known, "selu"})
    if not isinstance(activation, str) or activation not in names:
        raise DomainError(f"activation must be one of {names}, however: activation={activation!r}")
    if weight_init not in _WEIGHT_INITS:
        raise DomainError(
            f"weight_init must be one of {list(_WEIGHT_INITS)}, however: "
            f"weight_init={weight_init!r}"
        )
    if weight_standardized and activation != "selu":
        raise DomainError(
            "standardised weights have sum of squares 1, which keeps the variance after SELU "
            f"only, however: weight_standardized=True, activation={activation!r}; take "
            "activation='selu'"
        )


def stage_starts(
    count: int, stages: int | None, size: tuple[int, ...], what: str
) -> tuple[int, ...]:
    """Return where each stage starts among ``count`` parts; stages differ by one part at most."""
    if stages is None:
        stages, smallest = 1, min(size)
        while stages < min(3, count) and (smallest := -(-smallest // 2)) >= _LEAST_MAP:
            stages += 1
    elif check_size("stages", stages, 1) > count:
        raise DomainError(
            f"each stage needs one of the {what}, however: stages={stages}, {what}={count}; take "
            f"at most stages={count}, or a larger depth"
        )
    return tuple(-(-k * count // stages) for k in range(stages))


_LEAST_MAP: Final = 4


def check_map(index: int, before: tuple[int, ...], after: tuple[int, ...], halved: bool) -> None:
    """Refuse a layer that leaves no map, or that would halve a single pixel."""
    if min(after) < 1 or (halved and max(before) == 1):
        raise DomainError(
            f"the map must not vanish, however: layer {index} (counted from 0) "
            f"{'halves' if halved else 'turns'} its input of {described(before)}"
            f"{'' if halved else f' into {described(after)}'}; take fewer stages or layers, larger "
            "images, or padding='same'"
        )


def check_images(x: Tensor, channels: int, size: tuple[int, ...]) -> None:
    """Refuse what is no batch of images of the size that the head was made for."""
    if x.dim() not in (3, 4) or tuple(x.shape[-3:]) != (channels, *size):
        raise DomainError(
            f"x must have shape (batch, {channels}, {size[0]}, {size[1]}), or that without batch, "
            f"however: x.shape={tuple(x.shape)}; in_channels and image_size are set at "
            "construction"
        )
