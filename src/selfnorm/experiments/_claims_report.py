"""The page of the claims experiment, made from its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from selfnorm.experiments._claims_variants import CLAIMS
from selfnorm.experiments._rival_words import (
    accuracy_words,
    banded,
    best_of,
    loss_words,
    rate_words,
    score,
    ties,
)
from selfnorm.experiments._words import listed, percent
from selfnorm.report import (
    Figure,
    Page,
    Panel,
    Section,
    Series,
    Table,
    format_number,
    line_chart,
    palette,
)

__all__ = ["render", "table_of"]

Record = Mapping[str, Any]
Row = tuple[str | float | None, ...]

COLUMNS: Final = (
    "claim",
    "variant",
    "accuracy",
    "half-way",
    "loss",
    "rate",
    "var",
    "theory",
    "corr",
    "dead",
    "dead, worst",
)


def table_of(record: Record) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """Return heads and rows of the summary table: one row per variant."""
    return COLUMNS, tuple((one["claim"], *_row(one)) for one in record["arms"])


def _row(one: Record) -> Row:
    kept: Record = next((c for c in one["candidates"] if c["lr"] == one["lr"]), {})
    worst = [c["dead"] for c in one["candidates"] if c.get("dead") is not None]
    return (
        one["variant"],
        accuracy_words(one),
        _digits(one["half_loss"]),
        loss_words(one),
        rate_words(one),
        _digits(one["init_var"]),
        _digits(one["predicted_var"]),
        _digits(one["init_correlation"]),
        _share(kept.get("dead")),
        _share(max(worst) if worst else None),
    )


def render(record: Record) -> str:
    """Return the page of a record with at least one variant as HTML text."""
    config, variants = record["config"], record["arms"]
    named = dict.fromkeys(one["claim"] for one in variants)
    groups = {name: [one for one in variants if one["claim"] == name] for name in named}
    sections = [_section(name, group, config) for name, group in groups.items()]
    return Page(
        "Claims about ELU and SELU, measured",
        "For each claim nets that differ in the one thing claimed, each at its own best learning "
        "rate.",
        sections,
        verdict=_verdict(record, groups),
        environment={**record["environment"], "data": config["data_source"]},
        command=_command(config),
    ).html()


def _section(name: str, group: Sequence[Record], config: Record) -> Section:
    texts = [_protocol(config)] if name == config["names"][0] else []
    words = "; ".join(f"{one['variant']}: {one['words']}" for one in group)
    return Section(
        f"“{CLAIMS[name]}”",
        [*texts, f"{words}."],
        figure=_curves(group),
        table=Table(COLUMNS[1:], [_row(one) for one in group]),
        see=_see(group, config),
    )


def _curves(group: Sequence[Record]) -> Figure:
    def lines(key: str) -> list[Series]:
        return [banded(one["variant"], one[f"{key}_by_seed"]) for one in group]

    return line_chart(
        [
            Panel("Training loss", "epoch", "cross-entropy, nats", lines("loss"), y_scale="log"),
            Panel("Test accuracy", "epoch", "accuracy", lines("accuracy"), y_limits=(0.0, 1.0)),
        ],
        alt="Training loss and test accuracy by epoch for each variant",
        styles=palette([one["variant"] for one in group]),
    )


def _see(group: Sequence[Record], config: Record) -> str:
    best = best_of(group)
    if best is None:
        return "Every variant diverges at every rate."
    equal = [one["variant"] for one in ties(group, config["test_size"])]
    worse = [one for one in group if one["variant"] not in equal]
    text = f"Best is {best['variant']} ({percent(score(best) or 0.0)})"
    others = [name for name in equal if name != best["variant"]]
    if others:
        text += f"; {listed(others)} cannot be told from it"
    if worse:
        parts = [
            f"{one['variant']} ({'diverged' if score(one) is None else percent(score(one) or 0.0)})"
            for one in worse
        ]
        text += f"; behind: {listed(parts)}"
    lowest = [one for one in group if loss_words(one) is not None]
    if lowest:
        first = min(lowest, key=lambda one: float(one["loss"][-1]))
        text += (
            f". Lowest training loss: {first['variant']} ({format_number(first['loss'][-1], 2)})"
        )
    return f"{text}."


def _verdict(record: Record, groups: Mapping[str, Sequence[Record]]) -> str:
    texts = [] if record["complete"] else ["Not finished: the variants done so far are shown."]
    for name, group in groups.items():
        best = best_of(group)
        if best is None:
            texts.append(f"{name}: nothing trains.")
            continue
        equal = ties(group, record["config"]["test_size"])
        texts.append(
            f"{name}: best {best['variant']}, {percent(score(best) or 0.0)}"
            + (f", {len(equal)} of {len(group)} alike." if len(group) > 1 else ".")
        )
    return " ".join(texts)


def _protocol(config: Record) -> str:
    rates = listed(f"{lr:g}" for lr in config["lrs"])
    return (
        f"{config['depth']} hidden layers of {config['width']} units; {config['train_size']:,} "
        f"training images, {config['validation_size']:,} to choose among the rates {rates}, "
        f"{config['test_size']:,} to test; SGD with momentum {config['momentum']:g}, batches of "
        f"{config['batch_size']}, {config['epochs']} epochs; {config['seeds']} seeds, bands from "
        "the lowest to the highest. “Half-way” is the training loss after half of the epochs. "
        "“var” is the variance of the last hidden layer before training, “theory” what mean field "
        "predicts for it, “corr” the correlation of different images there. “Dead” is the share of "
        "hidden units that no longer vary over the training images, at the rate that was chosen, "
        "and at the worst of the rates at which the net stayed finite."
    )


def _command(config: Record) -> str:
    words = [f"selfnorm experiment claims --data {config['data']}"]
    for key in ("names", "lrs"):
        words.append(f"--{key} {','.join(str(value) for value in config[key])}")
    for key in ("depth", "width", "epochs", "batch_size", "seed", "seeds"):
        words.append(f"--{key.replace('_', '-')} {config[key]}")
    words.append(f"--train-size {config['train_size'] + config['validation_size']}")
    return " ".join(words)


def _digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


def _share(value: float | None) -> str | None:
    return None if value is None else percent(value)
