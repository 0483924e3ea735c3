from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfnorm.report import format_number
from selfnorm.report._numbers import format_column, power_of_ten

_DIGITS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹−", "-0123456789-")


def read(text: str) -> float:
    """Read a formatted number back, independently of the code that wrote it."""
    match = re.fullmatch(r"([−\d.,]+?)(?:×10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?", text)
    assert match, text
    mantissa = match[1].translate(_DIGITS).replace(",", "")
    return float(f"{mantissa}e{(match[2] or '0').translate(_DIGITS)}")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (0.5, "0.5"),
        (-0.25, "−0.25"),
        (0.93124, "0.9312"),
        (12.3456, "12.35"),
        (9999.96, "10,000"),
        (1234567.8, "1,234,568"),
        (9_999_999.9, "10,000,000"),
        (1.0e7, "1×10⁷"),
        (2.5e-31, "2.5×10⁻³¹"),
        (-1.23456e30, "−1.235×10³⁰"),
        (0.0001, "0.0001"),
        (0.00001, "1×10⁻⁵"),
        (math.nan, "NaN"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (20000, "20,000"),
        (-3, "−3"),
        (10**15, "1×10¹⁵"),
    ],
)
def test_a_number_is_written_for_people(value: float, text: str) -> None:
    assert format_number(value) == text


def test_digits_are_chosen_by_the_caller() -> None:
    assert format_number(math.pi, 2) == "3.1"
    assert format_number(math.pi, 7) == "3.141593"


@given(st.floats(-1e308, 1e308))
def test_a_number_reads_back_to_four_digits(value: float) -> None:
    text = format_number(value)
    assert "-" not in text
    assert "e" not in text
    assert read(text) == pytest.approx(value, rel=5.0001e-4, abs=0)


@given(st.integers(-(10**15) + 1, 10**15 - 1))
def test_a_whole_number_is_written_whole(value: int) -> None:
    assert int(format_number(value).translate(_DIGITS).replace(",", "")) == value


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.05, 0.1, 4.0], ["0.05", "0.10", "4.00"]),
        ([0.93125, 0.1], ["0.9313", "0.1000"]),
        ([12.345, 105.21, 3.414], ["12.3", "105.2", "3.4"]),
        ([1.0, 2e-31], ["1", "2×10⁻³¹"]),
        ([1e8, 2.0], ["1×10⁸", "2"]),
        ([3, 0.25], ["3", "0.25"]),
        ([math.nan, 0.5, math.inf], ["NaN", "0.5", "∞"]),
        ([-0.5, 0.25, 0.0], ["−0.50", "0.25", "0.00"]),
        ([-1e-9, 0.0], ["−1×10⁻⁹", "0"]),
        ([], []),
    ],
)
def test_a_column_is_written_alike(values: list[float], texts: list[str]) -> None:
    assert format_column(values) == texts


@given(st.lists(st.floats(-1e308, 1e308), min_size=1, max_size=6))
def test_a_column_keeps_two_significant_digits_of_each(values: list[float]) -> None:
    for value, text in zip(values, format_column(values), strict=True):
        assert read(text) == pytest.approx(value, rel=0.0501, abs=0)


def test_a_column_never_writes_minus_zero() -> None:
    assert format_column([-0.0, 0.25]) == ["0.00", "0.25"]


def test_power_of_ten() -> None:
    assert power_of_ten(-10) == "10⁻¹⁰"
