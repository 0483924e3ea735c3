from __future__ import annotations

import re

import numpy as np
import pytest

from selfnorm.errors import DomainError
from selfnorm.report import Figure, Panel, Series, line_chart, palette
from selfnorm.report._figure import NARROW, WIDE, Layout, _settings
from selfnorm.report._line_chart import _marked
from selfnorm.report._style import LIGHT

from .support import Document, assert_self_contained, overlaps, text_boxes

X = np.arange(1, 51)
HOSTILE = ['<script>alert("1")</script>', "$\\frac{1}{2}$ ]]>", "' onload='x", "&amp; \x00 日本"]


def diverging() -> Figure:
    """Variances over sixty decades, infinite losses, a series without any finite value."""
    variances = [
        Series("raw-selu", X, 10.0 ** (0.6 * X)),
        Series("std-selu", X, 10.0 ** (-0.6 * X)),
        Series("predicted", X, 10.0 ** (-0.6 * X), kind="dashed", style_of="std-selu"),
        Series("predicted", X, 10.0 ** (0.6 * X), kind="dashed", style_of="raw-selu"),
    ]
    loss = np.where(X > 4, np.inf, 10.0 ** (2 * X))
    losses = [Series("raw-selu", X, loss), Series("std-selu", X, np.full(50, np.nan))]
    return line_chart(
        [
            Panel(
                "Variance of the activations of every hidden layer before training",
                "layer",
                "variance, log scale",
                variances,
                y_scale="log",
                references=[("target", 1.0), ("chance", 1e-3)],
            ),
            Panel("Loss", "epoch", "cross-entropy (nats)", losses, y_scale="log"),
        ],
        alt="Variances and losses",
    )


def hostile() -> Figure:
    series = [Series(name, [1, 2, 3], [i, i + 1, i + 0.5]) for i, name in enumerate(HOSTILE)]
    panel = Panel(HOSTILE[0], HOSTILE[1], HOSTILE[2], series, references=[(HOSTILE[1], 2.0)])
    return line_chart([panel], alt=HOSTILE[0])


def many() -> Figure:
    panels = [
        Panel(
            f"Panel number {i} with a title that is long enough to need more than one line",
            "pre-activation of the unit, in units of its standard deviation",
            "the-value-of-something-whose-name-has-no-space-in-it-but-is-long-nevertheless",
            [Series("a-label-" + "long-" * 20, X, (-1.0) ** X * 10.0 ** (X / 5.0))],
            y_scale="symlog",
        )
        for i in range(5)
    ]
    return line_chart(panels, alt="Five panels")


