"""Images as the experiments on SELU's other uses take them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfnorm.errors import DomainError
from selfnorm.experiments._data import load_data
from selfnorm.experiments._records import digest_of

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
    """Load, divide and scale images; of MNIST ``mnist_rows`` unless ``train_size`` is given.

    Every fifth training row of each class is held out for validation.
    """
    rows = load_data(data, data_dir=data_dir)
    if train_size is None and data == "mnist":
        train_size = min(mnist_rows, len(rows.X_train))
    if train_size is not None:
        rows = rows.take(train_size)
    inner = rows.with_validation()
    if not len(inner.X_test) or batch_size > len(inner.X_train):
        raise DomainError(
            "train_size must leave validation rows and at least one batch, however: "
            f"train_size={train_size} leaves {len(inner.X_test)} validation and "
            f"{len(inner.X_train)} training rows, batch_size={batch_size}"
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
    about = {
        "train_size": len(inner.X_train),
        "validation_size": len(inner.X_test),
        "test_size": len(rows.X_test),
        "features": rows.X_train.shape[1],
        "data_source": rows.source,
        "data_digest": digest_of(rows),
    }
    return ImageRows(train, validation, test, about, rows.chance)
