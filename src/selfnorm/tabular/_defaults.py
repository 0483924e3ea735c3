"""The rule that chooses a network and its training from the shape of a table."""

from __future__ import annotations

import dataclasses
import math
import operator
from typing import Final, Literal

from selfnorm.errors import DomainError

__all__ = ["Defaults", "Task", "defaults_for"]

Task = Literal["classification", "regression"]

_SMALL: Final = 200.0  # rows up to which dropout and smoothing are largest, steps fewest
_LARGE: Final = 1000.0  # rows from which there is no dropout and no smoothing
_LEAST_STEPS: Final = 150.0
_MOST_STEPS: Final = 4000.0  # unless one pass over the rows takes more
_SEVERAL: Final = 2400.0  # rows above which a classifier's members differ and steps grow slower
_DECAY: Final = 2.0  # weight decay of half of them, for two classes
_CLEAN: Final = 10.0  # classes from which they do not
_DECAY_FROM: Final = 3000.0  # rows from which it is that much
_BIN_BUDGET: Final = 1024  # piecewise linear features of a table, at most


@dataclasses.dataclass(frozen=True)
class Defaults:
    """What `defaults_for` chooses.

    Attributes
    ----------
    width, depth : int
        Units of each hidden layer, and hidden layers.
    dropout : float
        Probability of dropping a hidden unit (alpha dropout).
    learning_rate : float
        AdamW's rate at the start; it falls to 0 along half a cosine.
    weight_decay : float
        AdamW's decoupled weight decay of half of the members; the others have none.
    epochs, batch_size : int
        Passes over the rows, and rows of a step.
    label_smoothing : float
        Share of the probability that the targets spread over all classes; 0 in regression.
    n_members : int
        Networks that are trained together and averaged.
    fixed_point : tuple of float
        Mean and variance that the SELU layers keep.
    clip_norm : float or None
        Largest norm of a member's gradient.
    bins : int
        Bins of the piecewise linear features that stand beside each column of numbers
        (`selfnorm.tabular._bins.Bins`); 0: none.
    """

    width: int
    depth: int
    dropout: float
    learning_rate: float
    weight_decay: float
    epochs: int
    batch_size: int
    label_smoothing: float
    n_members: int
    fixed_point: tuple[float, float]
    clip_norm: float | None
    bins: int

    def steps(self, rows: int) -> int:
        """Return the number of optimiser steps on this many rows.

        Parameters
        ----------
        rows : int
            Training rows, at least 1.

        Returns
        -------
        int
            Epochs times batches of an epoch.
        """
        return self.epochs * math.ceil(rows / self.batch_size)


def defaults_for(rows: int, features: int, outputs: int, task: Task) -> Defaults:
    """Choose a network and its training from the shape of a table.

    Parameters
    ----------
    rows : int
        Training rows, at least 1.
    features : int
        Columns of the preprocessed table, piecewise linear features not counted; at least 1.
    outputs : int
        Outputs of the network, at least 1: classes, or target columns.
    task : {"classification", "regression"}
        What is learnt.

    Returns
    -------
    Defaults
        The settings.

    Raises
    ------
    DomainError
        If a number is below 1 or no integer, or the task is unknown.

    Notes
    -----
    With n rows, and numbers in between cut off at the values named:

    * steps: 150 (n / 200)^0.7, from 150 to 4,000, in whole epochs; above 2,400 rows and for two
      classes those for 2,400 rows times (n / 2400)^(1/3), the exponent growing with the logarithm
      of the number of classes back to 0.7 at ten;
    * width: 64 up to 400 rows, growing with the square root of n to 128 at 1,600 and with the
      fourth root to 192 at 8,100;
    * dropout and label smoothing: 0.05 and 0.1 up to 200 rows, falling with log n to 0 at 1,000;
    * rows of a step: the square root of n, from 32 to 1,024;
    * weight decay of half of a classifier's members: 0 up to 2,400 rows, growing with log n to 2 at
      3,000 rows; that for two classes, falling with the logarithm of their number to 0 at ten;
    * bins: 8, fewer where columns times bins would be above 1,024.

    The rest is constant. The numbers come from cross-validation inside the training rows of UCI
    sets of 68 to 12,000 rows, which the page "Tables: the estimators and their rivals" of the
    documentation reports; above, the rule is an extrapolation whose purpose is a bounded time.

    Examples
    --------
    >>> small = defaults_for(150, 4, 3, "classification")
    >>> large = defaults_for(100_000, 30, 2, "classification")
    >>> small.width < large.width, small.dropout > large.dropout
    (True, True)
    >>> small.steps(150) < large.steps(100_000)
    True
    """
    rows = _count("rows", rows)
    _count("features", features)
    _count("outputs", outputs)
    if task not in ("classification", "regression"):
        raise DomainError(f"task must be 'classification' or 'regression', however: task={task!r}")
    size = min(1.0, max(0.0, math.log(rows / _SMALL) / math.log(_LARGE / _SMALL)))
    batch = max(32, min(1024, round(math.sqrt(rows))))
    steps = _LEAST_STEPS * max(1.0, rows / _SMALL) ** 0.7
    decay = 0.0
    if task == "classification" and rows > _SEVERAL:
        several = math.log(rows / _SEVERAL)
        # Two classes are mostly noisy, many are mostly clean: these pay a net that fits hard.
        noise = 1.0 - min(1.0, math.log(max(2, outputs) / 2) / math.log(_CLEAN / 2))
        steps *= math.exp(-(0.7 - 1 / 3) * several * noise)
        decay = _DECAY * noise * min(1.0, several / math.log(_DECAY_FROM / _SEVERAL))
    steps = min(_MOST_STEPS, steps)
    width = 64.0 * min(2.0, max(1.0, rows / 400) ** 0.5)
    width *= min(1.5, max(1.0, rows / 1600) ** 0.25)
    bins = min(8, _BIN_BUDGET // features)
    return Defaults(
        width=8 * round(width / 8.0),
        depth=4,
        dropout=0.05 * (1.0 - size),
        learning_rate=3e-3,
        weight_decay=decay,
        epochs=max(1, round(steps / math.ceil(rows / batch))),
        batch_size=batch,
        label_smoothing=0.1 * (1.0 - size) if task == "classification" else 0.0,
        n_members=8,
        fixed_point=(0.0, 1.0),
        clip_norm=None,
        bins=bins if bins >= 2 else 0,
    )


def _count(name: str, value: int) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise DomainError(f"{name} must be an integer, however: {name}={value!r}") from None
    if number < 1:
        raise DomainError(f"{name} must be at least 1, however: {name}={number}")
    return number
