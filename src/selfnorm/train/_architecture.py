"""What the engine can train: the sizes and the kind of a plain network."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Final, Literal

import torch
from torch import Tensor

from selfnorm import nn, theory
from selfnorm.errors import DomainError
from selfnorm.nn._snn import weight_gain
from selfnorm.train._checks import check_choice, check_count, check_number
from selfnorm.train._random import generator_for

__all__ = ["Architecture", "architecture_of", "effective_weights", "flatten", "layers_of"]

ACTIVATIONS: Final = ("elu", "leaky_relu", "relu", "selu")
LEAKY_SLOPE: Final = 0.01  # torch.nn.LeakyReLU's default, which nn.SNN takes
_DTYPES: Final = (torch.float32, torch.float64)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A plain network of given sizes: linear layers with an activation and dropout between them.

    Parameters
    ----------
    sizes : sequence of int
        Inputs, units of each hidden layer, outputs; at least two numbers, each at least 1.
    activation : {"selu", "elu", "relu", "leaky_relu"}
        The activation of the hidden layers. elu: alpha 1; leaky_relu: slope 0.01.
    fixed_point : (float, float) or "depth-matched"
        Mean and variance that SELU layers keep, as in :class:`selfnorm.nn.SNN`. SELU only.
    dropout : float or "auto"
        Probability of dropping a hidden unit in training, in [0, 1). Auto: as in
        :class:`selfnorm.nn.SNN`.
    dropout_kind : {"alpha", "ordinary"}, optional
        Alpha dropout belongs to SELU, and is its default; the others have ordinary dropout.
    weight_standardized : bool
        Whether each hidden unit's weights are centred and scaled to a sum of squares of gain² in
        every step, so that the theorems' hypotheses on the weights hold exactly all the time. Needs
        at least two inputs to each hidden layer. The scale of such a weight is free, and
        gradients are perpendicular to it.
    weight_init : {"lecun_normal", "lecun_uniform", "orthogonal"}
        Distribution of the hidden weights at the start.
    bias : bool
        Whether layers have biases. They start at zero.
    dtype : torch.dtype
        Type of the parameters: float32 or float64.

    Raises
    ------
    DomainError
        If an argument lies outside its domain.

    Examples
    --------
    >>> Architecture((20, 64, 32, 3)).hidden
    (64, 32)
    """

    sizes: tuple[int, ...]
    activation: str = "selu"
    fixed_point: tuple[float, float] | Literal["depth-matched"] = (0.0, 1.0)
    dropout: float | Literal["auto"] = "auto"
    dropout_kind: Literal["alpha", "ordinary"] | None = None
    weight_standardized: bool = False
    weight_init: Literal["lecun_normal", "lecun_uniform", "orthogonal"] = "lecun_normal"
    bias: bool = True
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if not isinstance(self.sizes, Sequence) or isinstance(self.sizes, str):
            raise DomainError(
                f"sizes must be a sequence of integers, however: sizes={self.sizes!r}; "
                "give inputs, hidden units, outputs, as (20, 64, 64, 3)"
            )
        sizes = tuple(check_count(f"sizes[{k}]", n, 1) for k, n in enumerate(self.sizes))
        if len(sizes) < 2:
            raise DomainError(
                f"sizes must have inputs and outputs at least, however: sizes={sizes}; "
                "give inputs, hidden units, outputs, as (20, 64, 64, 3)"
            )
        check_choice("activation", self.activation, ACTIVATIONS)
        if self.dropout != "auto":
            check_number("dropout", self.dropout, 0.0, 1.0, open_high=False)
        kind = self.dropout_kind or ("alpha" if self.activation == "selu" else "ordinary")
        check_choice("dropout_kind", kind, ("alpha", "ordinary"))
        if kind == "alpha" and self.activation != "selu":
            raise DomainError(
                "alpha dropout keeps the moments of a SELU, however: "
                f"activation={self.activation!r}; take dropout_kind='ordinary' or activation='selu'"
            )
        if self.dtype not in _DTYPES:
            raise DomainError(
                f"dtype must be torch.float32 or torch.float64, however: dtype={self.dtype!r}"
            )
        if self.weight_standardized and min(sizes[:-1]) < 2:
            raise DomainError(
                "weights of one input cannot be centred, however: weight_standardized=True, "
                f"sizes={sizes}; take at least 2 units a layer or weight_standardized=False"
            )
        # The network that is handed back checks the rest, and knows what "depth-matched" means.
        probe = nn.SNN(
            1,
            1,
            depth=len(sizes) - 2,
            width=1,
            dropout=self.dropout,
            activation=self.activation,
            fixed_point=self.fixed_point,
            weight_init=self.weight_init,
            device="meta",
        )
        for name, value in (
            ("sizes", sizes),
            ("dropout", probe.dropout),
            ("dropout_kind", kind),
            ("fixed_point", probe.fixed_point),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, model: nn.SNN) -> Architecture:
        """Return the architecture of a network.

        Parameters
        ----------
        model : selfnorm.nn.SNN
            A network whose layers are as it was built.

        Returns
        -------
        Architecture
            Its sizes, activation, fixed point, dropout, initialisation and type.

        Raises
        ------
        DomainError
            If it has another activation, or layers that an SNN is not built with.

        Examples
        --------
        >>> from selfnorm import nn
        >>> Architecture.of(nn.SNN(20, 3, width=64, depth=2)).sizes
        (20, 64, 64, 3)
        """
        layers = layers_of(model)
        sizes = (model.in_features, *(weight.shape[0] for weight, _ in layers))
        return cls(
            sizes,
            activation=model.activation,
            fixed_point=model.fixed_point,
            dropout=model.dropout,
            weight_init=model.weight_init,
            bias=layers[0][1] is not None,
            dtype=layers[0][0].dtype,
        )

    @property
    def hidden(self) -> tuple[int, ...]:
        """Units of each hidden layer."""
        return self.sizes[1:-1]

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and variance of the fixed point."""
        point = self.fixed_point
        if isinstance(point, str):  # Never: __post_init__ has made numbers of it.
            raise DomainError(f"fixed_point must be numbers here, however: {point!r}")
        return float(point[0]), float(point[1])

    @property
    def rate(self) -> float:
        """Probability of dropping, as a number."""
        if isinstance(self.dropout, str):  # Never: __post_init__ has made a number of it.
            raise DomainError(f"dropout must be a number here, however: {self.dropout!r}")
        return self.dropout

    @property
    def input_scale(self) -> float:
        """Factor of the inputs, as in `selfnorm.nn.SNN`."""
        return math.sqrt(self.moments[1])

    @property
    def gains(self) -> tuple[float, ...]:
        """Root of the sum of squared weights of each hidden layer's units at the start."""
        after = weight_gain(self.activation, self.moments)
        return tuple(1.0 if k == 0 else after for k in range(len(self.hidden)))

    def affine(self, rate: float) -> tuple[float, float]:
        """Return a and b of the map a x + b that dropout ends with."""
        if self.dropout_kind == "ordinary":
            return (1.0 / (1.0 - rate) if rate < 1.0 else 0.0), 0.0
        mean, var = self.moments
        saturation = nn.SELU(mean, var).saturation
        a, b = theory.alpha_dropout_affine(rate, mean=mean, var=var, saturation=saturation)
        return float(a), float(b)

    def build(self, dropout: float | None = None, seed: int | None = None) -> nn.SNN:
        """Return such a network, its weights drawn from the seed (None: not drawn)."""
        rate = self.rate if dropout is None else dropout
        net = nn.SNN(
            self.sizes[0],
            self.sizes[-1],
            width=1,
            depth=0,
            activation=self.activation,
            # SNN has no ordinary dropout after SELU: what is handed back then has none.
            dropout=rate if self.dropout_kind == "alpha" or self.activation != "selu" else 0.0,
            fixed_point=self.fixed_point,
            weight_init=self.weight_init,
            bias=self.bias,
            device="meta",
            dtype=self.dtype,
        )
        net.widths = self.hidden
        for fan_in, fan_out in itertools.pairwise(self.sizes[:-1]):
            net.hidden.append(net._block(fan_in, fan_out, self.bias, self.dtype))
        net.head = torch.nn.Linear(
            self.sizes[-2], self.sizes[-1], self.bias, device="meta", dtype=self.dtype
        )
        net = net.to_empty(device="cpu")
        if seed is not None:
            net.reset_parameters(generator_for(seed, "init"))
        return net


