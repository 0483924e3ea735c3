"""A diagnosis as text: for terminals, and as Markdown for pull requests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from selfnorm.diagnosis._records import Diagnosis, Finding, LayerMoments

__all__ = ["as_markdown", "as_text", "findings_markdown", "findings_text", "one_line"]

_HEADS: Final = ("layer", "kind", "units", "mean", "var", "predicted", "Σw²", "gradient", "ok")


def as_text(diagnosis: Diagnosis) -> str:
    """Verdict, findings and table for a terminal."""
    parts = [f"{one_line(diagnosis.model)}: {diagnosis.verdict}"]
    if diagnosis.findings:
        parts.append(findings_text(diagnosis.findings))
    if diagnosis.layers:
        parts.append(_text_table(diagnosis))
    return "\n\n".join(parts)


def as_markdown(diagnosis: Diagnosis) -> str:
    """Verdict, findings and table as Markdown."""
    parts = [f"**{escaped(diagnosis.model)}**: {escaped(diagnosis.verdict)}"]
    if diagnosis.findings:
        parts.append(findings_markdown(diagnosis.findings))
    if diagnosis.layers:
        head = f"| {' | '.join(_HEADS)} |\n|{'---|' * len(_HEADS)}"
        rows = [f"| {' | '.join(escaped(c) for c in _row(one))} |" for one in diagnosis.layers]
        parts.append("\n".join([head, *rows]))
    return "\n\n".join(parts) + "\n"


def findings_text(findings: Sequence[Finding]) -> str:
    """Write findings as numbered paragraphs.

    Parameters
    ----------
    findings : sequence of Finding
        As :func:`check` returns them.

    Returns
    -------
    str
        For a terminal; "No findings." if there are none.

    Examples
    --------
    >>> from selfnorm.diagnosis import findings_text
    >>> findings_text([])
    'No findings.'
    """
    if not findings:
        return "No findings."
    return "\n".join(
        f"{number}. {one.severity}: {one_line(one.place) or '(model)'} [{one.code}]\n"
        f"   {one_line(one.message)}" + (f"\n   fix: {one_line(one.fix)}" if one.fix else "")
        for number, one in enumerate(findings, 1)
    )


def findings_markdown(findings: Sequence[Finding]) -> str:
    """Write findings as a Markdown list.

    Parameters
    ----------
    findings : sequence of Finding
        As :func:`check` returns them.

    Returns
    -------
    str
        Names and messages are escaped; "No findings." if there are none.

    Examples
    --------
    >>> from selfnorm.diagnosis import findings_markdown
    >>> findings_markdown([])
    'No findings.'
    """
    if not findings:
        return "No findings."
    return "\n".join(
        f"{number}. **{one.severity}** {code(one.place or '(model)')} ({one.code}): "
        f"{escaped(one.message)}" + (f" Fix: {code(one.fix)}" if one.fix else "")
        for number, one in enumerate(findings, 1)
    )


def one_line(text: str) -> str:
    """Make a text from outside printable on one line; control characters become spaces."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))


def escaped(text: str) -> str:
    """Escape what Markdown or HTML would interpret."""
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]|#~@])", r"\\\1", text)


def code(text: str) -> str:
    """Quote a text as inline code, whatever backticks it contains."""
    text = one_line(text).replace("|", "¦")
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest else ""
    return f"{fence}{space}{text}{space}{fence}"


def _text_table(diagnosis: Diagnosis) -> str:
    rows = [_HEADS, *(_row(one) for one in diagnosis.layers)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(_HEADS))]
    lines = []
    for row in rows:
        left = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        lines.append("  ".join([*left, *right]).rstrip())
    return "\n".join(lines)


def _row(one: LayerMoments) -> tuple[str, ...]:
    return (
        one_line(one.place) or "(model)",
        one.kind,
        str(one.units),
        number(one.mean),
        number(one.var),
        number(one.predicted_var),
        number(one.weight_sumsq),
        number(one.gradient),
        "yes" if one.ok else "NO",
    )


def number(value: float | None) -> str:
    """Write three digits; nothing for None."""
    return "–" if value is None else f"{value:.3g}"
