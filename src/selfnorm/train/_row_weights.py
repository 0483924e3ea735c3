"""The weights of rows, from the rows themselves and from their classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfnorm.errors import DomainError
from selfnorm.train._arrays import as_tensor, refuse_not_finite
from selfnorm.train._losses import Binary, Loss, Softmax

__all__ = ["check_weights", "class_counts", "class_weights", "of_classes"]


def check_weights(sample_weight: Any, rows: int, first: int = 0) -> Tensor:
    """Return a weight for each row, float64 on the CPU; refuse negative ones."""
    weights = as_tensor("sample_weight", sample_weight).cpu().double()
    if weights.shape != (rows,):
        raise DomainError(
            f"sample_weight must have one number for each of the {rows} rows, however: "
            f"sample_weight.shape={tuple(weights.shape)}"
        )
    refuse_not_finite("sample_weight", weights, first)
    if bool((weights < 0.0).any()):
        row = int((weights < 0.0).nonzero()[0, 0])
        raise DomainError(
            f"sample_weight must be 0 or more, however: {float(weights[row]):g} in row "
            f"{first + row}"
        )
    return weights


def class_counts(y: Tensor, loss: Loss, outputs: int, weights: Tensor | None = None) -> Tensor:
    """Return how many rows each class has, or their weight; refuse targets that are no classes."""
    single = isinstance(loss, Softmax) or (isinstance(loss, Binary) and outputs == 1)
    if not single or bool((y != y.long()).any()):
        raise DomainError(
            "class_weight needs one class for each row, however: "
            f"loss={loss!r} with {outputs} outputs; use sample_weight"
        )
    classes = outputs if isinstance(loss, Softmax) else 2
    return torch.bincount(y.cpu().reshape(-1).long(), weights, minlength=classes).double()


def class_weights(class_weight: Mapping[int, float] | str, counts: Tensor) -> Tensor:
    """Return a weight for each class."""
    if class_weight == "balanced":
        present = int((counts > 0).sum())
        return torch.where(counts > 0, counts.sum() / (present * counts.clamp(min=1.0)), 0.0)
    if not isinstance(class_weight, Mapping):
        raise DomainError(
            "class_weight must be 'balanced' or a mapping of class numbers to weights, however: "
            f"class_weight={class_weight!r}"
        )
    classes = len(counts)
    weights = torch.ones(classes, dtype=torch.float64)
    for number, weight in class_weight.items():
        known = isinstance(number, int | np.integer) and 0 <= number < classes
        if not known or not np.isfinite(weight) or weight < 0.0:
            raise DomainError(
                f"class_weight must map classes 0 to {classes - 1} to finite weights of 0 or "
                f"more, however: class_weight[{number!r}]={weight!r}"
            )
        weights[int(number)] = float(weight)
    return weights


def of_classes(weights: Tensor | None, by_class: Tensor, y: Tensor) -> Tensor:
    """Return rows' weights times those of their classes."""
    found = by_class[y.cpu().reshape(-1).long()]
    return found if weights is None else weights * found
