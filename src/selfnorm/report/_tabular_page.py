"""The page of a model that was trained on a table."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from selfnorm.report._dependencies import require
from selfnorm.report._numbers import format_number
from selfnorm.report._page import Page, Section
from selfnorm.report._table import Table
from selfnorm.report._tabular_pictures import (
    calibration_section,
    curves_section,
    errors_section,
    health_section,
    importance_section,
)

__all__ = ["tabular_report"]

Record = Mapping[str, Any]

_NAMES: Final = {
    "accuracy": "accuracy",
    "auc": "area under the ROC curve",
    "log_loss": "log-loss, nats",
    "ece": "expected calibration error",
    "rmse": "root mean squared error",
    "mae": "mean absolute error",
    "r2": "R², share of variance explained",
}
_KINDS: Final = {
    "number": "number",
    "text": "category",
    "date": "date",
    "constant": "constant",
    "empty": "empty",
    "identifier": "new in nearly every row",
}
_MOST_COLUMNS: Final = 200


def tabular_report(path: str | os.PathLike[str], record: Mapping[str, Any]) -> Path:
    """Write how a model was trained on a table, and how good it is, as one HTML file.

    Parameters
    ----------
    path : str or path-like
        The file; missing folders are made.
    record : mapping
        The content of ``metrics.json`` as ``selfnorm train`` writes it.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    MissingDependencyError
        If matplotlib or jinja2 is not installed.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import json
    >>> record = json.loads(Path("out/houses/metrics.json").read_text())  # doctest: +SKIP
    >>> tabular_report("houses.html", record)  # doctest: +SKIP
    """
    require()
    return _page(record).write(path)


def _page(record: Record) -> Page:
    sections = [
        _scores(record),
        errors_section(record),
        calibration_section(record),
        importance_section(record),
        curves_section(record),
        health_section(record),
        _data(record),
        _settings(record),
        _use(record),
    ]
    rows = record["rows"]
    return Page(
        f"Predicting {record['target']}",
        f"A {record['task']} model: an ensemble of self-normalizing networks, trained on "
        f"{rows['training']:,} rows of {Path(record['file']).name} and measured on "
        f"{rows['held_out']:,} rows that it has not seen.",
        [section for section in sections if section is not None],
        verdict=_verdict(record),
        environment=record["environment"]
        | {f"seconds, {name}": value for name, value in record["seconds"].items()},
        command=_command(record),
    )


def _verdict(record: Record) -> str:
    metrics, baseline = record["metrics"], record["baseline"]
    if record["task"] == "classification":
        return (
            f"Right for {100 * metrics['accuracy']:.1f} % of the held-out rows, where always "
            f"answering the most frequent class is for {100 * baseline['accuracy']:.1f} %."
        )
    return (
        f"Off by {format_number(metrics['rmse'])} (root mean square), where always answering the "
        f"mean is by {format_number(baseline['rmse'])}."
    )


def _command(record: Record) -> str:
    used, given = record["settings"]["used"], record["settings"]["parameters"]
    words = ["selfnorm", "train", record["file"], "--target", record["target"]]
    words += ["--task", record["task"], "--test-fraction", str(used["held-out share"])]
    words += ["--seed", str(used["seed"]), "--out", record["folder"]]
    if given["n_members"] != "auto":
        words += ["--members", str(given["n_members"])]
    if used["time limit, s"] is not None:
        words += ["--time-limit", f"{used['time limit, s']:g}"]
    return shlex.join(words)


def _scores(record: Record) -> Section:
    names = record["metrics"]
    better = sum(_better(record, name) for name in names if name != "ece")
    count = sum(name != "ece" for name in names)
    return Section(
        "How good it is",
        table=Table(
            ["on held-out rows", "model", f"knowing only {record['baseline_name']}"],
            [
                [_NAMES[name], _cell(value), _cell(record["baseline"][name])]
                for name, value in names.items()
            ],
            align=["left", "right", "right"],
        ),
        see=f"The model beats the baseline in {better} of {count} scores. Measured on one random "
        "split: another one gives somewhat different numbers.",
    )


def _cell(value: float | None) -> str | None:
    return None if value is None else format_number(float(value))


def _better(record: Record, name: str) -> bool:
    value, other = record["metrics"][name], record["baseline"][name]
    if value is None or other is None:
        return False
    return bool(value > other if name in ("accuracy", "auc", "r2") else value < other)


def _data(record: Record) -> Section:
    rows = record["rows"]
    columns = record["columns"]
    cells = []
    for one in columns[:_MOST_COLUMNS]:
        values = "" if one["levels"] is None else f"{one['levels']:,} values"
        if one["low"] is not None:
            ends = one["low"], one["high"]
            low, high = (v if isinstance(v, str) else format_number(v) for v in ends)
            values = f"{low} to {high}"
        name = one["name"] if one["name"].strip() else repr(one["name"])
        cells.append([name, _KINDS[one["kind"]], one["missing"], values or None, one["used"]])
    notes = [record["task_reason"], *record["notes"]]
    if len(columns) > len(cells):
        notes.append(f"The first {len(cells)} of {len(columns):,} columns are listed.")
    used = sum(one["used"] == "yes" for one in columns)
    empty = sum(one["missing"] > 0 for one in columns if one["used"] == "yes")
    return Section(
        "The data",
        notes,
        table=Table(["column", "kind", "missing", "values", "used"], cells),
        see=f"{rows['file']:,} rows; {used} of {len(columns)} columns are used, {empty} of these "
        "have missing values.",
    )


def _settings(record: Record) -> Section:
    settings = record["settings"]
    cells = [[name, _setting(value)] for name, value in settings["used"].items()]
    given = [
        f"{name}={value}" for name, value in settings["parameters"].items() if value is not None
    ]
    return Section(
        "Settings",
        [f"As given to the estimator (auto: chosen from the table’s size): {', '.join(given)}."],
        table=Table(["what was used", "value"], cells, align=["left", "right"]),
        see="What is not listed has the estimator's default.",
    )


def _setting(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return format_number(value)


def _use(record: Record) -> Section:
    folder = record["folder"]
    model = str(Path(folder) / "model.safetensors")
    quoted = shlex.quote(folder)
    return Section(
        "Use the model",
        table=Table(
            ["to", "type"],
            [
                ["predict a file", f"selfnorm predict {quoted} NEW.csv --out predictions.csv"],
                ["load it in Python", f"model = selfnorm.load({model!r})"],
                [
                    "predict in Python",
                    "model.predict(selfnorm.tabular.read_rows('NEW.csv', model))",
                ],
                ["deploy it without Python", f"selfnorm export {quoted} --out model.onnx"],
            ],
        ),
        see="model.safetensors is the whole model, preprocessing included; it can be moved.",
    )
