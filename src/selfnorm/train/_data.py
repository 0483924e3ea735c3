"""Rows in memory, or mapped into it: who is trained on which, and in what order."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from selfnorm.errors import DomainError
from selfnorm.train._arrays import check_inputs, check_targets, pieces
from selfnorm.train._losses import Loss
from selfnorm.train._mapped import Mapped
from selfnorm.train._random import generator_for
from selfnorm.train._row_weights import check_weights, class_counts, class_weights, of_classes

__all__ = ["Block", "Data", "checksum", "fingerprint", "prepare"]


@dataclasses.dataclass(frozen=True)
class Block:
    """Rows that are shuffled together.

    Attributes
    ----------
    X : torch.Tensor or Mapped
        Shape (n, features).
    targets : torch.Tensor
        Shape (n, columns): as the loss takes them.
    weights : torch.Tensor or None
        Shape (n,), 0 or more; None if all rows weigh the same.
    rows : list of torch.Tensor
        Numbers of the rows that each member is trained on, in int64 on the CPU.
    number : int
        Which block of the epoch it is.
    steps : int or None
        How many steps take it; None if it is the only one.
    """

    X: Tensor | Mapped
    targets: Tensor
    weights: Tensor | None
    rows: list[Tensor]
    number: int = 0
    steps: int | None = None

    def order(self, seed: int, member: int, epoch: int) -> Tensor:
        """Return the member's rows in the order of this epoch."""
        rows = self.rows[member]
        labels = (epoch, self.number) if self.number else (epoch,)
        return rows[torch.randperm(len(rows), generator=generator_for(seed, "order", *labels))]


@dataclasses.dataclass(frozen=True)
class Data:
    """All training rows on the device of the training, or mapped.

    Attributes
    ----------
    block : Block
        The rows.
    y : torch.Tensor
        The targets as given.
    """

    block: Block
    y: Tensor

    @property
    def columns(self) -> int:
        """The number of columns of the targets."""
        return self.block.targets.shape[1]

    @property
    def weighted(self) -> bool:
        """Whether rows have weights."""
        return self.block.weights is not None

    def count(self, member: int) -> int:
        """Return on how many rows a member is trained."""
        return len(self.block.rows[member])

    def evenness(self, member: int) -> float:
        """Return what makes the mean weight of the member's rows 1."""
        if self.block.weights is None:
            return 1.0
        return 1.0 / float(self.block.weights[self.block.rows[member]].double().mean())

    def blocks(self, epoch: int) -> Iterator[Block]:
        """Yield what an epoch is trained on."""
        yield self.block

    def checksum(self) -> int:
        """Return a checksum of all that members are trained on."""
        block = self.block
        weights = [] if block.weights is None else [block.weights]
        return fingerprint([block.X, block.targets, *block.rows, *weights])


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
    rows: Sequence[Tensor] | None,
    left_out: Sequence[Tensor] | None,
) -> Data:
    """Check training data and bring them to the device."""
    inputs = check_inputs(X, sizes[0], dtype, device)
    y_given = check_targets("y", y, len(inputs))
    targets = loss.targets(y_given, sizes[-1], dtype).to(device)
    weights = None if sample_weight is None else check_weights(sample_weight, len(inputs))
    if class_weight is not None:
        by_class = class_weights(class_weight, class_counts(y_given, loss, sizes[-1]))
        weights = of_classes(weights, by_class, y_given)
    everything = torch.arange(len(inputs))
    if rows is None:
        rows = [everything] * members
        if left_out is not None:
            rows = [everything[_others(out, len(inputs))] for out in left_out]
    elif left_out is not None:
        for member, (own, out) in enumerate(zip(rows, left_out, strict=True)):
            both = int((~_others(out, len(inputs))[own]).sum())
            if both:
                raise DomainError(
                    "rows must not be validated on too, however: member "
                    f"{member} has {both} rows in both; take them out of rows"
                )
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
    return Data(Block(inputs, targets, scaled, list(rows)), y_given.to(device))


def _others(rows: Tensor, count: int) -> Tensor:
    """Return the mask of all rows but these."""
    mask = torch.ones(count, dtype=torch.bool)
    mask[rows] = False
    return mask


def fingerprint(parts: Sequence[Tensor | Mapped], value: int = 0) -> int:
    """Return the checksum of what led to ``value`` and these numbers, with their shapes."""
    for part in parts:
        value = zlib.crc32(str(tuple(part.shape)).encode(), value)
        for rows in pieces(part):
            value = checksum(part[rows], value)
    return value


def checksum(numbers: Tensor, value: int = 0) -> int:
    """Return the checksum of what led to ``value`` and these numbers."""
    return zlib.crc32(numbers.cpu().contiguous().numpy().data, value)
