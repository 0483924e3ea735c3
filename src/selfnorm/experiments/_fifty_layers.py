"""The fifty-layers experiment: which deep plain nets train, and why."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from torch.nn import Sequential

from selfnorm.errors import DomainError
from selfnorm.experiments._arms import ARMS, Arm, arm_named, inputs_of, plan_of
from selfnorm.experiments._data import DATA_SETS, Dataset, load_data
from selfnorm.experiments._fifty_layers_report import render, table_of
from selfnorm.experiments._nets import DEFAULT_INITS, NetPlan, build_net, predict_net
from selfnorm.experiments._options import (
    check_choice,
    check_choices,
    check_integer,
    check_positive,
)
from selfnorm.experiments._parts import Part, run_parts
from selfnorm.experiments._probe import PROBE_ROWS, measure_layers
from selfnorm.experiments._progress import ProgressCallback, Watch
from selfnorm.experiments._random import generator_for
from selfnorm.experiments._records import ExperimentResult, digest_of
from selfnorm.experiments._together import train_together
from selfnorm.experiments._training import MOMENTUM, History, Rows, as_rows, train

__all__ = ["PRESETS", "Preset", "fifty_layers"]


@dataclasses.dataclass(frozen=True)
class Preset:
    """Options that suit a data set.

    Attributes
    ----------
    epochs : int
        Epochs.
    lr : float
        Learning rate.
    train_size : int or None
        Training rows; None means all.
    seeds : int
        Nets per arm.
    """

    epochs: int
    lr: float
    train_size: int | None
    seeds: int


PRESETS: Final[Mapping[str, Preset]] = {
    "digits": Preset(epochs=12, lr=0.001, train_size=None, seeds=3),
    "mnist": Preset(epochs=3, lr=0.001, train_size=20_000, seeds=1),
    "cifar10": Preset(epochs=3, lr=0.001, train_size=20_000, seeds=1),
}


def fifty_layers(
    *,
    data: str = "digits",
    data_dir: str | os.PathLike[str] | None = None,
    depth: int = 50,
    width: int = 128,
    epochs: int | None = None,
    batch_size: int = 100,
    lr: float | None = None,
    seed: int = 0,
    seeds: int | None = None,
    train_size: int | None = None,
    arms: Sequence[str] = ARMS,
    default_init: str = "torch",
    out: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
) -> ExperimentResult:
    """Train deep plain nets that differ in input scaling, activation and initialisation.

    The question is that of a lecture on self-normalizing networks: of fifty fully connected
    layers without skip connections, what has to be right so that they train at all? Each arm is
    one answer:

    * ``raw-relu``, ``raw-selu``: pixels in [0, 1] and the framework's default initialisation;
    * ``std-selu``: standardised pixels, default initialisation;
    * ``std-selu-lecun``: standardised pixels, LeCun normal weights, as the paper prescribes;
    * ``std-relu-lecun``: the same with ReLU;
    * ``std-relu-he-batchnorm``: ReLU, He normal weights, batch normalisation before each ReLU;
    * ``depth-matched``: SELU whose target variance is chosen for the depth
      (:func:`selfnorm.theory.match_depth`), inputs scaled to it, orthogonal weights.

    Parameters
    ----------
    data : {"digits", "mnist", "cifar10"}
        Data set, see :func:`load_data`.
    data_dir : path-like, optional
        Folder with the files, see :func:`load_data`.
    depth, width : int
        Hidden layers and units in each.
    epochs : int, optional
        Passes over the training rows; by default 12 for digits and 3 for the others.
    batch_size : int
        Rows per step, at most the number of training rows.
    lr : float, optional
        Learning rate of all arms, constant; 0.001 by default.
    seed, seeds : int
        First seed, and the number of seeds; each arm is trained from ``seed``, ``seed + 1``, ….
        By default three seeds for digits and one for the others.
    train_size : int, optional
        Keep the first rows of the training part; by default all digits, 20,000 of the others.
    arms : sequence of str
        Arms to train, from ``ARMS``.
    default_init : {"torch", "glorot", "uniform05"}
        What "default initialisation" means: ``torch.nn.Linear``'s own, Keras' Glorot uniform,
        or uniform in ±0.05. Glorot equals LeCun for square layers, so with it ``std-selu`` trains.
    out : path-like, optional
        Folder for ``result.json``, written whole after each finished arm, and ``report.html``. If
        a run was interrupted, the same call takes its finished arms over.
    progress : callable, optional
        Called with a :class:`ProgressEvent` after each epoch of an arm, whose nets train side by
        side, and after each step of one with batch normalisation, whose nets do not.

    Returns
    -------
    ExperimentResult
        The record, the summary table and the paths of the files.

    Raises
    ------
    DomainError
        If an option is out of its domain, or ``out`` cannot be written.
    DataError
        If the data are missing or damaged, or have fewer rows than asked for.
    MissingDependencyError
        If ``out`` is given and the packages that draw the report are not installed.

    Notes
    -----
    ``record["arms"]`` holds per arm: ``accuracy`` and ``loss`` by epoch (means over the seeds that
    have not diverged), the same by seed, ``seconds`` over all seeds, ``layers`` (moments of each
    hidden layer at initialisation, measured and predicted, and the norm of its weight gradient;
    first seed), ``layers_trained`` (the same measured after training) and ``diverged``, one entry
    per net whose loss or answers stopped being finite. Raw pixels are taken in [0, 1], the mildest
    form of raw; on MNIST pixels in 0…255 end at the same accuracies.

    Torch computes in one thread meanwhile (more gain nothing on nets this small). Runs with the
    same options on the same machine give the same record, times and date apart: each (seed, arm,
    purpose) has a random stream of its own.

    References
    ----------
    .. [1] Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks", NeurIPS
       2017, arXiv:1706.02515.

    Examples
    --------
    >>> from selfnorm.experiments import fifty_layers
    >>> result = fifty_layers(depth=4, width=16, epochs=1, seeds=1, arms=["std-selu-lecun"])
    >>> [arm["name"] for arm in result.record["arms"]], len(result.record["arms"][0]["layers"])
    (['std-selu-lecun'], 4)
    """
    check_choice("data", data, DATA_SETS)
    preset = PRESETS[data]
    chosen = check_choices("arms", arms, ARMS)
    options: dict[str, Any] = {
        "data": data,
        "depth": check_integer("depth", depth),
        "width": check_integer("width", width),
        "epochs": check_integer("epochs", preset.epochs if epochs is None else epochs),
        "batch_size": check_integer("batch_size", batch_size, minimum=2),
        "lr": check_positive("lr", preset.lr if lr is None else lr),
        "momentum": MOMENTUM,
        "seed": check_integer("seed", seed, minimum=0),
        "seeds": check_integer("seeds", preset.seeds if seeds is None else seeds),
        "arms": chosen,
        "default_init": check_choice("default_init", default_init, DEFAULT_INITS),
    }
    rows = load_data(data, data_dir=data_dir)
    if train_size is None and preset.train_size is not None:
        train_size = min(preset.train_size, len(rows.X_train))
    if train_size is not None:
        rows = rows.take(train_size)
    if options["batch_size"] > len(rows.X_train):
        raise DomainError(
            f"batch_size must be at most {len(rows.X_train)}, the number of training rows, "
            f"however: batch_size={batch_size}"
        )
    options |= {
        "train_size": len(rows.X_train),
        "test_size": len(rows.X_test),
        "data_source": rows.source,
        "data_digest": digest_of(rows),
        "chance": rows.chance,
        "probe_rows": min(PROBE_ROWS, len(rows.X_train)),
    }
    steps = options["epochs"] * -(-len(rows.X_train) // options["batch_size"])
    return run_parts(
        "fifty-layers",
        [
            Part(
                name,
                partial(_run_arm, arm_named(name), rows, options),
                options["epochs"],
                steps * options["seeds"],
            )
            for name in chosen
        ],
        config=options,
        choice=("arms",),
        out=out,
        render=render,
        table_of=table_of,
        progress=progress,
        last=lambda done: (done["loss"][-1], done["accuracy"][-1]),
        diverged=lambda done: bool(done["diverged"]),
    )


def _run_arm(arm: Arm, rows: Dataset, options: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    """Train all seeds of one arm and return its record."""
    plan = plan_of(
        arm,
        n_features=rows.X_train.shape[1],
        n_classes=rows.n_classes,
        depth=options["depth"],
        width=options["width"],
        default_init=options["default_init"],
    )
    data = inputs_of(arm, rows, plan)
    train_rows, test_rows = as_rows(data.X_train, data.y_train), as_rows(data.X_test, data.y_test)
    seeds = range(options["seed"], options["seed"] + options["seeds"])
    models = [build_net(plan, generator_for(seed, arm.name, "weights")) for seed in seeds]
    layers = measure_layers(models[0], train_rows)
    histories = _train(plan, models, train_rows, test_rows, arm.name, seeds, options, watch)
    layers_trained = measure_layers(models[0], train_rows)
    predicted = predict_net(plan, float(np.square(data.X_train, dtype=np.float64).mean()))
    return {
        "inputs": arm.inputs,
        "activation": arm.activation,
        "init": plan.hidden_init,
        "batch_norm": arm.batch_norm,
        "target_var": plan.target_var if plan.activation == "selu" else None,
        "accuracy": _mean_by_epoch([history.accuracy for history in histories]),
        "loss": _mean_by_epoch([history.loss for history in histories]),
        "accuracy_by_seed": [history.accuracy for history in histories],
        "loss_by_seed": [history.loss for history in histories],
        "seconds": sum(history.seconds for history in histories),
        "diverged": [
            {"seed": options["seed"] + index, **history.diverged}
            for index, history in enumerate(histories)
            if history.diverged is not None
        ],
        "layers": [
            {**measured, **foreseen} for measured, foreseen in zip(layers, predicted, strict=True)
        ],
        "layers_trained": layers_trained,
    }


def _train(
    plan: NetPlan,
    models: Sequence[Sequential],
    train_rows: Rows,
    test_rows: Rows,
    name: str,
    seeds: Sequence[int],
    options: Mapping[str, Any],
    watch: Watch,
) -> list[History]:
    """Train the nets of an arm: side by side, or, with batch normalisation, one by one."""
    if not plan.batch_norm:
        return train_together(
            plan,
            models,
            train_rows,
            test_rows,
            epochs=options["epochs"],
            batch_size=options["batch_size"],
            lrs=[options["lr"]] * len(models),
            seeds=[generator_for(seed, name, "order").initial_seed() for seed in seeds],
            on_epoch=watch.epoch,
        )
    histories = []
    for seed, model in zip(seeds, models, strict=True):
        watch.seed = seed
        histories.append(
            train(
                model,
                train_rows,
                test_rows,
                epochs=options["epochs"],
                batch_size=options["batch_size"],
                lr=options["lr"],
                generator=generator_for(seed, name, "order"),
                partial=True,
                on_step=watch.step,
            )
        )
    return histories


def _mean_by_epoch(curves: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Return the mean over the seeds that have a value, None where none has."""
    means: list[float | None] = []
    for values in zip(*curves, strict=True):
        known = [value for value in values if value is not None]
        means.append(sum(known) / len(known) if known else None)
    return means
