"""The page of the fifty-layers experiment, made from its record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from selfnorm import theory
from selfnorm.experiments._fifty_layers_words import (
    outcome_of,
    protocol,
    reading_of_table,
    see_accuracy,
    see_gradient,
    see_table,
    see_variance,
    verdict,
)
from selfnorm.experiments._words import accuracy_with_spread
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
    "input",
    "activation",
    "initialisation",
    "test accuracy",
    "training loss",
    "seconds",
    "outcome",
)
_INITS: Final = {
    "torch": "PyTorch default",
    "glorot": "Glorot uniform",
    "uniform05": "uniform ±0.05",
    "lecun": "LeCun normal",
    "he": "He normal",
    "orthogonal": "scaled orthogonal",
}
_OPTIONS: Final = frozenset(
    (
        "data",
        "depth",
        "width",
        "epochs",
        "batch_size",
        "lr",
        "seed",
        "seeds",
        "train_size",
        "default_init",
    )
)


def table_of(record: Record) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """Return heads and rows of the summary table."""
    rows = []
    for arm in record["arms"]:
        activation = arm["activation"]
        if activation == "depth-matched selu":
            activation = f"selu, var {format_number(arm['target_var'], 3)}"
        rows.append(
            (
                arm["name"],
                arm["inputs"],
                ("batch norm, " if arm["batch_norm"] else "") + activation,
                _INITS[arm["init"]],
                accuracy_with_spread([curve[-1] for curve in arm["accuracy_by_seed"]]),
                arm["loss"][-1],
                round(arm["seconds"], 1),
                outcome_of(arm, record["config"]),
            )
        )
    return COLUMNS, tuple(rows)


def render(record: Record) -> str:
    """Return the page of a record with at least one arm as HTML text."""
    config, arms = record["config"], record["arms"]
    styles = palette([arm["name"] for arm in arms])
    sections = [
        Section(
            "Accuracy and loss",
            [protocol(config)],
            figure=_curves(arms, config, styles),
            see=see_accuracy(arms, config),
        ),
        Section(
            "The arms",
            reading_of_table(config),
            table=Table(*table_of(record)),
            see=see_table(arms),
        ),
        Section(
            "Activations, layer by layer",
            [
                "Left: the variance of each hidden layer's output before training, pooled over "
                "images and units, and what mean field theory predicts from the mean square of the "
                "input alone. Right: the part of it by which images differ from one another. Only "
                "this part can be learnt from; biases and a common mean make up the rest.",
            ],
            figure=_variances(arms, styles),
            see=see_variance(arms),
        ),
        Section(
            "Gradients, layer by layer",
            ["How strongly the loss depends on each layer's weights before training."],
            figure=_gradients(arms, styles),
            see=see_gradient(arms),
        ),
        _activations(config["depth"]),
    ]
    return Page(
        f"{config['depth']} layers on {config['data']}",
        "Plain fully connected nets without skip connections: what has to be right so that "
        "they train at all?",
        sections,
        verdict=verdict(record),
        environment={**record["environment"], "data": config["data_source"]},
        command=_command(config),
    ).html()


def _command(config: Record) -> str:
    """Return the command line that makes the page again."""
    keys = [key for key in config if key in _OPTIONS]
    words = [f"--{key.replace('_', '-')} {config[key]}" for key in keys]
    return " ".join(
        ["selfnorm experiment fifty-layers", *words, f"--arms {','.join(config['arms'])}"]
    )


def _curves(arms: Sequence[Record], config: Record, styles: Mapping[str, Style]) -> Figure:
    def lines(key: str) -> list[Series]:
        return [_with_band(arm, key) for arm in arms]

    return line_chart(
        [
            Panel(
                "Test accuracy",
                "epoch",
                "accuracy",
                lines("accuracy"),
                y_limits=(0.0, 1.0),
                references=[("chance", config["chance"])],
            ),
            Panel("Training loss", "epoch", "cross-entropy, nats", lines("loss"), y_scale="log"),
        ],
        alt="Test accuracy and training loss by epoch for each arm",
        styles=styles,
    )


def _with_band(arm: Record, key: str) -> Series:
    """Return a curve over epochs with the range over seeds."""
    curves = np.array(arm[f"{key}_by_seed"], dtype=float)
    known = np.isfinite(curves).any(axis=0)
    low = np.where(known, np.where(np.isnan(curves), math.inf, curves).min(axis=0), math.nan)
    high = np.where(known, np.where(np.isnan(curves), -math.inf, curves).max(axis=0), math.nan)
    epochs = np.arange(1, curves.shape[1] + 1)
    if len(curves) == 1:
        return Series(arm["name"], epochs, arm[key])
    return Series(arm["name"], epochs, arm[key], low, high)


def _by_layer(arm: Record, key: str, **options: Any) -> Series:
    """Return one measured or predicted quantity over the layers."""
    values = [layer[key] for layer in arm["layers"]]
    label = options.pop("label", arm["name"])
    return Series(label, np.arange(1, len(values) + 1), values, **options)


def _variances(arms: Sequence[Record], styles: Mapping[str, Style]) -> Figure:
    predicted = [
        _by_layer(arm, "predicted_var", label="predicted", kind="dashed", style_of=arm["name"])
        for arm in arms
    ]
    return line_chart(
        [
            Panel(
                "All variance",
                "layer",
                "variance",
                [*(_by_layer(arm, "var") for arm in arms), *predicted],
                y_scale="log",
            ),
            Panel(
                "Variance between images",
                "layer",
                "variance",
                [_by_layer(arm, "signal_var") for arm in arms],
                y_scale="log",
            ),
        ],
        alt="Variance of the activations by layer: measured and predicted; its part between images",
        styles=styles,
    )


def _gradients(arms: Sequence[Record], styles: Mapping[str, Style]) -> Figure:
    lines = [_by_layer(arm, "grad_norm") for arm in arms]
    return line_chart(
        [Panel("Gradient of the weights", "layer", "Euclidean norm", lines, y_scale="log")],
        alt="Norm of the weight gradient by layer for each arm",
        styles=styles,
    )


def _activations(depth: int) -> Section:
    """Return the section on the functions themselves."""
    x = np.linspace(-4.0, 4.0, 401)
    matched = theory.match_depth(depth)
    shown = {
        "relu": theory.activation("relu"),
        "leaky relu (slope 0.01)": theory.activation("leaky_relu"),
        "prelu (slope 0.25)": theory.activation("prelu"),
        "elu": theory.activation("elu"),
        "selu": theory.activation("selu"),
    }
    chi = float(theory.gradient_gain("selu"))
    text = (
        "For inputs of variance 1 SELU multiplies the squared gradient by "
        f"{format_number(chi, 4)} a layer, {format_number(chi**depth, 3)} times over {depth} "
        "layers; "
    )
    if matched.var < 1.0:
        shown["depth-matched selu"] = theory.activation(
            "selu", alpha=matched.alpha, scale=matched.scale
        )
        text += (
            f"matched to that depth (target variance {format_number(matched.var, 3)}) by "
            f"{format_number(matched.chi, 4)}, {format_number(matched.chi**depth, 3)} times over "
            "all."
        )
    else:
        text += "that is within the budget, so the depth-matched SELU is the standard one."
    return Section(
        "The activation functions",
        [
            "SELU's slope above 1 for positive inputs widens what has become too narrow; its "
            "saturation for negative inputs narrows what has become too wide.",
        ],
        figure=line_chart(
            [
                Panel(
                    "Function", "input", "output", [Series(n, x, f(x)) for n, f in shown.items()]
                ),
                Panel(
                    "Derivative",
                    "input",
                    "slope",
                    [Series(n, x, _slope(f, x)) for n, f in shown.items()],
                ),
            ],
            alt="ReLU, leaky ReLU, parametric ReLU, ELU and SELU, and their derivatives",
        ),
        see=text,
    )


def _slope(f: theory.Activation, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return f' with a gap at each jump, which a line would bridge."""
    at_kink = np.isclose(x[:, None], np.array(f.kinks), atol=1e-9).any(axis=1)
    slope: NDArray[np.float64] = np.where(at_kink, np.nan, f.derivative(x))
    return slope
