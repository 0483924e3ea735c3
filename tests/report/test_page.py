from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

from selfnorm.errors import DomainError, MissingDependencyError
from selfnorm.report import Page, Panel, Section, Series, Table, heatmap, line_chart

from .support import Document, assert_self_contained

HOSTILE = "</title></style><script>alert(1)</script>\"' ]]> {{ 7*7 }} $x$ <img src=//x>"


def section(text: str = "What happened") -> Section:
    series = [Series(text, [1, 2], [0.25, 0.75]), Series("other", [1, 2], [0.5, 0.5])]
    chart = line_chart([Panel(text, text, text, series, references=[(text, 0.1)])], alt=text)
    table = Table([text, "accuracy"], [[text, 0.75], ["other", None]], caption=text)
    return Section(text, [text, text], figure=chart, table=table, see=text)


def page(text: str = "Fifty layers") -> Page:
    heat = heatmap(
        [[0.5, 0.25]],
        [text],
        [text, "b"],
        row_title=text,
        column_title=text,
        value_label=text,
        alt=text,
    )
    return Page(
        text,
        text,
        [section(text), section(text), Section("Map", figure=heat, see=text)],
        verdict=text,
        environment={text: text, "seed": 20260, "lr": 0.0012345678, "cuda": None},
        command=text,
    )


@functools.cache
def html_of(text: str) -> str:
    return page(text).html()


def test_a_page_is_one_self_contained_document() -> None:
    html = html_of("Fifty layers")
    document = Document(html)
    assert_self_contained(document)
    assert html.startswith("<!doctype html>")
    assert document.all("html") == [{"lang": "en"}]
    assert {"charset": "utf-8"} in document.all("meta")
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in document.all(
        "meta"
    )
    assert "http" not in html
    assert "@import" not in html
    assert "url(" not in re.findall(r"<style>(.*?)</style>", html, re.DOTALL)[0]


def test_hostile_text_stays_text_everywhere() -> None:
    html = html_of(HOSTILE)
    document = Document(html)
    assert_self_contained(document)
    assert "<script" not in html
    assert "<img" not in html
    assert len(document.all("style")) == 1
    assert "49" not in document.text.split("Map")[0].split("How this page")[0].replace("7*7", "")
    # title, h1, summary, verdict; per section heading, 2 paragraphs, caption, cells, see, legend…
    assert document.text.count(HOSTILE) >= 4 + 2 * 8


def test_headings_tables_and_pictures_are_accessible() -> None:
    document = Document(html_of("Fifty layers"))
    tags = [tag for tag, _ in document.elements]
    assert tags.count("h1") == 1
    assert tags.count("h2") == 4
    assert tags.count("figure") == tags.count("figcaption") == 3
    assert {a.get("scope") for a in document.all("th")} == {"col", "row"}
    assert len([a for a in document.all("svg") if a.get("role") == "img" and a["aria-label"]]) == 6
    scrolling = [a for a in document.all("div") if a.get("class") == "scroll"]
    assert len(scrolling) == 2
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in scrolling)


def test_both_colour_schemes_are_declared_and_print_is_light() -> None:
    html = html_of("Fifty layers")
    assert "@media screen and (prefers-color-scheme:dark)" in html
    declared = set(re.findall(r"(--[\w-]+):", html))
    assert set(re.findall(r"var\((--[\w-]+)\)", html)) <= declared


def test_what_the_result_depends_on_is_written_exactly() -> None:
    text = Document(html_of("Fifty layers")).text.split("How this page was made")[1].split("\n")
    assert {"20260", "0.0012345678", "–", "seed"} <= set(text)


def test_optional_parts_may_be_missing() -> None:
    html = Page("T", "S", [Section("H", see="See.")]).html()
    document = Document(html)
    for tag in ("footer", "pre", "table", "svg"):
        assert not document.all(tag)
    assert 'class="verdict"' not in html
    assert "See." in document.text


def test_the_same_page_is_the_same_text() -> None:
    assert page().html() == html_of("Fifty layers")


def test_write_makes_folders_and_replaces_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    assert page().write(path) == path
    assert path.read_text("utf-8") == html_of("Fifty layers")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_lone_surrogates_can_be_written(tmp_path: Path) -> None:
    path = Page("a\ud800b", "S", [Section("H", see="See.")]).write(tmp_path / "r.html")
    assert "a\ufffdb" in path.read_text("utf-8")


def test_a_missing_template_engine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"A report needs matplotlib"):
        page().html()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sections": []}, "sections is empty; give at least one Section"),
        ({"title": ""}, "title must not be blank"),
        ({"summary": None}, "summary must be a str, however: summary=None"),
        ({"verdict": " "}, "verdict must not be blank"),
        ({"command": 3}, "command must be a str"),
    ],
)
def test_a_page_names_what_is_wrong(options: dict[str, object], message: str) -> None:
    arguments = {"title": "T", "summary": "S", "sections": [Section("H", see="See.")]}
    with pytest.raises(DomainError, match=message):
        Page(**(arguments | options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"title": ""}, "title must not be blank"),
        ({"see": ""}, "see must not be blank"),
        ({"paragraphs": "one"}, "paragraphs must be a sequence of str, however: paragraphs='one'"),
        ({"paragraphs": [1]}, "paragraph must be a str"),
        ({"figure": "x"}, "section 'H': figure must be a Figure or Choice, however: figure='x'"),
        ({"table": [[1]]}, "section 'H': table must be a Table"),
    ],
)
def test_a_section_names_what_is_wrong(options: dict[str, object], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        Section(**({"title": "H", "see": "See."} | options))  # type: ignore[arg-type]
