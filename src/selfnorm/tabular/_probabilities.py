"""From logits to probabilities, and how much members disagree about them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, expit, log_expit, log_softmax

__all__ = ["log_probabilities", "mutual_information", "probabilities"]

Array = NDArray[Any]


def probabilities(logits: Array, activation: str) -> Array:
    """Return probabilities (..., classes or labels) for logits (..., outputs)."""
    if activation == "softmax":
        # scipy's softmax takes longer for a row than the networks do.
        found = np.exp(logits - logits.max(-1, keepdims=True))
        found /= found.sum(-1, keepdims=True)
        return np.asarray(found)
    positive = np.asarray(expit(logits))
    if logits.shape[-1] == 1:
        return np.concatenate([expit(-logits), positive], axis=-1)
    return positive


def log_probabilities(logits: Array, activation: str) -> Array:
    """Return their logarithms, exact where they are tiny."""
    if activation == "softmax":
        return np.asarray(log_softmax(logits, axis=-1))
    positive = np.asarray(log_expit(logits))
    if logits.shape[-1] == 1:
        return np.concatenate([log_expit(-logits), positive], axis=-1)
    return positive


def mutual_information(members: Array, *, labels: bool) -> Array:
    """Return entropy of the mean minus mean entropy, for members (K, n, classes or labels)."""
    mean = members.mean(0)
    if labels:
        total, each = entr(mean) + entr(1.0 - mean), entr(members) + entr(1.0 - members)
    else:
        total, each = entr(mean).sum(-1), entr(members).sum(-1)
    return np.asarray(np.maximum(total - each.mean(0), 0.0))
