"""The weight-decay experiment: it pulls SELU nets out of the range they need, or does it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal

import torch
from torch import nn

from selfnorm import init, theory
from selfnorm import nn as snn
from selfnorm.diagnosis import Monitor
from selfnorm.experiments._options import check_choices, check_integer, check_positive
from selfnorm.experiments._parts import Part, run_parts
from selfnorm.experiments._progress import ProgressCallback, Watch
from selfnorm.experiments._random import generator_for
from selfnorm.experiments._records import ExperimentResult
from selfnorm.experiments._tasks import TASKS, Task, fit
from selfnorm.experiments._weight_decay_report import render, table_of

__all__ = ["DECAY_ARMS", "DecayArm", "weight_decay"]


@dataclasses.dataclass(frozen=True)
class DecayArm:
    """An optimiser with a weight decay, or with rows kept at length 1.

    Attributes
    ----------
    optimizer : {"sgd", "adamw"}
        SGD with momentum .9, or AdamW.
    decay : float
        The optimiser's weight decay.
    keep : {"", "project", "pull"}
        Whether `selfnorm.nn.keep_row_norms` sets rows to length 1, or pulls them there.
    """

    optimizer: Literal["sgd", "adamw"]
    decay: float
    keep: Literal["", "project", "pull"] = ""

    @property
    def name(self) -> str:
        """The arm in a word."""
        return f"{self.optimizer}-{self.keep or f'{self.decay:g}'}"


DECAY_ARMS: Final = {
    arm.name: arm
    for arm in (
        *(DecayArm("sgd", decay) for decay in (0.0, 1e-4, 1e-3, 1e-2, 1e-1)),
        DecayArm("sgd", 0.0, "pull"),
        DecayArm("sgd", 0.0, "project"),
        *(DecayArm("adamw", decay) for decay in (0.0, 1e-2, 1e-1, 1.0)),
        DecayArm("adamw", 0.0, "project"),
    )
}
_PULL: Final = 0.1  # strength of "pull"
RANGE: Final = theory.weight_scale_range("selu", form="mean_field") or (0.0, 0.0)


def weight_decay(
    *,
    depth: int = 16,
    width: int = 64,
    epochs: int = 30,
    batch_size: int = 64,
    lr_sgd: float = 0.01,
    lr_adamw: float = 0.002,
    seed: int = 0,
    seeds: int = 3,
    arms: Sequence[str] = tuple(DECAY_ARMS),
    out: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
) -> ExperimentResult:
    """Train SELU nets with weight decays from 0 to 1 and watch the sums of squared weights.

    SELU holds the variance of independent weights only where the squares of a unit's weights sum
    to a τ between .477 and 1.81 (:func:`selfnorm.theory.weight_scale_range`). Each arm is an
    optimiser with a weight decay; ``-project`` and ``-pull`` keep rows at length 1 instead
    (:func:`selfnorm.nn.keep_row_norms`).

    Parameters
    ----------
    depth, width : int
        Hidden layers and units in each.
    epochs, batch_size : int
        Passes over the training rows, and rows per step.
    lr_sgd, lr_adamw : float
        Learning rates, constant. Decay over a training goes with rate × decay × steps.
    seed, seeds : int
        First seed, and how many.
    arms : sequence of str
        Arms to train.
    out : path-like, optional
        Folder for ``result.json`` and ``report.html``, written after each finished arm. The same
        call takes an interrupted run's finished arms over.
    progress : callable, optional
        Called with a :class:`ProgressEvent` after each step.

    Returns
    -------
    ExperimentResult
        ``record["arms"]``: per arm ``accuracy_by_seed`` and ``loss_by_seed`` (by epoch), and
        by epoch ``tau`` (mean over seeds; mean over hidden layers), ``tau_by_layer`` and
        ``var_by_layer`` (first seed; last epoch), ``var_last`` (mean over seeds), ``left_epoch``
        (first epoch in which the mean τ of a seed's net lies out of the range, by seed).

    Raises
    ------
    DomainError
        If an option lies outside its domain, or ``out`` cannot be written.
    MissingDependencyError
        If ``out`` is given and the packages that draw the report are not installed.

    Notes
    -----
    Data are scikit-learn's digits, standardised. Torch computes in one thread. Runs with the same
    options on the same machine give the same record, times and date apart.

    References
    ----------
    .. [1] Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks", NeurIPS
       2017, arXiv:1706.02515.

    Examples
    --------
    >>> from selfnorm.experiments import weight_decay
    >>> result = weight_decay(depth=2, width=8, epochs=1, seeds=1, arms=["sgd-0.1", "sgd-project"])
    >>> [arm["name"] for arm in result.record["arms"]]
    ['sgd-0.1', 'sgd-project']
    """
    chosen = check_choices("arms", arms, tuple(DECAY_ARMS))
    config: dict[str, Any] = {
        "depth": check_integer("depth", depth, minimum=2),
        "width": check_integer("width", width),
        "epochs": check_integer("epochs", epochs),
        "batch_size": check_integer("batch_size", batch_size, minimum=2),
        "lr_sgd": check_positive("lr_sgd", lr_sgd),
        "lr_adamw": check_positive("lr_adamw", lr_adamw),
        "seed": check_integer("seed", seed, minimum=0),
        "seeds": check_integer("seeds", seeds),
        "arms": chosen,
        "pull": _PULL,
    }
    task = TASKS["digits"]()
    steps = epochs * (len(task.train[0]) // batch_size)
    return run_parts(
        "weight-decay",
        [
            Part(name, partial(_run, DECAY_ARMS[name], task, config), epochs, steps * seeds)
            for name in chosen
        ],
        config=config,
        choice=("arms",),
        out=out,
        render=render,
        table_of=table_of,
        progress=progress,
        last=lambda done: (done["loss_by_seed"][-1][-1], done["accuracy_by_seed"][-1][-1]),
    )


def _run(arm: DecayArm, task: Task, config: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    runs = []
    for seed in range(config["seed"], config["seed"] + config["seeds"]):
        watch.seed = seed
        runs.append(_train(arm, task, config, seed, watch))
    epochs = range(config["epochs"])
    first = runs[0]["layers"]
    return {
        **dataclasses.asdict(arm),
        "accuracy_by_seed": [run["accuracy"] for run in runs],
        "loss_by_seed": [run["loss"] for run in runs],
        "tau": [_mean([run["tau"][e] for run in runs if e < len(run["tau"])]) for e in epochs],
        "var_last": _mean([run["layers"][-1]["var"] for run in runs if run["layers"]]),
        "tau_by_layer": [layer["weight_sumsq"] for layer in first],
        "var_by_layer": [layer["var"] for layer in first],
        "mean_by_layer": [layer["mean"] for layer in first],
        "left_epoch": [run["left"] for run in runs],
        "drifted_layers": [run["drifted"] for run in runs],
    }


def _train(
    arm: DecayArm, task: Task, config: Mapping[str, Any], seed: int, watch: Watch
) -> dict[str, Any]:
    model = build(config["depth"], config["width"], generator_for(seed, "weights"))
    if arm.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(
            model.parameters(), lr=config["lr_sgd"], momentum=0.9, weight_decay=arm.decay
        )
    else:
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=config["lr_adamw"], weight_decay=arm.decay
        )
    if arm.keep:
        snn.keep_row_norms(model, optimizer, decay=_PULL if arm.keep == "pull" else None)
    per_epoch = len(task.train[0]) // config["batch_size"]
    with Monitor(model, every=per_epoch, warn=False, keep=config["epochs"] + 1) as monitor:
        history = fit(
            model,
            task,
            optimizer=optimizer,
            epochs=config["epochs"],
            batch_size=config["batch_size"],
            generator=generator_for(seed, "order"),
            on_step=watch.step,
            after_step=monitor.step,
        )
        with torch.no_grad():
            model(task.train[0])  # measured as the first step of one more epoch
        monitor.step()
    hidden = [record["layers"][:-1] for record in monitor.records][1:]
    tau = [_mean([layer["weight_sumsq"] for layer in layers]) for layers in hidden]
    low, high = RANGE
    left = [e + 1 for e, value in enumerate(tau) if value is None or not low < value < high]
    return {
        "accuracy": history.score,
        "loss": history.loss,
        "tau": tau,
        "layers": hidden[-1] if hidden else [],
        "left": left[0] if left else None,
        "drifted": len(monitor.findings),
    }


def build(depth: int, width: int, generator: torch.Generator) -> nn.Sequential:
    """Return a SELU net for digits with LeCun normal weights."""
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [nn.Linear(64 if index == 0 else width, width), snn.SELU()]
    return init.initialize_(nn.Sequential(*layers, nn.Linear(width, 10)), generator=generator)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
