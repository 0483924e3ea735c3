"""Draw the README's picture from the record of ``make demo``.

Run: .venv/bin/python docs/pictures.py out/demo/result.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from selfnorm.report import Panel, Series, line_chart, palette

STATIC = Path(__file__).parent / "_static"


def main(path: str) -> None:
    """Write docs/_static/fifty-layers.svg and its dark variant."""
    record = json.loads(Path(path).read_text(encoding="utf-8"))
    arms = record["arms"]
    epochs = range(1, record["config"]["epochs"] + 1)
    depth = range(1, record["config"]["depth"] + 1)
    curves = [Series(arm["name"], epochs, arm["accuracy"]) for arm in arms]
    signals = [
        Series(arm["name"], depth, [layer["signal_var"] for layer in arm["layers"]]) for arm in arms
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
        styles=palette([arm["name"] for arm in arms]),
    )
    figure.save(STATIC / "fifty-layers.svg")
    figure.save(STATIC / "fifty-layers-dark.svg", dark=True)


if __name__ == "__main__":
    main(sys.argv[1])
