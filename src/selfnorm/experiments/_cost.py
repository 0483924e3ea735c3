"""The cost experiment: time and memory of SELU beside ReLU with batch norm."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal

import torch
from torch import nn

from selfnorm.errors import DomainError
from selfnorm.experiments._cost_nets import COST_NETS, build_costed
from selfnorm.experiments._cost_report import render, table_of
from selfnorm.experiments._memory import peak_bytes, saved_bytes
from selfnorm.experiments._options import check_choices, check_integer, check_integers
from selfnorm.experiments._parts import Part, run_parts
from selfnorm.experiments._progress import ProgressCallback, Watch
from selfnorm.experiments._random import generator_for
from selfnorm.experiments._records import ExperimentResult
from selfnorm.experiments._rival_nets import Shape, check_maps
from selfnorm.experiments._turns import quartiles, times_in_turns

__all__ = ["COST_ARMS", "cost"]

COST_ARMS: Final = tuple(COST_NETS)
MODELS: Final = ("mlp", "cnn")
_CLASSES: Final = 10
_CHANNELS: Final = 3
_STAGES: Final = 2
_LEAST_SECONDS: Final = 0.01
_RATE: Final = 1e-6


@dataclasses.dataclass(frozen=True)
class _Size:
    """One net: its kind, hidden layers, and units or channels."""

    model: Literal["mlp", "cnn"]
    depth: int
    width: int

    @property
    def name(self) -> str:
        """Text that tells the size from all others."""
        return f"{self.model}, {self.depth} × {self.width}"


def cost(
    *,
    models: Sequence[str] = MODELS,
    depths: Sequence[int] = (8, 32),
    widths: Sequence[int] = (64, 256, 512),
    channels: Sequence[int] = (8, 16),
    image_size: int = 16,
    batch_size: int = 128,
    dropout: float = 0.05,
    arms: Sequence[str] = COST_ARMS,
    rounds: int = 25,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
) -> ExperimentResult:
    """Time a training step and a prediction, and count bytes, of SELU and batch norm side by side.

    The arms are ``selu`` and ``selu-dropout`` (:class:`selfnorm.nn.LinearSELU` and
    :class:`selfnorm.nn.ConvSELU2d`, without and with alpha dropout), ``torch-selu`` and
    ``torch-selu-dropout`` (torch's own layers, ``nn.SELU``, ``nn.AlphaDropout``), ``relu``,
    ``relu-bn``, ``relu-bn-dropout`` and ``relu-ln``. Torch's activations work in place, and before
    batch norm stands no bias.

    Parameters
    ----------
    models : sequence of {"mlp", "cnn"}
        Fully connected nets, as many inputs as units; nets of 3×3 convolutions in two stages on
        images of three channels.
    depths : sequence of int
        Hidden layers.
    widths, channels : sequence of int
        Units per hidden layer of an MLP; channels of a CNN's first stage.
    image_size : int
        Height and width of the CNN's images.
    batch_size : int
        Rows per step, at least 2, since batch norm needs two.
    dropout : float
        Rate of the arms with dropout, above 0 and below 1.
    arms : sequence of str
        Arms to time, from ``COST_ARMS``.
    rounds : int
        Samples of each time.
    seed : int
        Seed of weights and inputs.
    out : path-like, optional
        Folder for ``result.json``, written after each size, and ``report.html``. If a run was
        interrupted, the same call takes its finished sizes over.
    progress : callable, optional
        Called with a :class:`ProgressEvent` after each round.

    Returns
    -------
    ExperimentResult
        The record, the summary table (one row per size and arm) and the paths of the files.

    Raises
    ------
    DomainError
        If an option is out of its domain, or ``out`` cannot be written.
    MissingDependencyError
        If ``out`` is given and the packages that draw the report are not installed.

    Notes
    -----
    A step is forward and backward pass of the mean cross-entropy and fused SGD, in float32 and one
    thread, on random inputs, in CPU time of that thread (on an idle machine the time that passes;
    on a busy one without the waiting); a prediction is the forward pass in eval mode without
    gradients. All arms are timed in turns in one process: in each round each takes one sample of
    about 10 ms or one call, and each round begins with another arm. Stated are medians and
    quartiles, and the
    median of the ratios to ``relu-bn`` round by round, which a slow machine moves least.

    ``record["arms"]`` holds one entry per size with ``results`` by arm: ``step`` and ``forward``
    (lower quartile, median, upper quartile in seconds), ``step_ratio`` and ``forward_ratio`` (the
    same of the ratios to ``relu-bn``, None without that arm), ``saved_bytes`` (what autograd keeps
    of a forward pass, inputs and parameters not counted) and ``peak_bytes`` (the growth of torch's
    allocations in forward and backward pass, gradients included).

    Examples
    --------
    >>> from selfnorm.experiments import cost
    >>> result = cost(models=["mlp"], depths=[2], widths=[16], rounds=2, batch_size=8)
    >>> [size["name"] for size in result.record["arms"]]
    ['mlp, 2 × 16']
    """
    options: dict[str, Any] = {
        "models": check_choices("models", models, MODELS),
        "depths": check_integers("depths", depths),
        "widths": check_integers("widths", widths),
        "channels": check_integers("channels", channels),
        "image_size": check_integer("image_size", image_size),
        "batch_size": check_integer("batch_size", batch_size, minimum=2),
        "dropout": _check_rate(dropout),
        "arms": check_choices("arms", arms, COST_ARMS),
        "rounds": check_integer("rounds", rounds),
        "seed": check_integer("seed", seed, minimum=0),
    }
    sizes = list(_sizes(options))
    for size in sizes:
        if size.model == "cnn":
            check_maps(_shape(size, options))
    return run_parts(
        "cost",
        [
            Part(size.name, partial(_run_size, size, options), 1, 2 * options["rounds"])
            for size in sizes
        ],
        config=options,
        choice=("models", "depths", "widths", "channels"),
        out=out,
        render=render,
        table_of=table_of,
        progress=progress,
        last=lambda done: (None, None),
    )


def _check_rate(value: object) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1
    if not good:
        raise DomainError(
            f"dropout must be a number above 0 and below 1, however: dropout={value!r}"
        )
    return float(value)  # type: ignore[arg-type]


def _sizes(options: Mapping[str, Any]) -> Iterator[_Size]:
    for model in options["models"]:
        for depth in options["depths"]:
            for width in options["widths" if model == "mlp" else "channels"]:
                yield _Size(model, depth, width)


def _shape(size: _Size, options: Mapping[str, Any]) -> Shape:
    side = options["image_size"]
    image = (1, 1, size.width) if size.model == "mlp" else (_CHANNELS, side, side)
    stages = min(_STAGES, size.depth)
    return Shape(size.model, image, size.depth, size.width, _CLASSES, stages=stages)


def _run_size(size: _Size, options: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    """Measure all arms of one size."""
    shape = _shape(size, options)
    generator = generator_for(options["seed"], size.name, "inputs")
    form = (math.prod(shape.image),) if size.model == "mlp" else shape.image
    X = torch.randn(options["batch_size"], *form, generator=generator)
    y = torch.randint(_CLASSES, (options["batch_size"],), generator=generator)
    nets = {
        name: build_costed(
            COST_NETS[name],
            shape,
            options["dropout"],
            generator_for(options["seed"], size.name, name),
        )
        for name in options["arms"]
    }
    memory = {name: _memory(net, X, y) for name, net in nets.items()}

    def tick() -> None:
        watch.step(1, None, None)

    timing = {"rounds": options["rounds"], "least_seconds": _LEAST_SECONDS, "on_round": tick}
    steps = times_in_turns({name: _step(net, X, y) for name, net in nets.items()}, **timing)
    for net in nets.values():
        net.eval()
    with torch.no_grad():
        forwards = times_in_turns({name: _forward(net, X) for name, net in nets.items()}, **timing)
    return {
        "model": size.model,
        "depth": size.depth,
        "width": size.width,
        "results": {
            name: {
                "step": quartiles(steps[name]),
                "step_ratio": _ratios(steps, name),
                "forward": quartiles(forwards[name]),
                "forward_ratio": _ratios(forwards, name),
                **memory[name],
            }
            for name in nets
        },
    }


def _step(net: nn.Module, X: torch.Tensor, y: torch.Tensor) -> Any:
    optimizer = torch.optim.SGD(net.parameters(), lr=_RATE, momentum=0.9, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(nn.functional.cross_entropy(net(X), y))
        optimizer.step()

    return step


def _forward(net: nn.Module, X: torch.Tensor) -> Any:
    return lambda: net(X)


def _memory(net: nn.Module, X: torch.Tensor, y: torch.Tensor) -> dict[str, int]:
    existing = [X, y, *net.parameters(), *net.buffers()]

    def forward() -> torch.Tensor:
        return nn.functional.cross_entropy(net(X), y)

    def step() -> None:
        torch.autograd.backward(forward())
        net.zero_grad(set_to_none=True)

    return {"saved_bytes": saved_bytes(forward, existing), "peak_bytes": peak_bytes(step)}


def _ratios(samples: Mapping[str, list[float]], name: str) -> tuple[float, float, float] | None:
    """Return the quartiles of the ratios to batch norm, round by round."""
    rival = samples.get("relu-bn")
    if rival is None:
        return None
    return quartiles([one / other for one, other in zip(samples[name], rival, strict=True)])
