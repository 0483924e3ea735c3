"""Loss functions, with their gradients in closed form.

A loss writes, for a whole batch, raw values and a raw gradient by the outputs; the loss of a row
is ``value_factor`` times the sum of its raw values, its gradient ``gradient_factor`` times the raw
gradient. So the factors can join the weights of the rows in one multiplication.

In training, outputs come as (…, outputs, rows): torch's softmax over few classes is up to
twenty times faster along the second last dimension than along the last.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Final

import torch
from torch import Tensor
from torch.nn import functional

import selfnorm.ops  # noqa: F401 - registers the operators
from selfnorm.errors import DomainError
from selfnorm.train._checks import check_choice, check_number

__all__ = ["Binary", "Huber", "Loss", "Pinball", "Softmax", "Squared", "as_loss"]

Call = Callable[[], object]


class Loss(abc.ABC):
    """What the engine asks of a loss."""

    integer: ClassVar[bool] = False  # whether targets are class numbers

    @abc.abstractmethod
    def targets(self, y: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
        """Return targets (n, columns) for as many outputs; refuse unfit ones."""

    @abc.abstractmethod
    def calls(self, z: Tensor, target: Tensor, grad: Tensor) -> tuple[list[Call], Tensor]:
        """Return what writes the raw gradient of outputs (…, outputs, rows), and the raw values.

        Targets have shape (…, columns, rows), values (…, any number, rows).
        """

    @abc.abstractmethod
    def factors(self, outputs: int) -> tuple[float, float]:
        """Return value_factor and gradient_factor."""

    @abc.abstractmethod
    def values(self, z: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each row, shape (…, rows), for outputs (…, rows, outputs)."""


def _real_targets(y: Tensor, outputs: int, dtype: torch.dtype, loss: str) -> Tensor:
    if y.dim() == 1:
        y = y.unsqueeze(1)
    if y.dim() != 2 or y.shape[1] != outputs:
        raise DomainError(
            f"y must have one column for each of the {outputs} outputs of the {loss} loss, "
            f"however: y.shape={tuple(y.shape)}; reshape y or change the last size of the network"
        )
    return y.to(dtype)


