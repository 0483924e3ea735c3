"""What the tests of pictures and pages share: a strict reader of HTML, and boxes of text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from selfnorm.report._figure import Layout, _settings
from selfnorm.report._style import LIGHT

if TYPE_CHECKING:
    from matplotlib.transforms import Bbox

    from selfnorm.report import Figure

_VOID = {"meta", "br", "hr", "img", "input", "link"}
_REMOTE = re.compile(r"//|data:|javascript:", re.IGNORECASE)


class Document(HTMLParser):
    """Reads HTML, keeps elements and text, and refuses what is not well formed."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def assert_self_contained(document: Document) -> None:
    """No script, no handler, no address; identifiers unique, references resolved."""
    ids = [a["id"] for _, a in document.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in document.elements:
        assert tag not in ("script", "iframe", "object", "embed", "link", "image", "img"), tag
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "src", "xlink:href"):
                assert value is not None
                assert value.startswith("#"), value
                assert value[1:] in ids, value
            if name not in ("aria-label",):
                assert not _REMOTE.search(value or ""), (tag, name, value)
            for target in (
                re.findall(r"url\(#([^)]*)\)", value or "") if name != "aria-label" else ()
            ):
                assert target in ids


def text_boxes(figure: Figure, layout: Layout) -> tuple[list[tuple[str, Bbox]], tuple[int, int]]:
    """Draw for a layout; return every visible text with its box in pixels, and the canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    with _settings():
        drawing = figure.draw(layout, LIGHT)
        canvas = FigureCanvasAgg(drawing)
        canvas.draw()
        boxes = [
            (text.get_text(), text.get_window_extent())
            for text in drawing.findobj(Text)
            if text.get_visible() and text.get_text().strip() and _drawn(text)
        ]
        return boxes, canvas.get_width_height()


def _drawn(text: object) -> bool:
    axes = getattr(text, "axes", None)
    return axes is None or axes.get_visible()


def overlaps(boxes: list[tuple[str, Bbox]], slack: float = 1.0) -> Iterator[tuple[str, str]]:
    """Yield pairs of texts whose boxes, made smaller by ``slack`` on each side, share a place."""
    for i, (one, a) in enumerate(boxes):
        for other, b in boxes[i + 1 :]:
            if a.padded(-slack).overlaps(b.padded(-slack)):
                yield one, other
