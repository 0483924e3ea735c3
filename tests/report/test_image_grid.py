"""Grids of images: where the ink lies, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

from selfnorm.errors import DomainError
from selfnorm.report import image_grid


def areas(html: str) -> dict[float, float]:
    """Area of all rectangles of the wide drawing by opacity."""
    svg = html.split("<svg")[1]
    found: dict[float, float] = {}
    for path, style in re.findall(r'<path[^>]*? d="([^"]+)"[^>]*?style="([^"]*)"', svg):
        if "fill:var(--text)" not in style:
            continue
        opacity = re.search(r"(?<!-)opacity:([\d.]+)", style)
        total = 0.0
        for part in path.split("M")[1:]:
            numbers = np.array(re.findall(r"-?[\d.]+", part), float).reshape(-1, 2)
            total += float(np.prod(np.ptp(numbers, axis=0)))
        key = float(opacity[1]) if opacity else 1.0
        found[key] = found.get(key, 0.0) + total
    return found


def test_the_ink_is_the_images() -> None:
    """Three pixels of full ink, two of 3/7, the others paper, in two images of 2 by 3."""
    a = [[0.0, 1.0, 1.0], [3 / 7, 0.0, -5.0]]
    b = [[9.0, np.nan, 0.0], [0.0, 0.0, 0.44]]
    found = areas(image_grid([[a, b]], ["row"], alt="Two.").html)
    assert len(found) == 2
    (faint, little), (_, much) = sorted(found.items())
    assert faint == pytest.approx(3 / 7, abs=0.01)
    assert much / little == pytest.approx(3 / 2, rel=0.02)


def test_labels_and_alt_are_in_the_page() -> None:
    html = image_grid(np.ones((2, 3, 4, 5)), ["real <1>", "drawn"], alt="Six.").html
    assert "real &lt;1&gt;" in html
    assert 'aria-label="Six."' in html
    assert "http" not in html


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.ones((2, 3, 4)), ["a", "b"], r"\(2, 3, 4\)"),
        (np.ones((0, 3, 4, 4)), [], r"\(0, 3, 4, 4\)"),
        (np.ones((2, 3, 4, 4)), ["a"], "1 labels"),
        ([[[["x"]]]], ["a"], "not numbers"),
    ],
)
def test_refusals(images: object, labels: list[str], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        image_grid(images, labels, alt="x")  # type: ignore[arg-type]
