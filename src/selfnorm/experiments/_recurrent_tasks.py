"""Tasks for recurrent nets: sequences, targets, loss and error."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Final

import torch
from torch import Tensor, nn

from selfnorm.errors import DomainError
from selfnorm.experiments._data import load_data
from selfnorm.experiments._random import generator_for

__all__ = ["RECURRENT_TASKS", "Rows", "Task", "make_task"]

RECURRENT_TASKS: Final = ("recall", "adding", "digits")
_BATCHES: Final = 20  # per epoch of a task that is made on the fly
_VALIDATION: Final = 500
_TEST: Final = 2000

Rows = tuple[Tensor, Tensor]


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """What a recurrent net is asked to do.

    Attributes
    ----------
    name : str
        One of ``RECURRENT_TASKS``.
    length, in_features, out_features, steps_per_epoch : int
        Steps per sequence, inputs per step, outputs, batches per epoch.
    chance : float
        Error without looking at the sequence.
    validation, test : tuple of Tensor
        Sequences (n, length, in_features) and targets (n,).
    batches : callable
        ``batches(generator)`` yields one epoch of batches.
    loss, error : callable
        Of outputs (n, out_features) and targets: what training lowers, what the report shows.
    """

    name: str
    length: int
    in_features: int
    out_features: int
    steps_per_epoch: int
    chance: float
    validation: Rows
    test: Rows
    batches: Callable[[torch.Generator], Iterator[Rows]]
    loss: Callable[[Tensor, Tensor], Tensor]
    error: Callable[[Tensor, Tensor], float]


def make_task(name: str, length: int | None, batch_size: int) -> Task:
    """Return a task; ``length`` is None for digits."""
    if name == "digits":
        return _digits(batch_size)
    assert length is not None
    draw = _recall if name == "recall" else _adding

    def batches(generator: torch.Generator) -> Iterator[Rows]:
        for _ in range(_BATCHES):
            yield draw(batch_size, length, generator)

    classes = name == "recall"
    return Task(
        name=name,
        length=length,
        in_features=2,
        out_features=4 if classes else 1,
        steps_per_epoch=_BATCHES,
        chance=0.75 if classes else 1.0,
        validation=draw(_VALIDATION, length, generator_for("recurrent", name, "validation")),
        test=draw(_TEST, length, generator_for("recurrent", name, "test")),
        batches=batches,
        loss=nn.functional.cross_entropy if classes else _squared,
        error=_wrong if classes else _unexplained,
    )


def _recall(n: int, length: int, generator: torch.Generator) -> Rows:
    """Two bits as ±1 in the first step, then noise; all inputs have mean 0 and variance 1."""
    x = torch.randn(n, length, 2, generator=generator)
    y = torch.randint(4, (n,), generator=generator)
    x[:, 0, 0] = 2.0 * (y % 2) - 1.0
    x[:, 0, 1] = 2.0 * (y // 2) - 1.0
    return x, y


def _adding(n: int, length: int, generator: torch.Generator) -> Rows:
    """Uniform numbers beside marks, one in each half; inputs and target standardised."""
    u = torch.rand(n, length, generator=generator)
    half = length // 2
    first = torch.randint(half, (n, 1), generator=generator)
    second = half + torch.randint(length - half, (n, 1), generator=generator)
    places = torch.cat([first, second], dim=1)
    marks = torch.zeros(n, length).scatter_(1, places, 1.0)
    share = 2.0 / length
    deviation = math.sqrt(max(share * (1.0 - share), 1e-9))  # length 2 marks every step
    x = torch.stack([(u - 0.5) * math.sqrt(12.0), (marks - share) / deviation], dim=2)
    return x, (u.gather(1, places).sum(1) - 1.0) * math.sqrt(6.0)


def _digits(batch_size: int) -> Task:
    data = load_data("digits")
    inner = data.with_validation()
    mean = inner.X_train.mean(axis=0, dtype="float64")
    deviation = ((inner.X_train - mean) ** 2).mean() ** 0.5
    train, validation, test = (
        (torch.from_numpy((X - mean) / deviation).float().unsqueeze(2), torch.from_numpy(y))
        for X, y in (
            (inner.X_train, inner.y_train),
            (inner.X_test, inner.y_test),
            (data.X_test, data.y_test),
        )
    )
    n = len(train[0])
    if batch_size > n:
        raise DomainError(
            f"batch_size must be at most {n}, the training rows of digits, however: "
            f"batch_size={batch_size}"
        )

    def batches(generator: torch.Generator) -> Iterator[Rows]:
        order = torch.randperm(n, generator=generator)
        for start in range(0, n - batch_size + 1, batch_size):
            rows = order[start : start + batch_size]
            yield train[0][rows], train[1][rows]

    return Task(
        name="digits",
        length=train[0].shape[1],
        in_features=1,
        out_features=10,
        steps_per_epoch=n // batch_size,
        chance=1.0 - data.chance,
        validation=validation,
        test=test,
        batches=batches,
        loss=nn.functional.cross_entropy,
        error=_wrong,
    )


def _squared(out: Tensor, y: Tensor) -> Tensor:
    return (out.squeeze(1) - y).square().mean()


def _wrong(out: Tensor, y: Tensor) -> float:
    return float((out.argmax(1) != y).double().mean())


def _unexplained(out: Tensor, y: Tensor) -> float:
    return float((out.squeeze(1) - y).double().square().mean() / y.double().var(correction=0))
