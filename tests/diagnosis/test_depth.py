"""What is said of depth: along a path, at any fixed point, with lines that mend our layers too."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import selfnorm as sn


def _matched(p: float) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    var = float(sn.theory.match_depth(60).var)
    layers: list[nn.Module] = []
    for _ in range(60):
        layers += [nn.Linear(40, 40), sn.nn.SELU.for_depth(60), sn.nn.AlphaDropout(p, var=var)]
    return sn.init.initialize_(nn.Sequential(*layers), generator=generator)


def _snn(dropout: float, depth: int, point: str | tuple[float, float]) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    sizes = {"width": 40, "depth": depth, "dropout": dropout, "fixed_point": point}
    return sn.nn.SNN(40, 3, generator=generator, **sizes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "model",
    [
        _matched(0.05),
        _snn(0.05, 60, "depth-matched"),
        _snn(0.05, 90, (0.0, 1.0)),
        _snn(0.0, 90, (0.0, 1.0)),
    ],
    ids=["matched", "matched SNN", "SNN fades", "SNN grows"],
)
def test_the_line_for_depth_mends_and_breaks_nothing(model: nn.Module) -> None:
    (found,) = sn.check(model.train())
    assert found.code == "too-deep"
    exec(found.fix, {"model": model, "selfnorm": sn})
    assert sn.check(model) == []


class _Side(nn.Module):
    """Networks side by side."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_snn(0.05, 6, (0.0, 1.0)) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([branch(x) for branch in self.branches]).mean(0)


def test_branches_are_not_depth() -> None:
    """Of ten nets of five gains each, one way through has five; together it would be 0.024."""
    x = torch.randn(200, 40, generator=torch.Generator().manual_seed(1))
    found = sn.diagnose(_Side(10), x)
    assert len(found.layers) == 60
    assert found.healthy, str(found)


@pytest.mark.parametrize("named", [False, True])
def test_arguments_of_one_number_a_row_are_cut_with_the_rows(named: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    field = sn.nn.SNNField(2, generator=generator)
    x, t = torch.randn(500, 2, generator=generator), torch.rand(500, generator=generator)
    assert sn.check(field, {"x": x, "t": t} if named else (x, t)) == []
    assert sn.diagnose(field, (x, t)).healthy
