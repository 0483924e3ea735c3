"""Rows that are held out from training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfnorm.errors import DomainError
from selfnorm.train._arrays import as_tensor, check_inputs, check_targets
from selfnorm.train._losses import Loss
from selfnorm.train._mapped import Mapped

__all__ = ["Held", "hold", "left_out_rows", "rows_of_members"]


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

    X: Tensor | Mapped
    y: Tensor
    targets: Tensor
    rows: list[Tensor] | None


def hold(
    X: Any, y: Any, loss: Loss, sizes: Sequence[int], dtype: torch.dtype, device: torch.device
) -> Held:
    """Check validation data of their own and bring them to the device."""
    inputs = check_inputs(X, sizes[0], dtype, device, "validation X")
    given = check_targets("validation y", y, len(inputs))
    targets = loss.targets(given, sizes[-1], dtype).to(device)
    return Held(inputs, given.to(device), targets, None)


def left_out_rows(validation: Any, rows: int, members: int) -> list[Tensor] | None:
    """Return each member's held-out rows; None if validation data stand apart."""
    if validation is None or (isinstance(validation, tuple) and len(validation) == 2):
        return None
    several = isinstance(validation, list) and len(validation) > 0
    several = several and not isinstance(validation[0], int | bool | np.integer)
    parts = list(validation) if several else [validation] * members
    return rows_of_members("validation", parts, rows, members)


def rows_of_members(name: str, parts: Any, rows: int, members: int) -> list[Tensor]:
    """Return the numbers of each member's rows."""
    if not isinstance(parts, Sequence) or len(parts) != members:
        many = f"{len(parts)} came" if isinstance(parts, Sequence) else f"{type(parts).__name__}"
        raise DomainError(
            f"{name} must list rows for each of members={members}, however: {many}; give a list "
            "with an array for each"
        )
    return [_check_rows(name, part, rows, member) for member, part in enumerate(parts)]


def _check_rows(name: str, part: Any, rows: int, member: int) -> Tensor:
    tensor = as_tensor(name, part).cpu()
    if tensor.dtype == torch.bool and tensor.shape == (rows,):
        tensor = tensor.nonzero()[:, 0]
    if tensor.dim() != 1 or tensor.is_floating_point() or tensor.dtype == torch.bool:
        pair = "a pair (X, y), or " if name == "validation" else ""
        hint = "; give (X, y) as a tuple and row numbers as a list of arrays" if pair else ""
        raise DomainError(
            f"{name} must be {pair}row numbers (or a boolean mask) for each member, "
            f"however: for member {member} came shape {tuple(tensor.shape)}, {tensor.dtype}{hint}"
        )
    tensor = tensor.long()
    if not len(tensor) or int(tensor.min()) < 0 or int(tensor.max()) >= rows:
        raise DomainError(
            f"{name} must be row numbers from 0 to {rows - 1}, at least one, however: member "
            f"{member} has {len(tensor)} rows"
            + (f" from {int(tensor.min())} to {int(tensor.max())}" if len(tensor) else "")
        )
    # A bootstrap sample has rows twice; a loss would count them twice without anybody's wish.
    if name == "validation" and len(torch.unique(tensor)) != len(tensor):
        raise DomainError(f"validation rows must differ, however: member {member} has some twice")
    return tensor
