from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfnorm.report._axis import limits, linear_threshold, ticks

sizes = st.floats(-290, 290).map(lambda e: 10.0**e)
numbers = st.one_of(st.just(0.0), sizes, sizes.map(lambda v: -v), st.floats(-1e3, 1e3))


@given(st.lists(numbers, min_size=1, max_size=5), st.integers(2, 12))
@settings(deadline=None)
def test_linear_ends_hold_the_data_and_ticks_the_axis(values: list[float], room: int) -> None:
    values = [0.0 if abs(v) < 1e-300 else v for v in values]
    lo, hi = limits(np.array(values), "linear")
    assert lo < min(values)
    assert max(values) < hi
    places, labels = ticks(lo, hi, "linear", room)
    assert 1 <= len(places) <= room + 2
    assert all(lo <= place <= hi for place in places)
    assert len(set(labels)) == len(labels)


@given(st.lists(sizes, min_size=1, max_size=5), st.integers(2, 12))
@settings(deadline=None)
def test_log_ends_hold_the_data_and_ticks_the_axis(values: list[float], room: int) -> None:
    lo, hi = limits(np.array(values), "log")
    assert 0 < lo < min(values)
    assert max(values) < hi
    places, labels = ticks(lo, hi, "log", room)
    assert 1 <= len(places) <= room + 2
    assert all(lo * (1 - 1e-9) <= place <= hi * (1 + 1e-9) for place in places)
    assert len(set(labels)) == len(labels)


@given(st.lists(numbers, min_size=1, max_size=5), st.integers(4, 12))
@settings(deadline=None)
def test_symlog_ends_hold_the_data_and_ticks_the_axis(values: list[float], room: int) -> None:
    values = [0.0 if abs(v) < 1e-300 else v for v in values]
    lo, hi = limits(np.array(values), "symlog")
    assert lo <= min(values)
    assert max(values) <= hi
    assert lo < hi
    threshold = linear_threshold(np.array(values))
    assert threshold > 0
    places, labels = ticks(lo, hi, "symlog", room, threshold=threshold)
    assert all(lo <= place <= hi for place in places)
    assert len(set(labels)) == len(labels)


def test_sixty_decades_are_readable() -> None:
    lo, hi = limits(np.array([1e-30, 1e30]), "log")
    places, labels = ticks(lo, hi, "log", 7)
    assert labels == ["10⁻³⁰", "10⁻²⁰", "10⁻¹⁰", "10⁰", "10¹⁰", "10²⁰", "10³⁰"]
    np.testing.assert_allclose(places, [10.0**e for e in range(-30, 31, 10)])


@pytest.mark.parametrize(
    ("lo", "hi", "scale", "labels"),
    [
        (0.0, 1.0, "linear", ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-4.0, 4.0, "linear", ["−4", "−3", "−2", "−1", "0", "1", "2", "3", "4"]),
        (0.8, 1.3, "log", ["0.8", "0.9", "1.0", "1.1", "1.2", "1.3"]),
        (0.05, 4.0, "log", ["0.05", "0.1", "0.2", "0.5", "1", "2"]),
        (0.001, 1e4, "log", ["0.001", "0.01", "0.1", "1", "10", "100", "1,000", "10,000"]),
        (1e9, 1e9 + 4, "linear", None),
    ],
)
def test_ticks_are_round_numbers(
    lo: float, hi: float, scale: str, labels: list[str] | None
) -> None:
    places, written = ticks(lo, hi, scale, 8)  # type: ignore[arg-type]
    if labels is None:
        assert [float(t.split("×")[0]) for t in written] == [p / 1e9 for p in places]
    else:
        assert written[: len(labels)] == labels


def test_whole_numbers_stay_whole() -> None:
    places, labels = ticks(0.8, 5.2, "linear", 12, whole=True)
    assert places == [1, 2, 3, 4, 5]
    assert labels == ["1", "2", "3", "4", "5"]


def test_symlog_is_symmetric() -> None:
    places, labels = ticks(-2e6, 2e6, "symlog", 6, threshold=1.0)
    assert 0 in places
    assert [-p for p in reversed(places)] == places
    assert labels[0].startswith("−10")


def test_no_data_still_give_an_axis() -> None:
    assert limits(np.array([math.nan]), "linear") == (0.0, 1.0)
    assert limits(np.array([]), "log") == (0.1, 10.0)
    assert linear_threshold(np.array([0.0, math.nan])) == 1.0


def test_the_linear_part_reaches_six_decades_down_at_most() -> None:
    assert linear_threshold(np.array([1e-30, -5e3])) == pytest.approx(1e-3)
    assert linear_threshold(np.array([0.2, -5e3])) == pytest.approx(0.1)
