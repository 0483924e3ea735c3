from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from selfnorm.errors import DomainError, MissingDependencyError
from selfnorm.report import Figure, Panel, Series, line_chart, require
from selfnorm.report._figure import NARROW, WIDE

from .support import Document, assert_self_contained


def chart(**options: object) -> Figure:
    series = [Series("std-selu", [1, 2, 3], [0.2, 0.7, 0.9], [0.1, 0.6, 0.8], [0.3, 0.8, 1.0])]
    return line_chart(
        [Panel("Accuracy", "epoch", "share right", series, **options)],  # type: ignore[arg-type]
        alt='Accuracy "rises" <fast>',
    )


def test_html_is_two_accessible_drawings_and_a_legend() -> None:
    document = Document(chart().html)
    assert_self_contained(document)
    drawings = [svg for svg in document.all("svg") if svg["class"] != "sample"]
    assert [svg["class"] for svg in drawings] == ["wide", "narrow"]
    for svg in drawings:
        assert svg["role"] == "img"
        assert svg["aria-label"] == 'Accuracy "rises" <fast>'
    samples = [svg for svg in document.all("svg") if svg["class"] == "sample"]
    assert [svg["aria-hidden"] for svg in samples] == ["true"]
    assert "std-selu" in document.text


def test_html_holds_no_document_level_leftovers() -> None:
    html = chart().html
    for leftover in ("xmlns", "<?xml", "<!DOCTYPE", "<style", "<metadata", "font-family", "DejaVu"):
        assert leftover not in html


def test_every_colour_is_a_variable() -> None:
    html = chart(references=[("chance", 0.1)]).html
    assert not re.findall(r"#[0-9a-fA-F]{6}", html)
    assert "var(--series-0)" in html
    assert "var(--muted)" in html


def test_text_is_text_and_large_enough_on_a_narrow_page() -> None:
    narrow = chart().html.split('class="narrow"')[1]
    sizes = [float(size) for size in re.findall(r"font(?:-size)?:[^;\"]*?([\d.]+)px", narrow)]
    assert len(sizes) >= 8
    box = float(re.search(r'viewBox="0 0 ([\d.]+)', chart().html.split("narrow")[1])[1])  # type: ignore[index]
    # 400 pixels less the 16-pixel margins of the page.
    assert min(sizes) * (400 - 32) / box >= 11
    assert ">share right</text>" in narrow


def test_two_pictures_of_one_page_share_no_identifier() -> None:
    ids = [
        {a["id"] for _, a in Document(chart().to_html(prefix)).elements if "id" in a}
        for prefix in ("s0-", "s1-")
    ]
    assert ids[0]
    assert not ids[0] & ids[1]
    both = Document(chart().html + chart(y_limits=(0, 2)).html)
    assert_self_contained(both)


@pytest.mark.parametrize("prefix", ["", "1a", 'a"', "a b", "é"])
def test_a_prefix_that_cannot_begin_an_identifier_is_refused(prefix: str) -> None:
    with pytest.raises(DomainError, match="prefix must be letters, digits and hyphens"):
        chart().to_html(prefix)


def test_drawing_is_deterministic_whatever_the_hash_seed() -> None:
    program = (
        "from selfnorm.report import *;"
        "print(line_chart([Panel('t','x','y',[Series('a',[1,2],[3,5])])],alt='a').html)"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_the_users_settings_neither_matter_nor_change() -> None:
    plain = chart().html
    loud = {"font.size": 31.0, "axes.facecolor": "red", "svg.fonttype": "path", "lines.marker": "x"}
    with matplotlib.rc_context(loud):
        before = dict(matplotlib.rcParams)
        assert chart().html == plain
        assert dict(matplotlib.rcParams) == before


def test_importing_takes_no_drawing_package_and_drawing_takes_no_pyplot() -> None:
    program = """
import sys
import selfnorm.report as r
assert not {"matplotlib", "jinja2", "torch"} & set(sys.modules), "import"
figure = r.line_chart([r.Panel("t", "x", "y", [r.Series("a", [1, 2], [3, 5])])], alt="a")
assert "matplotlib" not in sys.modules, "line_chart"
figure.html
assert "matplotlib.pyplot" not in sys.modules, "html"
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_a_missing_package_is_named_with_the_remedy(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else real(name)
    )
    remedy = rf"A report needs {package}, .* pip install 'selfnorm\[report\]'"
    with pytest.raises(MissingDependencyError, match=remedy):
        require()
    with pytest.raises(MissingDependencyError, match=remedy):
        _ = chart().html


@pytest.mark.parametrize("dark", [False, True])
def test_png_has_two_pixels_per_pixel_and_its_background(tmp_path: Path, dark: bool) -> None:
    from matplotlib.image import imread

    path = chart().save(tmp_path / "new" / "a.png", dark=dark)
    pixels = imread(path)
    assert pixels.shape[1] == 2 * 760
    expected = (0x14, 0x17, 0x1C) if dark else (255, 255, 255)
    np.testing.assert_allclose(pixels[0, 0, :3] * 255, expected, atol=0.6)
    assert path.read_bytes() == chart().save(tmp_path / "b.png", dark=dark).read_bytes()


def test_svg_file_stands_alone_and_is_deterministic(tmp_path: Path) -> None:
    path = chart().save(tmp_path / "a.svg")
    root = ET.fromstring(path.read_text("utf-8"))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not root.findall(".//{http://www.w3.org/2000/svg}text")  # outlines instead
    assert path.read_bytes() == chart().save(tmp_path / "b.svg").read_bytes()


def test_other_kinds_of_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DomainError, match=r"path must end in .png or .svg, however: .*a\.jpg"):
        chart().save(tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())


def test_a_saved_legend_is_inside_and_clear_of_the_panels(tmp_path: Path) -> None:
    from matplotlib.image import imread

    labels = [f"a rather long name of arm number {i}" for i in range(9)]
    series = [Series(label, [1, 2], [i, i + 1]) for i, label in enumerate(labels)]
    figure = line_chart([Panel("Title", "x", "y", series)], alt="a")
    tall = imread(figure.save(tmp_path / "tall.png")).shape[0]
    short = imread(chart().save(tmp_path / "short.png")).shape[0]
    # 760 pixels hold two of these columns: nine entries need five rows of 19 pixels.
    assert tall - short == pytest.approx(2 * 4 * 19, abs=4)


def test_layouts() -> None:
    assert (WIDE.narrow, NARROW.narrow) == (False, True)
    assert WIDE.width > NARROW.width
