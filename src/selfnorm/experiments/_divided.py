"""Data divided into training, validation and test rows, as most experiments want them."""

from __future__ import annotations

import os
from typing import Any

from selfnorm.errors import DomainError
from selfnorm.experiments._data import Dataset, load_data
from selfnorm.experiments._records import digest_of

__all__ = ["load_divided"]


def load_divided(
    data: str,
    data_dir: str | os.PathLike[str] | None,
    train_size: int | None,
    batch_size: int,
    *,
    most: int | None = None,
) -> tuple[Dataset, Dataset, dict[str, Any]]:
    """Load a data set and hold every fifth training row of each class out for validation.

    ``train_size`` rows are taken if it is given, else all, or ``most`` of them.

    Returns
    -------
    tuple of (Dataset, Dataset, dict)
        The data; the same with the validation rows as its test part; sizes, source and digest for
        the record's ``config``.

    Raises
    ------
    DomainError
        If no validation row or no batch of training rows is left.
    """
    rows = load_data(data, data_dir=data_dir)
    if train_size is None and most is not None:
        train_size = min(most, len(rows.X_train))
    if train_size is not None:
        rows = rows.take(train_size)
    inner = rows.with_validation()
    if not len(inner.X_test):
        raise DomainError(
            "train_size must leave validation rows, at least five rows of one class, however: "
            f"train_size={train_size}"
        )
    if batch_size > len(inner.X_train):
        raise DomainError(
            f"batch_size must be at most {len(inner.X_train)}, the training rows without those "
            f"for validation, however: batch_size={batch_size}"
        )
    about = {
        "train_size": len(inner.X_train),
        "validation_size": len(inner.X_test),
        "test_size": len(rows.X_test),
        "data_source": rows.source,
        "data_digest": digest_of(rows),
    }
    return rows, inner, about
