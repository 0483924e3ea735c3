"""The faults experiment: sick nets, what the check says of them, and what its fix changes."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import torch
from torch import nn

from selfnorm import diagnosis
from selfnorm import nn as snn
from selfnorm.experiments._faults_nets import FAULTS, Case
from selfnorm.experiments._faults_public import PUBLIC
from selfnorm.experiments._faults_report import render, table_of
from selfnorm.experiments._options import check_choices, check_integer, check_positive
from selfnorm.experiments._parts import Part, run_parts
from selfnorm.experiments._progress import ProgressCallback, Watch
from selfnorm.experiments._random import generator_for
from selfnorm.experiments._records import ExperimentResult
from selfnorm.experiments._tasks import TASKS, Task, fit

__all__ = ["CASES", "faults"]

CASES: Final = FAULTS | PUBLIC
_ROWS: Final = 512


def faults(
    *,
    epochs: int = 4,
    batch_size: int = 64,
    lr_sgd: float = 0.01,
    lr_adam: float = 0.001,
    seed: int = 0,
    seeds: int = 3,
    arms: Sequence[str] = tuple(CASES),
    out: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
) -> ExperimentResult:
    """Check, mend and train nets with one known fault each, and well-known nets of others.

    For each net: the first finding of :func:`selfnorm.diagnosis.check`, the variance of the last
    activation before any training and the score of a short training, as people write the net and
    after the fix. Nothing is tuned: both are trained alike.

    Parameters
    ----------
    epochs, batch_size : int
        Passes over the training rows (some nets take half as many or twice), and rows per step.
    lr_sgd, lr_adam : float
        Learning rates, constant: SGD with momentum 0.9 for the faults, Adam for the nets of others.
    seed, seeds : int
        First seed, and how many.
    arms : sequence of str
        Faults and nets.
    out : path-like, optional
        Folder for ``result.json`` and ``report.html``, written after each finished net. The same
        call takes an interrupted run's finished ones over.
    progress : callable, optional
        Called with a :class:`ProgressEvent` after each step.

    Returns
    -------
    ExperimentResult
        ``record["arms"]``: per net ``findings`` (code, place, message and fix of all, the first
        seed's), ``expected``, ``right`` (whether the first is the expected one), ``fix``, and for
        both ``sick`` and ``mended``: ``var`` and ``mean`` of the last activation, ``var_by_layer``,
        ``codes`` that the check still finds, ``score_by_seed`` and ``loss_by_seed`` by epoch.

    Raises
    ------
    DomainError
        If an option lies outside its domain, or ``out`` cannot be written.
    MissingDependencyError
        If ``out`` is given and the packages that draw the report are not installed.

    Notes
    -----
    Data are scikit-learn's digits and small simulated sets, which come with the code. Torch
    computes in one thread. Runs with the same options on the same machine give the same record,
    times and date apart.

    Examples
    --------
    >>> from selfnorm.experiments import faults
    >>> result = faults(epochs=1, seeds=1, arms=["plain-dropout"])
    >>> result.record["arms"][0]["findings"][0]["code"]
    'plain-dropout'
    """
    chosen = check_choices("arms", arms, tuple(CASES))
    config: dict[str, Any] = {
        "epochs": check_integer("epochs", epochs),
        "batch_size": check_integer("batch_size", batch_size, minimum=2),
        "lr_sgd": check_positive("lr_sgd", lr_sgd),
        "lr_adam": check_positive("lr_adam", lr_adam),
        "seed": check_integer("seed", seed, minimum=0),
        "seeds": check_integer("seeds", seeds),
        "arms": chosen,
    }
    tasks = {kind: TASKS[kind]() for kind in dict.fromkeys(CASES[name].task for name in chosen)}
    parts = []
    for name in chosen:
        case = CASES[name]
        task, count = tasks[case.task], max(1, round(epochs * case.epochs))
        steps = 2 * seeds * count * (len(task.train[0]) // batch_size)
        parts.append(Part(name, partial(_run, case, task, config, count), count, steps))
    return run_parts(
        "faults",
        parts,
        config=config,
        choice=("arms",),
        out=out,
        render=render,
        table_of=table_of,
        progress=progress,
        last=lambda done: (None, done["mended"]["score_by_seed"][-1][-1]),
    )


def _run(
    case: Case, task: Task, config: Mapping[str, Any], epochs: int, watch: Watch
) -> dict[str, Any]:
    X = task.train[0][:_ROWS]
    found: list[diagnosis.Finding] = []
    halves: dict[str, dict[str, Any]] = {"sick": {}, "mended": {}}
    scores: dict[str, list[Any]] = {"sick": [], "mended": []}
    losses: dict[str, list[Any]] = {"sick": [], "mended": []}
    for seed in range(config["seed"], config["seed"] + config["seeds"]):
        watch.seed = seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_number(seed, case.name))
            sick = case.build()
            mended = case.fix(copy.deepcopy(sick), task)
        for half, model in (("sick", sick), ("mended", mended)):
            decay = case.weight_decay if half == "sick" else 0.0
            optimizer = _optimizer(case, model, decay, config)
            if not halves[half]:
                codes = diagnosis.check(model, X, optimizer=optimizer)
                halves[half] = {"codes": [one.code for one in codes], **_measure(model, X)}
                found = codes if half == "sick" else found
            if half == "mended" and case.keep_rows:
                snn.keep_row_norms(model, optimizer)
            history = fit(
                model,
                task,
                optimizer=optimizer,
                epochs=epochs,
                batch_size=config["batch_size"],
                generator=generator_for(seed, case.name, "order"),
                on_step=watch.step,
            )
            scores[half].append(history.score)
            losses[half].append(history.loss)
            if case.keep_rows and seed == config["seed"]:
                halves[half] |= _measure(model, X)  # this fault comes with the training
    for half in halves:
        halves[half] |= {"score_by_seed": scores[half], "loss_by_seed": losses[half]}
    return {
        "what": case.what,
        "public": case.name in PUBLIC,
        "task": task.name,
        "metric": task.metric,
        "epochs": epochs,
        "optimizer": case.optimizer,
        "fix": case.fix_text,
        "expected": case.expected,
        "findings": [one.to_dict() for one in found],
        "right": not case.expected or (bool(found) and found[0].code == case.expected),
        **halves,
    }


def _measure(model: nn.Module, X: torch.Tensor) -> dict[str, Any]:
    """Measure the activations in training mode, nothing backwards."""
    seen = diagnosis.diagnose(model, X, backward=False)
    layers = [layer for layer in seen.layers if layer.layer] or list(seen.layers)
    return {
        "var_by_layer": [layer.var for layer in layers],
        "var": layers[-1].var if layers else None,
        "mean": layers[-1].mean if layers else None,
    }


def _optimizer(
    case: Case, model: nn.Module, decay: float, config: Mapping[str, Any]
) -> torch.optim.Optimizer:
    if case.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=config["lr_adam"], weight_decay=decay)
    return torch.optim.SGD(
        model.parameters(), lr=config["lr_sgd"], momentum=0.9, weight_decay=decay
    )


def _number(*labels: object) -> int:
    return int(torch.randint(2**62, (), generator=generator_for(*labels, "net")))
