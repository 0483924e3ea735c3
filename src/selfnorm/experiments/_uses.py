"""What the experiments on SELU's other uses share: train, choose a rate, repeat, measure."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from selfnorm.experiments._parts import Part, run_parts
from selfnorm.experiments._progress import Watch
from selfnorm.experiments._random import generator_for
from selfnorm.experiments._records import ExperimentResult

__all__ = ["Cell", "Fit", "Trial", "fit", "measure", "moments_of", "run_cells"]

_CLIP: Final = 1.0


@dataclasses.dataclass(frozen=True)
class Trial:
    """One way to solve a task: how to build, feed, score and look into its net.

    Attributes
    ----------
    build : callable
        ``build(generator)`` returns a fresh net.
    batches : callable
        ``batches(generator)`` yields the batches of one epoch.
    loss : callable
        ``loss(model, batch)`` is what training lowers.
    validate : callable
        ``validate(model)``: a number that is better when lower; it chooses the learning rate.
    test : callable
        ``test(model)``: the figures of the report, by name.
    probe : callable
        ``probe(model)``: moments by layer or step.
    predict : callable
        ``predict(model)``: the same as theory predicts them for the fresh net; may be empty.
    clip : bool
        Whether gradients are cut to a norm of 1.
    """

    build: Callable[[torch.Generator], nn.Module]
    batches: Callable[[torch.Generator], Iterator[Any]]
    loss: Callable[[nn.Module, Any], Tensor]
    validate: Callable[[nn.Module], float]
    test: Callable[[nn.Module], Mapping[str, Any]]
    probe: Callable[[nn.Module], list[dict[str, float]]]
    predict: Callable[[nn.Module], list[dict[str, float]]]
    clip: bool = False


@dataclasses.dataclass(frozen=True)
class Cell:
    """One row of the record: a trial with its names.

    Attributes
    ----------
    name : str
        Text that tells the cell from all others.
    about : mapping
        What is stored with it: arm, depth, task.
    order : tuple
        Labels of the random order of the data; arms that share them see the same batches.
    trial : Trial
        What is trained.
    """

    name: str
    about: Mapping[str, Any]
    order: tuple[object, ...]
    trial: Trial


@dataclasses.dataclass(frozen=True)
class Fit:
    """What one training left behind.

    Attributes
    ----------
    loss, validation : list of float or None
        By epoch; None from the epoch in which a number stopped being finite.
    seconds : float
        Processor time of the training steps: other work on the machine hardly changes it.
    diverged : dict or None
        Epoch and step, counted from 1, of the first number that was not finite.
    """

    loss: list[float | None]
    validation: list[float | None]
    seconds: float
    diverged: dict[str, int] | None

    @property
    def score(self) -> float:
        """Validation after the last epoch; infinite if the training diverged."""
        last = self.validation[-1]
        return math.inf if last is None else last


def fit(
    model: nn.Module,
    trial: Trial,
    *,
    epochs: int,
    steps: int,
    lr: float,
    generator: torch.Generator,
    on_step: Callable[[int, float, float | None], None] | None = None,
) -> Fit:
    """Train by Adam, whose rate falls from ``lr`` to 0 along half a cosine over ``steps`` steps."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    losses: list[float | None] = []
    validation: list[float | None] = []
    diverged, done, seconds = None, 0, 0.0
    for epoch in range(1, epochs + 1):
        model.train()
        started, total, count = time.process_time(), 0.0, 0
        for batch in trial.batches(generator):
            optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * done / steps)) / 2
            optimizer.zero_grad(set_to_none=True)
            loss = trial.loss(model, batch)
            value = loss.item()
            if not math.isfinite(value):
                diverged = {"epoch": epoch, "step": done + 1}
                break
            loss.backward()  # type: ignore[no-untyped-call]
            if trial.clip:
                nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
            optimizer.step()
            done, total, count = done + 1, total + value, count + 1
            if on_step is not None:
                on_step(epoch, value, None)
        seconds += time.process_time() - started
        if diverged:
            break
        model.eval()
        with torch.no_grad():
            score = trial.validate(model)
        if not math.isfinite(score):
            diverged = {"epoch": epoch, "step": done}
            break
        losses.append(total / count)
        validation.append(score)
    missing: list[float | None] = [None] * (epochs - len(losses))
    return Fit(losses + missing, validation + missing, seconds, diverged)


