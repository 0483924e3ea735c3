"""What an experiment tells while it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from selfnorm.train import EpochRecord

__all__ = ["ProgressCallback", "ProgressEvent", "ProgressState", "Watch"]

ProgressState = Literal["training", "finished", "diverged", "resumed"]


@dataclasses.dataclass(frozen=True)
class ProgressEvent:
    """A place in a running experiment: a step, or an epoch of nets trained side by side.

    Attributes
    ----------
    arm : str
        Name of the arm (or cell) that is being trained.
    index, arms : int
        Number of this arm counted from 0, and how many there are.
    seed : int
        Seed of the net that is being trained, the first one of several.
    epoch, epochs : int
        Epoch counted from 1, and epochs per net.
    step, total : int
        Finished optimiser steps of this arm over all its seeds, and how many it will do.
    loss : float or None
        Training loss of the last batch in nats; the epoch's mean for nets side by side.
    accuracy : float or None
        Accuracy on the held-out rows after the last finished epoch of this net.
    state : {"training", "finished", "diverged", "resumed"}
        ``finished`` and ``diverged`` come once at the end of an arm, ``resumed`` instead if an
        interrupted run had finished the arm before.
    """

    arm: str
    index: int
    arms: int
    seed: int
    epoch: int
    epochs: int
    step: int
    total: int
    loss: float | None
    accuracy: float | None
    state: ProgressState = "training"


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


ProgressCallback = Callable[[ProgressEvent], None]


class Watch:
    """Turns the steps of one arm's nets into progress events.

    Parameters
    ----------
    progress : callable or None
        Receives the events.
    seed : int
        Seed of the first net; set ``seed`` for the next ones.
    **fixed
        What all events of the arm share: ``arm``, ``index``, ``arms``, ``epochs``, ``total``.
    """

    def __init__(self, progress: ProgressCallback | None, *, seed: int, **fixed: Any) -> None:
        self._progress = progress
        self._fixed = fixed
        self._step = 0
        self.seed = seed

    def step(self, epoch: int, loss: float | None, accuracy: float | None) -> None:
        """Report one optimiser step."""
        self._step += 1
        self._tell(epoch, self._step, loss, accuracy, "training")

    def epoch(self, record: EpochRecord) -> None:
        """Report an epoch of nets that are trained side by side: means over those that go on."""
        self._step = record.step * len(record.loss)
        self._tell(
            record.epoch, self._step, _mean(record.loss), _mean(record.metric or ()), "training"
        )

    def end(self, loss: float | None, accuracy: float | None, state: ProgressState) -> None:
        """Report the end of the arm."""
        self._tell(self._fixed["epochs"], self._fixed["total"], loss, accuracy, state)

    def _tell(
        self,
        epoch: int,
        step: int,
        loss: float | None,
        accuracy: float | None,
        state: ProgressState,
    ) -> None:
        if self._progress is not None:
            self._progress(
                ProgressEvent(
                    **self._fixed,
                    seed=self.seed,
                    epoch=epoch,
                    step=step,
                    loss=loss,
                    accuracy=accuracy,
                    state=state,
                )
            )
