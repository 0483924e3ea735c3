"""``selfnorm export``: a trained model as an ONNX file."""

from __future__ import annotations

import json
from pathlib import Path

import click

from selfnorm.cli._tables import bad_data, load_model

__all__ = ["export"]


@click.command()
@click.argument("model", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("model.onnx"),
    show_default=True,
    help="The ONNX file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print path and size as JSON.")
def export(model: Path, out: Path, as_json: bool) -> None:
    """Write the model in DIR, preprocessing included, as an ONNX file."""
    with bad_data():
        load_model(model).to_onnx(out)
    size = out.stat().st_size
    if as_json:
        click.echo(json.dumps({"out": str(out), "bytes": size}))
    else:
        click.echo(f"model   {out} ({size / 1024:,.0f} KiB)")
