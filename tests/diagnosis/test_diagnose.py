"""The measurement: known answers in both directions, numbers against plain torch and theory."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import selfnorm as sn
from selfnorm.errors import DataError, DomainError

from .nets import HEALTHY, SICK

SKIPPED = {"meta", "empty", "could not"}
WITH_DATA = [name for name, (_, data) in HEALTHY.items() if data is not None]


@pytest.mark.parametrize("name", [n for n in WITH_DATA if n not in SKIPPED])
def test_a_healthy_network_passes(name: str) -> None:
    torch.manual_seed(22)
    make, data = HEALTHY[name]
    assert data is not None
    found = sn.diagnose(make(), data())
    assert found.healthy, str(found)


@pytest.mark.parametrize("name", [n for n, (_, data, _) in SICK.items() if data is not None])
def test_the_first_finding_names_the_fault(name: str) -> None:
    torch.manual_seed(23)
    make, data, code = SICK[name]
    assert data is not None
    found = sn.diagnose(make(), data())
    assert not found.healthy
    assert found.findings[0].code == code, str(found)


def net() -> nn.Module:
    torch.manual_seed(24)
    return nn.Sequential(nn.Linear(5, 7), nn.SELU(), nn.Linear(7, 2))


def test_a_loss_is_used_or_refused() -> None:
    x, y = torch.randn(9, 5), torch.randn(9, 2)
    # A loss that goes with the first output alone has another gradient than a projection.
    model = net()
    found = sn.diagnose(model, (x, y), loss=lambda out, target: (3 * (out - target)).sum())
    weight = model.get_submodule("2").weight
    assert isinstance(weight, torch.Tensor)
    assert found.layers[0].gradient == pytest.approx(
        float(3 * weight.detach().sum(0).norm()), rel=1e-5
    )
    for data in (x, (x,), [x], {"input": x}):
        with pytest.raises(DataError, match=r"no target; pass \(X, y\)"):
            sn.diagnose(net(), data, loss=F.mse_loss)
    for given in ((x, y), x):
        with pytest.raises(DomainError, match="loss='mse'; torch"):
            sn.diagnose(net(), given, loss="mse")  # type: ignore[arg-type]


def deep(depth: int, gain: float, p: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for k in range(depth):
        layer = nn.Linear(20 if k == 0 else 48, 48)
        nn.init.normal_(layer.weight, 0.0, gain / layer.in_features**0.5)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.SELU(), nn.AlphaDropout(p)]
    return nn.Sequential(*layers, nn.Linear(48, 3))


@pytest.mark.parametrize(
    ("depth", "gain", "p", "words"),
    [(110, 1.0, 0.0, "SELU.for_depth(110)"), (40, 1.0, 0.2, "AlphaDropout(0.0232)"),
     (14, 1.45, 0.0, "selfnorm.init.initialize_(model)"),
     (14, 0.6, 0.0, "selfnorm.init.initialize_(model)")],
)  # fmt: skip
def test_the_line_for_gradients_mends_them(depth: int, gain: float, p: float, words: str) -> None:
    torch.manual_seed(25)
    model, x = deep(depth, gain, p), torch.randn(64, 20)
    found = {one.code: one for one in sn.diagnose(model, x).findings}
    fix = found["gradient-growth"].fix
    assert words in fix
    exec(fix, {"model": model, "torch": torch, "selfnorm": sn})
    scale = float(fix.rpartition(" times ")[2]) if " times " in fix else 1.0
    after = sn.diagnose(model, scale * x)
    assert "gradient-growth" not in [one.code for one in after.findings], str(after)
