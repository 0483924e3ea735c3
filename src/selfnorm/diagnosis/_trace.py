"""Find the operations of a model by running it once, functional calls included."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from selfnorm.constants import ALPHA01, LAMBDA01
from selfnorm.diagnosis._classify import Call, classify
from selfnorm.diagnosis._graph import ROOT, Graph, Op
from selfnorm.diagnosis._listed import is_scripted, listed
from selfnorm.diagnosis._pooled import moments_of, pooling_facts
from selfnorm.diagnosis._written_out import WrittenOut

__all__ = ["Recorder", "call_model", "note_moments", "path_of_module", "tensors_in", "trace"]

# Called after each operation that was recorded, with its tensors (inputs, output).
# It may return another tensor to go on with in place of the output.
Watcher = Callable[[Op, tuple[Tensor, ...], Tensor], Tensor | None]
_PRODUCTS = frozenset(["matmul", "mm", "bmm", "__matmul__", "__rmatmul__", "einsum"])
_MANY = 200_000  # elements beyond which moments are taken of a part


def trace(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Graph:
    """Run a model without gradients and return what it did."""

    def watch(op: Op, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        note_moments(recorder.ops, op, inputs, output)
        return None

    recorder = Recorder(model, watch)
    with torch.no_grad(), recorder:
        recorder.take_input((args, kwargs))
        call_model(model, args, kwargs)
    return Graph(recorder.ops, "run")


def call_model(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call a model; a compiled one by its original module."""
    return getattr(model, "_orig_mod", model)(*args, **kwargs)


