from __future__ import annotations

import numpy as np
import pytest

from selfnorm.errors import DomainError
from selfnorm.report import Figure, heatmap
from selfnorm.report._figure import NARROW, WIDE, Layout, _settings
from selfnorm.report._heatmap import _on
from selfnorm.report._style import LIGHT

from .support import Document, assert_self_contained, overlaps, text_boxes
from .test_style import contrast

TITLES = {"row_title": "depth", "column_title": "target variance", "value_label": "accuracy"}


def accuracies() -> Figure:
    values = np.linspace(0.1, 0.99, 54).reshape(6, 9)
    return heatmap(
        values,
        ["10", "20", "50", "100", "200", "1,000"],
        ["0.05", "0.1", "0.2", "0.4", "0.7", "1", "1.5", "2", "4"],
        **TITLES,
        alt="Accuracy",
    )


def gains() -> Figure:
    values = 10.0 ** np.linspace(-30, 30, 20).reshape(4, 5)
    values[0, 3], values[2, 1], values[3, 3] = np.nan, 0.0, np.inf
    return heatmap(
        values,
        ["10", "a long row label that has to be wrapped", "$x$ <b>", "an-unbroken-" + "row" * 20],
        ["Gaussian", "orthogonal", "uniform Glorot", "PyTorch default", "he-normal-truncated"],
        **TITLES,
        alt="Gains",
        log=True,
        format="{:.0e}",
    )


@pytest.mark.parametrize("layout", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("make", [accuracies, gains])
def test_no_text_overlaps_another_or_is_cut(make, layout: Layout) -> None:  # type: ignore[no-untyped-def]
    boxes, (width, height) = text_boxes(make(), layout)
    assert not list(overlaps(boxes))
    for text, box in boxes:
        assert box.x0 >= -0.5, text
        assert box.y0 >= -0.5, text
        assert box.x1 <= width + 0.5, text
        assert box.y1 <= height + 0.5, text


@pytest.mark.parametrize("make", [accuracies, gains])
def test_a_heat_map_is_self_contained(make) -> None:  # type: ignore[no-untyped-def]
    assert_self_contained(Document(make().html))


def test_the_first_row_is_on_top() -> None:
    boxes = dict(text_boxes(accuracies(), WIDE)[0])
    assert boxes["10"].y0 > boxes["1,000"].y0
    assert boxes["0.10"].y0 > boxes["0.99"].y0
    assert boxes["0.10"].x0 < boxes["0.99"].x0


def test_numbers_are_written_with_powers_and_gaps_as_dashes() -> None:
    texts = [text for text, _ in text_boxes(gains(), WIDE)[0]]
    assert {"1×10⁻³⁰", "1×10³⁰"} <= set(texts)
    assert texts.count("–") == 3
    assert not [text for text in texts if "e" in text and "10" in text]


def test_a_negative_number_has_a_minus_sign() -> None:
    figure = heatmap([[-0.25, 1]], ["r"], ["a", "b"], **TITLES, alt="a", format="{:.3f}")
    assert "−0.250" in Document(figure.html).text


def test_narrow_cells_leave_numbers_out_but_keep_dashes() -> None:
    texts = [text for text, _ in text_boxes(gains(), NARROW)[0]]
    assert texts.count("–") == 3
    assert "1×10⁻³⁰" not in texts


def test_colours_follow_the_values_or_their_logarithms() -> None:
    def shades(log: bool) -> np.ndarray:
        figure = heatmap([[1, 10, 100]], ["r"], ["a", "b", "c"], **TITLES, alt="a", log=log)
        with _settings():
            drawing = figure.draw(WIDE, LIGHT)
            mesh = drawing.axes[0].collections[0]
            return np.asarray(mesh.norm(mesh.get_array())).ravel()

    np.testing.assert_allclose(shades(log=True), [0, 0.5, 1], atol=1e-12)
    np.testing.assert_allclose(shades(log=False), [0, 1 / 11, 1], atol=1e-12)


def test_digits_stand_out_on_every_colour() -> None:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    for shade in np.linspace(0, 1, 101):
        colour = colormaps["viridis"](shade)
        assert contrast(_on(colour), to_hex(colour)) >= 4.5


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "values", [[[0.5, 0.5]], [[np.nan, np.nan]], [[1e300, 1e-300]], [[0.0, 0.0]], [[3.0, np.inf]]]
)
def test_degenerate_values_are_drawn(values: list[list[float]], log: bool) -> None:
    figure = heatmap(values, ["r"], ["a", "b"], **TITLES, alt="a", log=log, format="{:.1e}")
    assert_self_contained(Document(figure.html))


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, r"values must be a non-empty matrix, however: shape \(0,\)"),
        ([[]], {}, r"values must be a non-empty matrix, however: shape \(1, 0\)"),
        ([1.0], {}, "values must be a non-empty matrix"),
        ([["x"]], {}, r"values must be a matrix of real numbers, however: values=\[\['x'\]\]"),
        ([[1], [1, 2]], {}, "values must be a matrix of real numbers"),
        ([[1.0, 2.0]], {}, r"shape \(1, 2\) need as many labels, however: 1 row labels and 1 col"),
        ([[1.0]], {"format": "{:q}"}, "format must write one number.*'{:q}'"),
        ([[1.0]], {"format": "{} {}"}, "format must write one number"),
        ([[1.0]], {"format": "{x}"}, "format must write one number"),
        ([[1.0]], {"format": "{0.x}"}, "format must write one number"),
        ([[1.0]], {"row_title": ""}, "row_title must not be blank"),
        ([[1.0]], {"column_title": ""}, "column_title must not be blank"),
        ([[1.0]], {"value_label": ""}, "value_label must not be blank"),
        ([[1.0]], {"alt": ""}, "alt must not be blank"),
        ([[1.0]], {"row_labels": [3]}, "row label must be a str"),
        ([[1.0]], {"column_labels": [""]}, "column label must not be blank"),
    ],
)
def test_a_heat_map_names_what_is_wrong(
    values: list[object], options: dict[str, object], message: str
) -> None:
    arguments: dict[str, object] = {"row_labels": ["r"], "column_labels": ["c"], "alt": "a"}
    with pytest.raises(DomainError, match=message):
        heatmap(values, **(arguments | TITLES | options))  # type: ignore[arg-type]
