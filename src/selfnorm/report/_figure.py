"""A picture: drawn by matplotlib, given to a page as inline SVG or saved as a file."""

from __future__ import annotations

import hashlib
import io
import os
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from selfnorm._files import write_atomically
from selfnorm.errors import DomainError
from selfnorm.report._dependencies import require
from selfnorm.report._style import DARK, LIGHT, VARIABLES, Ink, variables_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing
    from matplotlib.lines import Line2D

__all__ = ["Figure", "Key", "Layout", "new_drawing"]

_DOTS_PER_INCH = 72  # one point of matplotlib is one pixel of the page
_PNG_SCALE = 2
_RC = {
    "svg.hashsalt": "selfnorm",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "figure.dpi": _DOTS_PER_INCH,
    "savefig.dpi": _DOTS_PER_INCH,
    "path.simplify": True,
}


@dataclass(frozen=True)
class Layout:
    """The place a picture is drawn for: widths and font sizes in pixels."""

    width: int
    narrow: bool
    font: float = 12.0
    heading: float = 13.5


WIDE = Layout(width=1080, narrow=False)
NARROW = Layout(width=360, narrow=True)


@dataclass(frozen=True)
class Key:
    """One entry of the legend: its text, and what draws its sample of a line."""

    label: str
    sample: Callable[[Ink], Line2D]


@contextmanager
def _settings() -> Iterator[None]:
    """Draw with matplotlib's defaults and ours, whatever the user configured; undone after."""
    require()
    from matplotlib import style

    with style.context(["default", _RC]), warnings.catch_warnings():
        # The browser has fonts for what the font used for measuring lacks.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        yield


def new_drawing(width: float, height: float) -> Drawing:
    """Return an empty transparent drawing of the given size in pixels."""
    from matplotlib.figure import Figure as Drawing
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    pad = 6 / _DOTS_PER_INCH
    drawing = Drawing(
        figsize=(width / _DOTS_PER_INCH, height / _DOTS_PER_INCH),
        layout=ConstrainedLayoutEngine(w_pad=pad, h_pad=pad, wspace=0.03, hspace=0.04),
    )
    drawing.patch.set_visible(False)
    return drawing


@dataclass(frozen=True, eq=False)
class Figure:
    """A picture, drawn when it is asked for.

    Made by :func:`line_chart` and :func:`heatmap`.

    Parameters
    ----------
    alt : str
        What the picture shows, for those who do not see it.
    draw : callable
        Draws for a layout in given colours.
    legend : tuple of Key
        Entries of the legend, which a page lays out as text.

    Notes
    -----
    The same input gives the same bytes: identifiers are numbered, no date is stored. Neither
    pyplot nor matplotlib's global settings are touched.

    Examples
    --------
    >>> from selfnorm.report import Panel, Series, line_chart
    >>> loss = Series("std-selu", [1, 2, 3], [2.3, 0.7, 0.2])
    >>> figure = line_chart([Panel("Loss", "epoch", "nats", [loss])], alt="The loss falls.")
    >>> [key.label for key in figure.legend], 'aria-label="The loss falls."' in figure.html
    (['std-selu'], True)
    """

    alt: str
    draw: Callable[[Layout, Ink], Drawing]
    legend: tuple[Key, ...] = ()

    @property
    def html(self) -> str:
        """The picture as HTML: legend, wide and narrow drawing; colours are CSS variables.

        Which drawing shows is for the style sheet of :class:`Page` to say.
        """
        digest = hashlib.sha256(self.to_html("x").encode()).hexdigest()[:10]
        return self.to_html(f"fig-{digest}-")

    def to_html(self, prefix: str) -> str:
        """Return the picture as HTML whose identifiers all begin with ``prefix``.

        Parameters
        ----------
        prefix : str
            Unique in the page; letters, digits and hyphens, a letter first.

        Returns
        -------
        str
            A list element for the legend, if there is one, and two SVG elements.

        Raises
        ------
        DomainError
            If ``prefix`` is not of that form.
        MissingDependencyError
            If matplotlib is not installed.
        """
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", prefix):
            raise DomainError(
                "prefix must be letters, digits and hyphens with a letter first, "
                f"however: prefix={prefix!r}"
            )
        parts = []
        with _settings():
            if self.legend:
                items = (
                    f"<li>{_sample(key, f'{prefix}k{i}-')}{escape(key.label)}</li>"
                    for i, key in enumerate(self.legend)
                )
                parts.append(f'<ul class="legend">{"".join(items)}</ul>')
            for name, layout in (("wide", WIDE), ("narrow", NARROW)):
                drawing = self.draw(layout, VARIABLES)
                svg = _inline_svg(drawing, f"{prefix}{name[0]}", name, self.alt)
                parts.append(svg)
        return "\n".join(parts)

    def save(self, path: str | os.PathLike[str], *, dark: bool = False) -> Path:
        """Write the wide drawing with its legend as a PNG or SVG file.

        Parameters
        ----------
        path : str or path-like
            Ends in ``.png`` (two pixels per CSS pixel) or ``.svg`` (text as outlines, so that it
            looks the same everywhere).
        dark : bool, default False
            Draw for a dark background.

        Returns
        -------
        pathlib.Path
            The file written, whole or not at all.

        Raises
        ------
        DomainError
            If the path ends otherwise.
        MissingDependencyError
            If matplotlib is not installed.
        """
        kind = Path(path).suffix.lower()
        if kind not in (".png", ".svg"):
            raise DomainError(f"path must end in .png or .svg, however: path={str(path)!r}")
        ink = DARK if dark else LIGHT
        stream = io.BytesIO()
        with _settings():
            import matplotlib

            drawing = self.draw(WIDE, ink)
            drawing.patch.set(visible=True, facecolor=ink.paper)
            if self.legend:
                _add_legend(drawing, [(key.label, key.sample(ink)) for key in self.legend], ink)
            if kind == ".svg":
                with matplotlib.rc_context({"svg.fonttype": "path"}):
                    drawing.savefig(stream, format="svg", metadata={"Date": None})
            else:
                drawing.savefig(
                    stream,
                    format="png",
                    dpi=_PNG_SCALE * _DOTS_PER_INCH,
                    metadata={"Software": None},
                )
        return write_atomically(path, stream.getvalue())


