"""Run the benchmarks: ``python -m benchmarks [GROUP ...] [--only TEXT] [--out FILE]``."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import sys
from pathlib import Path

from benchmarks._harness import ROOT, Row, environment, measure, table, wide_table
from selfnorm._files import write_atomically

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
    parser.add_argument(
        "--out", type=Path, help="write environment and rows to this JSON file after each case"
    )
    parser.add_argument("--resume", action="store_true",
                        help="keep the rows of --out, and measure the cases it lacks")  # fmt: skip
    options = parser.parse_args()
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"GROUP must be one of {', '.join(GROUPS)}, however: {', '.join(unknown)}")
    about, rows = environment(ROOT), _stored(options.out) if options.resume else []
    done = {(row.group, row.case) for row in rows}
    for group in options.groups:
        seconds = GROUPS[group] if options.seconds is None else options.seconds
        module = importlib.import_module(f"benchmarks.{group}")
        if rows and hasattr(module, "resume"):
            module.resume(rows)
        for case in module.cases():
            if options.only not in case.name or (options.quick and case.large):
                continue
            if (group, case.name) in done:
                continue
            print(f"{group}: {case.name} ...", file=sys.stderr, flush=True)
            rows += measure(group, case, 0.0 if options.quick else seconds)
            if options.out:
                content = {"environment": about, "rows": [dataclasses.asdict(row) for row in rows]}
                write_atomically(options.out, json.dumps(content, indent=1) + "\n")
    if not rows:
        parser.error(f"--only must match a case, however: none has {options.only!r} in its name")
    for key, value in about.items():
        print(f"{key}: {value}")
    print(f"\n{(wide_table if options.wide else table)(rows)}")


def _stored(path: Path | None) -> list[Row]:
    """Return the rows of an earlier run."""
    if path is None or not path.exists():
        return []
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]


if __name__ == "__main__":
    main()
