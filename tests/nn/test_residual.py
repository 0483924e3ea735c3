"""ScaledResidual and ScaledConcat: values, moments, shares, refusals."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from selfnorm import nn, theory
from selfnorm.errors import DomainError


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=seeded(seed))


# ---- residual -----------------------------------------------------------------------------


def test_value() -> None:
    branch, shortcut = torch.nn.Linear(5, 3), torch.nn.Linear(5, 3, bias=False)
    x = gaussian(4, 5)
    block = nn.ScaledResidual(branch, 0.6, shortcut)
    torch.testing.assert_close(block(x), 0.8 * branch(x) + 0.6 * x @ shortcut.weight.T)
    assert torch.equal(nn.ScaledResidual(branch, 1, shortcut)(x), 0.0 * branch(x) + shortcut(x))


@pytest.mark.parametrize("skip", [0.3, 0.9])
def test_moments_beside_the_prediction(skip: float) -> None:
    # From variance 2.5, 12 blocks of one layer each; theory.predict knows such sums.
    g = seeded(2)
    path = theory.predict([theory.Layer("selu", skip=skip)] * 12, 0.0, 2.5)
    h = 2.5**0.5 * gaussian(400, 300, seed=3)
    with torch.no_grad():
        for mean, var in zip(path.mean, path.var, strict=True):
            h = nn.ScaledResidual(nn.LinearSELU(300, 300, generator=g), skip)(h)
            # The worst layer's deviation over 12 seeds: 0.023 ± 0.008 and 0.033 ± 0.008.
            assert h.mean().item() == pytest.approx(mean, abs=0.065)
            assert h.var().item() == pytest.approx(var, abs=0.075)


def test_the_plain_sum_fails() -> None:
    h = gaussian(400, 100, seed=3)
    with torch.no_grad():
        for _ in range(5):
            h = h + nn.LinearSELU(100, 100, generator=seeded(4))(h)
    assert h.var() > 20


@pytest.mark.parametrize(("blocks", "layers", "var"), [(60, 2, 1.0), (25, 3, 0.4), (200, 1, 2.0)])
def test_skip_for_depth_meets_its_budget(blocks: int, layers: int, var: float) -> None:
    skip = nn.ScaledResidual.skip_for_depth(blocks, layers, var=var, budget=3.0)
    constants = theory.solve(0.0, var)
    chi = theory.gradient_gain(
        theory.activation("selu", alpha=constants.alpha, scale=constants.scale), 0.0, var
    )
    assert skip > math.sqrt(0.5)
    growth = ((1 - skip**2) * float(chi) ** layers + skip**2) ** blocks
    assert growth == pytest.approx(3.0, rel=1e-9)


def test_gradients_grow_as_predicted() -> None:
    # 30 blocks of two layers: e with the skip for the depth, e**(4.15) = 63 without shortcuts.
    # Over 12 seeds 2.92 ± 0.17: finite width lets gradients grow a little more.
    blocks, g = 30, seeded(5)
    skip = nn.ScaledResidual.skip_for_depth(blocks)
    x = gaussian(100, 200, seed=6).requires_grad_()
    h = x
    for _ in range(blocks):
        pair = (nn.LinearSELU(200, 200, generator=g), nn.LinearSELU(200, 200, generator=g))
        h = nn.ScaledResidual(torch.nn.Sequential(*pair), skip)(h)
    (grad,) = torch.autograd.grad((h * gaussian(100, 200, seed=7)).sum(), x)
    assert grad.square().mean().item() == pytest.approx(math.e, abs=1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nn.ScaledResidual(torch.nn.Linear(4, 5), 0.5)(torch.zeros(3, 4)),
            r"branch\(x\)\.shape=\(3, 5\), shortcut\(x\)\.shape=\(3, 4\) for x\.shape=\(3, 4\)",
        ),
        (lambda: nn.ScaledResidual(torch.nn.Linear(4, 4), 1.2), r"from 0 to 1, however: skip=1\.2"),
        (lambda: nn.ScaledResidual(torch.nn.Linear(4, 4), "0.5"), "skip must be a number"),
        (lambda: nn.ScaledResidual([1], 0.5), r"branch must be a torch\.nn\.Module"),
        (lambda: nn.ScaledResidual(torch.nn.ReLU(), 0.5, 3), r"shortcut must be a torch\.nn"),
        (lambda: nn.ScaledResidual.skip_for_depth(0), "blocks must be an integer, 1 or more"),
        (lambda: nn.ScaledResidual.skip_for_depth(3, budget=1.0), "budget must be a number great"),
    ],
)
def test_residual_refusals(make: Any, message: str) -> None:
    with pytest.raises(DomainError, match=message):
        make()


# ---- concatenation ------------------------------------------------------------------------


def test_plain_concatenation() -> None:
    parts = gaussian(2, 3, 5), gaussian(2, 4, 5, seed=2)
    assert torch.equal(nn.ScaledConcat()(*parts), torch.cat(parts, 1))
    last = gaussian(2, 3, 1, seed=3)
    assert nn.ScaledConcat(dim=-1)(parts[0], last).shape == (2, 3, 6)


def test_shares_are_those_of_the_next_layer() -> None:
    x, y = gaussian(4000, 6), gaussian(4000, 90, seed=2)
    joined = nn.ScaledConcat([3, 1], dim=-1)(x, y)
    torch.testing.assert_close(joined[:, :6], x * math.sqrt(0.75 * 96 / 6))
    torch.testing.assert_close(joined[:, 6:], y * math.sqrt(0.25 * 96 / 90))
    assert joined.square().mean().item() == pytest.approx(1.0, abs=0.03)
    # 1,000 units: their sums of squares have relative standard error 0.02 for six weights each.
    layer = torch.nn.Linear(96, 1000, bias=False)
    nn_init = layer.weight.data.normal_(0, 96**-0.5, generator=seeded(3))
    first = (joined[:, :6] @ nn_init[:, :6].T).var().item()
    rest = (joined[:, 6:] @ nn_init[:, 6:].T).var().item()
    assert (first, rest) == (pytest.approx(0.75, abs=0.08), pytest.approx(0.25, abs=0.03))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nn.ScaledConcat()(torch.zeros(2, 3, 4), torch.zeros(2, 3, 5)),
            r"all dimensions but dim=1.*\[\(2, 3, 4\), \(2, 3, 5\)\]",
        ),
        (
            lambda: nn.ScaledConcat()(torch.zeros(2, 3), torch.zeros(2, 3, 5)),
            r"\[\(2, 3\), \(2, 3, 5\)\]",
        ),
        (lambda: nn.ScaledConcat(dim=2)(torch.zeros(2, 3)), "all dimensions but dim=2"),
        (lambda: nn.ScaledConcat([1, 2])(torch.zeros(2, 3)), "must be 2, as shares, however: 1 of"),
        (lambda: nn.ScaledConcat()(), "at least one, however: 0"),
        (lambda: nn.ScaledConcat([1, 0]), r"positive numbers.*shares=\[1, 0\]"),
        (lambda: nn.ScaledConcat(dim="1"), "dim must be an integer"),
    ],
)
def test_concatenation_refusals(make: Any, message: str) -> None:
    with pytest.raises(DomainError, match=message):
        make()
