"""Whole networks in training: SELU against ReLU + BatchNorm, in time and in memory.

A step is forward and backward pass of the mean cross-entropy in eager autograd, in float32, with
the gradients set to None before; ten classes, as many inputs as units in a layer. Ours is
`selfnorm.nn.SNN` as it comes. The others are built of torch's own modules in their usual order and
at their best: no bias before BatchNorm, which has one itself, and ReLU in place.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812  the name that everybody uses
from torch import Tensor, nn

import selfnorm.nn
from benchmarks._harness import Case, Goal, Provider
from benchmarks._memory import cannot_measure_peak, peak_growth, saved_bytes

CLASSES, RATE = 10, 0.05
SIZES = ((32, 64), (128, 128), (128, 256), (128, 512), (512, 1024))  # batch, width
DEPTHS = (8, 50)
THREADS = (1, 2)

OURS, RIVAL, TORCH = "selfnorm.nn.SNN", "torch ReLU + BatchNorm", "torch SELU"
PLAIN = "torch ReLU, no norm"
LINEAR = "nn.Linear alone"

Step = Callable[[], None]


def cases() -> list[Case]:
    """List the cases in the order of the table."""
    nets = [
        (depth, batch, width, p)
        for depth in DEPTHS
        for batch, width in SIZES
        if depth == 8 or width < 1024
        for p in (0.0, RATE)
    ]
    return [
        *(_time(*net, threads) for threads in THREADS for net in nets),
        *(_time(depth, 128, 256, RATE, t, adamw=True) for t in THREADS for depth in DEPTHS),
        *(_saved(*net) for net in nets),
        *(_peak(*net) for net in nets),
    ]


# ---- the networks ----------------------------------------------------------------------------


def _blocks(name: str, width: int, p: float) -> list[nn.Module]:
    """Return the modules of one hidden layer."""
    if name == RIVAL:
        linear = nn.Linear(width, width, bias=False)
        blocks: list[nn.Module] = [linear, nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
        dropout: nn.Module = nn.Dropout(p)
    elif name == TORCH:
        blocks, dropout = [nn.Linear(width, width), nn.SELU()], nn.AlphaDropout(p)
    elif name == PLAIN:
        blocks, dropout = [nn.Linear(width, width), nn.ReLU(inplace=True)], nn.Dropout(p)
    else:
        return [nn.Linear(width, width)]
    return [*blocks, dropout] if p else blocks


def _net(name: str, depth: int, width: int, p: float) -> nn.Module:
    torch.manual_seed(depth * width)  # Torch's modules know no other generator.
    if name == OURS:
        return selfnorm.nn.SNN(width, CLASSES, width=width, depth=depth, dropout=p)
    hidden = itertools.chain.from_iterable(_blocks(name, width, p) for _ in range(depth))
    net = nn.Sequential(*hidden, nn.Linear(width, CLASSES))
    for layer in net:
        if isinstance(layer, nn.Linear):  # He's gain for ReLU, SELU's 1: numbers stay normal.
            gain = 2.0 if name in (RIVAL, PLAIN) else 1.0
            nn.init.normal_(layer.weight, std=(gain / layer.in_features) ** 0.5)
    return net


def _task(batch: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(batch * width)
    x = torch.randn(batch, width, generator=generator)
    return x, torch.randint(CLASSES, (batch,), generator=generator)


def _step(name: str, depth: int, batch: int, width: int, p: float, *, adamw: bool = False) -> Step:
    net, (x, y) = _net(name, depth, width, p), _task(batch, width)
    parameters = list(net.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-6, fused=True) if adamw else None

    def step() -> None:
        torch.autograd.backward(F.cross_entropy(net(x), y))
        if optimizer is not None:
            optimizer.step()
        for parameter in parameters:
            parameter.grad = None

    return step


# ---- the cases -------------------------------------------------------------------------------


def _name(depth: int, batch: int, width: int, p: float) -> str:
    return f"{depth} layers, {batch} x {width}{f', dropout {p}' if p else ''}"


def _time(
    depth: int, batch: int, width: int, p: float, threads: int, *, adamw: bool = False
) -> Case:
    def providers() -> list[Provider]:
        torch.set_num_threads(threads)
        return [
            Provider(name, _step(name, depth, batch, width, p, adamw=adamw), floor=floor)
            for name, floor in _arms()
        ]

    what = "forward + backward" + (" + fused AdamW" if adamw else "")
    count = f"{threads} thread{'s' if threads > 1 else ''}"
    return Case(
        f"{_name(depth, batch, width, p)}, {what}, {count}",
        providers,
        item="step",
        goals=[Goal(OURS, 1.0, RIVAL)],
        relative_to=RIVAL,
        large=width > 64 or depth > 8 or threads > 1,
    )


def _arms() -> list[tuple[str, bool]]:
    """Return the networks, and whether they do less than is asked."""
    return [(OURS, False), (RIVAL, False), (TORCH, False), (PLAIN, True), (LINEAR, True)]


def _saved(depth: int, batch: int, width: int, p: float) -> Case:
    """Make the case of what autograd keeps, parameters and inputs not counted."""

    def saved(name: str) -> int:
        net, (x, y) = _net(name, depth, width, p), _task(batch, width)
        existing = [x, y, *net.parameters(), *net.buffers()]
        return saved_bytes(lambda: F.cross_entropy(net(x), y), existing)

    return Case(
        f"{_name(depth, batch, width, p)}, saved for backward",
        [Provider(name, functools.partial(saved, name), floor=floor) for name, floor in _arms()],
        unit="B",
        item="step",
        goals=[Goal(OURS, 1.0, RIVAL)],
        relative_to=RIVAL,
        large=width > 64 or depth > 8,
    )


def _peak(depth: int, batch: int, width: int, p: float) -> Case:
    """Make the case of how far a process grows in a step, gradients included."""

    def provider(name: str) -> Provider:
        arguments = (name, depth, batch, width, p)
        run = functools.partial(peak_growth, "benchmarks.nets", *arguments)
        return Provider(name, run, absent=cannot_measure_peak())

    return Case(
        f"{_name(depth, batch, width, p)}, peak growth",
        # A process takes seconds to start: the floors are left to the other rows.
        [provider(name) for name, floor in _arms() if not floor],
        unit="B",
        item="step",
        goals=[Goal(OURS, 1.0, RIVAL)],
        relative_to=RIVAL,
        large=True,
    )


def memory_step(name: str, depth: int, batch: int, width: int, p: float) -> Step:
    """Return the step whose growth `peak_growth` measures."""
    torch.set_num_threads(1)
    return _step(name, depth, batch, width, p)
