from __future__ import annotations

import pytest

from selfnorm.errors import DomainError
from selfnorm.report._text import checked_text, plain, text_width, wrapped


def test_plain_keeps_what_a_document_may_hold() -> None:
    assert plain("93.1\u00a0% \u00a0of") == "93.1\u00a0% \u00a0of"
    assert plain("  <b>ζ  =\n1.5</b> 日本 👩‍🔬 ") == "<b>ζ = 1.5</b> 日本 👩‍🔬"


@pytest.mark.parametrize(
    "character", ["\x00", "\x1b", "\x7f", "\x9f", "\ud800", "\ufffe", "\uffff", "\ufdd0", "\u202e"]
)
def test_plain_replaces_what_it_may_not(character: str) -> None:
    assert plain(f"a{character}b") == "a\ufffdb"


def test_plain_replaces_non_characters_of_every_plane() -> None:
    assert plain("\U0001ffff") == "\ufffd"


def test_text_is_asked_for_by_name() -> None:
    with pytest.raises(DomainError, match="title must be a str, however: title=3"):
        checked_text("title", 3)
    with pytest.raises(DomainError, match="title must not be blank, however: title=' '"):
        checked_text("title", " ")


def test_width_grows_with_text_and_size() -> None:
    # DejaVu Sans: the advance of "0" is 1303 of 2048 units.
    assert text_width("0" * 40, 12) == pytest.approx(40 * 12 * 1303 / 2048, rel=0.02)
    assert text_width("width", 12, bold=True) > text_width("width", 12)


def test_lines_fit_and_no_character_is_lost() -> None:
    text = "a title with an-unreasonably-long-word-that-no-line-can-hold-" + "x" * 80 + " end"
    broken = wrapped(text, 120, 12)
    assert "".join(broken.split()) == "".join(text.split())
    assert all(text_width(line, 12) <= 120 for line in broken.split("\n"))
    assert len(broken.split("\n")) > 3


def test_a_short_text_stays_one_line() -> None:
    assert wrapped("short title", 500, 12) == "short title"


def test_dollars_are_measured_as_dollars() -> None:
    assert text_width("$x$", 12) > text_width("x", 12) + 10
