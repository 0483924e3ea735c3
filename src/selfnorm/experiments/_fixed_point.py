"""The fixed-point experiment: which target variance suits which depth."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from selfnorm import theory
from selfnorm.experiments._data import DATA_SETS, Dataset
from selfnorm.experiments._divided import load_divided
from selfnorm.experiments._fixed_point_report import render, table_of
from selfnorm.experiments._nets import NetPlan, build_net
from selfnorm.experiments._options import (
    check_choice,
    check_choices,
    check_integer,
    check_integers,
    check_positives,
)
from selfnorm.experiments._parts import Part, run_parts
from selfnorm.experiments._progress import ProgressCallback, Watch
from selfnorm.experiments._random import generator_for
from selfnorm.experiments._records import ExperimentResult
from selfnorm.experiments._together import train_together
from selfnorm.experiments._training import MOMENTUM, accuracy_of, as_rows

__all__ = ["WEIGHTS", "fixed_point"]

WEIGHTS: Final = ("gaussian", "orthogonal")
_INITS: Final = {"gaussian": "lecun", "orthogonal": "orthogonal"}


@dataclasses.dataclass(frozen=True)
class _Cell:
    """One kind of net: weights, depth, and SELU's target variance."""

    weights: str
    depth: int
    var: float
    matched: bool

    @property
    def name(self) -> str:
        """Text that tells the cell from all others."""
        return f"{self.weights}, depth {self.depth}, var {self.var:.6g}" + (
            " (depth-matched)" if self.matched else ""
        )


