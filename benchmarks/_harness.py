"""The harness: providers of the same thing side by side in one process, medians of many samples.

A `Case` names a piece of work and the providers that do it. In each round every provider takes one
sample, in an order that rotates, so that a slow minute of the machine meets them all. A sample is
as many calls as take `SAMPLE_SECONDS`; before the first there is one call to warm up. The garbage
collector rests during a sample. Where bytes are measured, `run` returns them, once.
"""

from __future__ import annotations

import datetime
import gc
import importlib.metadata
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import selfnorm

ROOT = Path(__file__).resolve().parent.parent
SAMPLE_SECONDS = 0.01
LEAST_SAMPLES, MOST_SAMPLES = 5, 101
VERSIONS_OF = ("numpy", "scipy", "python-flint", "torch", "triton", "dks", "autograd")

Clock = Callable[[], float]


@dataclass(frozen=True)
class Provider:
    """Somebody who does the work.

    ``accuracy`` returns correct decimal digits and where they were counted. ``absent`` says why the
    provider cannot run here; it gets a row all the same. A ``floor`` does less than the work, as a
    mark to measure against, and is not ranked. ``rest`` is how many seconds the threads of its
    libraries go on spinning after a run: the next one is not timed before.
    """

    name: str
    run: Callable[[], object]
    accuracy: Callable[[], tuple[float, str]] | None = None
    absent: str = ""
    floor: bool = False
    rest: float = 0.0


@dataclass(frozen=True)
class Goal:
    """``provider`` shall need at most ``at_most`` times what the provider ``of`` needs."""

    provider: str
    at_most: float
    of: str


@dataclass(frozen=True)
class Case:
    """A piece of work; what is measured is the time per item, where one call does ``items``.

    ``run`` returns when the work is done, on any device; with the unit B it returns bytes instead
    of being timed. ``goal`` is in the unit per item and meant for selfnorm, ``goals`` compare
    providers. ``relative_to`` names the provider whose multiples the rows show. Providers that
    need memory or long preparation come from a function, called when their case is up. A ``large``
    case is left out of a quick run. Where the call that warms up takes longer than ``slow``, by
    the case's clock, it is the provider's only sample.
    """

    name: str
    providers: Sequence[Provider] | Callable[[], Sequence[Provider]]
    items: int = 1
    item: str = "call"
    goal: float | None = None
    device: str = "cpu"
    clock: Clock = time.perf_counter
    clock_name: str = "wall"
    unit: Literal["s", "B"] = "s"
    goals: Sequence[Goal] = ()
    relative_to: str = ""
    large: bool = False
    slow: float = math.inf


@dataclass(frozen=True)
class Row:
    """A case as done by one provider; quantiles and goal in the unit, seconds or bytes per item."""

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
    relative: float | None
    relative_to: str
    goal: float | None
    verdict: str
    digits: float | None
    digits_of: str


def measure(group: str, case: Case, seconds: float) -> list[Row]:
    """Measure one case, for about so many seconds for each provider."""
    providers = case.providers() if callable(case.providers) else case.providers
    present = [p for p in providers if not p.absent]
    gc.collect()
    gc.freeze()  # What exists by now, a compiler perhaps, would make each collection take long.
    try:
        taken = _bytes(present) if case.unit == "B" else _times(case, present, seconds)
    finally:
        gc.unfreeze()
    medians = {name: statistics.median(samples) for name, samples in taken.items()}
    return [_row(group, case, p, taken.get(p.name, []), medians, providers) for p in providers]


def _bytes(present: Sequence[Provider]) -> dict[str, list[float]]:
    return {p.name: [float(p.run())] for p in present}  # type: ignore[arg-type]


def _times(case: Case, present: Sequence[Provider], seconds: float) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {p.name: [] for p in present}
    if math.isfinite(case.slow):
        for p in present:
            once = _sample(p.run, 1, case.clock)
            taken[p.name] = [once / case.items] if once > case.slow else []
        present = [p for p in present if not taken[p.name]]
    loops = {p.name: _loops(p.run) for p in present}
    start = time.perf_counter()
    for turn in range(MOST_SAMPLES):
        spent = time.perf_counter() - start
        if turn >= LEAST_SAMPLES and spent > seconds * len(present):
            break
        for k in range(len(present)):
            p = present[(turn + k) % len(present)]
            sample = _sample(p.run, loops[p.name], case.clock)
            taken[p.name].append(sample / (loops[p.name] * case.items))
            time.sleep(p.rest)
    return taken


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
    group: str,
    case: Case,
    p: Provider,
    samples: list[float],
    medians: Mapping[str, float],
    providers: Sequence[Provider],
) -> Row:
    digits, digits_of = p.accuracy() if p.accuracy and not p.absent else (None, "")
    # The median from the same formula everywhere: statistics.quantiles' may differ by a rounding.
    median, (p20, p80) = medians.get(p.name), _outer_quantiles(samples)
    limits = [case.goal] if case.goal is not None and p.name == "selfnorm" else []
    limits += [g.at_most * medians[g.of] for g in _goals(case, p) if g.of in medians]
    relative = None
    if median is not None and case.relative_to in medians:
        relative = _times_of(median, medians[case.relative_to])
    return Row(
        group=group,
        case=case.name,
        provider=p.name,
        unit=f"{case.unit}/{case.item}",
        n=case.items,
        device=case.device,
        clock=case.clock_name,
        samples=len(samples),
        p20=p20,
        median=median,
        p80=p80,
        relative=relative,
        relative_to=case.relative_to,
        goal=min(limits, default=None),
        verdict=_verdict(case, p, medians, providers),
        digits=digits,
        digits_of=digits_of,
    )


