"""How good predictions are: scores, the scores of knowing nothing, and the pictures' numbers."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "calibration",
    "classification_baseline",
    "classification_scores",
    "confusion",
    "regression_scores",
    "residuals",
]

_BINS: Final = 10
_MOST_CLASSES: Final = 20  # of a confusion matrix; the rarer ones go together
_POINTS: Final = 400  # of a residual plot
_TINY: Final = float(np.finfo(np.float64).tiny)

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]


def classification_scores(y: Codes, proba: Floats) -> dict[str, float | None]:
    """Return accuracy, area under the curve, log-loss and expected calibration error.

    Parameters
    ----------
    y : ndarray of int, shape (n,)
        True classes, as columns of ``proba``.
    proba : ndarray of float, shape (n, classes)
        Predicted probabilities.

    Returns
    -------
    dict of str to float or None
        ``accuracy``; ``auc``, the mean over the classes of each against the rest (of the second
        class if there are two), None if no class has rows inside and outside; ``log_loss`` in nats;
        ``ece``, see `calibration`.
    """
    picked = np.maximum(proba[np.arange(len(y)), y], _TINY)
    return {
        "accuracy": float((proba.argmax(1) == y).mean()),
        "auc": _auc(y, proba),
        "log_loss": float(-np.log(picked).mean()),
        "ece": calibration(y, proba)["ece"],
    }


def _auc(y: Codes, proba: Floats) -> float | None:
    """Return the mean area under the curve from the ranks of the probabilities."""
    from scipy.stats import rankdata

    classes = [1] if proba.shape[1] == 2 else range(proba.shape[1])
    areas = []
    for k in classes:
        inside = y == k
        count, rest = int(inside.sum()), int((~inside).sum())
        if count and rest:
            ranks = rankdata(proba[:, k])
            areas.append((ranks[inside].sum() - count * (count + 1) / 2) / (count * rest))
    return float(np.mean(areas)) if areas else None


def classification_baseline(train: Codes, test: Codes, classes: int) -> dict[str, float | None]:
    """Return the scores of one who knows the classes' frequencies in training, and no more."""
    shares = np.bincount(train, minlength=classes) / len(train)
    return classification_scores(test, np.tile(shares, (len(test), 1)))


def calibration(y: Codes, proba: Floats) -> dict[str, Any]:
    r"""Compare how sure the predictions are with how often they are right.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{n} |\mathrm{acc}_b - \mathrm{conf}_b|

    over 10 bins of equal width of the predicted class's probability (Guo et al. 2017,
    arXiv:1706.04599).

    Returns
    -------
    dict
        ``ece`` and ``bins``: confidence, accuracy, count and the ends of accuracy's 95 % Wilson
        interval of each bin that has rows.
    """
    sure, right = proba.max(1), proba.argmax(1) == y
    place = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    bins, ece = [], 0.0
    for k in range(_BINS):
        inside = place == k
        if count := int(inside.sum()):
            confidence, accuracy = float(sure[inside].mean()), float(right[inside].mean())
            ece += count / len(y) * abs(accuracy - confidence)
            low, high = _wilson(accuracy, count)
            bins.append(
                {
                    "confidence": confidence,
                    "accuracy": accuracy,
                    "count": count,
                    "low": low,
                    "high": high,
                }
            )
    return {"ece": ece, "bins": bins}


def _wilson(share: float, count: int) -> tuple[float, float]:
    """Return the ends of Wilson's 95 % interval of a share (E. B. Wilson 1927)."""
    z2 = 1.959963984540054**2 / count  # the normal distribution's 97.5 % point
    middle = (share + z2 / 2) / (1 + z2)
    half = float(np.sqrt(z2 * (share * (1 - share) + z2 / 4)) / (1 + z2))
    return max(0.0, middle - half), min(1.0, middle + half)


def confusion(y: Codes, guess: Codes, labels: list[str]) -> dict[str, Any]:
    """Count true against predicted classes; of many the most frequent, the others together."""
    count = len(labels)
    if count > _MOST_CLASSES:
        frequency = np.bincount(y, minlength=count) + np.bincount(guess, minlength=count)
        kept = np.sort(np.argsort(-frequency, kind="stable")[: _MOST_CLASSES - 1])
        code = np.full(count, len(kept))
        code[kept] = np.arange(len(kept))
        rest = count - len(kept)
        labels = [labels[k] for k in kept] + [f"({rest} others)"]
        y, guess, count = code[y], code[guess], len(labels)
    counts = np.bincount(y * count + guess, minlength=count * count).reshape(count, count)
    return {"labels": labels, "counts": counts.tolist()}


def regression_scores(y: Floats, guess: Floats) -> dict[str, float | None]:
    """Return root mean squared error and mean absolute error in the target's unit, and R²."""
    spread = float(np.square(y - y.mean()).mean())
    error = float(np.square(y - guess).mean())
    return {
        "rmse": float(np.sqrt(error)),
        "mae": float(np.abs(y - guess).mean()),
        "r2": 1.0 - error / spread if spread > 0.0 else None,
    }


def residuals(y: Floats, guess: Floats, generator: np.random.Generator) -> dict[str, Any]:
    """Return predicted and true values of some rows, drawn at random if there are many."""
    chosen = np.arange(len(y))
    if len(y) > _POINTS:
        chosen = np.sort(generator.choice(len(y), _POINTS, replace=False))
    return {"predicted": guess[chosen].tolist(), "actual": y[chosen].tolist(), "rows": len(y)}
