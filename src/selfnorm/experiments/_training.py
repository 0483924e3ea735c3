"""The training loop of the experiments: eager PyTorch, SGD with momentum, no hidden help."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

__all__ = ["MOMENTUM", "History", "Rows", "Schedule", "accuracy_of", "as_rows", "train"]

MOMENTUM: Final = 0.9
_EVALUATION_ROWS: Final = 2000

Rows = tuple[torch.Tensor, torch.Tensor]
Schedule = Literal["constant", "cosine"]


@dataclasses.dataclass(frozen=True)
class History:
    """What one training left behind.

    Attributes
    ----------
    accuracy, loss : list of float or None
        After each epoch: accuracy on the held-out rows, and mean training loss of the epoch in
        nats. None from the epoch in which the loss stopped being finite.
    seconds : float
        Wall time, evaluation included.
    diverged : dict or None
        ``{"epoch": …, "step": …}``, counted from 1, of the first loss that was not finite.
    tested : list of float or None
        After each epoch: accuracy on the test rows, if there were any; chooses nothing.
    epoch_seconds : list of float
        Wall time of each finished epoch's steps, evaluation not included.
    """

    accuracy: list[float | None]
    loss: list[float | None]
    seconds: float
    diverged: dict[str, int] | None
    tested: list[float | None] = dataclasses.field(default_factory=list)
    epoch_seconds: list[float] = dataclasses.field(default_factory=list)


def as_rows(X: NDArray[np.float32], y: NDArray[np.int64]) -> Rows:
    """Return tensors that share memory with the arrays."""
    return torch.from_numpy(np.ascontiguousarray(X)), torch.from_numpy(np.ascontiguousarray(y))


def train(
    model: nn.Module,
    rows: Rows,
    held_out: Rows,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    generator: torch.Generator,
    schedule: Schedule = "constant",
    momentum: float = MOMENTUM,
    weight_decay: float = 0.0,
    summed: bool = False,
    transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
    test_rows: Rows | None = None,
    partial: bool = False,
    on_step: Callable[[int, float, float | None], None] | None = None,
) -> History:
    """Train by stochastic gradient descent with momentum on the cross-entropy.

    Each epoch visits the rows in a new order drawn from ``generator``. A loss that is not finite
    ends the training at once.

    Parameters
    ----------
    model : torch.nn.Module
        Maps (batch, n_features) to (batch, n_classes); trained in place.
    rows, held_out : tuple of torch.Tensor
        Inputs (n, n_features) and class numbers (n,) to train on and to measure accuracy on.
    epochs, batch_size : int
        At least 1; ``batch_size`` at most the number of rows.
    lr : float
        Learning rate of the first step.
    generator : torch.Generator
        Draws the order of the rows.
    schedule : {"constant", "cosine"}
        ``cosine``: step k of K uses ``lr · (1 + cos(π k / K)) / 2``.
    momentum : float
        Momentum, 0.9 unless said otherwise.
    weight_decay : float
        What is added to the gradient, times the parameters.
    summed : bool
        Descend on the sum of the loss over the batch instead of its mean; what is recorded is
        the mean in either case.
    transform : callable, optional
        Changes each batch of inputs, for example by flips and crops.
    test_rows : tuple of torch.Tensor, optional
        Measured after each epoch as well, and nothing more.
    partial : bool
        Whether rows that do not fill the last batch are taken, unless there is but one, of which
        batch normalisation can make nothing; by default they are left out.
    on_step : callable, optional
        Called as ``on_step(epoch, loss, accuracy)`` after each step; the accuracy is that of the
        last finished epoch.

    Returns
    -------
    History
        Accuracy and loss by epoch.
    """
    started = time.perf_counter()
    X, y = rows
    steps_per_epoch = len(X) // batch_size + (partial and len(X) % batch_size > 1)
    total = epochs * steps_per_epoch
    optimizer = torch.optim.SGD(
        model.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay, fused=True
    )
    accuracy: list[float | None] = []
    loss: list[float | None] = []
    tested: list[float | None] = []
    epoch_seconds: list[float] = []
    diverged = None
    done = 0
    for epoch in range(1, epochs + 1):
        model.train()
        epoch_started = time.perf_counter()
        order = torch.randperm(len(X), generator=generator)
        losses: list[float] = []
        weights: list[int] = []
        for step in range(steps_per_epoch):
            if schedule == "cosine":
                optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * done / total)) / 2
            batch = order[step * batch_size : (step + 1) * batch_size]
            optimizer.zero_grad(set_to_none=True)
            inputs = X[batch] if transform is None else transform(X[batch])
            objective = nn.functional.cross_entropy(model(inputs), y[batch])
            value = objective.item()
            if not math.isfinite(value):
                diverged = {"epoch": epoch, "step": done + 1}
                break
            torch.autograd.backward(objective * len(batch) if summed else objective)
            optimizer.step()
            done += 1
            losses.append(value)
            weights.append(len(batch))
            if on_step is not None:
                on_step(epoch, value, accuracy[-1] if accuracy else None)
        if diverged:
            break
        seconds = time.perf_counter() - epoch_started
        score = accuracy_of(model, held_out)
        test_score = None if test_rows is None else accuracy_of(model, test_rows)
        if score is None or (test_rows is not None and test_score is None):
            diverged = {"epoch": epoch, "step": done}
            break
        epoch_seconds.append(seconds)
        accuracy.append(score)
        tested.append(test_score)
        loss.append(float(np.average(losses, weights=weights)))
    missing: list[float | None] = [None] * (epochs - len(accuracy))
    return History(
        accuracy + missing,
        loss + missing,
        time.perf_counter() - started,
        diverged,
        tested + missing,
        epoch_seconds,
    )


def accuracy_of(model: nn.Module, rows: Rows) -> float | None:
    """Return the share of right answers in eval mode, None if an answer is not finite."""
    X, y = rows
    model.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(X), _EVALUATION_ROWS):
            logits = model(X[start : start + _EVALUATION_ROWS])
            if not bool(torch.isfinite(logits).all()):
                return None
            hits = logits.argmax(dim=1) == y[start : start + _EVALUATION_ROWS]
            right += int(hits.sum())
    return right / len(X)
