"""Run the benchmarks: ``python -m benchmarks [GROUP ...] [--only TEXT] [--out FILE]``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from benchmarks import theory
from benchmarks._harness import environment, measure, table

ROOT = Path(__file__).resolve().parent.parent
GROUPS = {"theory": theory.cases}


def main() -> None:
    """Measure, print the table, write the file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", default=list(GROUPS), metavar="GROUP",
                        help=f"of {', '.join(GROUPS)}; default: all")  # fmt: skip
    parser.add_argument("--only", default="", help="only cases whose name has this text in it")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each provider of a case")
    parser.add_argument("--out", type=Path, help="write environment and rows to this JSON file")
    options = parser.parse_args()
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"GROUP must be one of {', '.join(GROUPS)}, however: {', '.join(unknown)}")
    about, rows = environment(ROOT), []
    for group in options.groups:
        for case in GROUPS[group]():
            if options.only in case.name:
                print(f"{group}: {case.name} ...", file=sys.stderr, flush=True)
                rows += measure(group, case, options.seconds)
    if not rows:
        parser.error(f"--only must match a case, however: none has {options.only!r} in its name")
    for key, value in about.items():
        print(f"{key}: {value}")
    print(f"\n{table(rows)}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        content = {"environment": about, "rows": [dataclasses.asdict(row) for row in rows]}
        options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
