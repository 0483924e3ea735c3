"""The pictures of a trained table model, made from its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from selfnorm.report._heatmap import heatmap
from selfnorm.report._line_chart import line_chart
from selfnorm.report._numbers import format_number
from selfnorm.report._page import Section
from selfnorm.report._series import Panel, Series
from selfnorm.report._tabular_bars import Bar, bars

__all__ = [
    "calibration_section",
    "curves_section",
    "errors_section",
    "health_section",
    "importance_section",
]

Record = Mapping[str, Any]

_SHOWN: Final = 20  # columns in the picture of importance


def curves_section(record: Record) -> Section:
    """Draw the training loss by epoch."""
    loss = record["curves"]["loss"]
    epochs = np.arange(1, len(loss) + 1)
    unit = "nats" if record["task"] == "classification" else "standardised target"
    first, last = format_number(loss[0], 3), format_number(loss[-1], 3)
    return Section(
        "Learning curve",
        ["The mean over the ensemble's members, with dropout, as the steps of training met it."],
        figure=line_chart(
            [Panel("Training loss", "epoch", f"loss, {unit}", [Series("training", epochs, loss)])],
            alt="Training loss by epoch",
        ),
        see=f"The loss went from {first} to {last} in {len(loss)} epochs"
        + ("; it was still falling at the end." if _falling(loss) else " and has levelled off."),
    )


def _falling(loss: list[float]) -> bool:
    """Tell whether the last tenth of the epochs won more than 2 % of the whole gain."""
    tail = max(1, len(loss) // 10)
    return len(loss) > tail and loss[-1 - tail] - loss[-1] > 0.02 * (max(loss) - min(loss))


def errors_section(record: Record) -> Section:
    """Draw the confusion matrix, or predicted against true values."""
    return _confusion(record) if record["task"] == "classification" else _residuals(record)


def _confusion(record: Record) -> Section:
    labels = [_named(label) for label in record["confusion"]["labels"]]
    counts = np.array(record["confusion"]["counts"], dtype=float)
    wrong = counts - np.diag(np.diag(counts))
    see = "Every held-out row is on the diagonal: no class was mistaken."
    if wrong.any():
        true, guess = np.unravel_index(int(wrong.argmax()), wrong.shape)
        count = int(wrong.max())
        times = "once" if count == 1 else f"{count:,} times"
        see = (
            f"Numbers off the diagonal are mistakes; the most frequent one, {times}, "
            f"took {labels[true]} for {labels[guess]}."
        )
    return Section(
        "Which classes are mistaken for which",
        figure=heatmap(
            counts,
            labels,
            labels,
            row_title="true class",
            column_title="predicted class",
            value_label="held-out rows",
            alt="Confusion matrix of the held-out rows",
            format="{:.0f}",
        ),
        see=see,
    )


def _named(label: str) -> str:
    """Return a label that can be seen, also where it is white space."""
    return label if label.strip() else repr(label)


def _residuals(record: Record) -> Section:
    actual = np.array(record["residuals"]["actual"], dtype=float)
    guess = np.array(record["residuals"]["predicted"], dtype=float)
    error = guess - actual
    span = np.array([min(actual.min(), guess.min()), max(actual.max(), guess.max())])
    bias = format_number(float(error.mean()), 3)
    shown = f"{len(actual):,} of {record['residuals']['rows']:,} held-out rows"
    return Section(
        "Predicted and true values",
        [f"Shown: {shown}."],
        figure=line_chart(
            [
                Panel(
                    "Predictions",
                    "true value",
                    "predicted value",
                    [
                        Series("held-out rows", actual, guess, kind="points"),
                        Series("perfect", span, span, kind="dashed"),
                    ],
                ),
                Panel(
                    "Errors",
                    "predicted value",
                    "predicted − true",
                    [Series("held-out rows", guess, error, kind="points")],
                    references=[("no error", 0.0)],
                ),
            ],
            alt="Predicted against true values, and errors against predicted values",
        ),
        see=f"Points near the dashed line are right; errors that lean or fan out along the "
        f"predicted value would show a bias (the mean error here is {bias}).",
    )


def calibration_section(record: Record) -> Section | None:
    """Draw how often predictions of a confidence are right; None for regression."""
    if record["task"] != "classification":
        return None
    bins, ece = record["calibration"]["bins"], record["calibration"]["ece"]
    confidence = [one["confidence"] for one in bins]
    right = Series(
        "model (95 % interval)",
        confidence,
        [one["accuracy"] for one in bins],
        [one["low"] for one in bins],
        [one["high"] for one in bins],
    )
    ends = [min(confidence[0], 0.5), 1.0]
    rows = sum(one["count"] for one in bins)
    surer = sum(one["count"] * (one["confidence"] - one["accuracy"]) for one in bins) / rows
    lean = "too sure of itself" if surer > 0 else "too cautious"
    return Section(
        "Are its probabilities honest?",
        [
            "Rows are grouped by the probability of the predicted class; the share of right "
            "predictions in each group should equal it. The expected calibration error (ECE) is "
            "the mean gap, weighted by rows.",
        ],
        figure=line_chart(
            [
                Panel(
                    "Reliability",
                    "probability of the predicted class",
                    "share of right predictions",
                    [right, Series("honest", ends, ends, kind="dashed")],
                    y_limits=(0.0, 1.02),
                )
            ],
            alt="Share of right predictions against predicted probability",
        ),
        see=f"ECE {format_number(ece, 2)}: on average the model is {lean} by "
        f"{format_number(abs(surer), 2)}; below the dashed line it promises too much.",
    )


def importance_section(record: Record) -> Section | None:
    """Draw how much worse predictions get when a column is shuffled."""
    found = record["importance"]
    columns = found["columns"][:_SHOWN]
    if not columns:
        return None
    what = "log-loss, nats" if record["task"] == "classification" else "root mean squared error"
    top = columns[0]
    see = "No column matters clearly: every spread reaches zero."
    if top["low"] > 0.0:
        see = (
            f"Without the information of {top['name']} the {what.partition(',')[0]} grows by "
            f"{format_number(top['mean'], 3)} (from {format_number(found['loss'], 3)}), the most "
            "of all; bars whose line reaches zero may be noise."
        )
    text = (
        f"Each column's values are shuffled among {found['rows']:,} held-out rows, "
        f"{found['repeats']} times; the line is the range. A column whose information another one "
        "also has appears unimportant."
    )
    hidden = len(found["columns"]) - len(columns) + found["left_out"]
    if hidden:
        text += f" {hidden:,} less important columns are not shown."
    return Section(
        "Which columns matter",
        [text],
        figure=bars(
            [Bar(_named(one["name"]), one["mean"], one["low"], one["high"]) for one in columns],
            value_label=f"growth of the {what}, when shuffled",
            alt="Permutation importance of the columns",
        ),
        see=see,
    )


def health_section(record: Record) -> Section | None:
    """Draw mean and variance of the layers' outputs beside theory."""
    health = record["health"]
    layers = health["layers"]
    if not layers:
        return None
    depth = np.arange(1, len(layers) + 1)

    def panel(key: str, title: str) -> Panel:
        return Panel(
            title,
            "hidden layer",
            "over rows and units",
            [
                Series(
                    "measured (range of members)",
                    depth,
                    [one[key] for one in layers],
                    [one[f"{key}_low"] for one in layers],
                    [one[f"{key}_high"] for one in layers],
                ),
                Series(
                    "theory for these weights",
                    depth,
                    [one[f"predicted_{key}"] for one in layers],
                    kind="dashed",
                ),
            ],
            references=[("fixed point", health["target"][key])],
        )

    return Section(
        "Does the network normalise itself?",
        [
            f"Outputs of each hidden layer over {health['rows']:,} held-out rows and all units, "
            f"of {health['members']} trained members. Theory knows of the weights only each "
            "unit’s sum, sum of squares and bias, and takes inputs for independent; what training "
            "has learned makes them depend on each other, so some distance is its trace.",
        ],
        figure=line_chart(
            [panel("mean", "Mean"), panel("var", "Variance")],
            alt="Mean and variance by hidden layer, measured and predicted",
        ),
        see=health["verdict"],
    )