@pytest.mark.parametrize("layout", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("make", [diverging, hostile, many])
def test_no_text_overlaps_another_or_is_cut(make, layout: Layout) -> None:  # type: ignore[no-untyped-def]
    boxes, (width, height) = text_boxes(make(), layout)
    assert len(boxes) > 8
    assert not list(overlaps(boxes))
    for text, box in boxes:
        assert box.x0 >= -0.5, text
        assert box.y0 >= -0.5, text
        assert box.x1 <= width + 0.5, text
        assert box.y1 <= height + 0.5, text


@pytest.mark.parametrize("make", [diverging, hostile, many])
def test_every_picture_is_self_contained(make) -> None:  # type: ignore[no-untyped-def]
    assert_self_contained(Document(make().html))


def test_hostile_names_are_shown_as_they_are() -> None:
    html = hostile().html
    text = Document(html).text
    for name in HOSTILE:
        assert name.replace("\x00", "\ufffd") in text
    assert "<script" not in html


def test_sixty_decades_have_few_labels() -> None:
    text = Document(diverging().html).text.split("\n")
    assert {"10⁻³⁰", "10⁰", "10³⁰"} <= set(text)
    assert sum(label.startswith("10") and len(label) < 6 for label in text) < 60


def test_what_cannot_be_seen_is_named() -> None:
    text = Document(diverging().html).text
    assert "out of view: std-selu" in text
    assert "out of view: raw-selu" not in text


def test_what_lies_beyond_the_limits_is_named() -> None:
    far = Series("predicted", X, X * 1e6, style_of="near")
    near = Series("near", X, X * 0.01)
    html = line_chart([Panel("t", "x", "y", [near, far], y_limits=(0, 1))], alt="a").html
    assert html.count("out of view: predicted (near)") == 2  # wide and narrow


def test_the_legend_lists_shared_labels_once_and_last() -> None:
    keys = diverging().legend
    assert [key.label for key in keys] == ["raw-selu", "std-selu", "predicted"]
    samples = [key.sample(LIGHT) for key in keys]
    assert [line.get_color() for line in samples] == [*LIGHT.series[:2], LIGHT.text]
    assert samples[2].get_linestyle() == "--"


def lines_of(figure: Figure) -> list:  # type: ignore[type-arg]
    with _settings():
        return [line for axes in figure.draw(WIDE, LIGHT).axes for line in axes.get_lines()]


def test_an_arm_looks_the_same_in_every_picture() -> None:
    styles = palette(["a", "b", "c"])
    one = line_chart([Panel("t", "x", "y", [Series("b", X, X)])], alt="a", styles=styles)
    two = line_chart(
        [Panel("t", "x", "y", [Series("c", X, X), Series("b", X, X**2)])], alt="a", styles=styles
    )
    looks = [(line.get_color(), line.get_marker()) for line in (lines_of(one)[0], lines_of(two)[1])]
    assert looks[0] == looks[1] == (LIGHT.series[1], "s")


def test_kinds_of_series() -> None:
    series = [
        Series("measured", X, X),
        Series("predicted", X, X, kind="dashed", style_of="measured"),
        Series("seeds", X, X + 1, kind="points"),
    ]
    line, dashed, points = lines_of(line_chart([Panel("t", "x", "y", series)], alt="a"))
    assert (line.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
    assert points.get_linestyle() == "None"
    assert (line.get_color(), line.get_marker()) == (LIGHT.series[0], "o")
    assert dashed.get_color() == LIGHT.series[0]
    assert points.get_marker() == "s"
    # Where they coincide the thin measured line lies on the broad prediction.
    assert line.get_zorder() > dashed.get_zorder()
    assert line.get_linewidth() < dashed.get_linewidth()


def test_gaps_break_the_line() -> None:
    y = [1.0, 2.0, float("nan"), 3.0, float("inf"), 4.0, 5.0]
    html = line_chart([Panel("t", "x", "y", [Series("a", range(7), y)])], alt="a").html
    wide = html.split('class="wide"')[1].split("</svg>")[0]
    curve = next(
        d
        for d, style in re.findall(r'<path d="([^"]+)"[^>]*style="([^"]+)"', wide)
        if "var(--series-0)" in style and "stroke-width:1.8" in style
    )
    assert curve.count("M") == 3


def test_lonely_points_have_a_marker() -> None:
    nan = np.nan
    y = np.where(X == 30, 2.0, np.where(X < 20, 1.0, nan))
    marked = _marked(X.astype(float), y, 3, 7)
    assert 29 in marked
    assert len(marked) <= 12
    assert _marked(np.arange(3.0), np.array([1.0, 2.0, 3.0]), 0, 1) == [0, 1, 2]
    assert _marked(np.arange(2.0), np.array([nan, nan]), 1, 2) == []


def test_a_lonely_prediction_is_seen() -> None:
    series = [Series("a", X, X), Series("p", [7], [3.0], kind="dashed", style_of="a")]
    _, dashed = lines_of(line_chart([Panel("t", "x", "y", series)], alt="a"))
    assert (dashed.get_marker(), dashed.get_markevery()) == ("o", [0])


def test_markers_of_equal_curves_do_not_cover_each_other() -> None:
    places = [set(_marked(X.astype(float), X.astype(float), i, 6)) for i in range(6)]
    assert not set.intersection(*places)
    assert len(set.union(*places)) == sum(map(len, places))


def test_bands_are_drawn_where_they_are_given() -> None:
    series = Series("a", X, X, X - 1.0, X + 1.0)
    with _settings():
        axes = line_chart([Panel("t", "x", "y", [series])], alt="a").draw(WIDE, LIGHT).axes[0]
        (band,) = axes.collections
        low, high = (
            band.get_paths()[0].vertices[:, 1].min(),
            band.get_paths()[0].vertices[:, 1].max(),
        )
        assert (low, high) == (0.0, 51.0)
        assert axes.get_ylim()[0] < 0
        assert axes.get_ylim()[1] > 51


def test_references_are_in_the_picture() -> None:
    panel = Panel("t", "x", "y", [Series("a", X, X)], references=[("goal", 400.0), ("low", -7.0)])
    with _settings():
        axes = line_chart([panel], alt="a").draw(WIDE, LIGHT).axes[0]
        lo, hi = axes.get_ylim()
    assert lo < -7 < 400 < hi


@pytest.mark.parametrize(("count", "across"), [(1, 1), (2, 2), (3, 3), (4, 2), (5, 3)])
def test_panels_stand_side_by_side_or_stack(count: int, across: int) -> None:
    panels = [Panel("t", "x", "y", [Series("a", X, X)])] * count
    figure = line_chart(panels, alt="a")
    with _settings():
        for layout, expected in ((WIDE, across), (NARROW, 1)):
            drawing = figure.draw(layout, LIGHT)
            assert len(drawing.axes) == count
            grid = drawing.axes[0].get_subplotspec().get_gridspec()
            assert grid.ncols == expected


def test_a_single_point_and_extreme_values_are_drawn() -> None:
    series = [
        Series("one", [3], [0.25]),
        Series("huge", [1, 2], [1e300, -1e300]),
        Series("tiny", [1, 2], [1e-320, 5e-324]),
    ]
    for scale in ("linear", "log", "symlog"):
        panel = Panel("t", "x", "y", series, y_scale=scale)  # type: ignore[arg-type]
        assert_self_contained(Document(line_chart([panel], alt="a").html))


def test_a_log_abscissa() -> None:
    panel = Panel("t", "depth", "y", [Series("a", [10, 100, 1000], [1, 2, 3])], x_scale="log")
    text = Document(line_chart([panel], alt="a").html).text.split("\n")
    assert {"10", "100", "1,000"} <= set(text)


def test_a_chart_needs_a_panel() -> None:
    with pytest.raises(DomainError, match="panels is empty; give at least one Panel"):
        line_chart([], alt="a")


def test_a_chart_needs_an_alternative_text() -> None:
    with pytest.raises(DomainError, match="alt must not be blank"):
        line_chart([Panel("t", "x", "y", [Series("a", X, X)])], alt="")


def test_a_look_without_style_is_named() -> None:
    series = [Series("a", X, X), Series("predicted", X, X, style_of="ghost")]
    message = "series 'predicted' has the look of 'ghost', which has no style; known: 'a'"
    with pytest.raises(DomainError, match=message):
        line_chart([Panel("t", "x", "y", series)], alt="a")


def test_looks_alone_make_a_palette() -> None:
    series = [Series("predicted", X, X * k, kind="dashed", style_of=f"arm {k}") for k in (1, 2)]
    lines = lines_of(line_chart([Panel("t", "x", "y", series)], alt="a"))
    assert [line.get_color() for line in lines] == list(LIGHT.series[:2])
