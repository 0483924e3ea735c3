"""Conversion: what is left, each with a reason and a remedy."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import selfnorm as sn
from selfnorm.diagnosis import convert


class Shared(nn.Module):
    """One ReLU and one batch norm for two layers, as many write it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.bn = nn.BatchNorm1d(6)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(self.fc1(x)))
        out: Tensor = self.fc3(self.relu(self.bn(self.fc2(x))))
        return out


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.norm = nn.Linear(6, 6), nn.Linear(6, 6), nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        score = torch.softmax(self.q(x) @ self.k(x).transpose(1, 2), -1)
        out: Tensor = self.norm(x + score @ x)
        return out


class Undecided(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU())
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x) if x.sum() > 0 else self.body(x)
        return out


REFUSED: dict[str, Any] = {
    "shared batch norm": (Shared(), {"keep_function": True}, "bn", "several places"),
    "layer norm": (
        nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.ReLU()),
        {"weights": "keep"},
        "1",
        "each row",
    ),
    "no statistics": (
        nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, track_running_stats=False)),
        {"keep_function": True},
        "1",
        "running statistics",
    ),
    "answer": (nn.Sequential(nn.Linear(4, 5), nn.ReLU()), {}, "1", "model's answer"),
    "attention": (nn.Sequential(Attention(), nn.Linear(6, 2)), {}, "0", "softmax"),
    "attention module": (nn.TransformerEncoderLayer(6, 2), {}, "", "softmax"),
    "recurrent": (nn.Sequential(nn.LSTM(4, 5)), {}, "0", "gates"),
    "lazy": (nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.Linear(4, 2)), {}, "0", "no shape"),
    "parametrised": (
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 5)), nn.Tanh()),
        {},
        "0",
        "parametrisation",
    ),
    "undecided": (Undecided(), {"keep_function": True}, "norm", "cannot be traced"),
    "input norm": (
        nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)),
        {"weights": "new"},
        "0",
        "model's input",
    ),
    "wrong features": (
        nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(3)),
        {"keep_function": True},
        "1",
        "3 features",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_refused_with_a_reason(name: str) -> None:
    model, options, place, words = REFUSED[name]
    result = convert(copy.deepcopy(model), **options)
    found = [one for one in result.refused if one.place == place]
    assert len(found) == 1, result.refused
    assert words in found[0].reason
    assert found[0].remedy
    assert not [c for c in result.changes if c.place == place or c.place.startswith(f"{place}.")]


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.early = nn.AvgPool2d(2)  # of the data
        self.one, self.two = nn.Conv2d(3, 4, 3), sn.nn.ConvSELU2d(4, 5, 3)
        self.last, self.three, self.out = nn.MaxPool2d(2), nn.Conv2d(5, 6, 1), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.one(self.early(x))), 2)
        x = F.relu(self.three(self.last(self.two(x))))
        out: Tensor = self.out(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return out


def test_pools_between_layers_are_told() -> None:
    model = nn.Sequential(
        nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3),
        nn.MaxPool2d((2, 3), 2),
        nn.ReLU(),
        nn.AvgPool2d(2, padding=1),
        nn.Dropout(0.1),
        nn.Conv2d(4, 5, 2),
        nn.ReLU(),
        sn.nn.AvgPool2d(2),
        nn.Conv2d(5, 5, 2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 2),
    )
    stride = "drop it, and give the convolution before it its stride"
    for weights in ("new", "keep"):
        found = convert(model, weights=weights).refused
        assert [(one.place, one.what, one.remedy) for one in found] == [
            (
                "2",
                "MaxPool2d",
                f"selfnorm.nn.MaxPool2d((2, 3), 2, correlation=c) in its place, or {stride}",
            ),
            ("4", "AvgPool2d", stride),
        ]
        assert found[0].reason.startswith("before SELU layers it shifts the mean up and shrinks")
        assert found[1].reason.startswith("before SELU layers it shrinks")
    assert convert(model, keep_function=True).refused == ()
    called = convert(Pooled(), weights="new").refused
    assert [one.what for one in called] == ["max_pool2d in the model", "MaxPool2d"]
    assert called[0].place.startswith("test_convert_refused.py:")


def test_a_shared_activation_is_replaced_once() -> None:
    result = convert(Shared(), weights="new")
    assert isinstance(result.model.relu, sn.nn.SELU)
    assert [c.place for c in result.changes if c.kind == "activation"] == ["relu"]
