"""How an experiment runs: part after part, each recorded when it is finished."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from selfnorm.experiments._environment import environment, one_thread
from selfnorm.experiments._progress import ProgressCallback, ProgressState, Watch
from selfnorm.experiments._records import ExperimentResult, Record, Recorder, Report

__all__ = ["Part", "run_parts"]


@dataclasses.dataclass(frozen=True)
class Part:
    """One arm or cell of an experiment.

    Attributes
    ----------
    name : str
        Its name in the record.
    run : callable
        ``run(watch)`` trains and returns what is recorded beside the name; it tells the watch of
        its steps.
    epochs, steps : int
        Epochs of a net, and steps of all its nets.
    """

    name: str
    run: Callable[[Watch], Record]
    epochs: int
    steps: int


def run_parts(
    experiment: str,
    parts: Sequence[Part],
    *,
    config: Mapping[str, Any],
    choice: Sequence[str],
    out: str | os.PathLike[str] | None,
    render: Callable[[Record], str],
    table_of: Callable[[Record], tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]]],
    progress: ProgressCallback | None,
    last: Callable[[Record], tuple[float | None, float | None]],
    diverged: Callable[[Record], bool] = lambda done: False,
) -> ExperimentResult:
    """Run the parts that no interrupted run had finished, in one thread, and record them all.

    Parameters
    ----------
    experiment : str
        Name of the experiment.
    parts : sequence of Part
        What to run, in this order.
    config : mapping
        Stored with the record; ``config["seed"]`` is the first seed.
    choice : sequence of str
        Keys of ``config`` that only choose parts, see `Recorder`.
    out : path-like or None
        Folder for the record and the page; None writes nothing.
    render : callable
        Makes the page of a record.
    table_of : callable
        Makes heads and rows of the summary table of a record.
    progress : callable or None
        Told of each step.
    last : callable
        Loss and accuracy of a part that is done, for its last progress event.
    diverged : callable
        Whether a part that was run now has diverged.

    Returns
    -------
    ExperimentResult
        Record, table and files.
    """
    recorder = Recorder(
        experiment,
        config=config,
        environment=environment() | {"threads": 1},
        choice=choice,
        report=None if out is None else Report(out, render),
    )
    with one_thread(), recorder:
        for index, part in enumerate(parts):
            watch = Watch(
                progress,
                arm=part.name,
                index=index,
                arms=len(parts),
                seed=config["seed"],
                epochs=part.epochs,
                total=part.steps,
            )
            done = recorder.previous(part.name)
            state: ProgressState = "resumed"
            if done is None:
                done = {"name": part.name, **part.run(watch)}
                state = "diverged" if diverged(done) else "finished"
            watch.end(*last(done), state)
            recorder.add(done, last=index == len(parts) - 1)
    columns, table = table_of(recorder.record)
    return ExperimentResult(recorder.record, columns, table, *recorder.paths)
