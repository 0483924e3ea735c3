"""The page of the recurrent experiment, made from its record."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from selfnorm.experiments._uses_report import (
    best_arms,
    by_depth,
    by_epoch,
    command,
    layer_panels,
    protocol,
    tests_of,
    with_spread,
)
from selfnorm.experiments._words import listed, percent
from selfnorm.report import Page, Panel, Section, Series, Style, Table, line_chart, palette

__all__ = ["render", "table_of"]

Record = Mapping[str, Any]
Row = tuple[str | float | None, ...]
Styles = Mapping[str, Style]

COLUMNS: Final = ("task", "steps", "arm", "test error", "learning rate", "seconds", "parameters")
_WORDS: Final = {
    "recall": "The first of {length} steps shows one of four symbols; noise follows, and after the "
    "last step the symbol is asked for. Guessing is wrong in three of four cases.",
    "adding": "Two of {length} numbers are marked, one in each half; their sum is asked for. The "
    "error is the share of its variance that is not explained.",
    "digits": "scikit-learn's digits, one pixel a step, line by line: {length} steps, of which the "
    "last are the lower edge of the image.",
}


def table_of(record: Record) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """Return heads and rows of the summary table: one row per task, length and arm."""
    rows = [
        (
            cell["task"],
            cell["length"],
            cell["arm"],
            with_spread(tests_of(cell, "error")) or "diverges",
            cell["lr"],
            round(cell["seconds"], 2),
            cell["parameters"],
        )
        for cell in record["arms"]
    ]
    return COLUMNS, tuple(rows)


def render(record: Record) -> str:
    """Return the page of a record with at least one cell as HTML text."""
    config, cells = record["config"], record["arms"]
    styles = palette(list(dict.fromkeys(cell["arm"] for cell in cells)))
    keys = list(dict.fromkeys((cell["task"], cell["length"]) for cell in cells))
    sections: list[Section] = []
    for task in dict.fromkeys(task for task, _ in keys):
        lengths = [length for name, length in keys if name == task]
        sections += _of_task(cells, task, lengths, styles, config, first=not sections)
    sections.append(
        Section(
            "All cells",
            table=Table(*table_of(record)),
            see="Seconds are the processor's for the training steps of one net, averaged over the "
            "seeds, on one thread. torch runs tanh, ReLU, LSTM and GRU over the steps in native "
            "code; SELURNN steps in Python.",
        )
    )
    return Page(
        "Recurrent nets that remember",
        "SELU and ELU recurrences that keep their moments beside tanh, ReLU with an identity "
        "recurrence, LSTM and GRU.",
        sections,
        verdict=_verdict(record, cells, keys),
        environment=record["environment"],
        command=command(
            "recurrent",
            config,
            ("tasks", "lengths", "arms", "lrs"),
            ("hidden", "epochs", "batch_size", "seed", "seeds"),
        ),
    ).html()


def _of_task(
    cells: Sequence[Record],
    task: str,
    lengths: Sequence[int],
    styles: Styles,
    config: Record,
    *,
    first: bool,
) -> list[Section]:
    mine = [cell for cell in cells if cell["task"] == task]
    longest = [cell for cell in mine if cell["length"] == lengths[-1]]
    chance = next(one["chance"] for one in config["tasks_done"] if one["task"] == task)
    panels = [
        Panel(
            f"Validation loss at {lengths[-1]} steps",
            "epoch",
            "loss",
            by_epoch(longest, "validation"),
            y_scale="log",
        )
    ]
    if len(lengths) > 1:
        error = Panel(
            "Test error by length",
            "steps per sequence",
            "test error",
            by_depth(mine, "error", x="length"),
            references=[("guessing", chance)],
        )
        panels.insert(0, error)
    text = [_WORDS[task].format(length=lengths[-1])]
    if first:
        text.append(
            f"One recurrent layer of {config['hidden']} units and a linear head. {protocol(config)}"
        )
    start = [
        Series(
            cell["arm"],
            np.arange(1, len(cell["layers"]) + 1),
            [layer["grad"] for layer in cell["layers"]],
        )
        for cell in longest
    ]
    return [
        Section(
            f"{task.capitalize()}: error",
            text,
            figure=line_chart(panels, alt=f"Test error and loss on {task}", styles=styles),
            see=_see_errors(mine, lengths),
        ),
        Section(
            f"{task.capitalize()}: the state, step by step, over {lengths[-1]} steps",
            [
                "The variance of the state, pooled over units and sequences, and the mean square "
                "of the loss's gradient by the state at the start, relative to the last step: "
                "what falls to zero to the left has no influence on learning. Dashed: theory."
            ],
            figure=line_chart(
                [
                    *layer_panels(longest, "step"),
                    Panel(
                        "Gradient at the start",
                        "step",
                        "mean square over that at the last step",
                        start,
                        y_scale="log",
                    ),
                ],
                alt=f"Variance of the state and gradient by step on {task}",
                styles=styles,
            ),
            see=_see_steps(longest),
        ),
    ]


def _verdict(record: Record, cells: Sequence[Record], keys: Sequence[tuple[str, int]]) -> str:
    texts = [] if record["complete"] else ["Not finished: the cells done so far are shown."]
    for task, length in keys:
        names = best_arms(
            [cell for cell in cells if (cell["task"], cell["length"]) == (task, length)], "error"
        )
        if not names:
            continue
        text = f"{task.capitalize()}, {length} steps: {names[0]} errs least"
        if names[1:]:
            text += f"; {listed(names[1:])} cannot be told from it with these seeds"
        texts.append(text + ".")
    return " ".join(texts) or "No net trains."


def _see_errors(cells: Sequence[Record], lengths: Sequence[int]) -> str:
    parts = []
    for length in lengths:
        found = [
            f"{cell['arm']} {percent(statistics.fmean(values))}"
            for cell in cells
            if cell["length"] == length and (values := tests_of(cell, "error"))
        ]
        parts.append(f"{length} steps: {', '.join(found) if found else 'all diverge'}")
    return f"Test error. {'; '.join(parts)}."


def _see_steps(cells: Sequence[Record]) -> str:
    parts = []
    for cell in cells:
        layers = cell["layers"]
        text = f"{cell['arm']} variance {layers[-1]['var']:.2g}"
        if "predicted_var" in layers[-1]:
            text += f" (predicted {layers[-1]['predicted_var']:.2g})"
        if layers[0]["grad"] is not None:
            text += f", gradient {layers[0]['grad']:.2g}"
        parts.append(text)
    return f"After the last step, and back at the first: {'; '.join(parts)}."
