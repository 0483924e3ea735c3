"""Boxes and exact numbers: outward rounding, and every refusal."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfnorm.errors import DomainError
from selfnorm.theory import Box
from selfnorm.theory._box import exact_fraction

UNIT = {"mean": (-1, 2), "var": (1, 2), "weight_sum": (0, 0.5), "weight_sumsq": (1, 3)}


@given(st.decimals(min_value=-1000, max_value=1000, places=25))
def test_decimal_ends_are_rounded_outward_to_the_next_double(end: Decimal) -> None:
    lo, hi = Box(**{**UNIT, "mean": (str(end), end)}).mean
    assert Fraction(lo) <= Fraction(end) <= Fraction(hi)
    assert hi in (lo, math.nextafter(lo, math.inf))


def test_floats_are_taken_as_the_doubles_they_are() -> None:
    box = Box(**{**UNIT, "var": (0.1, np.float32(0.3))})
    assert box.var == (0.1, float(np.float32(0.3)))


def test_one_tenth_lies_inside_its_own_box_where_the_double_does_not_suffice() -> None:
    # The double 0.1 is above 1/10, so it serves as upper end only.
    lo, hi = Box(**{**UNIT, "mean": ("0.1", "0.1")}).mean
    assert (lo, hi) == (math.nextafter(0.1, 0), 0.1)


def test_contains_counts_the_boundary() -> None:
    box = Box(**UNIT)
    corner = {"mean": -1.0, "var": 2.0, "weight_sum": 0.5, "weight_sumsq": 3.0}
    assert box.contains(**corner)
    for name in corner:
        assert not box.contains(**{**corner, name: 9.0}), name


@pytest.mark.parametrize(
    ("value", "exact"),
    [
        ("0.1", Fraction(1, 10)),
        (" 2e-3 ", Fraction(1, 500)),
        ("-1/3", Fraction(-1, 3)),
        (7, Fraction(7)),
        (Decimal("1.25"), Fraction(5, 4)),
        (0.1, Fraction(3602879701896397, 36028797018963968)),
    ],
)
def test_exact_fraction(value: object, exact: Fraction) -> None:
    assert exact_fraction(value, "var", floats=True) == exact


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": (1, -1)}, "mean must have its smaller end first, however: mean=(1, -1)"),
        ({"mean": (-1, math.inf)}, "mean must be finite, however: mean=inf"),
        ({"var": (math.nan, 1)}, "var must be finite, however: var=nan"),
        ({"var": ("1", "inf")}, "var must be finite, however: var='inf'"),
        ({"var": (0, 1)}, "var must be above 0, however: var=(0, 1)"),
        ({"weight_sumsq": ("-0.5", 1)}, "weight_sumsq must be above 0"),
        ({"var": ("1e-400", 1)}, "var must be above 0"),
        ({"var": (1, "1e400")}, "var must fit into double precision"),
        ({"weight_sum": (0, 1, 2)}, "weight_sum must be a pair (lo, hi)"),
        ({"weight_sum": 0.5}, "weight_sum must be a pair (lo, hi)"),
        ({"mean": (True, 2)}, "mean must be a decimal string"),
        ({"mean": (None, 2)}, "mean must be a decimal string"),
        ({"mean": (1j, 2)}, "mean must be a decimal string"),
        ({"mean": ("0,1", 2)}, "mean must be a decimal such as '0.1'"),
        ({"mean": ("1/0", 2)}, "mean must be a decimal such as '0.1'"),
        ({"mean": ("1/2/3", 2)}, "mean must be a decimal such as '0.1'"),
        ({"mean": (0, "1e99999999")}, "must be 0 or between 1e-1000 and 1e1000"),
        ({"mean": (0, "1." + "1" * 20_001)}, "must have at most 20000 digits"),
    ],
)
def test_bad_ends_are_refused_by_name(change: dict[str, object], message: str) -> None:
    with pytest.raises(DomainError, match=re.escape(message)):
        Box(**{**UNIT, **change})  # type: ignore[arg-type]
