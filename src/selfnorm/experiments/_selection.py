"""Train one kind of net fairly: the rate by validation rows, then several seeds at that rate."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from selfnorm.experiments._data import Dataset
from selfnorm.experiments._memory import peak_bytes, saved_bytes
from selfnorm.experiments._progress import Watch
from selfnorm.experiments._random import generator_for
from selfnorm.experiments._training import History, Rows, Schedule, as_rows, train

__all__ = ["Parts", "Protocol", "memory_of", "parts_of", "train_selected"]

Transform = Callable[[torch.Tensor], torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What all nets of a comparison have in common.

    Attributes
    ----------
    epochs, batch_size : int
        Passes over the training rows, rows per step.
    lrs : sequence of float
        Learning rates to choose from.
    seed, seeds : int
        First seed, which also chooses the rate, and number of seeds.
    momentum : float
        Momentum of SGD.
    schedule : {"constant", "cosine"}
        Course of the rate, see :func:`selfnorm.experiments._training.train`.
    summed : bool
        Descend on the summed instead of the mean loss.
    weight_decay : float
        What is added to the gradient, times the parameters.
    """

    epochs: int
    batch_size: int
    lrs: Sequence[float]
    seed: int
    seeds: int
    momentum: float
    schedule: Schedule
    summed: bool = False
    weight_decay: float = 0.0

    def steps(self, rows: int) -> int:
        """Return the optimiser steps of all nets of one cell."""
        return self.epochs * (rows // self.batch_size) * (len(self.lrs) + self.seeds - 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
    """Rows to learn from, rows that choose the rate, rows that choose nothing."""

    train: Rows
    validation: Rows
    test: Rows


def parts_of(rows: Dataset, *, var: float = 1.0, by_channel: bool = False) -> Parts:
    """Divide and standardise; statistics come from the rows to learn from alone."""
    inner = rows.with_validation()
    outer = dataclasses.replace(inner, X_test=rows.X_test, y_test=rows.y_test)
    inner, outer = (one.standardized(by_channel=by_channel).scaled(var) for one in (inner, outer))
    return Parts(
        as_rows(inner.X_train, inner.y_train),
        as_rows(inner.X_test, inner.y_test),
        as_rows(outer.X_test, outer.y_test),
    )


def train_selected(
    build: Callable[[torch.Generator], nn.Module],
    parts: Parts,
    protocol: Protocol,
    *,
    labels: tuple[object, ...],
    watch: Watch,
    transform: Callable[[torch.Generator], Transform] | None = None,
    inspect: Callable[[nn.Module], Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Train one net per rate, keep the rate that validates best, train further seeds at it.

    Parameters
    ----------
    build : callable
        Makes a net whose random numbers come from the generator it is given.
    parts : Parts
        The rows.
    protocol : Protocol
        How to train.
    labels : tuple
        What tells these nets from all others; with the seed it fixes the weights. The order of
        the rows and the augmentation depend on seed and batch size alone: all that is compared
        sees the same batches.
    watch : Watch
        Receives the steps.
    transform : callable, optional
        Makes the augmentation of a net from its generator.
    inspect : callable, optional
        Looks at each net that was trained at one of the rates from the first seed; what it returns
        stands with the candidate.

    Returns
    -------
    dict
        ``lr`` and ``lr_at_end`` ("lowest" or "highest" if the best rate is an end of several,
        else None); ``accuracy`` (on the test rows), ``validation`` and ``loss`` by epoch, means
        over the seeds, and ``…_by_seed``; ``epoch_seconds``, the median; ``seconds`` in all;
        ``diverged``, the seeds whose net diverged; ``candidates``, one entry per rate. If every
        rate diverges, ``lr`` is None and the curves are those of the smallest rate.
    """
    seen: dict[float, Mapping[str, Any]] = {}

    def run(seed: int, lr: float) -> History:
        watch.seed = seed
        model = build(generator_for(seed, *labels, "weights"))
        history = train(
            model,
            parts.train,
            parts.validation,
            epochs=protocol.epochs,
            batch_size=protocol.batch_size,
            lr=lr,
            generator=generator_for(seed, protocol.batch_size, "order"),
            schedule=protocol.schedule,
            momentum=protocol.momentum,
            weight_decay=protocol.weight_decay,
            summed=protocol.summed,
            transform=transform
            and transform(generator_for(seed, protocol.batch_size, "augmentation")),
            test_rows=parts.test,
            on_step=watch.step,
        )
        if inspect is not None and seed == protocol.seed:
            seen[lr] = inspect(model)
        return history

    tried = {lr: run(protocol.seed, lr) for lr in protocol.lrs}
    best = max(protocol.lrs, key=lambda lr: _last(tried[lr].accuracy))
    histories = [tried[best]]
    if not tried[best].diverged:
        more = range(protocol.seed + 1, protocol.seed + protocol.seeds)
        histories += [run(seed, best) for seed in more]
    seconds = [second for one in histories for second in one.epoch_seconds]
    return {
        "lr": None if tried[best].diverged else best,
        "lr_at_end": _end_of(best, protocol.lrs),
        **_curves("accuracy", [one.tested for one in histories]),
        **_curves("validation", [one.accuracy for one in histories]),
        **_curves("loss", [one.loss for one in histories]),
        "epoch_seconds": statistics.median(seconds) if seconds else None,
        "seconds": sum(one.seconds for one in (*tried.values(), *histories[1:])),
        "diverged": [
            {"seed": protocol.seed + index, **one.diverged}
            for index, one in enumerate(histories)
            if one.diverged is not None
        ],
        "candidates": [
            {
                "lr": lr,
                "validation": one.accuracy[-1],
                "loss": one.loss[-1],
                "diverged": one.diverged,
                **seen.get(lr, {}),
            }
            for lr, one in tried.items()
        ],
    }


def memory_of(
    build: Callable[[torch.Generator], nn.Module], rows: Rows, batch_size: int
) -> dict[str, Any]:
    """Measure the memory of one training step of a net that is thrown away.

    Returns
    -------
    dict
        ``saved_bytes`` and ``peak_bytes``, and ``refused``: why torch will not train this net on
        such a batch (batch norm on a single row), else None.
    """
    model = build(generator_for("memory"))
    model.train()
    X, y = rows[0][:batch_size], rows[1][:batch_size]
    existing = [X, y, *model.parameters(), *model.buffers()]

    def forward() -> torch.Tensor:
        return nn.functional.cross_entropy(model(X), y)

    def step() -> None:
        torch.autograd.backward(forward())
        model.zero_grad(set_to_none=True)

    try:
        forward()
    except ValueError as error:  # what torch's batch norm raises for one value per channel
        return {"saved_bytes": None, "peak_bytes": None, "refused": str(error)}
    return {
        "saved_bytes": saved_bytes(forward, existing),
        "peak_bytes": peak_bytes(step),
        "refused": None,
    }


def _last(curve: Sequence[float | None]) -> float:
    """Return the last value, below all others if there is none."""
    return -1.0 if curve[-1] is None else curve[-1]


def _end_of(lr: float, lrs: Sequence[float]) -> str | None:
    if len(lrs) < 2 or min(lrs) < lr < max(lrs):
        return None
    return "lowest" if lr == min(lrs) else "highest"


def _curves(name: str, curves: Sequence[Sequence[float | None]]) -> Mapping[str, Any]:
    """Return the mean over the seeds that have a value, and all."""
    means: list[float | None] = []
    for values in zip(*curves, strict=True):
        known = [value for value in values if value is not None]
        means.append(sum(known) / len(known) if known else None)
    return {name: means, f"{name}_by_seed": [list(curve) for curve in curves]}
