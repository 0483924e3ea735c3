"""The bn-vs-selu experiment: self-normalizing nets against batch norm, on images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from selfnorm.errors import DomainError
from selfnorm.experiments._augment import Augmentation
from selfnorm.experiments._bn_vs_selu_presets import MODELS, PRESETS, preset_for
from selfnorm.experiments._bn_vs_selu_report import render, table_of
from selfnorm.experiments._data import DATA_SETS, Dataset, load_data
from selfnorm.experiments._options import (
    check_choice,
    check_choices,
    check_integer,
    check_integers,
    check_positives,
)
from selfnorm.experiments._parts import Part, run_parts
from selfnorm.experiments._progress import ProgressCallback, Watch
from selfnorm.experiments._records import ExperimentResult, digest_of
from selfnorm.experiments._rival_nets import Shape, build_rival, check_maps, input_var, net_named
from selfnorm.experiments._selection import Parts, Protocol, memory_of, parts_of, train_selected

__all__ = ["IMAGE_ARMS", "bn_vs_selu"]

IMAGE_ARMS: Final = ("selu", "selu-matched", "ws-selu", "elu", "relu-bn", "relu-ln", "relu")
# Shift of the crops as a share of the image: 4 of 32 pixels, as is usual for CIFAR-10.
_CROP_SHARE: Final = 8


@dataclasses.dataclass(frozen=True)
class _Cell:
    """One arm at one depth and batch size."""

    arm: str
    depth: int
    batch_size: int

    @property
    def name(self) -> str:
        """Text that tells the cell from all others."""
        layers = f"{self.depth} layer" + ("s" if self.depth > 1 else "")
        return f"{self.arm}, {layers}, batch {self.batch_size}"


def bn_vs_selu(
    *,
    data: str = "digits",
    model: str = "mlp",
    preset: str = "quick",
    arms: Sequence[str] | None = None,
    depths: Sequence[int] | None = None,
    batch_sizes: Sequence[int] | None = None,
    lrs: Sequence[float] | None = None,
    width: int | None = None,
    stages: int | None = None,
    epochs: int | None = None,
    small_epochs: int | None = None,
    seed: int = 0,
    seeds: int | None = None,
    train_size: int | None = None,
    test_size: int | None = None,
    augment: bool | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
) -> ExperimentResult:
    """Train plain nets on images: SELU in several forms, batch norm, layer norm, neither.

    The arms are

    * ``selu``: SELU with the fixed point (0, 1), LeCun normal weights, as the paper prescribes;
    * ``selu-matched``: SELU whose target variance suits the depth
      (:func:`selfnorm.theory.match_depth`), inputs scaled to it, orthogonal weights;
    * ``ws-selu``: SELU behind standardised weights (:class:`selfnorm.nn.WSLinear`), which hold the
      sums Σw = 0 and Σw² = 1 at every step;
    * ``elu``: ELU with α = 1 and He normal weights, as in the paper that introduced it;
    * ``relu-bn``, ``relu-ln``: ReLU and He normal weights with batch or layer normalisation;
    * ``relu``: ReLU and He normal weights alone.

    Each depth is trained at the largest batch size, and each other batch size at the smallest
    depth.

    Parameters
    ----------
    data : {"digits", "mnist", "cifar10"}
        Data set, see :func:`load_data`.
    model : {"mlp", "cnn"}
        Fully connected layers, or 3×3 convolutions: padded with zeros, behind which SELU's
        restore the variance. No net has skip connections, dropout or weight decay.
    preset : {"quick", "paper", "paper-small"}
        ``quick``: minutes on one core; for each arm the rate is chosen from one grid. ``paper``:
        the setting of figure 1 of the paper [1]_, SELU against ReLU with batch norm behind it:
        hidden layers as wide as the input, SGD without momentum, rate 1e-5 on the loss summed
        over batches of 128, 2,000 epochs (weeks on a CPU). ``paper-small``: the same steps on
        fewer rows, narrower and for fewer epochs.
    arms : sequence of str, optional
        Arms to train, by default those of the preset.
    depths, batch_sizes : sequence of int, optional
        Hidden layers; rows per step.
    lrs : sequence of float, optional
        Learning rates at the largest batch size; at others they are multiplied by the ratio of
        the batch sizes. The best by validation accuracy is kept.
    width : int, optional
        Units per hidden layer, or channels in the first stage of a CNN, doubled in each stage.
    stages : int, optional
        Stages of a CNN; the first layer of each halves height and width.
    epochs, small_epochs : int, optional
        Passes over the training rows at the largest batch size, and at the others.
    seed, seeds : int
        First seed, which also chooses the rate, and number of seeds.
    train_size, test_size : int, optional
        Keep the first training rows (of which a fifth validates) and the first test rows.
    augment : bool, optional
        Random crops, and for CIFAR-10 random flips, of the training images. By default for the
        CNN on CIFAR-10 alone.
    data_dir : path-like, optional
        Folder with the files, see :func:`load_data`.
    out : path-like, optional
        Folder for ``result.json``, written after each cell, and ``report.html``. If a run was
        interrupted, the same call takes its finished cells over.
    progress : callable, optional
        Called with a :class:`ProgressEvent` after each optimiser step.

    Returns
    -------
    ExperimentResult
        The record, the summary table (one row per cell) and the paths of the files.

    Raises
    ------
    DomainError
        If an option is out of its domain, or ``out`` cannot be written.
    DataError
        If the data are missing or damaged, or have fewer rows than asked for.
    MissingDependencyError
        If a package is missing that reads the data or draws the report.

    Notes
    -----
    Pixels are standardised one by one, for the CNN by channel, over the training rows. Every fifth
    training row of each class validates and is never trained on. Test rows choose nothing.

    ``record["arms"]`` holds per cell: ``accuracy`` (test), ``validation`` and ``loss`` (training,
    mean over the epoch, nats) by epoch, means over the seeds and by seed; ``lr``, and
    ``lr_at_end`` if it is an end of the grid; ``epoch_seconds``, steps alone; ``saved_bytes``, what
    autograd keeps of one step, and ``peak_bytes``, by how much torch's allocations grow in one
    (gradients included); ``diverged``; and ``refused``, the reason why torch will not train the
    net on such batches, for example batch norm on a single row.

    References
    ----------
    .. [1] Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks", NeurIPS
       2017, arXiv:1706.02515.

    Examples
    --------
    >>> from selfnorm.experiments import bn_vs_selu
    >>> result = bn_vs_selu(arms=["selu", "relu-bn"], depths=[3], batch_sizes=[1, 100],
    ...                     lrs=[0.01], width=16, epochs=1, small_epochs=1, seeds=1, train_size=200)
    >>> for cell in result.record["arms"]:
    ...     print(cell["name"], "| refused" if cell["refused"] else "| trained")
    selu, 3 layers, batch 100 | trained
    relu-bn, 3 layers, batch 100 | trained
    selu, 3 layers, batch 1 | trained
    relu-bn, 3 layers, batch 1 | refused
    """
    check_choice("data", data, DATA_SETS)
    check_choice("model", model, MODELS)
    check_choice("preset", preset, PRESETS)
    base = preset_for(preset, data, model)
    rows = load_data(data, data_dir=data_dir)
    rows = _first(rows, train_size, test_size, base.train_size, base.test_size)
    inner = rows.with_validation()
    options: dict[str, Any] = {
        "data": data,
        "model": model,
        "preset": preset,
        "arms": check_choices("arms", base.arms if arms is None else arms, IMAGE_ARMS),
        "depths": check_integers("depths", base.depths if depths is None else depths),
        "batch_sizes": check_integers(
            "batch_sizes", base.batch_sizes if batch_sizes is None else batch_sizes
        ),
        "lrs": check_positives("lrs", base.lrs if lrs is None else lrs),
        "width": check_integer(
            "width", (base.width or rows.X_train.shape[1]) if width is None else width
        ),
        "stages": check_integer("stages", base.stages if stages is None else stages),
        "epochs": check_integer("epochs", base.epochs if epochs is None else epochs),
        "small_epochs": check_integer(
            "small_epochs", base.small_epochs if small_epochs is None else small_epochs
        ),
        "seed": check_integer("seed", seed, minimum=0),
        "seeds": check_integer("seeds", base.seeds if seeds is None else seeds),
        "augment": (model, data) == ("cnn", "cifar10") if augment is None else bool(augment),
        "momentum": base.momentum,
        "schedule": base.schedule,
        "summed": base.summed,
        "norm_after": base.norm_after,
        "train_size": len(inner.X_train),
        "validation_size": len(inner.X_test),
        "test_size": len(rows.X_test),
        "data_source": rows.source,
        "data_digest": digest_of(rows),
        "chance": rows.chance,
    }
    _check_rows(options)
    if model == "cnn":
        for depth in options["depths"]:
            check_maps(_shape(rows, depth, options))
    cells = list(_cells(options))
    parts = []
    for cell in cells:
        protocol = _protocol(cell, options)
        steps = protocol.steps(options["train_size"])
        run = partial(_run_cell, cell, rows, options, protocol)
        parts.append(Part(cell.name, run, protocol.epochs, steps))
    return run_parts(
        "bn-vs-selu",
        parts,
        config=options,
        choice=("arms", "depths"),
        out=out,
        render=render,
        table_of=table_of,
        progress=progress,
        last=_last,
        diverged=lambda done: bool(done["diverged"]),
    )


def _last(done: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return the last loss and accuracy; a net that cannot train has none."""
    loss, accuracy = (done[key][-1] if done[key] else None for key in ("loss", "accuracy"))
    return loss, accuracy


