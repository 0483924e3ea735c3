"""The page of the autoencoder experiment, made from its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from selfnorm.experiments._uses_report import (
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
from selfnorm.experiments._words import percent
from selfnorm.report import Page, Panel, Section, Table, line_chart, palette

__all__ = ["render", "table_of"]

Record = Mapping[str, Any]
Row = tuple[str | float | None, ...]

COLUMNS: Final = ("arm", "depth", "test error", "learning rate", "seconds", "parameters")


def table_of(record: Record) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """Return heads and rows of the summary table: one row per arm and depth."""
    rows = [
        (
            cell["arm"],
            cell["depth"],
            with_spread(tests_of(cell, "error")) or "diverges",
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
    styles = palette(list(dict.fromkeys(cell["arm"] for cell in cells)))
    depths = list(dict.fromkeys(cell["depth"] for cell in cells))
    deepest = [cell for cell in cells if cell["depth"] == depths[-1]]
    reference = [(f"PCA, {config['code']} components", config["pca_error"])]
    sections = [
        Section(
            "Reconstruction error by depth",
            [
                f"Codes of {config['code']} numbers for images of {config['features']} pixels "
                f"({config['data']}), layers of {config['width']} units: {config['train_size']:,} "
                f"training images, {config['validation_size']:,} to choose the rate, "
                f"{config['test_size']:,} to test. The error is the share of the test images' sum "
                "of squares that is not reconstructed: 1 is what the mean image leaves, and the "
                "line is the best linear autoencoder.",
                protocol(config),
            ],
            figure=line_chart(
                [
                    Panel(
                        "Test error",
                        "hidden layers, encoder and decoder together",
                        "share not reconstructed",
                        by_depth(cells, "error"),
                        references=reference,
                    )
                ],
                alt="Test error of each arm by depth",
                styles=styles,
            ),
            see=see_by_depth(cells, "error", "layers", percent),
        ),
        Section(
            f"Training at {depths[-1]} hidden layers",
            figure=line_chart(
                [
                    Panel(
                        "Validation error",
                        "epoch",
                        "share not reconstructed",
                        by_epoch(deepest, "validation"),
                        y_scale="log",
                        references=reference,
                    )
                ],
                alt="Validation error by epoch at the largest depth",
                styles=styles,
            ),
            see=_see_training(deepest),
        ),
        Section(
            f"Variance, layer by layer, at {depths[-1]} hidden layers",
            [
                "Pooled over images and units. The code is the linear layer in the middle, the "
                "last one is the output. Dashed: what theory predicts from the initialisation and "
                "the inputs' mean square alone."
            ],
            figure=line_chart(
                layer_panels(deepest, "layer"),
                alt="Variance by layer at the start, predicted, and after training",
                styles=styles,
            ),
            see=see_variances(deepest, -2, "the last hidden layer"),
        ),
        Section("All cells", table=Table(*table_of(record)), see=_see_cost(cells)),
    ]
    return Page(
        "Deep autoencoders without normalisation layers",
        "Encoders and decoders of SELU layers beside ReLU, ReLU with batch normalisation, ELU and "
        "tanh, at several depths.",
        sections,
        verdict=best_by_depth(record, "error", "At {depth} hidden layers the best is {arm}"),
        environment={**record["environment"], "data": config["data_source"]},
        command=command(
            "autoencoder",
            config,
            ("depths", "arms", "lrs"),
            ("data", "width", "code", "epochs", "batch_size", "seed", "seeds"),
        ),
    ).html()


def _see_training(cells: Sequence[Record]) -> str:
    halves = []
    for cell in cells:
        curve = [value for value in cell["runs"][0]["validation"] if value is not None]
        if curve:
            epoch = next(k for k, value in enumerate(curve, 1) if value <= 1.1 * min(curve))
            halves.append(f"{cell['arm']} {epoch}")
    if not halves:
        return "All nets diverge."
    return f"Epochs until within a tenth of the lowest error, first seed: {', '.join(halves)}."


def _see_cost(cells: Sequence[Record]) -> str:
    quick = min(cells, key=lambda cell: cell["seconds"])
    return (
        "Seconds are the processor's for the training steps of one net, averaged over the seeds, "
        f"on one thread; the quickest is {quick['arm']} at {quick['depth']} layers."
    )
