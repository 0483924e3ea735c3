"""A step as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from selfnorm.errors import BackendError

__all__ = ["capture"]

Call = Callable[[], object]


def capture(calls: Sequence[Call], counters: Tensor) -> list[Call]:
    """Return one call that replays these on the GPU, without Python between them.

    The calls must work on memory that stays where it is, as a `selfnorm.train._network.Step` does.
    They are run a few times first, so that libraries set themselves up; ``counters``, which they
    move on, are put back.

    Not run on a GPU yet.
    """
    if not torch.cuda.is_available():
        raise BackendError(
            "a CUDA graph needs a CUDA device, however: torch sees none; leave cuda_graph=False"
        )
    before = counters.clone()
    beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            for call in calls:
                call()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    counters.copy_(before)
    return [graph.replay]