def fixed_point(
    *,
    variances: Sequence[float] = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0),
    depths: Sequence[int] = (10, 25, 50, 100, 200),
    weights: Sequence[str] = WEIGHTS,
    lrs: Sequence[float] = (0.001, 0.003, 0.01),
    data: str = "digits",
    data_dir: str | os.PathLike[str] | None = None,
    width: int = 64,
    epochs: int = 8,
    batch_size: int = 100,
    seed: int = 0,
    train_size: int | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
) -> ExperimentResult:
    """Train plain SELU nets for many target variances and depths.

    The question is: why (0, 1) and not (0, 4)? SELU's constants can be chosen for any target
    variance. Theory says what the choice trades: a large one pulls deviating activations back
    faster (the derivative of the variance map at the fixed point is smaller), but multiplies
    squared gradients by a larger factor per layer. This function trains a net for each target
    variance, depth and kind of weights, and sets the accuracies beside that theory. The
    depth-matched variance (:func:`selfnorm.theory.match_depth`) is added for each depth.

    Parameters
    ----------
    variances : sequence of float
        Target variances, above 0.
    depths : sequence of int
        Numbers of hidden layers. Nets of 500 and 1,000 layers train, with orthogonal weights and
        a small target variance.
    weights : sequence of {"gaussian", "orthogonal"}
        LeCun normal, or scaled orthogonal hidden layers.
    lrs : sequence of float
        Learning rates tried in each cell; the validation rows choose.
    data : {"digits", "mnist", "cifar10"}
        Data set, see :func:`load_data`.
    data_dir : path-like, optional
        Folder with the files.
    width, epochs, batch_size, seed : int
        Units per hidden layer, passes over the training rows, rows per step, seed.
    train_size : int, optional
        Keep the first rows of the training part, before validation rows are taken from it.
    out : path-like, optional
        Folder for ``result.json`` (written after each cell) and ``report.html`` (every half
        minute and at the end). If a run was interrupted, the same call takes its cells over.
    progress : callable, optional
        Called with a :class:`ProgressEvent` after each epoch of a cell, whose
        rates train side by side.

    Returns
    -------
    ExperimentResult
        The record, the summary table (one row per depth and kind of weights) and the files.

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
    Protocol: pixels standardised and scaled to the target variance, every fifth training row of
    each class held out for validation, SGD with momentum 0.9 whose rate falls to zero along half a
    cosine (nets of 1,000 layers diverge at constant rates that are otherwise right). The rate with
    the best validation accuracy after the last epoch is kept; test rows choose nothing. A cell in
    which every rate diverges has the accuracy None.

    ``record["arms"]`` holds one entry per cell: ``weights``, ``depth``, ``var``, ``matched``,
    theory's ``contraction`` (derivative of the variance map), ``spectral_norm``, ``chi`` and
    ``chi_depth``, ``test_accuracy``, ``lr``, ``accuracy`` (validation) and ``loss`` by epoch of the
    kept rate, ``seconds``, and all ``candidates``. The default grid takes about three minutes on
    one core.

    References
    ----------
    .. [1] Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks", NeurIPS
       2017, arXiv:1706.02515.

    Examples
    --------
    >>> from selfnorm.experiments import fixed_point
    >>> result = fixed_point(
    ...     variances=[0.5], depths=[3], weights=["orthogonal"], lrs=[0.01], width=16, epochs=1
    ... )
    >>> [arm["name"] for arm in result.record["arms"]]
    ['orthogonal, depth 3, var 0.5', 'orthogonal, depth 3, var 1 (depth-matched)']
    """
    options: dict[str, Any] = {
        "data": check_choice("data", data, DATA_SETS),
        "variances": check_positives("variances", variances),
        "depths": check_integers("depths", depths),
        "weights": check_choices("weights", weights, WEIGHTS),
        "lrs": check_positives("lrs", lrs),
        "width": check_integer("width", width),
        "epochs": check_integer("epochs", epochs),
        "batch_size": check_integer("batch_size", batch_size),
        "seed": check_integer("seed", seed, minimum=0),
        "momentum": MOMENTUM,
        "schedule": "cosine",
    }
    rows, _, about = load_divided(data, data_dir, train_size, options["batch_size"])
    options |= about | {"chance": rows.chance}
    cells = list(_cells(options))
    steps = options["epochs"] * -(-options["train_size"] // options["batch_size"])
    return run_parts(
        "fixed-point",
        [
            Part(
                cell.name,
                partial(_run_cell, cell, rows, options),
                options["epochs"],
                steps * len(options["lrs"]),
            )
            for cell in cells
        ],
        config=options,
        choice=("variances", "depths", "weights"),
        out=out,
        render=render,
        table_of=table_of,
        progress=progress,
        last=lambda done: (done["loss"][-1], done["accuracy"][-1]),
        diverged=lambda done: done["test_accuracy"] is None,
    )


def _cells(options: Mapping[str, Any]) -> Iterator[_Cell]:
    """Yield all cells; a depth-matched variance that the grid lacks comes last in its depth."""
    for weights in options["weights"]:
        for depth in options["depths"]:
            matched = float(theory.match_depth(depth).var)
            for var in dict.fromkeys((*options["variances"], matched)):
                yield _Cell(weights, depth, var, matched=var == matched)


def _run_cell(
    cell: _Cell, rows: Dataset, options: Mapping[str, Any], watch: Watch
) -> dict[str, Any]:
    """Train one net per learning rate and keep the one that validates best."""
    plan = NetPlan(
        n_features=rows.X_train.shape[1],
        width=options["width"],
        depth=cell.depth,
        n_classes=rows.n_classes,
        activation="selu",
        hidden_init=_INITS[cell.weights],
        head_init="lecun",
        target_var=cell.var,
    )
    inner = rows.with_validation()
    with_test = dataclasses.replace(inner, X_test=rows.X_test, y_test=rows.y_test)
    inner, with_test = (part.standardized().scaled(cell.var) for part in (inner, with_test))
    train_rows = as_rows(inner.X_train, inner.y_train)
    validation_rows = as_rows(inner.X_test, inner.y_test)
    test_rows = as_rows(with_test.X_test, with_test.y_test)
    labels = (options["seed"], cell.weights, cell.depth)
    # All target variances and rates of a depth begin with the same weights and see the same
    # batches: what differs is what is asked about.
    models = [build_net(plan, generator_for(*labels, "weights")) for _ in options["lrs"]]
    histories = train_together(
        plan,
        models,
        train_rows,
        validation_rows,
        epochs=options["epochs"],
        batch_size=options["batch_size"],
        lrs=options["lrs"],
        seeds=[generator_for(*labels, "order").initial_seed()] * len(models),
        schedule="cosine",
        same_batches=True,
        on_epoch=watch.epoch,
    )
    candidates = [
        {
            "lr": lr,
            "accuracy": history.accuracy,
            "loss": history.loss,
            "test_accuracy": None if history.diverged else accuracy_of(model, test_rows),
            "diverged": history.diverged,
            "seconds": history.seconds,
        }
        for lr, model, history in zip(options["lrs"], models, histories, strict=True)
    ]
    best = max(candidates, key=_last_accuracy)
    return {
        "weights": cell.weights,
        "depth": cell.depth,
        "var": cell.var,
        "matched": cell.matched,
        **_theory_of(cell),
        "lr": None if best["diverged"] else best["lr"],
        "test_accuracy": best["test_accuracy"],
        "accuracy": best["accuracy"],
        "loss": best["loss"],
        "seconds": sum(candidate["seconds"] for candidate in candidates),
        "candidates": candidates,
    }


def _last_accuracy(candidate: Mapping[str, Any]) -> float:
    """Return the validation accuracy after the last epoch, below all others if there is none."""
    last = candidate["accuracy"][-1]
    return -1.0 if last is None else float(last)


def _theory_of(cell: _Cell) -> dict[str, float]:
    """Return what theory says about the cell's fixed point."""
    solution = theory.solve(0.0, cell.var)
    chi = float(solution.chi)
    return {
        "alpha": float(solution.alpha),
        "scale": float(solution.scale),
        "contraction": float(solution.jacobian[1][1]),
        "spectral_norm": float(solution.spectral_norm),
        "chi": chi,
        "chi_depth": chi**cell.depth,
    }
