"""Plain nets of one plan, trained side by side by the engine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import nn

from selfnorm import train
from selfnorm.experiments._nets import NetPlan
from selfnorm.experiments._training import MOMENTUM, History, Rows, Schedule
from selfnorm.nn import SNN

__all__ = ["train_together"]


def train_together(
    plan: NetPlan,
    models: Sequence[nn.Sequential],
    rows: Rows,
    held_out: Rows,
    *,
    epochs: int,
    batch_size: int,
    lrs: Sequence[float],
    seeds: Sequence[int],
    schedule: Schedule = "constant",
    same_batches: bool = False,
    on_epoch: Callable[[train.EpochRecord], object] | None = None,
) -> list[History]:
    """Train nets as :func:`selfnorm.experiments._training.train` trains one, in one go.

    The last batch of an epoch takes the rows that are left. A net that diverges stops alone.

    Parameters
    ----------
    plan : NetPlan
        What the nets are; without batch normalisation, which ties the rows of a batch together.
    models : sequence of torch.nn.Sequential
        Nets of the plan, trained in place; one that diverges keeps its weights before that step.
    rows, held_out : tuple of torch.Tensor
        Inputs (n, n_features), of the plan's target variance, and class numbers (n,).
    epochs, batch_size : int
        At least 1.
    lrs : sequence of float
        A rate for each net.
    seeds : sequence of int
        For each net what the order of its rows depends on.
    schedule : {"constant", "cosine"}
        As in ``train``.
    same_batches : bool
        Whether all nets see the rows in the order of the first.
    on_epoch : callable, optional
        Called with the engine's record after each epoch.

    Returns
    -------
    list of History
        One for each net; the seconds are its share of the time for all.
    """
    started = time.perf_counter()
    # An SNN multiplies its inputs by the standard deviation of its fixed point.
    scale = math.sqrt(plan.target_var) if plan.activation == "selu" else 1.0
    trainer = train.Trainer(
        [_network(plan, model) for model in models],
        optimizer=train.SGD(lr=tuple(lrs), momentum=MOMENTUM),
        schedule=train.Cosine() if schedule == "cosine" else train.Constant(),
        epochs=epochs,
        batch_size=batch_size,
        metric=_accuracy,
        shuffle="shared" if same_batches else "member",
        on_divergence="stop",
        random_state=list(seeds),
        callbacks=() if on_epoch is None else (on_epoch,),
        progress=False,
        distributed="off",
    )
    result = trainer.fit(rows[0] / scale, rows[1], validation=(held_out[0] / scale, held_out[1]))
    seconds = (time.perf_counter() - started) / len(models)
    steps = -(-len(rows[0]) // batch_size)
    histories = []
    for k, model in enumerate(models):
        _copy(trainer.export(k), model)
        histories.append(_history(result, k, epochs, steps, seconds))
    return histories


def _network(plan: NetPlan, model: nn.Sequential) -> SNN:
    """Return an SNN with the weights of a net of the plan."""
    sizes = (plan.n_features, *[plan.width] * plan.depth, plan.n_classes)
    point = (0.0, plan.target_var) if plan.activation == "selu" else (0.0, 1.0)
    net = train.Architecture(sizes, plan.activation, point, dropout=0.0).build()
    _copy(model, net)
    return net


@torch.no_grad()
def _copy(source: nn.Module, target: nn.Module) -> None:
    """Copy weights: both have weight and bias of each layer in order, and nothing else."""
    for given, taken in zip(source.parameters(), target.parameters(), strict=True):
        taken.copy_(given)


def _accuracy(outputs: torch.Tensor, y: torch.Tensor) -> float:
    """Return the share of right answers, NaN if an answer is not finite."""
    if not bool(torch.isfinite(outputs).all()):
        return math.nan
    return float((outputs.argmax(dim=1) == y).double().mean())


def _history(result: train.Result, k: int, epochs: int, steps: int, seconds: float) -> History:
    """Return the history of net k, with None from the epoch in which it diverged."""
    accuracy: list[float | None] = []
    loss: list[float | None] = []
    diverged = None
    if (place := result.diverged[k]) is not None:
        diverged = {"epoch": place[0], "step": (place[0] - 1) * steps + place[1]}
    for record in result.history:
        score = None if record.metric is None else record.metric[k]
        if record.loss[k] is None or score is None:
            break
        if math.isnan(score):
            diverged = {"epoch": record.epoch, "step": record.epoch * steps}
            break
        accuracy.append(score)
        loss.append(record.loss[k])
    missing: list[float | None] = [None] * (epochs - len(accuracy))
    return History(accuracy + missing, loss + missing, seconds, diverged)
