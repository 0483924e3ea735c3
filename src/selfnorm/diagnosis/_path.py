"""The moments that theory predicts along a network, from those of its input alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from torch import Tensor

from selfnorm import theory
from selfnorm.constants import SATURATION01
from selfnorm.diagnosis import _flow
from selfnorm.diagnosis._context import Context
from selfnorm.diagnosis._flow import Flow
from selfnorm.diagnosis._graph import ROOT, Op
from selfnorm.diagnosis._moments import Moments
from selfnorm.diagnosis._predict import activation_of
from selfnorm.diagnosis._probe import Measured
from selfnorm.errors import SelfNormError
from selfnorm.theory._finite_width import Dropping

__all__ = ["paths"]


def paths(context: Context, measured: Measured) -> dict[int, Flow]:
    """Predict each activation's output, before its dropout, by index of its operation.

    Weights of different layers count as independent. Of a pool's window the first batch tells the
    correlation. Where theory cannot follow (attention, recurrent parts, products of branches,
    embeddings), the prediction starts anew from the moments that were measured at the next layer.
    """
    return _Walk(context, measured).found


class _Walk:
    """One pass over the operations in their order."""

    def __init__(self, context: Context, measured: Measured) -> None:
        self.found: dict[int, Flow] = {}
        self._context = context
        self._graph = context.graph
        self._entering = measured.entering
        self._flows: dict[int, Flow | None] = {ROOT: _whole_input(context, measured.input)}
        self._sources = 0
        left = {k: len(users) for k, users in enumerate(self._graph.users)}
        for op in self._graph.ops:
            try:
                flow = self._through(op)
            except (SelfNormError, ArithmeticError, np.linalg.LinAlgError):
                flow = None
            usable = flow is not None and flow.usable and not (flow.var < 0.0).any()
            self._flows[op.index] = flow if usable else None
            for k in dict.fromkeys(op.inputs):  # what nobody needs any more
                if k != ROOT:
                    left[k] -= 1
                    if not left[k]:
                        self._flows.pop(k, None)

    def _through(self, op: Op) -> Flow | None:
        handler = _HANDLERS.get(op.kind)
        if op.kind == "weight":
            return self._weight(op)
        given = [self._flows.get(k) for k in op.inputs]
        if handler is None or not given or any(one is None for one in given):
            return None
        return handler(self, op, [one for one in given if one is not None])

    def _weight(self, op: Op) -> Flow | None:
        facts = self._context.weights(op)
        if facts is None or facts.units < 2:
            return None
        flow = self._flows.get(op.inputs[0]) if len(op.inputs) == 1 else None
        if flow is None:
            entering = self._entering.get(op.index)
            if entering is None or not entering.units:
                return None
            flow = Flow.of(entering.mean, entering.var)
        return _flow.weighted(flow, facts)

    def _new_source(self) -> int:
        self._sources += 1
        return self._sources - 1

    def _activation(self, op: Op, given: list[Flow]) -> Flow | None:
        act = activation_of(op)
        if act is None:
            return None
        if op.facts.get("added_bias") is not None:
            bias = _numbers(op.facts["added_bias"])
            if bias is None or given[0].mean.size not in (1, bias.size):
                return None
            given[0] = _flow.shifted(given[0], bias)
        units = max(given[0].mean.size, _units(op))
        flow = _flow.activated(given[0], act, units, self._new_source())
        if flow is not None:
            self.found[op.index] = flow
        p = float(op.facts.get("p") or 0.0)
        if flow is None or not p:
            return flow
        a, b = op.facts["affine"]
        value = -op.facts["alpha"] * op.facts["scale"]
        return _flow.dropped(flow, Dropping(p, value, a, b), units, self._new_source())

    def _drop(self, op: Op, given: list[Flow]) -> Flow | None:
        p = float(op.facts.get("p") or 0.0)
        if not p or not op.facts.get("training"):
            return given[0]
        if p >= 1.0:
            return None
        drop = Dropping(p, 0.0, 1.0 / (1.0 - p), 0.0)
        if op.kind == "alpha_dropout":
            value = float(op.facts.get("saturation", SATURATION01))
            affine = op.facts.get("affine") or theory.alpha_dropout_affine(p)
            drop = Dropping(p, value, float(affine[0]), float(affine[1]))
        return _flow.dropped(given[0], drop, _units(op), self._new_source())

    def _add(self, op: Op, given: list[Flow]) -> Flow | None:
        if len(given) != 2 or not self._are_independent(*op.inputs):
            return None
        alpha = float(op.facts.get("alpha", 1.0)) * (-1.0 if op.name == "sub" else 1.0)
        return _flow.summed(given[0], given[1], alpha, _units(op), self._new_source())

    def _are_independent(self, left: int, right: int) -> bool:
        """Tell branches of which one at least has a layer that the other has not."""
        masks = [0 if k == ROOT else self._graph.ancestors[k] | (1 << k) for k in (left, right)]
        own = (masks[0] | masks[1]) & ~(masks[0] & masks[1])
        return any(one.kind == "weight" for one in self._graph.members(own))

    def _shape(self, op: Op, given: list[Flow]) -> Flow | None:
        if not op.facts.get("shift"):
            return given[0]
        by = op.facts.get("by")
        return None if by is None else _flow.scaled(given[0], 1.0, by)

    def _scale(self, op: Op, given: list[Flow]) -> Flow | None:
        factor = op.facts.get("factor")
        if factor is None or not math.isfinite(factor) or (op.facts["division"] and not factor):
            return None
        return _flow.scaled(given[0], 1.0 / factor if op.facts["division"] else factor)

    def _cat(self, op: Op, given: list[Flow]) -> Flow | None:
        sizes = [
            0 if k == ROOT else math.prod(self._graph.ops[k].facts.get("shape", ()))
            for k in op.inputs
        ]
        if not all(sizes):
            return None
        return _flow.joined(given, [size / sum(sizes) for size in sizes])

    def _pool(self, op: Op, given: list[Flow]) -> Flow | None:
        if "ratio" in op.facts:
            return _flow.average(given[0], op.facts["ratio"])
        if "window" in op.facts:
            return _flow.largest(given[0], *op.facts["window"])
        return None

    def _norm(self, op: Op, given: list[Flow]) -> Flow | None:
        kinds = {
            "batch_norm": True,
            "instance_norm": True,
            "layer_norm": False,
            "group_norm": False,
        }
        if op.name not in kinds or "gain" not in op.facts or not op.facts["training"]:
            return None
        gain, bias = (op.facts[name] for name in ("gain", "bias"))
        numbers = (1.0 if gain is None else _numbers(gain), 0.0 if bias is None else _numbers(bias))
        if any(one is None for one in numbers):
            return None
        return _flow.standardised(given[0], kinds[op.name], *numbers)


_HANDLERS: Final[Mapping[str, Callable[[_Walk, Op, list[Flow]], Flow | None]]] = {
    "activation": _Walk._activation,
    "dropout": _Walk._drop,
    "alpha_dropout": _Walk._drop,
    "add": _Walk._add,
    "shape": _Walk._shape,
    "scale": _Walk._scale,
    "cat": _Walk._cat,
    "pool": _Walk._pool,
    "norm": _Walk._norm,
}


def _whole_input(context: Context, moments: Moments) -> Flow | None:
    one = len(context.inputs) == 1 and context.inputs[0].is_floating_point()
    return Flow.of(moments.mean, moments.var) if one and moments.units else None


def _numbers(value: Any) -> Any:
    if not isinstance(value, Tensor) or value.is_meta:
        return None
    return value.detach().reshape(-1).double().cpu().numpy()


def _units(op: Op) -> int:
    """Return how many units an operation gives: channels of images, else the last axis."""
    shape: tuple[int, ...] = op.facts.get("shape") or (1,)
    return max(2, int(shape[1] if len(shape) > 3 else shape[-1]))
