"""Numbers as users give them: what is refused, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from selfnorm.errors import DomainError
from selfnorm.train._mapped import Mapped

__all__ = ["as_tensor", "check_inputs", "check_targets", "pieces", "refuse_not_finite"]

_PIECE: Final = 1 << 22  # numbers that are looked at together


def as_tensor(name: str, values: Any) -> Tensor:
    """Return numbers as a tensor, sharing memory where it can; refuse what holds no numbers."""
    if isinstance(values, Tensor):
        return values.detach()
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"dtype {array.dtype}")
        if not array.flags.writeable or array.dtype.byteorder not in "=|":
            array = array.astype(array.dtype.newbyteorder("="))
        return torch.from_numpy(np.ascontiguousarray(array))
    except (TypeError, ValueError) as error:
        raise DomainError(
            f"{name} must be an array of numbers, however: a {type(values).__name__} ({error}); "
            "encode text as numbers, make sparse matrices dense"
        ) from error


def check_inputs(
    X: Any, features: int, dtype: torch.dtype, device: torch.device, name: str = "X"
) -> Tensor | Mapped:
    """Return inputs (n, features) in the type of the network; refuse what is not finite.

    A memory-mapped array stays where it is.
    """
    mapped = isinstance(X, np.memmap) and X.ndim == 2 and X.dtype.kind in "biuf"
    tensor = Mapped(X, dtype, device) if mapped else as_tensor(name, X)
    if len(tensor.shape) != 2 or tensor.shape[1] != features or not len(tensor):
        raise DomainError(
            f"{name} must have shape (n_rows, {features}) with at least one row, however: "
            f"{name}.shape={tuple(tensor.shape)}; the network has {features} inputs"
        )
    if isinstance(tensor, Tensor):
        tensor = tensor.to(device=device, dtype=dtype)
    refuse_not_finite(name, tensor)
    return tensor


def check_targets(name: str, y: Any, rows: int, first: int = 0) -> Tensor:
    """Return targets as given, one for each row, and finite."""
    tensor = as_tensor(name, y)
    if tensor.dim() not in (1, 2) or len(tensor) != rows:
        raise DomainError(
            f"{name} must have one entry for each of the {rows} rows, however: "
            f"{name}.shape={tuple(tensor.shape)}"
        )
    refuse_not_finite(name, tensor, first)
    return tensor


def pieces(tensor: Tensor | Mapped) -> list[slice]:
    """Return ranges of rows that are small enough to be looked at one after the other."""
    rows = max(1, _PIECE // max(1, int(np.prod(tensor.shape[1:]))))
    return [slice(start, start + rows) for start in range(0, len(tensor), rows)]


def refuse_not_finite(
    name: str, tensor: Tensor | Mapped, first: int = 0, columns: Sequence[str] = ()
) -> None:
    """Refuse NaN and infinity, with row and column of the first.

    ``first`` is the number of the first row, ``columns`` are names to be told beside the numbers.
    """
    for rows in pieces(tensor):
        part = tensor[rows]
        if part.is_floating_point() and not bool(torch.isfinite(part).all()):
            place = (~torch.isfinite(part)).nonzero()[0].tolist()
            value = float(part[tuple(place)])
            where = f"row {first + rows.start + place[0]}"
            if len(place) > 1:
                where += f", column {place[1]}"
                where += f" ({columns[place[1]]!r})" if columns else ""
            raise DomainError(
                f"{name} must be finite in {part.dtype}, however: {value} in {where}; "
                "fill in or leave out what is missing"
            )
