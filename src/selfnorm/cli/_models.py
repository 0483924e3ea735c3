"""What ``check`` and ``diagnose`` have in common."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from selfnorm.cli._tables import bad_data

if TYPE_CHECKING:
    from selfnorm.diagnosis import Finding

__all__ = ["as_given", "common", "failed", "html_option", "speak"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def common(command: _Command) -> _Command:
    """Add the arguments that both commands take."""
    for option in reversed(
        (
            click.argument("model", metavar="MODULE:FACTORY"),
            click.option(
                "--data",
                type=click.Path(dir_okay=False, path_type=Path),
                help="Rows: .npy, .npz (X and y), .pt or .csv.",
            ),
            click.option(
                "--normal",
                metavar="SHAPE",
                help="Standard normal rows of this shape instead, as 256x30.",
            ),
            click.option("--json", "as_json", is_flag=True, help="Print JSON."),
            click.option("--markdown", is_flag=True, help="Print Markdown, for a pull request."),
            click.option("--strict", is_flag=True, help="Notes count as findings too."),
        )
    ):
        command = option(command)
    return command


html_option = click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a report as one HTML file.",
)


@contextlib.contextmanager
def as_given(model: str, data: Path | None, normal: str | None) -> Iterator[tuple[Any, Any]]:
    """Load model and data; what is wrong with them is wrong usage."""
    if data is not None and normal is not None:
        raise click.UsageError("give --data or --normal, not both.")
    with bad_data():
        from selfnorm.diagnosis._loading import load_data, load_model, normal_rows

        rows = None if data is None else load_data(data)
        rows = rows if normal is None else normal_rows(normal)
        yield load_model(model), rows


def speak(text: str) -> None:
    """Print a text; a terminal that knows few characters gets them by their number."""
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding))


def failed(findings: Sequence[Finding], strict: bool) -> bool:
    """Tell whether the findings make the command fail."""
    return any(strict or one.severity != "note" for one in findings)
