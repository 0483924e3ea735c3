"""The training engine: milliseconds per step, beside eager PyTorch and the products alone.

All providers take the same steps: SELU, alpha dropout 0.05, cross-entropy of 10 classes, fused
AdamW. A call of a provider is one epoch of `STEPS` steps; the time is per step.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

import selfnorm as sn
from benchmarks._harness import Case, Goal, Provider
from benchmarks._memory import cannot_measure_peak, peak_of_training
from selfnorm.train._intake import load_rows
from selfnorm.train._ranks import Ranks
from selfnorm.train._run import Run

STEPS = 32
CLASSES = 10
RATE = 0.05
# batch, width, hidden layers, how many times faster than eager we want to be
NETS = [(32, 64, 8, 8.0), (128, 128, 8, 4.0), (128, 256, 8, 3.0), (128, 1024, 4, 1.2)]
NETS += [(128, 512, 50, 1.2)]
MEMBERS = 16
TOGETHER = f"selfnorm, {MEMBERS} members"


def rows(batch: int, width: int, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    X = torch.randn(steps * batch, width, generator=g)
    return X, torch.randint(0, CLASSES, (len(X),), generator=g)


def eager(net: nn.Module, batch: int, steps: int) -> Callable[[], None]:
    """Return an epoch of a usual training loop."""
    X, y = rows(batch, next(net.parameters()).shape[1], steps)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, weight_decay=0.0, fused=True)

    def epoch() -> None:
        for index in torch.split(torch.randperm(len(X)), batch):
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(nn.functional.cross_entropy(net(X[index]), y[index]))
            optimizer.step()

    return epoch


def plain(width: int, depth: int) -> nn.Module:
    """Return the network from torch's own modules."""
    blocks = [(nn.Linear(width, width), nn.SELU(), nn.AlphaDropout(RATE)) for _ in range(depth)]
    for linear, *_ in blocks:
        nn.init.kaiming_normal_(linear.weight, nonlinearity="linear")
        nn.init.zeros_(linear.bias)
    return nn.Sequential(*itertools.chain.from_iterable(blocks), nn.Linear(width, CLASSES))


def snn(width: int, depth: int) -> nn.Module:
    g = torch.Generator().manual_seed(0)
    return sn.nn.SNN(width, CLASSES, width=width, depth=depth, dropout=RATE, generator=g)


def engine(batch: int, width: int, depth: int, steps: int, members: int) -> Callable[[], None]:
    """Return an epoch of the engine, without the beginning and the end of a training."""
    X, y = rows(batch, width, steps)
    trainer = sn.train.Trainer(
        sn.train.Architecture((width, *(width,) * depth, CLASSES), dropout=RATE),
        members=members,
        optimizer=sn.train.AdamW(lr=1e-4),
        epochs=1_000_000,
        batch_size=batch,
    )
    settings = trainer._settings
    data = load_rows(settings, X, y)
    run = Run(settings, data, None, "", trainer._start, Ranks())
    run.start()

    def epoch() -> None:
        run._step = 0
        if run._group is None or run._run_epoch(run._group) is not None:
            raise ArithmeticError("the training diverged")

    return epoch


def products(batch: int, width: int, depth: int, steps: int) -> Callable[[], None]:
    """Return the three products of each hidden layer, into given memory."""
    x, d, out = (torch.randn(batch, width) for _ in range(3))
    weights = [torch.randn(width, width) for _ in range(depth)]
    gradient = torch.empty(width, width)

    @torch.inference_mode()
    def epoch() -> None:
        for _ in range(steps):
            for w in weights:
                torch.mm(x, w.T, out=out)
                torch.mm(d.T, x, out=gradient)
                torch.mm(d, w, out=out)

    return epoch


def threaded(run: Callable[[], object], threads: int) -> Callable[[], object]:
    def with_threads() -> None:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        run()

    return with_threads


