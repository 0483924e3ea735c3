"""Rows that come in batches, again and again, and need not fit in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from selfnorm.errors import DataError, DomainError
from selfnorm.train._arrays import as_tensor, check_targets, refuse_not_finite
from selfnorm.train._data import Block, checksum
from selfnorm.train._random import generator_for
from selfnorm.train._row_weights import check_weights, class_counts, class_weights, of_classes
from selfnorm.train._settings import Settings

__all__ = ["Stream", "is_stream", "joined"]

_BUFFER: Final = 1 << 26  # bytes of inputs that are shuffled together, by default

ClassWeight = Mapping[int, float] | Literal["balanced"] | None


def is_stream(X: Any, y: Any) -> bool:
    """Tell whether this is something to iterate over, and not one array."""
    array = isinstance(X, Tensor | np.ndarray) or hasattr(X, "__array__")
    if y is not None or array or not hasattr(X, "__iter__"):
        return False
    if iter(X) is X:
        raise DomainError(
            "batches must be there again in each epoch, however: X is an iterator, which ends "
            "once; give a list, a DataLoader, or an object whose __iter__ begins anew"
        )
    return True


class Stream:
    """Rows that are read anew in each epoch, shuffled in blocks that fit in a buffer.

    A first pass looks at all rows and counts them. Block number b of an epoch has the rows that
    come after those of the blocks before; each member takes them in an order of its own. If all
    rows fit in one block, the order is that of rows in memory.

    Parameters
    ----------
    source : iterable
        Of (X, y) or (X, y, weights). If it has a method ``shuffled(generator)``, this is iterated
        over in training: the same rows, parts of them in another order.
    settings : Settings
        Of the training.
    class_weight : dict of int to float or "balanced", optional
        As for `Trainer.fit`.
    """

    def __init__(
        self, source: Iterable[Any], settings: Settings, class_weight: ClassWeight
    ) -> None:
        self._source = source
        self._settings = settings
        self._names = tuple(getattr(source, "columns", None) or ())
        architecture, batch = settings.architecture, settings.batch_size
        self._dtype = architecture.dtype
        row = architecture.sizes[0] * torch.empty(0, dtype=self._dtype).element_size()
        rows = settings.shuffle_rows or _BUFFER // row
        self._capacity = max(1, rows // batch) * batch
        self.columns = 0
        self._checksum = 0
        self._by_class: Tensor | None = None
        weighted: bool | None = None
        outputs = architecture.sizes[-1]
        count, total = 0, 0.0
        rows_of, weight_of = torch.zeros(()), torch.zeros(())  # each class
        for X, y, weights in self._checked(iter(source)):
            targets = self._targets(y, count)
            if weighted is not None and weighted != (weights is not None):
                raise DomainError(
                    "either all batches must have weights or none, however: that from row "
                    f"{count} on has {'some' if weighted is False else 'none'}"
                )
            weighted = weights is not None
            self.columns = targets.shape[1]
            if class_weight is not None:
                rows_of = rows_of + class_counts(y, settings.loss, outputs)
                weight_of = weight_of + class_counts(y, settings.loss, outputs, weights)
            total += float(len(X) if weights is None else weights.sum())
            for part in (X, targets) if weights is None else (X, targets, weights):
                self._checksum = checksum(part, self._checksum)
            count += len(X)
        if not count:
            raise DomainError("batches must have at least one row, however: none came")
        if class_weight is not None:
            self._by_class = class_weights(class_weight, rows_of)
            total = float(self._by_class @ weight_of)
        self.weighted = bool(weighted) or class_weight is not None
        if total <= 0.0:
            raise DomainError("the weights of the rows must not all be 0, however: they are")
        self._count, self._total = count, total

    def count(self, member: int) -> int:
        """Return on how many rows a member is trained."""
        return self._count

    def evenness(self, member: int) -> float:
        """Return what makes the mean weight of the rows 1."""
        return self._count / self._total

    def checksum(self) -> int:
        """Return a checksum of all rows."""
        return checksum(torch.tensor([self._count, self._capacity]), self._checksum)

    def blocks(self, epoch: int) -> Iterator[Block]:
        """Yield what an epoch is trained on; a block is overwritten by the next."""
        room = min(self._capacity, self._count)
        sizes = self._settings.architecture.sizes
        X = torch.empty(room, sizes[0], dtype=self._dtype)
        integer = self._settings.loss.integer
        targets = torch.empty(room, self.columns, dtype=torch.int64 if integer else self._dtype)
        weights = torch.empty(room, dtype=self._dtype) if self.weighted else None
        filled = number = seen = 0
        for parts in self._epoch(epoch):
            seen += len(parts[0])
            if seen > self._count:
                break
            at = 0
            while at < len(parts[0]):
                taken = min(len(parts[0]) - at, room - filled)
                for buffer, part in zip((X, targets, weights), parts, strict=True):
                    if buffer is not None and part is not None:
                        buffer[filled : filled + taken] = part[at : at + taken]
                at, filled = at + taken, filled + taken
                if filled == room:
                    yield self._block(X, targets, weights, filled, number)
                    filled, number = 0, number + 1
        if seen != self._count:
            raise DataError(
                "batches must give the same rows in each pass, however: the first gave "
                f"{self._count}, that of epoch {epoch} {seen}{' and more' * (seen > self._count)}"
            )
        if filled:
            yield self._block(X, targets, weights, filled, number)

    def _block(
        self, X: Tensor, targets: Tensor, weights: Tensor | None, rows: int, number: int
    ) -> Block:
        device, settings = self._settings.device, self._settings
        return Block(
            X[:rows].to(device),
            targets[:rows].to(device),
            None if weights is None else weights[:rows].to(device),
            [torch.arange(rows)] * settings.members,
            number,
            -(-rows // settings.batch_size),
        )

    def _epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield inputs, targets and weights as they come in this epoch."""
        shuffled = getattr(self._source, "shuffled", None)
        # The same parts for all seeds: members must not depend on whom they are trained with.
        found = self._source if shuffled is None else shuffled(generator_for("blocks", epoch))
        seen = 0
        for X, y, weights in self._checked(iter(found)):
            if self._by_class is not None:
                weights = of_classes(weights, self._by_class, y)
            yield X, self._targets(y, seen), weights
            seen += len(X)

    def _checked(self, batches: Iterator[Any]) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield inputs, targets and weights as given; refuse what is not finite, by row."""
        features, seen = self._settings.architecture.sizes[0], 0
        for batch in batches:
            X, y, *rest = unpacked(batch)
            inputs = as_tensor("X", X)
            if inputs.dim() != 2 or inputs.shape[1] != features:
                raise DomainError(
                    f"X of each batch must have shape (n_rows, {features}), however: "
                    f"X.shape={tuple(inputs.shape)} from row {seen} on; the network has "
                    f"{features} inputs"
                )
            if not len(inputs):
                continue
            inputs = inputs.to(self._dtype)
            refuse_not_finite("X", inputs, seen, self._names)
            given = check_targets("y", y, len(inputs), seen)
            weights = check_weights(rest[0], len(inputs), seen) if rest else None
            yield inputs, given, weights
            seen += len(inputs)

    def _targets(self, y: Tensor, first: int) -> Tensor:
        settings = self._settings
        try:
            return settings.loss.targets(y, settings.architecture.sizes[-1], self._dtype)
        except DomainError as error:
            raise DomainError(f"{error}; y is that of the batch from row {first} on") from None


def unpacked(batch: Any) -> tuple[Any, ...]:
    """Return what a batch has in it."""
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        what = f"{len(batch)} parts" if isinstance(batch, tuple | list) else type(batch).__name__
        raise DomainError(
            "X must be an array (with y), or an iterable of batches (X, y) or (X, y, weights), "
            f"however: a batch was {what}"
        )
    return tuple(batch)


def joined(batches: Iterable[Any]) -> tuple[Tensor, Tensor]:
    """Return inputs and targets of all batches in one piece."""
    parts = [unpacked(batch)[:2] for batch in batches]
    if not parts:
        raise DomainError("validation must have at least one batch, however: none came")
    X, y = ([as_tensor("validation", part[k]) for part in parts] for k in (0, 1))
    return torch.cat(X), torch.cat(y)
