"""Loss and metric on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from selfnorm.train._early_stopping import EarlyStopping
from selfnorm.train._held import Held
from selfnorm.train._mapped import Mapped
from selfnorm.train._network import Network

__all__ = ["Validation", "outputs_of"]

_CHUNK_ELEMENTS: Final = 1 << 20  # of a layer's activations, over all members
_LEAST_ROWS: Final = 64


def chunk_rows(network: Network) -> int:
    """Return how many rows to evaluate together: many for small networks, within the cache."""
    widest = max(network.architecture.sizes)
    return max(_LEAST_ROWS, _CHUNK_ELEMENTS // (widest * network.members))


@torch.no_grad()
def outputs_of(
    network: Network, parameters: Tensor, X: Tensor | Mapped, rows: Tensor | None = None
) -> Tensor:
    """Return outputs (members, rows, outputs) for X, or for each member's ``rows`` of X."""
    count = len(X) if rows is None else rows.shape[1]
    shape = (network.members, count, network.architecture.sizes[-1])
    outputs = torch.empty(shape, dtype=X.dtype, device=X.device)
    chunk = chunk_rows(network)
    for start in range(0, count, chunk):
        end = min(start + chunk, count)
        x = X[start:end].unsqueeze(0) if rows is None else X[rows[:, start:end]]
        outputs[:, start:end] = network.evaluate(parameters, x)
    return outputs


class Validation:
    """What is measured on held-out rows after each epoch.

    Parameters
    ----------
    held : Held
        The rows.
    network : Network
        Whose members are measured.
    members : sequence of int
        Their numbers.
    stopping : EarlyStopping or None
        Which metric.
    """

    def __init__(
        self,
        held: Held,
        network: Network,
        members: Sequence[int],
        stopping: EarlyStopping | None,
    ) -> None:
        self._held = held
        self._loss = network.loss
        self._stopping = stopping
        self._rows = None if held.rows is None else [held.rows[m] for m in members]
        self._padded: Tensor | None = None
        if self._rows is not None:
            longest = max(map(len, self._rows))
            filled = [torch.cat([r, r[:1].expand(longest - len(r))]) for r in self._rows]
            self._padded = torch.stack(filled).to(held.X.device)

    def measure(self, network: Network, parameters: Tensor) -> tuple[list[float], list[float]]:
        """Return each member's loss, and its metric."""
        held = self._held
        outputs = outputs_of(network, parameters, held.X, self._padded)
        losses: list[float] = []
        metrics: list[float] = []
        for k, own in enumerate(outputs):
            z, target, y = own, held.targets, held.y
            if self._rows is not None:
                rows = self._rows[k].to(held.X.device)
                z, target, y = own[: len(rows)], held.targets[rows], held.y[rows]
            loss = float(self._loss.values(z, target).double().mean())
            losses.append(loss)
            metrics.append(loss if self._stopping is None else self._stopping.value(z, y, loss))
        return losses, metrics
