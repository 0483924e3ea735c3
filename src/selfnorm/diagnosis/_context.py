"""What every rule looks at: the model, its operations, its input."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from torch import Tensor, nn

from selfnorm import theory
from selfnorm.constants import ALPHA01, LAMBDA01
from selfnorm.diagnosis._graph import PASSING, Graph, Op
from selfnorm.diagnosis._trace import path_of_module
from selfnorm.diagnosis._weights import WeightFacts, facts_of_weight

__all__ = ["Context", "code_path", "join_places", "scale_range"]

_SHOWN: Final = 4  # places that a finding spells out


@dataclass(eq=False)
class Context:
    """A model, its operations and, if there is one, the first batch."""

    model: nn.Module
    graph: Graph
    inputs: Sequence[Tensor] = ()  # the user's own; empty if they were made up
    optimizer: Any = None
    _facts: dict[int, WeightFacts | None] = field(default_factory=dict)

    def weights(self, op: Op) -> WeightFacts | None:
        """Return the sums of a layer's weights, computed once."""
        if op.index not in self._facts:
            self._facts[op.index] = facts_of_weight(op)
        return self._facts[op.index]

    @functools.cached_property
    def modules(self) -> dict[str, nn.Module]:
        """The modules by their paths, as operations name them."""
        return {path_of_module(name): one for name, one in self.model.named_modules()}

    @functools.cached_property
    def selus(self) -> list[Op]:
        """The SELUs, in order."""
        return self.graph.activations()

    @functools.cached_property
    def attends(self) -> bool:
        """Whether the model has attention, whose norms and sums are not SELU's business."""
        return any(not _is_last(self.graph, op) for op in self.graph.of("attention"))

    @functools.cached_property
    def selu_layers(self) -> list[Op]:
        """Weight layers whose result reaches a SELU with no normalisation between."""
        found: dict[int, Op] = {}
        for selu in self.selus:
            for layer, passed in self.graph.before(selu):
                if layer is not None and layer.kind == "weight" and "norm" not in passed:
                    found[layer.index] = layer
        return [found[k] for k in sorted(found)]

    @functools.cached_property
    def free_depth(self) -> list[int]:
        """For each operation, the SELUs up to it since the last normalisation."""
        return self.graph.selu_depth(reset_at_norm=True)

    def next_selu(self, op: Op) -> Op | None:
        """Return the first SELU that an operation reaches, if any."""
        for after, _ in self.graph.after(op):
            if after is not None and after.kind == "activation" and after.name == "selu":
                return after
        return None

    def feeds_selu(self, op: Op) -> bool:
        """Tell whether a SELU comes anywhere after an operation."""
        mask = self.graph.descendants[op.index]
        return any(
            one.kind == "activation" and one.name == "selu" for one in self.graph.members(mask)
        )

    def is_alone(self, op: Op) -> bool:
        """Tell what stands at one SELU between two normalisations, as in a transformer's block."""
        if not self.attends or self.free_depth[op.index] > 1:
            return False
        on = (PASSING - {"norm"}) | {"weight"}
        return not any(
            one is not None and one.kind == "activation" and one.name == "selu"
            for one, _ in self.graph.after(op, on)
        )

    def last_activation(self, op: Op) -> list[Op]:
        """Return the activations before an operation with no weight layer between."""
        return [
            one
            for one, _ in self.graph.before(op, PASSING - {"norm"})
            if one is not None and one.kind == "activation"
        ]


def _is_last(graph: Graph, op: Op) -> bool:
    """Tell a softmax at the output, which is no attention."""
    return "softmax" in op.name and all(
        one is None or one.kind not in ("weight", "mul") for one, _ in graph.after(op)
    )


@functools.lru_cache(maxsize=64)
def scale_range(
    alpha: float = ALPHA01, scale: float = LAMBDA01, form: str = "mean_field"
) -> tuple[float, float] | None:
    """Return the weights' sums of squares at which a SELU has one attracting fixed point."""
    found = theory.weight_scale_range(
        theory.activation("selu", alpha=alpha, scale=scale), form=form
    )
    return None if found is None else (float(found.low), float(found.high))


@functools.lru_cache(maxsize=64)
def fixed_point_of(alpha: float, scale: float) -> tuple[float, float] | None:
    """Return (mean, var) that a SELU keeps with centred weights of sum of squares 1."""
    if math.isclose(alpha, ALPHA01, rel_tol=1e-6) and math.isclose(scale, LAMBDA01, rel_tol=1e-6):
        return 0.0, 1.0
    try:
        point = theory.fixed_point(theory.activation("selu", alpha=alpha, scale=scale))
    except (ArithmeticError, RuntimeError, ValueError):
        return None
    return (float(point.mean), float(point.var)) if point.stable else None


def join_places(places: Iterable[str]) -> str:
    """Join module paths for a finding."""
    unique = list(dict.fromkeys(places))
    if len(unique) <= _SHOWN:
        return ", ".join(one or "(model)" for one in unique)
    more = len(unique) - _SHOWN + 1
    return ", ".join([*(one or "(model)" for one in unique[: _SHOWN - 1]), f"and {more} more"])


def code_path(path: str) -> str:
    """Write a module's path as Python code, starting at ``model``."""
    text = "model"
    for part in path.split(".") if path else ():
        if part.isdigit():
            text += f"[{part}]"
        elif part.isidentifier():
            text += f".{part}"
        else:
            return f"model.get_submodule({path!r})"
    return text
