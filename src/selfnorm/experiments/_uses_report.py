"""Parts of the pages of the experiments on SELU's other uses."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from selfnorm.experiments._words import listed
from selfnorm.report import Panel, Series, format_number

__all__ = [
    "best_arms",
    "best_by_depth",
    "by_depth",
    "by_epoch",
    "command",
    "layer_panels",
    "protocol",
    "see_by_depth",
    "see_variances",
    "tests_of",
    "with_spread",
]

Record = Mapping[str, Any]


def tests_of(cell: Record, key: str) -> list[float]:
    """Return a test figure of all seeds that did not diverge."""
    return [run["test"][key] for run in cell["runs"] if run["test"].get(key) is not None]


def with_spread(values: Sequence[float], digits: int = 3) -> str | None:
    """Write mean and standard deviation over seeds; None if there is no value."""
    if not values:
        return None
    mean = format_number(statistics.fmean(values), digits)
    return mean if len(values) < 2 else f"{mean} ± {format_number(statistics.stdev(values), 2)}"


def by_depth(cells: Sequence[Record], key: str, *, x: str = "depth") -> list[Series]:
    """Return a test figure of each arm over depths, with the range over seeds."""
    series = []
    for arm in dict.fromkeys(cell["arm"] for cell in cells):
        mine = [cell for cell in cells if cell["arm"] == arm]
        values = [tests_of(cell, key) for cell in mine]
        series.append(
            Series(
                arm,
                [cell[x] for cell in mine],
                [statistics.fmean(v) if v else math.nan for v in values],
                [min(v) if v else math.nan for v in values],
                [max(v) if v else math.nan for v in values],
            )
        )
    return series


def by_epoch(cells: Sequence[Record], key: str) -> list[Series]:
    """Return a curve of each cell over epochs: mean and range of the seeds."""
    series = []
    for cell in cells:
        curves = np.array([run[key] for run in cell["runs"]], dtype=float)
        known = np.isfinite(curves).any(axis=0)
        count = np.maximum(np.isfinite(curves).sum(axis=0), 1)
        mean = np.where(known, np.nansum(curves, axis=0) / count, math.nan)
        low = np.where(known, np.where(np.isnan(curves), math.inf, curves).min(axis=0), math.nan)
        high = np.where(known, np.where(np.isnan(curves), -math.inf, curves).max(axis=0), math.nan)
        series.append(Series(cell["arm"], np.arange(1, curves.shape[1] + 1), mean, low, high))
    return series


def layer_panels(
    cells: Sequence[Record], x_label: str, *, first: int = 1, key: str = "var"
) -> list[Panel]:
    """Return the variance by layer or step: at the start with its prediction, and trained."""
    start, after = [], []
    for cell in cells:
        layers = cell["layers"]
        places = np.arange(first, first + len(layers))
        start.append(Series(cell["arm"], places, [layer[key] for layer in layers]))
        foreseen = [layer.get(f"predicted_{key}") for layer in layers]
        if any(value is not None for value in foreseen):
            start.append(Series("predicted", places, foreseen, kind="dashed", style_of=cell["arm"]))
        trained = cell["layers_trained"]
        if trained:
            after.append(Series(cell["arm"], places, [layer[key] for layer in trained]))
    panels = [Panel("At the start", x_label, "variance", start, y_scale="log")]
    if after:
        panels.append(Panel("After training", x_label, "variance", after, y_scale="log"))
    return panels


def protocol(config: Record) -> str:
    """Return the sentence on rates, seeds and schedule that all pages share."""
    rates = listed(f"{lr:g}" for lr in config["lrs"])
    others = (
        "" if config["seeds"] == 1 else f" and used by {config['seeds'] - 1} more; bands show all"
    )
    return (
        f"Adam, the learning rate falling to zero along half a cosine over {config['epochs']} "
        f"epochs. Each arm tries the rates {rates} with the first seed; the one with the best "
        f"validation after the last epoch is kept{others}. Test rows choose nothing."
    )


def command(name: str, config: Record, lists: Sequence[str], plain: Sequence[str]) -> str:
    """Return the command line that makes the page again."""
    words = [f"selfnorm experiment {name}"]
    words += [f"--{key} {','.join(str(value) for value in config[key])}" for key in lists]
    words += [f"--{key.replace('_', '-')} {config[key]}" for key in plain]
    return " ".join(words)


def best_arms(cells: Sequence[Record], key: str, *, highest: bool = False) -> list[str]:
    """Return the best arm and those whose mean lies within two of its standard errors.

    The standard error is that of the difference of two means of seeds; with one seed only the
    best is named.
    """
    known = [(cell, tests_of(cell, key)) for cell in cells]
    known = [(cell, values) for cell, values in known if values]
    if not known:
        return []
    sign = -1.0 if highest else 1.0
    known.sort(key=lambda pair: sign * statistics.fmean(pair[1]))
    best, top = known[0]
    names = [best["arm"]]
    for cell, values in known[1:]:
        if min(len(top), len(values)) < 2:
            continue
        error = math.sqrt(sum(statistics.variance(v) / len(v) for v in (top, values)))
        if abs(statistics.fmean(values) - statistics.fmean(top)) <= 2 * error:
            names.append(cell["arm"])
    return names


def best_by_depth(record: Record, key: str, sentence: str) -> str:
    """Say which arm has the lowest figure at each depth, and which cannot be told from it.

    ``sentence`` holds the places ``{depth}`` and ``{arm}``.
    """
    texts = [] if record["complete"] else ["Not finished: the cells done so far are shown."]
    for depth, cells in _depths(record["arms"]).items():
        names = best_arms(cells, key)
        if names:
            text = sentence.format(depth=depth, arm=names[0])
            if names[1:]:
                text += f"; {listed(names[1:])} cannot be told from it with these seeds"
            texts.append(text + ".")
    return " ".join(texts) or "No net trains."


def see_by_depth(
    cells: Sequence[Record], key: str, unit: str, written: Callable[[float], str]
) -> str:
    """List the mean test figure of each arm, depth by depth."""
    parts = []
    for depth, mine in _depths(cells).items():
        found = [
            f"{cell['arm']} {written(statistics.fmean(values))}"
            for cell in mine
            if (values := tests_of(cell, key))
        ]
        parts.append(f"{depth} {unit}: {', '.join(found) if found else 'all diverge'}")
    return f"{'; '.join(parts)}."


def see_variances(cells: Sequence[Record], where: int, what: str) -> str:
    """List an arm's variance at one of its places: predicted, at the start, trained."""
    parts = []
    for cell in cells:
        start = cell["layers"][where]
        text = f"{cell['arm']} {start['var']:.2g}"
        if start.get("predicted_var") is not None:
            text += f" (predicted {start['predicted_var']:.2g})"
        if cell["layers_trained"]:
            text += f", trained {cell['layers_trained'][where]['var']:.2g}"
        parts.append(text)
    return f"Variance of {what}: {'; '.join(parts)}."


def _depths(cells: Sequence[Record]) -> dict[int, list[Record]]:
    depths = dict.fromkeys(cell["depth"] for cell in cells)
    return {depth: [cell for cell in cells if cell["depth"] == depth] for depth in depths}
