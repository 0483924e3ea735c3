from __future__ import annotations

import math
import re

import numpy as np
import pytest

from selfnorm.errors import DomainError
from selfnorm.report import Figure, Region, Series, palette, vector_field
from selfnorm.report._figure import NARROW, WIDE, Layout, _settings
from selfnorm.report._style import LIGHT
from selfnorm.report._vector_field import _arrow_path, _arrows

from .support import Document, assert_self_contained, overlaps, text_boxes

AXES = {"x_limits": (-1.0, 2.5), "y_limits": (0.01, 60.0), "x_label": "mean", "y_label": "variance"}


def halved(x, y):  # type: ignore[no-untyped-def]
    return x / 2, np.sqrt(y)


def field(**options: object) -> Figure:
    arguments = {
        **AXES,
        "y_scale": "log",
        "alt": "All arrows point to (0, 1).",
        "regions": [Region("box <a>", (-0.1, 0.1), (0.8, 1.5)), Region("wide", (-9, 9), (0.1, 10))],
        "series": [
            Series("path", [2, 1, 0.5, math.nan, -0.8, -0.4], [9, 3, 2, math.nan, 0.1, 0.3]),
            Series("point", [0], [1], kind="points"),
            Series("bound", [0, 1], [1, 2], kind="dashed"),
        ],
    }
    return vector_field(halved, **(arguments | options))  # type: ignore[arg-type]


def corners(steps: np.ndarray, aspect: float, columns: int) -> np.ndarray:
    """Start, tip and both barbs of each arrow, shape (n, 5, 2), in units of the axes' width."""
    path = _arrow_path(steps, aspect, columns)
    return np.asarray(path.vertices).reshape(-1, 5, 2) * [1.0, aspect]


def test_arrows_go_towards_the_image_and_end_there_if_it_is_near() -> None:
    limits, grid, aspect = ((-1.0, 2.5), (0.01, 60.0)), (25, 15), 0.62
    steps = _arrows(halved, grid, limits, ("linear", "log"))
    arrows = corners(steps, aspect, grid[0])
    assert len(arrows) == 25 * 15
    # Independent of the code: coordinates from the tips back to the plane.
    start, tip = arrows[:, 0], arrows[:, 1]
    x = -1 + 3.5 * start[:, 0]
    y = 0.01 * 6000 ** (start[:, 1] / aspect)
    image = np.stack([(x / 2 + 1) / 3.5, np.log(np.sqrt(y) / 0.01) / np.log(6000) * aspect], axis=1)
    wanted, drawn = image - start, tip - start
    lengths = np.hypot(*wanted.T)
    np.testing.assert_allclose(wanted[:, 0] * drawn[:, 1], wanted[:, 1] * drawn[:, 0], atol=1e-12)
    assert np.all(np.sum(wanted * drawn, axis=1) > 0)
    near = lengths <= 0.82 / 25
    assert 5 < near.sum() < 200
    np.testing.assert_allclose(tip[near], image[near], atol=1e-12)
    np.testing.assert_allclose(np.hypot(*drawn[~near].T), 0.82 / 25)


def test_arrow_heads_point_forward_on_both_sides() -> None:
    steps = np.array([[[0.2], [0.2]], [[0.9], [0.8]]])
    start, tip, left, _, right = corners(steps, 0.5, 10)[0]
    along, back = tip - start, np.stack([left - tip, right - tip])
    cosine = back @ along / (np.hypot(*along) * np.hypot(*back.T))
    np.testing.assert_allclose(cosine, -math.cos(math.radians(26)))
    cross = along[0] * back[:, 1] - along[1] * back[:, 0]
    assert cross[0] * cross[1] < 0
    np.testing.assert_allclose(np.hypot(*back.T), 0.03)


def test_a_fixed_point_of_the_grid_has_an_arrow_of_no_length() -> None:
    steps = np.array([[[0.5], [0.5]], [[0.5], [0.5]]])
    assert np.ptp(corners(steps, 0.6, 10), axis=1).max() == 0.0


def test_points_without_an_image_on_the_axes_have_no_arrow() -> None:
    def partly(x, y):  # type: ignore[no-untyped-def]
        return np.where(x < 0.3, np.nan, x), np.where(y < 0.5, -1.0, y)

    limits = ((0.0, 1.0), (0.1, 10.0))
    steps = _arrows(partly, (10, 20), limits, ("linear", "log"))
    x = steps[0, 0]
    y = 0.1 * 100 ** steps[0, 1]
    assert x.min() > 0.3
    assert y.min() > 0.5
    assert steps.shape[2] == 7 * sum(0.1 * 100 ** ((k + 0.5) / 20) > 0.5 for k in range(20))


