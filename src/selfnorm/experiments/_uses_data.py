"""Images as the experiments on SELU's other uses take them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfnorm.experiments._divided import load_divided

__all__ = ["ImageRows", "load_images"]

Rows = tuple[Tensor, Tensor]


@dataclasses.dataclass(frozen=True, eq=False)
class ImageRows:
    """Rows of pixels with their classes, in three parts.

    Each pixel is centred and all are divided by one deviation, both of the training rows: a
    deviation of each pixel's own would give the most weight to those that are almost always black.

    Attributes
    ----------
    train, validation, test : (Tensor, Tensor)
        Pixels (n, features) and classes (n,).
    about : dict
        Sizes, source and digest, for the record's ``config``.
    chance : float
        Accuracy of always naming the most frequent class.
    """

    train: Rows
    validation: Rows
    test: Rows
    about: dict[str, Any]
    chance: float

    def batches(self, size: int, generator: torch.Generator) -> Iterator[Rows]:
        """Yield the training rows in random order; what fills no batch is left out."""
        X, y = self.train
        order = torch.randperm(len(X), generator=generator)
        for start in range(0, len(X) - size + 1, size):
            rows = order[start : start + size]
            yield X[rows], y[rows]


def load_images(
    data: str,
    data_dir: str | os.PathLike[str] | None,
    train_size: int | None,
    *,
    mnist_rows: int,
    batch_size: int,
) -> ImageRows:
    """Load, divide and scale images; of MNIST ``mnist_rows`` unless ``train_size`` is given."""
    rows, inner, about = load_divided(
        data, data_dir, train_size, batch_size, most=mnist_rows if data == "mnist" else None
    )
    mean = inner.X_train.mean(axis=0, dtype=np.float64)
    deviation = float(np.sqrt(np.square(inner.X_train - mean).mean()))
    train, validation, test = (
        (torch.from_numpy(((X - mean) / deviation).astype(np.float32)), torch.from_numpy(y))
        for X, y in (
            (inner.X_train, inner.y_train),
            (inner.X_test, inner.y_test),
            (rows.X_test, rows.y_test),
        )
    )
    about["features"] = rows.X_train.shape[1]
    return ImageRows(train, validation, test, about, rows.chance)
