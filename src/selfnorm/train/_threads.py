"""How many threads a step is worth."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import torch

__all__ = ["threads_for"]

# Multiplications in the largest product of a step: below, waking a second thread costs more than it
# saves (128 rows, 8 layers of 128, two cores: 1.1 ms a step with one thread, 1.8 with two).
_LEAST_PRODUCT: Final = 1 << 22


@contextlib.contextmanager
def threads_for(product: int) -> Iterator[None]:
    """Let torch use one thread for a while if the largest product of a step is small."""
    before = torch.get_num_threads()
    if product >= _LEAST_PRODUCT or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
