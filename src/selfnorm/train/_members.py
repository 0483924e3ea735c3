"""What is known of each member beside its parameters."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from selfnorm.train._early_stopping import EarlyStopping
from selfnorm.train._schedules import Plateau

__all__ = ["Member"]


@dataclasses.dataclass
class Member:
    """A member's own story.

    Attributes
    ----------
    factor : float
        What its rate is multiplied by, for plateaus and divergences.
    halvings : int
        How often its rate was halved after a divergence.
    best, best_epoch, waited : float or None, int, int
        The best metric, its epoch, and epochs since; without early stopping the last epoch.
    plateau_best, plateau_waited : float or None, int
        Likewise for the schedule.
    stopped : int or None
        The epoch after which it stopped.
    diverged : (int, int) or None
        Epoch and step at which it diverged, if the training went on without it.
    loss, lowest : float or None
        Training loss of its last epoch, and the lowest one, that of the first step included.
    weights : torch.Tensor or None
        Its best parameters so far; at the end, its parameters.
    """

    factor: float = 1.0
    halvings: int = 0
    best: float | None = None
    best_epoch: int = 0
    waited: int = 0
    plateau_best: float | None = None
    plateau_waited: int = 0
    stopped: int | None = None
    diverged: tuple[int, int] | None = None
    loss: float | None = None
    lowest: float | None = None
    weights: Tensor | None = None

    def watch(self, stopping: EarlyStopping, value: float, epoch: int) -> bool:
        """Take note of a metric; tell whether it is the best so far."""
        if stopping.better(value, self.best):
            self.best, self.best_epoch, self.waited = value, epoch, 0
            return True
        self.waited += 1
        if self.waited >= stopping.patience:
            self.stopped = epoch
        return False

    def slow_down(self, plateau: Plateau, value: float, larger: bool) -> bool:
        """Take note of a metric; tell whether the rate has just fallen."""
        best = self.plateau_best
        if best is None or (value > best if larger else value < best):
            self.plateau_best, self.plateau_waited = value, 0
            return False
        self.plateau_waited += 1
        if self.plateau_waited < plateau.patience:
            return False
        self.factor *= plateau.factor
        self.plateau_waited = 0
        return True

    @classmethod
    def of(cls, state: dict[str, Any], device: torch.device) -> Member:
        """Return the member of a `state`."""
        weights = state["weights"]
        return cls(**{**state, "weights": None if weights is None else weights.to(device)})

    def state(self) -> dict[str, Any]:
        """Return numbers and tensors, on the CPU."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if self.weights is not None:
            fields["weights"] = self.weights.cpu()
        return fields
