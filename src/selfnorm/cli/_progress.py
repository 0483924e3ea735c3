"""Progress of an experiment on stderr: a bar per arm on a terminal, else a line per arm."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import rich.console
import rich.markup
import rich.progress

if TYPE_CHECKING:
    from selfnorm.experiments import ProgressCallback, ProgressEvent


@contextlib.contextmanager
def show_progress() -> Iterator[ProgressCallback]:
    """Yield a callback that shows the events it is given.

    Yields
    ------
    callable
        Takes a `selfnorm.experiments.ProgressEvent`.
    """
    console = rich.console.Console(stderr=True)
    if not console.is_terminal:
        yield lambda event: None if event.state == "training" else print_line(console, event)
        return
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(bar_width=24),
        rich.progress.TextColumn("{task.fields[state]}"),
        rich.progress.TimeElapsedColumn(),
    )
    with rich.progress.Progress(*columns, console=console) as bars:
        tasks: dict[int, rich.progress.TaskID] = {}

        def show(event: ProgressEvent) -> None:
            if event.index not in tasks:
                tasks[event.index] = bars.add_task(
                    rich.markup.escape(event.arm), total=event.total, state=""
                )
            bars.update(
                tasks[event.index],
                completed=event.total if event.state != "training" else event.step,
                state=summary(event),
            )

        yield show


def summary(event: ProgressEvent) -> str:
    """Write epoch, loss and accuracy, or how the arm ended."""
    training = event.state == "training"
    words: list[str] = [f"epoch {event.epoch}/{event.epochs}" if training else event.state]
    if event.loss is not None:
        words.append(f"loss {event.loss:.3f}")
    if event.accuracy is not None:
        words.append(f"accuracy {event.accuracy:.3f}")
    return "  ".join(words)


def print_line(console: rich.console.Console, event: ProgressEvent) -> None:
    """Write one finished arm as a line of plain text."""
    number = f"[{event.index + 1}/{event.arms}]"
    console.print(
        f"{number} {event.arm}: {summary(event)}", markup=False, highlight=False, soft_wrap=True
    )
