"""``selfnorm diagnose``: a network measured on data, beside what theory predicts."""

from __future__ import annotations

from pathlib import Path

import click

from selfnorm.cli._models import as_given, common, failed, html_option, speak

__all__ = ["diagnose"]


@click.command()
@common
@html_option
@click.option(
    "--tolerance",
    type=click.FloatRange(min=1.0, min_open=True),
    default=3.0,
    show_default=True,
    help="Factor by which a SELU's variance may differ from its target.",
)
@click.option("--eval", "evaluation", is_flag=True, help="Measure in evaluation mode.")
def diagnose(
    model: str,
    data: Path | None,
    normal: str | None,
    as_json: bool,
    markdown: bool,
    strict: bool,
    html: Path | None,
    tolerance: float,
    evaluation: bool,
) -> None:
    """Measure a network's moments and gradients, layer by layer, and compare them with theory.

    MODULE:FACTORY names the model, or a function without arguments that builds it. The data are
    needed: --data, or --normal. Exit code 1 if there are errors or warnings.
    """
    if data is None and normal is None:
        raise click.UsageError("the data are needed: give --data FILE or --normal SHAPE.")
    with as_given(model, data, normal) as (network, rows):
        from selfnorm.diagnosis import diagnose as measure

        found = measure(network, rows, tolerance=tolerance, training=not evaluation)
    if html is not None:
        found.to_html(html)
    if as_json:
        click.echo(found.to_json())
    else:
        speak(found.to_markdown() if markdown else found.to_text())
        if html is not None:
            speak(f"\nreport  {html}")
    click.get_current_context().exit(int(failed(found.findings, strict)))
