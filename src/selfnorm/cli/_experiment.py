"""``selfnorm experiment NAME``: run an experiment, show its progress, say where its report is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from selfnorm.cli._experiment_diagnosis import faults, weight_decay
from selfnorm.cli._experiment_images import bn_vs_selu, claims, cost, depth
from selfnorm.cli._experiment_options import (
    DATA_DIR,
    INTEGERS,
    NAMES,
    NUMBERS,
    output_options,
    run,
)
from selfnorm.cli._experiment_uses import autoencoder, generative, recurrent, transformer


@click.group()
def experiment() -> None:
    """Run a published or a new experiment.

    Each writes result.json and report.html to its output folder, after every finished part: an
    interrupted run (Ctrl-C) keeps what is finished, and the same command goes on from there.
    """


for command in (
    autoencoder,
    bn_vs_selu,
    claims,
    cost,
    depth,
    faults,
    generative,
    recurrent,
    transformer,
    weight_decay,
):
    experiment.add_command(command)


@experiment.command("fifty-layers")
@click.option("--data", default="digits", show_default=True, help="digits, mnist or cifar10.")
@DATA_DIR
@click.option("--depth", type=int, default=50, show_default=True, help="Hidden layers.")
@click.option("--width", type=int, default=128, show_default=True, help="Units per hidden layer.")
@click.option("--epochs", type=int, help="Epochs.  [default: by data set]")
@click.option("--batch-size", type=int, default=100, show_default=True, help="Rows per step.")
@click.option("--lr", type=float, help="Learning rate.  [default: by data set]")
@click.option("--seed", type=int, default=0, show_default=True, help="First seed.")
@click.option("--seeds", type=int, help="Number of seeds.  [default: by data set]")
@click.option("--train-size", type=int, help="Training rows.  [default: by data set]")
@click.option("--arms", type=NAMES, metavar="NAME,...", help="Arms to train.  [default: all]")
@click.option(
    "--default-init",
    default="torch",
    show_default=True,
    help="What 'default initialisation' means: torch, glorot or uniform05.",
)
@output_options("out/fifty-layers")
def fifty_layers(as_json: bool, arms: tuple[str, ...] | None, **options: Any) -> None:
    """Train fifty-layer networks that differ in input scaling, activation and initialisation."""
    from selfnorm import experiments

    if arms is not None:
        options["arms"] = arms
    # An arm's name says what these columns say, and without them the table fits 80 columns.
    hide = ("input", "activation", "initialisation")
    run(experiments.fifty_layers, options, as_json, hide=hide)


@experiment.command("fixed-point")
@click.option("--data", default="digits", show_default=True, help="digits, mnist or cifar10.")
@DATA_DIR
@click.option("--train-size", type=int, help="Training rows.  [default: all]")
@click.option("--variances", type=NUMBERS, metavar="V,...", help="Target variances.")
@click.option("--depths", type=INTEGERS, metavar="L,...", help="Numbers of hidden layers.")
@click.option(
    "--weights", type=NAMES, metavar="NAME,...", help="gaussian, orthogonal.  [default: both]"
)
@click.option("--lrs", type=NUMBERS, metavar="LR,...", help="Learning rates to choose from.")
@click.option("--width", type=int, help="Units per hidden layer.")
@click.option("--epochs", type=int, help="Epochs.")
@click.option("--batch-size", type=int, help="Rows per step.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of every net.")
@output_options("out/fixed-point")
def fixed_point(as_json: bool, **options: Any) -> None:
    """Why (0, 1) and not (0, 4)? Train at several target variances and depths."""
    from selfnorm import experiments

    given = {name: value for name, value in options.items() if value is not None}
    run(experiments.fixed_point, given, as_json, hide=("seconds",))


@experiment.command("uci")
@click.option("--data", default="uci", show_default=True, help="uci, htru2 or houses.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Folder with uci.npz, htru2.npz, houses.npz.  [default: $SELFNORM_DATA]",
)
@click.option(
    "--methods",
    type=NAMES,
    metavar="NAME,...",
    help="selfnorm, rf, svm, svm-c10, mlp, hgb, lightgbm, catboost, realmlp, tabm; the first is "
    "compared with the others.  [default: the quick ones]",
)
@click.option("--sets", type=NAMES, metavar="NAME,...", help="Data sets.  [default: all]")
@click.option("--folds", type=INTEGERS, metavar="K,...", help="Folds from 0.  [default: all]")
@click.option("--max-rows", type=int, help="Leave out sets with more training rows.")
@click.option(
    "--resume/--no-resume",
    default=True,
    show_default=True,
    help="Take over what a run into the same folder has finished.",
)
@output_options("out/uci")
def uci(as_json: bool, **options: Any) -> None:
    """Compare tabular methods, each at its own defaults, on the same rows.

    Methods whose package is missing are left out, and a line says which and how to get them.
    """
    from selfnorm import experiments

    given = {name: value for name, value in options.items() if value is not None}
    result = run(experiments.uci, given, as_json)
    for line in result.record["absent"]:
        click.echo(line, err=True)
