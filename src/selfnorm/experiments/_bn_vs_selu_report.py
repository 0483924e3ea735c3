"""The page of the bn-vs-selu experiment, made from its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from selfnorm.experiments._rival_nets import net_named
from selfnorm.experiments._rival_words import (
    accuracy_words,
    banded,
    best_of,
    loss_words,
    mebibytes,
    ranking,
    rate_words,
    score,
    ties,
)
from selfnorm.experiments._words import chance_limit, listed, outcome, percent
from selfnorm.report import (
    Figure,
    Page,
    Panel,
    Section,
    Series,
    Style,
    Table,
    format_number,
    line_chart,
    palette,
)

__all__ = ["render", "table_of"]

Record = Mapping[str, Any]
Row = tuple[str | float | None, ...]

COLUMNS: Final = (
    "arm",
    "depth",
    "batch",
    "accuracy",
    "loss",
    "rate",
    "s/epoch",
    "MiB kept",
    "outcome",
)
_RIVAL: Final = "relu-bn"
_SELU: Final = ("selu", "selu-matched", "ws-selu")
# What the command line repeats; the others follow from the preset and the data.
_OPTIONS: Final = ("data", "model", "preset", "width", "epochs", "small_epochs", "seed", "seeds")


def table_of(record: Record) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """Return heads and rows of the summary table: one row per cell."""
    config = record["config"]
    limit = chance_limit(config["chance"], config["test_size"])
    rows = []
    for cell in record["arms"]:
        if cell["refused"]:
            ended = "cannot train"
        else:
            ended = outcome(score(cell), cell["diverged"], config["seeds"], limit)
        seconds = cell["epoch_seconds"]
        rows.append(
            (
                cell["arm"],
                cell["depth"],
                cell["batch_size"],
                accuracy_words(cell),
                loss_words(cell),
                rate_words(cell),
                None if seconds is None else float(f"{seconds:.2g}"),
                mebibytes(cell["saved_bytes"]),
                ended,
            )
        )
    return COLUMNS, tuple(rows)


def render(record: Record) -> str:
    """Return the page of a record with at least one cell as HTML text."""
    config, cells = record["config"], record["arms"]
    styles = palette(config["arms"])
    deep = _deep(record)
    sections = [
        Section(
            "Training loss",
            [_protocol(config), *_arms_in_words(config)],
            figure=_curves(deep, config, styles, "loss"),
            see=_see_loss(deep, config),
        ),
        Section(
            "Test accuracy",
            ["The same nets on the test images, which choose nothing."],
            figure=_curves(deep, config, styles, "accuracy"),
            see=_see_accuracy(deep, config),
        ),
        *_small_batches(record, styles),
        *_costs(deep, styles),
        Section(
            "All cells", _reading(config), table=Table(*table_of(record)), see=_see_rates(cells)
        ),
    ]
    return Page(
        f"SELU or batch norm: {_words(config)} on {config['data']}",
        "Plain nets without skip connections that differ in what keeps their activations "
        "normalised; each at its own best learning rate from one grid.",
        sections,
        verdict=_verdict(record),
        environment={**record["environment"], "data": config["data_source"]},
        command=_command(config),
    ).html()


def _words(config: Record) -> str:
    return "fully connected nets" if config["model"] == "mlp" else "convolutional nets"


def _command(config: Record) -> str:
    """Return the command line that makes the page again."""
    words = [f"--{key.replace('_', '-')} {config[key]}" for key in _OPTIONS]
    for key in ("arms", "depths", "batch_sizes", "lrs"):
        values = ",".join(f"{value}" for value in config[key])
        words.append(f"--{key.replace('_', '-')} {values}")
    words.append(f"--train-size {config['train_size'] + config['validation_size']}")
    words.append(f"--test-size {config['test_size']}")
    if config["model"] == "cnn":
        words.append(f"--stages {config['stages']}")
    words.append("--augment" if config["augment"] else "--no-augment")
    return " ".join(["selfnorm experiment bn-vs-selu", *words])


def _protocol(config: Record) -> str:
    wide = (
        f"{config['width']} units a layer"
        if config["model"] == "mlp"
        else f"3×3 convolutions, {config['width']} channels in the first of {config['stages']} "
        "stages, twice as many in each next one"
    )
    many = len(config["lrs"]) > 1
    rates = listed(f"{lr:g}" for lr in config["lrs"])
    descent = "the summed loss" if config["summed"] else "the mean loss"
    return (
        f"{wide}; {config['train_size']:,} training images, {config['validation_size']:,} to "
        f"validate, {config['test_size']:,} to test; "
        + ("random crops and flips; " if config["augment"] else "")
        + f"SGD with momentum {config['momentum']:g} on {descent}, {config['epochs']} epochs, "
        + ("the rate falling along half a cosine; " if config["schedule"] == "cosine" else "")
        + (
            f"every arm is trained at the rates {rates} and the best by validation accuracy is kept"
            if many
            else f"learning rate {rates} for every arm"
        )
        + (
            f"; lines are means over {config['seeds']} seeds, bands reach from the lowest to the "
            "highest."
            if config["seeds"] > 1
            else "; one seed."
        )
    )


def _arms_in_words(config: Record) -> list[str]:
    texts = [f"{name}: {net_named(name).words}" for name in config["arms"]]
    place = "behind" if config["norm_after"] else "before"
    normed = any(net_named(name).norm != "none" for name in config["arms"])
    tail = f". Normalisation stands {place} the activation." if normed else "."
    return ["The arms are " + "; ".join(texts) + tail]


def _deep(record: Record) -> dict[int, list[Record]]:
    """Return the cells at the largest batch size by depth."""
    largest = max(record["config"]["batch_sizes"])
    cells = [cell for cell in record["arms"] if cell["batch_size"] == largest]
    depths = dict.fromkeys(cell["depth"] for cell in cells)
    return {depth: [cell for cell in cells if cell["depth"] == depth] for depth in depths}


def _curves(
    deep: Mapping[int, Sequence[Record]], config: Record, styles: Mapping[str, Style], key: str
) -> Figure | None:
    panels = []
    for depth, cells in deep.items():
        series = [
            banded(cell["arm"], cell[f"{key}_by_seed"]) for cell in cells if not cell["refused"]
        ]
        if not series:
            continue
        if key == "loss":
            panels.append(
                Panel(f"{depth} layers", "epoch", "cross-entropy, nats", series, y_scale="log")
            )
        else:
            panels.append(
                Panel(
                    f"{depth} layers",
                    "epoch",
                    "accuracy",
                    series,
                    y_limits=(0.0, 1.0),
                    references=[("chance", config["chance"])],
                )
            )
    if not panels:
        return None
    words = "Training loss" if key == "loss" else "Test accuracy"
    return line_chart(panels, alt=f"{words} by epoch, a panel for each depth", styles=styles)


def _see_loss(deep: Mapping[int, Sequence[Record]], config: Record) -> str:
    parts = []
    for depth, cells in deep.items():
        known = [cell for cell in cells if loss_words(cell) is not None]
        if known:
            first = min(known, key=lambda cell: float(cell["loss"][-1]))
            text = (
                f"{depth} layers: {first['arm']} ends lowest ({format_number(first['loss'][-1], 2)}"
            )
            rival = next((cell for cell in known if cell["arm"] == _RIVAL), None)
            if rival is not None and rival is not first:
                text += f"; {_RIVAL} {format_number(rival['loss'][-1], 2)}"
            parts.append(f"{text})")
    return ". ".join(parts) + "." if parts else "No net ended with a finite loss."


def _see_accuracy(deep: Mapping[int, Sequence[Record]], config: Record) -> str:
    parts = []
    for depth, cells in deep.items():
        parts.append(f"{depth} layers: {ranking(cells)}")
    return ". ".join(parts) + "."


def _small_batches(record: Record, styles: Mapping[str, Style]) -> list[Section]:
    """Return the section on batch sizes, nothing if there is but one."""
    config = record["config"]
    if len(config["batch_sizes"]) < 2:
        return []
    depth = min(config["depths"])
    cells = [cell for cell in record["arms"] if cell["depth"] == depth]
    lines = []
    for arm in config["arms"]:
        mine = sorted(
            (cell for cell in cells if cell["arm"] == arm), key=lambda cell: int(cell["batch_size"])
        )
        if mine:
            sizes = [cell["batch_size"] for cell in mine]
            lines.append(Series(arm, sizes, np.array([score(cell) for cell in mine], dtype=float)))
    refused = [cell for cell in cells if cell["refused"]]
    parts = [
        f"batch {size}: {ranking([cell for cell in cells if cell['batch_size'] == size])}"
        for size in sorted({cell["batch_size"] for cell in cells})
    ]
    text = ". ".join(parts) + "."
    if refused:
        text += " " + " ".join(
            f"{cell['arm']} cannot train on batches of {cell['batch_size']}: torch says "
            f"“{cell['refused']}”."
            for cell in refused
        )
    largest = max(config["batch_sizes"])
    return [
        Section(
            "Small batches",
            [
                f"Nets of {depth} layers; the learning rates are multiplied by the batch size "
                f"over {largest}. Epochs: {config['small_epochs']}, and {config['epochs']} at "
                f"batches of {largest}; so compare arms at one batch size rather than sizes.",
            ],
            figure=line_chart(
                [
                    Panel(
                        "Test accuracy after training",
                        "rows per batch",
                        "accuracy",
                        lines,
                        x_scale="log",
                        y_limits=(0.0, 1.0),
                        references=[("chance", config["chance"])],
                    )
                ],
                alt="Test accuracy by batch size for each arm",
                styles=styles,
            ),
            see=text[0].upper() + text[1:],
        )
    ]


def _costs(deep: Mapping[int, Sequence[Record]], styles: Mapping[str, Style]) -> list[Section]:
    """Return the section on time and memory, nothing if nothing was trained."""

    def lines(key: str, factor: float = 1.0) -> list[Series]:
        arms = dict.fromkeys(cell["arm"] for cells in deep.values() for cell in cells)
        found = []
        for arm in arms:
            points = [
                (depth, cell[key] * factor)
                for depth, cells in deep.items()
                for cell in cells
                if cell["arm"] == arm and cell[key] is not None
            ]
            if points:
                found.append(Series(arm, *zip(*points, strict=True)))
        return found

    if not lines("epoch_seconds"):
        return []
    panels = [
        Panel("Time", "hidden layers", "seconds per epoch", lines("epoch_seconds")),
        Panel("Kept for backward", "hidden layers", "MiB a step", lines("saved_bytes", 2**-20)),
        Panel("Peak of a step", "hidden layers", "MiB", lines("peak_bytes", 2**-20)),
    ]
    cells = deep[max(deep)]
    rival = next((cell for cell in cells if cell["arm"] == _RIVAL and cell["epoch_seconds"]), None)
    selu = next((cell for cell in cells if cell["arm"] == "selu" and cell["epoch_seconds"]), None)
    text = "Evaluation is not counted, gradients are."
    if rival and selu:
        time = selu["epoch_seconds"] / rival["epoch_seconds"]
        kept = selu["saved_bytes"] / rival["saved_bytes"]
        text = (
            f"At {max(deep)} layers selu takes {format_number(time, 2)} times the time of {_RIVAL} "
            f"and keeps {format_number(kept, 2)} times as much for the backward pass. {text}"
        )
    return [
        Section(
            "Time and memory",
            ["Median time of an epoch's steps; memory of one step by torch's own allocations."],
            figure=line_chart(panels, alt="Time and memory by depth for each arm", styles=styles),
            see=text,
        )
    ]


def _reading(config: Record) -> list[str]:
    limit = chance_limit(config["chance"], config["test_size"])
    return [
        "Accuracy on the test images with its standard deviation over the seeds; training loss of "
        "the last epoch in nats. "
        f"“Stays at chance” is an accuracy of at most {percent(limit)}. A rate marked as lowest or "
        "highest is an end of the grid: a wider one might do better. “MiB kept” is what autograd "
        "holds for the backward pass of one step."
    ]


def _see_rates(cells: Sequence[Record]) -> str:
    ends = [cell["name"] for cell in cells if cell["lr_at_end"] and cell["lr"] is not None]
    trained = [cell for cell in cells if cell["lr"] is not None]
    if not trained:
        return "No net trained."
    return (
        f"The best rate is an end of the grid in {len(ends)} of {len(trained)} trained cells."
        if len(cells[0]["candidates"]) > 1
        else "One rate for all."
    )


def _verdict(record: Record) -> str:
    """Return per depth who is best, and where SELU stands against batch norm."""
    config = record["config"]
    parts = [] if record["complete"] else ["Not finished: the cells done so far are shown."]
    for depth, cells in _deep(record).items():
        best = best_of(cells)
        if best is None:
            parts.append(f"At {depth} layers no net trains.")
            continue
        equal = [cell["arm"] for cell in ties(cells, config["test_size"])]
        text = (
            f"At {depth} layers the best test accuracy is {percent(score(best) or 0.0)} "
            f"({best['arm']})"
        )
        others = [arm for arm in equal if arm != best["arm"]]
        if others:
            text += f"; {listed(others)} cannot be told from it"
        rival = next((cell for cell in cells if cell["arm"] == _RIVAL), None)
        if rival is not None and _RIVAL not in equal:
            value = score(rival)
            text += f"; {_RIVAL} " + ("has no result" if value is None else f"has {percent(value)}")
        mine = best_of([cell for cell in cells if cell["arm"] in _SELU])
        if mine is not None and not set(equal) & set(_SELU):
            text += f"; the best SELU ({mine['arm']}) has {percent(score(mine) or 0.0)}"
        parts.append(f"{text}.")
    refused = [cell for cell in record["arms"] if cell["refused"]]
    if refused:
        names = listed(f"{cell['arm']} at batch {cell['batch_size']}" for cell in refused)
        parts.append(f"Cannot be trained at all: {names}.")
    return " ".join(parts)
