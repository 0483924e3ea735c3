"""The depth experiment: how deep a plain net trains."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from selfnorm.experiments._data import DATA_SETS, Dataset
from selfnorm.experiments._depth_report import render, table_of
from selfnorm.experiments._divided import load_divided
from selfnorm.experiments._options import (
    check_choice,
    check_choices,
    check_integer,
    check_integers,
    check_positives,
)
from selfnorm.experiments._parts import Part, run_parts
from selfnorm.experiments._probe import measure_layers
from selfnorm.experiments._progress import ProgressCallback, Watch
from selfnorm.experiments._random import generator_for
from selfnorm.experiments._records import ExperimentResult
from selfnorm.experiments._rival_nets import Shape, build_rival, input_var, net_named
from selfnorm.experiments._selection import Protocol, parts_of, train_selected
from selfnorm.experiments._training import MOMENTUM

__all__ = ["DEPTH_ARMS", "depth"]

DEPTH_ARMS: Final = ("selu", "selu-matched", "bidirectional", "tailored", "relu", "relu-bn")
# Layers whose moments are stored: enough for a line, whatever the depth.
_SHOWN_LAYERS: Final = 60


def depth(
    *,
    depths: Sequence[int] = (8, 32, 100, 300, 1000),
    arms: Sequence[str] = DEPTH_ARMS,
    lrs: Sequence[float] = (0.001, 0.003, 0.01, 0.1),
    data: str = "digits",
    data_dir: str | os.PathLike[str] | None = None,
    width: int = 48,
    epochs: int = 4,
    batch_size: int = 100,
    seed: int = 0,
    seeds: int = 1,
    train_size: int | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
) -> ExperimentResult:
    """Train plain fully connected nets, ever deeper, without skip connections.

    The arms are

    * ``selu``: SELU with the fixed point (0, 1), LeCun normal weights;
    * ``selu-matched``: SELU whose target variance suits the depth
      (:func:`selfnorm.theory.match_depth`), inputs scaled to it;
    * ``bidirectional``: SELU with second moment 1 forward and gradient gain 1 backward
      (:func:`selfnorm.theory.bidirectional`);
    * ``tailored``: SELU shaped for the depth by deep kernel shaping
      (:func:`selfnorm.theory.tailor`), which also holds the correlation of different inputs down;
    * ``relu``: ReLU and He normal weights;
    * ``relu-bn``: the same with batch normalisation before each ReLU.

    The second to fourth have orthogonal weights.

    Parameters
    ----------
    depths : sequence of int
        Numbers of hidden layers.
    arms : sequence of str
        Arms to train, from ``DEPTH_ARMS``.
    lrs : sequence of float
        Learning rates tried for each net; validation chooses.
    data : {"digits", "mnist", "cifar10"}
        Data set, see :func:`load_data`.
    data_dir : path-like, optional
        Folder with the files.
    width, epochs, batch_size : int
        Units per hidden layer, passes over the training rows, rows per step.
    seed, seeds : int
        First seed, which also chooses the rate, and number of seeds.
    train_size : int, optional
        Keep the first rows of the training part, of which a fifth validates.
    out : path-like, optional
        Folder for ``result.json`` (written after each net) and ``report.html`` (every minute and
        at the end). If a run was interrupted, the same call takes its finished nets over.
    progress : callable, optional
        Called with a :class:`ProgressEvent` after each optimiser step.

    Returns
    -------
    ExperimentResult
        The record, the summary table (one row per depth and arm) and the paths of the files.

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
    Pixels are standardised; SGD with momentum 0.9, the rate falling to zero along half a cosine.

    ``record["arms"]`` holds per net what ``bn_vs_selu`` stores of its cells, and ``layers``: for up
    to 60 hidden layers before training the ``var`` of the output, pooled over rows and units; the
    ``correlation`` of different rows, that is the share of the second moment that all rows have in
    common (at 1 the net has forgotten which row it saw); and ``grad_norm``, the norm of the weight
    gradient.

    References
    ----------
    Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017, arXiv:1706.02515. Lu et
    al., "Bidirectional Self-Normalizing Neural Networks", arXiv:2006.12169. Martens et al., "Rapid
    training of deep neural networks without skip connections or normalization layers using Deep
    Kernel Shaping", arXiv:2110.01765.

    Examples
    --------
    >>> from selfnorm.experiments import depth
    >>> result = depth(depths=[5], arms=["selu", "relu"], lrs=[0.01], width=16, epochs=1)
    >>> [net["name"] for net in result.record["arms"]]
    ['selu, 5 layers', 'relu, 5 layers']
    """
    check_choice("data", data, DATA_SETS)
    options: dict[str, Any] = {
        "data": data,
        "depths": check_integers("depths", depths),
        "arms": check_choices("arms", arms, DEPTH_ARMS),
        "lrs": check_positives("lrs", lrs),
        "width": check_integer("width", width),
        "epochs": check_integer("epochs", epochs),
        "batch_size": check_integer("batch_size", batch_size, minimum=2),
        "momentum": MOMENTUM,
        "schedule": "cosine",
        "seed": check_integer("seed", seed, minimum=0),
        "seeds": check_integer("seeds", seeds),
    }
    rows, _, about = load_divided(data, data_dir, train_size, options["batch_size"])
    options |= about | {"chance": rows.chance}
    protocol = Protocol(
        epochs=options["epochs"],
        batch_size=options["batch_size"],
        lrs=options["lrs"],
        seed=options["seed"],
        seeds=options["seeds"],
        momentum=MOMENTUM,
        schedule="cosine",
    )
    nets = [(count, arm) for count in options["depths"] for arm in options["arms"]]
    steps = protocol.steps(options["train_size"])
    parts = []
    for count, arm in nets:
        name = f"{arm}, {count} layer{'s' if count > 1 else ''}"
        run = partial(_run_net, arm, count, rows, options, protocol)
        parts.append(Part(name, run, options["epochs"], steps))
    return run_parts(
        "depth",
        parts,
        config=options,
        choice=("arms", "depths"),
        out=out,
        render=render,
        table_of=table_of,
        progress=progress,
        last=lambda done: (done["loss"][-1], done["accuracy"][-1]),
        diverged=lambda done: bool(done["diverged"]),
    )


def _run_net(
    name: str,
    count: int,
    rows: Dataset,
    options: Mapping[str, Any],
    protocol: Protocol,
    watch: Watch,
) -> dict[str, Any]:
    """Measure one net before training, and train it at each rate."""
    arm = net_named(name)
    shape = Shape("mlp", rows.shape, count, options["width"], rows.n_classes)
    parts = parts_of(rows, var=input_var(arm, count))

    def build(generator: torch.Generator) -> nn.Sequential:
        return build_rival(arm, shape, generator)

    labels = (name, count)
    fresh = build(generator_for(options["seed"], *labels, "weights"))
    return {
        "arm": name,
        "depth": count,
        "layers": _layers(measure_layers(fresh, parts.train)),
        **train_selected(build, parts, protocol, labels=labels, watch=watch),
    }


def _layers(measured: Sequence[Mapping[str, float]]) -> list[dict[str, float | None]]:
    """Keep up to 60 layers, the first and the last among them, with the rows' correlation."""
    kept = np.unique(np.linspace(0, len(measured) - 1, min(_SHOWN_LAYERS, len(measured))).round())
    shown: list[dict[str, float | None]] = []
    for index in kept.astype(int):
        layer = measured[index]
        second = layer["var"] + layer["mean"] ** 2
        common = 1 - layer["signal_var"] / second if second > 0 else None
        shown.append(
            {
                "layer": int(index) + 1,
                "var": layer["var"],
                "correlation": common,
                "grad_norm": layer["grad_norm"],
            }
        )
    return shown
