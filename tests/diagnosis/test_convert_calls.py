"""Conversion of what a forward calls by itself: rewritten, or left with a reason."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import selfnorm as sn
from selfnorm.diagnosis import convert

from .residual import Block, Residual


def test_calls_in_a_forward_are_rewritten() -> None:
    model = Residual(8, 60)
    result = convert(model, weights="new", generator=torch.Generator().manual_seed(10))
    kinds = [c.kind for c in result.changes]
    assert kinds.count("residual") == 8
    assert kinds.count("activation") == 17
    assert set(model.state_dict()) >= {k for k in result.model.state_dict() if "bias" not in k}
    assert result.refused == ()
    x = torch.randn(50, 3, 10, 9, generator=torch.Generator().manual_seed(11))
    with torch.no_grad():
        y = result.model.blocks(result.model.stem(x))  # type: ignore[operator]
        plain = model.train().blocks(model.stem(x))
    assert 0.7 < float(y.var()) < 1.5
    assert float(plain.var()) > 2.5  # sums of branches that batch norm brings to variance 1
    again = copy.deepcopy(result.model)
    torch.testing.assert_close(again.eval()(x), result.model.eval()(x), rtol=0, atol=0)


class Scaled(nn.Module):
    """Eight residual sums that their author has scaled."""

    def __init__(self, join: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(48, 48) for _ in range(8))
        self.gain = nn.Parameter(torch.tensor(0.3))
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.join(x, F.selu(layer(x)), self.gain)
        return x


@pytest.mark.parametrize(
    "join",
    [
        lambda x, y, gain: (x + y) * 0.5**0.5,
        lambda x, y, gain: (x + y) / 2**0.5,
        lambda x, y, gain: (x + y).mul_(0.5**0.5),
        lambda x, y, gain: 0.6 * x + 0.8 * y,
        lambda x, y, gain: x + 0.1 * y,
        lambda x, y, gain: x + gain * y,
        lambda x, y, gain: torch.add(x, y, alpha=0.25),
        lambda x, y, gain: x.add(y, alpha=0.25),
    ],
)
def test_sums_that_are_scaled_already_are_left(join: Any) -> None:
    result = convert(Scaled(join), weights="keep")
    assert [c for c in result.changes if c.kind == "residual"] == []
    plain = convert(Scaled(lambda x, y, gain: x + y), weights="keep")
    assert sum(c.kind == "residual" for c in plain.changes) == 8


def test_without_rewriting_the_line_is_named() -> None:
    result = convert(nn.Sequential(Block(3, 3)), weights="new", rewrite=False)
    left = {(one.place.split(":")[0], one.what) for one in result.refused}
    assert left == {("residual.py", "relu in 0"), ("residual.py", "sum in 0")}
    lines = [int(one.place.split(":")[1]) for one in result.refused]
    source = Path(__file__).with_name("residual.py").read_text(encoding="utf-8").splitlines()
    assert all("relu" in source[n - 1] or "+=" in source[n - 1] for n in lines)


class Moody(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc(x)) if self.training else F.relu(self.fc(x)) + 1


class Talkative(Moody):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc(x))

    def embed(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(x)
        return out


@pytest.mark.parametrize(
    ("inner", "words"),
    [(Moody, "different things in training"), (Talkative, "methods besides forward (embed)")],
)
def test_a_forward_that_must_not_be_rewritten_is_left(inner: type[nn.Module], words: str) -> None:
    result = convert(nn.Sequential(inner(), nn.Linear(3, 2)), weights="new")
    assert words in result.refused[0].reason
    assert isinstance(result.model[0], inner)  # type: ignore[index]


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.a(x) * torch.sigmoid(self.b(x)))


def test_answers_and_gates_called_in_a_forward_are_left() -> None:
    result = convert(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), Gate()), weights="new")
    reasons = {one.what: one.reason for one in result.refused}
    assert "model's answer" in reasons["relu in 2"]
    assert "fixed point" in reasons["product in 2"]
    assert isinstance(result.model[2], Gate)  # type: ignore[index]


class Settings(dict[str, float]):
    __getattr__ = dict.__getitem__

    def __deepcopy__(self, memo: Any) -> Settings:
        return Settings(self)


class Untraceable(nn.Module):
    """Settings as many write them: what they do not hold is a KeyError, which torch.fx meets."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out, self.settings = nn.Linear(4, 5), nn.Linear(5, 2), Settings(p=0.2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(F.relu(self.layer(x), self.settings))  # type: ignore[arg-type]
        return out


def test_an_untraceable_forward_is_told_in_words() -> None:
    found = convert(Untraceable()).refused
    assert found
    assert "torch.fx cannot follow it" in found[0].reason
    assert not any("__fx" in str(one) or "KeyError" in str(one) for one in found)


class FunctionalNorms(nn.Module):
    mean: Tensor
    var: Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(n, n + 3), nn.Linear(n + 3, n)
        self.gain = nn.Parameter(torch.ones(n + 3))
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("var", torch.ones(n))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(F.layer_norm(self.one(x), (33,), self.gain))
        h = F.batch_norm(self.two(h), self.mean, self.var, training=self.training)
        return F.normalize(x + F.gelu(h))


def test_norms_that_a_forward_calls_go_with_their_numbers() -> None:
    torch.manual_seed(9)
    model = nn.Sequential(nn.Linear(9, 30), nn.ReLU(), FunctionalNorms(30), nn.Linear(30, 2))
    result = sn.convert(model, weights="new")
    names = set(result.model.state_dict())
    assert not names & {"2.gain", "2.mean", "2.var"}
    assert {"2.one.weight", "2.two.bias"} <= names
    x = torch.randn(7, 9)
    part = result.model.get_submodule("2")
    h = sn.functional.selu(result.model[0](x))  # type: ignore[index]
    f = sn.functional.selu(part.two(sn.functional.selu(part.one(h))))  # type: ignore[operator]
    # F.normalize stays, though it stands in the line of the sum.
    expected = F.normalize((h + f) * 0.5**0.5)
    for training in (True, False):
        assert torch.allclose(part.train(training)(h), expected, atol=1e-6)
    assert [one.what for one in result.refused] == ["normalize in 2"]
    kept = {one.what: one.reason for one in sn.convert(model, weights="keep", dry_run=True).refused}
    for name in ("layer_norm", "batch_norm"):
        assert "no module that could be folded" in kept[f"{name} in 2"]
