"""The page of a diagnosis: verdict, findings, moments by layer, structure."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from selfnorm import theory
from selfnorm.report._dependencies import require
from selfnorm.report._line_chart import line_chart
from selfnorm.report._page import Page, Section
from selfnorm.report._series import Panel, Series
from selfnorm.report._table import Table

__all__ = ["diagnosis_report"]

Record: TypeAlias = Mapping[str, Any]

_MOST_FINDINGS: Final = 20


def diagnosis_report(path: str | os.PathLike[str], record: Mapping[str, Any]) -> Path:
    """Write a diagnosis as one HTML file.

    Parameters
    ----------
    path : str or path-like
        The file; missing folders are made.
    record : mapping
        From ``Diagnosis.to_dict()``.

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
    >>> import tempfile
    >>> from selfnorm.report import diagnosis_report
    >>> record = {
    ...     "model": "Net", "verdict": "No finding.", "healthy": True, "rows": 8, "input_mean": 0.0,
    ...     "input_var": 1.0, "tolerance": 2.0, "findings": [], "layers": [], "structure": [],
    ... }
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     diagnosis_report(Path(folder) / "net.html", record).name
    'net.html'
    """
    require()
    return _page(record).write(path)


def _page(record: Record) -> Page:
    layers = record["layers"]
    rows = f"{record['rows']:,} rows of data went through the network. " if record["rows"] else ""
    return Page(
        f"Does {record['model']} normalise itself?",
        f"{rows}Numbers are measured, or predicted by theory from each unit’s sum and sum of "
        "squares of weights.",
        [
            *_findings(record["findings"]),
            *([_moments(record), *_gradients(layers), *_weights(layers)] if layers else []),
            *([_table(layers)] if layers else []),
            *_structure(record["structure"]),
        ],
        verdict=record["verdict"],
        environment={
            "rows": record["rows"],
            "input mean": _number(record["input_mean"]),
            "input variance": _number(record["input_var"]),
            "tolerance (factor)": record["tolerance"],
        }
        if record["rows"]
        else None,
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _findings(findings: Sequence[Record]) -> list[Section]:
    if not findings:
        return [Section("Findings", see="Nothing was found.")]
    shown = [
        Section(
            f"{number}. {one['severity']}: {one['code']}",
            [f"Where: {one['place'] or 'the model'}", one["message"]],
            see=f"Remedy: {one['fix']}" if one["fix"] else "There is nothing to mend.",
        )
        for number, one in enumerate(findings[:_MOST_FINDINGS], 1)
    ]
    more = len(findings) - len(shown)
    if more > 0:
        shown.append(Section("More findings", see=f"{more} more; mend the first ones first."))
    return shown


def _moments(record: Record) -> Section:
    layers = record["layers"]
    depth = list(range(1, len(layers) + 1))
    whole = any(one["predicted_var_path"] is not None for one in layers)
    suffix = "_path" if whole else ""

    def panel(key: str, title: str, scale: Literal["linear", "log"]) -> Panel:
        series = [Series("measured", depth, [one[key] for one in layers])]
        predicted = [one[f"predicted_{key}{suffix}"] for one in layers]
        if any(one is not None for one in predicted):
            band = key == "var" and any(one["var_low"] is not None for one in layers)
            series.append(
                Series(
                    "theory for these weights",
                    depth,
                    predicted,
                    [one["var_low"] for one in layers] if band else None,
                    [one["var_high"] for one in layers] if band else None,
                    kind="dashed",
                )
            )
        targets = {one[f"target_{key}"] for one in layers} - {None}
        target = targets.pop() if len(targets) == 1 else None
        lines = [] if target is None else [("fixed point", float(target))]
        return Panel(
            title,
            "activation",
            "over rows and units",
            series,
            y_scale=scale,
            references=[one for one in lines if scale == "linear" or one[1] > 0.0],
        )

    wide = _spans([one["var"] for one in layers])
    origin = "the network’s input alone" if whole else "what arrived at each layer"
    band = (
        "; the band is two standard errors of one row at this width"
        if any(one["var_low"] is not None for one in layers)
        else ""
    )
    return Section(
        "Mean and variance by layer",
        [f"The prediction starts from {origin}{band}."],
        figure=line_chart(
            [
                panel("mean", "Mean", "linear"),
                panel("var", "Variance", "log" if wide else "linear"),
            ],
            alt="Mean and variance of each activation, measured and predicted",
        ),
        see="A self-normalizing network stays near the fixed point at every depth.",
    )


def _spans(values: Sequence[float | None]) -> bool:
    """Tell whether values need a logarithmic axis."""
    known = [one for one in values if one]
    return bool(known) and max(known) > 10.0 * min(known) and min(known) > 0.0


def _gradients(layers: Sequence[Record]) -> list[Section]:
    measured = [one["gradient"] for one in layers]
    if sum(bool(one) for one in measured) < 2:
        return []
    depth = list(range(1, len(layers) + 1))
    series = [Series("measured", depth, measured)]
    gains = [one["predicted_gradient_gain"] for one in layers[1:]]
    if measured[-1] and all(one is not None for one in gains):
        # Backwards from the last activation: each layer multiplies the square by its gain.
        predicted = [measured[-1]]
        for gain in reversed(gains):
            predicted.append(predicted[-1] * math.sqrt(gain))
        series.append(Series("theory for these weights", depth, predicted[::-1], kind="dashed"))
    panels = [
        Panel(
            "Gradient",
            "activation",
            "norm per row",
            series,
            y_scale="log" if _spans(measured) else "linear",
        )
    ]
    correlations = [one["correlation"] for one in layers]
    if any(one is not None for one in correlations):
        panels.append(
            Panel(
                "Correlation of two rows",
                "activation",
                "over units",
                [Series("measured", depth, correlations)],
            )
        )
    return [
        Section(
            "Gradients and correlations by layer",
            figure=line_chart(
                panels, alt="Norm of the gradient and correlation of two rows, by activation"
            ),
            see="A gradient that falls or rises by orders of magnitude trains some layers only; "
            "a correlation near 1 means that rows can no longer be told apart.",
        )
    ]


def _weights(layers: Sequence[Record]) -> list[Section]:
    known = [(k, one) for k, one in enumerate(layers, 1) if one["weight_sumsq"] is not None]
    if not known:
        return []
    series = Series(
        "mean over units (5 % to 95 %)",
        [k for k, _ in known],
        [one["weight_sumsq"] for _, one in known],
        [one["weight_sumsq_low"] for _, one in known],
        [one["weight_sumsq_high"] for _, one in known],
    )
    held = theory.weight_scale_range("selu", form="mean_field")
    ends = "" if held is None else f" from {held.low:.3g} to {held.high:.3g}"
    lowest = [one["weight_sumsq_low"] for _, one in known]
    return [
        Section(
            "Weights by layer",
            figure=line_chart(
                [
                    Panel(
                        "Sum of a unit’s squared weights",
                        "activation",
                        "Σw²",
                        [series],
                        y_scale="log" if _spans(lowest) else "linear",
                        references=[("SELU’s 1", 1.0)],
                    )
                ],
                alt="Sum of squared weights of the units of each layer",
            ),
            see=f"SELU holds the variance of independent weights for sums{ends}.",
        )
    ]


def _table(layers: Sequence[Record]) -> Section:
    columns = [
        "place", "kind", "units", "fan-in", "mean", "variance", "predicted", "Σw", "Σw²",
        "saturated", "dead", "gradient", "gain", "chi Σw²", "correlation", "outside Theorem 1",
        "within tolerance",
    ]  # fmt: skip
    rows = [
        [
            one["place"] or "(model)", one["kind"], one["units"], one["fan_in"] or None,
            one["mean"], one["var"], one["predicted_var"], one["weight_sum"],
            one["weight_sumsq"], one["saturated_share"], one["dead_share"], one["gradient"],
            one["gradient_gain"], one["predicted_gradient_gain"], one["correlation"],
            one["domain_distance"], one["ok"],
        ]
        for one in layers
    ]  # fmt: skip
    return Section(
        "Layer by layer",
        table=Table(columns, rows),
        see="Gain is the factor by which a layer multiplies squared gradients on their way back; "
        "outside Theorem 1 is the distance from its box, in half lengths of the side.",
    )


def _structure(lines: Sequence[str]) -> list[Section]:
    if not lines:
        return []
    rows = []
    for number, line in enumerate(lines, 1):
        place, found, what = line.partition(": ")
        rows.append([str(number), place if found else "", what if found else line])
    return [
        Section(
            "Structure",
            table=Table(["step", "place", "operation"], rows),
            see="The operations in the order in which they ran, functional calls included.",
        )
    ]
