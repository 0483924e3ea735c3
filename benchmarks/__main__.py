"""Run the benchmarks: ``python -m benchmarks [GROUP ...] [--only TEXT] [--out FILE]``."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import sys
from pathlib import Path

from benchmarks._harness import ROOT, environment, measure, table, wide_table

# Seconds for each provider of a case, so that a group takes minutes. A group is imported when it is
# asked for: theory needs no torch, and the others none of theory's rivals.
GROUPS = {
    "theory": 2.0, "kernels": 0.2, "nets": 0.3, "train": 0.3, "gpu": 0.3, "tabular": 1.0,
    "monitor": 5.0,
}  # fmt: skip


def main() -> None:
    """Measure, print the table, write the file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", default=list(GROUPS), metavar="GROUP",
                        help=f"of {', '.join(GROUPS)}; default: all")  # fmt: skip
    parser.add_argument("--only", default="", help="only cases whose name has this text in it")
    parser.add_argument("--seconds", type=float, help="for each provider of a case; default: "
                        + ", ".join(f"{name} {s:g}" for name, s in GROUPS.items()))  # fmt: skip
    parser.add_argument("--quick", action="store_true",
                        help="small cases, few samples, to see that everything runs")  # fmt: skip
    parser.add_argument("--wide", action="store_true",
                        help="a line for each case: medians (multiples of the mark)")  # fmt: skip
    parser.add_argument("--out", type=Path, help="write environment and rows to this JSON file")
    options = parser.parse_args()
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"GROUP must be one of {', '.join(GROUPS)}, however: {', '.join(unknown)}")
    about, rows = environment(ROOT), []
    for group in options.groups:
        seconds = GROUPS[group] if options.seconds is None else options.seconds
        for case in importlib.import_module(f"benchmarks.{group}").cases():
            if options.only in case.name and not (options.quick and case.large):
                print(f"{group}: {case.name} ...", file=sys.stderr, flush=True)
                rows += measure(group, case, 0.0 if options.quick else seconds)
    if not rows:
        parser.error(f"--only must match a case, however: none has {options.only!r} in its name")
    for key, value in about.items():
        print(f"{key}: {value}")
    print(f"\n{(wide_table if options.wide else table)(rows)}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        content = {"environment": about, "rows": [dataclasses.asdict(row) for row in rows]}
        options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
