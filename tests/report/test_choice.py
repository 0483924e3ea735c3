from __future__ import annotations

import importlib.resources
import re

import pytest

from selfnorm.errors import DomainError
from selfnorm.report import Choice, Figure, Frame, Page, Panel, Section, Series, line_chart

from .support import Document, assert_self_contained

HOSTILE = '</label><script>alert(1)</script>" onfocus="x'


def figure(label: str = "std-selu") -> Figure:
    return line_chart([Panel("Loss", "epoch", "nats", [Series(label, [1, 2], [2, 1])])], alt=label)


def choice(*labels: str, **options: str) -> Choice:
    return Choice(
        "Depth", [Frame(one, figure(one), see=f"See {one}.") for one in labels], **options
    )


def test_one_picture_is_chosen_and_each_has_its_button() -> None:
    document = Document(choice("8", "50", "100", chosen="50").to_html("s0-"))
    assert_self_contained(document)
    buttons = document.all("input")
    assert {a["type"] for a in buttons} == {"radio"}
    assert len({a["name"] for a in buttons}) == 1
    assert ["checked" in a for a in buttons] == [False, True, False]
    assert [a["for"] for a in document.all("label")] == [a["id"] for a in buttons]
    assert len(document.all("fieldset")) == len(document.all("legend")) == 1
    for text in ("Depth", "8", "See 8.", "See 100."):
        assert text in document.text.split("\n")


def test_the_first_picture_is_chosen_by_default() -> None:
    assert choice("8", "50").chosen == "8"


def test_the_style_sheet_shows_what_follows_the_chosen_button() -> None:
    # Button, its label and its frame follow each other; the rule relies on that order.
    tags = [
        "frame" if attributes.get("class") == "frame" else tag
        for tag, attributes in Document(choice("8", "50").to_html("s0-")).elements
        if tag in ("input", "label") or attributes.get("class") == "frame"
    ]
    assert tags == ["input", "label", "frame"] * 2
    style = (
        importlib.resources.files("selfnorm.report").joinpath("template.html").read_text("utf-8")
    )
    rules = dict(re.findall(r"^(\S[^{}]*)\{([^{}]*)\}$", style, re.MULTILINE))
    assert "display:none" in rules[".frame"]
    assert rules[".options>:checked+label+.frame"] == "display:block"
    # Hidden from sight, not from the keyboard: neither display:none nor visibility:hidden.
    assert not re.search("display|visibility", rules[".options>input"])
    assert "outline:2px" in rules[".options>:focus-visible+label"]
    printed = style.partition("@media print")[2]
    assert ".options>label{display:none}" in printed
    assert ".options>:checked+label{display:block}" in printed


def test_two_choices_of_a_page_do_not_interfere() -> None:
    sections = [Section("H", figure=choice("8", "50"), see="See.") for _ in range(2)]
    document = Document(Page("T", "S", sections).html())
    assert_self_contained(document)
    assert [a["name"] for a in document.all("input")] == ["s0-choice"] * 2 + ["s1-choice"] * 2
    assert sum("checked" in a for a in document.all("input")) == 2
    assert document.all("figure") == [{"class": "lines"}] * 2


def test_hostile_labels_stay_text() -> None:
    frames = [Frame(HOSTILE, figure(HOSTILE), see=HOSTILE), Frame("b", figure(), see="b")]
    html = Choice(HOSTILE, frames).to_html("s0-")
    document = Document(html)
    assert_self_contained(document)
    assert "<script" not in html
    assert document.text.count(HOSTILE) == 4  # title, label, legend of the picture, sentence


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: choice("8"), "choice 'Depth' needs at least two frames, however: 1; give a"),
        (lambda: choice("8", "8"), "choice 'Depth': label '8' comes twice; rename one frame"),
        (lambda: choice("8", "50", chosen="9"), "chosen must be one of '8', '50', however: chosen"),
        (lambda: Choice("", []), "title must not be blank"),
        (lambda: Choice("D", [figure(), figure()]), "frames must be Frames, however: Figure"),
        (lambda: Frame("", figure(), see="s"), "label must not be blank"),
        (lambda: Frame("l", figure(), see=""), "see must not be blank"),
        (
            lambda: Frame("l", "x", see="s"),
            "frame 'l': figure must be a Figure, however: figure='x'",
        ),
        (lambda: choice("8", "50").to_html("1"), "prefix must be letters"),
    ],
)
def test_bad_input_is_named(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DomainError, match=message):
        make()
