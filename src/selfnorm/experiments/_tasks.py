"""Small tasks with a loss and a score, and a training loop that says nothing about nets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from selfnorm.experiments._data import load_data

__all__ = ["TASKS", "Fit", "Task", "fit"]

_EVALUATION_ROWS: Final = 1000


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """Rows to train and to measure on.

    Attributes
    ----------
    name : str
        What is to be learnt, in two or three words.
    train, test : tuple of torch.Tensor
        Inputs and targets.
    loss : callable
        ``loss(output, target)``, a scalar tensor to be made small.
    score : callable
        ``score(output, target)``, a number.
    metric : str
        What the score is.
    higher : bool
        Whether more of it is better.
    """

    name: str
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[Tensor, Tensor], float]
    metric: str
    higher: bool


@dataclasses.dataclass(frozen=True)
class Fit:
    """How a training went.

    Attributes
    ----------
    score, loss : list of float or None
        After each epoch: score on the test rows, mean training loss; None from the epoch in which
        one stopped being finite.
    """

    score: list[float | None]
    loss: list[float | None]


def fit(
    model: nn.Module,
    task: Task,
    *,
    optimizer: torch.optim.Optimizer,
    epochs: int,
    batch_size: int,
    generator: torch.Generator,
    on_step: Callable[[int, float, float | None], None] | None = None,
    after_step: Callable[[], object] | None = None,
    on_epoch: Callable[[], object] | None = None,
) -> Fit:
    """Train a net; its dropout draws from torch's generator, which is restored afterwards.

    Parameters
    ----------
    model : torch.nn.Module
        Trained in place.
    task : Task
        What to learn.
    optimizer : torch.optim.Optimizer
        Has the model's parameters.
    epochs, batch_size : int
        At least 1; rows that do not fill the last batch are left out.
    generator : torch.Generator
        Draws the order of the rows and the seed of dropout.
    on_step : callable, optional
        Called as ``on_step(epoch, loss, score)`` after each step.
    after_step, on_epoch : callable, optional
        Called after each step and after each epoch.

    Returns
    -------
    Fit
        Scores and losses by epoch.
    """
    X, y = task.train
    scores: list[float | None] = []
    losses: list[float | None] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        for epoch in range(1, epochs + 1):
            model.train()
            order = torch.randperm(len(X), generator=generator)
            total, steps = 0.0, len(X) // batch_size
            for step in range(steps):
                batch = order[step * batch_size : (step + 1) * batch_size]
                optimizer.zero_grad(set_to_none=True)
                objective: Any = task.loss(model(X[batch]), y[batch])
                total += objective.item()
                if not math.isfinite(total):
                    break
                objective.backward()
                optimizer.step()
                if after_step is not None:
                    after_step()
                if on_step is not None:
                    on_step(epoch, total / (step + 1), scores[-1] if scores else None)
            score = _score(model, task) if math.isfinite(total) else None
            if score is None:
                break
            scores.append(score)
            losses.append(total / steps)
            if on_epoch is not None:
                on_epoch()
    missing: list[float | None] = [None] * (epochs - len(scores))
    return Fit(scores + missing, losses + missing)


@torch.no_grad()
def _score(model: nn.Module, task: Task) -> float | None:
    model.eval()
    X, y = task.test
    outputs = torch.cat([model(part) for part in torch.split(X, _EVALUATION_ROWS)])
    model.train()
    return task.score(outputs, y) if bool(torch.isfinite(outputs).all()) else None


# ---- the tasks --------------------------------------------------------------------------------


def _accuracy(output: Tensor, target: Tensor) -> float:
    return float((output.argmax(1) == target).double().mean())


def digits(form: str) -> Task:
    """Digits, 8×8 pixels: ``standard``, ``pixels`` (0 to 16), ``onehot`` or ``image``."""
    data = load_data("digits")
    if form in ("standard", "image"):
        data = data.standardized()
    parts = []
    for X, y in ((data.X_train, data.y_train), (data.X_test, data.y_test)):
        rows = torch.from_numpy(np.ascontiguousarray(X))
        if form == "onehot":
            levels = (rows * 16).round().long()
            rows = functional.one_hot(levels, 17).float().flatten(1)
        elif form == "pixels":
            rows = rows * 16
        elif form == "image":
            rows = rows.view(-1, 1, 8, 8)
        parts.append((rows, torch.from_numpy(np.ascontiguousarray(y))))
    train, test = parts
    return Task("digits", train, test, functional.cross_entropy, _accuracy, "accuracy", True)


def moons() -> Task:
    """Flow matching from a normal cloud to two moons: the velocity at a point and a time.

    Inputs (x, t) with x on the line from noise x0 to data x1, target x1 - x0; the score is the
    part of the velocity's variance that is explained on held-out pairs. What a point and a time do
    not determine bounds it from above.
    """
    generator = torch.Generator().manual_seed(7)
    count = 4000
    angle = torch.rand(count, generator=generator) * math.pi
    upper = torch.rand(count, generator=generator) < 0.5
    x1 = torch.stack([angle.cos(), angle.sin()], 1)
    x1 = torch.where(upper[:, None], x1, torch.stack([1 - angle.cos(), 0.5 - angle.sin()], 1))
    x1 = 3 * (x1 + 0.05 * torch.randn(count, 2, generator=generator)) - 1
    x0 = torch.randn(count, 2, generator=generator)
    t = torch.rand(count, 1, generator=generator)
    X, y = torch.cat([(1 - t) * x0 + t * x1, t], 1), x1 - x0
    return _regression("flow matching", X, y, 3000)


def series() -> Task:
    """Forecast 8 values of a noisy sum of two sine waves from the 40 before."""
    generator = torch.Generator().manual_seed(8)
    count = 3000
    time = torch.arange(48.0)
    total = 0.2 * torch.randn(count, 48, generator=generator)
    for _ in range(2):
        period = 6 + 24 * torch.rand(count, 1, generator=generator)
        phase = 2 * math.pi * torch.rand(count, 1, generator=generator)
        total = total + torch.sin(2 * math.pi * time / period + phase)
    return _regression("forecasting", total[:, :40], total[:, 40:], 2400)


def _regression(name: str, X: Tensor, y: Tensor, rows: int) -> Task:
    def explained(output: Tensor, target: Tensor) -> float:
        return float(1 - (output - target).square().mean() / target.var(0, correction=0).mean())

    train, test = (X[:rows], y[:rows]), (X[rows:], y[rows:])
    return Task(name, train, test, functional.mse_loss, explained, "variance explained", True)


def survival() -> Task:
    """Censored times with a nonlinear log hazard of ten variables, as DeepSurv simulates them.

    The hazard is exp(2 exp(-(x1² + x2²) / .5)); times are exponential, a third is censored.
    The loss is Cox's partial likelihood of the batch, the score Harrell's concordance.
    """
    generator = torch.Generator().manual_seed(9)
    count = 3000
    X = 2 * torch.rand(count, 10, generator=generator) - 1
    log_hazard = 2 * torch.exp(-(X[:, 0].square() + X[:, 1].square()) / 0.5)
    time = -torch.log(torch.rand(count, generator=generator)) * torch.exp(-log_hazard)
    limit = -torch.log(torch.rand(count, generator=generator)) * 0.8
    y = torch.stack([torch.minimum(time, limit), (time <= limit).float()], 1)
    # Uniform in ±1 has variance 1/3.
    X = X * math.sqrt(3.0)
    return Task(
        "survival", (X[:2200], y[:2200]), (X[2200:], y[2200:]), _cox, _concordance,
        "concordance", True,
    )  # fmt: skip


def _cox(output: Tensor, target: Tensor) -> Tensor:
    order = target[:, 0].argsort(descending=True)
    risk, event = output[order, 0], target[order, 1]
    at_risk = torch.logcumsumexp(risk, 0)
    return ((at_risk - risk) * event).sum() / event.sum().clamp(min=1.0)


def _concordance(output: Tensor, target: Tensor) -> float:
    risk, (time, event) = output[:, 0], target.unbind(1)
    comparable = (time[:, None] < time[None, :]) & (event[:, None] > 0)
    right = (risk[:, None] > risk[None, :]).double() + 0.5 * (risk[:, None] == risk[None, :])
    return float((right * comparable).sum() / comparable.sum())


TASKS: Final[dict[str, Callable[[], Task]]] = {
    "digits": lambda: digits("standard"),
    "digits-image": lambda: digits("image"),
    "digits-onehot": lambda: digits("onehot"),
    "digits-pixels": lambda: digits("pixels"),
    "moons": moons,
    "series": series,
    "survival": survival,
}
