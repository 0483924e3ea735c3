"""The page of the weight-decay experiment, made from its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from selfnorm import theory
from selfnorm.experiments._words import accuracy_with_spread, listed
from selfnorm.report import Page, Panel, Section, Series, Table, format_number, line_chart, palette

__all__ = ["markdown", "render", "table_of"]

Record = Mapping[str, Any]
Row = tuple[str | float | None, ...]

COLUMNS: Final = (
    "arm", "test accuracy", "training loss", "τ at the end", "leaves the range",
    "variance, last layer",
)  # fmt: skip
_RANGE: Final = theory.weight_scale_range("selu", form="mean_field") or (0.0, 0.0)


def table_of(record: Record) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """Return heads and rows of the summary table."""
    rows: list[Row] = []
    for arm in record["arms"]:
        losses = [curve[-1] for curve in arm["loss_by_seed"] if curve[-1] is not None]
        rows.append(
            (
                arm["name"],
                accuracy_with_spread([curve[-1] for curve in arm["accuracy_by_seed"]]),
                sum(losses) / len(losses) if losses else None,
                arm["tau"][-1],
                _left(arm, record["config"]),
                arm["var_last"],
            )
        )
    return COLUMNS, tuple(rows)


def _left(arm: Record, config: Record) -> str:
    epochs = sorted(epoch for epoch in arm["left_epoch"] if epoch is not None)
    if not epochs:
        return "never"
    which = f"epoch {epochs[0]}" if epochs[0] == epochs[-1] else f"epochs {epochs[0]}–{epochs[-1]}"
    seeds = config["seeds"]
    return which if len(epochs) == seeds else f"{which} ({len(epochs)} of {seeds} seeds)"


def render(record: Record) -> str:
    """Return the page of a record with at least one arm as HTML text."""
    config, arms = record["config"], record["arms"]
    low, high = _RANGE
    styles = palette([arm["name"] for arm in arms])
    epochs = range(1, config["epochs"] + 1)
    layers = range(1, config["depth"] + 1)
    limits = [("lower end", low), ("upper end", high)]
    sections = [
        Section("The arms", [protocol(record)], table=Table(*table_of(record)), see=_see(arms)),
        Section(
            "The sum of squared weights",
            ["τ, the sum of a unit's squared weights, mean over the hidden units."],
            figure=line_chart(
                [
                    Panel(
                        "While training", "epoch", "τ",
                        [Series(arm["name"], epochs, arm["tau"]) for arm in arms],
                        y_scale="log", references=limits,
                    ),
                    Panel(
                        "At the end, by layer (first seed)", "layer", "τ",
                        _by_layer(arms, layers, "tau_by_layer"),
                        y_scale="log", references=limits,
                    ),
                ],
                alt="Sum of squared weights by epoch and by layer, with the range SELU needs",
                styles=styles,
            ),
            see="Between the lines SELU holds the variance of independent weights; below them it "
            "dies out, above them it grows.",
        ),
        Section(
            "What arrives",
            ["Variance of the hidden layers after training, and accuracy while training."],
            figure=line_chart(
                [
                    Panel(
                        "Variance (first seed)", "layer", "variance",
                        _by_layer(arms, layers, "var_by_layer"), y_scale="log",
                    ),
                    Panel(
                        "Test accuracy", "epoch", "accuracy",
                        [Series(a["name"], epochs, _mean_curve(a)) for a in arms],
                        y_limits=(0.0, 1.0),
                    ),
                ],
                alt="Variance by layer after training, accuracy by epoch",
                styles=styles,
            ),
            see="Training changes weights in directions of its own: a trained net's weights are "
            "not independent, so a τ outside the range is a warning and no verdict.",
        ),
    ]  # fmt: skip
    return Page(
        "SELU and weight decay",
        "How far a weight decay pulls the sums of squared weights, and what follows.",
        sections,
        verdict=_verdict(record),
        environment=record["environment"],
        command=command(config),
    ).html()


def markdown(record: Record) -> str:
    """Return command, protocol and table, for the documentation."""
    columns, rows = table_of(record)
    lines = [columns, ["---"] * len(columns), *Table(list(columns), rows).cells]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    text = [f"```\n{command(record['config'])}\n```", protocol(record), body, _verdict(record)]
    return "\n\n".join(text) + "\n"


def protocol(record: Record) -> str:
    """Return what all arms have in common."""
    config = record["config"]
    return (
        f"Digits, standardised; {config['depth']} hidden SELU layers of {config['width']} units, "
        f"LeCun normal; batches of {config['batch_size']}, {config['epochs']} epochs; SGD with "
        f"momentum 0.9 and rate {config['lr_sgd']}, AdamW with rate {config['lr_adamw']}, "
        f"constant; {config['seeds']} seeds. The number in an arm's name is its weight decay; "
        "“project” sets the rows of the hidden layers to length 1 after each step, “pull” pulls "
        f"them there with strength {config['pull']}."
    )


def command(config: Record) -> str:
    """Return the command line that makes the record again."""
    keys = ("depth", "width", "epochs", "batch_size", "lr_sgd", "lr_adamw", "seed", "seeds")
    words = [f"--{key.replace('_', '-')} {config[key]}" for key in keys]
    return " ".join(
        ["selfnorm experiment weight-decay", *words, f"--arms {','.join(config['arms'])}"]
    )


def _by_layer(arms: Sequence[Record], layers: Sequence[int], key: str) -> list[Series]:
    return [Series(arm["name"], layers, arm[key]) for arm in arms if arm[key]]


def _mean_curve(arm: Record) -> list[Any]:
    curves = []
    for values in zip(*arm["accuracy_by_seed"], strict=True):
        known = [value for value in values if value is not None]
        curves.append(sum(known) / len(known) if known else None)
    return curves


def _final(arm: Record) -> float | None:
    value: float | None = _mean_curve(arm)[-1]
    return value


def _see(arms: Sequence[Record]) -> str:
    known = [(accuracy, arm["name"]) for arm in arms if (accuracy := _final(arm)) is not None]
    if not known:
        return "No arm ended with a finite loss."
    best, worst = max(known), min(known)
    return (
        f"{best[1]} ends best ({100 * best[0]:.1f} %), {worst[1]} worst ({100 * worst[0]:.1f} %)."
    )


def _verdict(record: Record) -> str:
    arms = record["arms"]
    left = [arm["name"] for arm in arms if any(e is not None for e in arm["left_epoch"])]
    low, high = _RANGE
    text = [] if record["complete"] else ["Not finished: the arms done so far are shown."]
    limits = f"({format_number(low, 3)}, {format_number(high, 3)})"
    if left:
        text.append(f"The mean τ leaves {limits} in {listed(left)}.")
    else:
        text.append(f"The mean τ stays within {limits} in every arm.")
    return " ".join(text)
