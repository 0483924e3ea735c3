"""Arrays that stay in their file."""

from __future__ import annotations

import mmap
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

__all__ = ["Mapped"]

_RESIDENT: Final = 1 << 26  # bytes of the file that may stay in the process's memory
# The most that Linux maps around a place that is read: a large page of the file's cache.
_AROUND: Final = 1 << 21


class Mapped:
    """Rows of a memory-mapped array, read from the file when they are asked for.

    What was read is given back to the system before it may take more than 64 MiB. It stays in the
    file's cache as long as there is room.

    Parameters
    ----------
    array : numpy.memmap
        Shape (n, features), of numbers.
    dtype : torch.dtype
        What rows become.
    device : torch.device
        Where they go.
    """

    def __init__(self, array: Any, dtype: torch.dtype, device: torch.device) -> None:
        self.shape = array.shape
        self.dtype = dtype
        self.device = device
        self._array = np.asarray(array)
        self._type = torch.empty(0, dtype=dtype).numpy().dtype
        self._touched = 0
        row = self._array[:1].nbytes
        self._each = max(1, _RESIDENT // (_AROUND + row))  # rows that are gathered together
        self._map: mmap.mmap | None = None
        base = array
        while isinstance(base, np.ndarray):
            base = base.base
        # What was written into a copy-on-write map would be lost.
        large = array.size * array.itemsize > _RESIDENT
        known = isinstance(base, mmap.mmap) and array.mode in ("r", "r+", "w+")
        if large and known and hasattr(mmap, "MADV_DONTNEED"):
            self._map = base

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.shape[0])

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Return a range of rows, or those of a tensor of numbers, of any shape."""
        if isinstance(rows, slice):
            part = self._array[rows]
            self._make_room(part.nbytes)
            return torch.from_numpy(part.astype(self._type)).to(self.device)
        found = torch.empty(rows.numel(), self.shape[1], dtype=self.dtype, device=self.device)
        self.take(rows.reshape(-1), found)
        return found.view(*rows.shape, -1)

    def take(self, index: Tensor, out: Tensor) -> None:
        """Copy the rows of these numbers into ``out``."""
        each = self._each
        for start in range(0, len(index), each):
            rows = index[start : start + each].cpu().numpy()
            self._make_room(len(rows) * (_AROUND + self._array[:1].nbytes))
            found = self._array[rows].astype(self._type, copy=False)
            out[start : start + each].copy_(torch.from_numpy(found))

    def _make_room(self, coming: int) -> None:
        if self._map is not None and self._touched + coming > _RESIDENT:
            self._map.madvise(mmap.MADV_DONTNEED)
            self._touched = 0
        self._touched += coming
