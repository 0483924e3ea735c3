"""What `Trainer.fit` is given, checked and put into the form that a training takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from selfnorm.errors import DomainError
from selfnorm.train._data import Data, fingerprint, prepare
from selfnorm.train._held import Held, hold, left_out_rows, rows_of_members
from selfnorm.train._settings import Settings
from selfnorm.train._stream import Stream, is_stream, joined

__all__ = ["checksum_of", "load_rows", "take_in"]


def take_in(
    settings: Settings,
    X: Any,
    y: Any,
    sample_weight: Any,
    class_weight: Any,
    validation: Any,
    rows: Any,
) -> tuple[Data | Stream, Held | None]:
    """Return the rows to train on and those to validate on."""
    sizes, dtype = settings.architecture.sizes, settings.architecture.dtype
    streamed = is_stream(X, y)
    apart = _apart(validation, streamed)
    if streamed:
        if sample_weight is not None:
            raise DomainError(
                "weights of rows that come in batches must come with them, as (X, y, weights), "
                "however: sample_weight was given"
            )
        if rows is not None:
            raise DomainError(
                "rows that come in batches are for all members, however: rows was given; put the "
                "rows into an array, which may be a numpy.memmap"
            )
        data: Data | Stream = Stream(X, settings, class_weight)
        left_out = None
    else:
        if y is None:
            raise DomainError(
                f"y must be given with an array X, however: y=None and X is a {type(X).__name__}; "
                "only an iterable of batches (X, y) has it inside"
            )
        count = len(X) if hasattr(X, "__len__") else 0
        left_out = None if apart else left_out_rows(validation, count, settings.members)
        of_each = isinstance(validation, list) and left_out is not None
        if settings.shuffle == "shared" and (of_each or rows is not None):
            raise DomainError(
                "members that share their batches must have the same rows, however: "
                f"{'validation' if rows is None else 'rows'} lists rows for each member; take "
                "shuffle='member' or one array of rows"
            )
        own = None
        if rows is not None:
            own = rows_of_members("rows", rows, count, settings.members)
        data = load_rows(settings, X, y, sample_weight, class_weight, own, left_out)
    held = None
    if apart:
        held = hold(*apart, settings.loss, sizes, dtype, settings.device)
    elif left_out is not None and isinstance(data, Data):
        held = Held(data.block.X, data.y, data.block.targets, left_out)
    if settings.early_stopping is not None and held is None:
        raise DomainError(
            "early stopping needs rows that are held out, however: validation=None; give "
            "(X, y) or row numbers"
        )
    return data, held


def load_rows(
    settings: Settings,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    class_weight: Any = None,
    rows: list[Tensor] | None = None,
    left_out: list[Tensor] | None = None,
) -> Data:
    """Return arrays as `Data`: each member's rows, or all but those that are left out."""
    return prepare(
        X,
        y,
        settings.loss,
        sizes=settings.architecture.sizes,
        dtype=settings.architecture.dtype,
        device=settings.device,
        sample_weight=sample_weight,
        class_weight=class_weight,
        members=settings.members,
        rows=rows,
        left_out=left_out,
    )


def _apart(validation: Any, streamed: bool) -> tuple[Any, Any] | None:
    """Return inputs and targets of validation data of their own; None for row numbers."""
    if isinstance(validation, tuple) and len(validation) == 2:
        return validation
    array = isinstance(validation, Tensor | np.ndarray) or hasattr(validation, "__array__")
    if streamed and array:
        raise DomainError(
            "rows that come in batches cannot be held out by number, however: validation is a "
            f"{type(validation).__name__}; give (X, y) or batches"
        )
    if validation is None or array or (isinstance(validation, list) and not streamed):
        return None
    return joined(validation)


def checksum_of(data: Data | Stream, held: Held | None) -> str:
    """Return a checksum of everything that a training reads."""
    value = data.checksum()
    if held is not None:
        value = fingerprint([held.X, held.targets] if held.rows is None else held.rows, value)
    return f"{value:08x}"
