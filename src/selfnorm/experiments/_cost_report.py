"""The page of the cost experiment, made from its record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from selfnorm.experiments._cost_nets import COST_NETS
from selfnorm.experiments._rival_words import mebibytes
from selfnorm.report import Figure, Page, Section, Table, format_number, heatmap

__all__ = ["render", "table_of"]

Record = Mapping[str, Any]
Row = tuple[str | float | None, ...]

COLUMNS: Final = (
    "net",
    "arm",
    "step, ms",
    "quartiles",
    "of relu-bn",
    "forward, ms",
    "of it",
    "MiB kept",
    "MiB peak",
)
_RIVAL: Final = "relu-bn"
_MODELS: Final = {"mlp": "Fully connected", "cnn": "Convolutional"}
_PAIRS: Final = (
    ("selu", "relu-bn"),
    ("torch-selu", "relu-bn"),
    ("selu", "relu-ln"),
    ("selu", "relu"),
    ("selu-dropout", "relu-bn-dropout"),
    ("torch-selu-dropout", "relu-bn-dropout"),
)


def table_of(record: Record) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """Return heads and rows of the summary table: one row per size and arm."""
    rows = []
    for size in record["arms"]:
        for arm, found in size["results"].items():
            low, middle, high = (1e3 * value for value in found["step"])
            rows.append(
                (
                    size["name"],
                    arm,
                    float(f"{middle:.3g}"),
                    f"{low:.3g} – {high:.3g}",
                    _times(found["step_ratio"]),
                    float(f"{1e3 * found['forward'][1]:.3g}"),
                    _times(found["forward_ratio"]),
                    mebibytes(found["saved_bytes"]),
                    mebibytes(found["peak_bytes"]),
                )
            )
    return COLUMNS, tuple(rows)


def render(record: Record) -> str:
    """Return the page of a record with at least one size as HTML text."""
    config = record["config"]
    sections = [
        Section(
            "A training step",
            [_protocol(config), "The arms are " + _arms_in_words(config) + "."],
            figure=_map(record, "step_ratio", "time of a step divided by that of relu-bn"),
            see=_see(record, "step"),
        ),
        Section(
            "A prediction",
            [
                "The forward pass alone, in eval mode, where batch norm is an affine map with "
                "fixed numbers. (It could be merged into the layer before it; not done here.)"
            ],
            figure=_map(record, "forward_ratio", "time of a prediction divided by relu-bn's"),
            see=_see(record, "forward"),
        ),
        Section(
            "Memory",
            [
                "What autograd keeps between forward and backward pass, inputs and parameters not "
                "counted. The table has the peak of a step as well, gradients included, by torch's "
                "own allocations."
            ],
            figure=_map(record, "saved_bytes", "bytes kept, divided by those of relu-bn"),
            see=_see(record, "saved_bytes"),
        ),
        Section(
            "All rows",
            [
                "Median of a training step, its quartiles, and the median of its ratios to relu-bn "
                "in the same round; the same of a prediction."
            ],
            table=Table(*table_of(record)),
            see="Rows in which SELU loses are in it, as all others are.",
        ),
    ]
    return Page(
        "Is SELU cheaper than batch norm?",
        "Training steps and predictions of nets that differ in activation and normalisation, timed "
        "in turns in one process.",
        sections,
        verdict=_verdict(record),
        environment=record["environment"],
        command=_command(config),
    ).html()


def _command(config: Record) -> str:
    words = ["selfnorm experiment cost"]
    for key in ("models", "depths", "widths", "channels", "arms"):
        words.append(f"--{key} {','.join(str(value) for value in config[key])}")
    for key in ("image_size", "batch_size", "dropout", "rounds", "seed"):
        words.append(f"--{key.replace('_', '-')} {config[key]}")
    return " ".join(words)


def _protocol(config: Record) -> str:
    return (
        f"One thread and its CPU time, float32, batches of {config['batch_size']}; forward and "
        "backward pass of the "
        f"cross-entropy and a step of SGD. {config['rounds']} rounds; in each round every arm "
        "takes one sample, and each round begins with another arm. Shown are medians of the ratios "
        "round by round. An MLP has as many inputs as units; a CNN sees images of "
        f"{config['image_size']}×{config['image_size']} pixels, its second stage has twice the "
        "channels. “mlp, 8 × 64” has 8 hidden layers of 64 units. Dropout is "
        f"{config['dropout']:g}."
    )


def _arms_in_words(config: Record) -> str:
    return "; ".join(f"{name}: {COST_NETS[name].words}" for name in config["arms"])


def _value(size: Record, arm: str, key: str, rival: str = _RIVAL) -> float | None:
    """Return an arm's median or bytes relative to a rival's at one size."""
    results = size["results"]
    if arm not in results or rival not in results:
        return None
    if key == "saved_bytes":
        return float(results[arm][key] / results[rival][key])
    name = key.removesuffix("_ratio")
    if rival == _RIVAL:
        return float(results[arm][f"{name}_ratio"][1])
    return float(results[arm][name][1] / results[rival][name][1])


def _map(record: Record, key: str, label: str) -> Figure | None:
    """Draw arms against sizes, None without the arm that all are compared with."""
    arms, sizes = record["config"]["arms"], record["arms"]
    if _RIVAL not in arms:
        return None
    values = [[_value(size, arm, key) or math.nan for size in sizes] for arm in arms]
    return heatmap(
        values,
        list(arms),
        [size["name"] for size in sizes],
        row_title="arm",
        column_title="net",
        value_label=label,
        alt=f"{label[0].upper()}{label[1:]}, by arm and net",
        log=True,
    )


def _see(record: Record, key: str) -> str:
    parts = []
    for arm, rival in _PAIRS:
        spread = _spread([_value(size, arm, key, rival) for size in record["arms"]])
        if spread is not None:
            parts.append(f"{arm} {spread} times {rival}")
    if not parts:
        return "No two arms to compare."
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _verdict(record: Record) -> str:
    """Say for each kind of net what SELU costs beside batch norm."""
    texts = [] if record["complete"] else ["Not finished: the sizes done so far are shown."]
    for model in dict.fromkeys(size["model"] for size in record["arms"]):
        sizes = [size for size in record["arms"] if size["model"] == model]
        for arm, rival in (_PAIRS[0], _PAIRS[4]):
            step, forward, kept = (
                _spread([_value(size, arm, key, rival) for size in sizes])
                for key in ("step", "forward", "saved_bytes")
            )
            if step is not None:
                texts.append(
                    f"{_MODELS[model]}, {arm} beside {rival}: a training step takes {step} times "
                    f"as long, a prediction {forward} times, and {kept} times the memory is kept."
                )
    return " ".join(texts) or "No two arms to compare."


def _spread(ratios: list[float | None]) -> str | None:
    """Write the smallest and the largest ratio, None if there is none."""
    known = [ratio for ratio in ratios if ratio is not None]
    if not known:
        return None
    low, high = (format_number(end(known), 2) for end in (min, max))
    return low if low == high else f"{low} to {high}"


def _times(ratio: list[float] | None) -> str | None:
    return None if ratio is None else f"{ratio[1]:.2f}"
