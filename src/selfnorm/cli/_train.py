"""``selfnorm train``: a model, its metrics and a report from a table in a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import click
import rich.console
import rich.markup
import rich.table

from selfnorm._files import write_atomically
from selfnorm.cli._tables import MODEL, bad_data, check_table

__all__ = ["train"]

METRICS, REPORT = "metrics.json", "report.html"
_NAMES: Final = {
    "accuracy": "accuracy",
    "auc": "area under the ROC curve",
    "log_loss": "log-loss, nats",
    "ece": "expected calibration error",
    "rmse": "root mean squared error",
    "mae": "mean absolute error",
    "r2": "R²",
}


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--target", required=True, metavar="COLUMN", help="The column to predict.")
@click.option(
    "--task",
    type=click.Choice(["auto", "classification", "regression"]),
    default="auto",
    show_default=True,
    help="Auto: texts, and whole numbers of at most 20 kinds, are classes.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="COLUMN",
    help="A column to leave out, such as a customer's number; may be given again.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for model, metrics and report.  [default: out/NAME OF DATA]",
)
@click.option(
    "--time-limit", type=float, metavar="SECONDS", help="About how long it may take.  [default: -]"
)
@click.option(
    "--test-fraction",
    type=click.FloatRange(0.0, 1.0, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Share of the rows that are held out to measure on; at most 100,000 are.",
)
@click.option(
    "--members", type=click.IntRange(1), help="Networks in the ensemble.  [default: by size]"
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Fixes split, weights and orders.",
)
@click.option("--force", is_flag=True, help="Replace files of an earlier training in the folder.")
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json instead of the summary.")
def train(
    data: Path,
    target: str,
    out: Path | None,
    members: int | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train on a CSV or Parquet file; measure on rows held out.

    Writes model.safetensors, metrics.json and report.html.
    """
    out = Path("out") / data.name.partition(".")[0] if out is None else out
    there = [name for name in (MODEL, METRICS, REPORT) if (out / name).exists()]
    if there and not force:
        raise click.UsageError(
            f"{str(out)!r} holds {', '.join(there)} of an earlier training; choose another --out, "
            "or replace them with --force."
        )
    check_table(data)
    from selfnorm import report
    from selfnorm.tabular._saving import save
    from selfnorm.tabular._table_training import train_table

    report.require()
    quiet = as_json or not sys.stderr.isatty()
    with bad_data():
        trained = train_table(
            data,
            target,
            members="auto" if members is None else members,
            verbose=not quiet,
            tell=(lambda text: None) if quiet else (lambda text: click.echo(text, err=True)),
            **options,
        )
        record = trained.record | {"folder": str(out)}
        text = json.dumps(record, allow_nan=False, indent=1, ensure_ascii=False)
        save(trained.estimator, out / MODEL)
    write_atomically(out / METRICS, text + "\n")
    report.tabular_report(out / REPORT, record)
    if as_json:
        click.echo(text)
    else:
        show(record, out)


def show(record: dict[str, Any], out: Path) -> None:
    """Print what was trained, how good it is, and where it is."""
    console = rich.console.Console(soft_wrap=True, highlight=False)
    rows = record["rows"]
    used = sum(one["used"] == "yes" for one in record["columns"])
    kind = record["task"]
    if kind == "classification":
        kind += f" into {len(record['classes'])} classes"
    console.print(
        f"{kind} of {record['target']!r} from {used} column{'s' * (used != 1)}: "
        f"{rows['training']:,} rows to train on, {rows['held_out']:,} held out",
        markup=False,
    )
    console.print(record["task_reason"], markup=False)
    for note in record["notes"]:
        console.print(f"- {note}", markup=False)
    table = rich.table.Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("on held-out rows")
    table.add_column("model", justify="right")
    table.add_column(record["baseline_name"], justify="right")
    for name, value in record["metrics"].items():
        table.add_row(_NAMES[name], number(value), number(record["baseline"][name]))
    console.print()
    console.print(table)
    seconds = record["seconds"]
    spent = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items() if value >= 0.05)
    limit = record["settings"]["used"]["time limit, s"]
    limit = "" if limit is None else f" of {limit:g}"
    console.print(
        f"\n{sum(seconds.values()):.1f}{limit} s: {spent}\n"
        f"model   {out / MODEL}\nmetrics {out / METRICS}\nreport  {out / REPORT}",
        markup=False,
    )


def number(value: float | None) -> str:
    """Write one number of the table."""
    return "-" if value is None else f"{value:.4g}"
