from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from selfnorm.errors import DomainError
from selfnorm.report import Table


def test_cells_are_written_for_people() -> None:
    table = Table(
        ["arm", "accuracy", "layers", "trains", "note"],
        [
            ["std-selu", np.float32(0.9375), np.int64(12000), np.bool_(True), None],
            ["raw-relu", Fraction(1, 8), 50, False, "  two\nlines "],
        ],
    )
    assert table.cells == (
        ("std-selu", "0.9375", "12,000", "yes", "–"),
        ("raw-relu", "0.1250", "50", "no", "two lines"),
    )


def test_numbers_stand_on_the_right() -> None:
    rows = [["a", None, True, 0.5], ["b", 3, False, float("nan")]]
    assert Table(["w", "x", "y", "z"], rows).align == ("left", "right", "left", "right")
    assert Table(["w"], [["a"]], align=["center"]).align == ("center",)


def test_a_table_may_have_no_rows() -> None:
    assert Table(["a", "b"], []).cells == ()


@pytest.mark.parametrize(
    ("columns", "rows", "options", "message"),
    [
        ([], [], {}, "columns is empty; give at least one heading"),
        (["a", "b"], [[1, 2], [3]], {}, r"row 1 must have 2 cells, however: 1: \(3,\)"),
        (["a"], [[[1]]], {}, r"a cell must be str, .* row 0, column 'a' holds \[1\]"),
        (["a"], [[1j]], {}, "a cell must be str, float, int or None"),
        (["a"], [], {"align": ["up"]}, r"align must hold one of .* however: align=\['up'\]"),
        (["a"], [], {"align": ["left", "left"]}, "align must hold one of"),
        (["a"], [], {"caption": " "}, "caption must not be blank"),
        ([3], [], {}, "column heading must be a str"),
    ],
)
def test_a_table_names_what_is_wrong(
    columns: list[str], rows: list[list[object]], options: dict[str, object], message: str
) -> None:
    with pytest.raises(DomainError, match=message):
        Table(columns, rows, **options)  # type: ignore[arg-type]
