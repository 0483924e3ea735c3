"""One batch of inputs from whatever people pass as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfnorm.errors import DataError

__all__ = ["first_inputs"]

_BATCHES = 64


def first_inputs(data: Any, rows: int = 10_000) -> Tensor:
    """Return inputs, at most so many rows: of a tensor, an array, (X, y), or batches of these.

    Raises
    ------
    DataError
        If there is no tensor of inputs in the data.
    """
    one = _inputs(data)
    if one is None and isinstance(data, Iterable):
        found: list[Tensor] = []
        for number, batch in enumerate(data):
            part = _inputs(batch)
            if part is None:
                break
            found.append(part)
            if sum(len(each) for each in found) >= rows or number + 1 >= _BATCHES:
                break
        if found:
            one = torch.cat(found)
    if one is None or one.dim() == 0 or len(one) == 0:
        raise DataError(
            "data must be a tensor or an array of inputs, a tuple (inputs, targets), or batches "
            f"of these, however: a {type(data).__name__}; pass x with shape (rows, …)"
        )
    return one[:rows]


def _inputs(data: Any) -> Tensor | None:
    if isinstance(data, Tensor):
        return data.detach()
    if isinstance(data, np.ndarray) and data.dtype.kind in "fiub":
        return torch.as_tensor(data)
    if isinstance(data, tuple | list) and data and isinstance(data[0], Tensor | np.ndarray):
        return _inputs(data[0])
    if isinstance(data, Mapping):
        for value in data.values():
            found = _inputs(value)
            if found is not None and found.is_floating_point():
                return found
    return None
