"""Draw the pictures of README and docs from records.

Run: .venv/bin/python docs/pictures.py out/demo/result.json          # of make demo
     .venv/bin/python docs/pictures.py train.json                    # of benchmarks train --out
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from selfnorm.report import Panel, Series, line_chart, palette

STATIC = Path(__file__).parent / "_static"

# The demo's networks for a reader who knows no name of ours.
WORDS = {
    "raw-relu": "ReLU, raw input",
    "raw-selu": "SELU, raw input",
    "std-selu": "SELU, default weights",
    "std-selu-lecun": "SELU, LeCun weights",
    "std-relu-lecun": "ReLU, LeCun weights",
    "std-relu-he-batchnorm": "ReLU, batch norm",
    "depth-matched": "SELU, matched to the depth",
}


def main(path: str) -> None:
    """Write the picture of this record to docs/_static, and its dark variant."""
    record = json.loads(Path(path).read_text(encoding="utf-8"))
    if "arms" in record:
        fifty_layers(record)
    else:
        training_cost(record)


def training_cost(record: dict[str, Any]) -> None:
    """Draw how the time of the engine's step grows."""
    panels = []
    for what, title in (
        ("rows", "8 layers of 128, one member"),
        ("layers", "128 rows, layers of 128, one member"),
        ("members", "32 rows, 8 layers of 64"),
    ):
        prefix = f"cost by {what}: "
        found = {
            int(row["case"].removeprefix(prefix)): 1e3 * row["median"]
            for row in record["rows"]
            if row["case"].startswith(prefix)
        }
        count, time = list(found), list(found.values())
        # What the largest costs, divided evenly: a straight line through it and the origin.
        even = [time[-1] * n / count[-1] for n in count]
        series = [Series("measured", count, time), Series("proportional", count, even)]
        panels.append(
            Panel(title, what, "milliseconds a step", series, x_scale="log", y_scale="log")
        )
    figure = line_chart(
        panels,
        alt="The time of a step grows in proportion to rows, layers, members; few rows cost more "
        "than their share.",
        styles=palette(["measured", "proportional"]),
    )
    figure.save(STATIC / "training-cost.svg")
    figure.save(STATIC / "training-cost-dark.svg", dark=True)


def fifty_layers(record: dict[str, Any]) -> None:
    """Draw the demo's networks."""
    arms = record["arms"]
    epochs = range(1, record["config"]["epochs"] + 1)
    depth = range(1, record["config"]["depth"] + 1)
    names = [WORDS[arm["name"]] for arm in arms]
    curves = [Series(name, epochs, arm["accuracy"]) for name, arm in zip(names, arms, strict=True)]
    signals = [
        Series(name, depth, [layer["signal_var"] for layer in arm["layers"]])
        for name, arm in zip(names, arms, strict=True)
    ]
    figure = line_chart(
        [
            Panel("Test accuracy", "epoch", "accuracy", curves, y_limits=(0.0, 1.0)),
            Panel(
                "What is left of the input, before training",
                "layer",
                "variance between images",
                signals,
                y_scale="log",
            ),
        ],
        alt="Of seven kinds of fifty-layer networks, SELU with LeCun-normal weights and "
        "depth-matched SELU reach high accuracy; what tells images apart survives their layers.",
        styles=palette(names),
    )
    figure.save(STATIC / "fifty-layers.svg")
    figure.save(STATIC / "fifty-layers-dark.svg", dark=True)


if __name__ == "__main__":
    main(sys.argv[1])
