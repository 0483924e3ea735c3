"""Training on rows that come one lot after the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from selfnorm.errors import ConvergenceError
from selfnorm.train._batches import Batches
from selfnorm.train._data import Data
from selfnorm.train._group import Group
from selfnorm.train._ranks import Ranks
from selfnorm.train._settings import Settings

__all__ = ["Passes"]


class Passes:
    """Members with the state of their optimiser, which take one pass over rows at a time.

    Parameters
    ----------
    settings : Settings
        What to do.
    initial : sequence of torch.Tensor
        Each member's parameters at the beginning.
    """

    def __init__(self, settings: Settings, initial: Sequence[Tensor]) -> None:
        self._settings = settings
        self._steps = self._count = 0
        self._buffers: list[list[Tensor]] = [[own] for own in initial]

    @torch.no_grad()
    def learn(self, data: Data) -> tuple[float, ...]:
        """Pass over the rows once; return each member's mean loss."""
        settings = self._settings
        members = range(settings.members)
        group = Group(settings, members, self._buffers, [1.0] * len(members), self._steps)
        network = group.network
        shared = settings.shuffle == "shared"
        seeds = [settings.seeds[0 if shared else m] for m in members]
        batches = Batches(data, members, seeds, settings.batch_size, shared, network, Ranks())
        log = torch.zeros(batches.steps, len(members), device=settings.device)
        self._count += 1
        for index, step in enumerate(batches.of_epoch(self._count, 0)):
            for call in step.calls:
                call()
            torch.sum(step.values, 1, out=log[index])
            group.update(1.0)
        if not bool(torch.isfinite(network.parameters.sum())):
            rates = min(group.flow.rates)
            raise ConvergenceError(
                "the parameters must stay finite, however: they did not in pass "
                f"{self._count}; what was learned before is kept; lower lr={rates:g}"
            )
        self._steps = group.steps
        self._buffers = [group.buffers(k) for k in members]
        return tuple(batches.losses(log))

    def weights(self) -> list[Tensor]:
        """Return each member's parameters."""
        return [own[0] for own in self._buffers]
