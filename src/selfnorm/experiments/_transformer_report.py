"""The page of the transformer experiment, made from its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfnorm.experiments._autoencoder_report import table_of
from selfnorm.experiments._uses_report import (
    best_by_depth,
    by_depth,
    by_epoch,
    command,
    layer_panels,
    protocol,
    see_by_depth,
    see_variances,
)
from selfnorm.experiments._words import percent
from selfnorm.report import Page, Panel, Section, Table, line_chart, palette

__all__ = ["render", "table_of"]

Record = Mapping[str, Any]


def render(record: Record) -> str:
    """Return the page of a record with at least one cell as HTML text."""
    config, cells = record["config"], record["arms"]
    styles = palette(list(dict.fromkeys(cell["arm"] for cell in cells)))
    depth = cells[-1]["depth"]
    deepest = [cell for cell in cells if cell["depth"] == depth]
    sections = [
        Section(
            "Test error by depth",
            [
                f"{config['tokens']} tokens, the rows of an image ({config['data']}); "
                f"{config['width']} units and four heads. {config['train_size']:,} training "
                f"images, {config['validation_size']:,} to choose the rate, "
                f"{config['test_size']:,} to test.",
                protocol(config),
            ],
            figure=line_chart(
                [
                    Panel("Test error", "blocks", "share wrong", by_depth(cells, "error")),
                    Panel(
                        f"Validation loss at {depth} blocks",
                        "epoch",
                        "cross-entropy, nats",
                        by_epoch(deepest, "validation"),
                        y_scale="log",
                    ),
                ],
                alt="Test error of each arm by depth, and validation loss by epoch",
                styles=styles,
            ),
            see=see_by_depth(cells, "error", "blocks", percent),
        ),
        Section(
            f"Variance of the stream, block by block, at {depth} blocks",
            [
                "Pooled over units, tokens and images, after each MLP block. Dashed: what theory "
                "expects of the block for the tokens that enter it, where nothing is normalised "
                "before the MLP."
            ],
            figure=line_chart(
                layer_panels(deepest, "block"),
                alt="Variance by block at the start, predicted, and after training",
                styles=styles,
            ),
            see=see_variances(deepest, -1, "the stream after the last block"),
        ),
        Section(
            "All cells",
            table=Table(*table_of(record)),
            see="Seconds are the processor's for the training steps of one net, averaged over the "
            "seeds, on one thread.",
        ),
    ]
    return Page(
        "Transformers without layer normalisation in the MLP block",
        "SELU and scaled residual sums beside GELU with and without layer normalisation.",
        sections,
        verdict=best_by_depth(record, "error", "At {depth} blocks {arm} errs least"),
        environment={**record["environment"], "data": config["data_source"]},
        command=command(
            "transformer",
            config,
            ("depths", "arms", "lrs"),
            ("data", "width", "epochs", "batch_size", "seed", "seeds"),
        ),
    ).html()
