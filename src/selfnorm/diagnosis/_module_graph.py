"""How the modules of a net are joined: torch.fx graphs of its traceable parts."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from selfnorm.diagnosis._listed import is_scripted

__all__ = ["Region", "calls_of", "in_code", "is_container", "regions", "trace_alone", "why_not"]

_TORCH = str(Path(torch.__file__).parent)
_HERE = str(Path(__file__).parent)


@dataclasses.dataclass(frozen=True)
class Region:
    """A part of a net that could be traced, or why it could not.

    Attributes
    ----------
    path : str
        Where the part stands in the model.
    module : torch.nn.Module
        The part.
    graph : torch.fx.Graph or None
        Its graph; targets of module calls are relative to ``path``.
    reason : str
        Why there is none.
    """

    path: str
    module: nn.Module
    graph: fx.Graph | None
    reason: str = ""

    def full(self, target: Any) -> str:
        """Return the path in the model of a module that a node calls."""
        return f"{self.path}.{target}" if self.path else str(target)

    def called(self, node: Any) -> nn.Module | None:
        """Return the module that a node calls, None if it calls none."""
        if not isinstance(node, fx.Node) or node.op != "call_module":
            return None
        return self.module.get_submodule(str(node.target))

    def owner(self, node: fx.Node) -> str:
        """Return the path of the module whose forward contains this node's call."""
        stack = list(node.meta.get("nn_module_stack") or {})
        if node.op == "call_module":
            stack = stack[:-1]
        return self.full(stack[-1]) if stack else self.path


def is_container(module: nn.Module) -> bool:
    """Tell whether a module only joins others, in torch's sense or by its author's forward."""
    if isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        return True
    if is_scripted(module):
        return False
    known = type(module).__module__.startswith(("torch.nn", "torch.ao.nn", "selfnorm.nn"))
    return not known and any(True for _ in module.children())


class _Tracer(fx.Tracer):
    """Goes through containers; with ``alone``, only through the outermost."""

    def __init__(self, alone: bool) -> None:
        super().__init__()
        self._alone = alone
        self.record_stack_traces = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Tell whether calls of the module are nodes."""
        return self._alone or not is_container(m)


def trace_alone(module: nn.Module) -> fx.Graph:
    """Trace one module's own forward; the modules in it are nodes.

    Raises whatever the forward raises when it meets torch.fx's proxies.
    """
    return _trace(module, alone=True)


def _trace(module: nn.Module, alone: bool) -> fx.Graph:
    # A forward may store tensors on self: the copy takes them, the model stays as it is.
    return _Tracer(alone).trace(copy.copy(module))


def why_not(error: Exception) -> str:
    """Say in words why a forward could not be traced, if the exception has any for its user."""
    first = str(error).splitlines()[0] if str(error) else ""
    if not first or "__fx_" in first:  # torch.fx's own names
        return "torch.fx cannot follow it"
    return f"torch.fx cannot follow it: {type(error).__name__}: {first}"


def regions(model: nn.Module, path: str = "") -> Iterator[Region]:
    """Yield the largest parts that can be traced, and the containers that cannot."""
    if not is_container(model):
        return
    # ModuleList and ModuleDict have nothing to call.
    if type(model).forward is not nn.Module.forward:
        try:
            yield Region(path, model, _trace(model, alone=False))
        except Exception as error:  # noqa: BLE001 - any code of the model's author runs here
            yield Region(path, model, None, why_not(error))
        else:
            return
    for name, child in model.named_children():
        yield from regions(child, f"{path}.{name}" if path else name)


def calls_of(parts: list[Region]) -> Counter[int]:
    """Count how often each module is called in one pass, by id."""
    counts: Counter[int] = Counter()
    for part in parts:
        for node in part.graph.nodes if part.graph is not None else ():
            module = part.called(node)
            if module is not None:
                counts[id(module)] += 1
    return counts


def in_code(node: fx.Node) -> str:
    """Return ``file:line`` of the user's code that made a node, empty if it is not known."""
    frames = re.findall(r'File "([^"]+)", line (\d+)', node.stack_trace or "")
    own = [
        (file, line)
        for file, line in frames
        if not file.startswith((_TORCH, _HERE)) and not file.startswith("<frozen")
    ]
    # Frames run from the outermost call to the innermost; the last is the forward itself.
    return f"{Path(own[-1][0]).name}:{own[-1][1]}" if own else ""