def run_cells(
    experiment: str,
    cells: Sequence[Cell],
    options: Mapping[str, Any],
    steps: Callable[[Cell], int],
    **how: Any,
) -> ExperimentResult:
    """Train all cells that no interrupted run had finished, and record them.

    Each cell tries all learning rates with the first seed; the best by validation is kept, and
    the other seeds use it. ``steps`` says how many a net of the cell takes; ``how`` is handed on
    to `run_parts`.
    """
    nets = len(options["lrs"]) + options["seeds"] - 1
    return run_parts(
        experiment,
        [
            Part(
                cell.name,
                partial(_run_cell, cell, options, steps(cell)),
                options["epochs"],
                steps(cell) * nets,
            )
            for cell in cells
        ],
        config=options,
        last=lambda done: (done["runs"][0]["loss"][-1], None),
        diverged=lambda done: done["lr"] is None,
        **how,
    )


def _run_cell(cell: Cell, options: Mapping[str, Any], steps: int, watch: Watch) -> dict[str, Any]:
    trial, first = cell.trial, options["seed"]

    def run(seed: int, lr: float) -> tuple[nn.Module, Fit]:
        watch.seed = seed
        model = trial.build(generator_for(seed, cell.name, "weights"))
        order = generator_for(seed, *cell.order, "order")
        return model, fit(
            model,
            trial,
            epochs=options["epochs"],
            steps=steps,
            lr=lr,
            generator=order,
            on_step=watch.step,
        )

    fresh = trial.build(generator_for(first, cell.name, "weights"))
    layers, predicted = trial.probe(fresh), trial.predict(fresh)
    best, model, lr, candidates = None, fresh, options["lrs"][0], []
    for rate in options["lrs"]:
        trained, result = run(first, rate)
        candidates.append({"lr": rate, "validation": result.validation[-1]})
        if best is None or result.score < best.score:
            best, model, lr = result, trained, rate
    assert best is not None
    runs = [_run_record(first, best, model, trial)]
    trained_layers = [] if best.diverged else trial.probe(model)
    if not best.diverged:
        for seed in range(first + 1, first + options["seeds"]):
            model, result = run(seed, lr)
            runs.append(_run_record(seed, result, model, trial))
    return {
        **cell.about,
        "parameters": sum(p.numel() for p in fresh.parameters()),
        "lr": None if best.diverged else lr,
        "candidates": candidates,
        "runs": runs,
        "seconds": sum(run["seconds"] for run in runs) / len(runs),
        "layers": [
            {**found, **foreseen}
            for found, foreseen in zip(layers, predicted or [{}] * len(layers), strict=True)
        ],
        "layers_trained": trained_layers,
    }


def _run_record(seed: int, result: Fit, model: nn.Module, trial: Trial) -> dict[str, Any]:
    test: Mapping[str, Any] = {}
    if not result.diverged:
        model.eval()
        with torch.no_grad():
            test = trial.test(model)
    return {
        "seed": seed,
        "loss": result.loss,
        "validation": result.validation,
        "seconds": result.seconds,
        "diverged": result.diverged,
        "test": dict(test),
    }


def measure(
    model: nn.Module, modules: Sequence[nn.Module], run: Callable[[nn.Module], object]
) -> list[dict[str, float]]:
    """Return the moments of what leaves each module while ``run(model)`` runs once.

    Batch normalisation is measured as in training, and its statistics are left as they were.
    """
    found: list[dict[str, float]] = []
    handles = [
        module.register_forward_hook(lambda _, __, out: found.append(moments_of(out)))
        for module in modules
    ]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    training = model.training
    model.train()
    try:
        with torch.no_grad():
            run(model)
    finally:
        for handle in handles:
            handle.remove()
        model.load_state_dict(state)
        model.train(training)
    return found


def moments_of(out: Tensor) -> dict[str, float]:
    """Return mean, variance, and the part of it by which rows differ, of (rows, units)."""
    wide = out.detach().double().flatten(1)
    return {
        "mean": wide.mean().item(),
        "var": wide.var(correction=0).item(),
        "signal_var": wide.var(dim=0, correction=0).mean().item(),
    }
