"""Depth and width, with a verdict."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import selfnorm as sn
from selfnorm.errors import DataError, DomainError

from .parts import lecun, mlp

SMALL: dict[str, Any] = {"depths": (2, 6, 12), "widths": (48, 96), "repeats": 2}


def healthy(depth: int, width: int) -> nn.Module:
    return lecun(mlp(depth, width))


def fading(depth: int, width: int) -> nn.Module:
    return mlp(depth, width)


def narrowing(width: int) -> nn.Module:
    """Fixed standard deviation of the weights: the sum of squares grows with the width."""
    net = mlp(4, width)
    for module in net:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.1)
            nn.init.zeros_(module.bias)
    return net


def test_a_healthy_network_passes() -> None:
    state = torch.random.get_rng_state()
    found = sn.coord_check(healthy, **SMALL)
    assert found.passed, str(found)
    assert torch.equal(state, torch.random.get_rng_state())
    assert len(found.points) == 8  # three depths and two widths share one place
    assert found.to_dict()["passed"] is True


def test_default_initialisation_fails_by_depth() -> None:
    found = sn.coord_check(fading, **SMALL)
    assert {one.code for one in found.findings} == {"scale-with-depth"}
    # The slope is that of a line through the logarithms, here by NumPy's own fit of the points.
    depths = [p for p in found.points if p["width"] == 96]
    slope = np.polyfit([p["depth"] for p in depths], np.log([p["var"] for p in depths]), 1)[0]
    assert found.slopes["var_by_depth"] == pytest.approx(slope)
    assert found.factors["var_by_depth"] == pytest.approx(math.exp(10 * slope))
    assert str(found).startswith("failed")


def test_a_fixed_standard_deviation_fails_by_width() -> None:
    found = sn.coord_check(narrowing, depths=(), widths=(32, 64, 256), repeats=1)
    assert found.findings[0].code == "scale-with-width"
    assert found.factors["var_by_width"] > 3.0
    assert math.isnan(found.factors["var_by_depth"])


def test_gradients_have_a_tolerance_of_their_own() -> None:
    one = sn.coord_check(healthy, depths=(2, 12), widths=(64,), repeats=1, gradient_tolerance=1.05)
    assert [found.code for found in one.findings] == ["scale-with-depth"]
    assert "squared gradient" in one.findings[0].message


def test_data_may_depend_on_the_model() -> None:
    def build(width: int) -> nn.Module:
        return lecun(nn.Sequential(nn.Linear(width, width), nn.SELU(), nn.Linear(width, 2)))

    def rows(model: nn.Module) -> torch.Tensor:
        assert isinstance(model, nn.Sequential)
        assert isinstance(model[0], nn.Linear)
        return torch.randn(64, model[0].in_features)

    assert sn.coord_check(build, rows, depths=(), widths=(32, 128), repeats=1).passed


def returns_nothing(width: int) -> None:
    del width


def without_input(width: int) -> nn.Module:
    del width
    return nn.SELU()


REFUSALS: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "module": (nn.Linear(2, 3), {}, DomainError, "factory must be a function"),
    "argument": (narrowing, {}, DomainError, "factory must take depth"),
    "one": (healthy, {"depths": (3,), "widths": (8,)}, DomainError, "at least two depths"),
    "zero": (healthy, {"depths": (0, 3)}, DomainError, r"depths=\(0, 3\)"),
    "repeats": (healthy, {"repeats": 0}, DomainError, "repeats=0"),
    "tolerance": (healthy, {"tolerance": 1.0}, DomainError, "tolerance=1.0"),
    "nothing": (returns_nothing, {"depths": ()}, DomainError, "a NoneType came"),
    "input": (without_input, {"depths": ()}, DataError, "data must be given"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name: str) -> None:
    factory, options, kind, words = REFUSALS[name]
    with pytest.raises(kind, match=words):
        sn.coord_check(factory, **options)
