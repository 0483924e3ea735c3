"""What watching a training costs: `selfnorm.diagnosis.Monitor` at several rates.

A run is 100 steps of eager training (forward, backward, AdamW) of a SELU net, the time is that of a
step; ``every=100`` measures once in a run, ``every=1`` tells what measuring costs. The same with
`selfnorm.nn.keep_row_norms`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence

import torch
from torch import nn

import selfnorm.nn
from benchmarks._harness import Case, Goal, Provider
from selfnorm.diagnosis import Monitor

STEPS = 100  # seconds of the processor: differences of a percent drown in the wall's
SIZES = ((8, 32, 64), (8, 128, 256), (50, 128, 128), (4, 128, 1024))  # layers, batch, width
PLAIN, WATCHED, ALWAYS, KEPT = "no monitor", "every=100", "every=1", "keep_row_norms"


def cases() -> list[Case]:
    """List the cases in the order of the table."""
    return [
        Case(
            f"{depth} × {width}, {batch} rows",
            functools.partial(_providers, depth, batch, width),
            items=STEPS,
            item="step",
            clock=time.process_time,
            clock_name="cpu",
            goals=(Goal(WATCHED, 1.03, PLAIN),),
            relative_to=PLAIN,
            large=width > 64,
        )
        for depth, batch, width in SIZES
    ]


def _providers(depth: int, batch: int, width: int) -> Sequence[Provider]:
    run = functools.partial(_run, depth, batch, width)
    return [
        Provider(PLAIN, run(None, False)),
        Provider(WATCHED, run(100, False)),
        Provider(ALWAYS, run(1, False)),
        Provider(KEPT, run(None, True)),
    ]


def _run(depth: int, batch: int, width: int, every: int | None, keep: bool) -> Callable[[], object]:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), selfnorm.nn.SELU()]
    net = selfnorm.init.initialize_(nn.Sequential(*layers, nn.Linear(width, 10)))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    if keep:
        selfnorm.nn.keep_row_norms(net, optimizer)
    if every is not None:
        Monitor(net, every=every, optimizer=optimizer, warn=False, log=lambda record: None)
    x, y = torch.randn(batch, width), torch.randint(0, 10, (batch,))

    def steps() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(net(x), y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return steps
