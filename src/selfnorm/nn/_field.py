"""A vector field for flow matching, and the sampler that follows one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor, nn

from selfnorm import functional, init
from selfnorm.errors import DataError, DomainError
from selfnorm.functional._checks import is_number
from selfnorm.nn._checks import check_dtype, check_generator, check_size
from selfnorm.nn._linear import LinearSELU

__all__ = ["SNNField", "flow_matching_loss", "integrate_flow"]

_METHODS: Final = ("euler", "heun", "rk4")
_LOWEST_FREQUENCY: Final = 0.25

Field = Callable[[Tensor, Tensor], Tensor]


class SNNField(nn.Module):
    r"""Self-normalizing vector field v(x, t) that turns noise into data.

    Noise :math:`x_0 \sim \mathcal{N}(0, I)` and data :math:`x_1` of mean 0 and variance 1 are
    joined by straight lines :math:`x_t = (1 - t) x_0 + t x_1`; the field learns
    :math:`\mathrm{E}[x_1 - x_0 \mid x_t]` (:func:`flow_matching_loss`), and following it from
    noise at t = 0 to t = 1 gives samples (:meth:`sample`).

    Three things keep the first layer at its fixed point at every time: x is divided by the
    standard deviation :math:`\sqrt{(1-t)^2 + t^2}` that it has on the way; the time enters by
    :math:`\sqrt{2} \cos 2 \pi f t, \sqrt{2} \sin 2 \pi f t` with f = 1/4, 1/2, 1, …, whose mean
    square is exactly 1 at each t; and both share the pre-activations' variance,
    :math:`z = \sqrt{1 - s}\, W_x x + \sqrt{s}\, W_t e(t)`, instead of many time features drowning
    few coordinates.

    Parameters
    ----------
    features : int
        Numbers per data row, at least 1.
    width, depth : int
        Units per hidden layer and number of hidden layers, at least 1.
    time_features : int
        Number of time features, even, at least 2. The highest frequency is
        :math:`2^{n/2 - 3}`: 8 is enough for smooth fields.
    time_share : float
        The share s of the time, between 0 and 1.
    dropout : float
        Probability of alpha dropout, in [0, 1]. 0 is usual: a field is a regression.
    generator : torch.Generator, optional
        Source of the initial weights. Default: torch's default generator.
    device : torch.device, optional
        Where the parameters lie.
    dtype : torch.dtype, optional
        Type of the parameters.

    Attributes
    ----------
    lift, time : torch.nn.Linear
        W_x with the bias, and W_t; LeCun normal times the square roots of the shares.
    hidden : torch.nn.Sequential
        The other hidden layers, depth - 1.
    head : torch.nn.Linear
        The output layer, LeCun normal.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, or an input has another shape.

    Notes
    -----
    Shape: x (N, features), t (N,) or one number; output (N, features). Standardise the data
    first. The pooled pre-activations have variance 1 in every layer at initialisation; a single row
    of few features has the variance (1 - s) ‖x‖²/n + s, which differs from row to row.

    References
    ----------
    Lipman, Chen, Ben-Hamu, Nickel, Le, "Flow Matching for Generative Modeling", ICLR 2023,
    arXiv:2210.02747; Liu, Gong, Liu, "Flow Straight and Fast", ICLR 2023, arXiv:2209.03003.

    Examples
    --------
    >>> import torch
    >>> field = SNNField(2, width=32, depth=3)
    >>> field.sample(5, steps=4, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([5, 2])
    """

    frequencies: Tensor

    def __init__(
        self,
        features: int,
        *,
        width: int = 256,
        depth: int = 4,
        time_features: int = 8,
        time_share: float = 0.5,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.features = check_size("features", features, 1)
        check_size("width", width, 1)
        check_size("depth", depth, 1)
        if check_size("time_features", time_features, 2) % 2:
            raise DomainError(
                "time_features must be even, a cosine and a sine each, however: "
                f"time_features={time_features}"
            )
        if not is_number(time_share) or not 0.0 <= time_share <= 1.0:
            raise DomainError(
                f"time_share must be a number between 0 and 1, however: time_share={time_share!r}; "
                "0.5 gives the time as much of the first layer as the point"
            )
        check_dtype(dtype)
        check_generator(generator)
        self.time_share = float(time_share)
        self.lift = nn.Linear(features, width, device="meta", dtype=dtype)
        self.time = nn.Linear(time_features, width, bias=False, device="meta", dtype=dtype)
        self.hidden = nn.Sequential()
        for _ in range(depth - 1):
            self.hidden.append(
                LinearSELU(width, width, dropout=dropout, device="meta", dtype=dtype)
            )
        self.head = nn.Linear(width, features, device="meta", dtype=dtype)
        place = torch.get_default_device() if device is None else device
        self.to_empty(device=place)
        kind = self.head.weight.dtype
        octaves = 2.0 ** torch.arange(time_features // 2, dtype=torch.float64)
        self.register_buffer("frequencies", (_LOWEST_FREQUENCY * octaves).to(place, kind), False)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew, from ``generator`` alone if one is given."""
        share = math.sqrt(1.0 - self.time_share)
        init.initialize_(self.lift, gain=share, generator=generator)
        init.initialize_(self.time, gain=math.sqrt(self.time_share), generator=generator)
        init.initialize_(self.hidden, generator=generator)
        init.initialize_(self.head, generator=generator)

    def embed(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the first layer sees: the scaled x and the time features.

        Parameters
        ----------
        x : Tensor
            Points, shape (N, features).
        t : Tensor
            Times, shape (N,) or ().

        Returns
        -------
        (Tensor, Tensor)
            Of shapes (N, features) and (N, time_features).
        """
        if x.dim() != 2 or x.shape[1] != self.features:
            raise DomainError(
                f"x must have shape (N, {self.features}), however: x.shape={tuple(x.shape)}"
            )
        t = torch.as_tensor(t, dtype=x.dtype, device=x.device)
        if t.shape not in ((), (len(x),)):
            raise DomainError(
                f"t must have shape ({len(x)},), one time per row, or be one number, however: "
                f"t.shape={tuple(t.shape)}"
            )
        t = t.expand(len(x)).unsqueeze(1)
        angles = 2.0 * math.pi * t * self.frequencies
        waves = math.sqrt(2.0) * torch.cat([angles.cos(), angles.sin()], dim=1)
        return x * ((1.0 - t).square() + t.square()).rsqrt(), waves

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the field at points x and times t."""
        scaled, waves = self.embed(x, t)
        first = functional.selu(self.lift(scaled) + self.time(waves))
        out: Tensor = self.head(self.hidden(first))
        return out

    def loss(self, data: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return :func:`flow_matching_loss` of this field.

        Parameters
        ----------
        data : Tensor
            Standardised rows, shape (N, features).
        generator : torch.Generator, optional
            Source of noise and times.

        Returns
        -------
        Tensor
            A number.
        """
        return flow_matching_loss(self, data, generator=generator)

    def sample(
        self,
        n: int,
        steps: int = 32,
        *,
        method: str = "heun",
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw samples: follow the field from noise (:func:`integrate_flow`).

        Parameters
        ----------
        n : int
            How many, at least 1.
        steps : int
            Steps from noise to data, at least 1.
        method : {"euler", "heun", "rk4"}
            One, two or four evaluations of the field per step.
        generator : torch.Generator, optional
            Source of the noise. Default: torch's default generator.

        Returns
        -------
        Tensor
            Shape (n, features), in the units of the standardised data, without gradient.
        """
        check_size("n", n, 1)
        weight = self.head.weight
        noise = torch.randn(
            (n, self.features),
            generator=check_generator(generator),
            device=weight.device,
            dtype=weight.dtype,
        )
        with _evaluation(self):
            return integrate_flow(self, noise, steps, method=method)

    def extra_repr(self) -> str:
        """Show the share of the time."""
        return f"features={self.features}, time_share={self.time_share:g}"


def flow_matching_loss(
    field: Field, data: Tensor, *, generator: torch.Generator | None = None
) -> Tensor:
    r"""Compute the flow-matching loss of a field on a batch of data.

    .. math:: \frac{1}{N n} \sum \| v(x_t, t) - (x_1 - x_0) \|^2, \qquad
              x_t = (1 - t) x_0 + t x_1

    with noise x_0 and a time t, uniform on [0, 1], drawn for each row.

    Parameters
    ----------
    field : callable
        ``field(x, t)`` for x (N, n) and t (N,).
    data : Tensor
        Rows x_1, shape (N, n), standardised.
    generator : torch.Generator, optional
        Source of noise and times. Default: torch's default generator.

    Returns
    -------
    Tensor
        The mean square over rows and coordinates. A field of zeros has 2 for standardised data; the
        best possible one is left with the part that x_t does not tell.

    Raises
    ------
    DataError
        If the data are no matrix of floating-point numbers with at least one row.
    DomainError
        If the field cannot be called.

    Examples
    --------
    >>> import torch
    >>> data = torch.zeros(10_000, 3)
    >>> g = torch.Generator().manual_seed(0)
    >>> flow_matching_loss(lambda x, t: torch.zeros_like(x), data, generator=g).round().item()
    1.0
    """
    _check_field(field)
    if not isinstance(data, Tensor):
        raise DataError(
            "data must be floating-point rows in a torch.Tensor, however: a "
            f"{type(data).__name__} came; torch.as_tensor(data, dtype=torch.float32) converts it"
        )
    if data.dim() != 2 or not data.numel() or not data.is_floating_point():
        raise DataError(
            "data must be floating-point rows of shape (N, features), N at least 1, however: "
            f"data.shape={tuple(data.shape)}, data.dtype={data.dtype}"
        )
    check_generator(generator)
    noise = torch.randn(data.shape, generator=generator, device=data.device, dtype=data.dtype)
    t = torch.rand(len(data), generator=generator, device=data.device, dtype=data.dtype)
    x = torch.lerp(noise, data, t.unsqueeze(1))
    return (field(x, t) - (data - noise)).square().mean()


def integrate_flow(field: Field, x: Tensor, steps: int = 32, *, method: str = "heun") -> Tensor:
    """Follow a field from time 0 to time 1 in equal steps.

    Parameters
    ----------
    field : callable
        ``field(x, t)`` for x (N, n) and t (N,).
    x : Tensor
        Points at time 0, shape (N, n).
    steps : int
        Number of steps, at least 1.
    method : {"euler", "heun", "rk4"}
        Order 1, 2 and 4, with as many evaluations of the field per step.

    Returns
    -------
    Tensor
        Points at time 1, without gradient.

    Raises
    ------
    DomainError
        If an argument lies outside its domain.

    Examples
    --------
    >>> import torch
    >>> integrate_flow(lambda x, t: x, torch.ones(1, 1), 8, method="rk4")
    tensor([[2.7183]])
    """
    _check_field(field)
    if not isinstance(x, Tensor) or x.dim() != 2 or not x.is_floating_point():
        shape = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise DomainError(
            f"x must be a floating-point tensor of shape (N, features), however: x is {shape}; "
            "torch.randn(N, features) is noise"
        )
    check_size("steps", steps, 1)
    if method not in _METHODS:
        raise DomainError(f"method must be among {', '.join(_METHODS)}, however: method={method!r}")
    h = 1.0 / steps
    with torch.no_grad():
        for step in range(steps):

            def slope(x: Tensor, part: float, step: int = step) -> Tensor:
                return field(x, x.new_full((len(x),), (step + part) * h))

            first = slope(x, 0.0)
            if method == "euler":
                x = x + h * first
            elif method == "heun":
                x = x + h / 2.0 * (first + slope(x + h * first, 1.0))
            else:
                second = slope(x + h / 2.0 * first, 0.5)
                third = slope(x + h / 2.0 * second, 0.5)
                fourth = slope(x + h * third, 1.0)
                x = x + h / 6.0 * (first + 2.0 * (second + third) + fourth)
    return x


def _check_field(field: Field) -> None:
    if not callable(field):
        raise DomainError(
            f"field must be callable as field(x, t), however: field={field!r}; SNNField(features) "
            "is one"
        )


@contextmanager
def _evaluation(module: nn.Module) -> Iterator[None]:
    """Switch dropout off for a while."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
