"""``selfnorm bench``: how fast the parts are on this machine."""

from __future__ import annotations

import dataclasses
import json

import click

from selfnorm import experiments

__all__ = ["bench"]


@click.command()
@click.option("--rounds", default=15, show_default=True, help="Samples of each, in turns.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(rounds: int, as_json: bool) -> None:
    """Measure layers, networks and the training engine here, beside PyTorch's own.

    One thread, processor time, in turns; some twenty seconds. Medians and quartiles. The tables of
    the documentation come from the repository: python -m benchmarks.
    """
    rows = experiments.bench(rounds=rounds)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(row) for row in rows]))
        return
    ours = rows[0].provider
    task = ""
    for row in rows:
        if row.task != task:
            task = row.task
            click.echo(f"\n{task}")
        low, middle, high = (f"{1e3 * s:.3g}" for s in (row.lower, row.median, row.upper))
        factor = "" if row.provider == ours else f"{row.factor:.2f} times {ours}'s"
        line = f"  {row.provider:38}{middle:>7} ms  ({low} to {high})"
        click.echo(f"{line:72}{factor}".rstrip())
