"""The autoencoder experiment: how deep may encoder and decoder be, without normalisation."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from selfnorm import theory
from selfnorm.errors import DomainError
from selfnorm.experiments._autoencoder_report import render, table_of
from selfnorm.experiments._options import (
    check_choice,
    check_choices,
    check_integer,
    check_integers,
    check_positives,
)
from selfnorm.experiments._progress import ProgressCallback
from selfnorm.experiments._records import ExperimentResult
from selfnorm.experiments._stacks import Recipe, foreseen, hidden_block, linear, predicted_layer
from selfnorm.experiments._uses import Cell, Trial, measure, run_cells
from selfnorm.experiments._uses_data import ImageRows, load_images

__all__ = ["AUTOENCODER_ARMS", "autoencoder"]

_RECIPES: Final = {
    "relu": Recipe("relu", "he"),
    "relu-batchnorm": Recipe("relu", "he", "batch"),
    "elu": Recipe("elu", "torch"),
    "tanh": Recipe("tanh", "torch"),
}
AUTOENCODER_ARMS: Final = ("snn", "snn-matched", *_RECIPES)
_DATA: Final = ("digits", "mnist")
_PROBE_ROWS: Final = 500
# Rows of MNIST taken by default: with all of them the run takes hours.
_MNIST_ROWS: Final = 6000


def autoencoder(
    *,
    data: str = "digits",
    data_dir: str | os.PathLike[str] | None = None,
    depths: Sequence[int] = (4, 16),
    arms: Sequence[str] = AUTOENCODER_ARMS,
    lrs: Sequence[float] = (0.001, 0.003, 0.01, 0.03),
    width: int = 64,
    code: int = 8,
    epochs: int = 30,
    batch_size: int = 100,
    seed: int = 0,
    seeds: int = 3,
    train_size: int | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
) -> ExperimentResult:
    """Train deep autoencoders: self-normalizing ones and the usual others.

    Encoder and decoder have half of the hidden layers each, with a linear code between them; no
    skip connections. All arms try the same learning rates with the first seed; the best by
    validation error is kept and used by the other seeds.

    Parameters
    ----------
    data : {"digits", "mnist"}
        Data set, see :func:`load_data`.
    data_dir : path-like, optional
        Folder with the MNIST files.
    depths : sequence of int
        Even numbers of hidden layers, encoder and decoder together.
    arms : sequence of str
        ``snn`` (:class:`selfnorm.nn.SNNAutoencoder`: SELU, LeCun normal), ``snn-matched`` (the
        same with depth-matched variance and orthogonal weights), ``relu`` (He), ``relu-batchnorm``
        (He, batch normalisation before each ReLU), ``elu`` and ``tanh`` (PyTorch's default
        initialisation).
    lrs : sequence of float
        Learning rates of Adam.
    width, code : int
        Units per hidden layer, numbers per code.
    epochs, batch_size : int
        Passes over the training rows, rows per step.
    seed, seeds : int
        First seed and number of seeds.
    train_size : int, optional
        Keep the first rows of the training part; of MNIST 6,000 unless said otherwise.
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
    Pixels are centred and divided by one deviation, those of the training rows; every fifth
    training row of each class is held out for validation. The error is the share of the test rows'
    sum of squares that is not reconstructed; ``config["pca_error"]`` is that of as many principal
    components as the code has numbers, the best linear autoencoder. Adam, the rate falling to 0
    along half a cosine.

    Examples
    --------
    >>> from selfnorm.experiments import autoencoder
    >>> result = autoencoder(
    ...     depths=[2], arms=["snn"], lrs=[0.003], width=16, epochs=1, seeds=1, train_size=200
    ... )
    >>> [arm["name"] for arm in result.record["arms"]]
    ['snn, depth 2']
    """
    options: dict[str, Any] = {
        "data": check_choice("data", data, _DATA),
        "depths": check_integers("depths", depths),
        "arms": check_choices("arms", arms, AUTOENCODER_ARMS),
        "lrs": check_positives("lrs", lrs),
        "width": check_integer("width", width),
        "code": check_integer("code", code),
        "epochs": check_integer("epochs", epochs),
        "batch_size": check_integer("batch_size", batch_size, minimum=2),
        "seed": check_integer("seed", seed, minimum=0),
        "seeds": check_integer("seeds", seeds),
    }
    odd = [depth for depth in options["depths"] if depth % 2]
    if odd:
        raise DomainError(
            "depths must be even, half of them in the encoder and half in the decoder, however: "
            f"depths holds {odd[0]}"
        )
    rows = load_images(
        data, data_dir, train_size, mnist_rows=_MNIST_ROWS, batch_size=options["batch_size"]
    )
    options |= rows.about | {"pca_error": _pca_error(rows, options["code"])}
    cells = [
        Cell(
            name=f"{arm}, depth {depth}",
            about={"arm": arm, "depth": depth},
            order=("autoencoder", depth),
            trial=_trial(arm, depth, rows, options),
        )
        for depth in options["depths"]
        for arm in options["arms"]
    ]
    steps = options["epochs"] * (options["train_size"] // options["batch_size"])
    return run_cells(
        "autoencoder",
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
    features, shown = options["features"], rows.train[0][:_PROBE_ROWS]

    def build(generator: torch.Generator) -> nn.Module:
        if arm not in _RECIPES:
            from selfnorm.nn import SNNAutoencoder

            matched = arm == "snn-matched"
            return SNNAutoencoder(
                features,
                options["code"],
                width=options["width"],
                depth=depth // 2,
                var="depth-matched" if matched else 1.0,
                weight_init="orthogonal" if matched else "lecun_normal",
                generator=generator,
            )
        recipe = _RECIPES[arm]
        return nn.Sequential(
            *(
                hidden_block(fan_in, fan_out, recipe, generator)
                if hidden
                else linear(fan_in, fan_out, recipe.init, generator)
                for fan_in, fan_out, hidden in _sizes(depth, options)
            )
        )

    def batches(generator: torch.Generator) -> Iterator[Tensor]:
        return (X for X, _ in rows.batches(options["batch_size"], generator))

    def probe(model: nn.Module) -> list[dict[str, float]]:
        return measure(model, _layers(model), lambda net: net(shown))

    def predict(model: nn.Module) -> list[dict[str, float]]:
        second = float(shown.double().square().mean())
        return foreseen(*_theory(arm, depth, options, second))

    return Trial(
        build=build,
        batches=batches,
        loss=lambda model, batch: nn.functional.mse_loss(model(batch), batch),
        validate=lambda model: _error(model, rows.validation[0]),
        test=lambda model: {"error": _error(model, rows.test[0])},
        probe=probe,
        predict=predict,
    )


def _sizes(depth: int, options: Mapping[str, Any]) -> list[tuple[int, int, bool]]:
    """Return inputs, outputs and kind (hidden or linear) of each layer in order."""
    width, half = options["width"], depth // 2
    part = [width] * half
    sizes = [options["features"], *part, options["code"], *part, options["features"]]
    hidden = [True] * half + [False] + [True] * half + [False]
    return list(zip(sizes[:-1], sizes[1:], hidden, strict=True))


def _layers(model: nn.Module) -> list[nn.Module]:
    """Return hidden layers, code and output in order."""
    if isinstance(model, nn.Sequential):
        return list(model)
    parts: list[nn.Module] = []
    for part in (model.encoder, model.decoder):
        assert isinstance(part, nn.Module)
        assert isinstance(part.hidden, nn.Sequential)
        assert isinstance(part.head, nn.Module)
        parts += [*part.hidden, part.head]
    return parts


def _theory(
    arm: str, depth: int, options: Mapping[str, Any], second_moment: float
) -> tuple[list[theory.Layer], float]:
    """Return the layers, the code and the output as theory needs them, and the input's square."""
    layers = []
    matched = float(theory.match_depth(depth).var) if arm == "snn-matched" else 1.0
    if arm in _RECIPES:
        recipe = _RECIPES[arm]
        plain = Recipe("identity", "lecun" if recipe.init == "he" else recipe.init)
        for fan_in, fan_out, hidden in _sizes(depth, options):
            layers.append(predicted_layer(fan_in, fan_out, recipe if hidden else plain))
        return layers, second_moment
    constants = theory.solve(0.0, matched)
    selu = theory.activation("selu", alpha=constants.alpha, scale=constants.scale)
    entry = True  # the first layer of a part sees its input times the deviation it keeps
    for _, _, hidden in _sizes(depth, options):
        scale = matched if entry and hidden else (1.0 if hidden else 1.0 / matched)
        layers.append(theory.Layer(selu if hidden else "identity", weight_sumsq=scale))
        entry = not hidden
    return layers, second_moment


def _error(model: nn.Module, rows: Tensor) -> float:
    """Return the share of the sum of squares that is not reconstructed."""
    return float((model(rows) - rows).double().square().sum() / rows.double().square().sum())


def _pca_error(rows: ImageRows, components: int) -> float:
    """Return the error of the best linear autoencoder, fitted on the training rows."""
    train, test = (X.numpy().astype(np.float64) for X, _ in (rows.train, rows.test))
    _, _, directions = np.linalg.svd(train, full_matrices=False)
    basis = directions[:components]
    return float(np.square(test - test @ basis.T @ basis).sum() / np.square(test).sum())
