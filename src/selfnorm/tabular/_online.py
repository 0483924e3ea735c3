"""Training on batches that come one after the other."""

from __future__ import annotations

import torch

from selfnorm import nn
from selfnorm.errors import ConvergenceError
from selfnorm.tabular._engine import data_of, trainer_of
from selfnorm.tabular._plan import Plan
from selfnorm.tabular._rows import Rows
from selfnorm.train._architecture import flatten, layers_of
from selfnorm.train._batches import Batches
from selfnorm.train._group import Group
from selfnorm.train._ranks import Ranks

__all__ = ["Online"]


class Online:
    """Members with the state of their optimiser, which takes a pass over rows at a time.

    Parameters
    ----------
    plans : list of Plan
        One for each member.
    start : list of selfnorm.nn.SNN or None
        The networks to begin with; None: new ones.
    """

    def __init__(self, plans: list[Plan], start: list[nn.SNN] | None) -> None:
        self._plans = plans
        self._steps = self._passes = 0
        weights = list(trainer_of(plans)._start())
        if start is not None:
            weights = [flatten(layers_of(network)) for network in start]
        self._buffers: list[list[torch.Tensor]] = [[own] for own in weights]

    @torch.no_grad()
    def learn(self, rows: Rows) -> tuple[list[nn.SNN], list[float]]:
        """Pass over the rows once; return the networks and each member's mean loss."""
        trainer = trainer_of(self._plans)
        settings, members = trainer._settings, range(len(self._plans))
        group = Group(settings, members, self._buffers, [1.0] * len(members), self._steps)
        data = data_of(rows, trainer)
        batches = Batches(
            data, members, settings.seeds, settings.batch_size, False, group.network, Ranks()
        )
        log = torch.zeros(batches.steps, len(members), device=settings.device)
        self._passes += 1
        for index, step in enumerate(batches.of_epoch(self._passes, 0)):
            for call in step.calls:
                call()
            torch.sum(step.values, 1, out=log[index])
            group.update(1.0)
        if not bool(torch.isfinite(group.network.parameters.sum())):
            raise ConvergenceError(
                "the weights must stay finite, however: they did not in pass "
                f"{self._passes}; lower learning_rate_init={self._plans[0].learning_rate:g} and "
                "start anew"
            )
        self._steps = group.steps
        self._buffers = [group.buffers(k) for k in members]
        trainer._weights = [own[0] for own in self._buffers]
        networks = [trainer.export(k).cpu() for k in members]
        return networks, batches.losses(log)
