"""SELU and ELU as modules."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from selfnorm import functional, nn, theory
from selfnorm.errors import DomainError


def gaussian(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("mean", "var"), [(0.0, 1.0), (0.0, 0.25), (0.2, 1.5)])
def test_selu_is_the_functional_one(mean: float, var: float) -> None:
    module, x = nn.SELU(mean, var), gaussian(50, 3)
    assert torch.equal(module(x), functional.selu(x, mean=mean, var=var))
    constants = theory.solve(mean, var)
    found = (module.alpha, module.scale, module.saturation)
    assert found == (constants.alpha, constants.scale, constants.saturation)
    far = module(torch.tensor([-60.0], dtype=torch.float64)).item()
    assert far == pytest.approx(module.saturation, rel=1e-14)
    assert not list(module.parameters())


def test_for_depth() -> None:
    assert nn.SELU.for_depth(1).var == 1.0
    for depth, budget in [(50, math.e), (100, math.e), (100, 10.0)]:
        module = nn.SELU.for_depth(depth, budget=budget)
        assert module.mean == 0.0
        # Squared gradients grow by chi per layer: chi ** depth meets the budget.
        act = theory.activation("selu", alpha=module.alpha, scale=module.scale)
        growth = theory.gradient_gain(act, 0.0, module.var) ** depth
        assert growth == pytest.approx(budget, rel=1e-6)


def test_for_depth_of_a_subclass() -> None:
    class Mine(nn.SELU):
        pass

    assert type(Mine.for_depth(100)) is Mine


def test_elu() -> None:
    x = gaussian(50)
    assert torch.equal(nn.ELU(0.3)(x), functional.elu(x, 0.3))
    assert torch.equal(nn.ELU()(x), functional.elu(x))


@pytest.mark.parametrize(
    ("module", "shown"),
    [
        (nn.SELU(), "SELU()"),
        (nn.SELU(0.0, 0.5), "SELU(mean=0, var=0.5, alpha=1.46806, scale=1.04096)"),
        (nn.ELU(0.3), "ELU(alpha=0.3)"),
    ],
)
def test_repr(module: torch.nn.Module, shown: str) -> None:
    assert repr(module) == shown


@pytest.mark.parametrize("var", [0.0, -1.0, math.nan, math.inf])
def test_impossible_fixed_points_are_refused(var: float) -> None:
    with pytest.raises(DomainError, match="var"):
        nn.SELU(0.0, var)


@pytest.mark.parametrize("depth", [0, -1, 2.5])
def test_depths_are_refused(depth: Any) -> None:
    with pytest.raises(DomainError, match="depth"):
        nn.SELU.for_depth(depth)


@pytest.mark.parametrize("alpha", [-1.0, math.nan, "1"])
def test_alphas_are_refused(alpha: Any) -> None:
    with pytest.raises(DomainError, match="alpha must be a finite number, 0 or more"):
        nn.ELU(alpha)


@pytest.mark.parametrize("module", [nn.SELU(var=0.5, inplace=True), nn.ELU(1.5, inplace=True)])
def test_in_place(module: torch.nn.Module) -> None:
    # Large enough for the kernels; the other side is the same module out of place.
    plain = nn.SELU(var=0.5) if isinstance(module, nn.SELU) else nn.ELU(1.5)
    leaf = torch.randn(300, 70, generator=torch.Generator().manual_seed(0)).requires_grad_()
    results = []
    for function in (module, plain):
        x = leaf * 1.0
        y = function(x)
        assert (y.data_ptr() == x.data_ptr()) == (function is module)
        results.append((y.detach().clone(), *torch.autograd.grad(y.square().sum(), leaf)))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=2e-6, atol=2e-6)
    assert "inplace=True" in repr(module)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_place_refuses_a_gradient_in_low_precision(dtype: torch.dtype) -> None:
    x = torch.ones(4, dtype=dtype)
    assert nn.SELU(inplace=True)(x.clone()).dtype == dtype  # no gradient wanted
    with pytest.raises(DomainError, match="leave out inplace=True"):
        nn.SELU(inplace=True)(x.requires_grad_() * 1.0)