@dataclasses.dataclass(frozen=True)
class Softmax(Loss):
    r"""Cross-entropy of classes, in nats.

    .. math:: -\sum_c t_c \log p_c, \qquad p = \mathrm{softmax}(z), \quad
              t_c = (1 - \epsilon) [c = y] + \epsilon / C

    Parameters
    ----------
    label_smoothing : float
        The epsilon, in [0, 1).

    Raises
    ------
    DomainError
        If ``label_smoothing`` lies outside its domain.

    Notes
    -----
    Targets are class numbers 0 … C - 1 for a network of C >= 2 outputs.

    Examples
    --------
    >>> Softmax(label_smoothing=0.1)
    Softmax(label_smoothing=0.1)
    """

    label_smoothing: float = 0.0
    integer: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_number("label_smoothing", self.label_smoothing, 0.0, 1.0)

    def targets(self, y: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
        """Return class numbers (n, 1); refuse others."""
        if y.dim() != 1 or y.is_floating_point() or y.is_complex():
            raise DomainError(
                "y must be class numbers, integers of shape (n,), for the softmax loss, however: "
                f"y.shape={tuple(y.shape)}, y.dtype={y.dtype}; number the classes from 0"
            )
        if outputs < 2:
            raise DomainError(
                f"the softmax loss needs at least 2 outputs, however: outputs={outputs}; take "
                "loss='binary' for one"
            )
        y = y.long()
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= outputs:
            row = int(((y < 0) | (y >= outputs)).nonzero()[0, 0])
            raise DomainError(
                f"classes must be numbered 0 to {outputs - 1} for {outputs} outputs, however: "
                f"y[{row}]={int(y[row])}; number the classes from 0, or give the network more "
                "outputs"
            )
        return y.unsqueeze(1)

    def calls(self, z: Tensor, target: Tensor, grad: Tensor) -> tuple[list[Call], Tensor]:
        """Write softmax minus target into ``grad``; raw values are mean log probabilities."""
        raw = torch.empty_like(z[..., :1, :])
        loss = torch.ops.selfnorm.softmax_loss.default
        return [partial(loss, z, target.expand_as(raw), self.label_smoothing, grad, raw)], raw

    def factors(self, outputs: int) -> tuple[float, float]:
        """Return -1 (raw values are log probabilities) and 1."""
        return -1.0, 1.0

    def values(self, z: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropy of each row."""
        index = target.expand(*z.shape[:-1], 1).squeeze(-1)
        flat = functional.cross_entropy(
            z.reshape(-1, z.shape[-1]),
            index.reshape(-1),
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        return flat.view(z.shape[:-1])


@dataclasses.dataclass(frozen=True)
class Binary(Loss):
    r"""Cross-entropy of yes or no, the mean over the outputs, in nats.

    .. math:: \log(1 + e^z) - t z, \qquad t = (1 - \epsilon) y + \epsilon / 2

    Parameters
    ----------
    label_smoothing : float
        The epsilon, in [0, 1).

    Raises
    ------
    DomainError
        If ``label_smoothing`` lies outside its domain.

    Notes
    -----
    Targets are numbers in [0, 1], shape (n,) for one output and (n, outputs) for several labels.

    Examples
    --------
    >>> Binary()
    Binary(label_smoothing=0.0)
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_number("label_smoothing", self.label_smoothing, 0.0, 1.0)

    def targets(self, y: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
        """Return the smoothed targets (n, outputs); refuse numbers outside [0, 1]."""
        y = _real_targets(y, outputs, dtype, "binary")
        outside = (y < 0.0) | (y > 1.0)
        if bool(outside.any()):
            row, column = (int(k) for k in outside.nonzero()[0])
            raise DomainError(
                "y must lie in [0, 1] for the binary loss, however: "
                f"y[{row}, {column}]={float(y[row, column]):g}; 0 is no, 1 is yes"
            )
        return y * (1.0 - self.label_smoothing) + self.label_smoothing / 2.0

    def calls(self, z: Tensor, target: Tensor, grad: Tensor) -> tuple[list[Call], Tensor]:
        """Write sigmoid minus target into ``grad``."""
        raw = torch.empty_like(z)
        zero = torch.zeros((), dtype=z.dtype, device=z.device)
        return [
            partial(torch.logaddexp, z, zero, out=raw),
            partial(raw.addcmul_, target, z, value=-1.0),
            partial(torch.sigmoid, z, out=grad),
            partial(grad.sub_, target),
        ], raw

    def factors(self, outputs: int) -> tuple[float, float]:
        """Return what makes the sum over the outputs a mean."""
        return 1.0 / outputs, 1.0 / outputs

    def values(self, z: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the outputs for each row."""
        return functional.binary_cross_entropy_with_logits(
            z, target.expand_as(z), reduction="none"
        ).mean(-1)


@dataclasses.dataclass(frozen=True)
class Squared(Loss):
    """Squared error, the mean over the outputs.

    Notes
    -----
    Targets are real, shape (n,) for one output and (n, outputs) for several.

    Examples
    --------
    >>> Squared()
    Squared()
    """

    def targets(self, y: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
        """Return the targets (n, outputs)."""
        return _real_targets(y, outputs, dtype, "squared")

    def calls(self, z: Tensor, target: Tensor, grad: Tensor) -> tuple[list[Call], Tensor]:
        """Write the error into ``grad``; raw values are its square."""
        raw = torch.empty_like(z)
        return [
            partial(torch.sub, z, target, out=grad),
            partial(torch.mul, grad, grad, out=raw),
        ], raw

    def factors(self, outputs: int) -> tuple[float, float]:
        """Return what makes the sum a mean, and a mean's derivative."""
        return 1.0 / outputs, 2.0 / outputs

    def values(self, z: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the outputs for each row."""
        return (z - target).square().mean(-1)


@dataclasses.dataclass(frozen=True)
class Huber(Loss):
    r"""Squared near zero, linear beyond, the mean over the outputs.

    .. math:: d^2 / 2 \text{ for } |d| \le \delta, \qquad
              \delta (|d| - \delta / 2) \text{ elsewhere}

    Parameters
    ----------
    delta : float
        Where the loss becomes linear, greater than 0, in units of y.

    Raises
    ------
    DomainError
        If ``delta`` lies outside its domain.

    Notes
    -----
    Targets as for `Squared`.

    Examples
    --------
    >>> Huber(delta=1.5)
    Huber(delta=1.5)
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        check_number("delta", self.delta, 0.0, open_low=True)

    def targets(self, y: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
        """Return the targets (n, outputs)."""
        return _real_targets(y, outputs, dtype, "Huber")

    def calls(self, z: Tensor, target: Tensor, grad: Tensor) -> tuple[list[Call], Tensor]:
        """Write the clamped error c into ``grad``; raw values are (d - c / 2) c."""
        raw = torch.empty_like(z)
        return [
            partial(torch.sub, z, target, out=raw),
            partial(torch.clamp, raw, -self.delta, self.delta, out=grad),
            partial(raw.sub_, grad, alpha=0.5),
            partial(raw.mul_, grad),
        ], raw

    def factors(self, outputs: int) -> tuple[float, float]:
        """Return what makes the sum over the outputs a mean."""
        return 1.0 / outputs, 1.0 / outputs

    def values(self, z: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the outputs for each row."""
        return functional.huber_loss(
            z, target.expand_as(z), reduction="none", delta=self.delta
        ).mean(-1)


@dataclasses.dataclass(frozen=True)
class Pinball(Loss):
    r"""Quantile loss, the mean over quantiles and targets.

    .. math:: \max(q u, (q - 1) u), \qquad u = y - z

    Parameters
    ----------
    quantiles : sequence of float
        The quantiles q, each in (0, 1).

    Raises
    ------
    DomainError
        If ``quantiles`` is empty or one lies outside its domain.

    Notes
    -----
    Targets are real, shape (n,) or (n, m). The network has m times as many outputs as there are
    quantiles; those of the first target come first. The slope at u = 0 is that of u < 0.

    References
    ----------
    Koenker, Bassett, "Regression Quantiles", Econometrica 46 (1978).

    Examples
    --------
    >>> Pinball((0.05, 0.5, 0.95)).quantiles
    (0.05, 0.5, 0.95)
    """

    quantiles: tuple[float, ...] = (0.5,)

    def __post_init__(self) -> None:
        numbers = tuple(
            check_number("quantiles", q, 0.0, 1.0, open_low=True) for q in self.quantiles
        )
        if not numbers:
            raise DomainError("quantiles must have at least one number, however: quantiles=()")
        object.__setattr__(self, "quantiles", numbers)

    def targets(self, y: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
        """Return the targets (n, outputs), each repeated for the quantiles."""
        several = len(self.quantiles)
        if outputs % several:
            raise DomainError(
                f"the network must have a multiple of {several} outputs, one for each quantile, "
                f"however: outputs={outputs}"
            )
        real = _real_targets(y, outputs // several, dtype, f"pinball ({several} quantiles)")
        return real.repeat_interleave(several, dim=1)

    def _levels(self, z: Tensor) -> Tensor:
        return torch.tensor(self.quantiles, dtype=z.dtype, device=z.device)

    def calls(self, z: Tensor, target: Tensor, grad: Tensor) -> tuple[list[Call], Tensor]:
        """Write [z >= y] - q into ``grad``; raw values are that times z - y."""
        raw = torch.empty_like(z)
        levels = self._levels(z).repeat(z.shape[-2] // len(self.quantiles)).unsqueeze(1)
        return [
            partial(torch.ge, z, target, out=grad),
            partial(grad.sub_, levels),
            partial(torch.sub, z, target, out=raw),
            partial(raw.mul_, grad),
        ], raw

    def factors(self, outputs: int) -> tuple[float, float]:
        """Return what makes the sum over the outputs a mean."""
        return 1.0 / outputs, 1.0 / outputs

    def values(self, z: Tensor, target: Tensor) -> Tensor:
        """Return the mean over quantiles and targets for each row."""
        u, q = target - z, self._levels(z).repeat(z.shape[-1] // len(self.quantiles))
        return torch.maximum(q * u, (q - 1.0) * u).mean(-1)


_NAMED: Final[dict[str, Loss]] = {
    "binary": Binary(),
    "huber": Huber(),
    "pinball": Pinball(),
    "softmax": Softmax(),
    "squared": Squared(),
}


def as_loss(loss: str | Loss) -> Loss:
    """Return the loss of this name, or the loss itself."""
    return loss if isinstance(loss, Loss) else _NAMED[check_choice("loss", loss, _NAMED)]
