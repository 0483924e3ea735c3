"""The harness: providers of the same thing side by side in one process, medians of many samples.

A `Case` names a piece of work and the providers that do it. In each round every provider takes one
sample, in an order that rotates, so that a slow minute of the machine meets them all. A sample is
as many calls as take `SAMPLE_SECONDS`; before the first there is one call to warm up. The garbage
collector rests during a sample.
"""

from __future__ import annotations

import datetime
import gc
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import selfnorm

SAMPLE_SECONDS = 0.01
LEAST_SAMPLES, MOST_SAMPLES = 5, 101
VERSIONS_OF = ("numpy", "scipy", "python-flint", "torch", "dks", "autograd")

Clock = Callable[[], float]


@dataclass(frozen=True)
class Provider:
    """Somebody who does the work.

    ``accuracy`` returns correct decimal digits and where they were counted. ``absent`` says why the
    provider cannot run here; it gets a row all the same. A ``floor`` does less than the work, as a
    mark to measure against, and is not ranked.
    """

    name: str
    run: Callable[[], object]
    accuracy: Callable[[], tuple[float, str]] | None = None
    absent: str = ""
    floor: bool = False


@dataclass(frozen=True)
class Case:
    """A piece of work; what is measured is the time per item, where one call does ``items``.

    ``run`` returns when the work is done, on any device. ``goal`` is in seconds per item and meant
    for selfnorm.
    """

    name: str
    providers: Sequence[Provider]
    items: int = 1
    item: str = "call"
    goal: float | None = None
    device: str = "cpu"
    clock: Clock = time.perf_counter
    clock_name: str = "wall"


@dataclass(frozen=True)
class Row:
    """A case as done by one provider; times in seconds per item."""

    group: str
    case: str
    provider: str
    unit: str
    n: int
    device: str
    clock: str
    samples: int
    p20: float | None
    median: float | None
    p80: float | None
    goal: float | None
    verdict: str
    digits: float | None
    digits_of: str


def measure(group: str, case: Case, seconds: float) -> list[Row]:
    """Measure one case, for about so many seconds for each provider."""
    present = [p for p in case.providers if not p.absent]
    loops = {p.name: _loops(p.run) for p in present}
    taken: dict[str, list[float]] = {p.name: [] for p in present}
    start = time.perf_counter()
    for turn in range(MOST_SAMPLES):
        spent = time.perf_counter() - start
        if turn >= LEAST_SAMPLES and spent > seconds * len(present):
            break
        for k in range(len(present)):
            p = present[(turn + k) % len(present)]
            sample = _sample(p.run, loops[p.name], case.clock)
            taken[p.name].append(sample / (loops[p.name] * case.items))
    medians = {name: statistics.median(samples) for name, samples in taken.items()}
    return [_row(group, case, p, taken.get(p.name, []), medians) for p in case.providers]


def _loops(run: Callable[[], object]) -> int:
    """Warm up, and find how many calls make a sample."""
    run()
    loops = 1
    while (once := _sample(run, loops, time.perf_counter)) < SAMPLE_SECONDS:
        loops = max(2 * loops, int(loops * SAMPLE_SECONDS / max(once, 1e-9)))
    return loops


def _sample(run: Callable[[], object], loops: int, clock: Clock) -> float:
    gc.collect()
    gc.disable()
    try:
        start = clock()
        for _ in range(loops):
            run()
        return clock() - start
    finally:
        gc.enable()


def _row(
    group: str, case: Case, p: Provider, samples: list[float], medians: Mapping[str, float]
) -> Row:
    digits, digits_of = p.accuracy() if p.accuracy and not p.absent else (None, "")
    p20, median, p80 = statistics.quantiles(samples, n=10)[1::3] if samples else (None, None, None)
    return Row(
        group=group,
        case=case.name,
        provider=p.name,
        unit=f"s/{case.item}",
        n=case.items,
        device=case.device,
        clock=case.clock_name,
        samples=len(samples),
        p20=p20,
        median=median,
        p80=p80,
        goal=case.goal if p.name == "selfnorm" else None,
        verdict=_verdict(case, p, medians),
        digits=digits,
        digits_of=digits_of,
    )


def _verdict(case: Case, p: Provider, medians: Mapping[str, float]) -> str:
    if p.absent or p.floor:
        return f"not run: {p.absent}" if p.absent else "floor"
    words = []
    if case.goal is not None and p.name == "selfnorm":
        words.append("goal met" if medians[p.name] <= case.goal else "GOAL MISSED")
    ranked = [o.name for o in case.providers if not o.absent and not o.floor]
    best = min(ranked, key=lambda name: medians[name])
    if p.name != best:
        words.append(f"{medians[p.name] / medians[best]:.3g} times {best}")
    return ", ".join(words)


def environment(root: Path) -> dict[str, Any]:
    """Describe where the figures come from."""
    versions = {"selfnorm": selfnorm.__version__}
    for name in VERSIONS_OF:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(root),
        "machine": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "versions": versions,
        "threads": {k: v for k, v in os.environ.items() if k.endswith("_NUM_THREADS")},
    }


def _commit(root: Path) -> str:
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")


def table(rows: Sequence[Row]) -> str:
    """Format rows as a Markdown table."""
    head = ("case", "provider", "n", "p20", "median", "p80", "unit", "digits", "verdict")
    lines = [head, tuple("---" for _ in head)]
    for r in rows:
        unit, factor = _prefix(r.median)
        times = ["—" if t is None else f"{t * factor:.3g}" for t in (r.p20, r.median, r.p80)]
        clock = "" if r.clock == "wall" else f" ({r.clock})"
        digits = "" if r.digits is None else f"{r.digits:.1f}"
        name = f"{r.case}, {r.digits_of}" if r.digits_of else r.case
        unit = r.unit.replace("s/", f"{unit}/", 1) + clock
        lines.append((name, r.provider, f"{r.n:,}", *times, unit, digits, r.verdict))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _prefix(seconds: float | None) -> tuple[str, float]:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds is None or seconds * factor >= 1.0:
            return unit, factor
    return "ns", 1e9
