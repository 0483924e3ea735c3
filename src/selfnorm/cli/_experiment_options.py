"""What the commands of ``selfnorm experiment`` share: options, the run, the table."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import rich.console
import rich.markup
import rich.table

from selfnorm.cli._progress import show_progress

if TYPE_CHECKING:
    from selfnorm.experiments import ExperimentResult

__all__ = ["DATA_DIR", "INTEGERS", "NAMES", "NUMBERS", "Listed", "output_options", "run"]


class Listed(click.ParamType[tuple[Any, ...]]):
    """A comma-separated list of one type."""

    name = "list"

    def __init__(self, item: Callable[[str], Any], what: str) -> None:
        self._item = item
        self._what = what

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """Split at commas and convert each part."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self._item(part.strip()) for part in value.split(",") if part.strip())
        except ValueError:
            self.fail(f"expected {self._what} separated by commas, however: {value!r}.", param, ctx)


DATA_DIR = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Folder with the image files.  [default: $SELFNORM_DATA, else fetched]",
)
NAMES = Listed(str, "names")
INTEGERS = Listed(int, "whole numbers")
NUMBERS = Listed(float, "numbers")


def output_options(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add --out and --json to a command."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        options = (
            click.option(
                "--out",
                type=click.Path(file_okay=False, path_type=Path),
                default=Path(default),
                show_default=True,
                help="Folder for result.json and report.html.",
            ),
            click.option(
                "--json", "as_json", is_flag=True, help="Print the record instead of the table."
            ),
        )
        return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)

    return decorate


def run(
    function: Callable[..., ExperimentResult],
    options: dict[str, Any],
    as_json: bool,
    *,
    hide: Sequence[str] = (),
) -> ExperimentResult:
    """Call the experiment with a progress display, then print table and paths."""
    try:
        with show_progress() as progress:
            result = function(**options, progress=progress)
    except KeyboardInterrupt:
        click.echo(
            f"selfnorm: interrupted; what is finished is in {options['out']}; the same command "
            "goes on from there.",
            err=True,
        )
        sys.exit(130)
    if as_json:
        click.echo(result.to_json())
        return result
    table = rich.table.Table(box=None, pad_edge=False, header_style="bold")
    shown = [index for index, column in enumerate(result.columns) if column not in hide]
    for index in shown:
        numeric = any(isinstance(row[index], int | float) for row in result.rows)
        head = rich.markup.escape(result.columns[index])
        table.add_column(head, justify="right" if numeric else "left")
    for row in result.rows:
        table.add_row(*(rich.markup.escape(cell(row[index])) for index in shown))
    rich.console.Console().print(table)
    click.echo(f"\nrecord  {result.result_path}\nreport  {result.report_path}")
    return result


def cell(value: str | float | None) -> str:
    """Write one cell of the table."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.4g}"
