from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from selfnorm.errors import DomainError
from selfnorm.report import Style, palette
from selfnorm.report._style import CSS_THEME, DARK, LIGHT, VARIABLES, Ink, variables_for

# Machado, Oliveira and Fernandes 2009, severity 1.0, linear RGB.
VISION = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
SRGB_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)


def linear(colour: str) -> np.ndarray:
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """Contrast ratio of WCAG 2."""
    low, high = sorted(SRGB_TO_XYZ[1] @ linear(colour) for colour in (one, other))
    return float((high + 0.05) / (low + 0.05))


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE 1976 L*a*b* of linear RGB, white D65."""
    xyz = SRGB_TO_XYZ @ np.clip(rgb, 0, 1) / np.array([0.95047, 1, 1.08883])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("ink", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("vision", VISION)
def test_every_two_colours_differ_for_every_eye(ink: Ink, vision: str) -> None:
    seen = [lab(VISION[vision] @ linear(colour)) for colour in ink.series]
    least = min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))
    floor = {"normal": 40, "deuteranopia": 22, "protanopia": 22, "tritanopia": 17}[vision]
    assert least > floor


@pytest.mark.parametrize("ink", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_lines_stand_out_from_the_page(ink: Ink) -> None:
    assert contrast(ink.text, ink.paper) >= 7
    assert contrast(ink.muted, ink.paper) >= 4.5
    for colour in ink.series:
        assert contrast(colour, ink.paper) >= 3


def test_a_palette_is_stable_and_distinct() -> None:
    labels = [f"arm {i}" for i in range(24)]
    looks = palette(labels)
    assert list(looks) == labels
    assert len(set(looks.values())) == 24
    assert palette(labels[:5]) == {label: looks[label] for label in labels[:5]}
    # Without colour the first eleven still differ.
    assert len({(look.marker, look.dash) for look in list(looks.values())[:11]}) == 11
    assert looks["arm 9"] == Style(1, ">", "dashdot")


def test_a_palette_refuses_a_label_that_comes_twice() -> None:
    with pytest.raises(DomainError, match="labels must be distinct, however 'selu' comes twice"):
        palette(["selu", "relu", "selu"])


def test_a_palette_refuses_more_labels_than_it_tells_apart() -> None:
    with pytest.raises(DomainError, match="at most 24 labels apart, however: 25 labels"):
        palette(map(str, range(25)))


@pytest.mark.parametrize("label", ["", " \n", 3])
def test_a_palette_refuses_a_blank_label(label: object) -> None:
    with pytest.raises(DomainError, match="label must"):
        palette([label])  # type: ignore[list-item]


def test_drawing_colours_become_variables_that_the_theme_declares() -> None:
    colours = (VARIABLES.text, VARIABLES.muted, VARIABLES.grid, VARIABLES.paper, *VARIABLES.series)
    translated = variables_for(" ".join(colours))
    assert "#" not in translated
    names = re.findall(r"var\((--[\w-]+)\)", translated)
    assert len(set(names)) == len(colours)
    for name in names:
        assert CSS_THEME.count(f"{name}:#") == 2  # light and dark


def test_other_colours_stay() -> None:
    assert variables_for("fill: #fe0199; stroke: #440154") == "fill: #fe0199; stroke: #440154"
