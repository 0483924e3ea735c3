"""The operations of one forward pass and how data flows between them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from selfnorm.constants import ALPHA01, LAMBDA01

__all__ = ["PASSING", "ROOT", "Graph", "Op"]

ROOT: Final = -1  # stands for the model's input among the producers of an operation

_WRITTEN: Final = 2e-3  # how precisely people write SELU's constants

# Kinds through which a signal goes without a new activation or weight layer.
PASSING: Final = frozenset(
    {"shape", "dropout", "alpha_dropout", "pool", "scale", "add", "cat", "mix", "norm"}
)


@dataclass(eq=False)
class Op:
    """One operation.

    ``kind`` is "weight" (linear, convolution), "activation", "dropout", "alpha_dropout", "norm",
    "pool", "add" (of two signals), "mul" (of two signals), "scale" (by a constant or parameter),
    "cat", "mix" (sums over rows, as in graph networks), "shape" (a view or a copy), "embedding",
    "recurrent", "attention" or "other"; ``name`` is the function's own name. ``facts`` holds what
    rules ask for: p, training, inplace, weight…
    """

    index: int
    kind: str
    name: str
    place: str
    inputs: tuple[int, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    by_module: bool = False  # whether a module of torch.nn or selfnorm.nn did it, not a function


class Graph:
    """Operations in the order in which they ran, with their flow.

    Parameters
    ----------
    ops : sequence of Op
        ``ops[k].index`` is k, and every input of an operation comes before it.
    source : {"run", "symbolic", "registration"}
        How it was found: by running the model, by tracing it symbolically, or by the order in
        which its modules were registered, which may not be the order in which they run.
    """

    def __init__(self, ops: Iterable[Op], source: str) -> None:
        self.ops = list(ops)
        self.source = source
        self._name_selus()
        self._name_borders()

    @functools.cached_property
    def users(self) -> list[list[int]]:
        """For each operation, those that take its result."""
        users: list[list[int]] = [[] for _ in self.ops]
        for op in self.ops:
            for producer in dict.fromkeys(op.inputs):
                if producer != ROOT:
                    users[producer].append(op.index)
        return users

    @functools.cached_property
    def ancestors(self) -> list[int]:
        """For each operation a bit mask of all that come before it on some path."""
        masks: list[int] = []
        for op in self.ops:
            mask = 0
            for producer in op.inputs:
                if producer != ROOT:
                    mask |= masks[producer] | (1 << producer)
            masks.append(mask)
        return masks

    @functools.cached_property
    def descendants(self) -> list[int]:
        """For each operation a bit mask of all that come after it on some path."""
        masks = [0] * len(self.ops)
        for op in reversed(self.ops):
            for user in self.users[op.index]:
                masks[op.index] |= masks[user] | (1 << user)
        return masks

    def members(self, mask: int) -> Iterator[Op]:
        """Yield the operations of a bit mask."""
        while mask:
            low = mask & -mask
            yield self.ops[low.bit_length() - 1]
            mask ^= low

    def of(self, *kinds: str) -> list[Op]:
        """Return the operations of some kinds."""
        return [op for op in self.ops if op.kind in kinds]

    def activations(self, name: str = "selu") -> list[Op]:
        """Return the activations of one name."""
        return [op for op in self.ops if op.kind == "activation" and op.name == name]

    def before(self, op: Op, passing: frozenset[str] = PASSING) -> list[tuple[Op | None, set[str]]]:
        """Return what feeds an operation, seen through the passing kinds.

        Each entry is an operation (None for the model's input) and the kinds passed on the way.
        """
        return self._walk(op, lambda k: self.ops[k].inputs, passing)

    def after(self, op: Op, passing: frozenset[str] = PASSING) -> list[tuple[Op | None, set[str]]]:
        """Return what an operation feeds, seen through the passing kinds; None is the output."""
        return self._walk(op, lambda k: tuple(self.users[k]) or (ROOT,), passing)

    def _name_selus(self) -> None:
        """Call SELU what is written as a scaled ELU of its alpha."""
        for op in self.ops:
            if op.kind != "scale" or not op.inputs or op.inputs[0] == ROOT:
                continue
            elu, factor = self.ops[op.inputs[0]], op.facts.get("factor")
            if (
                elu.name == "elu"
                and factor is not None
                and math.isclose(elu.facts["alpha"], ALPHA01, rel_tol=_WRITTEN)
                and math.isclose(factor, LAMBDA01, rel_tol=_WRITTEN)
            ):
                elu.name = "selu"
                elu.facts |= {"alpha": ALPHA01, "scale": LAMBDA01}
                op.kind = "shape"

    def _name_borders(self) -> None:
        """Take a convolution whose result is scaled by position for one with a whole border.

        A factor per position, equal for all samples and channels, is how the variance is restored
        where zeros stand behind the border: then the layer does what theory assumes.
        """
        for op in self.ops:
            if op.kind != "scale" or not op.inputs or op.inputs[0] == ROOT:
                continue
            layer = self.ops[op.inputs[0]]
            positions = len(layer.facts.get("kernel") or ())
            if (
                layer.kind == "weight"
                and positions
                and len(op.facts.get("factor_shape", ())) == positions
            ):
                layer.facts["padding"] = 0
                op.kind = "shape"

    def _walk(
        self, op: Op, following: Callable[[int], tuple[int, ...]], passing: frozenset[str]
    ) -> list[tuple[Op | None, set[str]]]:
        found: list[tuple[Op | None, set[str]]] = []
        seen: set[tuple[int, frozenset[str]]] = set()
        stack = [(k, frozenset[str]()) for k in reversed(following(op.index))]
        while stack:
            k, passed = stack.pop()
            if (k, passed) in seen:
                continue
            seen.add((k, passed))
            if k == ROOT:
                found.append((None, set(passed)))
            elif self.ops[k].kind in passing:
                more = passed | {self.ops[k].kind}
                stack += [(j, more) for j in reversed(following(k))]
            else:
                found.append((self.ops[k], set(passed)))
        return found

    def selu_depth(self, *, reset_at_norm: bool = False) -> list[int]:
        """Count the SELUs on the longest path up to each operation, itself included."""
        depth: list[int] = []
        for op in self.ops:
            most = max((depth[k] for k in op.inputs if k != ROOT), default=0)
            if reset_at_norm and op.kind in ("norm", "attention", "recurrent"):
                most = 0
            depth.append(most + (op.kind == "activation" and op.name == "selu"))
        return depth
