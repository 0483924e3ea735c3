"""How the learning rate changes over a training."""

from __future__ import annotations

import dataclasses
import math

from selfnorm.train._checks import check_count, check_number

__all__ = ["Constant", "Cosine", "Plateau", "Schedule"]


def _warm(step: int, steps_per_epoch: int, warmup: float) -> float:
    ramp = warmup * steps_per_epoch
    return min(1.0, (step + 1) / ramp) if ramp > 0.0 else 1.0


@dataclasses.dataclass(frozen=True)
class Constant:
    """A constant rate, after a warm-up if asked for.

    Parameters
    ----------
    warmup : float
        Epochs over which the rate rises linearly; step k (from 0) of the warm-up's w steps has
        the factor (k + 1) / w.

    Raises
    ------
    DomainError
        If ``warmup`` is negative or not finite.

    Examples
    --------
    >>> Constant(warmup=2).at(3, steps_per_epoch=4, epochs=10)
    0.5
    """

    warmup: float = 0.0

    def __post_init__(self) -> None:
        check_number("warmup", self.warmup, 0.0)

    def at(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """Return the factor of the rate in this step, counted from 0 over the whole training."""
        return _warm(step, steps_per_epoch, self.warmup)


@dataclasses.dataclass(frozen=True)
class Cosine:
    r"""Half a cosine from the rate down to a part of it.

    .. math:: f + (1 - f) \frac{1 + \cos(\pi k / n)}{2}

    for step k = 0 … n - 1 of those after the warm-up.

    Parameters
    ----------
    warmup : float
        Epochs over which the rate rises linearly first; see `Constant`.
    final : float
        The factor f that the curve falls to, in [0, 1].

    Raises
    ------
    DomainError
        If an argument lies outside its domain.

    References
    ----------
    Loshchilov, Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017,
    arXiv:1608.03983 (without the restarts).

    Examples
    --------
    >>> round(Cosine(final=0.1).at(20, steps_per_epoch=4, epochs=10), 3)
    0.55
    """

    warmup: float = 0.0
    final: float = 0.0

    def __post_init__(self) -> None:
        check_number("warmup", self.warmup, 0.0)
        check_number("final", self.final, 0.0, 1.0, open_high=False)

    def at(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """Return the factor of the rate in this step, counted from 0 over the whole training."""
        ramp = math.ceil(self.warmup * steps_per_epoch)
        if step < ramp:
            return _warm(step, steps_per_epoch, self.warmup)
        done = min(1.0, (step - ramp) / max(1, steps_per_epoch * epochs - ramp))
        return self.final + (1.0 - self.final) * (1.0 + math.cos(math.pi * done)) / 2.0


@dataclasses.dataclass(frozen=True)
class Plateau:
    """A rate that falls when a member stops getting better, for each member by itself.

    What is watched is the metric of the early stopping, without one the validation loss, without
    validation data the training loss.

    Parameters
    ----------
    factor : float
        What the rate is multiplied by, in (0, 1).
    patience : int
        Epochs without a new best value before that, at least 1; they are counted anew afterwards.
    warmup : float
        Epochs over which the rate rises linearly first; see `Constant`.

    Raises
    ------
    DomainError
        If an argument lies outside its domain.

    Examples
    --------
    >>> Plateau(factor=0.3, patience=5, warmup=2).at(3, steps_per_epoch=4, epochs=10)
    0.5
    """

    factor: float = 0.5
    patience: int = 5
    warmup: float = 0.0

    def __post_init__(self) -> None:
        check_number("factor", self.factor, 0.0, 1.0, open_low=True)
        check_count("patience", self.patience, 1)
        check_number("warmup", self.warmup, 0.0)

    def at(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """Return the factor of the warm-up; the members' own factors come on top of it."""
        return _warm(step, steps_per_epoch, self.warmup)


Schedule = Constant | Cosine | Plateau
