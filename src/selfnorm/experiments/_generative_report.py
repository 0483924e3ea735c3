"""The page of the generative experiment, made from its record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from selfnorm.experiments._uses_report import (
    best_arms,
    best_by_depth,
    by_depth,
    by_epoch,
    command,
    layer_panels,
    protocol,
    see_by_depth,
    see_variances,
    tests_of,
    with_spread,
)
from selfnorm.report import (
    Figure,
    Page,
    Panel,
    Section,
    Series,
    Table,
    format_number,
    image_grid,
    line_chart,
    palette,
)

__all__ = ["render", "table_of"]

Record = Mapping[str, Any]
Row = tuple[str | float | None, ...]

COLUMNS: Final = (
    "arm",
    "depth",
    "distance",
    "validation loss",
    "learning rate",
    "seconds",
    "parameters",
)
_REAL: Final = "real"


def table_of(record: Record) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """Return heads and rows of the summary table: one row per arm and depth."""
    rows = [
        (
            cell["arm"],
            cell["depth"],
            with_spread(tests_of(cell, "distance")) or "diverges",
            with_spread(tests_of(cell, "loss"), 4),
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
    arms = list(dict.fromkeys(cell["arm"] for cell in cells))
    styles = palette([*arms, _REAL])
    depths = list(dict.fromkeys(cell["depth"] for cell in cells))
    deepest = [cell for cell in cells if cell["depth"] == depths[-1]]
    sections = [
        Section(
            "Distance from the data by depth",
            [
                "Each field turns noise into samples; the distance (sliced Wasserstein, in "
                f"deviations of the data) is taken to {config['test_size']:,} rows that no "
                f"training saw. Real rows are {format_number(config['floor'], 3)} away from them, "
                f"the noise itself {format_number(config['noise'], 3)}. {config['train_size']:,} "
                f"training rows, layers of {config['width']} units, {config['sampling_steps']} "
                "Heun steps.",
                protocol(config),
            ],
            figure=line_chart(
                [
                    Panel(
                        "Distance of samples from test rows",
                        "hidden layers",
                        "sliced Wasserstein distance",
                        by_depth(cells, "distance"),
                        y_scale="log",
                        references=[("real rows", config["floor"])],
                    ),
                    Panel(
                        f"Validation loss at {depths[-1]} hidden layers",
                        "epoch",
                        "flow-matching loss",
                        by_epoch(deepest, "validation"),
                    ),
                ],
                alt="Distance of each arm by depth, and validation loss by epoch",
                styles={name: styles[name] for name in arms},
            ),
            see="Distance in multiples of that between real rows. "
            + see_by_depth(
                cells, "distance", "layers", lambda value: f"{value / config['floor']:.2g}"
            ),
        ),
        Section(
            f"Samples at {depths[-1]} hidden layers",
            ["The first samples of the first seed, not chosen; the same noise for every arm."],
            figure=_samples(deepest, config, styles),
            see=_see_samples(deepest, config),
        ),
        Section(
            f"Variance, layer by layer, at {depths[-1]} hidden layers",
            [
                "Pooled over units and points at all times of the way from noise to data. Dashed: "
                "theory, which knows of the points only their mean squares."
            ],
            figure=line_chart(
                layer_panels(deepest, "layer"),
                alt="Variance by layer at the start, predicted, and after training",
                styles={name: styles[name] for name in arms},
            ),
            see=see_variances(deepest, -1, "the last hidden layer"),
        ),
        Section(
            "All cells",
            table=Table(*table_of(record)),
            see="Seconds are the processor's for the training steps of one net, averaged over the "
            "seeds, on one thread.",
        ),
    ]
    return Page(
        f"Flow matching on {config['data']}",
        "Fields of SELU layers that start at their fixed point beside the usual ones.",
        sections,
        verdict=best_by_depth(record, "distance", "At {depth} hidden layers {arm} comes closest"),
        environment={**record["environment"], "data": config["data_source"]},
        command=command(
            "generative",
            config,
            ("depths", "arms", "lrs"),
            ("data", "width", "epochs", "batch_size", "sampling_steps", "seed", "seeds"),
        ),
    ).html()


def _samples(cells: Sequence[Record], config: Record, styles: Mapping[str, Any]) -> Figure:
    drawn = [(_REAL, config["shown"])]
    for cell in cells:
        shown = cell["runs"][0]["test"].get("shown")
        if shown:
            drawn.append((cell["arm"], shown))
    alt = "Real rows and samples of each arm"
    if config["data"] != "digits":
        panels = []
        for name, rows in drawn:
            points = np.array(rows, dtype=float)
            series = Series(name, points[:, 0], points[:, 1], kind="points")
            panels.append(Panel(name, "first", "second", [series], y_limits=(-2.6, 2.6)))
        names = [name for name, _ in drawn]
        return line_chart(panels, alt=alt, styles={name: styles[name] for name in names})
    side = math.isqrt(config["features"])
    images = np.array([rows for _, rows in drawn]).reshape(len(drawn), -1, side, side)
    real = images[0]
    low, high = np.quantile(real, 0.02), np.quantile(real, 0.98)
    return image_grid((images - low) / (high - low), [name for name, _ in drawn], alt=alt)


def _see_samples(cells: Sequence[Record], config: Record) -> str:
    best = best_arms(cells, "distance")
    if not best:
        return "No field trains."
    kind = "images" if config["data"] == "digits" else "points"
    return (
        f"Smallest mean distance: {best[0]}. What is unlike all real {kind} is the field's error."
    )
