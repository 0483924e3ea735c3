"""Where and with what an experiment ran."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import selfnorm

__all__ = ["environment", "one_thread"]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread, and restore its setting afterwards.

    The products of these nets are too small to share: a second core gains a tenth at best, while
    on a busy machine threads that wait for one another cost a factor of up to a hundred. One
    thread also makes results independent of the number of cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def environment() -> dict[str, str | int]:
    """Return versions, processor, threads and date, as one line each in a report.

    Returns
    -------
    dict
        Text and numbers only.

    Examples
    --------
    >>> sorted(environment())[:3]
    ['cores', 'date', 'numpy']
    """
    return {
        "selfnorm": selfnorm.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    """Return the processor's trade name where the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
