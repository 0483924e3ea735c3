"""Tables of the theory report: activations, certificates, and what no certificate covers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from typing import Any, Final

from selfnorm.report._numbers import format_number
from selfnorm.report._page import Section
from selfnorm.report._table import Align, Table

__all__ = ["CLAIMS", "activation_section", "certificate_sections"]

Record = Mapping[str, Any]

CLAIMS: Final = {
    "theorem1": "Theorem 1",
    "theorem2": "Theorem 2",
    "theorem3": "Theorem 3",
    "lemma12": "Lemma 12",
    "box": "larger box",
}
# Statement of a part with one bound, and which way that may be rounded and stay true.
_PROVEN: Final = {
    "contraction": ("norm ≤ {} ({})", ROUND_CEILING),
    "variance_shrinks": ("new variance − old ≤ {}", ROUND_CEILING),
    "variance_grows": ("new variance − old ≥ {}", ROUND_FLOOR),
}
_ORDER: Final = ("attracting", "neutral", "repelling")
_SIDES: Final = ("mean", "var", "weight_sum", "weight_sumsq")


def activation_section(record: Record) -> Section:
    """Return the section on activations that can and cannot be made self-normalizing."""
    activations = sorted(
        record["activations"],
        key=lambda one: (_ORDER.index(one["behaviour"]), round(one["var_slope"], 9), one["name"]),
    )
    names = {
        behaviour: [one["name"] for one in activations if one["behaviour"] == behaviour]
        for behaviour in _ORDER
    }
    best = activations[0]
    return Section(
        "Which activations can be made self-normalizing",
        [
            "γ (f − E f) with γ = 1/sd f has the fixed point (0, 1) for every activation f. "
            "Whether the point attracts is another matter: ∂ν̃/∂ν, the share of a small error in "
            "the variance that one layer leaves, must lie below 1. χ is the growth of the squared "
            "gradient per layer. All numbers are derived (float64) for z ~ N(0, 1) and the "
            "default parameters of each activation.",
        ],
        table=Table(
            ["activation f", "E f", "γ", "∂ν̃/∂ν", "χ", "(0, 1) is"],
            [
                [
                    one["name"],
                    one["mean"],
                    one["gain"],
                    f"{one['var_slope']:.4f}",
                    f"{one['chi']:.4f}",
                    one["behaviour"],
                ]
                for one in activations
            ],
            align=["left", "right", "right", "right", "right", "left"],
        ),
        see=f"{_counted(names['attracting'])} of {len(activations)} attract, {best['name']} fastest"
        f" ({format_number(best['var_slope'], 3)} of an error left per layer); "
        f"{_listed(names['repelling'])} repel: no affine map of their output makes "
        "(0, 1) attract; "
        f"{_listed(names['neutral'])} restore nothing.",
    )


def _counted(names: list[str]) -> str:
    return str(len(names)) if names else "None"


def _listed(names: list[str]) -> str:
    if not names:
        return "none"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def certificate_sections(record: Record) -> list[Section]:
    """Return the sections on what is proven, and on what is not."""
    if record["missing"] is not None:
        return [
            Section(
                "What is proven",
                [record["missing"]],
                see="No certificate was made: the boxes are missing from the pictures above.",
            ),
            _not_covered(),
        ]
    return [_theorems(record), _basins(record), _not_covered()]


def _theorems(record: Record) -> Section:
    rows = [row for one in record["certificates"] for row in _rows(one)]
    boxes = sum(part["boxes"] for one in record["certificates"] for part in one["parts"])
    seconds = sum(one["seconds"] for one in record["certificates"])
    holding = sum(one["holds"] for one in record["certificates"])
    return Section(
        "What is proven",
        [
            "Each claim is about all means, variances, Σw and Σw² of its box at once. Bounds are "
            "certified by ball arithmetic on rectangles that cover the box, with SELU’s constants "
            "enclosed exactly. A spectral norm below 1 makes the map a contraction in the metric "
            "named: Euclidean, or (ln) d² = k² (Δ mean)² + (Δ ln variance)². Rows “mapped into” "
            "show where the box goes. Theorem 2 says that large variances shrink, Theorem 3 that "
            "small ones grow. Bounds are rounded so that they stay true; seconds are measured.",
        ],
        table=Table(
            ["claim", "holds", "certified", *_HEADS, "rectangles"],
            rows,
        ),
        see=f"{holding} of {len(record['certificates'])} claims hold, by {boxes:,} rectangles in "
        f"{format_number(seconds, 2)}\u00a0s.{_wider(record)}",
    )


def _wider(record: Record) -> str:
    """Compare the variances of the paper's box and of the largest one."""
    spans = {
        one["claim"]: part["box"]["var"]
        for one in sorted(record["certificates"], key=lambda one: one["holds"] and _ratio(one))
        for part in one["parts"]
        if part["kind"] == "self_map"
    }
    if set(spans) != {"theorem1", "box"}:
        return ""
    ours, paper = _span(spans["box"]), _span(spans["theorem1"])
    return (
        f" The largest box draws all variances from {ours} to one fixed point, the paper’s those "
        f"from {paper}."
    )


