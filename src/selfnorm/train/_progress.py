"""A bar on the terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from selfnorm.train._records import EpochRecord

__all__ = ["bar", "summary"]

Show = tuple[Callable[[EpochRecord], object], Callable[[float], object]]


@contextlib.contextmanager
def bar(epochs: int, wanted: bool | None) -> Iterator[Show]:
    """Yield what shows a finished epoch, and what moves the bar within one.

    Without a wish the bar is shown if the standard error is a terminal.
    """
    if wanted is False:
        yield _ignore, _ignore
        return
    # Only here: whoever trains in the background does not pay for the import.
    import rich.console
    import rich.progress

    console = rich.console.Console(stderr=True)
    if wanted is None and not console.is_terminal:
        yield _ignore, _ignore
        return
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(bar_width=24),
        rich.progress.TextColumn("{task.fields[words]}"),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TimeRemainingColumn(),
    )
    with rich.progress.Progress(*columns, console=console) as bars:
        task = bars.add_task("training", total=epochs, words="")

        def show(record: EpochRecord) -> None:
            bars.update(task, completed=record.epoch, words=summary(record))

        yield show, lambda done: bars.update(task, completed=done)


def _ignore(_: object) -> None:
    """Show nothing."""


def summary(record: EpochRecord) -> str:
    """Write epoch, loss, validation metric and rate; means over the members in training."""
    words = [f"epoch {record.epoch}/{record.epochs}", f"loss {_mean(record.loss):.4g}"]
    if record.metric is not None:
        words.append(f"validation {_mean(record.metric):.4g}")
    words.append(f"rate {_mean(record.rate):.3g}")
    running = sum(loss is not None for loss in record.loss)
    if len(record.loss) > 1:
        words.append(f"{running}/{len(record.loss)} members")
    return "  ".join(words)


def _mean(values: tuple[float | None, ...]) -> float:
    found = [value for value in values if value is not None]
    return sum(found) / len(found)
