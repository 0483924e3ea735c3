"""The claims experiment: what is said about ELU and SELU, measured."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import torch
from torch import nn

from selfnorm.experiments._claims_report import render, table_of
from selfnorm.experiments._claims_variants import (
    CLAIMS,
    VARIANTS,
    Variant,
    build_variant,
    predicted_var,
)
from selfnorm.experiments._data import DATA_SETS, Dataset
from selfnorm.experiments._divided import load_divided
from selfnorm.experiments._options import (
    check_choice,
    check_choices,
    check_integer,
    check_positives,
)
from selfnorm.experiments._parts import Part, run_parts
from selfnorm.experiments._probe import PROBE_ROWS, measure_layers
from selfnorm.experiments._progress import ProgressCallback, Watch
from selfnorm.experiments._random import generator_for
from selfnorm.experiments._records import ExperimentResult
from selfnorm.experiments._selection import Parts, Protocol, parts_of, train_selected
from selfnorm.experiments._training import MOMENTUM

__all__ = ["CLAIM_NAMES", "claims"]

CLAIM_NAMES: Final = tuple(CLAIMS)
# A unit counts as dead whose output varies over the training rows by less than this share of the
# root mean square of its layer: it tells the rows apart no more.
_DEAD: Final = 1e-4


def claims(
    *,
    names: Sequence[str] = CLAIM_NAMES,
    data: str = "digits",
    data_dir: str | os.PathLike[str] | None = None,
    depth: int = 16,
    width: int = 64,
    epochs: int = 12,
    lrs: Sequence[float] = (0.003, 0.01, 0.03, 0.1, 0.3),
    batch_size: int = 100,
    seed: int = 0,
    seeds: int = 5,
    train_size: int | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
) -> ExperimentResult:
    """Measure what texts about ELU and SELU claim, one thing changed at a time.

    * ``smooth``: SELU, whose slope jumps at 0, beside smooth functions with the same fixed point;
    * ``dying``: units that no longer vary over the training rows, by activation and rate;
    * ``zero-mean``: SELU plus a constant, the variance of the pre-activations held at 1;
    * ``alpha``: SELU with other α and the same λ;
    * ``init``: SELU with the usual initialisations;
    * ``regularisers``: SELU with dropout, alpha dropout, batch norm and weight decay;
    * ``target``: other target variances.

    Parameters
    ----------
    names : sequence of str
        Claims to measure, from ``CLAIM_NAMES``.
    data : {"digits", "mnist", "cifar10"}
        Data set, see :func:`load_data`.
    data_dir : path-like, optional
        Folder with the files.
    depth, width, epochs : int
        Hidden layers, units in each, passes over the training rows.
    lrs : sequence of float
        Learning rates tried for each variant; validation chooses.
    batch_size : int
        Rows per step.
    seed, seeds : int
        First seed, which also chooses the rate, and number of seeds.
    train_size : int, optional
        Keep the first rows of the training part, of which a fifth validates.
    out : path-like, optional
        Folder for ``result.json`` (written after each variant) and ``report.html``. If a run was
        interrupted, the same call takes its finished variants over.
    progress : callable, optional
        Called with a :class:`ProgressEvent` after each optimiser step.

    Returns
    -------
    ExperimentResult
        The record, the summary table (one row per variant) and the paths of the files.

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
    Protocol as in ``bn_vs_selu``: standardised pixels, SGD with momentum 0.9 along half a cosine,
    the rate by validation, then further seeds. ``record["arms"]`` holds per variant, besides the
    curves: ``init_var`` and ``init_correlation`` of the last hidden layer before training, in
    training mode (dropout acts), means over the seeds; ``predicted_var`` by mean field where
    theory knows the net; ``half_loss``, the training loss half-way; and with each candidate rate
    ``dead``, the share of dead hidden units after training: their output varies over the training
    rows by less than 1e-4 of their layer's root mean square. All variants of a seed begin with the
    same random numbers, up to their scale, and see the same batches.

    Dropout draws from torch's default generator, which is seeded inside and restored afterwards.

    Examples
    --------
    >>> from selfnorm.experiments import claims
    >>> result = claims(names=["target"], depth=3, width=16, epochs=1, lrs=[0.01], seeds=1)
    >>> [variant["variant"] for variant in result.record["arms"]]
    ['(0, 0.1)', '(0, 1)', '(0, 4)']
    """
    chosen = check_choices("names", names, CLAIM_NAMES)
    check_choice("data", data, DATA_SETS)
    options: dict[str, Any] = {
        "data": data,
        "names": chosen,
        "depth": check_integer("depth", depth),
        "width": check_integer("width", width),
        "epochs": check_integer("epochs", epochs),
        "lrs": check_positives("lrs", lrs),
        "batch_size": check_integer("batch_size", batch_size, minimum=2),
        "momentum": MOMENTUM,
        "seed": check_integer("seed", seed, minimum=0),
        "seeds": check_integer("seeds", seeds),
    }
    rows, _, about = load_divided(data, data_dir, train_size, options["batch_size"])
    options |= about | {"chance": rows.chance}
    variants = [one for one in VARIANTS if one.claim in chosen]
    parts = []
    for variant in variants:
        name = f"{variant.claim}: {variant.name}"
        protocol = _protocol(variant, options)
        steps = protocol.steps(options["train_size"])
        run = partial(_run_variant, variant, rows, options, protocol)
        parts.append(Part(name, run, options["epochs"], steps))
    return run_parts(
        "claims",
        parts,
        config=options,
        choice=("names",),
        out=out,
        render=render,
        table_of=table_of,
        progress=progress,
        last=lambda done: (done["loss"][-1], done["accuracy"][-1]),
        diverged=lambda done: bool(done["diverged"]),
    )


def _protocol(variant: Variant, options: Mapping[str, Any]) -> Protocol:
    return Protocol(
        epochs=options["epochs"],
        batch_size=options["batch_size"],
        lrs=options["lrs"],
        seed=options["seed"],
        seeds=options["seeds"],
        momentum=MOMENTUM,
        schedule="cosine",
        weight_decay=variant.weight_decay,
    )


def _run_variant(
    variant: Variant,
    rows: Dataset,
    options: Mapping[str, Any],
    protocol: Protocol,
    watch: Watch,
) -> dict[str, Any]:
    """Measure a fresh net, and train at each rate."""
    parts = parts_of(rows, var=variant.input_var)
    sizes = {
        "n_features": rows.X_train.shape[1],
        "width": options["width"],
        "depth": options["depth"],
    }

    def build(generator: torch.Generator) -> nn.Sequential:
        return build_variant(variant, **sizes, n_classes=rows.n_classes, generator=generator)

    labels = ("claims",)
    seeds = range(options["seed"], options["seed"] + options["seeds"])
    # Only dropout draws from the default generator; its state is put back.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(options["seed"])
        lasts = [
            measure_layers(build(generator_for(seed, *labels, "weights")), parts.train)[-1]
            for seed in seeds
        ]
        trained = train_selected(
            build,
            parts,
            protocol,
            labels=labels,
            watch=watch,
            inspect=lambda model: {"dead": _dead_share(model, parts)},
        )
    var = statistics.fmean(last["var"] for last in lasts)
    signal = statistics.fmean(last["signal_var"] for last in lasts)
    second = statistics.fmean(last["var"] + last["mean"] ** 2 for last in lasts)
    return {
        "claim": variant.claim,
        "variant": variant.name,
        "words": variant.words,
        "init_var": var,
        "init_correlation": 1 - signal / second if second > 0 else None,
        "predicted_var": predicted_var(
            variant, **sizes, second_moment=parts.train[0].double().square().mean().item()
        ),
        **trained,
        "half_loss": trained["loss"][(options["epochs"] - 1) // 2],
    }


def _dead_share(model: nn.Module, parts: Parts) -> float | None:
    """Return the share of hidden units that hardly vary over the training rows."""
    model.eval()
    X = parts.train[0][:PROBE_ROWS]
    dead, units = 0, 0
    with torch.no_grad():
        for block in list(model.children())[:-1]:
            X = block(X)
            if not bool(torch.isfinite(X).all()):
                return None
            wide = X.double()
            scale = wide.square().mean().sqrt()
            dead += int((wide.std(dim=0) <= _DEAD * scale).sum())
            units += wide.shape[1]
    return dead / units
