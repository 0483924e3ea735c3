"""What the estimators ask of the training engine."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from selfnorm import nn
from selfnorm.tabular._plan import Plan
from selfnorm.tabular._rows import Rows
from selfnorm.train import Result, Trainer
from selfnorm.train._architecture import layers_of
from selfnorm.train._data import Held, prepare
from selfnorm.train._progress import bar
from selfnorm.train._run import Run
from selfnorm.train._trainer import _flatten

__all__ = ["Trained", "train"]


@dataclasses.dataclass(frozen=True)
class Trained:
    """Members after a training.

    Attributes
    ----------
    networks : list of selfnorm.nn.SNN
        In evaluation mode, on the CPU.
    result : selfnorm.train.Result
        The history.
    """

    networks: list[nn.SNN]
    result: Result


def train(
    plans: Sequence[Plan],
    rows: Rows,
    *,
    only: Sequence[NDArray[np.intp]] | None = None,
    held: Sequence[NDArray[np.intp]] | None = None,
    start: Sequence[nn.SNN] | None = None,
) -> Trained:
    """Train one member for each plan, all together.

    The plans may differ in seed, rate, weight decay and dropout. ``only`` lists the rows that each
    member is trained on, ``held`` those that it is validated on after each epoch (they need not
    be others), ``start`` gives the networks to begin with.
    """
    first = plans[0]
    trainer = Trainer(
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
    settings = trainer._settings
    data = prepare(
        rows.X,
        rows.y,
        settings.loss,
        sizes=settings.architecture.sizes,
        dtype=settings.architecture.dtype,
        device=settings.device,
        sample_weight=rows.weights,
        class_weight=None,
        members=len(plans),
        left_out=None,
    )
    if only is not None:
        data = dataclasses.replace(data, rows=[torch.from_numpy(own) for own in only])
    watched = None
    if held is not None:
        own = [torch.from_numpy(part) for part in held]
        watched = Held(data.X, data.y, data.targets, own)

    def begin() -> list[torch.Tensor]:
        if start is None:
            return trainer._start()
        return [_flatten(layers_of(network)).to(settings.device) for network in start]

    run = Run(settings, data, watched, "", begin)
    run.start()
    with bar(settings.epochs, settings.progress) as (show, tick):
        result = run.train((show,), tick)
    trainer._weights = run.weights()
    slowed = [k for k, factor in enumerate(result.rate_factor) if factor < 1.0]
    if slowed and not first.adaptive:
        warnings.warn(
            f"the loss of {len(slowed)} of {len(plans)} members became infinite or NaN; they were "
            "trained again at a lower rate: lower learning_rate_init",
            ConvergenceWarning,
            stacklevel=2,
        )
    return Trained([trainer.export(k).cpu() for k in range(len(plans))], result)


def mean_curve(curve: Sequence[Any]) -> list[float]:
    """Return the mean over the members that were still in training, epoch by epoch."""
    return [float(np.mean([v for v in values if v is not None])) for values in curve]
