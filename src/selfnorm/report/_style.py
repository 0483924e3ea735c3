"""Colours, markers and dashes; the themes that give a colour its value in light and dark."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from selfnorm.errors import DomainError
from selfnorm.report._text import checked_text

__all__ = ["CSS_THEME", "DARK", "LIGHT", "VARIABLES", "Ink", "Style", "palette", "variables_for"]

Dash = Literal["solid", "dashdot", "dotted"]

# (light, dark) per slot. Found by a search that keeps every pair apart: CIE 1976 colour difference
# at least 40 in normal sight, 22 with deuteranopia or protanopia, 17 with tritanopia (matrices of
# Machado, Oliveira and Fernandes 2009); contrast with the page at least 3:1.
_COLOURS = (
    ("#1c78bc", "#08d1f7"),
    ("#a92418", "#f24226"),
    ("#1ba66e", "#3fa883"),
    ("#b38608", "#d0c373"),
    ("#750871", "#9e5ef7"),
    ("#4d525a", "#eaeff6"),
    ("#7e66f0", "#5e80ca"),
    ("#4308da", "#acee38"),
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "p", ">", "h")
_DASHES: tuple[Dash, ...] = ("solid", "dashdot", "dotted")


@dataclass(frozen=True)
class Style:
    """The look of one label: which colour, which marker, which dash.

    Parameters
    ----------
    slot : int
        Index of the colour; its value differs between light and dark.
    marker : str
        A matplotlib marker code.
    dash : {"solid", "dashdot", "dotted"}
        Pattern of the line.

    Examples
    --------
    >>> Style(slot=0, marker="o", dash="solid") == palette(["selu"])["selu"]
    True
    """

    slot: int
    marker: str
    dash: Dash


@dataclass(frozen=True)
class Ink:
    """The colours of one drawing, as hexadecimal strings."""

    text: str
    muted: str
    grid: str
    paper: str
    series: tuple[str, ...]


LIGHT = Ink("#1d2127", "#5a626d", "#e3e6ea", "#ffffff", tuple(light for light, _ in _COLOURS))
DARK = Ink("#e6e9ee", "#a3abb7", "#2f353d", "#14171c", tuple(dark for _, dark in _COLOURS))

# A picture for a page is drawn in colours that stand for variables and is translated afterwards.
VARIABLES = Ink(
    "#fe0001",
    "#fe0002",
    "#fe0003",
    "#fe0004",
    tuple(f"#fe01{slot:02d}" for slot in range(len(_COLOURS))),
)
_NAMES = {
    VARIABLES.text: "text",
    VARIABLES.muted: "muted",
    VARIABLES.grid: "grid",
    VARIABLES.paper: "paper",
    **{colour: f"series-{slot}" for slot, colour in enumerate(VARIABLES.series)},
}


def _declarations(ink: Ink) -> str:
    colours = {"text": ink.text, "muted": ink.muted, "grid": ink.grid, "paper": ink.paper}
    colours |= {f"series-{slot}": colour for slot, colour in enumerate(ink.series)}
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())


CSS_THEME = (
    f":root{{color-scheme:light;{_declarations(LIGHT)}}}\n"
    "@media screen and (prefers-color-scheme:dark)"
    f"{{:root{{color-scheme:dark;{_declarations(DARK)}}}}}"
)


def variables_for(drawing: str) -> str:
    """Replace the colours of :data:`VARIABLES` in a drawing by CSS variables."""
    return re.sub(
        r"#fe0[01]\d\d",
        lambda match: f"var(--{_NAMES[match.group()]})" if match.group() in _NAMES else match[0],
        drawing,
    )


def palette(labels: Iterable[str]) -> dict[str, Style]:
    """Give each label its colour, marker and dash.

    The look depends on the place in ``labels`` alone: pass one list for all pictures of a page
    and an arm looks the same in each. Colours differ also for readers with colour-vision
    deficiency, markers and dashes tell labels apart without any colour.

    Parameters
    ----------
    labels : iterable of str
        Distinct labels, at most 24.

    Returns
    -------
    dict of str to Style
        In the order of ``labels``.

    Raises
    ------
    DomainError
        If a label is blank, comes twice, or there are more than 24.

    Examples
    --------
    >>> palette(["selu", "relu"])["relu"]
    Style(slot=1, marker='s', dash='solid')
    """
    names = [checked_text("label", label) for label in labels]
    if len(names) != len(set(names)):
        twice = next(name for name in names if names.count(name) > 1)
        raise DomainError(f"labels must be distinct, however {twice!r} comes twice; rename one")
    room = len(_COLOURS) * len(_DASHES)
    if len(names) > room:
        raise DomainError(
            f"a picture tells at most {room} labels apart, however: {len(names)} labels; "
            "split the picture"
        )
    return {
        name: Style(i % len(_COLOURS), _MARKERS[i % len(_MARKERS)], _DASHES[i // len(_COLOURS)])
        for i, name in enumerate(names)
    }
