"""What a training tells while it runs and when it ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

__all__ = ["Callback", "EpochRecord", "Result"]

PerMember = tuple[float | None, ...]


@dataclasses.dataclass(frozen=True)
class EpochRecord:
    """One finished epoch. Entries of members that have stopped are None.

    Attributes
    ----------
    epoch, epochs : int
        Number of the epoch, counted from 1, and how many there may be.
    step : int
        Optimiser steps so far.
    seconds : float
        Training time so far, validation included, over all sittings of a resumed training.
    loss : tuple of (float or None)
        Mean training loss of the epoch for each member, as met by the steps (weighted, with
        dropout).
    validation_loss : tuple of (float or None) or None
        Mean loss on the held-out rows, unweighted and without dropout; None without such rows.
    metric : tuple of (float or None) or None
        What early stopping looks at, or the metric that was asked for without it; else equal to
        ``validation_loss``.
    rate : tuple of (float or None)
        Learning rate of the last step.
    moments : tuple or None
        If asked for, ``moments[member][layer]`` is (mean, variance) of what hidden layer ``layer``
        gave for the last batch of the epoch, dropout included.
    weight_sums : tuple or None
        If moments are asked for, ``weight_sums[member][layer]`` is the mean over the units of
        layer ``layer``, the last one included, of (the sum of a unit's weights, the sum of their
        squares), after the epoch.
    """

    epoch: int
    epochs: int
    step: int
    seconds: float
    loss: PerMember
    validation_loss: tuple[float | None, ...] | None
    metric: tuple[float | None, ...] | None
    rate: PerMember
    moments: tuple[tuple[tuple[float, float], ...] | None, ...] | None
    weight_sums: tuple[tuple[tuple[float, float], ...] | None, ...] | None = None


Callback = Callable[[EpochRecord], object]


@dataclasses.dataclass(frozen=True)
class Result:
    """How a training went.

    Attributes
    ----------
    history : tuple of EpochRecord
        One record for each epoch.
    best_epoch : tuple of int
        For each member, the epoch (from 1) whose weights it has: the best one under early
        stopping, else its last.
    stopped_epoch : tuple of (int or None)
        The epoch after which early stopping, or in which a divergence, ended a member; None if it
        ran to the end.
    loss : tuple of (float or None)
        Training loss of each member in its last epoch.
    best_metric : tuple of (float or None)
        What early stopping looks at, in ``best_epoch``; None without it.
    diverged : tuple of ((int, int) or None)
        Epoch and step (from 1) in which a member diverged under ``on_divergence="stop"``.
    rate_factor : tuple of float
        What divergences and plateaus have multiplied each member's rate by.
    """

    history: tuple[EpochRecord, ...]
    best_epoch: tuple[int, ...]
    stopped_epoch: tuple[int | None, ...]
    loss: PerMember
    best_metric: PerMember
    rate_factor: tuple[float, ...]
    diverged: tuple[tuple[int, int] | None, ...]
