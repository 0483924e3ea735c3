from __future__ import annotations

import numpy as np
import pytest

from selfnorm.errors import DomainError
from selfnorm.report import Panel, Series


def test_a_series_copies_its_data() -> None:
    y = np.array([0.25, 0.75])
    series = Series("std-selu", [1, 2], y)
    y[0] = 9
    assert np.asarray(series.y).tolist() == [0.25, 0.75]


def test_none_is_a_gap() -> None:
    x, y, _ = Series("a", [1, 2, 3], [0.5, None, 2.5]).columns("linear", "linear")
    assert x.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(y, [0.5, np.nan, 2.5])


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        ("linear", [np.nan, np.nan, -2.0, 0.0, 3.0, np.nan, 0.0]),
        ("symlog", [np.nan, np.nan, -2.0, 0.0, 3.0, np.nan, 0.0]),
        ("log", [np.nan, np.nan, np.nan, np.nan, 3.0, np.nan, np.nan]),
    ],
)
def test_what_cannot_be_drawn_is_a_gap(scale: str, expected: list[float]) -> None:
    series = Series("a", range(7), [np.nan, np.inf, -2.0, 0.0, 3.0, 1e301, 1e-310])
    _, y, _ = series.columns("linear", scale)  # type: ignore[arg-type]
    np.testing.assert_array_equal(y, expected)


def test_a_band_that_reaches_zero_stays_on_a_log_axis() -> None:
    series = Series("a", [1, 2], [2.0, 3.0], [-1.0, 2.5], [4.0, 5.0])
    _, _, (low, high) = series.columns("linear", "log")
    assert low.tolist() == [1e-300, 2.5]
    assert high.tolist() == [4.0, 5.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a", [], []), "series 'a' is empty; leave it out"),
        (("a", [1, 2], [1]), r"series 'a': lengths must agree, however: \{'x': 2, 'y': 1\}"),
        (("a", [1], [1], [0, 1], [2]), "lengths must agree"),
        (("a", [1], [1], [0]), "series 'a': give both low and high or neither"),
        (("a", [[1]], [[1]]), r"series 'a': x must be one-dimensional, however: shape \(1, 1\)"),
        (("a", [1], ["z"]), r"series 'a': y must be a sequence of real numbers.*\['z'\]"),
        (("a", [1], [1 + 2j]), "series 'a': y must be a sequence of real numbers"),
        (("a", [1], [object()]), "series 'a': y must be a sequence of real numbers"),
        (("a", [1], [[1, 2], [3]]), "series 'a': y must be a sequence of real numbers"),
        (("", [1], [1]), "label must not be blank"),
    ],
)
def test_a_series_names_what_is_wrong(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        Series(*arguments)  # type: ignore[arg-type]


def test_a_series_refuses_an_unknown_kind() -> None:
    with pytest.raises(DomainError, match=r"kind must be 'line', .* however: kind='bar'"):
        Series("a", [1], [1], kind="bar")  # type: ignore[arg-type]


def test_a_series_refuses_a_blank_style_of() -> None:
    with pytest.raises(DomainError, match="style_of must not be blank"):
        Series("a", [1], [1], style_of=" ")


LINE = Series("std-selu", [1, 2], [0.25, 0.75])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"series": []}, "panel 'Loss' has no series"),
        ({"series": [LINE, LINE]}, "panel 'Loss': label 'std-selu' comes twice; rename"),
        ({"x_scale": "symlog"}, "x_scale must be one of 'linear', 'log', however: .*'symlog'"),
        ({"y_scale": "sqrt"}, "y_scale must be one of 'linear', 'log', 'symlog'"),
        ({"y_limits": (1, 1)}, r"y_limits must increase .* however: y_limits=\(1, 1\)"),
        ({"y_limits": (0, np.inf)}, "y_limits must increase and each be a finite number"),
        ({"y_limits": (0, 1), "y_scale": "log"}, "a finite number of 1e-300 or more"),
        ({"references": [("zero", 0.0)], "y_scale": "log"}, "reference 'zero' must be a finite"),
        ({"references": [("chance", np.nan)]}, "reference 'chance' must be a finite number"),
        ({"references": [("chance", "x")]}, "reference 'chance' must be a finite number"),
        ({"references": [(" ", 1.0)]}, "reference label must not be blank"),
        ({"title": ""}, "title must not be blank"),
        ({"x_label": ""}, "x_label must not be blank"),
        ({"y_label": 7}, "y_label must be a str, however: y_label=7"),
    ],
)
def test_a_panel_names_what_is_wrong(options: dict[str, object], message: str) -> None:
    arguments = {"title": "Loss", "x_label": "epoch", "y_label": "nats", "series": [LINE]}
    with pytest.raises(DomainError, match=message):
        Panel(**(arguments | options))  # type: ignore[arg-type]


def test_series_with_the_look_of_others_may_share_a_label() -> None:
    dashed = [Series("predicted", [1], [1], kind="dashed", style_of=arm) for arm in "ab"]
    assert [series.look for series in Panel("t", "x", "y", dashed).series] == ["a", "b"]
