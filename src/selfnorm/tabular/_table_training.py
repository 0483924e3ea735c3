"""From a table in a file to a trained estimator and the record of how it went."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

import selfnorm
from selfnorm.errors import DataError, DomainError
from selfnorm.tabular._defaults import defaults_for
from selfnorm.tabular._importance import IMPORTANCE_ROWS, predictions_per_row
from selfnorm.tabular._survey import Column, Survey, day_text, survey
from selfnorm.tabular._table_measuring import measure
from selfnorm.tabular._table_rows import gather
from selfnorm.tabular._table_target import Target, far_share, hold_out, target_of
from selfnorm.tabular._tables import TableFile, listed
from selfnorm.tabular._time_limit import Budget, measurable, rates_of, within

if TYPE_CHECKING:
    from selfnorm.tabular import SNNClassifier, SNNRegressor

__all__ = ["TrainedTable", "train_table"]

# Values that are held in memory: of the table (rows times columns, 512 MiB as float32), and of what
# the preprocessing makes of the training rows (as much). Of larger tables rows are drawn at random.
# Training holds up to three copies of its inputs: 2^27 of them peak at 1.9 GB in all (measured).
MOST_VALUES: Final = 1 << 27
MOST_INPUTS: Final = 1 << 27
# Rows held out, at most: an accuracy is then known to .0016 (standard error), and the others train.
MOST_HELD_OUT: Final = 100_000
_CODES: Final = 16  # inputs that a category of many levels becomes, about
_TASKS: Final = ("auto", "classification", "regression")


@dataclass(frozen=True)
class TrainedTable:
    """What `train_table` returns.

    Attributes
    ----------
    estimator : SNNClassifier or SNNRegressor
        Fitted; its ``table_`` says how rows of a file become its inputs.
    record : dict
        Metrics, pictures' numbers and settings; JSON can hold it.
    """

    estimator: SNNClassifier | SNNRegressor
    record: dict[str, Any]


def train_table(
    path: str | os.PathLike[str],
    target: str,
    *,
    task: str = "auto",
    ignore: Sequence[str] = (),
    test_fraction: float = 0.2,
    time_limit: float | None = None,
    members: int | str = "auto",
    seed: int = 0,
    verbose: bool = False,
    tell: Callable[[str], object] = lambda text: None,
) -> TrainedTable:
    """Train on a CSV or Parquet file, and measure on rows held out.

    The file is read twice in blocks: once to see what the columns are, once for the rows. In memory
    are at most 2²⁷ values (512 MiB), and as many inputs that the preprocessing makes of the
    training rows; of larger tables rows are drawn at random.

    Parameters
    ----------
    path : str or path-like
        The file.
    target : str
        Name of the column to predict. Rows without a value in it are left out.
    task : {"auto", "classification", "regression"}
        Auto: text is classes; so are at most 20 different whole numbers of which each is met in 5
        rows on average; other numbers are regression.
    ignore : sequence of str
        Columns to leave out, such as numbers of the rows.
    test_fraction : float
        Share of the rows held out, in (0, 1); at most 100,000 are.
    time_limit : float, optional
        Seconds, about, for everything. What a step and a prediction cost is measured first. To
        keep the limit, training gets fewer epochs, then fewer rows; measuring gets fewer rows if
        it would take more than 15 % of the time.
    members : int or "auto"
        Networks in the ensemble.
    seed : int
        Fixes split, weights and orders.
    verbose : bool
        Show a bar while training.
    tell : callable
        Is told what goes on, a line each.

    Returns
    -------
    TrainedTable
        Estimator and record.

    Raises
    ------
    DataError
        If the file, or what it holds, is nothing to learn from; the message says where and why.
    DomainError
        If an argument lies outside its domain.
    """
    if task not in _TASKS:
        raise DomainError(f"task must be one of {', '.join(_TASKS)}, however: task={task!r}")
    if not 0.0 < test_fraction < 1.0:
        raise DomainError(
            f"test_fraction must lie between 0 and 1, however: test_fraction={test_fraction:g}"
        )
    budget = Budget(time_limit)
    started = time.perf_counter()
    table = TableFile(path)
    table.require(target, "the target")
    for name in ignore:
        table.require(name, "an ignored column")
    if target in ignore:
        raise DomainError(f"the target cannot be ignored, however: both are {target!r}")
    tell(f"looking at {table.path}")
    seen, raw = survey(table, keep=target)
    goal = target_of(seen.columns[target], raw, table.decimal, task)
    del raw
    columns = _usable(seen, target, ignore)
    notes = [*table.notes, *_notes(seen, target, ignore, goal)]
    generator = np.random.default_rng(seed)
    held = _hold_out(goal, test_fraction, generator, notes)
    part = _parts(goal, held, columns, generator, notes)
    tell(f"reading {int((part > 0).sum()):,} rows of {len(columns)} columns")
    training, testing = gather(table, columns, part)
    chosen = part[goal.known]
    y_training, y_testing = goal.values[chosen == 1], goal.values[chosen == 2]
    read = time.perf_counter() - started

    estimator = _estimator(goal, members, seed, verbose)
    targets = _labels(goal, y_training)
    began = time.perf_counter()
    per_row = predictions_per_row(len(columns))
    shuffled = min(IMPORTANCE_ROWS, len(testing))
    rates = None
    if time_limit is not None:
        tell("measuring what a step of the training takes")
        rates = rates_of(budget, estimator, training, targets, generator)
        training, targets, changes = within(
            budget,
            rates,
            estimator,
            training,
            targets,
            len(testing) + shuffled * per_row,
            generator,
        )
        notes += changes
    planned = time.perf_counter() - began
    tell(f"training on {len(training):,} rows")
    began = time.perf_counter()
    estimator.fit(training, targets)
    fitted = time.perf_counter() - began
    estimator.table_ = _table_state(goal, columns)

    began = time.perf_counter()
    if rates is not None:
        held_rows, shuffled = measurable(budget, rates, len(testing), shuffled, per_row)
        if held_rows < len(testing):
            notes.append(
                f"To keep the time limit, {held_rows:,} of {len(testing):,} rows held out were "
                "measured."
            )
            drawn = np.sort(generator.choice(len(testing), held_rows, replace=False))
            testing, y_testing = testing.iloc[drawn], y_testing[drawn]
    tell(f"measuring on {len(testing):,} rows held out")
    record = {
        "format": 1,
        "selfnorm": selfnorm.__version__,
        "file": str(table.path),
        "target": target,
        "task": goal.task,
        "task_reason": goal.reason,
        "rows": {
            "file": seen.rows,
            "without_target": int((~goal.known).sum()),
            "training": len(training),
            "held_out": len(testing),
        },
        "columns": [_described(one, target, ignore) for one in seen.columns.values()],
        "notes": notes,
        "classes": [str(label) for label in goal.classes.tolist()],
        **measure(estimator, goal, testing, y_testing, y_training, generator, shuffled),
        "curves": {"loss": [float(v) for v in estimator.loss_curve_]},
        "settings": _settings(estimator, test_fraction, seed, time_limit),
        "environment": _environment(),
    }
    spent = {"reading": read} | ({} if rates is None else {"planning": planned})
    spent |= {"training": fitted, "measuring": time.perf_counter() - began}
    record["seconds"] = {name: round(seconds, 3) for name, seconds in spent.items()}
    return TrainedTable(estimator, record)


# ---- before training ----------------------------------------------------------------------------


def _usable(seen: Survey, target: str, ignore: Sequence[str]) -> list[Column]:
    out = (target, *ignore)
    columns = [one for name, one in seen.columns.items() if name not in out and one.usable]
    if not columns:
        others = [name for name in seen.columns if name not in out]
        holds = "holds" if len(others) == 1 else "hold"
        what = f"{listed(others)} {holds} nothing usable" if others else "there are no others"
        raise DataError(
            "the table must have columns to learn from besides the target, however: "
            f"{what}; numbers, dates and texts that come again are usable"
        )
    return columns


def _notes(seen: Survey, target: str, ignore: Sequence[str], goal: Target) -> list[str]:
    """Say what was decided about the columns."""
    notes = []
    absent = int((~goal.known).sum())
    if absent:
        notes.append(f"{absent:,} rows have no target and are left out.")
    for one in seen.columns.values():
        if one.markers:
            notes.append(
                f"In column {one.name!r} of numbers, {listed(one.markers)} counts as missing."
            )
        if one.name == target or one.name in ignore:
            continue
        if one.counts:
            notes.append(
                f"Column {one.name!r} numbers the rows and is used all the same; if it says "
                f"nothing about a new row, --ignore it."
            )
        if one.padded:
            notes.append(f"Column {one.name!r} has digits after a 0, as codes have: a category.")
        if one.kind == "empty":
            notes.append(f"Column {one.name!r} is empty and is left out.")
        elif one.kind == "identifier":
            notes.append(f"Column {one.name!r} has a new text in nearly every row; left out.")
        elif one.kind == "constant":
            notes.append(f"Column {one.name!r} always holds the same and is left out.")
    if goal.task == "regression" and (share := far_share(goal.values)) > 0.5:
        notes.append(
            f"The 1 % of the rows with the farthest targets make up {100 * share:.0f} % of their "
            "variance and so of the squared error; if ratios matter more than differences, train "
            "on the logarithm of the target."
        )
    if goal.task == "classification":
        sizes = np.bincount(goal.values, minlength=len(goal.classes))
        if lonely := int((sizes == 1).sum()):
            notes.append(f"{lonely:,} classes are met once; they cannot be measured.")
    return notes


def _hold_out(
    goal: Target, fraction: float, generator: np.random.Generator, notes: list[str]
) -> NDArray[np.bool_]:
    """Choose the rows that are held out: the share that was asked for, or as many as are needed."""
    known = len(goal.values)
    if fraction * known > MOST_HELD_OUT:
        notes.append(
            f"{MOST_HELD_OUT:,} rows are held out, not {fraction:.3g} of all: they tell an "
            "accuracy to .002, and the others are there to train on."
        )
        fraction = MOST_HELD_OUT / known
    return hold_out(goal, fraction, generator)


def _parts(
    goal: Target,
    held: NDArray[np.bool_],
    columns: list[Column],
    generator: np.random.Generator,
    notes: list[str],
) -> NDArray[np.uint8]:
    """Return for each row of the file 0 (not read), 1 (training) or 2 (held out)."""
    chosen = np.where(held, 2, 1).astype(np.uint8)
    _draw(chosen, (1, 2), MOST_VALUES // len(columns), generator)
    training = int((chosen == 1).sum())
    _draw(chosen, (1,), MOST_INPUTS // _inputs(goal, columns, training), generator)
    if not chosen.all():
        kept = [
            f"{int((chosen == k).sum()):,} of {int(total):,}"
            for k, total in ((1, (~held).sum()), (2, held.sum()))
        ]
        notes.append(
            f"To fit into memory, rows were drawn at random: {kept[0]} to train on, {kept[1]} to "
            "measure on."
        )
    part = np.zeros(len(goal.known), dtype=np.uint8)
    part[goal.known] = chosen
    return part


def _draw(
    chosen: NDArray[np.uint8], kinds: tuple[int, ...], most: int, generator: np.random.Generator
) -> None:
    """Set rows of these kinds to 0 until at most so many are left."""
    rows = np.flatnonzero(np.isin(chosen, kinds))
    if len(rows) > most:
        chosen[generator.choice(rows, len(rows) - max(most, 2), replace=False)] = 0


def _inputs(goal: Target, columns: list[Column], rows: int) -> int:
    """Return about how many inputs the preprocessing makes of the columns."""
    numbers = sum(one.levels is None for one in columns)
    flags = sum(one.missing > 0 for one in columns if one.levels is None)
    codes = sum(min(len(one.levels), _CODES) for one in columns if one.levels is not None)
    plain = numbers + flags + codes
    outputs = max(1, len(goal.classes))
    return plain + numbers * defaults_for(max(rows, 1), plain, outputs, goal.task).bins


def _estimator(goal: Target, members: int | str, seed: int, verbose: bool) -> Any:
    from selfnorm.tabular import SNNClassifier, SNNRegressor

    kind = SNNClassifier if goal.task == "classification" else SNNRegressor
    return kind(n_members=members, random_state=seed, verbose=verbose)


def _labels(goal: Target, values: NDArray[Any]) -> NDArray[Any]:
    return goal.classes[values] if goal.task == "classification" else values


def _table_state(goal: Target, columns: list[Column]) -> dict[str, Any]:
    """Return what a file's rows need to become inputs: no data, no levels."""
    return {
        "target": goal.name,
        "task": goal.task,
        "columns": [
            {"name": c.name, "kind": c.kind, "wide": c.wide, "markers": list(c.markers)}
            for c in columns
        ],
    }


