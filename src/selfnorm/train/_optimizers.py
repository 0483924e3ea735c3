"""Optimisers on flat buffers, one fused call where all members have the same settings."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from selfnorm import ops
from selfnorm.errors import DomainError
from selfnorm.train._checks import check_number, per_member
from selfnorm.train._layout import Layout

__all__ = ["SGD", "AdamW", "Flow", "Optimizer"]

Rate = float | Sequence[float]

_NATIVE: Final = ops.backends()["cpu"].name == "native"


def _check_rates(owner: object, **bounds: bool) -> None:
    """Refuse numbers that are negative; keep sequences as tuples."""
    for name, positive in bounds.items():
        value = getattr(owner, name)
        several = isinstance(value, Sequence) and not isinstance(value, str)
        numbers = tuple(
            check_number(name, v, 0.0, open_low=positive) for v in (value if several else (value,))
        )
        object.__setattr__(owner, name, numbers if several else numbers[0])


@dataclasses.dataclass(frozen=True)
class SGD:
    r"""Stochastic gradient descent with momentum.

    .. math:: v \leftarrow \mu v + g + \omega w, \qquad
              w \leftarrow w - \eta v \quad\text{or}\quad w - \eta (g + \omega w + \mu v)

    the latter with Nesterov's momentum: the formulas of :class:`torch.optim.SGD`.

    Parameters
    ----------
    lr : float or sequence of float
        The rate, greater than 0; one for all members or one for each.
    momentum : float or sequence of float
        The factor of the past, in [0, 1).
    weight_decay : float or sequence of float
        The factor of the weights that joins the gradient, 0 or more.
    nesterov : bool
        Nesterov's momentum.
    decay_bias : bool
        Whether biases decay too, as they do in torch. Default: they do not, since pulling them to
        zero does not make the function simpler.

    Raises
    ------
    DomainError
        If an argument lies outside its domain.

    Examples
    --------
    >>> SGD(lr=0.1, momentum=0.9, nesterov=True).lr
    0.1
    """

    lr: Rate = 0.01
    momentum: Rate = 0.0
    weight_decay: Rate = 0.0
    nesterov: bool = False
    decay_bias: bool = False

    def __post_init__(self) -> None:
        _check_rates(self, lr=True, momentum=False, weight_decay=False)
        momenta = self.momentum if isinstance(self.momentum, Sequence) else (self.momentum,)
        for momentum in momenta:
            check_number("momentum", momentum, 0.0, 1.0)
        if self.nesterov and 0.0 in momenta:
            raise DomainError(
                f"Nesterov's momentum needs momentum > 0, however: momentum={self.momentum!r}"
            )


@dataclasses.dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay: the formulas of :class:`torch.optim.AdamW`.

    Parameters
    ----------
    lr : float or sequence of float
        The rate, greater than 0; one for all members or one for each.
    betas : (float, float)
        Decay of the mean of the gradients and of their squares, in [0, 1).
    eps : float
        Added to the root of the mean square, greater than 0.
    weight_decay : float or sequence of float
        Each step multiplies the weights by 1 - lr weight_decay first; 0 or more.
    decay_bias : bool
        Whether biases decay too, as they do in torch. Default: they do not, since pulling them to
        zero does not make the function simpler.

    Raises
    ------
    DomainError
        If an argument lies outside its domain.

    References
    ----------
    Loshchilov, Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, arXiv:1711.05101.

    Examples
    --------
    >>> AdamW(lr=(1e-3, 3e-3), weight_decay=0.01).lr
    (0.001, 0.003)
    """

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: Rate = 0.0
    decay_bias: bool = False

    def __post_init__(self) -> None:
        _check_rates(self, lr=True, weight_decay=False)
        if not isinstance(self.betas, Sequence) or len(self.betas) != 2:
            raise DomainError(f"betas must be two numbers, however: betas={self.betas!r}")
        betas = tuple(check_number("betas", b, 0.0, 1.0) for b in self.betas)
        object.__setattr__(self, "betas", betas)
        check_number("eps", self.eps, 0.0, open_low=True)


Optimizer = SGD | AdamW


