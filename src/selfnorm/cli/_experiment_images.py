"""``selfnorm experiment bn-vs-selu``, ``claims``, ``cost``, ``depth``: SELU and its rivals."""

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

__all__ = ["bn_vs_selu", "claims", "cost", "depth"]


@click.command("bn-vs-selu")
@click.option("--data", default="digits", show_default=True, help="digits, mnist or cifar10.")
@DATA_DIR
@click.option("--model", default="mlp", show_default=True, help="mlp or cnn.")
@click.option(
    "--preset",
    default="quick",
    show_default=True,
    help="quick, paper (figure 1 of the paper; weeks on a CPU) or paper-small.",
)
@click.option("--arms", type=NAMES, metavar="NAME,...", help="Arms to train.  [default: by preset]")
@click.option("--depths", type=INTEGERS, metavar="L,...", help="Numbers of hidden layers.")
@click.option("--batch-sizes", type=INTEGERS, metavar="B,...", help="Rows per step.")
@click.option("--lrs", type=NUMBERS, metavar="LR,...", help="Rates at the largest batch size.")
@click.option("--width", type=int, help="Units, or channels of the first stage.")
@click.option("--stages", type=int, help="Stages of a cnn; each halves the images.")
@click.option("--epochs", type=int, help="Epochs at the largest batch size.")
@click.option("--small-epochs", type=int, help="Epochs at the other batch sizes.")
@click.option("--seed", type=int, default=0, show_default=True, help="First seed.")
@click.option("--seeds", type=int, help="Number of seeds.")
@click.option("--train-size", type=int, help="Training rows, validation included.")
@click.option("--test-size", type=int, help="Test rows.")
@click.option(
    "--augment/--no-augment", default=None, help="Crops and flips.  [default: cnn on cifar10]"
)
@output_options("out/bn-vs-selu")
def bn_vs_selu(as_json: bool, **options: Any) -> None:
    """Train SELU, ELU, batch norm, layer norm and plain ReLU on images, each at its best rate."""
    from selfnorm import experiments

    given = {name: value for name, value in options.items() if value is not None}
    run(experiments.bn_vs_selu, given, as_json, hide=("MiB kept", "outcome"))


@click.command("cost")
@click.option("--models", type=NAMES, metavar="NAME,...", help="mlp, cnn.  [default: both]")
@click.option("--depths", type=INTEGERS, metavar="L,...", help="Numbers of hidden layers.")
@click.option("--widths", type=INTEGERS, metavar="N,...", help="Units per layer of an mlp.")
@click.option("--channels", type=INTEGERS, metavar="N,...", help="Channels of a cnn's first stage.")
@click.option("--image-size", type=int, help="Height and width of a cnn's images.")
@click.option("--batch-size", type=int, default=128, show_default=True, help="Rows per step.")
@click.option("--dropout", type=float, default=0.05, show_default=True, help="Dropout rate.")
@click.option("--arms", type=NAMES, metavar="NAME,...", help="Arms to time.  [default: all]")
@click.option("--rounds", type=int, default=25, show_default=True, help="Samples of each time.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the weights.")
@output_options("out/cost")
def cost(as_json: bool, **options: Any) -> None:
    """Time and memory of SELU, batch norm, layer norm and plain ReLU, side by side."""
    from selfnorm import experiments

    given = {name: value for name, value in options.items() if value is not None}
    run(experiments.cost, given, as_json, hide=("quartiles", "MiB peak"))


@click.command("depth")
@click.option("--depths", type=INTEGERS, metavar="L,...", help="Numbers of hidden layers.")
@click.option("--arms", type=NAMES, metavar="NAME,...", help="Arms to train.  [default: all]")
@click.option("--lrs", type=NUMBERS, metavar="LR,...", help="Learning rates to choose from.")
@click.option("--data", default="digits", show_default=True, help="digits, mnist or cifar10.")
@DATA_DIR
@click.option("--width", type=int, help="Units per hidden layer.")
@click.option("--epochs", type=int, help="Epochs.")
@click.option("--batch-size", type=int, help="Rows per step.")
@click.option("--seed", type=int, default=0, show_default=True, help="First seed.")
@click.option("--seeds", type=int, default=1, show_default=True, help="Number of seeds.")
@click.option("--train-size", type=int, help="Training rows, validation included.")
@output_options("out/depth")
def depth(as_json: bool, **options: Any) -> None:
    """How deep does a plain net train? SELU in four forms, ReLU, ReLU with batch norm."""
    from selfnorm import experiments

    given = {name: value for name, value in options.items() if value is not None}
    run(experiments.depth, given, as_json, hide=("seconds",))


@click.command("claims")
@click.option(
    "--names",
    type=NAMES,
    metavar="NAME,...",
    help="smooth, dying, zero-mean, alpha, init, regularisers, target.  [default: all]",
)
@click.option("--data", default="digits", show_default=True, help="digits, mnist or cifar10.")
@DATA_DIR
@click.option("--depth", type=int, default=16, show_default=True, help="Hidden layers.")
@click.option("--width", type=int, default=64, show_default=True, help="Units per hidden layer.")
@click.option("--epochs", type=int, help="Epochs.")
@click.option("--lrs", type=NUMBERS, metavar="LR,...", help="Learning rates to choose from.")
@click.option("--batch-size", type=int, default=100, show_default=True, help="Rows per step.")
@click.option("--seed", type=int, default=0, show_default=True, help="First seed.")
@click.option("--seeds", type=int, help="Number of seeds.")
@click.option("--train-size", type=int, help="Training rows, validation included.")
@output_options("out/claims")
def claims(as_json: bool, **options: Any) -> None:
    """Measure what texts claim about ELU and SELU, one thing changed at a time."""
    from selfnorm import experiments

    given = {name: value for name, value in options.items() if value is not None}
    hide = ("claim", "half-way", "theory", "corr", "dead, worst")
    run(experiments.claims, given, as_json, hide=hide)
