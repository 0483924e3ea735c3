"""The structure of a network in words: its operations in order, with their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from selfnorm.diagnosis._context import Context
from selfnorm.diagnosis._graph import Op

__all__ = ["outline"]

_MOST: Final = 500  # lines


def outline(context: Context, sites: Mapping[int, Any]) -> tuple[str, ...]:
    """Return one line an operation, without views and copies."""
    lines = []
    for op in context.graph.ops:
        if op.kind == "shape":
            continue
        lines.append(f"{op.place or '(model)'}: {_words(context, op)}{_numbers(op, sites)}")
    if len(lines) > _MOST:
        lines[_MOST:] = [f"… and {len(lines) - _MOST} more operations"]
    return tuple(lines)


def _words(context: Context, op: Op) -> str:
    if op.kind == "weight":
        facts = context.weights(op)
        if facts is None:
            return op.name
        return f"{op.name} {facts.fan_in:g} → {facts.units}, Σw² {facts.tau:.3g}"
    if op.kind in ("dropout", "alpha_dropout"):
        off = "" if op.facts.get("training") else ", off"
        return f"{op.name} p={float(op.facts.get('p') or 0.0):g}{off}"
    if op.kind == "scale" and op.facts.get("factor") is not None:
        return f"{op.name} {op.facts['factor']:.4g}"
    return op.name


def _numbers(op: Op, sites: Mapping[int, Any]) -> str:
    site = sites.get(op.index)
    if site is None or not site.output.units:
        return ""
    return f", mean {site.output.mean:.3g}, var {site.output.var:.3g}"
