"""Stacked members against the modules one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from selfnorm import nn
from selfnorm.tabular._ensemble import AveragedNetworks, Ensemble


def members(**options: Any) -> list[nn.SNN]:
    found = []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        net = nn.SNN(5, 2, width=12, depth=3, generator=generator, **options).eval()
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                if name.endswith("bias"):
                    parameter.normal_(generator=generator)
        found.append(net)
    return found


@pytest.mark.parametrize("rows", [1, 37, 3000])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"fixed_point": (0.1, 0.3)},
        {"activation": "relu"},
        {"activation": "elu"},
        {"activation": "leaky_relu"},
    ],
)
def test_outputs_are_those_of_the_modules(rows: int, options: dict[str, Any]) -> None:
    nets = members(**options)
    X = np.random.default_rng(0).normal(size=(rows, 5)).astype(np.float32)
    found = Ensemble(nets)(X)
    assert found.dtype == np.float64
    assert found.shape == (3, rows, 2)
    with torch.no_grad():
        expected = torch.stack([net.double()(torch.from_numpy(X).double()) for net in nets])
    # float64 for few rows, float32 for many.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 if rows <= 1024 else 1e-5)


def test_blocks_join_without_a_seam() -> None:
    nets = members()
    X = np.random.default_rng(0).normal(size=(50_000, 5)).astype(np.float32)
    ensemble = Ensemble(nets)
    found = ensemble(X)
    some = np.random.default_rng(1).choice(50_000, 1000, replace=False)
    np.testing.assert_allclose(found[:, some], ensemble(X[some]), atol=1e-5)


def test_averaged_networks_scale_shift_and_sort() -> None:
    nets = members()
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    scale, shift = [2.0, -3.0], [0.5, 1.5]
    with torch.no_grad():
        mean = sum(net(x) for net in nets) / 3
        expected = mean * torch.tensor(scale) + torch.tensor(shift)
        torch.testing.assert_close(AveragedNetworks(nets, scale, shift).eval()(x), expected)
        ordered = AveragedNetworks(nets, scale, shift, 2).eval()(x)
    torch.testing.assert_close(ordered, expected.sort(1).values)
    assert not torch.equal(ordered, expected)
