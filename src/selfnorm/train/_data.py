"""Rows to train on: what is refused, who gets which rows, and in what order."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from selfnorm.errors import DomainError
from selfnorm.train._losses import Binary, Loss, Softmax
from selfnorm.train._random import generator_for

__all__ = ["Data", "Held", "check_inputs", "fingerprint", "held_out", "prepare"]

_CHUNK: Final = 1 << 16  # rows that are looked at together


@dataclasses.dataclass(frozen=True)
class Data:
    """Training rows on the device of the training.

    Attributes
    ----------
    X : torch.Tensor
        Shape (n, features).
    y : torch.Tensor
        The targets as given.
    targets : torch.Tensor
        Shape (n, columns): as the loss takes them.
    weights : torch.Tensor or None
        Shape (n,), 0 or more; None if all rows weigh the same.
    rows : list of torch.Tensor
        Numbers of the rows that each member is trained on, in int64 on the CPU.
    """

    X: Tensor
    y: Tensor
    targets: Tensor
    weights: Tensor | None
    rows: list[Tensor]

    def order(self, seed: int, member: int, epoch: int) -> Tensor:
        """Return the member's rows in the order of this epoch."""
        rows = self.rows[member]
        return rows[torch.randperm(len(rows), generator=generator_for(seed, "order", epoch))]


@dataclasses.dataclass(frozen=True)
class Held:
    """Rows that are held out: for all members the same, or each member's own.

    Attributes
    ----------
    X, y, targets : torch.Tensor
        As in `Data`.
    rows : list of torch.Tensor or None
        Each member's rows, or None if all rows are for all members.
    """

    X: Tensor
    y: Tensor
    targets: Tensor
    rows: list[Tensor] | None


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
) -> Tensor:
    """Return inputs (n, features) in the type of the network; refuse what is not finite."""
    tensor = as_tensor(name, X)
    if tensor.dim() != 2 or tensor.shape[1] != features or not len(tensor):
        raise DomainError(
            f"{name} must have shape (n_rows, {features}) with at least one row, however: "
            f"{name}.shape={tuple(tensor.shape)}; the network has {features} inputs"
        )
    tensor = tensor.to(device=device, dtype=dtype)
    refuse_not_finite(name, tensor)
    return tensor


def refuse_not_finite(name: str, tensor: Tensor) -> None:
    """Refuse NaN and infinity, with row and column of the first."""
    for start in range(0, len(tensor), _CHUNK):
        part = tensor[start : start + _CHUNK]
        if part.is_floating_point() and not bool(torch.isfinite(part).all()):
            place = (~torch.isfinite(part)).nonzero()[0].tolist()
            value = float(part[tuple(place)])
            where = f"row {start + place[0]}" + (f", column {place[1]}" if len(place) > 1 else "")
            raise DomainError(
                f"{name} must be finite in {tensor.dtype}, however: {value} in {where}; "
                "fill in or leave out what is missing"
            )


def prepare(
    X: Any,
    y: Any,
    loss: Loss,
    *,
    sizes: Sequence[int],
    dtype: torch.dtype,
    device: torch.device,
    sample_weight: Any,
    class_weight: Mapping[int, float] | Literal["balanced"] | None,
    members: int,
    left_out: Sequence[Tensor] | None,
) -> Data:
    """Check training data and bring them to the device."""
    inputs = check_inputs(X, sizes[0], dtype, device)
    y_given = _check_targets("y", y, len(inputs))
    targets = loss.targets(y_given, sizes[-1], dtype).to(device)
    weights = _row_weights(sample_weight, class_weight, y_given, loss, sizes[-1], len(inputs))
    everything = torch.arange(len(inputs))
    rows = [everything] * members
    if left_out is not None:
        rows = []
        for out in left_out:
            kept = torch.ones(len(inputs), dtype=torch.bool)
            kept[out] = False
            rows.append(everything[kept])
    for member, own in enumerate(rows):
        if not len(own):
            raise DomainError(
                f"each member needs rows to train on, however: validation holds all "
                f"{len(inputs)} rows of member {member} out"
            )
        if weights is not None and float(weights[own].sum()) <= 0.0:
            raise DomainError(
                "the weights of a member's training rows must not all be 0, however: those of "
                f"member {member} are"
            )
    scaled = None if weights is None else weights.to(device=device, dtype=dtype)
    return Data(inputs, y_given.to(device), targets, scaled, rows)


def _check_targets(name: str, y: Any, rows: int) -> Tensor:
    tensor = as_tensor(name, y)
    if tensor.dim() not in (1, 2) or len(tensor) != rows:
        raise DomainError(
            f"{name} must have one entry for each of the {rows} rows, however: "
            f"{name}.shape={tuple(tensor.shape)}"
        )
    refuse_not_finite(name, tensor)
    return tensor