def _outer_quantiles(samples: list[float]) -> tuple[float | None, float | None]:
    if len(samples) < 2:
        return (samples[0], samples[0]) if samples else (None, None)
    p20, _, p80 = statistics.quantiles(samples, n=10)[1::3]
    return p20, p80


def _goals(case: Case, p: Provider) -> list[Goal]:
    return [g for g in case.goals if g.provider == p.name]


def _times_of(this: float, other: float) -> float | None:
    """Return this over other; None where that says nothing: there is no multiple of 0 bytes."""
    return this / other if other > 0.0 else None


def _verdict(
    case: Case, p: Provider, medians: Mapping[str, float], providers: Sequence[Provider]
) -> str:
    if p.absent:
        return f"not run: {p.absent}"
    words = ["floor"] if p.floor else []
    if case.goal is not None and p.name == "selfnorm":
        words.append("goal met" if medians[p.name] <= case.goal else "GOAL MISSED")
    for g in _goals(case, p):
        goal = f"{g.at_most:.3g} × {g.of}"
        if g.of not in medians:
            words.append(f"goal {goal} not judged")
            continue
        met = medians[p.name] <= g.at_most * medians[g.of]
        ratio = _times_of(medians[p.name], medians[g.of])
        found = "" if ratio is None else f" ({ratio:.3g})"
        words.append(f"goal {goal} met{found}" if met else f"GOAL {goal} MISSED{found}")
    ranked = [o.name for o in providers if not o.absent and not o.floor]
    best = min(ranked, key=lambda name: medians[name])
    if not p.floor and medians[p.name] > medians[best]:
        ratio = _times_of(medians[p.name], medians[best])
        words.append(f"more than {best}" if ratio is None else f"{ratio:.3g} times {best}")
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
    """Format rows as a Markdown table, one line for each; digits and multiples where there are."""
    optional = {
        "digits": any(r.digits is not None for r in rows),
        "relative": any(r.relative_to for r in rows),
    }
    head = ["case", "provider", "n", "p20", "median", "p80", "unit", "relative", "digits",
            "verdict"]  # fmt: skip
    lines = [head, ["---"] * len(head)]
    for r in rows:
        unit, factor = _prefix(r.median, r.unit[0])
        values = ["—" if v is None else f"{v * factor:.3g}" for v in (r.p20, r.median, r.p80)]
        clock = "" if r.clock == "wall" else f" ({r.clock})"
        digits = "" if r.digits is None else f"{r.digits:.1f}"
        name = f"{r.case}, {r.digits_of}" if r.digits_of else r.case
        unit = f"{unit}/{r.unit[2:]}" + clock
        relative = "" if r.relative is None else f"{r.relative:.3g} × {r.relative_to}"
        lines.append([name, r.provider, f"{r.n:,}", *values, unit, relative, digits, r.verdict])
    shown = [optional.get(name, True) for name in head]
    return "\n".join(
        f"| {' | '.join(cell for cell, show in zip(line, shown, strict=True) if show)} |"
        for line in lines
    )


def wide_table(rows: Sequence[Row]) -> str:
    """Format medians, in parentheses the multiples of the mark, with one line for each case.

    Cases of one group, one unit and one mark share a Markdown table; each provider has a column.
    """
    shared: dict[tuple[str, str, str], list[Row]] = {}
    for r in rows:
        shared.setdefault((r.group, r.unit, r.relative_to), []).append(r)
    return "\n\n".join(map(_one_wide_table, shared.values()))


def _one_wide_table(rows: Sequence[Row]) -> str:
    providers = list(dict.fromkeys(r.provider for r in rows))
    cases: dict[str, dict[str, str]] = {}
    for r in rows:
        unit, factor = _prefix(r.median, r.unit[0])
        cell = "—" if r.median is None else f"{r.median * factor:.3g} {unit}"
        if r.relative is not None:
            cell += f" ({r.relative:.3g})"
        cases.setdefault(r.case, {})[r.provider] = cell
    lines = [["case", *providers], ["---"] * (1 + len(providers))]
    lines += [[name, *(cells.get(p, "") for p in providers)] for name, cells in cases.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_PREFIXES = {
    "s": (("s", 1.0), ("ms", 1e3), ("µs", 1e6), ("ns", 1e9)),
    "B": (("GiB", 2.0**-30), ("MiB", 2.0**-20), ("KiB", 2.0**-10), ("B", 1.0)),
}


def _prefix(value: float | None, kind: str) -> tuple[str, float]:
    if value is None:
        return kind, 1.0
    prefixes = _PREFIXES[kind]
    return next((p for p in prefixes if value * p[1] >= 1.0), prefixes[-1])