def sklearn_mlp(batch: int, width: int, depth: int, steps: int) -> Provider:
    """Return scikit-learn's network: ReLU, no dropout, Adam; without the last layer's softmax."""
    name = "scikit-learn (ReLU, no dropout)"
    try:
        from sklearn.neural_network import MLPClassifier
    except ImportError:
        return Provider(name, lambda: None, absent="it is not installed")
    X, y = (t.numpy() for t in rows(batch, width, steps))
    net = MLPClassifier((width,) * depth, batch_size=batch, random_state=0)
    classes = np.arange(CLASSES)

    def epoch() -> None:
        # A call of partial_fit is one pass over what it gets.
        net.partial_fit(X, y, classes=classes)

    # NumPy's products have threads of their own.
    return Provider(name, epoch, rest=0.1)


def providers(batch: int, width: int, depth: int, steps: int, threads: int) -> list[Provider]:
    """Return who is compared at one size."""
    size = (batch, width, depth, steps)
    found = [
        Provider("selfnorm", engine(*size, members=1)),
        Provider("eager torch", eager(plain(width, depth), batch, steps)),
        Provider("eager SNN", eager(snn(width, depth), batch, steps)),
        Provider("products alone", products(*size), floor=True),
    ]
    if width == NETS[0][1]:
        found.append(Provider(TOGETHER, engine(*size, MEMBERS)))
    if width <= 256:
        found.append(sklearn_mlp(*size))
    return [dataclasses.replace(p, run=threaded(p.run, threads)) for p in found]


def _time(batch: int, width: int, depth: int, factor: float, threads: int) -> Case:
    large = width * depth >= 4096
    steps = 2 if large else STEPS
    goals = [Goal("selfnorm", 1.0 / factor, "eager torch")]
    if width == NETS[0][1]:
        goals.append(Goal(TOGETHER, 1.0, "eager torch"))
    elif not large:
        goals.append(Goal("selfnorm", 1.6, "products alone"))
    return Case(
        f"{batch} rows, {depth} layers of {width}, threads {threads}",
        functools.partial(providers, batch, width, depth, steps, threads),
        items=steps,
        item="step",
        goals=goals,
        relative_to="products alone",
        large=large,
    )


def _cost(what: str, batch: int, width: int, depth: int, members: int) -> Case:
    """Make a case of the engine alone, to see how its cost grows."""

    def found() -> list[Provider]:
        run = engine(batch, width, depth, 4, members)
        return [Provider("selfnorm", threaded(run, 1))]

    counts = {"rows": batch, "layers": depth, "members": members}
    return Case(f"cost by {what}: {counts[what]}", found, items=4, item="step", large=True)


def _peak(batch: int, width: int, depth: int) -> Case:
    def provider(name: str) -> Provider:
        arguments = (name, batch, width, depth)
        run = functools.partial(peak_of_training, "benchmarks.train", *arguments)
        return Provider(name, run, absent=cannot_measure_peak())

    return Case(
        f"{batch} rows, {depth} layers of {width}, peak memory",
        [provider(name) for name in ("selfnorm", "eager torch", "eager SNN")],
        unit="B",
        item="training",
        goals=[Goal("selfnorm", 0.5, "eager torch")],
        relative_to="eager torch",
        large=True,
    )


def memory_training(name: str, batch: int, width: int, depth: int) -> Callable[[], None]:
    """Return what builds a network and takes two steps."""
    torch.set_num_threads(1)

    def train() -> None:
        if name == "selfnorm":
            engine(batch, width, depth, 2, members=1)()
        else:
            net = (plain if name == "eager torch" else snn)(width, depth)
            eager(net, batch, 2)()

    return train


def cases() -> list[Case]:
    """Return what is measured: times with 1 and 2 threads, memory, how the cost grows."""
    found = [_time(*net, threads) for threads, net in itertools.product((1, 2), NETS)]
    found += [_peak(128, 512, 50), _peak(1024, 128, 50)]
    found += [_cost("rows", n, 128, 8, 1) for n in (16, 32, 64, 128, 256, 512, 1024)]
    found += [_cost("layers", 128, 128, n, 1) for n in (2, 4, 8, 16, 32, 64, 128)]
    found += [_cost("members", 32, 64, 8, n) for n in (1, 2, 4, 8, 16, 32, 64)]
    return found
