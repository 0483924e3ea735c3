"""Calls inside a forward that modules take the place of: torch.fx rewrites the forward."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from selfnorm.diagnosis._exchange import FUNCTIONS, METHODS
from selfnorm.diagnosis._module_graph import Region, in_code, trace_alone, why_not

__all__ = ["Call", "ScaledSum", "calls_to_replace", "has_attention", "kind_of", "rewritten"]

_SUMS: Final = (operator.add, operator.iadd, torch.add)
_SUM_METHODS: Final = ("add", "add_", "__iadd__")
_GATES: Final = (operator.mul, operator.imul, torch.mul)
_FACTORS: Final = (*_GATES, operator.truediv, operator.itruediv, torch.div)
_FACTOR_METHODS: Final = ("mul", "mul_", "div", "div_", "__imul__", "__itruediv__")
_SOFTMAX: Final = (functional.softmax, torch.softmax)
_PRODUCTS: Final = (torch.matmul, torch.bmm, torch.einsum, operator.matmul)
_ATTENTION: Final = frozenset(
    function for function, (kind, _) in FUNCTIONS.items() if kind == "attention"
)


class ScaledSum(nn.Module):
    r"""Sum of two branches that keeps the variance: (x + y) / √2.

    Two uncorrelated branches of variance 1 add up to variance 2; over L residual blocks the plain
    sum grows to 2^L.

    Notes
    -----
    Shape: two tensors that broadcast.

    Examples
    --------
    >>> import torch
    >>> ScaledSum()(torch.tensor([1.0]), torch.tensor([2.0]))
    tensor([2.1213])
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Add and scale."""
        return (x + y) * math.sqrt(0.5)


class Call(NamedTuple):
    """A call in somebody's forward.

    Attributes
    ----------
    owner : str
        Path of the module whose forward it is.
    kind, name : str
        What it is: ``activation``, ``dropout``, ``normalisation``, ``attention``, ``residual``
        or ``gate``.
    code : str
        ``file:line``, empty if not known.
    at_input : bool
        Whether it takes the model's input as it is.
    """

    owner: str
    kind: str
    name: str
    code: str
    at_input: bool = False


def calls_to_replace(part: Region) -> Iterator[Call]:
    """Yield the activations, dropouts, normalisations and residual sums a traced part calls."""
    for node in part.graph.nodes if part.graph is not None else ():
        kind, name = kind_of(node)
        if kind:
            before = node.all_input_nodes[:1]
            at_input = not part.path and any(one.op == "placeholder" for one in before)
            yield Call(part.owner(node), kind, name, in_code(node), at_input)


def has_attention(graph: fx.Graph) -> bool:
    """Tell whether a forward computes attention: by torch's function, or softmax and products."""
    softmax = product = False
    for node in graph.nodes:
        if node.target in _ATTENTION:
            return True
        softmax = softmax or node.target in _SOFTMAX or node.target == "softmax"
        product = product or node.target in _PRODUCTS or node.target in ("matmul", "bmm")
    return softmax and product


def kind_of(node: fx.Node) -> tuple[str, str]:
    """Return what a node calls by itself and its name, empty if it is nothing of interest."""
    if node.op == "call_function":
        if node.target in FUNCTIONS:
            return FUNCTIONS[node.target]
        if node.target in _SUMS and _is_residual(node) and not _has_factor(node):
            return "residual", "sum"
        if node.target in _GATES and _is_residual(node):
            return "gate", "product"
    if node.op == "call_method":
        if node.target in METHODS:
            return METHODS[str(node.target)]
        if node.target in _SUM_METHODS and _is_residual(node) and not _has_factor(node):
            return "residual", "sum"
    return "", ""


def _is_residual(node: fx.Node) -> bool:
    """Tell whether a sum or product joins branches of one tensor, of which one has a layer.

    Sums with constants and with parameters (positions, biases) are not residual sums.
    """
    two = node.args[:2]
    if len(two) < 2 or not all(isinstance(one, fx.Node) for one in two):
        return False
    left, right = (_ancestors(one) for one in two if isinstance(one, fx.Node))
    if any(one.op == "get_attr" for one in two if isinstance(one, fx.Node)):
        return False
    only = left ^ right
    return bool(left & right) and any(one.op == "call_module" for one in only)


