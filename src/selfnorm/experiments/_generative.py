"""The generative experiment: flow matching with self-normalizing and with usual fields."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from selfnorm import theory
from selfnorm.errors import DomainError
from selfnorm.experiments._generative_data import (
    GENERATIVE_DATA,
    load_rows,
    sliced_distance,
)
from selfnorm.experiments._generative_report import render, table_of
from selfnorm.experiments._options import (
    check_choice,
    check_choices,
    check_integer,
    check_integers,
    check_positives,
)
from selfnorm.experiments._progress import ProgressCallback
from selfnorm.experiments._random import generator_for
from selfnorm.experiments._records import ExperimentResult
from selfnorm.experiments._stacks import Recipe, hidden_block, linear, predicted_layer
from selfnorm.experiments._uses import Cell, Trial, measure, moments_of, run_cells

__all__ = ["GENERATIVE_ARMS", "generative"]

_RECIPES: Final = {
    "silu": Recipe("silu", "torch"),
    "relu-layernorm": Recipe("relu", "he", "layer"),
    "selu-default": Recipe("selu", "torch"),
}
GENERATIVE_ARMS: Final = ("snn", *_RECIPES)
_TIME_FEATURES: Final = 8
_PROBE_ROWS: Final = 1000
_QUANTILES: Final = 10
_SHOWN_POINTS: Final = 300
_SHOWN_IMAGES: Final = 8
_EPOCHS: Final = {"moons": 15, "circles": 15, "digits": 120}


def generative(
    *,
    data: str = "moons",
    depths: Sequence[int] = (4, 12),
    arms: Sequence[str] = GENERATIVE_ARMS,
    lrs: Sequence[float] = (0.001, 0.003, 0.01),
    width: int = 64,
    epochs: int | None = None,
    batch_size: int = 200,
    sampling_steps: int = 32,
    seed: int = 0,
    seeds: int = 3,
    out: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
) -> ExperimentResult:
    """Train vector fields by flow matching and compare their samples with held-out data.

    All arms try the same learning rates with the first seed; the best by the flow-matching loss
    on validation rows is kept and used by the other seeds.

    Parameters
    ----------
    data : {"moons", "circles", "digits"}
        Two interleaving half circles, two rings (8,000 points to train on, made here), or
        scikit-learn's digits.
    depths : sequence of int
        Numbers of hidden layers.
    arms : sequence of str
        ``snn`` (:class:`selfnorm.nn.SNNField`), and plain stacks that read x beside the same time
        features: ``silu`` (PyTorch's default initialisation, the usual choice),
        ``relu-layernorm`` (He), ``selu-default`` (SELU with PyTorch's default initialisation).
    lrs : sequence of float
        Learning rates of Adam.
    width : int
        Units per hidden layer.
    epochs : int, optional
        Passes over the training rows; 15 for points, 120 for digits.
    batch_size : int
        Rows per step.
    sampling_steps : int
        Heun steps from noise to samples.
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
        The record, the summary table (one row per arm and depth) and the files.

    Raises
    ------
    DomainError
        If an option is out of its domain, or ``out`` cannot be written.
    MissingDependencyError
        If scikit-learn, or a package that draws the report, is needed and not installed.

    Notes
    -----
    The distance is the sliced Wasserstein distance of order 1 between as many samples as there are
    test rows and the test rows: the mean over 100 fixed directions of the distance of the
    projected, sorted values, in standard deviations of the data. ``config["floor"]`` is that
    between real rows and the test rows, averaged over five draws: no field can be told from
    perfect below it.

    References
    ----------
    .. [1] Lipman, Chen, Ben-Hamu, Nickel, Le, "Flow Matching for Generative Modeling", ICLR 2023,
       arXiv:2210.02747.

    Examples
    --------
    >>> from selfnorm.experiments import generative
    >>> result = generative(
    ...     depths=[2], arms=["snn"], lrs=[0.003], width=8, epochs=1, batch_size=4000, seeds=1
    ... )
    >>> [arm["name"] for arm in result.record["arms"]]
    ['snn, depth 2']
    """
    rows = load_rows(check_choice("data", data, GENERATIVE_DATA))
    options: dict[str, Any] = {
        "data": data,
        "depths": check_integers("depths", depths),
        "arms": check_choices("arms", arms, GENERATIVE_ARMS),
        "lrs": check_positives("lrs", lrs),
        "width": check_integer("width", width),
        "epochs": check_integer("epochs", _EPOCHS[data] if epochs is None else epochs),
        "batch_size": check_integer("batch_size", batch_size),
        "sampling_steps": check_integer("sampling_steps", sampling_steps),
        "seed": check_integer("seed", seed, minimum=0),
        "seeds": check_integer("seeds", seeds),
    }
    if options["batch_size"] > len(rows.train):
        raise DomainError(
            f"batch_size must be at most {len(rows.train)}, the number of training rows, however: "
            f"batch_size={batch_size}"
        )
    options |= {
        "train_size": len(rows.train),
        "validation_size": len(rows.validation),
        "test_size": len(rows.test),
        "features": rows.train.shape[1],
        "data_source": rows.source,
        "floor": rows.floor(),
        "noise": sliced_distance(
            torch.randn(rows.test.shape, generator=generator_for("generative", "noise")),
            rows.test,
        ),
        "shown": _shown(rows.test, data),
    }
    parts = {"train": rows.train, "validation": rows.validation, "test": rows.test}
    cells = [
        Cell(
            name=f"{arm}, depth {depth}",
            about={"arm": arm, "depth": depth},
            order=("generative", depth),
            trial=_trial(arm, depth, parts, options),
        )
        for depth in options["depths"]
        for arm in options["arms"]
    ]
    steps = options["epochs"] * (options["train_size"] // options["batch_size"])
    return run_cells(
        "generative",
        cells,
        options,
        lambda _: steps,
        choice=("arms", "depths"),
        out=out,
        render=render,
        table_of=table_of,
        progress=progress,
    )


class _PlainField(nn.Module):
    """Hidden blocks that read x and time features side by side, and a linear head."""

    frequencies: Tensor

    def __init__(
        self, features: int, width: int, depth: int, recipe: Recipe, generator: torch.Generator
    ) -> None:
        super().__init__()
        sizes = [features + _TIME_FEATURES, *[width] * depth]
        self.hidden = nn.Sequential(
            *(
                hidden_block(fan_in, fan_out, recipe, generator)
                for fan_in, fan_out in itertools.pairwise(sizes)
            )
        )
        self.head = linear(width, features, recipe.init, generator)
        octaves = 0.25 * 2.0 ** torch.arange(_TIME_FEATURES // 2)
        self.register_buffer("frequencies", octaves, persistent=False)

    def embed(self, x: Tensor, t: Tensor) -> Tensor:
        angles = 2 * math.pi * t.unsqueeze(1) * self.frequencies
        return torch.cat([x, math.sqrt(2) * angles.cos(), math.sqrt(2) * angles.sin()], dim=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        out: Tensor = self.head(self.hidden(self.embed(x, t)))
        return out


def _trial(arm: str, depth: int, parts: Mapping[str, Tensor], options: Mapping[str, Any]) -> Trial:
    from selfnorm.nn import SNNField, flow_matching_loss, integrate_flow

    features, size, width = options["features"], options["batch_size"], options["width"]
    train, test = parts["train"], parts["test"]

    def build(generator: torch.Generator) -> nn.Module:
        if arm == "snn":
            return SNNField(
                features,
                width=width,
                depth=depth,
                time_features=_TIME_FEATURES,
                generator=generator,
            )
        return _PlainField(features, width, depth, _RECIPES[arm], generator)

    def batches(generator: torch.Generator) -> Iterator[tuple[Tensor, torch.Generator]]:
        order = torch.randperm(len(train), generator=generator)
        for start in range(0, len(train) - size + 1, size):
            yield train[order[start : start + size]], generator

    def validate(model: nn.Module) -> float:
        # The same noise and times after each epoch and for each arm.
        noise = generator_for("generative", "validation")
        rows = parts["validation"]
        repeated = rows.repeat(-(-2000 // len(rows)), 1)
        return float(flow_matching_loss(model, repeated, generator=noise))

    def score(model: nn.Module) -> dict[str, Any]:
        noise = torch.randn(test.shape, generator=generator_for("generative", "samples"))
        samples = integrate_flow(model, noise, options["sampling_steps"])
        distance = sliced_distance(samples, test)
        found = {"distance": distance, "loss": validate(model)}
        return {**found, "shown": _shown(samples, options["data"])}

    def points() -> tuple[Tensor, Tensor]:
        generator = generator_for("generative", "probe")
        data = train[:_PROBE_ROWS]
        t = torch.rand(len(data), generator=generator)
        noise = torch.randn(data.shape, generator=generator)
        return torch.lerp(noise, data, t.unsqueeze(1)), t

    def probe(model: nn.Module) -> list[dict[str, float]]:
        x, t = points()
        assert isinstance(model.hidden, nn.Sequential)
        layers: list[nn.Module] = list(model.hidden)
        if arm != "snn":
            return measure(model, layers, lambda net: net(x, t))
        # The field's first layer has no module of its own: what enters the second is its output.
        first: list[Tensor] = []
        following = layers[0] if layers else model.head
        assert isinstance(following, nn.Module)
        handle = following.register_forward_pre_hook(lambda _, given: first.append(given[0]))
        found = measure(model, layers, lambda net: net(x, t))
        handle.remove()
        return [moments_of(first[0]), *found]

    def predict(model: nn.Module) -> list[dict[str, float]]:
        x, t = points()
        if isinstance(model, SNNField):
            scaled, waves = model.embed(x, t)
            share = model.time_share
            squares = (1 - share) * scaled.square().mean(1) + share * waves.square().mean(1)
            return _pooled([theory.Layer("selu")] * depth, squares)
        assert isinstance(model, _PlainField)
        entry = model.embed(x, t)
        recipe = _RECIPES[arm]
        layers = [
            predicted_layer(entry.shape[1] if index == 0 else width, width, recipe)
            for index in range(depth)
        ]
        return _pooled(layers, entry.square().mean(1))

    return Trial(
        build=build,
        batches=batches,
        loss=lambda model, batch: flow_matching_loss(model, batch[0], generator=batch[1]),
        validate=validate,
        test=score,
        probe=probe,
        predict=predict,
    )


def _pooled(layers: Sequence[theory.Layer], squares: Tensor) -> list[dict[str, float]]:
    """Predict each row by its own mean square, and pool the rows.

    Rows of two coordinates differ widely in their mean square: one prediction from the average
    would be off.
    """
    middle = (torch.arange(_QUANTILES, dtype=torch.float64) + 0.5) / _QUANTILES
    found = torch.quantile(squares.double(), middle)
    paths = [theory.predict(layers, 0.0, float(square)) for square in found]
    means = np.mean([path.mean for path in paths], axis=0)
    seconds = np.mean([path.var + path.mean**2 for path in paths], axis=0)
    return [
        {"predicted_mean": float(mean), "predicted_var": float(second - mean**2)}
        for mean, second in zip(means, seconds, strict=True)
    ]


def _shown(rows: Tensor, data: str) -> list[list[float]]:
    """Return the rows that the report draws, rounded."""
    count = _SHOWN_IMAGES if data == "digits" else _SHOWN_POINTS
    return [[round(float(v), 3) for v in row] for row in rows[:count]]
