"""How the rows of an epoch are cut into batches for members that may have unequal numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from selfnorm.errors import DomainError
from selfnorm.train._data import Block, Data
from selfnorm.train._mapped import Mapped
from selfnorm.train._network import Network, Step
from selfnorm.train._ranks import Ranks
from selfnorm.train._stream import Stream

__all__ = ["Batches"]


class Batches:
    """The batches of a group of members.

    All members take equally many steps an epoch, as many as the one with the most rows needs. Each
    takes full batches and a smaller last one. A member that would be through earlier has its rows
    divided evenly instead. Where batches of one step differ in size, the smaller ones are filled up
    with rows of weight 0. Of several processes each takes its share of every batch.

    Parameters
    ----------
    data : Data or Stream
        All rows.
    members : sequence of int
        Numbers of the members in the group.
    seeds : sequence of int
        Seed of each.
    batch_size : int
        Rows of a full batch.
    shared : bool
        Whether all members get the rows of the first seed.
    network : Network
        Whose steps take the batches.
    ranks : Ranks
        The processes that take them together.
    """

    def __init__(
        self,
        data: Data | Stream,
        members: Sequence[int],
        seeds: Sequence[int],
        batch_size: int,
        shared: bool,
        network: Network,
        ranks: Ranks,
    ) -> None:
        self._data = data
        self._ranks = ranks
        self._members = list(members[:1] if shared else members)
        self._seeds = list(seeds[:1] if shared else seeds)
        counts = [data.count(m) for m in self._members]
        self.steps = max(-(-n // batch_size) for n in counts)
        self._bounds = [_bounds(n, batch_size, self.steps) for n in counts]
        if min(counts) < self.steps:
            raise DomainError(
                "members' training rows must not differ so much, however: one has "
                f"{min(counts)} rows, another takes {self.steps} steps an epoch; raise batch_size "
                "or train them apart"
            )
        sizes = [tuple(b[s + 1] - b[s] for b in self._bounds) for s in range(self.steps)]
        self.weighted = ranks.size > 1 or data.weighted or any(len(set(s)) > 1 for s in sizes)
        # Without weights the log of an epoch holds sums over rows, with weights means.
        device, dtype = network.parameters.device, network.parameters.dtype
        outputs = network.architecture.sizes[-1]
        value_factor, gradient_factor = network.loss.factors(outputs)
        per_row = torch.tensor(sizes if self.weighted else [[1.0]], dtype=torch.float64)
        factor = value_factor / (gradient_factor if self.weighted else 1.0)
        totals = torch.tensor(counts, dtype=torch.float64)
        self._shares = per_row * factor / totals
        self._first_share = self._shares[0] * totals / torch.tensor(sizes[0])
        self._patterns: list[_Pattern] = []
        known: dict[tuple[int, ...], _Pattern] = {}
        for size in sizes:
            if size not in known:
                own = [len(range(n)[ranks.share(0, n)]) for n in size]
                rows = max(1, *own)
                step = network.step(rows, len(counts), data.columns, self.weighted)
                scale = torch.zeros(len(counts), 1, rows, dtype=torch.float64)
                for k, n in enumerate(size):
                    scale[k, 0, : own[k]] = gradient_factor / n * data.evenness(self._members[k])
                known[size] = _Pattern(rows, step, scale.to(device, dtype))
            self._patterns.append(known[size])

    def of_epoch(self, epoch: int, start: int) -> Iterator[Step]:
        """Yield each step of an epoch from ``start`` on, its batch in place."""
        begin = 0
        for block in self._data.blocks(epoch):
            end = self.steps if block.steps is None else begin + block.steps
            if end > start:
                yield from self._of_block(block, epoch, range(max(begin, start), end), begin)
            begin = end

    def _of_block(self, block: Block, epoch: int, steps: range, begin: int) -> Iterator[Step]:
        """Yield the steps of a block whose first one is number ``begin``."""
        orders = [
            block.order(seed, m, epoch) for m, seed in zip(self._members, self._seeds, strict=True)
        ]
        pieces: list[Tensor] = []
        for s in steps:
            rows = self._patterns[s].rows
            for order, bounds in zip(orders, self._bounds, strict=True):
                own = self._ranks.share(bounds[s] - bounds[begin], bounds[s + 1] - bounds[begin])
                piece = order[own]
                short = rows - len(piece)
                pieces += [piece, order[:1].expand(short)] if short else [piece]
        X, targets, of_rows = block.X, block.targets, block.weights
        patterns = self._patterns[steps.start : steps.stop]
        lengths = [len(orders) * p.rows for p in patterns]
        numbers = torch.split(torch.cat(pieces).to(targets.device), lengths)
        for index, pattern in zip(numbers, patterns, strict=True):
            step = pattern.step
            if isinstance(X, Mapped):
                X.take(index, step.inputs)
            else:
                torch.index_select(X, 0, index, out=step.inputs)
            torch.index_select(targets, 0, index, out=step.targets)
            weights = step.row_weights
            if weights is not None and of_rows is None:
                weights.copy_(pattern.scale)
            elif weights is not None and of_rows is not None:
                weights.copy_(of_rows[index].view(len(orders), 1, -1) * pattern.scale)
            yield step

    def losses(self, log: Tensor) -> list[float]:
        """Return each member's mean loss of an epoch from what its steps logged."""
        found: list[float] = (log.cpu().double() * self._shares).sum(0).tolist()
        return found

    def first_loss(self, log: Tensor) -> list[float]:
        """Return each member's mean loss of the first batch, from the same log."""
        found: list[float] = (log[0].cpu().double() * self._first_share).tolist()
        return found


@dataclasses.dataclass(frozen=True)
class _Pattern:
    rows: int
    step: Step
    scale: Tensor


def _bounds(count: int, batch_size: int, steps: int) -> list[int]:
    if -(-count // batch_size) == steps:
        return [min(s * batch_size, count) for s in range(steps + 1)]
    return [s * count // steps for s in range(steps + 1)]