_HEADS: Final = ("mean", "variance", "Σw", "Σw²")


def _rows(one: Record) -> list[list[Any]]:
    name = CLAIMS[one["claim"]]
    if not one["holds"]:
        return [[name, False, one["counterexample"], None, None, None, None, None]]
    total = sum(part["boxes"] for part in one["parts"])
    cost = f"{total:,} in {format_number(one['seconds'], 2)} s"
    rows = []
    for number, part in enumerate(one["parts"]):
        sides = {side: _span(part["box"][side]) for side in _SIDES}
        if part["kind"] == "self_map":
            statement = "mapped into"
            sides |= _image(part["bounds"])
        else:
            form, way = _PROVEN[part["kind"]]
            statement = form.format(_rounded(part["bounds"][0], way), _metric(one))
        rows.append([name, True, statement, *sides.values(), None if number else cost])
    return rows


def _image(bounds: list[float]) -> dict[str, str]:
    ends = [
        _rounded(bound, way, 3)
        for bound, way in zip(bounds, (ROUND_FLOOR, ROUND_CEILING) * 2, strict=True)
    ]
    return {"mean": f"{ends[0]} to {ends[1]}", "var": f"{ends[2]} to {ends[3]}"}


def _rounded(bound: float, way: str, digits: int = 4) -> str:
    context = Context(prec=digits, rounding=way)
    return format_number(float(context.create_decimal(repr(bound))), digits)


def _metric(one: Record) -> str:
    if one["metric"] == "euclidean":
        return "Euclidean"
    return f"ln, k = {format_number(one['mean_weight'])}"


def _span(ends: list[float]) -> str:
    """Write a side of a box; its ends are outward roundings of the decimals shown."""
    low, high = (format_number(end, 4) for end in ends)
    return f"{low} to {high}"


def _basins(record: Record) -> Section:
    rows: list[list[Any]] = []
    for one in record["basins"]:
        certificate = one["certificate"]
        depths = ", ".join(f"{depth:,}" for depth in one["depths"]) or None
        variance = format_number(one["var"])
        if certificate is None:
            rows.append([variance, depths, None, None, None, None, "none found"])
            continue
        box = certificate["parts"][0]["box"]
        rows.append(
            [
                variance,
                depths,
                _span(box["mean"]),
                _span(box["var"]),
                format_number(box["var"][1] / box["var"][0], 3),
                _rounded(certificate["contraction"], ROUND_CEILING, 5),
                _metric(certificate),
            ]
        )
    found = [one for one in record["basins"] if one["certificate"]]
    if not found:
        return Section(
            "Basins of other fixed points", table=_table(rows), see="No basin was found."
        )
    sides = found[0]["certificate"]["parts"][0]["box"]
    weights = f"Σw {_span(sides['weight_sum'])} and Σw² {_span(sides['weight_sumsq'])}"
    widest = max(found, key=lambda one: _ratio(one["certificate"]))
    return Section(
        "Basins of other fixed points",
        [
            f"For SELUs with other target variances, and all weights with {weights}: the widest "
            "box that was found and certified to be mapped into itself and contracted. Every start "
            "in it is drawn to one fixed point. The search is heuristic, the box is proven; a "
            "wider one may exist. Ends are rounded here; a stored certificate has them exactly.",
        ],
        table=_table(rows),
        see=f"Every basin of the table holds variances that differ by a factor of "
        f"{format_number(min(_ratio(one['certificate']) for one in found), 3)} or more; the widest "
        f"is that of target variance {format_number(widest['var'])}.",
    )


def _table(rows: list[list[Any]]) -> Table:
    heads = ["target variance", "matched to layers", "mean", "variance", "highest / lowest"]
    align: list[Align] = ["left", "left", "left", "left", "right", "right", "left"]
    return Table([*heads, "contraction", "metric"], rows, align=align)


def _ratio(certificate: Record) -> float:
    low, high = certificate["parts"][0]["box"]["var"]
    return float(high / low)


def _not_covered() -> Section:
    outside = math.erfc(0.1 / math.sqrt(2))
    share = format_number(100 * outside, 2)
    return Section(
        "What no certificate covers",
        table=Table(
            ["the proofs assume", "in a network", "what brings it nearer"],
            [
                [
                    "a normal pre-activation",
                    "a weighted sum of n inputs is near to normal",
                    "wide layers, no few dominant weights",
                ],
                [
                    "inputs with one mean and one variance",
                    "units differ by their weights, more so after training",
                    "standardised inputs",
                ],
                [
                    "independent inputs of a unit",
                    "correlations grow with depth",
                    "wide layers, orthogonal weights",
                ],
                [
                    "|Σw| ≤ 0.1",
                    f"independent weights: {share} % of units lie outside (derived: Σw ~ N(0, 1))",
                    "weights centred in each row",
                ],
                [
                    "Σw² near 1",
                    "true at the start, in training it drifts",
                    "weights scaled to unit length in each row",
                ],
            ],
        ),
        see=f"A certificate is about the moment map, not about a network of finite width: with "
        f"independent weights {share} % of the units begin outside the paper’s range of Σw.",
    )
