"""The page of the tabular experiment, made from its record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from selfnorm.experiments._uci_statistics import MEASURES, Grid, Measure, grid_of, paired
from selfnorm.report import Page, Section, Table, format_number

__all__ = ["comparison_rows", "markdown", "render", "table_of"]

Record = Mapping[str, Any]
Row = tuple[str | float | None, ...]

_PAPER: Final = "paper's SNN"
_GROUPS: Final = (
    (None, "All sets"),
    (False, "Sets with four folds"),
    (True, "Sets with a fixed test part"),
)


def table_of(record: Record) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """Return heads and rows of the summary over all sets."""
    return _summary(record, None)


def render(record: Record) -> str:
    """Return the page of a record as HTML text."""
    sections = []
    for title, paragraphs, (columns, rows), see in _parts(record):
        table = Table(list(columns), [list(row) for row in rows])
        sections.append(Section(title, paragraphs, table=table, see=see))
    return Page(
        f"Tables: {record['config']['data']}",
        "Each method at its own defaults, on the same training and test rows.",
        sections,
        verdict=_verdict(record),
        environment={
            **record["environment"],
            **{method["name"]: method["version"] for method in record["methods"]},
        },
        command=_command(record),
    ).html()


def markdown(record: Record) -> str:
    """Return the tables of the page as Markdown, for the documentation."""
    parts = [f"```\n{_command(record)}\n```", _verdict(record)]
    for title, paragraphs, (columns, rows), see in _parts(record):
        lines = [columns, ["---"] * len(columns), *Table(list(columns), rows).cells]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        parts.append("\n\n".join([f"### {title}", *paragraphs, body, see]))
    return "\n\n".join(parts) + "\n"


def comparison_rows(record: Record, fixed: bool | None) -> list[Row]:
    """Return a row for each comparison of the first method with another, and with the paper."""
    measure = MEASURES[record["config"]["data"]]
    grid = _grid(record, measure, fixed)
    names = [*grid.methods, *([_PAPER] if _paper_column(record, grid) is not None else [])]
    columns = [*grid.values.T]
    if len(names) > len(columns):
        columns.append(_paper_column(record, grid))
    rows: list[Row] = []
    for name, column in zip(names[1:], columns[1:], strict=True):
        result = paired(columns[0], column, higher=measure.higher)
        if result is not None:
            rows.append(
                (
                    f"{names[0]} – {name}",
                    result.units,
                    _signed(result.difference),
                    f"{_signed(result.low)} … {_signed(result.high)}",
                    f"{result.wins} / {result.ties} / {result.losses}",
                    "–" if math.isnan(result.p) else format_number(result.p, 2),
                )
            )
    return rows


def _parts(record: Record) -> list[tuple[str, list[str], tuple[Any, list[Row]], str]]:
    """Return title, paragraphs, table and reading of each section that has something to show."""
    measure = MEASURES[record["config"]["data"]]
    unit = "set" if measure.key == "accuracy" else "fold"
    parts: list[tuple[str, list[str], tuple[Any, list[Row]], str]] = []
    for fixed, title in _GROUPS if measure.key == "accuracy" else ((None, "All folds"),):
        if not _grid(record, measure, fixed).units:
            continue
        columns, rows = _summary(record, fixed)
        common = len(_grid(record, measure, fixed).common().units)
        parts.append(
            (
                title,
                [
                    f"Means over the {common} {unit}s that every method has finished; processor "
                    "seconds of one thread for one fold, median and largest; rank 1 is best.",
                ],
                (columns, list(rows)),
                _best(rows, columns, measure),
            )
        )
        compared = comparison_rows(record, fixed)
        if compared:
            heads = ("pair", f"{unit}s", f"mean difference of {measure.words}", "95 % interval",
                     "better / same / worse", "Wilcoxon p")  # fmt: skip
            parts.append(
                (
                    f"{title}: pairs",
                    [
                        f"The first method less the other, {unit} by {unit}. Interval: bootstrap "
                        f"of the mean over {unit}s. Test: Wilcoxon's signed-rank test, two-sided, "
                        "not corrected for the number of pairs."
                        + (
                            ""
                            if unit == "set"
                            else " Folds share training rows, so both are narrower than they "
                            "should be."
                        ),
                    ],
                    (heads, compared),
                    f"{len(compared)} comparisons; an interval that holds 0 settles nothing.",
                )
            )
    parts.append(_details(record, measure))
    failures: list[Row] = [
        (cell["set"], cell["fold"], cell["method"], cell["error"])
        for cell in record["cells"]
        if "error" in cell
    ]
    if failures:
        parts.append(
            (
                "Failures",
                [],
                (("set", "fold", "method", "message"), failures),
                f"{len(failures)} fits ended so.",
            )
        )
    return parts


def _summary(record: Record, fixed: bool | None) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    measure = MEASURES[record["config"]["data"]]
    grid = _grid(record, measure, fixed)
    common = grid.common()
    ranks = grid.ranks(higher=measure.higher)
    more = [key for key in ("accuracy", "log_loss", "ece") if key != measure.key]
    if measure.key == "rmse":
        more = []
    extra = {key: _grid(record, measure, fixed, key) for key in more}
    seconds = {
        key: {name: _seconds(record, fixed, key, name) for name in grid.methods}
        for key in ("fit_seconds", "predict_seconds")
    }
    words = {"accuracy": "accuracy", "log_loss": "log-loss", "ece": "calibration error"}
    columns = (
        "method",
        measure.words,
        "rank",
        *(words[key] for key in more),
        "fit s",
        "longest fit s",
        "predict s",
    )
    rows: list[Row] = []
    for k, name in enumerate(grid.methods):
        fit, predict = seconds["fit_seconds"][name], seconds["predict_seconds"][name]
        rows.append(
            (
                name,
                _mean_of(common.values[:, k]),
                _known(ranks[k], 2),
                *(_mean_of(_only(extra[key], common)[:, k]) for key in more),
                _known(float(np.median(fit)), 3) if fit else None,
                _known(max(fit), 3) if fit else None,
                _known(float(np.median(predict)), 4) if predict else None,
            )
        )
    paper = _paper_column(record, common)
    if paper is not None and np.isfinite(paper).any():
        whole = np.isfinite(paper)
        rows.append(
            (f"{_PAPER}, {int(whole.sum())} sets", _mean_of(paper), *[None] * (len(columns) - 2))
        )
    return columns, tuple(rows)


def _details(record: Record, measure: Measure) -> tuple[str, list[str], tuple[Any, list[Row]], str]:
    grid = _grid(record, measure, None)
    paper = _paper_column(record, grid)
    sizes = {item["name"]: item for item in record["sets"]}
    columns = ["set" if paper is not None else "unit", "training rows", "columns", "classes"]
    columns += [*grid.methods, *([_PAPER] if paper is not None else [])]
    rows: list[Row] = []
    for k, unit in enumerate(grid.units):
        item = sizes[unit.partition(", fold")[0]]
        values = [_known(value, 4) for value in grid.values[k]]
        if paper is not None:
            values.append(_known(float(paper[k]), 4))
        name = f"{unit} (fixed)" if item["fixed"] else unit
        rows.append((name, item["n_train"], item["features"], item["classes"] or None, *values))
    notes = [f"Mean {measure.words} over the folds."] if measure.key == "accuracy" else []
    if paper is not None:
        notes.append(
            "The paper's numbers are of one division of the rows, after a search for the best "
            "hyperparameters of each set."
        )
    return (
        "Every set" if measure.key == "accuracy" else "Every fold",
        [*notes, *record["absent"]],
        (tuple(columns), rows),
        "The smallest sets first.",
    )


def _grid(record: Record, measure: Measure, fixed: bool | None, key: str | None = None) -> Grid:
    return grid_of(
        record, key or measure.key, fixed=fixed, by_fold=record["config"]["data"] != "uci"
    )


def _only(grid: Grid, common: Grid) -> np.ndarray[Any, np.dtype[np.float64]]:
    at = [grid.units.index(unit) for unit in common.units]
    return grid.values[at]


def _paper_column(record: Record, grid: Grid) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    known = {item["name"]: item["paper"].get("SNN", math.nan) for item in record["sets"]}
    if all(math.isnan(value) for value in known.values()):
        return None
    return np.array([known[unit] for unit in grid.units], np.float64)


def _seconds(record: Record, fixed: bool | None, key: str, method: str) -> list[float]:
    names = {s["name"] for s in record["sets"] if fixed is None or s["fixed"] == fixed}
    return [
        cell[key]
        for cell in record["cells"]
        if cell["method"] == method and cell["set"] in names and cell.get(key) is not None
    ]


def _mean_of(values: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    known = values[np.isfinite(values)]
    return round(float(known.mean()), 4) if len(known) else None


def _known(value: float, digits: int) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")


def _best(rows: tuple[Row, ...], columns: tuple[str, ...], measure: Measure) -> str:
    known = [
        row for row in rows if isinstance(row[1], float) and not str(row[0]).startswith(_PAPER)
    ]
    if not known:
        return "No set has been finished by every method yet."
    pick = max if measure.higher else min
    best = pick(known, key=lambda row: float(row[1] or 0.0))
    return f"The best mean {columns[1]} is that of {best[0]}: {best[1]}."


def _verdict(record: Record) -> str:
    compared = comparison_rows(record, None)
    state = "" if record["complete"] else "Not complete. "
    if not compared:
        return f"{state}{len(record['cells'])} fits are finished; there is nothing to compare yet."
    return state + "; ".join(
        f"{row[0]}: {row[2]} ({row[3]}, {row[1]} units, p = {row[5]})" for row in compared
    )


def _command(record: Record) -> str:
    config = record["config"]
    words = ["selfnorm experiment uci"]
    if config["data"] != "uci":
        words.append(f"--data {config['data']}")
    words.append(f"--methods {','.join(config['methods'])}")
    for name in ("sets", "folds", "max_rows"):
        if (value := config[name]) is not None:
            text = str(value) if isinstance(value, int) else ",".join(map(str, value))
            words.append(f"--{name.replace('_', '-')} {text}")
    return " ".join(words)
