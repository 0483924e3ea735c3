"""``selfnorm check``: the known faults of a network."""

from __future__ import annotations

import json
from pathlib import Path

import click

from selfnorm.cli._models import as_given, common, failed, html_option, speak

__all__ = ["check"]


@click.command()
@common
@html_option
def check(
    model: str,
    data: Path | None,
    normal: str | None,
    as_json: bool,
    markdown: bool,
    strict: bool,
    html: Path | None,
) -> None:
    """Find what keeps a network from normalising itself, and the line that mends it.

    MODULE:FACTORY names the model, or a function without arguments that builds it, as
    mypackage.models:build or models.py:build. Exit code 1 if there are errors or warnings.
    """
    with as_given(model, data, normal) as (network, rows):
        from selfnorm.diagnosis._check import checked

        result = checked(network, rows)
    if html is not None:
        result.to_html(html)
    from selfnorm.diagnosis import findings_markdown, findings_text

    found = result.findings
    if as_json:
        click.echo(json.dumps([one.to_dict() for one in found], allow_nan=False))
    else:
        speak((findings_markdown if markdown else findings_text)(found))
        if html is not None:
            speak(f"\nreport  {html}")
    click.get_current_context().exit(int(failed(found, strict)))
