"""Rules on what stands beside a SELU: dropout, normalisation, sums, pooling, padding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import torch
from torch import nn

from selfnorm import nn as our_nn
from selfnorm.diagnosis._context import Context, code_path, fixed_point_of, join_places
from selfnorm.diagnosis._exchange import equivalent_rate
from selfnorm.diagnosis._graph import PASSING, Op
from selfnorm.diagnosis._records import Finding, finding

__all__ = [
    "alpha_dropout",
    "low_precision",
    "names_of",
    "normalisation",
    "plain_dropout",
    "replace_fix",
    "residual",
]


_SPELLED: Final = 8  # modules that a line names one by one

# A sum whose variance exceeds that of its larger part by this factor is a sum that grows.
_GROWTH: Final = 1.3


# ---- dropout ----------------------------------------------------------------------------------


def plain_dropout(context: Context) -> Iterator[Finding]:
    """Yield ordinary dropout after a SELU."""
    found = [
        op
        for op in context.graph.of("dropout")
        if op.facts.get("p") and _is_after_selu(context, op) and not context.is_alone(op)
    ]
    for group in _by(found, "p"):
        p = float(group[0].facts["p"])
        inner = any(context.feeds_selu(op) for op in group)
        rate = _alpha_rate(p)
        yield finding(
            "plain-dropout",
            join_places(op.place for op in group),
            f"Ordinary dropout after SELU divides the variance by {1.0 - p:.3g} in training"
            + (f" in each of {len(group)} layers" if len(group) > 1 else "")
            + f"; alpha dropout keeps as much signal at the rate {rate:g}.",
            _dropout_fix(context, group, rate),
            severity=None if inner else "warning",
            p=p,
            variance_factor=1.0 / (1.0 - p) if p < 1.0 else math.inf,
            alpha_rate=rate,
            count=len(group),
        )


def alpha_dropout(context: Context) -> Iterator[Finding]:
    """Yield alpha dropout that is switched off, or stands after another activation."""
    off, foreign, mismatched = [], [], []
    for op in context.graph.of("alpha_dropout"):
        if not op.facts.get("p"):
            continue
        before = context.last_activation(op)
        if op.facts.get("training") is False and not op.by_module:
            off.append(op)
        elif before and all(one.name != "selu" for one in before):
            foreign.append((op, before[0].name))
        elif before and _differs(op, before[0]):
            mismatched.append((op, before[0]))
    if off:
        p = float(off[0].facts["p"])
        yield finding(
            "alpha-dropout-off",
            join_places(op.place for op in off),
            f"alpha_dropout with p={p:g} is called with training=False, its default: it drops "
            "nothing, in training either.",
            f"selfnorm.functional.alpha_dropout(x, {p:g}, self.training)",
            p=p,
            count=len(off),
        )
    for name in dict.fromkeys(name for _, name in foreign):
        ops = [op for op, one in foreign if one == name]
        selus = "the SELUs elsewhere do not help" if context.selus else "no SELU is near"
        yield finding(
            "alpha-dropout-after-relu",
            join_places(op.place for op in ops),
            f"Alpha dropout after {name}: its constants, and the value -1.758 of dropped units, "
            f"are SELU's; {selus}.",
            _foreign_fix(context, ops, name),
            activation=name,
            p=float(ops[0].facts["p"]),
            count=len(ops),
        )
    if mismatched:
        op, selu = mismatched[0]
        point = fixed_point_of(selu.facts["alpha"], selu.facts["scale"]) or (0.0, 1.0)
        p = float(op.facts["p"])
        mean, var = (0.0 if abs(one) < 1e-9 else one for one in point)
        new = f"selfnorm.nn.AlphaDropout({p:g}, mean={mean:.4g}, var={var:.4g})"
        yield finding(
            "alpha-dropout-mismatch",
            join_places(one.place for one, _ in mismatched),
            f"Alpha dropout is set for another fixed point than that of the SELU before it, "
            f"mean {mean:.3g} and variance {var:.3g}.",
            replace_fix(context, [one for one, _ in mismatched], new),
            mean=mean,
            var=var,
            count=len(mismatched),
        )


def _is_after_selu(context: Context, op: Op) -> bool:
    before = context.last_activation(op)
    return bool(before) and before[0].name == "selu"


def _differs(op: Op, selu: Op) -> bool:
    """Tell alpha dropout whose saturation value is not that of the SELU before it."""
    wanted = -selu.facts["alpha"] * selu.facts["scale"]
    given = op.facts.get("saturation")
    if given is None:
        target = op.facts.get("target")
        if target is not None:
            point = fixed_point_of(selu.facts["alpha"], selu.facts["scale"])
            return point is not None and any(
                abs(a - b) > 1e-3 for a, b in zip(target, point, strict=True)
            )
        given = -1.7580993408473766  # torch's own: SELU's saturation value, -scale * alpha
    return bool(abs(given - wanted) > 1e-3 * abs(wanted))


def _alpha_rate(p: float) -> float:
    """Return the rate at which alpha dropout explains as much variance, as ``convert`` takes it."""
    return float(f"{equivalent_rate(p, 'selu'):.3g}")


def _dropout_fix(context: Context, ops: Sequence[Op], rate: float) -> str:
    shape = ops[0].facts.get("shape") or ()
    channels = any(mark in ops[0].name.lower() for mark in ("1d", "2d", "3d", "feature"))
    dims = tuple(range(2, len(shape))) if channels and len(shape) > 2 else ()
    shared = f", shared_dims={dims}" if dims else ""
    if all(op.by_module for op in ops):
        return replace_fix(context, ops, f"selfnorm.nn.AlphaDropout({rate:g}{shared})")
    return f"selfnorm.functional.alpha_dropout(x, {rate:g}, self.training{shared})"


def _foreign_fix(context: Context, ops: Sequence[Op], name: str) -> str:
    """Turn the activation into SELU if the weights are its own; else dropout into the plain one."""
    p = float(ops[0].facts["p"])
    if name in ("elu", "celu"):
        before = [one for op in ops for one in context.last_activation(op)]
        if all(one.by_module and one.place for one in before):
            return replace_fix(context, before, "torch.nn.SELU()", initialise=True)
    if all(op.by_module for op in ops):
        return replace_fix(context, ops, f"torch.nn.Dropout({p:g})")
    return f"torch.nn.functional.dropout(x, {p:g}, self.training)"


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


# ---- helpers ----------------------------------------------------------------------------------


def replace_fix(context: Context, ops: Sequence[Op], new: str, *, initialise: bool = False) -> str:
    """Return a line that puts another module in the place of these.

    With ``initialise`` it draws the weights anew as well, unless their sums of squares are right.
    """
    if "Dropout" in new:
        new += ".train(model.training)"  # a module is made in training mode
    paths = list(dict.fromkeys(op.place for op in ops))
    also = initialise and not _starts_right(context)
    if len(paths) == 1:
        line = f"model.set_submodule({paths[0]!r}, {new})"
    elif also:
        line = f"[model.set_submodule(name, {new}) for name in {names_of(context, ops)}]"
    else:
        line = f"for name in {names_of(context, ops)}: model.set_submodule(name, {new})"
    return f"{line}; selfnorm.init.initialize_(model)" if also else line


def names_of(context: Context, ops: Sequence[Op]) -> str:
    """Write the modules' paths as Python code; many of one type that are all there are, by it."""
    paths = tuple(dict.fromkeys(op.place for op in ops))
    kinds = {type(context.modules.get(path)) for path in paths}
    kind = kinds.pop()
    library = {"selfnorm": our_nn, "torch": nn}.get(kind.__module__.partition(".")[0])
    if len(paths) > _SPELLED and not kinds and getattr(library, kind.__name__, None) is kind:
        alike = {path for path, one in context.modules.items() if type(one) is kind}
        if alike == set(paths):
            name = "selfnorm.nn" if library is our_nn else "torch.nn"
            name = f"{name}.{kind.__name__}"
            return f"[k for k, m in model.named_modules() if type(m) is {name}]"
    return repr(paths)


def _starts_right(context: Context) -> bool:
    """Tell whether all weights but those of the last layers keep a variance of 1."""
    ops = [op for op in context.graph.of("weight") if context.graph.descendants[op.index]]
    known = [facts for op in ops if (facts := context.weights(op)) is not None]
    inner = [
        facts
        for op, facts in zip(ops, known, strict=False)
        if any(one is not None and one.kind == "activation" for one, _ in context.graph.after(op))
    ]
    return bool(inner) and all(facts.finite and facts.is_near(1.0) for facts in inner)


def _by(ops: Sequence[Op], fact: str) -> list[list[Op]]:
    """Group operations by one of their facts and by who did them, in order."""
    groups: dict[Any, list[Op]] = {}
    for op in ops:
        groups.setdefault((op.facts.get(fact), op.by_module), []).append(op)
    return list(groups.values())
