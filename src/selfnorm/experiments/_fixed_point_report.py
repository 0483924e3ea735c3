"""The page of the fixed-point experiment, made from its record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from selfnorm import theory
from selfnorm.experiments._words import chance_limit, listed, percent, trains_from
from selfnorm.report import (
    Figure,
    Page,
    Panel,
    Section,
    Series,
    Table,
    format_number,
    heatmap,
    line_chart,
)

__all__ = ["render", "table_of"]

Record = Mapping[str, Any]
Row = tuple[str | float | None, ...]

COLUMNS: Final = (
    "weights",
    "depth",
    "good target variances",
    "best accuracy",
    "matched variance",
    "its accuracy",
    "accuracy at var 1",
    "seconds",
)
_MATCHED: Final = "matched"
# Budget of match_depth for the growth of the squared gradient over all layers.
_BUDGET: Final = math.e


def table_of(record: Record) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """Return heads and rows of the summary table: one row per kind of weights and depth."""
    rows = []
    for weights, depth in _columns_of(record):
        cells = _cells(record, weights, depth)
        matched = next((cell for cell in cells if cell["matched"]), None)
        standard = next((cell for cell in cells if cell["var"] == 1.0), None)
        best, good = _best(cells), _good(cells, record["config"])
        rows.append(
            (
                weights,
                depth,
                _range(good) if good else None,
                None if best is None else _accuracy(best),
                None if matched is None else float(f"{matched['var']:.3g}"),
                None if matched is None else _accuracy(matched),
                None if standard is None else _accuracy(standard),
                round(sum(cell["seconds"] for cell in cells), 1),
            )
        )
    return COLUMNS, tuple(rows)


def render(record: Record) -> str:
    """Return the page of a record with at least one cell as HTML text."""
    config = record["config"]
    kinds = list(dict.fromkeys(cell["weights"] for cell in record["arms"]))
    sections = [
        Section(
            "What theory says",
            [
                "A target variance fixes SELU's constants. Two numbers follow from them. The "
                "derivative of the variance map says how much of a small error in the variance is "
                "left one layer further: below 1 it dies out, and the smaller the faster. (The "
                "spectral norm bounds the same for mean and variance together.) The gradient "
                "factor χ says by how much one layer multiplies the squared gradient on its way "
                "back: above 1 it grows with every layer.",
            ],
            figure=_theory_figure(config),
            see=_see_theory(config),
        ),
        *(
            Section(
                f"Accuracy with {kind} weights",
                [_protocol(config)] if kind == kinds[0] else (),
                figure=_map(record, kind),
                see=_see_map(record, kind),
            )
            for kind in kinds
        ),
        Section(
            "Which target variance for which depth",
            [
                "Good target variances are those whose test accuracy lies within two standard "
                "errors of the best of their depth, so that one seed's luck does not decide; there "
                "are none where even the best does not train "
                f"(below {percent(_trains(config))}).",
            ],
            table=Table(*table_of(record)),
            see=_see_table(record),
        ),
    ]
    return Page(
        "Why (0, 1) and not (0, 4)?",
        "SELU can hold any variance. Plain fully connected nets of several depths, trained with "
        f"target variances from {format_number(config['variances'][0])} to "
        f"{format_number(config['variances'][-1])}.",
        sections,
        verdict=_verdict(record),
        environment={**record["environment"], "data": config["data_source"]},
        command=_command(config),
    ).html()


def _trains(config: Record) -> float:
    return trains_from(chance_limit(config["chance"], config["test_size"]))


def _command(config: Record) -> str:
    """Return the command line that makes the page again."""
    words = ["selfnorm experiment fixed-point", f"--data {config['data']}"]
    for key in ("variances", "depths", "weights", "lrs"):
        words.append(f"--{key} {','.join(f'{value}' for value in config[key])}")
    words += [f"--{key.replace('_', '-')} {config[key]}" for key in ("width", "epochs")]
    return " ".join([*words, f"--batch-size {config['batch_size']} --seed {config['seed']}"])


def _protocol(config: Record) -> str:
    rates = listed(f"{lr:g}" for lr in config["lrs"])
    return (
        f"Nets {config['width']} units wide on {config['data']}: {config['train_size']:,} training "
        f"images, {config['validation_size']:,} to choose among the learning rates {rates}, "
        f"{config['test_size']:,} to test; {config['epochs']} epochs, the rate falling to zero "
        "along half a cosine. The row “matched” holds the variance chosen for each depth so that "
        f"the squared gradient grows by at most {_BUDGET:.3g} over all layers. A dash: every rate "
        "diverged."
    )


def _verdict(record: Record) -> str:
    texts = [] if record["complete"] else ["Not finished: the cells done so far are shown."]
    texts.append("The target variance trades forward contraction against gradient growth.")
    for kind in dict.fromkeys(cell["weights"] for cell in record["arms"]):
        texts.append(_wants(record, kind))
    return " ".join(texts)


def _wants(record: Record, kind: str) -> str:
    """Say what the shallowest and the deepest nets want that train with one kind of weights."""
    depths = [depth for weights, depth in _columns_of(record) if weights == kind]
    good = {depth: _good(_cells(record, kind, depth), record["config"]) for depth in depths}
    train = [depth for depth in depths if good[depth]]
    if not train:
        return f"With {kind} weights no net trains."
    first, last = train[0], train[-1]
    text = f"With {kind} weights {first} layers want a target variance of {_range(good[first])}"
    if last != first:
        text += f", {last} layers one of {_range(good[last])}"
        shrinks = max(_vars(good[last])) < max(_vars(good[first]))
        text += ": deeper nets want a smaller one" if shrinks else ""
    failed = [str(depth) for depth in depths if not good[depth]]
    return f"{text}; no net of {listed(failed)} layers trains." if failed else f"{text}."


def _theory_figure(config: Record) -> Figure:
    low, high = config["variances"][0], config["variances"][-1]
    x = np.geomspace(min(low, 0.01), max(high, 4.0), 61)
    solutions = [theory.solve(0.0, float(var)) for var in x]
    chi = np.array([float(solution.chi) for solution in solutions])
    growth = [
        Series(f"depth {depth}", x, np.exp(np.minimum(depth * np.log(chi), 600.0)))
        for depth in config["depths"]
    ]
    return line_chart(
        [
            Panel(
                "Left of an error in the variance",
                "target variance",
                "share left after one layer",
                [
                    Series("derivative", x, [float(one.jacobian[1][1]) for one in solutions]),
                    Series("spectral norm", x, [float(one.spectral_norm) for one in solutions]),
                ],
                x_scale="log",
            ),
            Panel(
                "Growth of the squared gradient",
                "target variance",
                "χ to the power of the depth",
                growth,
                x_scale="log",
                y_scale="log",
                references=[("budget", _BUDGET)],
            ),
        ],
        alt="Contraction of the variance and growth of the squared gradient by target variance",
    )


def _see_theory(config: Record) -> str:
    depth = config["depths"][-1]
    parts = []
    for var in dict.fromkeys((config["variances"][0], config["variances"][-1])):
        one = theory.solve(0.0, var)
        parts.append(
            f"at target variance {format_number(var)}, {percent(float(one.jacobian[1][1]))} of an "
            f"error is left after one layer and the squared gradient grows "
            f"{format_number(float(one.chi) ** depth, 2)} times over {depth} layers"
        )
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _map(record: Record, weights: str) -> Figure:
    depths = [depth for kind, depth in _columns_of(record) if kind == weights]
    variances = record["config"]["variances"]
    labels = [*(format_number(var) for var in reversed(variances)), _MATCHED]
    values = np.full((len(labels), len(depths)), math.nan)
    for column, depth in enumerate(depths):
        for cell in _cells(record, weights, depth):
            if cell["test_accuracy"] is None:
                continue
            if cell["matched"]:
                values[-1, column] = cell["test_accuracy"]
            if cell["var"] in variances:
                row = len(variances) - 1 - variances.index(cell["var"])
                values[row, column] = cell["test_accuracy"]
    return heatmap(
        values,
        labels,
        [str(depth) for depth in depths],
        row_title="target variance",
        column_title="hidden layers",
        value_label="test accuracy",
        alt=f"Test accuracy by target variance and depth with {weights} weights",
    )


def _see_map(record: Record, weights: str) -> str:
    depths = [depth for kind, depth in _columns_of(record) if kind == weights]
    parts = []
    for depth in depths:
        best = _best(_cells(record, weights, depth))
        if best is None:
            parts.append(f"none at {depth} layers")
        else:
            name = _MATCHED if best["matched"] else format_number(best["var"])
            parts.append(f"{name} at {depth} layers ({percent(best['test_accuracy'])})")
    return f"Highest in its column: {listed(parts)}."


def _see_table(record: Record) -> str:
    shares = []
    for weights, depth in _columns_of(record):
        good = _good(_cells(record, weights, depth), record["config"])
        if good:
            shares.append(any(cell["matched"] for cell in good))
    if not shares:
        return "No net trains."
    return (
        f"The depth-matched variance is among the good ones in {sum(shares)} of {len(shares)} "
        "combinations of weights and depth in which a net trains."
    )


def _columns_of(record: Record) -> list[tuple[str, int]]:
    return list(dict.fromkeys((cell["weights"], cell["depth"]) for cell in record["arms"]))


def _cells(record: Record, weights: str, depth: int) -> list[Record]:
    return [
        cell for cell in record["arms"] if cell["weights"] == weights and cell["depth"] == depth
    ]


def _accuracy(cell: Record) -> str:
    accuracy = cell["test_accuracy"]
    return "diverged" if accuracy is None else percent(accuracy)


def _best(cells: Sequence[Record]) -> Record | None:
    known = [cell for cell in cells if cell["test_accuracy"] is not None]
    return max(known, key=lambda cell: cell["test_accuracy"]) if known else None


def _good(cells: Sequence[Record], config: Record) -> list[Record]:
    """Return the cells within two standard errors of the best, none if the best does not train."""
    best = _best(cells)
    if best is None or best["test_accuracy"] < _trains(config):
        return []
    top = best["test_accuracy"]
    margin = 2 * math.sqrt(top * (1 - top) / config["test_size"])
    return [
        cell
        for cell in cells
        if cell["test_accuracy"] is not None and cell["test_accuracy"] >= top - margin
    ]


def _vars(cells: Sequence[Record]) -> list[float]:
    return [cell["var"] for cell in cells]


def _range(cells: Sequence[Record]) -> str:
    low, high = (format_number(end(_vars(cells)), 2) for end in (min, max))
    return low if low == high else f"{low} to {high}"
