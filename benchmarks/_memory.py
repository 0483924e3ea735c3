"""Bytes that a step keeps for its backward pass, and by which the process grows at its peak."""

from __future__ import annotations

import ctypes
import functools
import gc
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks._harness import ROOT

REPEATS = 3
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def saved_bytes(forward: Callable[[], object], not_counted: Iterable[Tensor]) -> int:
    """Return the bytes of the storages that autograd keeps after ``forward``, each counted once.

    Inputs and parameters, which exist anyway, belong into ``not_counted``.
    """
    # The tensors themselves are held until the end: a freed address would be given out again.
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    for t in not_counted:
        storages.pop(t.untyped_storage().data_ptr(), None)
    del result
    return sum(storages.values())


def peak_growth(module: str, *arguments: str | float) -> int:
    """Return by how many bytes a process grows at most during one step that has run before.

    The process imports ``module`` and takes ``memory_step(*arguments)`` from it. The smallest of
    `REPEATS` steps counts: what else grows is not the step's.
    """
    return _measure(module, "memory_step", arguments)


def peak_of_training(module: str, *arguments: str | float) -> int:
    """Return by how many bytes a process grows while it builds a network and takes some steps.

    As `peak_growth`, of ``memory_training(*arguments)``, which begins anew at each call.
    """
    return _measure(module, "memory_training", arguments)


def _measure(module: str, function: str, arguments: tuple[str | float, ...]) -> int:
    what = [module, function, json.dumps(arguments)]
    command = [sys.executable, "-m", "benchmarks._memory", *what]
    # Fresh pages for whatever is large, so that memory in reserve hides nothing.
    variables = {"MALLOC_MMAP_THRESHOLD_": str(1 << 16), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return int(result.stdout.split()[-1])


@functools.cache
def cannot_measure_peak() -> str:
    """Return why `peak_growth` does not work here, or nothing."""
    try:
        CLEAR.write_text("5", encoding="ascii")
    except OSError as error:
        return f"the peak needs Linux's {CLEAR}: {error.strerror}"
    return ""


def _growth(step: Callable[[], object]) -> int:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    CLEAR.write_text("5", encoding="ascii")  # The peak is now what is resident now.
    before = _status("VmRSS")
    step()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def main() -> None:
    """Measure one step in this process and print the bytes."""
    module, function, arguments = sys.argv[1:]
    step = getattr(importlib.import_module(module), function)(*json.loads(arguments))
    for _ in range(2):
        step()
    print(min(_growth(step) for _ in range(REPEATS)))


if __name__ == "__main__":
    main()