def _has_factor(node: fx.Node) -> bool:
    """Tell a sum that its author scaled: a factor on a branch, on the result, or ``alpha``."""
    if node.kwargs.get("alpha", 1) != 1:
        return True
    return any(map(_is_scaling, (*node.all_input_nodes, *node.users)))


def _is_scaling(node: fx.Node) -> bool:
    """Tell a product or quotient of a signal and a constant, parameter or buffer."""
    if node.target not in (*_FACTORS, *_FACTOR_METHODS):
        return False
    signals = [one for one in node.all_input_nodes if one.op != "get_attr"]
    return len(signals) == 1 and len(node.args) > 1 and node.args[0] is not node.args[1]


def _ancestors(node: fx.Node) -> set[fx.Node]:
    found: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting.extend(one.all_input_nodes)
    return found


def rewritten(
    owner: nn.Module, make: Callable[[str, str, fx.Node], nn.Module | None]
) -> tuple[nn.Module | None, str]:
    """Return the module with its calls replaced, or None and the reason why that cannot be done.

    Parameters
    ----------
    owner : torch.nn.Module
        The module whose forward is rewritten; it is not changed.
    make : callable
        Takes kind, name and node of a call and returns the module for its place, or None to leave
        it.
    """
    if owner._forward_hooks or owner._forward_pre_hooks:
        return None, "hooks are registered on it, which a rewritten forward would lose"
    extra = _own_methods(type(owner))
    if extra:
        return None, f"its class has methods besides forward ({', '.join(extra)})"
    made: dict[str, nn.Module] = {}
    freed: set[str] = set()
    graphs = []
    for training in (True, False):
        view = copy.copy(owner)
        object.__setattr__(view, "training", training)
        try:
            graph = trace_alone(view)
        except Exception as error:  # noqa: BLE001 - any code of the module's author runs here
            return None, f"its forward cannot be traced ({why_not(error)})"
        made, numbers = _replace(owner, graph, make)
        freed |= numbers
        graphs.append(graph)
    if len({graph.python_code("self").src for graph in graphs}) > 1:
        return None, "its forward does different things in training and in evaluation"
    root = copy.copy(owner)
    root._modules = dict(owner._modules)
    for name, module in made.items():
        root._modules[name] = module
    result = fx.GraphModule(root, graphs[0], class_name=type(owner).__name__)
    lost = set(owner.state_dict()) - set(result.state_dict()) - freed
    if lost:
        return None, f"its forward does not use {sorted(lost)[0]}, which the result would lose"
    result.train(owner.training)
    return result, ""


def _replace(
    owner: nn.Module, graph: fx.Graph, make: Callable[[str, str, fx.Node], nn.Module | None]
) -> tuple[dict[str, nn.Module], set[str]]:
    """Replace calls; return the new modules, and the parameters and buffers that went with them."""
    made: dict[str, nn.Module] = {}
    freed: set[str] = set()
    for node in list(graph.nodes):
        kind, name = kind_of(node)
        module = make(kind, name, node) if kind else None
        if module is None:
            continue
        word = type(module).__name__.lower()
        number = sum(other.startswith(word) for other in made)
        child = f"{word}_{number}"
        while child in owner._modules or hasattr(owner, child):
            child += "_"
        made[child] = module
        inputs = node.all_input_nodes[: 2 if kind == "residual" else 1]
        if kind == "residual":
            inputs = [one for one in node.args[:2] if isinstance(one, fx.Node)]
        with graph.inserting_before(node):
            call = graph.create_node("call_module", child, tuple(inputs))
        node.replace_all_uses_with(call)
        numbers = [one for one in node.all_input_nodes if one.op == "get_attr"]
        graph.erase_node(node)
        for one in numbers:
            if not one.users:
                freed.add(str(one.target))
                graph.erase_node(one)
    graph.lint()
    return made, freed


def _own_methods(kind: type[Any]) -> list[str]:
    """Return the public methods that a class adds to those of nn.Module."""
    names = set()
    for base in kind.__mro__:
        if base.__module__.startswith("torch."):
            break
        names |= {
            name
            for name, value in vars(base).items()
            if not name.startswith("_") and callable(value)
        }
    return sorted(names - set(dir(nn.Module)))
