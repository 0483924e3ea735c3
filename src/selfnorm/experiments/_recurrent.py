"""The recurrent experiment: how long do recurrent nets remember."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from selfnorm.experiments._options import (
    check_choices,
    check_integer,
    check_integers,
    check_positives,
)
from selfnorm.experiments._progress import ProgressCallback
from selfnorm.experiments._records import ExperimentResult
from selfnorm.experiments._recurrent_nets import (
    RECURRENT_ARMS,
    build_net,
    predict_steps,
    probe_steps,
)
from selfnorm.experiments._recurrent_report import render, table_of
from selfnorm.experiments._recurrent_tasks import RECURRENT_TASKS, Task, make_task
from selfnorm.experiments._uses import Cell, Trial, run_cells

__all__ = ["recurrent"]

# ELU behaves as SELU does here.
_DEFAULT_ARMS: Final = tuple(arm for arm in RECURRENT_ARMS if arm != "elu")


def recurrent(
    *,
    tasks: Sequence[str] = ("recall", "digits"),
    lengths: Sequence[int] = (30, 100),
    arms: Sequence[str] = _DEFAULT_ARMS,
    lrs: Sequence[float] = (0.001, 0.003, 0.01),
    hidden: int = 64,
    epochs: int = 10,
    batch_size: int = 50,
    seed: int = 0,
    seeds: int = 3,
    out: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
) -> ExperimentResult:
    """Train recurrent nets on tasks that need a long memory.

    All arms have one recurrent layer of the same size and a linear head on its last state, try the
    same learning rates with the first seed, and cut gradients to a norm of 1.

    Parameters
    ----------
    tasks : sequence of {"recall", "adding", "digits"}
        ``recall``: the first of T steps shows one of four symbols, noise follows, and after the
        last step the symbol is asked for. ``adding``: two of T numbers are marked, one in each
        half, and their sum is asked for. ``digits``: scikit-learn's digits, one pixel a step.
    lengths : sequence of int
        Numbers of steps of ``recall`` and ``adding``, at least 2; digits have 64.
    arms : sequence of str
        ``selu`` and ``elu`` (:class:`selfnorm.nn.SELURNN`), ``tanh`` (PyTorch's default),
        ``tanh-orthogonal`` (the same with an orthogonal recurrence), ``irnn`` (ReLU, the recurrence
        an identity, [1]_), ``lstm`` (forget bias 1), ``gru``. All but ``elu`` by default.
    lrs : sequence of float
        Learning rates of Adam.
    hidden : int
        Units of the state.
    epochs, batch_size : int
        Passes over the training rows of digits, and rows per step. For the other tasks an epoch
        is 20 fresh batches.
    seed, seeds : int
        First seed and number of seeds.
    out : path-like, optional
        Folder for ``result.json`` and ``report.html``. If a run was interrupted, the same call
        takes its cells over.
    progress : callable, optional
        Called with a :class:`ProgressEvent` after each optimiser step.

    Returns
    -------
    ExperimentResult
        The record, the summary table (one row per task, length and arm) and the files.

    Raises
    ------
    DomainError
        If an option is out of its domain, or ``out`` cannot be written.
    MissingDependencyError
        If scikit-learn, or a package that draws the report, is needed and not installed.

    Notes
    -----
    The error is the share of wrong answers, for ``adding`` the share of the sum's variance that is
    not explained. The learning rate is chosen by the loss on 500 validation rows (digits: every
    fifth training row of each class). The moments of the state are measured after each step, and
    the mean square of the loss's gradient by the state, relative to that after the last step.

    References
    ----------
    .. [1] Le, Jaitly, Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified Linear
       Units", 2015, arXiv:1504.00941.

    Examples
    --------
    >>> from selfnorm.experiments import recurrent
    >>> result = recurrent(
    ...     tasks=["recall"], lengths=[5], arms=["selu"], lrs=[0.003], hidden=8, epochs=1, seeds=1
    ... )
    >>> [arm["name"] for arm in result.record["arms"]]
    ['selu, recall, 5 steps']
    """
    options: dict[str, Any] = {
        "tasks": check_choices("tasks", tasks, RECURRENT_TASKS),
        "lengths": check_integers("lengths", lengths),
        "arms": check_choices("arms", arms, RECURRENT_ARMS),
        "lrs": check_positives("lrs", lrs),
        "hidden": check_integer("hidden", hidden),
        "epochs": check_integer("epochs", epochs),
        "batch_size": check_integer("batch_size", batch_size),
        "seed": check_integer("seed", seed, minimum=0),
        "seeds": check_integer("seeds", seeds),
    }
    check_integer("lengths", options["lengths"][0], minimum=2)
    made = [
        make_task(name, length, options["batch_size"])
        for name in options["tasks"]
        for length in ((None,) if name == "digits" else options["lengths"])
    ]
    options["tasks_done"] = [
        {
            "task": task.name,
            "length": task.length,
            "chance": task.chance,
            "test_size": len(task.test[0]),
        }
        for task in made
    ]
    cells = [
        Cell(
            name=f"{arm}, {task.name}, {task.length} steps",
            about={"arm": arm, "task": task.name, "length": task.length},
            order=("recurrent", task.name, task.length),
            trial=_trial(arm, task, options),
        )
        for task in made
        for arm in options["arms"]
    ]
    by_key = {(task.name, task.length): task for task in made}

    def steps(cell: Cell) -> int:
        task = by_key[cell.about["task"], cell.about["length"]]
        return int(options["epochs"] * task.steps_per_epoch)

    return run_cells(
        "recurrent",
        cells,
        options,
        steps,
        choice=("arms", "tasks", "lengths", "tasks_done"),
        out=out,
        render=render,
        table_of=table_of,
        progress=progress,
    )


def _trial(arm: str, task: Task, options: Mapping[str, Any]) -> Trial:
    return Trial(
        build=lambda generator: build_net(
            arm, task.in_features, task.out_features, options["hidden"], generator
        ),
        batches=task.batches,
        loss=lambda model, batch: task.loss(model(batch[0]), batch[1]),
        validate=lambda model: float(task.loss(model(task.validation[0]), task.validation[1])),
        test=lambda model: {"error": task.error(model(task.test[0]), task.test[1])},
        probe=lambda model: probe_steps(model, task),
        predict=lambda model: predict_steps(arm, model, task),
        clip=True,
    )
