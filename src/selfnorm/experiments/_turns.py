"""Time several things in turns, so that a slow minute of the machine meets them all."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

__all__ = ["quartiles", "times_in_turns"]

_FINE: Final = time.get_clock_info("thread_time").resolution <= 1e-6
_clock: Final = time.thread_time if _FINE else time.perf_counter


def times_in_turns(
    jobs: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    least_seconds: float,
    on_round: Callable[[], None] | None = None,
) -> dict[str, list[float]]:
    """Time each job once per round, each round beginning with another job.

    Parameters
    ----------
    jobs : mapping of str to callable
        What is timed; each is called twice before, to warm up and to see how long it takes.
    rounds : int
        Samples per job.
    least_seconds : float
        A sample is as many calls as take about so long; its value is the time per call.
    on_round : callable, optional
        Called after each round.

    Returns
    -------
    dict of str to list of float
        CPU seconds of this thread per call (wall time where the system does not count finely
        enough), in the order of the rounds, so that samples of one round can be paired.
    """
    calls = {name: _calls(job, least_seconds) for name, job in jobs.items()}
    names = list(jobs)
    samples: dict[str, list[float]] = {name: [] for name in names}
    collecting = gc.isenabled()
    gc.disable()  # a collection would be charged to whoever happens to run
    try:
        for turn in range(rounds):
            for place in range(len(names)):
                name = names[(turn + place) % len(names)]
                job, count = jobs[name], calls[name]
                started = _clock()
                for _ in range(count):
                    job()
                samples[name].append((_clock() - started) / count)
            gc.collect()
            if on_round is not None:
                on_round()
    finally:
        if collecting:
            gc.enable()
    return samples


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Return lower quartile, median and upper quartile."""
    low, middle, high = (float(value) for value in np.quantile(values, (0.25, 0.5, 0.75)))
    return low, middle, high


def _calls(job: Callable[[], object], least_seconds: float) -> int:
    job()
    started = _clock()
    job()
    taken = _clock() - started
    return max(1, round(least_seconds / max(taken, 1e-9)))
