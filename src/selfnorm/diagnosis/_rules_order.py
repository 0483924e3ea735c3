"""Rules on what stands beside a SELU: normalisation, sums, work in place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import torch

from selfnorm.diagnosis._context import Context, code_path, join_places
from selfnorm.diagnosis._fixes import replace_fix
from selfnorm.diagnosis._graph import PASSING, Op
from selfnorm.diagnosis._records import Finding, finding

__all__ = ["low_precision", "normalisation", "residual"]


# A sum whose variance exceeds that of its larger part by this factor is a sum that grows.
_GROWTH: Final = 1.3


# ---- normalisation ----------------------------------------------------------------------------


def normalisation(context: Context) -> Iterator[Finding]:
    """Yield normalisation layers beside SELUs."""
    if context.attends:
        return  # norms serve the attention there
    beside = [op for op in context.graph.of("norm") if _is_beside_selu(context, op)]
    for code, chosen in (
        ("batch-norm", [op for op in beside if "batch" in op.name]),
        ("layer-norm", [op for op in beside if "batch" not in op.name]),
    ):
        if not chosen:
            continue
        name = chosen[0].name.replace("_", " ")
        layers = f"A {name} stands" if len(chosen) == 1 else f"{len(chosen)} {name}s stand"
        yield finding(
            code,
            join_places(op.place for op in chosen),
            f"{layers} beside SELU, which keeps mean 0 and variance 1 by itself "
            "when its layers start as LeCun normal.",
            _norm_fix(context, chosen),
            count=len(chosen),
        )


def _is_beside_selu(context: Context, op: Op) -> bool:
    """Tell a norm with a SELU as next activation on either side; one of the raw input is none."""
    if all(before is None for before, _ in context.graph.before(op)):
        return False
    if any(one.name == "selu" for one in context.last_activation(op)):
        return True
    return any(
        after is not None and after.kind == "activation" and after.name == "selu"
        for after, _ in context.graph.after(op, PASSING - {"norm"})
    )


def _norm_fix(context: Context, ops: Sequence[Op]) -> str:
    if not all(op.by_module and op.place for op in ops):
        return "leave the call of the norm out and add selfnorm.init.initialize_(model)"
    return replace_fix(context, ops, "torch.nn.Identity()", initialise=True)


# ---- sums -------------------------------------------------------------------------------------


def residual(context: Context) -> Iterator[Finding]:
    """Yield plain sums x + f(x) through or before SELUs."""
    if context.attends:
        return
    found = [op for op in context.graph.of("add") if _is_residual(context, op)]
    if not found:
        return
    growth = [_growth(op) for op in found]
    measured = [one for one in growth if one is not None]
    shown = f" (here by {max(measured):.3g})" if measured else ""
    blocks = "The sum x + f(x) adds" if len(found) == 1 else f"{len(found)} sums x + f(x) add"
    evidence: dict[str, Any] = {"count": len(found)}
    if measured:
        evidence["variance_growth"] = max(measured)
    yield finding(
        "unscaled-residual",
        join_places(op.place for op in found),
        f"{blocks} the variances of both parts{shown}; over all sums the variance grows up to "
        f"{2.0 ** max(1, sum(_has_shortcut(context, op) for op in found)):.3g}-fold.",
        _residual_fix(found),
        **evidence,
    )


def _is_residual(context: Context, op: Op) -> bool:
    graph = context.graph
    if len(set(op.inputs)) != 2:
        return False
    left, right = op.inputs[:2]
    if left < 0 or right < 0:
        return _adds_input(context, op)
    masks = [graph.ancestors[k] | (1 << k) for k in (left, right)]
    common = masks[0] & masks[1]
    if not any(one.kind in ("weight", "embedding", "recurrent") for one in graph.members(common)):
        return False
    branch = (masks[0] | masks[1]) & ~common
    return _matters(context, op, branch)


def _has_shortcut(context: Context, op: Op) -> bool:
    """Tell a sum of which one side is the block's input itself: these multiply their growth."""
    graph = context.graph
    masks = [0 if k < 0 else graph.ancestors[k] | (1 << k) for k in op.inputs[:2]]
    own = [mask & ~(masks[0] & masks[1]) for mask in masks]
    return any(not any(one.kind == "weight" for one in graph.members(mask)) for mask in own)


