"""One method on one fold: its figures, and the log that keeps them."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from selfnorm._files import write_atomically
from selfnorm.experiments._records import plain
from selfnorm.experiments._rivals import Method
from selfnorm.experiments._tabular_data import Table

__all__ = ["BINS", "FLOOR", "Cell", "Log", "calibration_error", "identity", "run_cell"]

BINS: Final = 15  # equal bins of the confidence, as the calibration error is commonly measured
FLOOR: Final = 1e-3  # of a probability in the log-loss: the votes of 500 trees are often 0

Cell = dict[str, Any]
_KEYS: Final = ("data", "set", "fold", "method", "version")


def identity(collection: str, table: Table, fold: int, method: Method) -> Cell:
    """Return what tells a cell from all others."""
    return {
        "data": collection,
        "set": table.name,
        "fold": fold,
        "method": method.name,
        "version": method.version,
    }


def run_cell(collection: str, table: Table, fold: int, method: Method) -> Cell:
    """Fit a method on the training rows of a fold and measure it on the test rows.

    Parameters
    ----------
    collection : str
        Name of the collection, for the record.
    table : Table
        The data set.
    fold : int
        Which of its folds, from 0; it is the seed as well.
    method : Method
        An installed method.

    Returns
    -------
    dict
        The identity, rows, processor seconds to fit and to predict (in one thread those of a clock,
        but not disturbed by what else runs), and accuracy, log-loss in nats (each
        probability at least `FLOOR`), calibration bins and area under the curve (two classes) or
        root mean square error. A method that raises has ``error`` instead of the figures.
    """
    test = table.tests[fold]
    X, y = table.X[~test], table.y[~test]
    cell = identity(collection, table, fold, method) | {
        "n_train": len(y),
        "n_test": int(test.sum()),
    }
    with _silence():
        try:
            start = time.process_time()
            model = method.estimator(table, fold).fit(X, y)
            middle = time.process_time()
            if table.task == "regression":
                predicted = np.asarray(model.predict(table.X[test])).ravel()
            else:
                predicted, probability, score = _answers(model, table, table.X[test])
            end = time.process_time()
        except Exception as error:  # noqa: BLE001 - a rival that fails is a row of the table
            return cell | {"error": f"{type(error).__name__}: {error}"[:300]}
    cell |= {"fit_seconds": middle - start, "predict_seconds": end - middle}
    if table.task == "regression":
        residual = predicted.astype(np.float64) - table.y[test]
        cell |= {"rmse": float(np.sqrt(np.mean(residual**2)))}
    else:
        cell |= _classified(predicted, probability, score, table.y[test])
    finished: Cell = plain(cell)
    return finished


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep what a rival says about itself (not converged, a bar, a tip) off our output."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        yield


def _answers(
    model: Any, table: Table, X: NDArray[np.float32]
) -> tuple[NDArray[Any], NDArray[np.float64] | None, NDArray[Any] | None]:
    """Return predicted classes, probabilities (n, classes), and what orders rows of two classes.

    Support vector machines have no probabilities; their distances order the rows.
    """
    if not hasattr(model, "predict_proba"):
        score = model.decision_function(X) if table.n_classes == 2 else None
        return np.asarray(model.predict(X)).ravel(), None, score
    given = np.asarray(model.predict_proba(X), np.float64)
    classes = np.asarray(model.classes_).astype(np.int64)
    probability = np.zeros((len(X), table.n_classes))
    probability[:, classes] = given
    score = probability[:, 1] if table.n_classes == 2 else None
    return classes[given.argmax(axis=1)], probability, score


def _classified(
    predicted: NDArray[Any],
    probability: NDArray[np.float64] | None,
    score: NDArray[Any] | None,
    y: NDArray[np.int64],
) -> dict[str, Any]:
    correct = predicted == y
    figures: dict[str, Any] = {"accuracy": float(correct.mean())}
    if score is not None and 0 < y.sum() < len(y):
        from sklearn.metrics import roc_auc_score

        figures["auc"] = float(roc_auc_score(y, score))
    if probability is None:
        return figures
    own = np.maximum(probability[np.arange(len(y)), y], FLOOR)
    confidence = probability.max(axis=1)
    at = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    figures["log_loss"] = float(-np.log(own).mean())
    figures["bins"] = [
        [int(n), float(c), int(k)]
        for n, c, k in zip(
            np.bincount(at, minlength=BINS),
            np.bincount(at, confidence, minlength=BINS),
            np.bincount(at, correct, minlength=BINS),
            strict=True,
        )
    ]
    return figures


class Log:
    """Finished cells as lines of JSON: what a killed run had finished is there for the next.

    Parameters
    ----------
    path : path-like or None
        The file; None keeps the cells in memory only.
    resume : bool
        Whether to take over the cells of the file that is there; otherwise it is emptied.

    Notes
    -----
    A line that a killed process has not finished is dropped. A cell that ended with an error, or of
    another version of the method, is run again.
    """

    def __init__(self, path: str | os.PathLike[str] | None, *, resume: bool = True) -> None:
        self._path = None if path is None else Path(path)
        self._cells: dict[tuple[Any, ...], Cell] = {}
        if self._path is not None and resume:
            for cell in _read(self._path):
                if "error" not in cell:
                    self._cells[_key(cell)] = cell
        if self._path is not None:
            # Rewritten whole, so that what is appended does not follow half a line.
            lines = [json.dumps(cell, allow_nan=False) + "\n" for cell in self._cells.values()]
            write_atomically(self._path, "".join(lines))

    def find(self, wanted: Cell) -> Cell | None:
        """Return the finished cell of this identity, None if there is none."""
        return self._cells.get(_key(wanted))

    def add(self, cell: Cell) -> None:
        """Keep a cell and append it to the file."""
        self._cells[_key(cell)] = cell
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(cell, allow_nan=False) + "\n")


def _key(cell: Cell) -> tuple[Any, ...]:
    return tuple(cell[name] for name in _KEYS)


def _read(path: Path) -> Iterable[Cell]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            cell = json.loads(line)
        except ValueError:
            continue
        if isinstance(cell, dict) and all(name in cell for name in _KEYS):
            yield cell


def calibration_error(bins: Iterable[Iterable[Iterable[float]]]) -> float:
    """Return the expected calibration error of cells' bins, pooled.

    Parameters
    ----------
    bins : iterable
        For each cell `BINS` triples: rows, sum of confidences, correct ones.

    Returns
    -------
    float
        Mean over the rows of the absolute difference of confidence and accuracy of their bin.
    """
    pooled = np.sum([np.asarray(list(map(list, cell)), np.float64) for cell in bins], axis=0)
    rows = float(pooled[:, 0].sum())
    return float(np.abs(pooled[:, 1] - pooled[:, 2]).sum() / rows) if rows else math.nan
