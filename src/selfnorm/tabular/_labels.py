"""Labels of classes: what is refused, and their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_array, column_or_1d

from selfnorm.errors import DataError, DomainError

__all__ = ["class_factors", "labels_of", "numbers_of"]

Array = NDArray[Any]


def labels_of(y: Any) -> tuple[Array, bool]:
    """Return labels (n,), or a 0/1 indicator (n, labels) as float64, and whether it is one."""
    if not sparse.issparse(y):
        y = np.asarray(y)
        _refuse_missing(y)
    check_classification_targets(y)
    kind = type_of_target(y, input_name="y")
    if kind == "multiclass-multioutput":
        raise DomainError(
            "y must be classes, shape (n,), or a 0/1 indicator of labels, shape (n, labels), "
            f"however: y.shape={y.shape} with several classes a column; train a classifier for "
            "each column"
        )
    if kind == "multilabel-indicator":
        indicator = check_array(y, accept_sparse=True, dtype=None, input_name="y")
        dense = indicator.toarray() if sparse.issparse(indicator) else indicator
        return (dense != 0).astype(np.float64), True
    return np.asarray(column_or_1d(y, warn=True)), False


def _refuse_missing(y: Array) -> None:
    if y.dtype.kind == "f":
        bad = ~np.isfinite(y)
    elif y.dtype == object:
        # NaN is the value that differs from itself; pandas' NA answers no comparison.
        bad = np.array(
            [v is None or type(v).__name__ == "NAType" or bool(v != v) for v in y.ravel()],
            dtype=bool,
        ).reshape(y.shape)
    else:
        return
    if bad.any():
        place = tuple(int(k) for k in np.argwhere(bad)[0])
        raise DataError(
            "y must have no missing (NaN) or infinite values, however: "
            f"y[{', '.join(map(str, place))}]={y[place]!r}; leave such rows out"
        )


def numbers_of(labels: Array, classes: Array, needed: Array | None) -> NDArray[np.intp]:
    """Return each label's place in the sorted classes; refuse others where a row is ``needed``."""
    found = np.searchsorted(classes, labels)
    found = np.minimum(found, len(classes) - 1)
    known = np.asarray(classes[found] == labels)
    if needed is not None:
        known |= ~needed
    if not known.all():
        row = int(np.argmin(known))
        raise DataError(
            f"y must have the classes {classes.tolist()}, however: y[{row}]={labels[row]!r}"
        )
    return found


def class_factors(
    class_weight: Any, classes: Array, numbers: Array, weights: Array | None
) -> Array | None:
    """Return a factor for each class; None if there is nothing to multiply."""
    if class_weight is None:
        return None
    factors = np.ones(len(classes))
    if isinstance(class_weight, str) and class_weight == "balanced":
        totals = np.bincount(numbers, weights, len(classes)).astype(np.float64)
        np.divide(totals.sum(), len(classes) * totals, out=factors, where=totals > 0.0)
        return factors
    if not isinstance(class_weight, Mapping):
        raise DomainError(
            "class_weight must be None, 'balanced' or a dict of classes to weights, however: "
            f"class_weight={class_weight!r}"
        )
    known = classes.tolist()
    for label, weight in class_weight.items():
        if label not in known or not np.isfinite(weight) or weight < 0.0:
            raise DomainError(
                f"class_weight must map classes of y, {known}, to finite weights of 0 or more, "
                f"however: class_weight[{label!r}]={weight!r}"
            )
        factors[known.index(label)] = weight
    return factors