def _sample(key: Key, prefix: str) -> str:
    """Draw the short line with its marker that stands before a legend entry."""
    drawing = new_drawing(34, 14)
    drawing.add_artist(key.sample(VARIABLES))
    return _inline_svg(drawing, prefix, "sample", None)


def _add_legend(drawing: Drawing, entries: list[tuple[str, Line2D]], ink: Ink) -> None:
    """Put the legend above the panels of a saved picture, in as many columns as fit."""
    from selfnorm.report._text import text_width, wrapped

    size = 12.0
    width = float(drawing.get_figwidth()) * _DOTS_PER_INCH - 24
    room = width - 60
    labels = [wrapped(label, room, size) for label, _ in entries]
    widest = max(text_width(line, size) for label in labels for line in label.split("\n"))
    columns = max(1, min(len(entries), int(width // (widest + 60))))
    drawing.legend(
        [line for _, line in entries],
        labels,
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        fontsize=size,
        labelcolor=ink.text,
        handlelength=2.6,
        columnspacing=1.6,
    )
    lines = -(-len(entries) // columns) + max(label.count("\n") for label in labels)
    drawing.set_figheight(float(drawing.get_figheight()) + (lines * 19 + 10) / _DOTS_PER_INCH)


def _inline_svg(drawing: Drawing, prefix: str, css_class: str, alt: str | None) -> str:
    """Return a drawing as an SVG element for an HTML page.

    No namespace, style sheet, metadata or address is left; identifiers that are referred to are
    numbered after ``prefix``, the others go; fonts come from the page; colours of
    :data:`VARIABLES` become CSS variables.
    """
    stream = io.StringIO()
    drawing.savefig(stream, format="svg", metadata={"Date": None})
    root = ET.fromstring(stream.getvalue())  # noqa: S314 - written by matplotlib a line above
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    used = re.findall(r'(?:url\(#|href="#)([^)"]+)', ET.tostring(root, encoding="unicode"))
    names = {old: f"{prefix}{i}" for i, old in enumerate(dict.fromkeys(used))}
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        element.attrib.clear()
        for key, value in attributes.items():
            if (kept := _attribute(key, value, names)) is not None:
                element.set(key, kept)
        if element.tag != "text":
            element.text = None
        element.tail = None
    box = root.get("viewBox", "")
    root.attrib.clear()
    root.set("class", css_class)
    root.set("viewBox", box)
    if alt is None:
        root.set("aria-hidden", "true")
    else:
        root.set("role", "img")
        root.set("aria-label", alt)
        root.set("style", f"--width:{box.split()[2]}px")
    return ET.tostring(root, encoding="unicode")


def _attribute(key: str, value: str, names: dict[str, str]) -> str | None:
    """Translate one attribute of a drawing; None drops it."""
    if key == "id":
        return names.get(value)
    if key == "href":
        return "#" + names[value[1:]]
    if key == "clip-path":
        return f"url(#{names[value[5:-1]]})"
    if key == "style":
        style = re.sub(r"font-family:[^;]*;?\s*", "", value)
        return variables_for(re.sub(r"\s*([:;])\s*", r"\1", style)).strip("; ")
    if key == "space" or (key == "transform" and value.startswith("rotate(-0 ")):
        return None
    if key in ("d", "x", "y", "transform"):
        short = re.sub(r"-?\d+\.\d+", lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), value)
        return " ".join(short.split())
    return value