@pytest.mark.parametrize("layout", [WIDE, NARROW], ids=["wide", "narrow"])
def test_no_text_overlaps_another_or_is_cut(layout: Layout) -> None:
    boxes, (width, height) = text_boxes(field(), layout)
    assert {"mean", "variance", "0.1", "10"} <= {text for text, _ in boxes}
    assert not list(overlaps(boxes))
    for text, box in boxes:
        assert box.x0 >= -0.5, text
        assert box.y0 >= -0.5, text
        assert box.x1 <= width + 0.5, text
        assert box.y1 <= height + 0.5, text


def test_a_narrow_picture_has_fewer_arrows() -> None:
    with _settings():
        counts = [
            max(len(patch.get_path().vertices) for patch in drawing.axes[0].patches)
            for drawing in (field().draw(layout, LIGHT) for layout in (WIDE, NARROW))
        ]
    assert counts == [25 * 15 * 5, 11 * 11 * 5]


def test_the_picture_is_self_contained_and_names_what_it_shows() -> None:
    document = Document(field().html)
    assert_self_contained(document)
    labels = ["box <a>", "wide", "path", "point", "bound"]
    assert [line for line in document.text.split("\n") if line in labels] == labels
    assert {a.get("aria-label") for a in document.all("svg") if a.get("role")} == {
        "All arrows point to (0, 1)."
    }


def test_regions_differ_in_dash_as_well_as_in_colour() -> None:
    regions = [Region(f"r{k}", (0, 1 + k), (1, 2 + k)) for k in range(4)]
    samples = [key.sample(LIGHT) for key in field(regions=regions, series=()).legend]
    assert len({line.get_color() for line in samples}) == 4
    assert len({str(line._dash_pattern) for line in samples}) == 4


def test_styles_hold_over_pictures() -> None:
    styles = palette(["other", "wide"])
    figure = field(regions=[Region("wide", (0, 1), (1, 2))], series=(), styles=styles)
    assert figure.legend[0].sample(LIGHT).get_color() == LIGHT.series[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x_limits": (1, 1)}, r"x_limits must be finite numbers that increase, however: \(1, 1\)"),
        ({"x_limits": (0, math.inf)}, "x_limits must be finite numbers that increase"),
        ({"x_limits": 3}, "x_limits must be a pair of numbers, however: 3"),
        ({"x_limits": (0, 1, 2)}, "x_limits must be a pair of numbers"),
        ({"y_limits": (0, 1)}, "y_limits must be finite numbers above 0 that increase"),
        ({"y_scale": "symlog"}, "y_scale must be 'linear' or 'log', however: y_scale='symlog'"),
        ({"alt": " "}, "alt must not be blank"),
        ({"x_label": 3}, "x_label must be a str"),
        ({"y_label": ""}, "y_label must not be blank"),
        ({"regions": [Region("point", (0, 1), (1, 2))]}, "label 'point' comes twice; rename one"),
        ({"styles": palette(["wide"])}, "'box <a>' has no style; known: 'wide'"),
        ({"styles": {}}, "has no style; known: none"),
    ],
)
def test_bad_input_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        field(**options)


@pytest.mark.parametrize(
    "image",
    [
        lambda x, y: x,
        lambda x, y: (x, y[:-1]),
        lambda x, y: (x, "y"),
        lambda x, y: None,
        lambda x, y: (1.0, 2.0),
    ],
)
def test_an_image_of_another_shape_is_refused(image) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DomainError, match=r"image must return two arrays of shape \(375,\)"):
        vector_field(image, **AXES, alt="a")


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ((1, 0), re.escape("region 'r': x must be finite numbers that increase, however: (1, 0)")),
        ((0, math.nan), "region 'r': x must be finite"),
        ("ab", "region 'r': x must be a pair of numbers, however: 'ab'"),
    ],
)
def test_a_region_names_what_is_wrong(ends, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DomainError, match=message):
        Region("r", ends, (0, 1))
    with pytest.raises(DomainError, match="label must not be blank"):
        Region("", (0, 1), (0, 1))
