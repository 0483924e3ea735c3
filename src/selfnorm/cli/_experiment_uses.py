"""``selfnorm experiment autoencoder | generative | recurrent | transformer``: SELU's other uses."""

from __future__ import annotations

from typing import Any

import click

from selfnorm.cli._experiment_options import (
    DATA_DIR,
    INTEGERS,
    NAMES,
    NUMBERS,
    output_options,
    run,
)

__all__ = ["autoencoder", "generative", "recurrent", "transformer"]

DEPTHS = click.option("--depths", type=INTEGERS, metavar="L,...", help="Numbers of hidden layers.")
ARMS = click.option("--arms", type=NAMES, metavar="NAME,...", help="Arms to train.  [default: all]")
LRS = click.option("--lrs", type=NUMBERS, metavar="LR,...", help="Learning rates to choose from.")
WIDTH = click.option("--width", type=int, help="Units per hidden layer.")
EPOCHS = click.option("--epochs", type=int, help="Epochs.")
BATCH_SIZE = click.option("--batch-size", type=int, help="Rows per step.")
SEED = click.option("--seed", type=int, default=0, show_default=True, help="First seed.")
SEEDS = click.option("--seeds", type=int, help="Number of seeds.")


@click.command("autoencoder")
@click.option("--data", default="digits", show_default=True, help="digits or mnist.")
@DATA_DIR
@click.option("--train-size", type=int, help="Training rows.  [default: all; of mnist 6000]")
@DEPTHS
@ARMS
@LRS
@WIDTH
@click.option("--code", type=int, help="Numbers per code.")
@EPOCHS
@BATCH_SIZE
@SEED
@SEEDS
@output_options("out/autoencoder")
def autoencoder(as_json: bool, **options: Any) -> None:
    """Deep autoencoders of SELU layers beside ReLU, batch norm, ELU and tanh."""
    from selfnorm import experiments

    run(experiments.autoencoder, _given(options), as_json, hide=("parameters",))


@click.command("generative")
@click.option("--data", default="moons", show_default=True, help="moons, circles or digits.")
@DEPTHS
@ARMS
@LRS
@WIDTH
@EPOCHS
@BATCH_SIZE
@click.option("--sampling-steps", type=int, help="Heun steps from noise to samples.")
@SEED
@SEEDS
@output_options("out/generative")
def generative(as_json: bool, **options: Any) -> None:
    """Flow matching with fields of SELU layers beside the usual ones."""
    from selfnorm import experiments

    run(experiments.generative, _given(options), as_json, hide=("parameters",))


@click.command("recurrent")
@click.option("--tasks", type=NAMES, metavar="NAME,...", help="recall, adding, digits.")
@click.option("--lengths", type=INTEGERS, metavar="T,...", help="Steps of recall and adding.")
@ARMS
@LRS
@click.option("--hidden", type=int, help="Units of the state.")
@EPOCHS
@BATCH_SIZE
@SEED
@SEEDS
@output_options("out/recurrent")
def recurrent(as_json: bool, **options: Any) -> None:
    """Recurrent nets on tasks that need a long memory."""
    from selfnorm import experiments

    run(experiments.recurrent, _given(options), as_json, hide=("parameters",))


@click.command("transformer")
@click.option("--data", default="digits", show_default=True, help="digits or mnist.")
@DATA_DIR
@click.option("--train-size", type=int, help="Training rows.  [default: all; of mnist 3000]")
@click.option("--depths", type=INTEGERS, metavar="L,...", help="Numbers of blocks.")
@ARMS
@LRS
@click.option("--width", type=int, help="Units of the stream, a multiple of 4.")
@EPOCHS
@BATCH_SIZE
@SEED
@SEEDS
@output_options("out/transformer")
def transformer(as_json: bool, **options: Any) -> None:
    """Train transformers whose MLP blocks have no layer norm beside the usual ones."""
    from selfnorm import experiments

    run(experiments.transformer, _given(options), as_json, hide=("parameters",))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
