"""A linear layer with its SELU, its alpha dropout and its initialisation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Parameter

from selfnorm import functional, init, theory
from selfnorm.functional._checks import check_rate
from selfnorm.nn._checks import check_dtype, check_generator, check_size

__all__ = ["LinearSELU"]


class LinearSELU(torch.nn.Module):
    r"""Linear layer, SELU and alpha dropout in one, initialised as theory asks.

    .. math:: y = \mathrm{alpha\_dropout}(\mathrm{selu}(x W^T + b), p)

    Parameters
    ----------
    in_features, out_features : int
        Numbers of inputs and units, at least 1.
    bias : bool
        Whether the layer has a bias. It starts at zero.
    mean, var : float
        The fixed point of the SELU.
    dropout : float
        Probability of dropping a unit in training, in [0, 1].
    generator : torch.Generator, optional
        Source of the initial weights. Default: torch's default generator, which the dropout
        always uses.
    device : torch.device, optional
        Where the parameters lie.
    dtype : torch.dtype, optional
        Type of the parameters.

    Attributes
    ----------
    weight : torch.nn.Parameter
        Shape (out_features, in_features); starts as :func:`selfnorm.init.lecun_normal_`.
    bias : torch.nn.Parameter or None
        Shape (out_features,).

    Raises
    ------
    DomainError
        If an argument lies outside its domain.

    Notes
    -----
    Shape: input (..., in_features), output (..., out_features).

    References
    ----------
    Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017, arXiv:1706.02515.

    Examples
    --------
    >>> import torch
    >>> layer = LinearSELU(64, 32, dropout=0.05)
    >>> layer
    LinearSELU(in_features=64, out_features=32, bias=True, dropout=0.05)
    >>> layer(torch.zeros(5, 64)).shape
    torch.Size([5, 32])
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        mean: float = 0.0,
        var: float = 1.0,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features = check_size("in_features", in_features, 1)
        self.out_features = check_size("out_features", out_features, 1)
        theory.solve(mean, var)  # refuses a fixed point that no SELU has
        self.mean = float(mean)
        self.var = float(var)
        self.dropout = check_rate("dropout", dropout)
        check_dtype(dtype)
        check_generator(generator)
        shape = (out_features, in_features)
        self.weight = Parameter(torch.empty(shape, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(torch.empty(out_features, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights anew (LeCun normal) and set the bias to zero."""
        init.initialize_(self, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to inputs of shape (..., in_features)."""
        return functional.linear_selu(
            x,
            self.weight,
            self.bias,
            self.dropout,
            training=self.training,
            mean=self.mean,
            var=self.var,
        )

    def extra_repr(self) -> str:
        """Show the sizes and what differs from the defaults."""
        shown = (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )
        if (self.mean, self.var) != (0.0, 1.0):
            shown += f", mean={self.mean:g}, var={self.var:g}"
        if self.dropout:
            shown += f", dropout={self.dropout:g}"
        return shown