def layers_of(model: nn.SNN) -> list[tuple[Tensor, Tensor | None]]:
    """Return weight and bias of each layer of an SNN; refuse one that was rebuilt."""
    if not isinstance(model, nn.SNN):
        raise DomainError(
            "model must be a selfnorm.nn.SNN or a selfnorm.train.Architecture, however: a "
            f"{type(model).__name__}; train other modules with autograd"
        )
    check_choice("the model's activation", model.activation, ACTIVATIONS)
    layers: list[tuple[Tensor, Tensor | None]] = []
    for index, block in enumerate(model.hidden):
        linear = block
        if model.activation != "selu":
            linear = block[0] if isinstance(block, torch.nn.Sequential) and len(block) else block
        expected = nn.LinearSELU if model.activation == "selu" else torch.nn.Linear
        same = not isinstance(linear, nn.LinearSELU) or (
            (linear.mean, linear.var) == model.fixed_point and linear.dropout == model.dropout
        )
        if type(linear) is not expected or not same:
            raise DomainError(
                "the hidden layers must be those the SNN was built with, however: "
                f"model.hidden[{index}]={block!r}; build a new SNN or an Architecture"
            )
        layers.append((linear.weight, linear.bias))
    layers.append((model.head.weight, model.head.bias))
    if len({weight.dtype for weight, _ in layers}) > 1:
        raise DomainError("the model's layers must be of one dtype, however: they differ")
    return layers


def effective_weights(weight: Tensor, gain: float) -> Tensor:
    """Return weights (…, out, in) centred per unit, with sum of squares gain²."""
    centred = weight - weight.mean(-1, keepdim=True)
    norm: Tensor = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)
    return centred * (gain / norm)


def architecture_of(
    model: nn.SNN | Sequence[nn.SNN] | Architecture,
) -> tuple[Architecture, list[nn.SNN]]:
    """Return the architecture that all models share, dropout apart, and those that are networks."""
    if isinstance(model, Architecture):
        return model, []
    models = list(model) if isinstance(model, Sequence) else [model]
    if not models:
        raise DomainError("there must be a model at least, however: model=[]")
    found = [Architecture.of(net) for net in models]
    for number, other in enumerate(found):
        if dataclasses.replace(other, dropout=found[0].dropout) != found[0]:
            raise DomainError(
                "models that train together must be of one architecture, however: that of model "
                f"{number} is {other}, not {found[0]}; train them apart"
            )
    return found[0], models


def flatten(layers: Sequence[tuple[Tensor, Tensor | None]]) -> Tensor:
    """Return parameters in the order of `Layout`: all weights, then all biases."""
    weights = [weight.detach().reshape(-1) for weight, _ in layers]
    biases = [bias.detach() for _, bias in layers if bias is not None]
    return torch.cat([*weights, *biases])
