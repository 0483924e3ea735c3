"""Vector fields of SELU's moment map: by target variance, and by the scale of the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from selfnorm import theory
from selfnorm.report._choice import Choice, Frame
from selfnorm.report._figure import Figure
from selfnorm.report._numbers import format_number
from selfnorm.report._page import Section
from selfnorm.report._series import Series
from selfnorm.report._style import Style, palette
from selfnorm.report._vector_field import Map, Region, vector_field

__all__ = ["field_sections"]

Record = Mapping[str, Any]
Array = NDArray[np.float64]

_MEANS: Final = (-1.0, 2.5)
_VARS: Final = (0.008, 60.0)
_PATHS: Final = "layers, one mark each"
_POINT: Final = "attracting fixed point"
_BASIN: Final = "certified basin of the fixed point"


def field_sections(record: Record) -> list[Section]:
    """Return the sections with the two choices of vector fields."""
    certified = _certified(record)
    styles = palette([*(label for label, _ in certified), _BASIN, _PATHS, _POINT])
    # Round marks stay readable where the layers of a path crowd; the place they go to stands out.
    styles[_PATHS] = replace(styles[_PATHS], marker="o")
    styles[_POINT] = replace(styles[_POINT], marker="D")
    return [_by_target(record, certified, styles), _by_weights(record, certified, styles)]


def _certified(record: Record) -> list[tuple[str, Record]]:
    """Return label and box of the certified self-maps that contract, the smallest first."""
    found = []
    for one in record["certificates"]:
        if any(part["kind"] == "self_map" for part in one["parts"]):
            box = one["parts"][0]["box"]
            low, high = (format_number(end) for end in box["weight_sumsq"])
            whose = "Theorem 1" if one["claim"] == "theorem1" else "larger box"
            found.append((f"{whose}, certified for Σw² {low} to {high}", box))
    return found


def _field(
    constants: Mapping[str, float],
    weight_sumsq: float,
    fixed_point: tuple[float, float] | None,
    paths: list[list[list[float]]],
    boxes: list[tuple[str, Record]],
    styles: Mapping[str, Style],
    alt: str,
) -> Figure:
    act = theory.activation("selu", **constants)
    series = [_joined(paths)]
    if fixed_point is not None:
        series.append(Series(_POINT, *([value] for value in fixed_point), kind="points"))
    return vector_field(
        _image(act, weight_sumsq),
        x_limits=_MEANS,
        y_limits=_VARS,
        x_label="mean",
        y_label="variance",
        y_scale="log",
        regions=[Region(label, tuple(box["mean"]), tuple(box["var"])) for label, box in boxes],
        series=series,
        styles=styles,
        alt=alt,
    )


def _image(act: theory.Activation, weight_sumsq: float) -> Map:
    def image(mean: Array, var: Array) -> tuple[Array, Array]:
        out = theory.moment_map(act, mean, var, weight_sumsq=weight_sumsq)
        return out.mean, out.var

    return image


def _joined(paths: list[list[list[float]]]) -> Series:
    """Join paths to one series with gaps; they end where they leave the picture."""
    columns: tuple[list[float], list[float]] = ([], [])
    for means, variances in paths:
        for mean, var in zip(means, variances, strict=True):
            columns[0].append(mean)
            columns[1].append(var)
            if not (_MEANS[0] <= mean <= _MEANS[1] and _VARS[0] <= var <= _VARS[1]):
                break
        for column in columns:
            column.append(math.nan)
    return Series(_PATHS, *columns)


def _by_target(
    record: Record, certified: list[tuple[str, Record]], styles: Mapping[str, Style]
) -> Section:
    basins = {one["var"]: one["certificate"] for one in record["basins"]}
    frames = []
    for one in record["targets"]:
        boxes = list(certified) if one["var"] == 1.0 else []
        basin = basins.get(one["var"])
        if basin is not None:
            boxes.append((_BASIN, basin["parts"][0]["box"]))
        figure = _field(
            {"alpha": one["alpha"], "scale": one["scale"]},
            1.0,
            (0.0, one["var"]),
            one["paths"],
            boxes,
            styles,
            f"Vector field of the moment map of the SELU with fixed point (0, {one['label']})",
        )
        frames.append(Frame(one["label"], figure, see=_see_target(one)))
    ranges = ""
    if any(basins.values()):
        sides = next(filter(None, basins.values()))["parts"][0]["box"]
        ranges = (
            f" For each {_span('Σw', sides['weight_sum'])} and "
            f"{_span('Σw²', sides['weight_sumsq'])}, every start in the certified basin is drawn "
            "to one fixed point."
        )
    return Section(
        "Where a layer takes mean and variance",
        [
            "Each arrow goes from a mean and variance of a layer’s inputs towards those of its "
            "outputs, as the moment map of the paper gives them (derived, float64) for centred "
            "weights of unit length: Σw = 0, Σw² = 1. Steps longer than the spacing of the arrows "
            "are shortened. The lines follow four starts from layer to layer. Outlined boxes are "
            "certified by ball arithmetic." + ranges,
        ],
        figure=Choice("Target variance", frames, chosen="1"),
        see="Centred weights cancel the mean of the inputs: after one layer all starts lie on one "
        "curve, and along it they go to the fixed point.",
    )


def _see_target(one: Record) -> str:
    return (
        f"With α\u00a0=\u00a0{format_number(one['alpha'], 5)} and "
        f"λ\u00a0=\u00a0{format_number(one['scale'], 5)} all "
        f"four starts are within {format_number(100 * one['near'])}\u00a0% of the variance "
        f"{format_number(one['var'])} after at most {one['layers']} layers; near it, each layer "
        f"leaves {format_number(one['var_slope'], 3)} of an error."
    )


def _by_weights(
    record: Record, certified: list[tuple[str, Record]], styles: Mapping[str, Style]
) -> Section:
    standard = next(one for one in record["targets"] if one["var"] == 1.0)
    frames = []
    for one in record["weights"]:
        sumsq, found = one["weight_sumsq"], one["fixed_point"]
        boxes = [
            (label, box)
            for label, box in certified
            if box["weight_sumsq"][0] <= sumsq <= box["weight_sumsq"][1]
        ]
        figure = _field(
            {"alpha": standard["alpha"], "scale": standard["scale"]},
            sumsq,
            None if found is None else (found["mean"], found["var"]),
            one["paths"],
            boxes,
            styles,
            f"Vector field of the standard SELU’s moment map for Σw² = {format_number(sumsq)}",
        )
        frames.append(Frame(one["label"], figure, see=_see_weights(one, len(boxes))))
    low, high = record["weight_range"]
    held = [one["weight_sumsq"] for one in record["weights"] if one["fixed_point"]]
    return Section(
        "What the scale of the weights does to it",
        [
            "The same map of the standard SELU for centred weights of other lengths. An attracting "
            f"fixed point exists exactly for Σw² between {format_number(low)} and "
            f"{format_number(high)} (derived). Shown are the boxes whose certificate covers the "
            "Σw² chosen.",
        ],
        figure=Choice(
            "Sum of the squared weights of a unit, Σw²",
            frames,
            chosen=next(one["label"] for one in record["weights"] if one["weight_sumsq"] == 1.0),
        ),
        see=f"Of the {len(frames)} scales shown, {len(held)} hold a fixed point; its variance "
        "grows with that of the weights.",
    )


def _see_weights(one: Record, boxes: int) -> str:
    found = one["fixed_point"]
    if found is None:
        ends = "dies out" if one["unit_var_after"] < 1.0 else "grows without bound"
        return (
            f"No fixed point: the variance {ends}; {one['layers']} layers turn a variance of 1 "
            f"into {format_number(one['unit_var_after'], 3)}."
        )
    text = (
        f"The fixed point is ({format_number(round(found['mean'], 12), 3)}, "
        f"{format_number(found['var'], 3)}); near it, each layer leaves "
        f"{format_number(found['radius'], 3)} of an error in the variance."
    )
    return text if boxes else f"{text} No certified box covers this scale."


def _span(name: str, ends: list[float]) -> str:
    low, high = (format_number(end) for end in ends)
    return f"{name} from {low} to {high}"
