"""The page of the depth experiment, made from its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from selfnorm.experiments._rival_nets import net_named
from selfnorm.experiments._rival_words import (
    accuracy_words,
    loss_words,
    ranking,
    rate_words,
    score,
)
from selfnorm.experiments._words import chance_limit, listed, outcome, percent, trains_from
from selfnorm.report import (
    Choice,
    Figure,
    Frame,
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

COLUMNS: Final = ("depth", "arm", "accuracy", "loss", "rate", "seconds", "outcome")


def table_of(record: Record) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """Return heads and rows of the summary table: one row per depth and arm."""
    config = record["config"]
    limit = chance_limit(config["chance"], config["test_size"])
    rows = tuple(
        (
            net["depth"],
            net["arm"],
            accuracy_words(net),
            loss_words(net),
            rate_words(net),
            float(f"{net['seconds']:.3g}"),
            outcome(score(net), net["diverged"], config["seeds"], limit),
        )
        for net in record["arms"]
    )
    return COLUMNS, rows


def render(record: Record) -> str:
    """Return the page of a record with at least one net as HTML text."""
    config, nets = record["config"], record["arms"]
    styles = palette(config["arms"])
    depths = list(dict.fromkeys(net["depth"] for net in nets))
    frames = [_frame([net for net in nets if net["depth"] == depth], styles) for depth in depths]
    sections = [
        Section(
            "Accuracy against depth",
            [_protocol(config), *_arms_in_words(config)],
            figure=_accuracies(nets, config, styles),
            see=_see_accuracy(nets, depths),
        ),
        Section(
            "Signal and gradient before training",
            [
                "Left: the variance of each layer's output. Middle: the correlation of different "
                "images, the share of the second moment that they have in common: at 1 the net "
                "cannot tell them apart any more. Right: the norm of the weight gradient. A net "
                "that trains needs all three within reach from the first layer to the last."
            ],
            figure=frames[0].figure
            if len(frames) == 1
            else Choice("depth", frames, chosen=frames[-1].label),
            see=frames[0].see
            if len(frames) == 1
            else "The buttons choose the depth; the sentence above belongs to it.",
        ),
        Section(
            "All nets",
            [
                f"“Stays at chance” is an accuracy of at most {percent(_limit(config))}, “trains” "
                f"one of at least {percent(trains_from(_limit(config)))}. A rate marked as lowest "
                "or highest is an end of the grid."
            ],
            table=Table(*table_of(record)),
            see=f"All nets took {format_number(sum(n['seconds'] for n in nets), 3)} seconds.",
        ),
    ]
    return Page(
        "How deep does a plain net train?",
        "Fully connected nets without skip connections, from "
        f"{config['depths'][0]} to {config['depths'][-1]} hidden layers on {config['data']}.",
        sections,
        verdict=_verdict(record),
        environment={**record["environment"], "data": config["data_source"]},
        command=_command(config),
    ).html()


def _limit(config: Record) -> float:
    return chance_limit(config["chance"], config["test_size"])


def _command(config: Record) -> str:
    words = [f"selfnorm experiment depth --data {config['data']}"]
    for key in ("depths", "arms", "lrs"):
        words.append(f"--{key} {','.join(str(value) for value in config[key])}")
    words += [f"--{key} {config[key]}" for key in ("width", "epochs", "seed", "seeds")]
    words.append(f"--batch-size {config['batch_size']}")
    words.append(f"--train-size {config['train_size'] + config['validation_size']}")
    return " ".join(words)


def _protocol(config: Record) -> str:
    rates = listed(f"{lr:g}" for lr in config["lrs"])
    seeds = config["seeds"]
    return (
        f"{config['width']} units a layer, {config['train_size']:,} training images, "
        f"{config['validation_size']:,} to choose among the learning rates {rates}, "
        f"{config['test_size']:,} to test; SGD with momentum {config['momentum']:g}, batches of "
        f"{config['batch_size']}, {config['epochs']} epochs, the rate falling along half a cosine; "
        + (f"means over {seeds} seeds." if seeds > 1 else "one seed.")
    )


def _arms_in_words(config: Record) -> list[str]:
    texts = [f"{name}: {net_named(name).words}" for name in config["arms"]]
    return ["The arms are " + "; ".join(texts) + "."]


def _accuracies(nets: Sequence[Record], config: Record, styles: Mapping[str, Style]) -> Figure:
    lines = []
    for arm in dict.fromkeys(net["arm"] for net in nets):
        mine = [net for net in nets if net["arm"] == arm]
        # A net that diverged answers no better than chance, and its place is to be seen.
        values = np.array([score(net) or config["chance"] for net in mine], dtype=float)
        lines.append(Series(arm, [net["depth"] for net in mine], values))
    panel = Panel(
        "Test accuracy",
        "hidden layers",
        "accuracy; diverged nets at chance",
        lines,
        x_scale="log",
        y_limits=(0.0, 1.0),
        references=[("chance", config["chance"])],
    )
    return line_chart([panel], alt="Test accuracy by depth for each arm", styles=styles)


def _signals(nets: Sequence[Record], styles: Mapping[str, Style]) -> Figure:
    def lines(key: str) -> list[Series]:
        return [
            Series(
                net["arm"],
                [layer["layer"] for layer in net["layers"]],
                np.array([layer[key] for layer in net["layers"]], dtype=float),
            )
            for net in nets
        ]

    return line_chart(
        [
            Panel("Variance", "layer", "variance", lines("var"), y_scale="log"),
            Panel(
                "Correlation of different images",
                "layer",
                "share in common",
                lines("correlation"),
                y_limits=(-0.02, 1.02),
            ),
            Panel("Weight gradient", "layer", "Euclidean norm", lines("grad_norm"), y_scale="log"),
        ],
        alt="Variance, correlation and gradient by layer before training for each arm",
        styles=styles,
    )


def _see_accuracy(nets: Sequence[Record], depths: Sequence[int]) -> str:
    parts = [
        f"{depth} layers: {ranking([net for net in nets if net['depth'] == depth])}"
        for depth in depths
    ]
    return ". ".join(parts) + "."


def _frame(nets: Sequence[Record], styles: Mapping[str, Style]) -> Frame:
    """Return the pictures of the nets of one depth, and what to see in them."""
    parts = []
    for net in nets:
        first, last = net["layers"][0], net["layers"][-1]
        common = last["correlation"]
        text = "no signal" if common is None else f"correlation {format_number(common, 3)}"
        if first["grad_norm"] and last["grad_norm"]:
            ratio = first["grad_norm"] / last["grad_norm"]
            text += f", gradient of the first layer {format_number(ratio, 2)} times the last's"
        else:
            text += ", no finite gradient in the first or last layer"
        parts.append(f"{net['arm']}: {text}")
    depth = nets[0]["depth"]
    see = f"In the last of {depth} layers: " + "; ".join(parts) + "."
    return Frame(f"{depth} layers", _signals(nets, styles), see=see)


def _verdict(record: Record) -> str:
    """Return for each arm how deep it trains."""
    config = record["config"]
    least = trains_from(_limit(config))
    texts = [] if record["complete"] else ["Not finished: the nets done so far are shown."]
    for arm in dict.fromkeys(net["arm"] for net in record["arms"]):
        good = [net for net in record["arms"] if net["arm"] == arm and (score(net) or 0.0) >= least]
        if not good:
            texts.append(f"{arm} trains at none of the depths.")
            continue
        deepest = max(good, key=lambda net: int(net["depth"]))
        texts.append(
            f"{arm} trains up to {deepest['depth']} layers ({percent(score(deepest) or 0.0)})."
        )
    return " ".join(texts)
