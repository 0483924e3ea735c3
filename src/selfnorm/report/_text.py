"""Text from records: made harmless, measured and wrapped."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from selfnorm.errors import DomainError

__all__ = ["checked_text", "plain", "text_width", "wrapped"]

_BREAKABLE: Final = re.compile(r"[^\S\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}]+")


def plain(text: str) -> str:
    """Return one line that any XML or HTML document may hold.

    Runs of white space become one space, no-break spaces stay; control characters, lone
    surrogates, non-characters and the marks that turn the direction of the following text become
    U+FFFD. Escaping is the writer's task.
    """
    line = _BREAKABLE.sub(" ", text).strip()
    return "".join("\ufffd" if _forbidden(c) else c for c in line)


def _forbidden(character: str) -> bool:
    return (
        unicodedata.category(character) in ("Cc", "Cs")
        or (ord(character) & 0xFFFE) == 0xFFFE
        or "\ufdd0" <= character <= "\ufdef"
        or "\u202a" <= character <= "\u202e"
        or "\u2066" <= character <= "\u2069"
    )


def checked_text(name: str, value: object) -> str:
    """Return ``plain(value)``; refuse what is not text or is blank, naming the argument."""
    if not isinstance(value, str):
        raise DomainError(f"{name} must be a str, however: {name}={value!r}")
    line = plain(value)
    if not line:
        raise DomainError(f"{name} must not be blank, however: {name}={value!r}")
    return line


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Return the width of one line in pixels at ``size`` pixels.

    Measured in DejaVu Sans, which is wider than the interface fonts that browsers choose: what
    fits here fits there.
    """
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal", size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width)


def wrapped(text: str, width: float, size: float, *, bold: bool = False) -> str:
    """Break a text into lines of at most ``width`` pixels, inside a word where one is too long."""
    lines = [""]
    for word in _BREAKABLE.split(text):
        candidate = f"{lines[-1]} {word}".strip()
        if text_width(candidate, size, bold=bold) <= width:
            lines[-1] = candidate
            continue
        lines.append("")
        for character in word:
            if lines[-1] and text_width(lines[-1] + character, size, bold=bold) > width:
                lines.append("")
            lines[-1] += character
    return "\n".join(line for line in lines if line)