# ---- after training -----------------------------------------------------------------------------


def _described(column: Column, target: str, ignore: Sequence[str]) -> dict[str, Any]:
    ends: list[Any] = [column.low, column.high]
    if column.kind == "date":
        ends = [day_text(days) for days in ends]
    used = "yes" if column.usable and column.name not in ignore else "no"
    return {
        "name": column.name,
        "kind": column.kind,
        "missing": column.missing,
        "levels": None if column.levels is None else len(column.levels),
        "low": ends[0],
        "high": ends[1],
        "used": "target" if column.name == target else used,
    }


def _settings(
    estimator: Any, test_fraction: float, seed: int, time_limit: float | None
) -> dict[str, Any]:
    """Return what training really used, "auto" resolved where the fitted nets tell it."""
    net = estimator.networks_[0]
    params = {
        name: value if isinstance(value, bool | int | float | str | None) else str(value)
        for name, value in estimator.get_params(deep=False).items()
    }
    return {
        "parameters": params,
        "used": {
            "members": len(estimator.networks_),
            "hidden layers": len(net.widths),
            "units of each": ", ".join(map(str, dict.fromkeys(net.widths))) or "none",
            "activation": net.activation,
            "fixed point (mean, var)": f"{net.fixed_point[0]:.4g}, {net.fixed_point[1]:.4g}",
            "dropout": net.dropout,
            "inputs after preprocessing": net.in_features,
            "epochs": int(estimator.n_iter_),
            "temperature": float(getattr(estimator, "temperature_", 1.0)),
            "held-out share": test_fraction,
            "seed": seed,
            "time limit, s": time_limit,
        },
    }


def _environment() -> dict[str, str]:
    return {
        "selfnorm": selfnorm.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": str(torch.get_num_threads()),
    }
