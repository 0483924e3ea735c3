"""``selfnorm experiment NAME``: run an experiment, show its progress, say where its report is."""

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

from selfnorm._files import write_atomically
from selfnorm.cli._progress import show_progress

if TYPE_CHECKING:
    from selfnorm.experiments import ExperimentResult


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
    help="Folder with the MNIST files.  [default: $SELFNORM_DATA, else fetched]",
)
NAMES = Listed(str, "names")
INTEGERS = Listed(int, "whole numbers")
NUMBERS = Listed(float, "numbers")


@click.group()
def experiment() -> None:
    """Run a published or a new experiment.

    Each writes result.json and report.html to its output folder, after every finished part: an
    interrupted run (Ctrl-C) keeps what is finished, and the same command goes on from there.
    """


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
                "--json",
                "json_file",
                metavar="FILE",
                help="Write the record to this file as well; - prints it instead of the table.",
            ),
        )
        return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)

    return decorate


@experiment.command("fifty-layers")
@click.option("--data", default="digits", show_default=True, help="digits or mnist.")
@DATA_DIR
@click.option("--depth", type=int, default=50, show_default=True, help="Hidden layers.")
@click.option("--width", type=int, default=128, show_default=True, help="Units per hidden layer.")
@click.option("--epochs", type=int, help="Epochs.  [default: by data set]")
@click.option("--batch-size", type=int, default=100, show_default=True, help="Rows per step.")
@click.option("--lr", type=float, help="Learning rate.  [default: by data set]")
@click.option("--seed", type=int, default=0, show_default=True, help="First seed.")
@click.option("--seeds", type=int, help="Number of seeds.  [default: by data set]")
@click.option("--train-size", type=int, help="Training rows.  [default: by data set]")
@click.option("--arms", type=NAMES, metavar="NAME,...", help="Arms to train.  [default: all]")
@click.option(
    "--default-init",
    default="torch",
    show_default=True,
    help="What 'default initialisation' means: torch, glorot or uniform05.",
)
@output_options("out/fifty-layers")
def fifty_layers(json_file: str | None, arms: tuple[str, ...] | None, **options: Any) -> None:
    """Train fifty-layer networks that differ in input scaling, activation and initialisation."""
    from selfnorm import experiments

    if arms is not None:
        options["arms"] = arms
    # An arm's name says what these columns say, and without them the table fits 80 columns.
    hide = ("input", "activation", "initialisation")
    run(experiments.fifty_layers, options, json_file, hide=hide)


@experiment.command("fixed-point")
@click.option("--data", default="digits", show_default=True, help="digits or mnist.")
@DATA_DIR
@click.option("--train-size", type=int, help="Training rows.  [default: all]")
@click.option("--variances", type=NUMBERS, metavar="V,...", help="Target variances.")
@click.option("--depths", type=INTEGERS, metavar="L,...", help="Numbers of hidden layers.")
@click.option(
    "--weights", type=NAMES, metavar="NAME,...", help="gaussian, orthogonal.  [default: both]"
)
@click.option("--lrs", type=NUMBERS, metavar="LR,...", help="Learning rates to choose from.")
@click.option("--width", type=int, help="Units per hidden layer.")
@click.option("--epochs", type=int, help="Epochs.")
@click.option("--batch-size", type=int, help="Rows per step.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of every net.")
@output_options("out/fixed-point")
def fixed_point(json_file: str | None, **options: Any) -> None:
    """Why (0, 1) and not (0, 4)? Train at several target variances and depths."""
    from selfnorm import experiments

    given = {name: value for name, value in options.items() if value is not None}
    run(experiments.fixed_point, given, json_file, hide=("seconds",))


@experiment.command("uci")
@click.option("--data", default="uci", show_default=True, help="uci, htru2 or houses.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Folder with uci.npz, htru2.npz, houses.npz.  [default: $SELFNORM_DATA]",
)
@click.option(
    "--methods",
    type=NAMES,
    metavar="NAME,...",
    help="selfnorm, rf, svm, svm-c10, mlp, hgb, lightgbm, catboost, realmlp, tabm; the first is "
    "compared with the others.  [default: the quick ones]",
)
@click.option("--sets", type=NAMES, metavar="NAME,...", help="Data sets.  [default: all]")
@click.option("--folds", type=INTEGERS, metavar="K,...", help="Folds from 0.  [default: all]")
@click.option("--max-rows", type=int, help="Leave out sets with more training rows.")
@click.option(
    "--resume/--no-resume",
    default=True,
    show_default=True,
    help="Take over what a run into the same folder has finished.",
)
@output_options("out/uci")
def uci(json_file: str | None, **options: Any) -> None:
    """Compare tabular methods, each at its own defaults, on the same rows.

    Methods whose package is missing are left out, and a line says which and how to get them.
    """
    from selfnorm import experiments

    given = {name: value for name, value in options.items() if value is not None}
    result = run(experiments.uci, given, json_file)
    for line in result.record["absent"]:
        click.echo(line, err=True)


def run(
    function: Callable[..., ExperimentResult],
    options: dict[str, Any],
    json_file: str | None,
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
    if json_file == "-":
        click.echo(result.to_json())
        return result
    if json_file is not None:
        write_atomically(json_file, result.to_json() + "\n")
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


# Their commands register themselves with the group.
from selfnorm.cli import _experiment_diagnosis  # noqa: E402, F401