def _adds_input(context: Context, op: Op) -> bool:
    """Tell the sum of the model's input itself and a branch of it."""
    other = next((k for k in op.inputs if k >= 0), None)
    if other is None:
        return False
    return _matters(context, op, context.graph.ancestors[other] | (1 << other))


def _matters(context: Context, op: Op, branch: int) -> bool:
    graph = context.graph
    inside = list(graph.members(branch))
    if not any(one.kind == "weight" for one in inside):
        return False
    with_selu = any(one.kind == "activation" and one.name == "selu" for one in inside)
    follows = any(
        after is not None and after.kind == "activation" and after.name == "selu"
        for after, passed in graph.after(op)
        if "norm" not in passed
    )
    if not (with_selu or follows) or not _goes_on(context, op):
        return False
    if _is_scaled(context, op, branch):
        return False
    users = [graph.ops[k] for k in graph.users[op.index]]
    if users and all(one.kind == "norm" for one in users):
        return False  # the norm that follows is another finding
    growth = _growth(op)
    return growth is None or growth >= _GROWTH or _weights_are_small(context, inside)


def _goes_on(context: Context, op: Op) -> bool:
    """Tell a sum inside the network from one at its output."""
    mask = context.graph.descendants[op.index]
    return any(one.kind in ("activation", "add") for one in context.graph.members(mask)) or any(
        one.kind == "weight" for one in context.graph.members(mask)
    )


def _is_scaled(context: Context, op: Op, branch: int) -> bool:
    """Tell a sum with a factor on its branch, or on its result."""
    graph = context.graph
    if not math.isclose(op.facts.get("alpha", 1.0), 1.0):
        return True
    if any(graph.ops[k].kind == "scale" for k in graph.users[op.index]):
        return True
    quiet = frozenset({"shape", "dropout", "alpha_dropout", "norm"})
    for k in op.inputs[:2]:
        stack = [k]
        while stack:
            j = stack.pop()
            if j < 0 or not (branch >> j) & 1:
                continue
            if graph.ops[j].kind in ("scale", "mul"):
                return True
            if graph.ops[j].kind == "weight" and _is_zero(context, graph.ops[j]):
                return True
            if graph.ops[j].kind in quiet:
                stack += graph.ops[j].inputs
    return False


def _is_zero(context: Context, op: Op) -> bool:
    facts = context.weights(op)
    return facts is not None and facts.finite and facts.tau < 1e-4


def _weights_are_small(context: Context, inside: Sequence[Op]) -> bool:
    """Tell a branch that is quiet only because its layers start too small, as by default."""
    for one in inside:
        if one.kind == "weight":
            facts = context.weights(one)
            if facts is not None and facts.init.shape == "uniform" and facts.is_near(1.0 / 3.0):
                return True
    return False


def _growth(op: Op) -> float | None:
    parts = op.facts.get("parts_var")
    total = op.facts.get("var")
    if not parts or total is None or any(one is None for one in parts) or max(parts) <= 0.0:
        return None
    return float(total / max(parts))


def _residual_fix(ops: Sequence[Op]) -> str:
    del ops
    return "x = math.sqrt(0.5) * x + math.sqrt(0.5) * f(x)"


# ---- precision --------------------------------------------------------------------------------


def low_precision(context: Context) -> Iterator[Finding]:
    """Yield SELUs in place in bfloat16 or float16."""
    low = {torch.bfloat16: "bfloat16", torch.float16: "float16"}
    found = [op for op in context.selus if op.facts.get("inplace") and _dtype(context, op) in low]
    if found:
        name = low[_dtype(context, found[0])]
        modules = context.modules
        set_off = [op for op in found if op.by_module and hasattr(modules.get(op.place), "inplace")]
        paths = tuple(dict.fromkeys(op.place for op in set_off))
        fix = "torch.nn.functional.selu(x)"
        if paths and len(set_off) == len(found):
            fix = f"{code_path(paths[0])}.inplace = False"
            if len(paths) > 1:
                fix = f"for name in {paths!r}: model.get_submodule(name).inplace = False"
        yield finding(
            "in-place-low-precision",
            join_places(op.place for op in found),
            f"SELU works in place in {name}: its slope is rebuilt from the rounded output, and is "
            "wrong by 31 % at x = -5.",
            fix,
            dtype=name,
            count=len(found),
        )


def _dtype(context: Context, op: Op) -> Any:
    if "dtype" in op.facts:
        return op.facts["dtype"]
    return next((p.dtype for p in context.model.parameters() if p.is_floating_point()), None)
