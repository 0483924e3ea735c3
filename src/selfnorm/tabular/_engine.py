"""What the estimators ask of the training engine."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfnorm import nn
from selfnorm.errors import ConvergenceError
from selfnorm.tabular._plan import Plan
from selfnorm.tabular._rows import Rows
from selfnorm.train import Trainer

__all__ = ["Job", "Trained", "train", "trainer_of"]

Indices = NDArray[np.intp]


@dataclasses.dataclass(frozen=True)
class Job:
    """The members of one estimator, to be trained.

    Attributes
    ----------
    rows : Rows
        What they are trained on.
    plans : list of Plan
        One for each member; alike but for seed, rate, weight decay and dropout.
    only : list of numpy.ndarray or None
        The rows that each member is trained on; None: all.
    held : list of numpy.ndarray or None
        The rows that each member is validated on after each epoch.
    start : list of selfnorm.nn.SNN or None
        The networks to begin with; None: new ones.
    held_out : list of numpy.ndarray or None
        Rows that were not used for a member: of the last ``extra`` members if there are such, else
        of all.
    extra : int
        How many members, the last ones, are there for their held-out rows alone.
    """

    rows: Rows
    plans: list[Plan]
    only: list[Indices] | None = None
    held: list[Indices] | None = None
    start: Sequence[nn.SNN] | None = None
    held_out: list[Indices] | None = None
    extra: int = 0

    def kind(self) -> tuple[Any, ...]:
        """Return what jobs must have in common to be trained together as if alone."""
        most = len(self.rows) if self.only is None else max(map(len, self.only))
        steps = math.ceil(most / self.plans[0].batch_size)
        weighted = self.rows.weights is not None
        return self.plans[0].shared(), steps, weighted, self.held is None, self.start is None


@dataclasses.dataclass(frozen=True)
class Trained:
    """A job that is done.

    Attributes
    ----------
    networks : list of selfnorm.nn.SNN
        In evaluation mode, on the CPU.
    loss, validation_loss : list of list of (float or None)
        For each epoch, each member's training loss and held-out loss; None once it has stopped.
    stopped : list of (int or None)
        The epoch after which early stopping ended a member.
    slowed : int
        How many members diverged and were trained again at a lower rate.
    """

    networks: list[nn.SNN]
    loss: list[list[float | None]]
    validation_loss: list[list[float | None]]
    stopped: list[int | None]
    slowed: int


def train(jobs: Sequence[Job]) -> list[Trained]:
    """Train the members of all jobs side by side.

    The jobs must agree in what `Job.kind` returns.
    """
    plans = [plan for job in jobs for plan in job.plans]
    start = [network for job in jobs for network in job.start or []]
    trainer = trainer_of(plans, start)
    rows, own, held = _joined(jobs)
    try:
        result = trainer.fit(rows.X, rows.y, sample_weight=rows.weights, validation=held, rows=own)
    except ConvergenceError as error:
        raise ConvergenceError(
            "the training must stay finite, however: it became infinite or NaN at "
            f"learning_rate_init={plans[0].learning_rate:g} and at all lower rates that were "
            "tried; lower learning_rate_init"
        ) from error
    found, first = [], 0
    for job in jobs:
        part = slice(first, first + len(job.plans))
        first = part.stop
        factors = [] if plans[0].adaptive else result.rate_factor[part]
        found.append(
            Trained(
                [trainer.export(k).cpu() for k in range(part.start, part.stop)],
                [list(record.loss[part]) for record in result.history],
                [list((record.metric or ())[part]) for record in result.history],
                list(result.stopped_epoch[part]),
                sum(factor < 1.0 for factor in factors),
            )
        )
    return found


def trainer_of(plans: Sequence[Plan], start: Sequence[nn.SNN] | None) -> Trainer:
    """Return the engine's front for these members, which begin with ``start`` if given."""
    first = plans[0]
    return Trainer(
        start or first.architecture,
        members=len(plans),
        loss=first.loss,
        optimizer=first.optimizer(plans),
        schedule=first.schedule,
        epochs=first.epochs,
        batch_size=first.batch_size,
        dropout=[plan.dropout for plan in plans],
        clip_norm=first.clip_norm,
        early_stopping=first.early_stopping,
        on_divergence="halve",
        random_state=[plan.seed for plan in plans],
        progress=first.verbose,
        device=first.device,
        distributed="off",
    )


def _joined(jobs: Sequence[Job]) -> tuple[Rows, list[Indices] | None, list[Indices] | None]:
    """Return the jobs' rows below each other, and which each member trains and validates on."""
    rows = jobs[0].rows
    if len(jobs) == 1 and jobs[0].only is None and jobs[0].held is None:
        return rows, None, None
    if len(jobs) > 1:
        weights = [job.rows.weights for job in jobs]
        rows = Rows(
            np.concatenate([job.rows.X for job in jobs]),
            np.concatenate([job.rows.y for job in jobs]),
            None if weights[0] is None else np.concatenate([w for w in weights if w is not None]),
        )
    starts = [0, *itertools.accumulate(len(job.rows) for job in jobs)]
    own: list[Indices] = []
    held: list[Indices] = []
    for job, start in zip(jobs, starts, strict=False):
        every = np.arange(len(job.rows))
        for k in range(len(job.plans)):
            own.append(start + (every if job.only is None else job.only[k]))
            if job.held is not None:
                held.append(start + job.held[k])
    return rows, own, held or None
