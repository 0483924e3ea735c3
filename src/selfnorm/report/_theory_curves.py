"""Curves of the theory report: constants, contraction and gradient growth by target variance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from selfnorm.report._line_chart import line_chart
from selfnorm.report._numbers import format_number
from selfnorm.report._page import Section
from selfnorm.report._series import Panel, Series
from selfnorm.report._style import Style, palette

__all__ = ["curve_sections"]

Record = Mapping[str, Any]

# Marks on a curve stand for single choices only; the curve itself has none.
_CURVE: Final = "any target variance"
_BARE: Final = Style(slot=0, marker="none", dash="solid")


def curve_sections(record: Record) -> list[Section]:
    """Return the sections on SELU's constants and on contraction against gradient growth."""
    return [_constants(record), _trade(record)]


def _constants(record: Record) -> Section:
    curve = record["curve"]
    variances = [one["var"] for one in curve]
    standard = next(one for one in record["targets"] if one["var"] == 1.0)
    mark = f"fixed point (0, {format_number(standard['var'])}): the standard SELU"
    panels = [
        Panel(
            title,
            "target variance",
            name,
            [
                Series(_CURVE, variances, [one[key] for one in curve]),
                Series(mark, [standard["var"]], [standard[key]], kind="points"),
            ],
            x_scale="log",
        )
        for key, title, name in (("alpha", "α", "alpha"), ("scale", "λ", "scale"))
    ]
    first, last = curve[0], curve[-1]
    return Section(
        "SELU’s constants for any target variance",
        [
            "For the fixed point (0, ν) and centred weights of unit length, both constants follow "
            "from ν in closed form (derived, float64).",
        ],
        figure=line_chart(
            panels,
            alt="Alpha and lambda of SELU against the target variance",
            styles={**palette([_CURVE, mark]), _CURVE: _BARE},
        ),
        see=f"From target variance {_short(first['var'])} to {_short(last['var'])}, α goes "
        f"from {_short(first['alpha'])} to {_short(last['alpha'])} and λ from "
        f"{_short(first['scale'])} to {_short(last['scale'])}; the standard SELU has "
        f"α\u00a0=\u00a0{format_number(standard['alpha'], 6)} and "
        f"λ\u00a0=\u00a0{format_number(standard['scale'], 6)}.",
    )


def _trade(record: Record) -> Section:
    curve = record["curve"]
    growth = [one["chi"] - 1 for one in curve]
    marks = [_matched(one) for one in record["depths"]]
    panels = [
        Panel(
            title,
            "growth of the squared gradient per layer, χ − 1",
            "share of an error left after one layer",
            [
                Series(_CURVE, growth, [one[key] for one in curve]),
                *(
                    Series(mark, [one["chi"] - 1], [one[key]], kind="points")
                    for mark, one in zip(marks, record["depths"], strict=True)
                ),
            ],
            x_scale="log",
            references=[("nothing is restored", 1.0)],
        )
        for key, title in (("var_slope", "Variance, ∂ν̃/∂ν"), ("spectral_norm", "Spectral norm"))
    ]
    shallow, deep = record["depths"][0], record["depths"][-1]
    return Section(
        "What the target variance trades",
        [
            "Along the curve the target variance runs from "
            f"{_short(curve[0]['var'])} (left) to {_short(curve[-1]['var'])} (right). The slope "
            "∂ν̃/∂ν is the share of a small error in the variance that is left one layer further; "
            "the spectral norm bounds the same for mean and variance together; χ is the factor "
            "by which a layer multiplies the squared gradient on its way back. All are derived "
            "(float64). The marks are the largest variances, 1 at most, whose squared gradient "
            f"grows by at most {format_number(shallow['budget'], 4)} over the whole depth.",
        ],
        figure=line_chart(
            panels,
            alt="Contraction against gradient growth of SELU networks",
            styles={**palette([_CURVE, *marks]), _CURVE: _BARE},
        ),
        see=f"No target has both: {_wants(deep)} and then leave {_short(deep['var_slope'])} of an "
        f"error per layer, {_wants(shallow)} and leave {_short(shallow['var_slope'])}.",
    )


def _wants(one: Record) -> str:
    return f"{one['depth']:,} layers want χ\u00a0=\u00a0{format_number(one['chi'], 5)}"


def _matched(one: Record) -> str:
    standard = ", the standard SELU" if one["var"] == 1.0 else ""
    return f"{one['depth']:,} layers: variance {format_number(one['var'], 3)}{standard}"


def _short(value: float) -> str:
    return format_number(value, 3)
