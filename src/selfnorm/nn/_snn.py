"""Self-normalizing fully connected networks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Final, Literal

import torch
from torch import Tensor, nn

from selfnorm import init, theory
from selfnorm.errors import DomainError
from selfnorm.functional._checks import check_rate
from selfnorm.nn._activations import ELU
from selfnorm.nn._checks import check_dtype, check_generator, check_size
from selfnorm.nn._linear import LinearSELU

__all__ = ["SNN"]

# The activations beside SELU, with the parameters that selfnorm.theory assumes under the name.
_ACTIVATIONS: Final[dict[str, Callable[[], nn.Module]]] = {
    "celu": nn.CELU,
    "elu": ELU,
    "gelu": nn.GELU,
    "hardtanh": nn.Hardtanh,
    "leaky_relu": nn.LeakyReLU,
    "mish": nn.Mish,
    "prelu": nn.PReLU,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "tanh": nn.Tanh,
}
_WEIGHT_INITS: Final = ("lecun_normal", "lecun_uniform", "orthogonal")


class SNN(nn.Module):
    r"""Self-normalizing fully connected network for standardised inputs.

    ``depth`` hidden layers (:class:`LinearSELU`: linear, SELU, alpha dropout) and a linear
    head. With other activations it is the plain network to compare with: ordinary dropout, and
    weights of the gain for which a pre-activation variance of 1 is kept,

    .. math:: \mathrm{gain}^2 \, \mathrm{E} f(z)^2 = 1, \qquad z \sim \mathcal{N}(0, 1)

    which for ReLU is He initialisation, with gain 1 in the first layer as there. Kept does not
    mean restored: a small deviation of the variance from 1 is multiplied by
    E[z f(z) f'(z)] / E f(z)^2 per layer, which is 1 for ReLU and its kin, and above 1 for gelu
    (1.14), silu (1.17) and mish (1.08): there it grows with depth.

    Parameters
    ----------
    in_features, out_features : int
        Numbers of inputs and outputs, at least 1.
    width : int
        Units of the first hidden layer, at least 1 (conic: at least ``out_features``).
    depth : int
        Number of hidden layers; 0 gives a linear model.
    dropout : float or "auto"
        Probability of dropping a hidden unit in training, in [0, 1]. Auto: 0.05, but at most the
        rate at which gradients keep their size
        (:func:`selfnorm.theory.gradient_neutral_dropout`) where SELU keeps another fixed point than
        (0, 1): a small variance bears much less.
    shape : {"rectangular", "conic"}
        Rectangular: all hidden layers have ``width`` units. Conic: layer k = 0 … depth - 1 has
        ``round(width * (out_features / width) ** (k / depth))``, a geometric progression that
        the head continues to ``out_features``, as in the paper.
    activation : str
        ``"selu"``, or ``"celu"``, ``"elu"``, ``"gelu"``, ``"hardtanh"``, ``"leaky_relu"``,
        ``"mish"``, ``"prelu"``, ``"relu"``, ``"sigmoid"``, ``"silu"``, ``"softplus"``,
        ``"softsign"``, ``"tanh"``.
    fixed_point : (float, float) or "depth-matched"
        Mean and variance that the SELU layers keep. ``"depth-matched"``: mean 0 and the largest
        variance up to 1 whose gradients stay within a factor e over the depth
        (:func:`selfnorm.theory.match_depth`). SELU only.
    weight_init : {"lecun_normal", "lecun_uniform", "orthogonal"}
        Distribution of the hidden weights.
    bias : bool
        Whether hidden layers and head have biases. They start at zero.
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
        The hidden layers, one block each.
    head : torch.nn.Linear
        The output layer; LeCun normal.
    widths : tuple of int
        Units of each hidden layer.
    fixed_point : tuple of float
        Mean and variance that the SELU layers keep; (0, 1) for other activations.
    input_scale : float
        Factor of the inputs, the standard deviation of the fixed point, so that standardised
        inputs arrive at the variance that the layers keep.

    Raises
    ------
    DomainError
        If an argument lies outside its domain.

    Notes
    -----
    Shape: input (..., in_features), output (..., out_features). Inputs shall have mean 0 and
    variance 1 per feature. A fixed point of mean m and variance v is kept with random weights
    if these have gain sqrt(v / (v + m²)), which is 1 for m = 0; the network sets it.

    References
    ----------
    Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017, arXiv:1706.02515. He,
    Zhang, Ren, Sun, "Delving Deep into Rectifiers", ICCV 2015, arXiv:1502.01852.

    Examples
    --------
    >>> import torch
    >>> net = SNN(20, 3, width=64, depth=4, shape="conic")
    >>> net.widths
    (64, 30, 14, 6)
    >>> net(torch.zeros(5, 20)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        width: int = 256,
        depth: int = 8,
        dropout: float | Literal["auto"] = "auto",
        shape: Literal["rectangular", "conic"] = "rectangular",
        activation: str = "selu",
        fixed_point: tuple[float, float] | Literal["depth-matched"] = (0.0, 1.0),
        weight_init: Literal["lecun_normal", "lecun_uniform", "orthogonal"] = "lecun_normal",
        bias: bool = True,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features = check_size("in_features", in_features, 1)
        self.out_features = check_size("out_features", out_features, 1)
        self.widths = _widths(
            check_size("width", width, 1), check_size("depth", depth, 0), out_features, shape
        )
        check_dtype(dtype)
        check_generator(generator)
        if not isinstance(activation, str) or activation not in (*_ACTIVATIONS, "selu"):
            raise DomainError(
                f"activation must be one of {sorted([*_ACTIVATIONS, 'selu'])}, however: "
                f"activation={activation!r}"
            )
        if weight_init not in _WEIGHT_INITS:
            raise DomainError(
                f"weight_init must be one of {list(_WEIGHT_INITS)}, however: "
                f"weight_init={weight_init!r}"
            )
        self.activation = activation
        self.weight_init = weight_init
        self.fixed_point = _fixed_point(fixed_point, activation, depth)
        if dropout == "auto":
            dropout = default_rate(self.fixed_point)
        self.dropout = check_rate("dropout", dropout)
        self.input_scale = math.sqrt(self.fixed_point[1])
        sizes = (in_features, *self.widths)
        # Without memory first: torch's own layers would draw from the default generator.
        self.hidden = nn.Sequential()
        for fan_in, fan_out in itertools.pairwise(sizes):
            self.hidden.append(self._block(fan_in, fan_out, bias, dtype))
        self.head = nn.Linear(sizes[-1], out_features, bias, device="meta", dtype=dtype)
        self.to_empty(device=torch.get_default_device() if device is None else device)
        self.reset_parameters(generator)

    def _block(self, fan_in: int, fan_out: int, bias: bool, dtype: torch.dtype | None) -> nn.Module:
        if self.activation == "selu":
            mean, var = self.fixed_point
            return LinearSELU(
                fan_in,
                fan_out,
                bias,
                mean=mean,
                var=var,
                dropout=self.dropout,
                device="meta",
                dtype=dtype,
            )
        return nn.Sequential(
            nn.Linear(fan_in, fan_out, bias, device="meta", dtype=dtype),
            _ACTIVATIONS[self.activation]().to(device="meta", dtype=dtype),
            nn.Dropout(self.dropout),
        )

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew, from ``generator`` alone if one is given."""
        for index, block in enumerate(self.hidden):
            gain = 1.0 if index == 0 else weight_gain(self.activation, self.fixed_point)
            init.initialize_(block, method=self.weight_init, gain=gain, generator=generator)
            for part in block.children():
                if isinstance(part, nn.PReLU):
                    part.reset_parameters()
        init.initialize_(self.head, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network to inputs of shape (..., in_features)."""
        if self.input_scale != 1.0:
            x = x * self.input_scale
        out: Tensor = self.head(self.hidden(x))
        return out

    def extra_repr(self) -> str:
        """Show what the blocks do not."""
        shown = f"activation={self.activation!r}, weight_init={self.weight_init!r}"
        if self.fixed_point != (0.0, 1.0):
            mean, var = self.fixed_point
            shown += f", fixed_point=({mean:g}, {var:g}), input_scale={self.input_scale:g}"
        return shown


def default_rate(fixed_point: tuple[float, float]) -> float:
    """Return the rate of dropout for networks that keep this mean and variance."""
    if fixed_point == (0.0, 1.0):
        return 0.05
    return min(0.05, theory.gradient_neutral_dropout(*fixed_point))


def weight_gain(activation: str, fixed_point: tuple[float, float]) -> float:
    """Return the gain that keeps the pre-activations' variance after an activation."""
    mean, var = fixed_point
    if activation != "selu":
        after = theory.moments(theory.activation(activation), 0.0, 1.0)
        second_moment = float(after.var + after.mean**2)
    else:
        second_moment = var + mean**2
    return math.sqrt(var / second_moment)


def _widths(width: int, depth: int, out_features: int, shape: str) -> tuple[int, ...]:
    if shape == "rectangular":
        return (width,) * depth
    if shape != "conic":
        raise DomainError(f"shape must be 'rectangular' or 'conic', however: shape={shape!r}")
    if width < out_features:
        raise DomainError(
            "a conic network narrows from width to out_features, however: "
            f"width={width}, out_features={out_features}; take a width of at least out_features"
        )
    ratio = out_features / width
    return tuple(round(width * ratio ** (k / depth)) for k in range(depth))


def _fixed_point(
    fixed_point: tuple[float, float] | str, activation: str, depth: int
) -> tuple[float, float]:
    if isinstance(fixed_point, str):
        if fixed_point != "depth-matched":
            raise DomainError(
                "fixed_point must be (mean, var) or 'depth-matched', however: "
                f"fixed_point={fixed_point!r}"
            )
        mean, var = 0.0, float(theory.match_depth(max(depth, 1)).var)
    else:
        try:
            mean, var = fixed_point
        except (TypeError, ValueError) as error:
            raise DomainError(
                "fixed_point must be (mean, var) or 'depth-matched', however: "
                f"fixed_point={fixed_point!r}"
            ) from error
        theory.solve(mean, var)  # refuses a fixed point that no SELU has
    if activation != "selu" and (mean, var) != (0.0, 1.0):
        raise DomainError(
            "only SELU has a fixed point of choice, however: "
            f"activation={activation!r}, fixed_point={fixed_point!r}; take activation='selu'"
        )
    return float(mean), float(var)
