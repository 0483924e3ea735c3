"""Find the operations of a model that cannot be run: symbolically, or by its list of modules."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from selfnorm.diagnosis._classify import Call, classify
from selfnorm.diagnosis._graph import ROOT, Graph, Op
from selfnorm.diagnosis._listed import calls_of_module, listed
from selfnorm.diagnosis._trace import path_of_module

__all__ = ["by_registration", "symbolically"]


class _Tracer(fx.Tracer):
    """Take modules that a rule can name as one operation, and go into all others."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        """Tell whether a module is one operation."""
        return _call_of(module) is not None or super().is_leaf_module(module, name)


def symbolically(model: nn.Module) -> Graph:
    """Trace a model with symbols instead of numbers.

    Raises
    ------
    Exception
        Whatever the model's own code raises when it meets a symbol.
    """
    found = _Tracer().trace(model)
    modules = dict(model.named_modules())
    index: dict[fx.Node, int] = {}
    ops: list[Op] = []
    for node in found.nodes:
        if node.op == "placeholder":
            index[node] = ROOT
            continue
        feeding = [index[one] for one in node.all_input_nodes if one in index]
        if not feeding or node.op == "output":
            continue
        by_module = node.op == "call_module"
        place = path_of_module(str(node.target)) if by_module else _caller(node)
        calls = (
            calls_of_module(modules[str(node.target)])
            if by_module
            else [classify(_named(node), node.args, node.kwargs, lambda one: one in index)]
        )
        if calls == [None]:
            continue
        for call in calls or [Call("other", type(modules.get(place)).__name__, {})]:
            assert call is not None
            op = Op(len(ops), call.kind, call.name, place, tuple(feeding), call.facts, by_module)
            ops.append(op)
            feeding = [op.index]
        index[node] = ops[-1].index
    return Graph(ops, "symbolic")


def by_registration(model: nn.Module) -> Graph:
    """Take the leaf modules as a chain, in the order in which they were registered."""
    ops: list[Op] = []
    for name, call in listed(model):
        feeding = (len(ops) - 1,) if ops else (ROOT,)
        ops.append(Op(len(ops), call.kind, call.name, name, feeding, call.facts, True))
    return Graph(ops, "registration")


def _named(node: fx.Node) -> Any:
    if node.op != "call_method":
        return node.target

    class Method:
        __name__ = str(node.target)

    return Method()


def _caller(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    return path_of_module(str(next(reversed(stack.values()))[0])) if stack else ""


def _call_of(module: nn.Module) -> Call | None:
    return next(iter(calls_of_module(module)), None)
