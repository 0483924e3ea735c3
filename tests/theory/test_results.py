"""What every result of the theory is: it cannot be changed, and it shows itself in one line."""

from __future__ import annotations

import dataclasses

import pytest

from selfnorm import theory

RESULTS = [
    result
    for name in theory.__all__
    if isinstance(result := getattr(theory, name), type) and dataclasses.is_dataclass(result)
]


@pytest.mark.parametrize("result", RESULTS, ids=lambda r: r.__name__)
def test_a_result_cannot_be_changed(result: type) -> None:
    assert result.__dataclass_params__.frozen  # type: ignore[attr-defined]
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.__setattr__(object.__new__(result), dataclasses.fields(result)[0].name, 1.0)


def test_solve_shows_its_constants_and_not_its_matrix() -> None:
    text = repr(theory.solve(0.0, 2.0))
    assert "\n" not in text
    assert "jacobian" not in text
    assert "alpha=1.97125575034" in text
    assert "reason='attracting: spectral radius 0." in text
