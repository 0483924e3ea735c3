"""Keep a training within a time: what may be spent on what, from rates that are measured."""

from __future__ import annotations

import dataclasses
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

__all__ = ["Budget", "Rates", "measurable", "rates_of", "within"]

# Seconds kept for what comes after measuring: the files and the report's pictures (measured: 1.6 s
# and 2.5 s in a process of its own, libraries included). Of a short limit at most this share.
_REPORT: Final = 3.0
_REPORT_SHARE: Final = 0.1
# Measuring may take this share of the limit; training plans with the rest, less a share for what
# the rates do not know (large arrays are slower than small ones).
_MEASURING_SHARE: Final = 0.15
_TRAINING_SHARE: Final = 0.85
_PLENTY: Final = 0.5  # of what training can have: it will fit into it
_PROBE_ROWS: Final = 8192
_PROBE_EPOCHS: Final = 3
# A schedule of fewer epochs has no time to fall; then fewer rows are the better saving.
_LEAST_EPOCHS: Final = 3
_LEAST_ROWS: Final = 256
# Measured on fewer rows, the scores say little: 1,000 give an accuracy to .016 (standard error).
_LEAST_HELD: Final = 1000
_LEAST_IMPORTANCE: Final = 100
# However late it is, measuring gets this share of what it was promised.
_LATE: Final = 0.25


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
    def left(self) -> float:
        """Seconds until the report must begin; negative after that; infinite without a limit."""
        if self.seconds is None:
            return math.inf
        report = min(_REPORT, _REPORT_SHARE * self.seconds)
        return self.seconds - report - (time.perf_counter() - self._start)

    @property
    def measuring(self) -> float:
        """Seconds that may be planned for measuring; infinite without a limit."""
        return math.inf if self.seconds is None else _MEASURING_SHARE * self.seconds


@dataclasses.dataclass(frozen=True)
class Rates:
    """What the machine was found to take, in seconds.

    Attributes
    ----------
    fixed : float
        A training whatever its size.
    a_row : float
        Each training row once: preprocessing, calibration.
    a_step : float
        Each step of the optimiser.
    a_prediction : float
        Each predicted row.
    """

    fixed: float
    a_row: float
    a_step: float
    a_prediction: float


def rates_of(
    budget: Budget,
    estimator: Any,
    frame: pd.DataFrame,
    y: NDArray[Any],
    generator: np.random.Generator,
) -> Rates:
    """Train the network that the whole table gets on at most 8,192 of its rows, and predict them.

    Two trainings, one an epoch long and one longer, tell what a step costs and what a row; one on
    few rows, what is spent besides. Where an epoch alone, all of it counted as steps, shows that
    there is time in plenty, this upper bound of a step is enough.
    """
    rule = _rule(estimator, frame, y)
    sample = np.arange(len(frame))
    if len(frame) > _PROBE_ROWS:
        sample = np.sort(generator.choice(len(frame), _PROBE_ROWS, replace=False))
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
    steps = math.ceil(len(sample) / rule.batch_size)
    a_step, a_row = max(once / steps, 1e-9), 0.0
    if a_step * rule.steps(len(frame)) > _PLENTY * (budget.left - budget.measuring):
        more = _seconds(probe.set_params(max_iter=1 + _PROBE_EPOCHS), part, wanted)
        a_step = max((more - once) / (_PROBE_EPOCHS * steps), 1e-9)
        a_row = max(once - steps * a_step - fixed, 0.0) / len(sample)
    start = time.perf_counter()
    probe.predict(part)
    predicted = time.perf_counter() - start
    return Rates(fixed, a_row, a_step, predicted / len(sample))


def within(
    budget: Budget,
    rates: Rates,
    estimator: Any,
    frame: pd.DataFrame,
    y: NDArray[Any],
    predictions: int,
    generator: np.random.Generator,
) -> tuple[pd.DataFrame, NDArray[Any], list[str]]:
    """Set ``max_iter`` and draw rows so that ``fit`` takes about the time that is left for it.

    Parameters
    ----------
    budget : Budget
        What is left.
    rates : Rates
        From `rates_of`.
    estimator : SNNClassifier or SNNRegressor
        Its ``max_iter`` is set where all epochs would take too long.
    frame, y : DataFrame and ndarray
        The training rows and targets.
    predictions : int
        Rows that measuring wants to predict afterwards.
    generator : numpy.random.Generator
        Draws the rows.

    Returns
    -------
    tuple
        Rows and targets to train on, and what was changed, in sentences.
    """
    rows, rule = len(frame), _rule(estimator, frame, y)
    reserved = min(predictions * rates.a_prediction, budget.measuring)
    left = max((budget.left - reserved) * _TRAINING_SHARE - rates.fixed, 0.0)
    an_epoch = math.ceil(rows / rule.batch_size) * rates.a_step
    epochs = int(min((left - rates.a_row * rows) / an_epoch, rule.epochs))
    if epochs >= rule.epochs:
        return frame, y, []
    notes = []
    least = min(_LEAST_EPOCHS, rule.epochs)
    if epochs < least:
        epochs = least
        count = int(left / (rates.a_row + least * rates.a_step / rule.batch_size))
        count = min(max(count, _LEAST_ROWS), rows)
        if count < rows:
            chosen = np.sort(generator.choice(rows, count, replace=False))
            frame, y = frame.iloc[chosen], y[chosen]
            notes.append(f"To keep the time limit, training took {count:,} of {rows:,} rows.")
    if epochs < rule.epochs:
        notes.append(f"To keep the time limit, training took {epochs} of {rule.epochs} epochs.")
    estimator.set_params(max_iter=epochs)
    return frame, y, notes


def measurable(
    budget: Budget, rates: Rates, held: int, shuffled: int, per_row: int
) -> tuple[int, int]:
    """Say how many rows can be measured in the time that is left.

    Parameters
    ----------
    budget : Budget
        What is left.
    rates : Rates
        From `rates_of`.
    held : int
        Rows held out.
    shuffled : int
        Rows of them on which the columns' importance shall be measured.
    per_row : int
        Predictions for each of these.

    Returns
    -------
    tuple of int
        How many of both to take: all, or the same share of both, but not below 1,000 and 100.
    """
    time_for = max(budget.left, _LATE * budget.measuring)
    wanted = (held + shuffled * per_row) * rates.a_prediction
    share = min(1.0, time_for / max(wanted, 1e-9))
    return (
        min(held, max(_LEAST_HELD, int(share * held))),
        min(shuffled, max(_LEAST_IMPORTANCE, int(share * shuffled))),
    )


def _rule(estimator: Any, frame: pd.DataFrame, y: NDArray[Any]) -> Any:
    if hasattr(estimator, "predict_proba"):
        return defaults_for(len(frame), frame.shape[1], len(np.unique(y)), "classification")
    return defaults_for(len(frame), frame.shape[1], 1, "regression")


def _few(y: NDArray[Any], generator: np.random.Generator) -> NDArray[np.intp]:
    """Draw some rows that hold two classes, if there are classes."""
    chosen = generator.choice(len(y), min(len(y), 64), replace=False)
    other = int(np.argmax(y != y[0]))
    return np.unique(np.append(chosen, [0, other]))


def _seconds(estimator: Any, frame: pd.DataFrame, y: NDArray[Any]) -> float:
    start = time.perf_counter()
    estimator.fit(frame, y)
    return time.perf_counter() - start