class Flow:
    """An optimiser at work on flat buffers.

    AdamW is one call of the native library for all members where there is one. Elsewhere torch's
    fused kernels do the arithmetic. They are called directly, because the bookkeeping of
    ``torch.optim.Optimizer.step`` takes longer than the arithmetic of a small network. Members of
    equal settings share a call; if all do, a call gets whole ranges of the buffer.

    Parameters
    ----------
    settings : SGD or AdamW
        What to do.
    layout : Layout
        Where the members' parameters lie.
    parameters, gradients : torch.Tensor
        Flat buffers.
    members : sequence of int
        The number that each member in the buffer has in the settings.
    factors : sequence of float
        What the rate of each member in the buffer is multiplied by.
    total : int
        How many members the settings speak of.
    moments : list of torch.Tensor, optional
        Flat buffers of an optimiser to go on with. Default: zeros.
    """

    def __init__(
        self,
        settings: Optimizer,
        layout: Layout,
        parameters: Tensor,
        gradients: Tensor,
        *,
        members: Sequence[int],
        factors: Sequence[float],
        total: int,
        moments: list[Tensor] | None = None,
    ) -> None:
        self._settings = settings
        self._layout = layout
        self._pair = (parameters, gradients)
        count = 2 if isinstance(settings, AdamW) else 1
        self.moments = moments or [torch.zeros_like(parameters) for _ in range(count)]
        lr = per_member("lr", settings.lr, total)
        decay = per_member("weight_decay", settings.weight_decay, total)
        momentum = (0.0,) * total
        if isinstance(settings, SGD):
            momentum = per_member("momentum", settings.momentum, total)
        self.rates = [lr[m] * f for m, f in zip(members, factors, strict=True)]
        self._steps = 0
        self._factor = math.nan
        self._ranges: list[_Range] = []
        self._calls: list[tuple[float, Callable[..., object]]] = []
        kinds = [(r, decay[m], momentum[m]) for r, m in zip(self.rates, members, strict=True)]
        if isinstance(settings, AdamW) and parameters.is_cpu and _NATIVE:
            self._ranges = list(_ranges(layout, kinds, settings.decay_bias))
            return
        self._count = torch.zeros((), dtype=torch.float32, device=parameters.device)
        for kind in dict.fromkeys(kinds):
            positions = [k for k, other in enumerate(kinds) if other == kind]
            self._add_calls(kind, None if len(positions) == len(kinds) else positions)

    def _add_calls(self, kind: tuple[float, float, float], positions: list[int] | None) -> None:
        rate, decay, momentum = kind
        pieces = [self._pieces(flat, positions) for flat in (*self._pair, *self.moments)]
        if decay == 0.0 or self._settings.decay_bias:
            whole = [[*weights, *biases] for weights, biases in pieces]
            if positions is None:
                whole = [[flat] for flat in (*self._pair, *self.moments)]
            self._calls.append((rate, self._call(whole, decay, momentum)))
            return
        for part, part_decay in ((0, decay), (1, 0.0)):
            tensors = [piece[part] for piece in pieces]
            if tensors[0]:
                self._calls.append((rate, self._call(tensors, part_decay, momentum)))

    def _pieces(self, flat: Tensor, positions: list[int] | None) -> tuple[list[Tensor], ...]:
        """Return what belongs to weights and to biases of the members at these positions."""
        end, layers = self._layout.weights_end, len(self._layout.weight_shapes)
        if positions is None:
            biases = [flat[end:]] if end < self._layout.size else []
            return [flat[:end]], biases
        parts = self._layout.segments(flat)
        return (
            [part[k] for part in parts[:layers] for k in positions],
            [part[k] for part in parts[layers:] for k in positions],
        )

    def _call(
        self, tensors: list[list[Tensor]], decay: float, momentum: float
    ) -> Callable[..., object]:
        settings = self._settings
        common: dict[str, Any] = {
            "weight_decay": decay,
            "maximize": False,
            "grad_scale": None,
            "found_inf": None,
        }
        if isinstance(settings, AdamW):
            counts = [self._count] * len(tensors[0])
            return partial(
                torch._fused_adamw_,
                *tensors,
                [],
                counts,
                beta1=settings.betas[0],
                beta2=settings.betas[1],
                eps=settings.eps,
                amsgrad=False,
                **common,
            )
        if momentum == 0.0:
            tensors = [*tensors[:2], []]
        return partial(
            torch._fused_sgd_,
            *tensors,
            momentum=momentum,
            dampening=0.0,
            nesterov=settings.nesterov and momentum > 0.0,
            is_first_step=False,
            **common,
        )

    def set_count(self, steps: int) -> None:
        """Set how many steps were taken."""
        self._steps = steps
        if self._calls:
            self._count.fill_(float(steps))

    def step(self, factor: float) -> None:
        """Take a step at ``factor`` times the members' rates."""
        self._steps += 1
        if self._calls:
            self._count += 1.0
        for rate, call in self._calls:
            call(lr=rate * factor)
        if self._ranges:
            if factor != self._factor:
                self._factor, self._adamw = factor, self._bind(factor)
            self._adamw(self._steps)

    def _bind(self, factor: float) -> Callable[[int], object]:
        """Return a step of the native AdamW at ``factor`` times the members' rates."""
        assert isinstance(self._settings, AdamW)
        starts, lengths, rates, decays = zip(*self._ranges, strict=True)
        return partial(
            torch.ops.selfnorm.adamw.default,
            *(*self._pair, *self.moments, starts, lengths, [r * factor for r in rates], decays),
            *(*self._settings.betas, self._settings.eps),
        )


class _Range(NamedTuple):
    """A part of the flat buffers: where it starts, how long it is, its rate and weight decay."""

    start: int
    length: int
    rate: float
    decay: float


def _ranges(
    layout: Layout, kinds: Sequence[tuple[float, float, float]], decay_bias: bool
) -> Iterator[_Range]:
    """Yield as few ranges as members with these (rate, decay, momentum) need."""
    rate, decay, _ = kinds[0]
    if len(set(kinds)) == 1:
        weights = layout.size if decay == 0.0 or decay_bias else layout.weights_end
        yield _Range(0, weights, rate, decay)
        if weights < layout.size:
            yield _Range(weights, layout.size - weights, rate, 0.0)
        return
    for start, count, is_weight in layout.places():
        for k, (rate, decay, _) in enumerate(kinds):
            own = decay if is_weight or decay_bias else 0.0
            yield _Range(start + k * count, count, rate, own)