def _row_weights(
    sample_weight: Any,
    class_weight: Mapping[int, float] | str | None,
    y: Tensor,
    loss: Loss,
    outputs: int,
    rows: int,
) -> Tensor | None:
    weights = None
    if sample_weight is not None:
        weights = as_tensor("sample_weight", sample_weight).cpu().double()
        if weights.shape != (rows,):
            raise DomainError(
                f"sample_weight must have one number for each of the {rows} rows, however: "
                f"sample_weight.shape={tuple(weights.shape)}"
            )
        refuse_not_finite("sample_weight", weights)
        if bool((weights < 0.0).any()):
            row = int((weights < 0.0).nonzero()[0, 0])
            raise DomainError(
                f"sample_weight must be 0 or more, however: {float(weights[row]):g} in row {row}"
            )
    if class_weight is None:
        return weights
    by_class = _class_weights(class_weight, y, loss, outputs)
    of_rows = by_class[y.cpu().reshape(-1).long()]
    return of_rows if weights is None else weights * of_rows


def _class_weights(
    class_weight: Mapping[int, float] | str, y: Tensor, loss: Loss, outputs: int
) -> Tensor:
    """Return a weight for each class."""
    single = isinstance(loss, Softmax) or (isinstance(loss, Binary) and outputs == 1)
    if not single or bool((y != y.long()).any()):
        raise DomainError(
            "class_weight needs one class for each row, however: "
            f"loss={loss!r} with {outputs} outputs; use sample_weight"
        )
    classes = outputs if isinstance(loss, Softmax) else 2
    counts = torch.bincount(y.cpu().reshape(-1).long(), minlength=classes).double()
    if class_weight == "balanced":
        present = int((counts > 0).sum())
        return torch.where(counts > 0, counts.sum() / (present * counts.clamp(min=1.0)), 0.0)
    if not isinstance(class_weight, Mapping):
        raise DomainError(
            "class_weight must be 'balanced' or a mapping of class numbers to weights, however: "
            f"class_weight={class_weight!r}"
        )
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


# ---- validation -----------------------------------------------------------------------------


def left_out_rows(validation: Any, rows: int, members: int) -> list[Tensor] | None:
    """Return each member's held-out rows; None if validation data stand apart."""
    if validation is None or (isinstance(validation, tuple) and len(validation) == 2):
        return None
    several = isinstance(validation, list) and len(validation) > 0
    several = several and not isinstance(validation[0], int | bool | np.integer)
    parts = list(validation) if several else [validation] * members
    if len(parts) != members:
        raise DomainError(
            f"validation must list rows for each of members={members}, however: "
            f"{len(parts)} lists came"
        )
    return [_check_rows(part, rows, member) for member, part in enumerate(parts)]


def _check_rows(part: Any, rows: int, member: int) -> Tensor:
    tensor = as_tensor("validation", part).cpu()
    if tensor.dtype == torch.bool and tensor.shape == (rows,):
        tensor = tensor.nonzero()[:, 0]
    if tensor.dim() != 1 or tensor.is_floating_point() or tensor.dtype == torch.bool:
        raise DomainError(
            "validation must be a pair (X, y), or row numbers (or a boolean mask) for each member, "
            f"however: for member {member} came shape {tuple(tensor.shape)}, {tensor.dtype}; "
            "give (X, y) as a tuple and row numbers as a list of arrays"
        )
    tensor = tensor.long()
    if not len(tensor) or int(tensor.min()) < 0 or int(tensor.max()) >= rows:
        raise DomainError(
            f"validation rows must be numbers from 0 to {rows - 1}, at least one, however: member "
            f"{member} has {len(tensor)} rows"
            + (f" from {int(tensor.min())} to {int(tensor.max())}" if len(tensor) else "")
        )
    if len(torch.unique(tensor)) != len(tensor):
        raise DomainError(f"validation rows must differ, however: member {member} has some twice")
    return tensor


def held_out(
    validation: Any, data: Data, loss: Loss, sizes: Sequence[int], left_out: list[Tensor] | None
) -> Held | None:
    """Check validation data and bring them to the device of the training data."""
    if validation is None:
        return None
    if left_out is not None:
        return Held(data.X, data.y, data.targets, left_out)
    X = check_inputs(validation[0], sizes[0], data.X.dtype, data.X.device, "validation X")
    y = _check_targets("validation y", validation[1], len(X))
    targets = loss.targets(y, sizes[-1], data.X.dtype).to(data.X.device)
    return Held(X, y.to(data.X.device), targets, None)


def fingerprint(data: Data, held: Held | None) -> str:
    """Return a checksum of everything that a training reads."""
    parts = [data.X, data.targets, *data.rows]
    parts += [] if data.weights is None else [data.weights]
    if held is not None:
        parts += [held.X, held.targets] if held.rows is None else held.rows
    value = 0
    for part in parts:
        value = zlib.crc32(str(tuple(part.shape)).encode(), value)
        value = zlib.crc32(part.cpu().contiguous().numpy().data, value)
    return f"{value:08x}"