def _first(
    rows: Dataset,
    train_size: int | None,
    test_size: int | None,
    most_train: int | None,
    most_test: int | None,
) -> Dataset:
    """Keep the rows asked for, or as many as the preset wants and the data have."""
    if train_size is not None:
        rows = rows.take(train_size)
    elif most_train is not None:
        rows = rows.take(min(most_train, len(rows.X_train)))
    if test_size is not None:
        return rows.take_test(test_size)
    return rows if most_test is None else rows.take_test(min(most_test, len(rows.X_test)))


def _check_rows(options: Mapping[str, Any]) -> None:
    """Refuse batches and parts for which there are too few rows."""
    if not options["validation_size"]:
        raise DomainError(
            "train_size must leave validation rows, at least five rows of one class, however: "
            f"{options['train_size']} training rows leave none"
        )
    largest = max(options["batch_sizes"])
    if largest > options["train_size"]:
        raise DomainError(
            f"batch_sizes must be at most {options['train_size']}, the training rows without "
            f"those for validation, however: batch_sizes holds {largest}; choose smaller batches "
            "or a larger train_size"
        )


def _cells(options: Mapping[str, Any]) -> Iterator[_Cell]:
    """Yield each depth at the largest batch size, then the other batch sizes, shallow."""
    *small, largest = options["batch_sizes"]
    pairs = [(depth, largest) for depth in options["depths"]]
    pairs += [(min(options["depths"]), size) for size in reversed(small)]
    for depth, size in pairs:
        for arm in options["arms"]:
            yield _Cell(arm, depth, size)


