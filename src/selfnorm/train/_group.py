"""The members that are still in training: their parameters, optimiser and average together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from selfnorm.train._clipping import clip
from selfnorm.train._network import Network
from selfnorm.train._optimizers import Flow
from selfnorm.train._random import key_for
from selfnorm.train._settings import Settings

__all__ = ["Group"]

Pairs = tuple[tuple[float, float], ...]  # of each layer
_T = TypeVar("_T")


class Group:
    """Members in training, side by side in one network.

    Parameters
    ----------
    settings : Settings
        What to do.
    members : sequence of int
        Numbers of the members.
    buffers : iterable of iterable of torch.Tensor
        For each member: parameters, moments of the optimiser, moving average if asked for; the
        moments may be left out at the start. Shape (parameters,) each.
    factors : sequence of float
        What each member's rate is multiplied by.
    steps : int
        How many steps were taken.
    """

    def __init__(
        self,
        settings: Settings,
        members: Sequence[int],
        buffers: Iterable[Iterable[Tensor]],
        factors: Sequence[float],
        steps: int,
    ) -> None:
        self.settings = settings
        self.members = list(members)
        self.network = Network(
            settings.architecture,
            settings.loss,
            [key_for(settings.seeds[m], "dropout") for m in members],
            [settings.dropout[m] for m in members],
            settings.device,
            settings.cuda_graph,
        )
        network, layout = self.network, self.network.layout
        if settings.clip_norm is not None:
            network.finish = clip(layout, network.gradients, settings.clip_norm)
        self.average: Tensor | None = None
        if settings.average is not None:
            self.average = torch.zeros_like(network.parameters)
        # Parameters first, each let go of before the next: the optimiser's buffers come later.
        others = self._put_parameters(buffers)
        self.set_factors(factors)
        for index, rest in enumerate(others):
            # A new training has parameters alone: moments start at 0, the average anywhere.
            for flat, values_of in zip(self.flats()[1:], rest, strict=False):
                layout.put(flat, index, values_of)
        self.set_steps(steps)

    def _put_parameters(self, buffers: Iterable[Iterable[Tensor]]) -> list[list[Tensor]]:
        """Take each member's parameters; return what else there is."""
        others = []
        for index, own in enumerate(buffers):
            values = iter(own)
            self.network.layout.put(self.network.parameters, index, next(values))
            others.append(list(values))
        return others

    def flats(self) -> list[Tensor]:
        """Return everything that a step changes."""
        average = [] if self.average is None else [self.average]
        return [self.network.parameters, *self.flow.moments, *average]

    def buffers(self, position: int) -> list[Tensor]:
        """Return copies of what belongs to one member."""
        return [self.network.layout.member(flat, position) for flat in self.flats()]

    @property
    def best(self) -> Tensor:
        """The parameters to evaluate: the average if there is one."""
        return self.network.parameters if self.average is None else self.average

    def set_factors(self, factors: Sequence[float]) -> None:
        """Change the factors of the members' rates."""
        old = self.__dict__.get("flow")
        self.flow = Flow(
            self.settings.optimizer,
            self.network.layout,
            self.network.parameters,
            self.network.gradients,
            members=self.members,
            factors=factors,
            total=self.settings.members,
            moments=None if old is None else old.moments,
        )
        if old is not None:
            self.flow.set_count(self.steps)

    def set_steps(self, steps: int) -> None:
        """Set how many steps were taken."""
        self.steps = steps
        self.network.set_step(steps)
        self.flow.set_count(steps)

    def update(self, factor: float) -> None:
        """Take a step with the gradient at hand."""
        self.flow.step(factor)
        if self.average is not None and self.settings.average is not None:
            # A plain mean of the first weights, until the decay forgets faster than that.
            weight = max(1.0 - self.settings.average, 1.0 / (self.steps + 1))
            self.average.lerp_(self.network.parameters, weight)
        self.steps += 1

    # ---- for the record of an epoch: by the number of the member, None for those not here -------

    def spread(self, values: Sequence[_T]) -> tuple[_T | None, ...]:
        """Return a value of each member here as one for each member of the training."""
        found = dict(zip(self.members, values, strict=True))
        return tuple(found.get(m) for m in range(self.settings.members))

    def moments(self, outputs: Sequence[Tensor]) -> tuple[Pairs | None, ...]:
        """Return mean and variance of what each hidden layer gave, from `Step.outputs`."""
        return self.spread(
            [
                tuple((float(h.mean()), float(h.var(correction=0))) for h in own)
                for own in self._apart(outputs[:-1])
            ]
        )

    def weight_sums(self) -> tuple[Pairs | None, ...]:
        """Return the mean over units of the sum and the sum of squares of each layer's weights."""
        weights, _ = self.network.weights_of(self.network.parameters)
        return self.spread(
            [
                tuple((float(w.sum()) / len(w), float(w.square().sum()) / len(w)) for w in own)
                for own in self._apart(weights)
            ]
        )

    def _apart(self, layers: Sequence[Tensor]) -> list[list[Tensor]]:
        """Return each member's part of every layer."""
        if self.network.members == 1:
            return [list(layers)]
        return [[layer[k] for layer in layers] for k in range(self.network.members)]

    # ---- there and back -------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return everything as copies on the CPU."""
        flats = [flat.to("cpu", copy=True) for flat in self.flats()]
        return {"members": list(self.members), "flats": flats, "steps": self.steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state of the same members."""
        for flat, values in zip(self.flats(), state["flats"], strict=True):
            flat.copy_(values)
        self.set_steps(state["steps"])
