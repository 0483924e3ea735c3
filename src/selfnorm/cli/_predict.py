"""``selfnorm predict``: predictions for the rows of a file."""

from __future__ import annotations

import json
from pathlib import Path

import click

from selfnorm.cli._tables import bad_data, check_model, check_table, load_model

__all__ = ["predict"]


@click.command()
@click.argument("model", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the predictions: CSV, or Parquet if it ends in .parquet.",
)
@click.option("--proba", is_flag=True, help="Add the probability of each class.")
@click.option("--json", "as_json", is_flag=True, help="Print rows and ignored columns as JSON.")
def predict(model: Path, data: Path, out: Path, proba: bool, as_json: bool) -> None:
    """Predict for every row of a CSV or Parquet file, with the model in DIR.

    The rows keep their order. The target's column is not needed; columns that the model does not
    know are ignored.
    """
    check_table(data)
    check_model(model)
    from selfnorm.tabular._table_prediction import predict_table

    with bad_data():
        found = predict_table(load_model(model), data, out, proba=proba)
    if as_json:
        click.echo(json.dumps(found | {"out": str(out)}))
        return
    for note in found["notes"]:
        click.echo(note)
    if found["ignored"]:
        click.echo(f"ignored columns: {', '.join(map(repr, found['ignored']))}")
    click.echo(f"{found['rows']:,} predictions  {out}")
