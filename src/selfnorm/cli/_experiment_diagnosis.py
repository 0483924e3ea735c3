"""``selfnorm experiment weight-decay`` and ``faults``: what goes wrong with SELU, measured."""

from __future__ import annotations

from typing import Any

import click

from selfnorm.cli._experiment_options import NAMES, output_options, run

__all__ = ["faults", "weight_decay"]


@click.command("weight-decay")
@click.option("--depth", type=int, help="Hidden layers.")
@click.option("--width", type=int, help="Units per hidden layer.")
@click.option("--epochs", type=int, help="Epochs.")
@click.option("--batch-size", type=int, help="Rows per step.")
@click.option("--lr-sgd", type=float, help="Learning rate of SGD.")
@click.option("--lr-adamw", type=float, help="Learning rate of AdamW.")
@click.option("--seed", type=int, default=0, show_default=True, help="First seed.")
@click.option("--seeds", type=int, help="Number of seeds.")
@click.option("--arms", type=NAMES, metavar="NAME,...", help="Arms to train.  [default: all]")
@output_options("out/weight-decay")
def weight_decay(as_json: bool, **options: Any) -> None:
    """Train SELU nets with weight decays, and with rows kept at length 1."""
    from selfnorm import experiments

    given = {name: value for name, value in options.items() if value is not None}
    run(experiments.weight_decay, given, as_json)


@click.command("faults")
@click.option("--epochs", type=int, help="Epochs of each training.")
@click.option("--seed", type=int, default=0, show_default=True, help="First seed.")
@click.option("--seeds", type=int, help="Number of seeds.")
@click.option("--arms", type=NAMES, metavar="NAME,...", help="Faults and nets.  [default: all]")
@output_options("out/faults")
def faults(as_json: bool, **options: Any) -> None:
    """Sick nets and well-known ones: what the check finds, and what the fix changes."""
    from selfnorm import experiments

    given = {name: value for name, value in options.items() if value is not None}
    run(experiments.faults, given, as_json)
