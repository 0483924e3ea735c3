"""Rules on dropout, ordinary and alpha."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from selfnorm.diagnosis._context import Context, fixed_point_of, join_places
from selfnorm.diagnosis._exchange import equivalent_rate
from selfnorm.diagnosis._fixes import replace_fix
from selfnorm.diagnosis._graph import Op
from selfnorm.diagnosis._records import Finding, finding

__all__ = ["alpha_dropout", "plain_dropout"]


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


def _by(ops: Sequence[Op], fact: str) -> list[list[Op]]:
    """Group operations by one of their facts and by who did them, in order."""
    groups: dict[Any, list[Op]] = {}
    for op in ops:
        groups.setdefault((op.facts.get(fact), op.by_module), []).append(op)
    return list(groups.values())
