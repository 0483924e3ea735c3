"""Run a model and leave it exactly as it was."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["unchanged"]


@contextlib.contextmanager
def unchanged(model: nn.Module, *, seed: int = 0) -> Iterator[None]:
    """Keep a model's modes, buffers and gradients, and every state of random numbers.

    Whatever happens inside, an exception too, they are restored. Weights are not copied: nothing
    here writes to them. Inside, random numbers are those of ``seed``, and compiled functions run
    eagerly.
    """
    modules = list(model.modules())
    modes = [(module, module.training) for module in modules]
    buffers = [
        (module, dict(module._buffers), {k: _copy(v) for k, v in module._buffers.items()})
        for module in modules
        if module._buffers
    ]
    gradients = [(p, p.grad) for p in model.parameters()]
    cuda = list(range(torch.cuda.device_count())) if _cuda_runs() else []
    # torch._dynamo takes seconds to import; where nothing is compiled it is not loaded either.
    compiled = "torch._dynamo" in sys.modules
    eager = torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext()
    with torch.random.fork_rng(devices=cuda), eager:
        try:
            torch.manual_seed(seed)
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            for module, entries, values in buffers:
                _restore(module, entries, values)
            for parameter, gradient in gradients:
                if parameter.grad is not gradient:
                    parameter.grad = gradient


def _cuda_runs() -> bool:
    running: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return running


def _copy(value: Any) -> Tensor | None:
    return value.detach().clone() if isinstance(value, Tensor) and _is_real(value) else None


def _is_real(value: Tensor) -> bool:
    return not value.is_meta and type(value) is Tensor


def _restore(module: nn.Module, entries: dict[str, Any], values: dict[str, Any]) -> None:
    module._buffers.clear()
    module._buffers.update(entries)
    with torch.no_grad():
        for name, value in values.items():
            entry = entries[name]
            if value is not None and entry.shape == value.shape and not _same(entry, value):
                entry.copy_(value)


def _same(left: Tensor, right: Tensor) -> bool:
    # NaN is equal to NaN here: a buffer of NaN is not written to.
    equal = torch.equal(left, right)
    return equal or bool(
        torch.equal(left.isnan(), right.isnan())
        and torch.equal(left.nan_to_num(), right.nan_to_num())
    )
