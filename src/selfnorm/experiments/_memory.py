"""Memory of one training step: what autograd keeps, and the most that is alive at once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator

import torch

__all__ = ["peak_bytes", "saved_bytes"]


def saved_bytes(forward: Callable[[], object], existing: Iterable[torch.Tensor]) -> int:
    """Return the bytes of the storages that autograd keeps after ``forward``, each counted once.

    Parameters
    ----------
    forward : callable
        Runs a forward pass and returns its result.
    existing : iterable of torch.Tensor
        Inputs, parameters and buffers: they exist anyway and are not counted.

    Returns
    -------
    int
        Bytes.
    """
    # The tensors themselves are held until the end: a freed address would be given out again.
    kept: list[torch.Tensor] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    sizes = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in kept}
    for one in existing:
        sizes.pop(one.untyped_storage().data_ptr(), None)
    del result
    return sum(sizes.values())


def peak_bytes(step: Callable[[], object]) -> int:
    """Return by how many bytes torch's allocations grow at most during ``step``.

    Summed from the allocator's own events, so it is exact and the same each time; memory that
    libraries below torch take for themselves is not seen.

    Parameters
    ----------
    step : callable
        Runs once to warm up, then once measured.

    Returns
    -------
    int
        Bytes.
    """
    step()
    with (
        _silent_profiler(),
        torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
        ) as profile,
    ):
        step()
    events = [
        (event.start_ns(), event.nbytes())
        for event in profile.profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    total = peak = 0
    for _, change in sorted(events, key=lambda event: event[0]):
        total += change
        peak = max(peak, total)
    return peak


@contextlib.contextmanager
def _silent_profiler() -> Iterator[None]:
    """Keep the profiler of torch 2.13 from writing to stderr that it starts and stops."""
    name = "KINETO_LOG_LEVEL"
    before = os.environ.get(name)
    os.environ[name] = "99"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
