"""The page of the faults experiment, made from its record."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from selfnorm.experiments._words import listed
from selfnorm.report import Page, Panel, Section, Series, Table, format_number, line_chart, palette

__all__ = ["comparison", "markdown", "render", "table_of"]

Record = Mapping[str, Any]
Row = tuple[str | float | None, ...]

COLUMNS: Final = (
    "net", "first finding", "variance", "mended", "score", "mended ", "difference",
)  # fmt: skip
_PICTURES: Final = 6


def table_of(record: Record) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """Return heads and rows of the summary table."""
    rows: list[Row] = []
    for arm in record["arms"]:
        first = arm["findings"][0]["code"] if arm["findings"] else "none"
        difference = comparison(arm)
        rows.append(
            (
                arm["name"],
                first,
                arm["sick"]["var"],
                arm["mended"]["var"],
                _score(arm["sick"]),
                _score(arm["mended"]),
                difference[0] if difference else "–",
            )
        )
    return COLUMNS, tuple(rows)


def comparison(arm: Record) -> tuple[str, str] | None:
    """Return the mean difference of the scores with its standard error, and the word for it.

    Seeds are paired. ``better`` and ``worse`` are differences beyond two standard errors, or
    nets of which only one side ended with a finite score.
    """
    pairs = list(zip(*(_last(arm[half]) for half in ("sick", "mended")), strict=True))
    known = [100 * (after - before) for before, after in pairs if None not in (before, after)]
    if not known:
        if all(before is None for before, _ in pairs) and any(a is not None for _, a in pairs):
            return "trains at last", "better"
        return None
    mean = statistics.fmean(known)
    error = statistics.stdev(known) / math.sqrt(len(known)) if len(known) > 1 else math.nan
    word = "the same"
    if abs(mean) > 2 * error:
        word = "better" if mean > 0 else "worse"
    spread = "" if math.isnan(error) else f" ± {error:.1f}"
    return f"{mean:+.1f}{spread}", word


def render(record: Record) -> str:
    """Return the page of a record with at least one net as HTML text."""
    sections = []
    for title, text, group in _groups(record):
        sections.append(
            Section(title, text, table=_table(group), figure=_variances(group), see=_see(group))
        )
        sections.append(
            Section(
                f"{title}: findings",
                ["What the check says of each net as people write it, and the fix taken here."],
                table=_findings(group),
                see=_right(group),
            )
        )
    return Page(
        "Why SELU does not work",
        "Nets with one fault each and nets of others: what the check finds, what its fix changes.",
        sections,
        verdict=_verdict(record),
        environment=record["environment"],
        command=command(record["config"]),
    ).html()


def markdown(record: Record) -> str:
    """Return the tables of the page as Markdown, for the documentation."""
    parts = [f"```\n{command(record['config'])}\n```", _verdict(record)]
    for title, text, group in _groups(record):
        parts += [f"## {title}", *text, _lines(_table(group)), _see(group)]
        parts += [f"### {title}: findings", _lines(_findings(group)), _right(group)]
    return "\n\n".join(parts) + "\n"


def command(config: Record) -> str:
    """Return the command line that makes the record again."""
    words = [f"--{key} {config[key]}" for key in ("epochs", "seed", "seeds")]
    return " ".join(["selfnorm experiment faults", *words, f"--arms {','.join(config['arms'])}"])


def _groups(record: Record) -> list[tuple[str, list[str], list[Record]]]:
    config = record["config"]
    own = [arm for arm in record["arms"] if not arm["public"]]
    public = [arm for arm in record["arms"] if arm["public"]]
    reading = (
        "Variance: of the last activation before training (of weight-decay-drift: after it), of "
        "which 1 is the target. Score: mean over the seeds with its standard deviation, after "
        "training. Difference: of the pairs of one seed, with its standard error; points of "
        "accuracy, of explained variance or of concordance."
    )
    found = []
    if own:
        text = (
            "Digits; 24 layers of 64 units where nothing else is said, SELU and LeCun normal "
            f"weights but for the fault; SGD with momentum 0.9, rate {config['lr_sgd']}, batches "
            f"of {config['batch_size']}, {config['epochs']} epochs, {config['seeds']} seeds."
        )
        found.append(("One fault each", [text, reading], own))
    if public:
        text = (
            f"Rebuilt from their papers; Adam, rate {config['lr_adam']}, batches of "
            f"{config['batch_size']}, {config['epochs']} epochs, {config['seeds']} seeds."
        )
        found.append(("Nets of others", [text], public))
    return found


def _table(group: Sequence[Record]) -> Table:
    columns, rows = table_of({"arms": group})
    heads = [*columns[:2], "variance, as written", "variance, mended", "score, as written",
             "score, mended", columns[6]]  # fmt: skip
    return Table(heads, rows)


def _findings(group: Sequence[Record]) -> Table:
    rows = []
    for arm in group:
        codes = list(dict.fromkeys(one["code"] for one in arm["findings"]))
        rows.append(
            (
                arm["name"],
                arm["what"],
                ", ".join(codes) or "none",
                arm["fix"],
                ", ".join(dict.fromkeys(arm["mended"]["codes"])) or "none",
            )
        )
    return Table(("net", "as written", "findings", "fix", "findings after it"), rows)


def _lines(table: Table) -> str:
    lines = [tuple(table.columns), ("---",) * len(table.columns), *table.cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _variances(group: Sequence[Record]) -> Any:
    shown = [arm for arm in group if arm["sick"]["var_by_layer"]]
    # The largest deviations, which a picture of all would hide.
    shown = sorted(shown, key=lambda arm: -_off(arm["sick"]["var"]))[:_PICTURES]
    if not shown:
        return None

    def lines(half: str) -> list[Series]:
        return [
            Series(arm["name"], range(1, len(arm[half]["var_by_layer"]) + 1),
                   arm[half]["var_by_layer"])
            for arm in shown
        ]  # fmt: skip

    return line_chart(
        [
            Panel("As written", "activation", "variance", lines("sick"), y_scale="log"),
            Panel("Mended", "activation", "variance", lines("mended"), y_scale="log"),
        ],
        alt="Variance of the activations by layer, as people write the nets and mended",
        styles=palette([arm["name"] for arm in shown]),
    )


def _off(var: float | None) -> float:
    return math.inf if var is None or var <= 0 else abs(math.log(var))


def _last(half: Record) -> list[float | None]:
    return [curve[-1] for curve in half["score_by_seed"]]


def _score(half: Record) -> str | None:
    known = [100 * value for value in _last(half) if value is not None]
    if not known:
        return "diverges"
    text = f"{statistics.fmean(known):.1f}"
    return text if len(known) < 2 else f"{text} ± {statistics.stdev(known):.1f}"


def _see(group: Sequence[Record]) -> str:
    words: dict[str, list[str]] = {"better": [], "the same": [], "worse": []}
    for arm in group:
        compared = comparison(arm)
        if compared is not None:
            words[compared[1]].append(arm["name"])
    parts = [
        f"{head}: {listed(words[key])}."
        for key, head in (
            ("better", "The fix helps"),
            ("the same", "No difference beyond two standard errors"),
            ("worse", "The fix does harm"),
        )
        if words[key]
    ]
    return " ".join(parts) or "Neither side of any pair ended with a finite score."


def _right(group: Sequence[Record]) -> str:
    expected = [arm for arm in group if arm["expected"]]
    right = [arm for arm in expected if arm["right"]]
    if not expected:
        return "No fault of SELU is expected in these nets."
    text = f"The first finding is the fault in {len(right)} of {len(expected)} nets."
    wrong = [
        f"{arm['name']} ({arm['findings'][0]['code'] if arm['findings'] else 'none'} is told first)"
        for arm in expected
        if not arm["right"]
    ]
    return text if not wrong else f"{text} Not in {listed(wrong)}."


def _verdict(record: Record) -> str:
    arms = record["arms"]
    words = [compared[1] for arm in arms if (compared := comparison(arm)) is not None]
    text = [] if record["complete"] else ["Not finished: the nets done so far are shown."]
    text.append(
        f"Of {len(words)} nets the fix makes {words.count('better')} better, "
        f"{words.count('worse')} worse and leaves {words.count('the same')} as good as they were."
    )
    span = [arm["mended"]["var"] for arm in arms if arm["mended"]["var"] is not None]
    if span:
        text.append(
            f"The variance of the last activation lies between {format_number(min(span), 2)} and "
            f"{format_number(max(span), 2)} after it."
        )
    return " ".join(text)