def _shape(rows: Dataset, depth: int, options: Mapping[str, Any]) -> Shape:
    return Shape(
        options["model"],
        rows.shape,
        depth,
        options["width"],
        rows.n_classes,
        stages=options["stages"],
        norm_after=options["norm_after"],
    )


def _protocol(cell: _Cell, options: Mapping[str, Any]) -> Protocol:
    """Return the training of a cell; the rates follow the batch size."""
    largest = max(options["batch_sizes"])
    return Protocol(
        epochs=options["epochs" if cell.batch_size == largest else "small_epochs"],
        batch_size=cell.batch_size,
        lrs=[lr * cell.batch_size / largest for lr in options["lrs"]],
        seed=options["seed"],
        seeds=options["seeds"],
        momentum=options["momentum"],
        schedule=options["schedule"],
        summed=options["summed"],
    )


def _run_cell(
    cell: _Cell, rows: Dataset, options: Mapping[str, Any], protocol: Protocol, watch: Watch
) -> dict[str, Any]:
    """Train one cell, or say why torch will not."""
    arm, shape = net_named(cell.arm), _shape(rows, cell.depth, options)
    parts: Parts = parts_of(
        rows, var=input_var(arm, cell.depth), by_channel=options["model"] == "cnn"
    )

    def build(generator: Any) -> Any:
        return build_rival(arm, shape, generator)

    def augmentation(generator: Any) -> Augmentation:
        padding = min(rows.shape[1:]) // _CROP_SHARE
        return Augmentation(rows.shape, padding, options["data"] == "cifar10", generator)

    record: dict[str, Any] = {
        "arm": cell.arm,
        "depth": cell.depth,
        "batch_size": cell.batch_size,
        "epochs": protocol.epochs,
        **memory_of(build, parts.train, cell.batch_size),
    }
    if record["refused"]:
        empty: dict[str, Any] = dict.fromkeys(("lr", "lr_at_end", "epoch_seconds"))
        curves = ("accuracy", "validation", "loss")
        empty |= {key: [] for name in curves for key in (name, f"{name}_by_seed")}
        return record | empty | {"seconds": 0.0, "diverged": [], "candidates": []}
    return record | train_selected(
        build,
        parts,
        protocol,
        labels=(cell.arm, cell.depth, cell.batch_size),
        watch=watch,
        transform=augmentation if options["augment"] else None,
    )
