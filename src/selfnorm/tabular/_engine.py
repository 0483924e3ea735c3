"""What the estimators ask of the training engine."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from selfnorm import nn
from selfnorm.errors import ConvergenceError
from selfnorm.tabular._plan import Plan
from selfnorm.tabular._rows import Rows
from selfnorm.train import Trainer
from selfnorm.train._architecture import flatten, layers_of
from selfnorm.train._data import Data, prepare
from selfnorm.train._held import Held
from selfnorm.train._progress import bar
from selfnorm.train._ranks import Ranks
from selfnorm.train._run import Run

__all__ = ["Job", "Trained", "data_of", "train", "trainer_of"]

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
    trainer = trainer_of(plans)
    settings = trainer._settings
    data, held = _joined(jobs, trainer)

    def begin() -> Iterable[torch.Tensor]:
        if all(job.start is None for job in jobs):
            return trainer._start()
        given = [network for job in jobs for network in job.start or []]
        return [flatten(layers_of(network)).to(settings.device) for network in given]

    run = Run(settings, data, held, "", begin, Ranks())
    run.start()
    try:
        with bar(settings.epochs, settings.progress) as (show, tick):
            result = run.train((show,), tick)
    except ConvergenceError as error:
        raise ConvergenceError(
            "the training must stay finite, however: it became infinite or NaN at "
            f"learning_rate_init={plans[0].learning_rate:g} and at all lower rates that were "
            "tried; lower learning_rate_init"
        ) from error
    trainer._weights = run.weights()
    found, first = [], 0
    for job in jobs:
        own = slice(first, first + len(job.plans))
        first = own.stop
        factors = [] if plans[0].adaptive else result.rate_factor[own]
        found.append(
            Trained(
                [trainer.export(k).cpu() for k in range(own.start, own.stop)],
                [list(record.loss[own]) for record in result.history],
                [list((record.metric or ())[own]) for record in result.history],
                list(result.stopped_epoch[own]),
                sum(factor < 1.0 for factor in factors),
            )
        )
    return found


def trainer_of(plans: Sequence[Plan]) -> Trainer:
    """Return the engine's front for these members."""
    first = plans[0]
    return Trainer(
        first.architecture,
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
    )


def data_of(rows: Rows, trainer: Trainer) -> Data:
    """Return rows as the engine has them, all for all members."""
    settings = trainer._settings
    return prepare(
        rows.X,
        rows.y,
        settings.loss,
        sizes=settings.architecture.sizes,
        dtype=settings.architecture.dtype,
        device=settings.device,
        sample_weight=rows.weights,
        class_weight=None,
        members=settings.members,
        left_out=None,
    )


def _joined(jobs: Sequence[Job], trainer: Trainer) -> tuple[Data, Held | None]:
    """Return the jobs' rows below each other, and which belong to each member."""
    rows = jobs[0].rows
    if len(jobs) > 1:
        weights = [job.rows.weights for job in jobs]
        rows = Rows(
            np.concatenate([job.rows.X for job in jobs]),
            np.concatenate([job.rows.y for job in jobs]),
            None if weights[0] is None else np.concatenate([w for w in weights if w is not None]),
        )
    data = data_of(rows, trainer)
    if len(jobs) == 1 and jobs[0].only is None and jobs[0].held is None:
        return data, None
    starts = [0, *itertools.accumulate(len(job.rows) for job in jobs)]
    own: list[torch.Tensor] = []
    held: list[torch.Tensor] = []
    for job, start in zip(jobs, starts, strict=False):
        every = np.arange(len(job.rows))
        for k in range(len(job.plans)):
            own.append(torch.from_numpy(start + (every if job.only is None else job.only[k])))
            if job.held is not None:
                held.append(torch.from_numpy(start + job.held[k]))
    block = dataclasses.replace(data.block, rows=own)
    data = dataclasses.replace(data, block=block)
    return data, Held(block.X, data.y, block.targets, held) if held else None
