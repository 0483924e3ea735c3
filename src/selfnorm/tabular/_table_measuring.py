"""What a model trained on a table is worth: everything that is measured on rows held out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from selfnorm.tabular._health import health
from selfnorm.tabular._importance import IMPORTANCE_ROWS, permutation_importance
from selfnorm.tabular._scores import (
    calibration,
    classification_baseline,
    classification_scores,
    confusion,
    regression_scores,
    residuals,
)
from selfnorm.tabular._table_target import Target

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["measure"]

_BLOCK_VALUES: Final = 1 << 20  # of a frame, predicted at a time
_HEALTH_ROWS: Final = 2000


def measure(
    estimator: Any,
    goal: Target,
    testing: pd.DataFrame,
    y: NDArray[Any],
    y_training: NDArray[Any],
    generator: np.random.Generator,
    shuffled: int = IMPORTANCE_ROWS,
) -> dict[str, Any]:
    """Return scores, those of a baseline, the pictures' numbers and the columns' importance.

    The latter on at most ``shuffled`` of the rows.
    """
    about_net = {"health": _health(estimator, testing)}
    if goal.task == "regression":
        guess = _numbers(estimator, testing)

        def error(frame: pd.DataFrame, truth: NDArray[Any]) -> float:
            scores = regression_scores(truth, _numbers(estimator, frame))
            return float(scores["rmse"] or 0.0)

        return {
            **about_net,
            "metrics": regression_scores(y, guess),
            "baseline": regression_scores(y, np.full(len(y), y_training.mean())),
            "baseline_name": "the training rows' mean",
            "residuals": residuals(y, guess, generator),
            "importance": permutation_importance(testing, y, error, generator, shuffled),
        }
    proba = _probabilities(estimator, goal, testing)
    picked = proba.argmax(1)

    def loss(frame: pd.DataFrame, truth: NDArray[Any]) -> float:
        scores = classification_scores(truth, _probabilities(estimator, goal, frame))
        return float(scores["log_loss"] or 0.0)

    return {
        **about_net,
        "metrics": classification_scores(y, proba),
        "baseline": classification_baseline(y_training, y, len(goal.classes)),
        "baseline_name": "the training rows' class frequencies",
        "confusion": confusion(y, picked, [str(label) for label in goal.classes.tolist()]),
        "calibration": calibration(y, proba),
        "importance": permutation_importance(testing, y, loss, generator, shuffled),
    }


def _numbers(estimator: Any, frame: pd.DataFrame) -> NDArray[np.float64]:
    found = np.empty(len(frame))
    for rows in _blocks(frame):
        found[rows] = estimator.predict(frame.iloc[rows])
    return found


def _probabilities(estimator: Any, goal: Target, frame: pd.DataFrame) -> NDArray[np.float64]:
    """Return probabilities of all classes of the table; some may be in no training row."""
    proba = np.zeros((len(frame), len(goal.classes)))
    known = np.searchsorted(goal.classes, estimator.classes_)
    for rows in _blocks(frame):
        proba[rows, known] = estimator.predict_proba(frame.iloc[rows])
    return proba


def _blocks(frame: pd.DataFrame) -> Iterator[slice]:
    """Yield parts of the rows: preprocessing makes many inputs of a few columns."""
    rows = max(1, _BLOCK_VALUES // frame.shape[1])
    for start in range(0, len(frame), rows):
        yield slice(start, start + rows)


def _health(estimator: Any, testing: pd.DataFrame) -> dict[str, Any]:
    return health(
        estimator.networks_, estimator.preprocessor_.transform(testing.iloc[:_HEALTH_ROWS])
    )
