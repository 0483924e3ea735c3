"""Where the parameters of K networks lie in one flat buffer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

__all__ = ["Layout"]

_ALIGN: Final = 16  # elements, 64 bytes of float32: where products like their matrices to begin


class Layout:
    """The places of weights and biases: layer by layer, in each layer member by member.

    All weights come first, then all biases, so that a decay which spares the biases is two ranges.
    What lies between aligned pieces is zero and stays zero.

    Parameters
    ----------
    sizes : sequence of int
        Inputs, hidden units, outputs.
    bias : bool
        Whether there are biases.
    members : int
        How many networks.
    """

    def __init__(self, sizes: Sequence[int], bias: bool, members: int) -> None:
        self.members = members
        self.weight_shapes = [(n, m) for m, n in itertools.pairwise(sizes)]
        self.bias_shapes = [(n,) for n in sizes[1:]] if bias else []
        self._places: list[tuple[int, int]] = []  # start, elements per member
        at = 0
        for shape in (*self.weight_shapes, *self.bias_shapes):
            if len(self._places) == len(self.weight_shapes):
                self.weights_end = at
            count = shape[0] * (shape[1] if len(shape) > 1 else 1)
            self._places.append((at, count))
            at += -(-members * count // _ALIGN) * _ALIGN
        if not bias:
            self.weights_end = at
        self.size = at
        self.member_size = sum(count for _, count in self._places)

    def places(self) -> list[tuple[int, int, bool]]:
        """Return start, elements per member, and whether it is one, of each weight and bias."""
        count = len(self.weight_shapes)
        return [(*place, index < count) for index, place in enumerate(self._places)]

    def segments(self, flat: Tensor) -> list[Tensor]:
        """Return a view (members, elements) of each weight, then of each bias."""
        return [
            flat[start : start + self.members * count].view(self.members, count)
            for start, count in self._places
        ]

    def weights(self, flat: Tensor) -> list[Tensor]:
        """Return a view (members, out, in) of each weight; (out, in) if there is one member."""
        parts = self.segments(flat)[: len(self.weight_shapes)]
        one = self.members == 1
        return [
            part.view(shape if one else (self.members, *shape))
            for part, shape in zip(parts, self.weight_shapes, strict=True)
        ]

    def biases(self, flat: Tensor) -> list[Tensor | None]:
        """Return a view (members, 1, out) of each bias; (out,) if there is one member."""
        parts = self.segments(flat)[len(self.weight_shapes) :]
        if not parts:
            return [None] * len(self.weight_shapes)
        return [part[0] if self.members == 1 else part.unsqueeze(1) for part in parts]

    def member(self, flat: Tensor, index: int) -> Tensor:
        """Return a copy of one member's parameters, shape (member_size,)."""
        return torch.cat([part[index] for part in self.segments(flat)])

    def put(self, flat: Tensor, index: int, values: Tensor) -> None:
        """Write one member's parameters."""
        pieces = torch.split(values, [count for _, count in self._places])
        for part, piece in zip(self.segments(flat), pieces, strict=True):
            part[index].copy_(piece)

    def join(self, values: Sequence[Tensor]) -> Tensor:
        """Return a flat buffer with these members' parameters."""
        flat = torch.zeros(self.size, dtype=values[0].dtype, device=values[0].device)
        for index, one in enumerate(values):
            self.put(flat, index, one)
        return flat
