"""Rules on convolutions: padding and pooling."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

from torch import nn

from selfnorm.diagnosis._context import Context, join_places
from selfnorm.diagnosis._fixes import replace_fix
from selfnorm.diagnosis._graph import Op
from selfnorm.diagnosis._records import Finding, finding

__all__ = ["padding", "pooling"]

_REPLACEABLE: Final = {
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d
}  # fmt: skip


def padding(context: Context) -> Iterator[Finding]:
    """Yield convolutions before SELUs that pad with zeros."""
    layers = [op for op in context.selu_layers if _pads(op)]
    if len(layers) < 2:
        return  # one border of one layer is what it is
    share = _border_share(layers[0])
    yield finding(
        "zero-padding",
        join_places(op.place for op in layers),
        f"{len(layers)} convolutions pad with zeros: in a corner {share:.3g} of a unit's terms "
        "are there, and its variance shrinks from layer to layer.",
        _padding_fix(context, layers),
        count=len(layers),
        corner_share=share,
    )


def _pads(op: Op) -> bool:
    kernel = op.facts.get("kernel") or ()
    if op.facts.get("transposed") or not any(size > 1 for size in kernel):
        return False
    given: Any = op.facts.get("padding", 0)
    if isinstance(given, str):
        return given == "same"
    return any(given) if isinstance(given, tuple | list) else bool(given)


def _border_share(op: Op) -> float:
    return float(math.prod((size // 2 + 1) / size for size in op.facts["kernel"]))


def _padding_fix(context: Context, ops: Sequence[Op]) -> str:
    modules = context.modules
    if all(op.place in modules and hasattr(modules[op.place], "padding_mode") for op in ops):
        paths = tuple(dict.fromkeys(op.place for op in ops))
        if all(_has_padding(modules[path]) for path in paths):
            # The layer has computed its padding for F.pad already, whatever its mode.
            return f"for name in {paths!r}: model.get_submodule(name).padding_mode = 'replicate'"
    return "torch.nn.functional.pad(x, …, mode='replicate') before the convolution, with padding=0"


def _has_padding(module: Any) -> bool:
    return hasattr(module, "_reversed_padding_repeated_twice")


def pooling(context: Context) -> Iterator[Finding]:
    """Yield pooling between SELU layers."""
    worst = {"max": "max-pooling", "avg": "average-pooling"}
    for kind, code in worst.items():
        ops = [op for op in context.graph.of("pool") if _pools(op, kind) and _inside(context, op)]
        if ops:
            what = "shifts the mean up and shrinks" if kind == "max" else "shrinks"
            yield finding(
                code,
                join_places(op.place for op in ops),
                f"{len(ops)} {'maximum' if kind == 'max' else 'average'} pooling"
                f"{'s' if len(ops) > 1 else ''} between SELU layers: it {what} the variance that "
                "the next layer gets.",
                _pooling_fix(context, ops),
                count=len(ops),
            )


def _pools(op: Op, kind: str) -> bool:
    return ("max" in op.name) == (kind == "max") and "over_dims" not in op.name


def _inside(context: Context, op: Op) -> bool:
    """Tell a pool with a SELU before and one after, and no norm that would mend it."""
    users = [context.graph.ops[k] for k in context.graph.users[op.index]]
    if users and all(one.kind == "scale" for one in users):
        return False  # corrected, as selfnorm's own pools are
    for one, passed in context.graph.after(op):
        if one is None or "norm" in passed:
            continue
        if one.kind == "activation" and one.name == "selu":
            return True
        if (
            one.kind == "weight"
            and one in context.selu_layers
            and any(a.name == "selu" for a in context.last_activation(op))
        ):
            return True
    return False


def _pooling_fix(context: Context, ops: Sequence[Op]) -> str:
    modules = context.modules
    found = [modules.get(op.place) for op in ops]
    kinds = {type(one) for one in found}
    if len(kinds) == 1 and all(op.by_module for op in ops) and kinds <= _REPLACEABLE:
        one: Any = found[0]
        same = {(str(m.kernel_size), str(m.stride), str(m.padding)) for m in found}  # type: ignore
        if len(same) == 1 and one.padding in (0, (0,), (0, 0)):
            stride = "" if one.stride == one.kernel_size else f", {one.stride}"
            name = type(one).__name__
            return replace_fix(context, ops, f"selfnorm.nn.{name}({one.kernel_size}{stride})")
    return "drop the pool and give the convolution before it stride=2"
