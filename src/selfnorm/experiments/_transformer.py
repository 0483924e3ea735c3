"""The transformer experiment: does the MLP block need its layer normalisation."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from selfnorm.errors import DomainError
from selfnorm.experiments._options import (
    check_choice,
    check_choices,
    check_integer,
    check_integers,
    check_positives,
)
from selfnorm.experiments._progress import ProgressCallback
from selfnorm.experiments._records import ExperimentResult
from selfnorm.experiments._transformer_nets import (
    TRANSFORMER_ARMS,
    build_transformer,
    predict_blocks,
    probe_blocks,
)
from selfnorm.experiments._transformer_report import render, table_of
from selfnorm.experiments._uses import Cell, Trial, run_cells
from selfnorm.experiments._uses_data import ImageRows, load_images

__all__ = ["transformer"]

_DATA: Final = ("digits", "mnist")
# Rows of MNIST taken by default: with all of them the run takes hours.
_MNIST_ROWS: Final = 3000
_PROBE_ROWS: Final = 300
# SELU behind a normalisation is there to tell what the activation alone changes.
_DEFAULT_ARMS: Final = tuple(arm for arm in TRANSFORMER_ARMS if arm != "selu-ln")


def transformer(
    *,
    data: str = "digits",
    data_dir: str | os.PathLike[str] | None = None,
    depths: Sequence[int] = (4, 12),
    arms: Sequence[str] = _DEFAULT_ARMS,
    lrs: Sequence[float] = (0.001, 0.003, 0.01),
    width: int = 32,
    epochs: int = 10,
    batch_size: int = 50,
    seed: int = 0,
    seeds: int = 3,
    train_size: int | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
) -> ExperimentResult:
    """Train transformers whose MLP blocks have no layer normalisation beside the usual ones.

    The rows of an image are the tokens. A block is self-attention of four heads, then an MLP of
    one hidden layer with four times the units; a linear head reads the mean over the tokens.

    Parameters
    ----------
    data : {"digits", "mnist"}
        Data set, see :func:`load_data`.
    data_dir : path-like, optional
        Folder with the MNIST files.
    depths : sequence of int
        Numbers of blocks.
    arms : sequence of str
        ``gelu-ln``: layer normalisation before attention, before the MLP and before the head, GELU,
        plain sums. ``gelu``: the same without that of the MLPs. ``selu``: SELU and sums
        sqrt(1 - s²) branch + s stream (:class:`selfnorm.nn.ScaledResidual`), normalisation before
        attention only. ``selu-free``: the same without any. ``selu-ln``: the same with both. All
        but the last by default.
    lrs : sequence of float
        Learning rates of Adam.
    width : int
        Units of the stream, a multiple of 4.
    epochs, batch_size : int
        Passes over the training rows, images per step.
    seed, seeds : int
        First seed and number of seeds.
    train_size : int, optional
        Keep the first rows of the training part; of MNIST 3,000 unless said otherwise.
    out : path-like, optional
        Folder for ``result.json`` and ``report.html``. If a run was interrupted, the same call
        takes its cells over.
    progress : callable, optional
        Called with a :class:`ProgressEvent` after each optimiser step.

    Returns
    -------
    ExperimentResult
        The record, the summary table (one row per arm and depth) and the files.

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
    All weights start LeCun normal, biases at zero; s = sqrt(1 - 1/max(2, depth)), so that
    each branch gives 1/depth of the variance behind it. Pixels are centred and divided by
    one deviation, those of the training rows; every fifth training row of each class is held out
    and chooses the rate. Gradients are cut to a norm of 1. The error is the share of wrong answers.

    ``layers`` holds the moments of the stream after each MLP block, and for blocks without
    normalisation the variance that theory predicts from what entered it: s² v + (1 - s²) times the
    SELU's second moment, for the second moments of the tokens.

    References
    ----------
    Xiong et al., "On Layer Normalization in the Transformer Architecture", ICML 2020,
    arXiv:2002.04745 (normalisation before each branch).

    Examples
    --------
    >>> from selfnorm.experiments import transformer
    >>> result = transformer(
    ...     depths=[1], arms=["selu"], lrs=[0.003], width=8, epochs=1, seeds=1, train_size=200
    ... )
    >>> [arm["name"] for arm in result.record["arms"]]
    ['selu, depth 1']
    """
    options: dict[str, Any] = {
        "data": check_choice("data", data, _DATA),
        "depths": check_integers("depths", depths),
        "arms": check_choices("arms", arms, TRANSFORMER_ARMS),
        "lrs": check_positives("lrs", lrs),
        "width": check_integer("width", width),
        "epochs": check_integer("epochs", epochs),
        "batch_size": check_integer("batch_size", batch_size),
        "seed": check_integer("seed", seed, minimum=0),
        "seeds": check_integer("seeds", seeds),
    }
    if width % 4:
        raise DomainError(
            f"width must be a multiple of 4, the heads of the attention, however: width={width}"
        )
    rows = load_images(
        data, data_dir, train_size, mnist_rows=_MNIST_ROWS, batch_size=options["batch_size"]
    )
    options |= rows.about | {
        "tokens": math.isqrt(rows.about["features"]),
        "chance": 1.0 - rows.chance,
    }
    cells = [
        Cell(
            name=f"{arm}, depth {depth}",
            about={"arm": arm, "depth": depth},
            order=("transformer", depth),
            trial=_trial(arm, depth, rows, options),
        )
        for depth in options["depths"]
        for arm in options["arms"]
    ]
    steps = options["epochs"] * (options["train_size"] // options["batch_size"])
    return run_cells(
        "transformer",
        cells,
        options,
        lambda _: steps,
        choice=("arms", "depths"),
        out=out,
        render=render,
        table_of=table_of,
        progress=progress,
    )


def _trial(arm: str, depth: int, rows: ImageRows, options: Mapping[str, Any]) -> Trial:
    form = (-1, options["tokens"], options["tokens"])  # images as rows of tokens
    X_validation, y_validation = rows.validation[0].reshape(form), rows.validation[1]
    X_test, y_test = rows.test[0].reshape(form), rows.test[1]
    seen = X_validation[:_PROBE_ROWS]

    def build(generator: torch.Generator) -> nn.Module:
        return build_transformer(
            arm,
            options["tokens"],
            options["tokens"],
            10,
            width=options["width"],
            depth=depth,
            generator=generator,
        )

    def batches(generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        return ((X.reshape(form), y) for X, y in rows.batches(options["batch_size"], generator))

    return Trial(
        build=build,
        batches=batches,
        loss=lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
        validate=lambda model: float(
            nn.functional.cross_entropy(model(X_validation), y_validation)
        ),
        test=lambda model: {"error": float((model(X_test).argmax(1) != y_test).double().mean())},
        probe=lambda model: probe_blocks(model, seen),
        predict=lambda model: predict_blocks(arm, model, seen),
        clip=True,
    )
