"""How fast the parts are on this machine, beside PyTorch's own."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Final

import torch

from selfnorm import nn, train
from selfnorm.errors import DomainError
from selfnorm.experiments._environment import one_thread
from selfnorm.experiments._turns import quartiles, times_in_turns

__all__ = ["BENCH_TASKS", "BenchRow", "bench"]

_RATE: Final = 0.05
_CLASSES: Final = 10
_STEPS: Final = 64  # of a pass of the engine, and of the loop beside it
OURS: Final = "selfnorm"

Jobs = dict[str, Callable[[], object]]


@dataclasses.dataclass(frozen=True)
class BenchRow:
    """The time of one provider in one task.

    Attributes
    ----------
    task : str
        What is done once.
    provider : str
        Who does it; ``"selfnorm"`` or what stands beside it.
    lower, median, upper : float
        Quartiles of the samples, seconds of processor time, one thread.
    factor : float
        The median of the ratio to selfnorm's time in the same round: above 1, selfnorm is faster.
    """

    task: str
    provider: str
    lower: float
    median: float
    upper: float
    factor: float


def bench(*, tasks: tuple[str, ...] | None = None, rounds: int = 15) -> list[BenchRow]:
    """Measure layers, networks and the training engine on this machine, in turns with PyTorch.

    Parameters
    ----------
    tasks : tuple of str, optional
        Which of `BENCH_TASKS`. Default: all.
    rounds : int
        Samples of each, at least 1; all take turns in each round.

    Returns
    -------
    list of BenchRow
        In the order of the tasks, selfnorm first.

    Raises
    ------
    DomainError
        If a task is unknown or ``rounds`` is no positive integer.

    Examples
    --------
    >>> rows = bench(tasks=("selu",), rounds=1)
    >>> [row.provider for row in rows], rows[0].factor
    (['selfnorm', 'torch.nn'], 1.0)
    """
    chosen = tuple(_TASKS) if tasks is None else tasks
    for name in chosen:
        if name not in _TASKS:
            raise DomainError(f"tasks must be of {list(_TASKS)}, however: tasks has {name!r}")
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise DomainError(f"rounds must be an integer of at least 1, however: rounds={rounds!r}")
    rows: list[BenchRow] = []
    with one_thread():
        for name in chosen:
            title, make = _TASKS[name]
            samples = times_in_turns(make(), rounds=rounds, least_seconds=0.02)
            ours = samples[OURS]
            for provider, times in samples.items():
                ratios = [other / own for other, own in zip(times, ours, strict=True)]
                rows.append(BenchRow(title, provider, *quartiles(times), quartiles(ratios)[1]))
    return rows


def _elementwise(dropout: float) -> Jobs:
    ours: list[torch.nn.Module] = [nn.SELU()]
    torchs: list[torch.nn.Module] = [torch.nn.SELU()]
    if dropout:
        ours.append(nn.AlphaDropout(dropout))
        torchs.append(torch.nn.AlphaDropout(dropout))
    x = torch.randn(1 << 18, generator=torch.Generator().manual_seed(0)).requires_grad_()
    grad = torch.ones(1 << 18)
    return {
        OURS: _pass(torch.nn.Sequential(*ours), x, grad),
        "torch.nn": _pass(torch.nn.Sequential(*torchs), x, grad),
    }


def _pass(module: torch.nn.Module, x: torch.Tensor, grad: torch.Tensor) -> Callable[[], object]:
    return lambda: torch.autograd.grad(module(x), x, grad)


def _network(rows: int, width: int, depth: int) -> Jobs:
    x, y = _batch(rows, width)
    nets = {
        OURS: nn.SNN(width, _CLASSES, width=width, depth=depth, dropout=_RATE),
        "torch.nn, SELU + AlphaDropout": _stack(width, depth, norm=False),
        "torch.nn, ReLU + BatchNorm + Dropout": _stack(width, depth, norm=True),
    }
    return {name: _step(net, x, y) for name, net in nets.items()}


def _step(net: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> Callable[[], object]:
    parameters = list(net.parameters())
    return lambda: torch.autograd.grad(torch.nn.functional.cross_entropy(net(x), y), parameters)


def _engine(rows: int, width: int, depth: int) -> Jobs:
    x, y = _batch(rows * _STEPS, width)
    trainer = train.Trainer(
        train.Architecture((width, *(width,) * depth, _CLASSES), dropout=_RATE),
        optimizer=train.AdamW(lr=1e-4),
        batch_size=rows,
    )
    net = _stack(width, depth, norm=False)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, weight_decay=0.0, fused=True)

    def loop() -> None:
        for index in torch.split(torch.randperm(len(x)), rows):
            optimizer.zero_grad(set_to_none=True)
            loss = torch.nn.functional.cross_entropy(net(x[index]), y[index])
            torch.autograd.backward(loss)
            optimizer.step()

    return {OURS: lambda: trainer.partial_fit(x, y), "torch, fused AdamW": loop}


def _stack(width: int, depth: int, *, norm: bool) -> torch.nn.Module:
    """Return the network of torch's modules, written in the cheapest way."""
    layers: list[torch.nn.Module] = []
    for _ in range(depth):
        layers.append(torch.nn.Linear(width, width, bias=not norm))
        if norm:
            layers += [torch.nn.BatchNorm1d(width), torch.nn.ReLU(inplace=True)]
            layers.append(torch.nn.Dropout(_RATE))
        else:
            layers += [torch.nn.SELU(), torch.nn.AlphaDropout(_RATE)]
    return torch.nn.Sequential(*itertools.chain(layers, [torch.nn.Linear(width, _CLASSES)]))


def _batch(rows: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.randn(rows, width, generator=g), torch.randint(_CLASSES, (rows,), generator=g)


_TASKS: Final[dict[str, tuple[str, Callable[[], Jobs]]]] = {
    "selu": ("SELU of 262,144 numbers, forward and backward", lambda: _elementwise(0.0)),
    "dropout": ("the same with alpha dropout", lambda: _elementwise(_RATE)),
    "network": (
        "8 layers of 256 on 128 rows, alpha dropout, forward and backward",
        lambda: _network(128, 256, 8),
    ),
    "engine": (
        f"{_STEPS} training steps, 8 layers of 64 on 32 rows, AdamW",
        lambda: _engine(32, 64, 8),
    ),
}
BENCH_TASKS: Final = tuple(_TASKS)
