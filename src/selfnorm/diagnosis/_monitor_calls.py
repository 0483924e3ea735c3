"""Activations that a forward calls by itself, seen while a monitor measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from selfnorm.diagnosis._classify import base_name, classify

__all__ = ["CallWatcher", "Called"]

_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "selu": ("alpha", "scale"),
    "elu": ("alpha",),
    "leaky_relu": ("negative_slope",),
    "gelu": (),
    "mish": (),
    "relu": (),
    "sigmoid": (),
    "silu": (),
    "softplus": (),
    "tanh": (),
}


class Called(NamedTuple):
    """An activation that was called as a function: theory's name of it and its parameters."""

    name: str
    parameters: tuple[tuple[str, float], ...]


class CallWatcher(TorchFunctionMode):
    """Tell of each activation that is called while one of some modules runs.

    Parameters
    ----------
    told : callable
        Takes the activation and its output.
    """

    def __init__(self, told: Callable[[Called, Tensor], object]) -> None:
        super().__init__()
        self._told = told
        self._by: nn.Module | None = None

    def hook(self, module: nn.Module) -> list[Any]:
        """Watch while a module runs; return the handles of its hooks."""
        return [
            module.register_forward_pre_hook(self._start),
            module.register_forward_hook(self._stop, always_call=True),
        ]

    def _start(self, module: nn.Module, *_: Any) -> None:
        if self._by is None:
            self._by = module
            super().__enter__()  # type: ignore[no-untyped-call]

    def _stop(self, module: nn.Module, *_: Any) -> None:
        if self._by is module:
            self._by = None
            super().__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run a function, and tell of it if it is an activation."""
        result = func(*args, **(kwargs or {}))
        # The name first: a forward calls many functions that are none.
        if base_name(func) in _NAMES and isinstance(result, Tensor):
            call = classify(func, args, kwargs or {}, _is_tensor)
            if call is not None and call.kind == "activation" and call.name in _NAMES:
                given = [(word, call.facts[word]) for word in _NAMES[call.name]]
                if all(value is not None for _, value in given):  # None: a tensor
                    self._told(Called(call.name, tuple(given)), result)
        return result


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)
