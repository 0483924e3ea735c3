"""Pooling between SELU layers, which a conversion tells of and leaves."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from selfnorm.diagnosis._convert_work import Work
from selfnorm.diagnosis._module_graph import Region, in_code
from selfnorm.diagnosis._rewrite import kind_of
from selfnorm.nn import SELU

__all__ = ["tell_pools"]

_CORRECTED: Final = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d
)  # fmt: skip
_SELU: Final = (functional.selu, torch.selu, torch.selu_, "selu")


def tell_pools(work: Work, rewrite: bool) -> None:
    """Refuse each pool between a layer and a SELU that the moments of its window would concern."""
    told: set[object] = set()
    for part in work.regions:
        for node in part.graph.nodes if part.graph is not None else ():
            module = part.called(node)
            name = _name(module, node)
            place = in_code(node) or part.owner(node)
            if module is not None:
                place = part.full(node.target)
            if not name or (place, name) in told or work.is_locked(place):
                continue
            if _has_layer(part, node) and _reaches_selu(part, node, rewrite):
                told.add((place, name))
                largest = "max" in name.lower()
                work.refuse(
                    place,
                    name if module is not None else f"{name} in {part.owner(node) or 'the model'}",
                    f"before SELU layers it {'shifts the mean up and ' if largest else ''}shrinks "
                    "the variance; by how much depends on the correlation of neighbouring values, "
                    "which differs between noise and images",
                    _remedy(module),
                )


def _name(module: nn.Module | None, node: fx.Node) -> str:
    """Return a pool's name, empty if it is none or one that keeps the moments."""
    if module is not None:
        is_pool = type(module).__module__ == "torch.nn.modules.pooling"
        name = type(module).__name__
        return name if is_pool and "Pool" in name and "Unpool" not in name else ""
    name = str(getattr(node.target, "__name__", "")) if node.op == "call_function" else ""
    return name if "_pool" in name and "unpool" not in name else ""


def _remedy(module: Any) -> str:
    stride = "drop it, and give the convolution before it its stride"
    simple = type(module) in _CORRECTED and module.padding in (0, (0,)) and not module.ceil_mode
    if not simple or getattr(module, "dilation", 1) != 1:
        return stride
    words = f"{module.kernel_size}"
    if module.stride != module.kernel_size:
        words += f", {module.stride}"
    return f"selfnorm.nn.{type(module).__name__}({words}, correlation=c) in its place, or {stride}"


def _is_layer(module: nn.Module | None) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.dim() > 1


def _has_layer(part: Region, node: fx.Node) -> bool:
    """Tell whether a layer stands before a node: a pool of the input is the data's."""
    waiting, seen = list(node.all_input_nodes), set()
    while waiting:
        one = waiting.pop()
        if _is_layer(part.called(one)):
            return True
        if one not in seen:
            seen.add(one)
            waiting.extend(one.all_input_nodes)
    return False


def _reaches_selu(part: Region, node: fx.Node, rewrite: bool) -> bool:
    """Tell whether a SELU follows, with one layer between at most."""
    waiting, seen = [(one, 0) for one in node.users], set()
    while waiting:
        at, layers = waiting.pop()
        module = part.called(at)
        if at in seen:
            continue
        seen.add(at)
        if isinstance(module, nn.SELU | SELU) or at.target in _SELU:
            return True
        if kind_of(at)[0] == "activation":
            if rewrite:
                return True
            continue
        layers += _is_layer(module)
        if "SELU" in type(module).__name__ and layers < 2:
            return True  # a layer and its SELU in one
        if layers < 2:
            waiting.extend((one, layers) for one in at.users)
    return False