class Recorder(TorchFunctionMode):
    """Record each torch function that a model calls, with the path of the module that called it.

    Parameters
    ----------
    model : torch.nn.Module
        The model; its modules carry hooks while the recorder is active.
    watcher : callable, optional
        Called with each operation, its input tensors and its output before the next one runs.
    """

    def __init__(self, model: nn.Module, watcher: Watcher | None = None) -> None:
        super().__init__()
        self.ops: list[Op] = []
        self._model = model
        self._watcher = watcher
        self._producers: Any = WeakIdKeyDictionary()
        self._stack: list[tuple[str, bool]] = [("", False)]
        self._hooks = contextlib.ExitStack()
        self._written = WrittenOut()

    def take_input(self, value: Any) -> None:
        """Name tensors as the model's input."""
        for tensor in tensors_in(value):
            self._producers[tensor] = ROOT

    def producer(self, tensor: Any) -> int | None:
        """Return the operation that made a tensor, ROOT for the input, None for a constant."""
        found: int | None = self._producers.get(tensor) if isinstance(tensor, Tensor) else None
        return found

    def __enter__(self) -> Recorder:
        """Put hooks on every module and start to record."""
        try:
            scripted: dict[nn.Module, str] = {}
            for name, module in self._model.named_modules():
                if is_scripted(module):
                    scripted[module] = path_of_module(name)
                else:
                    self._add_hooks(path_of_module(name), module)
            if scripted:  # they take no hooks of their own
                self._watch_scripted(scripted)
            super().__enter__()  # type: ignore[no-untyped-call]
        except BaseException:
            self._hooks.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """Stop to record and take the hooks away."""
        try:
            super().__exit__(*error)  # type: ignore[no-untyped-call]
        finally:
            self._hooks.close()

    def _add_hooks(self, path: str, module: nn.Module) -> None:
        own = type(module).__module__.startswith(("torch.nn.modules", "selfnorm.nn"))

        def enter(*_: object) -> None:
            self._stack.append((path, own))

        def leave(*_: object) -> None:
            self._stack.pop()

        for handle in (
            module.register_forward_pre_hook(enter),
            module.register_forward_hook(leave, always_call=True),
        ):
            self._hooks.callback(handle.remove)

    def _watch_scripted(self, paths: Mapping[nn.Module, str]) -> None:
        """Take what runs as TorchScript, out of sight, from the list of its modules."""

        def ran(module: nn.Module, args: Any, output: Any) -> None:
            if module in paths:
                self._add_listed(module, paths[module], list(tensors_in(args)), output)

        self._hooks.callback(register_module_forward_hook(ran).remove)

    def _add_listed(self, module: nn.Module, path: str, given: list[Tensor], output: Any) -> None:
        producers = tuple(
            dict.fromkeys(self._producers[t] for t in given if self._producers.get(t) is not None)
        )
        if not producers:
            return
        for k, (place, call) in enumerate(listed(module, path)):
            facts = {**call.facts, "scripted": path or "(model)"}
            op = Op(len(self.ops), call.kind, call.name, place, producers, facts, True)
            self.ops.append(op)
            if not k and call.kind == "weight" and self._watcher is not None:
                self._watcher(op, (given[0],), given[0])  # what comes in can be seen
            producers = (op.index,)
        for tensor in tensors_in(output):
            self._producers[tensor] = producers[0]

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run a function, and record it if it passes a signal on."""
        kwargs = kwargs or {}
        touched = [t for t in tensors_in((args, kwargs)) if self._producers.get(t) is not None]
        if not touched:
            return func(*args, **kwargs)
        call = classify(func, args, kwargs, self._is_signal)
        producers = tuple(self._producers[t] for t in touched)
        before = self._shown(call, touched)
        result = func(*args, **kwargs)
        if call is None:
            return result
        if call.kind == "mul" and call.name in _PRODUCTS and ROOT in producers:
            call = Call("mix", call.name, call.facts)  # an adjacency matrix, say, that is an input
        outputs = list(tensors_in(result)) or list(tensors_in(kwargs.get("out")))
        if not outputs:
            return result
        path, own = self._stack[-1]
        written = self._written.selu_of(call.name, touched, outputs[0])
        if written is not None:
            producers = (self._producers[written],)
            facts = {"inplace": False, "alpha": ALPHA01, "scale": LAMBDA01}
            call, before = Call("activation", "selu", facts), (written,)
        op = Op(len(self.ops), call.kind, call.name, path, producers, call.facts, own)
        op.facts["shape"] = tuple(outputs[0].shape)
        op.facts["dtype"] = outputs[0].dtype
        self.ops.append(op)
        for tensor in outputs:
            self._producers[tensor] = op.index
        if self._watcher is not None:
            other = self._watcher(op, before, outputs[0])
            if other is not None and result is outputs[0]:
                self._producers[other] = op.index
                return other
        return result

    def _is_signal(self, value: Any) -> bool:
        return self.producer(value) is not None

    def _shown(self, call: Call | None, touched: list[Tensor]) -> tuple[Tensor, ...]:
        """Return the inputs as the watcher shall see them: what is written over is copied."""
        if self._watcher is None or call is None:
            return ()
        if call.kind == "activation":
            return tuple(t.detach().clone() for t in touched)
        return tuple(touched)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield every tensor in nested tuples, lists, mappings and objects with fields."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from tensors_in(one)
    elif isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from tensors_in(one)
    elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        yield from tensors_in([getattr(value, name) for name in value.__dataclass_fields__])


def path_of_module(name: str) -> str:
    """Return a module's path without the marks that compiling and wrapping leave."""
    marks = ("_orig_mod", "_fsdp_wrapped_module")
    return ".".join(part for part in name.split(".") if part not in marks)


def note_moments(ops: Sequence[Op], op: Op, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    """Keep what the rules ask for around weights and sums."""
    if op.kind == "weight" and inputs:
        op.facts["in_mean"], op.facts["in_var"] = moments_of(inputs[:1])
        op.facts["in_shape"] = tuple(inputs[0].shape)
        if _is_first(ops, op):
            op.facts["in_share"], op.facts["in_values"] = most_common(inputs[0])
    elif op.kind == "pool" and inputs:
        op.facts |= pooling_facts(op, inputs[0], output)
    elif op.kind == "add" and len(inputs) == 2:
        op.facts["parts_var"] = tuple(moments_of([one])[1] for one in inputs)
        op.facts["var"] = moments_of([output])[1]


def _is_first(ops: Sequence[Op], op: Op) -> bool:
    """Tell a layer that takes the model's input as it is, or a view of it."""
    k = op.inputs[0] if op.inputs else ROOT
    while k != ROOT and ops[k].kind == "shape" and ops[k].inputs:
        k = ops[k].inputs[0]
    return k == ROOT


@torch.no_grad()
def most_common(x: Tensor) -> tuple[float, int]:
    """Return the share of the most common value, and how many values there are."""
    if x.is_meta or not x.is_floating_point() or x.dim() not in (2, 3) or not x.numel():
        return 0.0, 0
    flat = x.detach().reshape(-1)[:_MANY].float()
    values, counts = torch.unique(flat, return_counts=True)
    return float(counts.max()) / flat.numel(), values.numel()
