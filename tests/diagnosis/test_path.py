"""The prediction along a network from its input alone, against plain torch's moments."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import selfnorm as sn

N = 96


def lin(n: int, m: int, gain: float = 1.0, bias: float = 0.0) -> nn.Linear:
    layer = nn.Linear(n, m)
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(n))
    nn.init.normal_(layer.bias, 0.5 * bias, bias)
    return layer


def conv(n: int, m: int) -> nn.Conv2d:
    layer = nn.Conv2d(n, m, 3)
    nn.init.normal_(layer.weight, 0.0, 1.0 / math.sqrt(9 * n))
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class Sum(nn.Module):
    """x + .7 f(x), or the two side by side."""

    def __init__(self, n: int, join: bool = False) -> None:
        super().__init__()
        self.inner, self.outer, self.join = lin(n, n, 1.1), lin(n, n, 1.0, 1.2), join

    def forward(self, x: Tensor) -> Tensor:
        f = self.outer(torch.selu(self.inner(x)))
        if self.join:
            return torch.cat([x, torch.relu(f)[:, : N // 3]], 1) * 0.9 + 0.25
        return torch.sub(x, f, alpha=0.7)


def images(*parts: nn.Module) -> nn.Module:
    return nn.Sequential(conv(3, 48), *parts, conv(48, 48), nn.SELU())


NETS: dict[str, Callable[[], nn.Module]] = {
    "plain dropout": lambda: nn.Sequential(
        lin(20, N), nn.SELU(), nn.Dropout(0.3), lin(N, N, 1.0, 0.4), nn.SELU(),
        nn.Dropout(0.2), lin(N, N), nn.SELU(),
    ),
    "alpha dropout": lambda: nn.Sequential(
        lin(20, N, 1.4), nn.SELU(), nn.AlphaDropout(0.2), lin(N, N), nn.SELU()
    ),
    "sums": lambda: nn.Sequential(
        lin(20, N, 1.0, 0.9), nn.SELU(), Sum(N), nn.Dropout(0.15), Sum(N), lin(N, N), nn.SELU()
    ),
    "side by side": lambda: nn.Sequential(lin(20, N), Sum(N, join=True), lin(128, N), nn.SELU()),
    "norms": lambda: nn.Sequential(
        lin(20, N, 0.4), nn.BatchNorm1d(N), nn.SELU(), lin(N, N, 0.4), nn.LayerNorm(N), nn.SELU()
    ),
    "average": lambda: images(nn.SELU(), nn.AvgPool2d(3)),
    "maximum": lambda: images(nn.SELU(), nn.MaxPool2d((2, 3)), conv(48, 48), nn.MaxPool2d(2)),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_it_is_right_on_average_where_one_step_from_the_measured_would_be(name: str) -> None:
    # Means over 6 draws of about 96 units: errors of .15/sqrt(6) = .06 of a draw's own variance,
    # which prediction and measurement share; what they do not share stays below half of that.
    found = []
    for seed in range(6):
        torch.manual_seed(seed)
        model = NETS[name]()
        shape = (30, 3, 24, 34) if name in ("average", "maximum") else (300, 20)
        x = 0.2 + torch.randn(*shape)
        layers = sn.diagnose(model, x, backward=False, random_state=seed).layers
        found.append([(one.mean, one.predicted_mean_path, one.var, one.predicted_var_path)
                      for one in layers])  # fmt: skip
    mean, mean_path, var, var_path = np.array(found, dtype=float).mean(0).T
    assert np.allclose(var_path / var, 1.0, atol=0.06), (var, var_path)
    assert np.allclose(mean_path, mean, atol=0.06 * np.sqrt(var)), (mean, mean_path)


@pytest.mark.parametrize("name", ["plain dropout", "sums"])
def test_the_band_is_that_of_one_row(name: str) -> None:
    # Standardised errors of 50 draws: their standard deviation is 1 within .1; .28 off has a
    # probability of .005 if the band is right.
    errors = []
    for seed in range(50):
        torch.manual_seed(seed)
        found = sn.diagnose(NETS[name](), torch.randn(1, 20), backward=False, random_state=seed)
        one = found.layers[-1]
        assert one.var_low is not None
        assert one.var_high is not None
        assert one.predicted_var_path is not None
        errors.append(4 * (one.var - one.predicted_var_path) / (one.var_high - one.var_low))
    assert 0.72 < float(np.std(errors)) < 1.28, float(np.std(errors))


def test_it_starts_anew_behind_what_theory_does_not_know() -> None:
    class Gate(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.sigmoid(3.0 * x)

    torch.manual_seed(3)
    model = nn.Sequential(lin(20, N), nn.SELU(), Gate(), lin(N, N), nn.SELU(), lin(N, N), nn.SELU())
    *_, before, last = sn.diagnose(model, torch.randn(500, 20)).layers
    assert before.predicted_var_path == before.predicted_var  # from what was measured there
    assert last.predicted_var_path == pytest.approx(last.predicted_var, rel=0.1)
    assert last.predicted_var_path != last.predicted_var


def test_sums_of_one_thing_with_itself_are_not_taken_as_independent() -> None:
    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 0.6 * x

    torch.manual_seed(4)
    model = nn.Sequential(lin(20, N), nn.SELU(), Twice(), lin(N, N), nn.SELU())
    last = sn.diagnose(model, torch.randn(500, 20)).layers[-1]
    assert last.predicted_var_path == last.predicted_var
    assert last.var == pytest.approx(last.predicted_var_path, rel=0.15)


def test_a_wide_band_does_not_excuse_an_explosion() -> None:
    torch.manual_seed(5)
    layers: list[nn.Module] = []
    for k in range(30):
        layers += [lin(20 if k == 0 else 40, 40, math.sqrt(2.0)), nn.SELU()]
    found = sn.diagnose(nn.Sequential(*layers), torch.randn(200, 20))
    assert not found.layers[-1].ok
    assert "variance-off" in [one.code for one in found.findings]
