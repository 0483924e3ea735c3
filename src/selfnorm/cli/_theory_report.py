"""``selfnorm theory-report``: the theory as one HTML file."""

from __future__ import annotations

import json
from pathlib import Path

import click

from selfnorm import report


@click.command("theory-report")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("theory.html"),
    show_default=True,
    help="The HTML file to write.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the numbers, not the summary.")
def theory_report(out: Path, as_json: bool) -> None:
    """Draw the moment map, its constants and certificates as one self-contained HTML file.

    All numbers are computed anew, the theorems certified anew; it takes some seconds.
    """
    report.require()
    record = report.theory_record()
    report.theory_report(out, record=record)
    if as_json:
        click.echo(json.dumps(record, allow_nan=False))
        return
    if record["missing"] is not None:
        click.echo(f"without certificates: {record['missing']}")
    else:
        proven = record["certificates"] + [one["certificate"] for one in record["basins"]]
        holding = sum(bool(one and one["holds"]) for one in proven)
        click.echo(f"{holding} of {len(proven)} claims certified")
    click.echo(f"report  {out}")
