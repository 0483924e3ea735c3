"""Keep a training within a time: fewer epochs first, then fewer rows."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from selfnorm.errors import DomainError
from selfnorm.tabular._defaults import defaults_for

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Budget", "within"]

# Share of the remaining time that training may plan with: the rest is for measuring and for the
# error of the estimate.
_SHARE: Final = 0.7
_PROBE_ROWS: Final = 8192
_PROBE_EPOCHS: Final = 3
# A schedule of fewer epochs has no time to fall; then fewer rows are the better saving.
_LEAST_EPOCHS: Final = 3
_LEAST_ROWS: Final = 256


class Budget:
    """A time that runs from now.

    Parameters
    ----------
    seconds : float or None
        The limit; None is none.

    Raises
    ------
    DomainError
        If it is not positive.
    """

    def __init__(self, seconds: float | None) -> None:
        if seconds is not None and not seconds > 0.0:
            raise DomainError(
                f"time_limit must be more than 0 seconds, however: time_limit={seconds:g}"
            )
        self.seconds = seconds
        self._start = time.perf_counter()

    @property
    def left(self) -> float | None:
        """Seconds that are left; negative after the end; None without a limit."""
        if self.seconds is None:
            return None
        return self.seconds - (time.perf_counter() - self._start)


def within(
    budget: Budget,
    estimator: Any,
    frame: pd.DataFrame,
    y: NDArray[Any],
    generator: np.random.Generator,
) -> tuple[pd.DataFrame, NDArray[Any], list[str]]:
    """Set ``max_iter`` and draw rows so that ``fit`` takes about the time that is left.

    How fast the machine is is measured: two short trainings of the same network on some rows, one
    an epoch long and one longer, tell what an epoch costs and what is spent besides.

    Returns
    -------
    tuple
        Rows and targets to train on, and what was changed, in sentences.
    """
    if budget.left is None:
        return frame, y, []
    outputs = len(np.unique(y)) if hasattr(estimator, "predict_proba") else 1
    task: Any = "classification" if hasattr(estimator, "predict_proba") else "regression"
    rows = len(frame)
    rule = defaults_for(rows, frame.shape[1], outputs, task)
    sample = np.arange(rows)
    if rows > _PROBE_ROWS:
        sample = np.sort(generator.choice(rows, _PROBE_ROWS, replace=False))
    shape = {
        "hidden_layer_sizes": (rule.width,) * rule.depth,
        "batch_size": rule.batch_size,
        "n_members": rule.n_members if estimator.n_members == "auto" else estimator.n_members,
        "verbose": False,
    }
    probe = clone(estimator).set_params(**shape)
    part, wanted = frame.iloc[sample], y[sample]
    # What a training costs whatever its size: some of it only the first time in a process.
    few = _few(wanted, generator)
    _seconds(probe.set_params(max_iter=1), part.iloc[few], wanted[few])
    fixed = _seconds(probe, part.iloc[few], wanted[few])
    once = _seconds(probe, part, wanted)
    more = _seconds(probe.set_params(max_iter=1 + _PROBE_EPOCHS), part, wanted)
    steps = math.ceil(len(sample) / rule.batch_size)
    a_step = max((more - once) / (_PROBE_EPOCHS * steps), 1e-9)
    a_row = max(once - steps * a_step - fixed, 0.0) / len(sample)  # preprocessing, mostly
    left = max((budget.left or 0.0) * _SHARE - fixed, 0.0)
    an_epoch = math.ceil(rows / rule.batch_size) * a_step
    epochs = int((left - a_row * rows) / an_epoch)
    if epochs >= rule.epochs:
        return frame, y, []
    notes = []
    least = min(_LEAST_EPOCHS, rule.epochs)
    if epochs < least:
        epochs = least
        count = int(left / (a_row + least * a_step / rule.batch_size))
        count = min(max(count, _LEAST_ROWS), rows)
        if count < rows:
            chosen = np.sort(generator.choice(rows, count, replace=False))
            frame, y = frame.iloc[chosen], y[chosen]
            notes.append(f"To keep the time limit, training took {count:,} of {rows:,} rows.")
    if epochs < rule.epochs:
        notes.append(f"To keep the time limit, training took {epochs} of {rule.epochs} epochs.")
    estimator.set_params(max_iter=epochs)
    return frame, y, notes


def _few(y: NDArray[Any], generator: np.random.Generator) -> NDArray[np.intp]:
    """Draw some rows that hold two classes, if there are classes."""
    chosen = generator.choice(len(y), min(len(y), 64), replace=False)
    other = int(np.argmax(y != y[0]))
    return np.unique(np.append(chosen, [0, other]))


def _seconds(estimator: Any, frame: pd.DataFrame, y: NDArray[Any]) -> float:
    start = time.perf_counter()
    estimator.fit(frame, y)
    return time.perf_counter() - start
