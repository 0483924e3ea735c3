"""``selfnorm solve``: the constants that hold a fixed point, and whether it attracts."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click
import numpy as np

from selfnorm import theory


@click.command()
@click.option("--activation", default="selu", show_default=True, help="Name of the activation.")
@click.option("--mean", type=float, help="Target mean (SELU only).  [default: 0]")
@click.option("--var", type=float, help="Target variance (SELU only).  [default: 1]")
@click.option("--weight-sum", type=float, default=0.0, show_default=True, help="Sum of a row.")
@click.option(
    "--weight-sumsq", type=float, default=1.0, show_default=True, help="Sum of squares of a row."
)
@click.option(
    "--depth", type=int, help="Choose the target variance for this depth instead (SELU only)."
)
@click.option("--dropout", type=float, help="Rate of alpha dropout after it (SELU only).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def solve(
    activation: str,
    mean: float | None,
    var: float | None,
    weight_sum: float,
    weight_sumsq: float,
    depth: int | None,
    dropout: float | None,
    as_json: bool,
) -> None:
    """Solve for the constants of SELU that hold a target mean and variance.

    For any other activation: find its fixed point and tell whether it attracts.
    """
    if activation != "selu":
        given = {"--mean": mean, "--var": var, "--depth": depth, "--dropout": dropout}
        wrong = [name for name, value in given.items() if value is not None]
        if wrong:
            raise click.UsageError(
                f"{', '.join(wrong)} belongs to constants that reach a target, and only SELU has "
                f"them, however: --activation {activation}; leave it out to find the fixed point "
                "of this activation."
            )
        result: Any = theory.fixed_point(
            activation, weight_sum=weight_sum, weight_sumsq=weight_sumsq
        )
        title = f"fixed point of {activation}"
    elif depth is not None:
        if (mean, var, dropout, weight_sum, weight_sumsq) != (None, None, None, 0.0, 1.0):
            raise click.UsageError(
                "--depth chooses the target itself (mean 0, weight sum 0, weight sum of squares 1,"
                " no dropout); leave the other options out."
            )
        result = theory.match_depth(depth)
        title = f"SELU matched to depth {depth}"
    else:
        result = theory.solve(
            0.0 if mean is None else mean,
            1.0 if var is None else var,
            weight_sum=weight_sum,
            weight_sumsq=weight_sumsq,
            dropout=dropout or 0.0,
        )
        title = "SELU"
    record = plain(dataclasses.asdict(result))
    if as_json:
        click.echo(json.dumps(record, allow_nan=False))
        return
    click.echo(title)
    width = max(map(len, record))
    for name, value in record.items():
        click.echo(f"  {name:<{width}}  {shown(value)}")


def plain(value: Any) -> Any:
    """Turn arrays, tuples and non-finite numbers into what JSON can hold."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def shown(value: Any) -> str:
    """Write one value for people: numbers with 15 digits, a matrix row by row."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, list):
        return "[" + ", ".join(shown(item) for item in value) + "]"
    return "-" if value is None else str(value)
