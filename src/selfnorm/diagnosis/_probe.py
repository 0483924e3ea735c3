"""Run data through a model and stream the moments of every activation, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn

from selfnorm.diagnosis._batches import Batch
from selfnorm.diagnosis._graph import PASSING, ROOT, Graph, Op
from selfnorm.diagnosis._moments import Moments
from selfnorm.diagnosis._trace import Recorder, call_model, note_moments, tensors_in
from selfnorm.errors import DataError

__all__ = ["Measured", "Probe", "Site"]

_NEAR: Final = 0.01  # an output this near to the saturation value, relatively, is saturated
_UNIT_SATURATED: Final = 0.99


@dataclass(eq=False)
class Site:
    """What was measured at one activation."""

    op: Op
    key: str
    output: Moments
    before: Moments
    saturated: int = 0
    squared_gradient: float = 0.0  # summed over all elements
    gradient_rows: int = 0


@dataclass(eq=False)
class Measured:
    """What was measured in all."""

    sites: dict[str, Site] = field(default_factory=dict)
    entering: dict[int, Moments] = field(default_factory=dict)  # by index of the weight operation
    input: Moments = field(default_factory=Moments)
    rows: int = 0
    graph: Graph = field(default_factory=lambda: Graph([], "run"))
    not_finite: str | None = None  # the first place with an infinite number or none at all


class Probe:
    """Measure batch by batch; the memory is that of one batch and of the sums by unit.

    Parameters
    ----------
    model : torch.nn.Module
        The model.
    loss : callable, optional
        ``loss(output, target)``; without it the gradient is that of a random projection of the
        output.
    backward : bool
        Whether gradients are measured.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        loss: Callable[[Any, Any], Tensor] | None = None,
        backward: bool = True,
    ) -> None:
        self.measured = Measured()
        self._model = model
        self._loss = loss
        self._backward = backward
        self._outputs: list[tuple[Site, Tensor]] = []
        self._recorder: Recorder | None = None
        self._calls: dict[str, int] = {}

    def check_target(self, batch: Batch) -> None:
        """Refuse a batch without the target that the loss needs."""
        if self._loss is not None and batch.target is None:
            raise DataError(
                "data must hold targets for a loss, however: loss was given and a batch has no "
                "target; pass (X, y), or leave the loss out"
            )

    def add(self, batch: Batch) -> None:
        """Run one batch forward and, if wanted, backward."""
        self._outputs, self._calls = [], {}
        recorder = Recorder(self._model, self._watch)
        self._recorder = recorder
        with torch.set_grad_enabled(self._backward):
            for tensor in tensors_in((batch.args, batch.kwargs)):
                self.measured.input.add(tensor)
            with recorder:
                recorder.take_input((batch.args, batch.kwargs))
                output = call_model(self._model, batch.args, batch.kwargs)
            self.measured.rows += batch.rows
            if not self.measured.graph.ops:
                self.measured.graph = Graph(recorder.ops, "run")
            if self._backward:
                self._differentiate(output, batch)
        self._outputs = []

    def _watch(self, op: Op, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        assert self._recorder is not None
        if not self.measured.graph.ops:  # the first batch
            note_moments(self._recorder.ops, op, inputs, output)
        if op.kind == "weight" and inputs:
            self.measured.entering.setdefault(op.index, Moments()).add(inputs[0])
            return None
        if op.kind != "activation" or not inputs or not output.is_floating_point():
            return None
        axis = self._unit_axis(op, output)
        site = self._site(op)
        z = inputs[0]
        if op.facts.get("added_bias") is not None:
            z = z + op.facts["added_bias"]
        site.before.add(z, axis if z.shape == output.shape else None)
        plain = self._without_dropout(op, z, output)
        site.output.add(plain, axis)
        site.saturated += _saturated(op, plain)
        if self.measured.not_finite is None and not site.output.finite:
            self.measured.not_finite = site.key
        return self._remember(site, output)

    def _site(self, op: Op) -> Site:
        """Return the site of an activation; calls of one module are counted batch by batch."""
        count = self._calls[op.place] = self._calls.get(op.place, 0) + 1
        key = op.place if count == 1 else f"{op.place or '(model)'}#{count}"
        return self.measured.sites.setdefault(key, Site(op, key, Moments(), Moments()))

    def _unit_axis(self, op: Op, output: Tensor) -> int:
        """Return the axis of units: that of channels after a convolution, else the last."""
        assert self._recorder is not None
        ops, k = self._recorder.ops, op.inputs[0] if op.inputs else ROOT
        while k != ROOT and ops[k].kind in PASSING and ops[k].inputs:
            if ops[k].kind == "shape" and len(ops[k].facts.get("shape", ())) != output.dim():
                return -1
            k = ops[k].inputs[0]
        is_conv = k != ROOT and ops[k].kind == "weight" and "kernel" in ops[k].facts
        weight = ops[k].facts.get("weight") if is_conv else None
        return 1 if isinstance(weight, Tensor) and output.dim() == weight.dim() else -1

    def _without_dropout(self, op: Op, z: Tensor, output: Tensor) -> Tensor:
        """Undo the dropout of an operator that does both: compute its activation alone."""
        if not op.facts.get("p"):
            return output
        with torch.no_grad():
            elu = nn.functional.elu(z.detach(), op.facts["alpha"])
            return elu.mul_(op.facts["scale"])

    def _remember(self, site: Site, output: Tensor) -> Tensor | None:
        """Keep an activation for the gradient; start a graph where none comes from before."""
        if not self._backward:
            return None
        replaced = None
        # Inside an autograd function the output gets its graph later, as the same object.
        if not output.requires_grad and torch.is_grad_enabled():
            # A clone: what is a leaf may not be written over, and the model may do that.
            replaced = output = output.detach().requires_grad_().clone()
        self._outputs.append((site, output))
        return replaced

    def _differentiate(self, output: Any, batch: Batch) -> None:
        outputs = [(site, t) for site, t in self._outputs if t.requires_grad]
        if not outputs:
            return
        ends = [t for t in tensors_in(output) if t.requires_grad and t.is_floating_point()]
        if self._loss is not None:
            ends = [self._loss(output, batch.target)]
        if not ends:
            return
        # A random direction in place of a loss: every output takes part.
        starts = [torch.randn_like(t) if t.dim() else torch.ones_like(t) for t in ends]
        gradients = torch.autograd.grad(ends, [t for _, t in outputs], starts, allow_unused=True)
        for (site, _), gradient in zip(outputs, gradients, strict=True):
            if gradient is not None:
                site.squared_gradient += float(gradient.detach().double().square().sum())
                site.gradient_rows += batch.rows


def _saturated(op: Op, output: Tensor) -> int:
    if op.name != "selu":
        return 0
    limit = -op.facts["alpha"] * op.facts["scale"]
    return int((output.detach() <= limit * (1.0 - _NEAR)).sum())


def chain(graph: Graph, ops: Sequence[Op]) -> list[tuple[Op, Op | None, Op | None]]:
    """For each activation: the one weight layer before it, and the one activation before that."""
    found: list[tuple[Op, Op | None, Op | None]] = []
    for op in ops:
        layer = _only(graph, op, "weight")
        previous = None if layer is None else _only(graph, layer, "activation")
        found.append((op, layer, previous))
    return found


def _only(graph: Graph, op: Op, kind: str) -> Op | None:
    """Return what feeds an operation if it is one of this kind with nothing else between."""
    before = graph.before(op)
    if len(before) != 1:
        return None
    one, passed = before[0]
    between = passed & {"norm", "add", "cat", "mix", "pool", "scale"}
    return one if one is not None and one.kind == kind and not between else None
