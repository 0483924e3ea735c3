"""Where a training went to infinity."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from selfnorm.errors import ConvergenceError
from selfnorm.train._network import Network, Step

__all__ = ["Divergence", "broken_members", "locate", "not_finite"]


@dataclasses.dataclass(frozen=True)
class Divergence:
    """The first thing found that was not finite.

    ``members`` are positions in the network; epoch and step count from 1, the step within the
    epoch; ``where`` is in words.
    """

    members: tuple[int, ...]
    epoch: int
    step: int
    where: str

    def error(self, numbers: Sequence[int], rate: float) -> ConvergenceError:
        """Return what tells of it; ``numbers`` are the members' own, ``rate`` is the first's."""
        return ConvergenceError(
            f"the training must stay finite, however: it diverged in epoch {self.epoch}, step "
            f"{self.step}, for member{'s' if len(numbers) > 1 else ''} "
            f"{', '.join(map(str, numbers))}; the first that is not finite: {self.where}. Lower "
            f"the rate (lr={rate:g}), clip the gradient (clip_norm=1.0), warm up, or let "
            "on_divergence='halve' retry"
        )


def not_finite(row: Tensor) -> tuple[int, ...]:
    """Return the positions of what is not finite."""
    return tuple((~torch.isfinite(row)).nonzero()[:, 0].tolist())


def broken_members(network: Network) -> tuple[int, ...]:
    """Return the positions of members with a parameter that is not finite."""
    flat, layout = network.parameters, network.layout
    whole = [torch.isfinite(layout.member(flat, k)).all() for k in range(network.members)]
    return tuple(k for k, finite in enumerate(whole) if not bool(finite))


def locate(network: Network, member: int, step: Step | None) -> str:
    """Say which layer of a member is the first with something that is not finite.

    The state must be that after the step's gradient and before its update. Without a step only the
    parameters are looked at.
    """
    layout = network.layout
    names = [f"hidden layer {k + 1}" for k in range(len(layout.weight_shapes) - 1)]
    names.append("the output layer")
    several = network.members > 1

    def broken(tensor: Tensor | None) -> bool:
        if tensor is None:
            return False
        return not bool(torch.isfinite(tensor[member] if several else tensor).all())

    weights, biases = layout.weights(network.parameters), layout.biases(network.parameters)
    for name, weight, bias in zip(names, weights, biases, strict=True):
        if broken(weight) or broken(bias):
            return f"the parameters of {name}, by the update before"
    for name, output in zip(names, step.outputs if step else [], strict=bool(step)):
        if broken(output):
            return f"what {name} gave"
    return "the loss"
