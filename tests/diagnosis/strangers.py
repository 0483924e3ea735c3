"""Sick networks as they stand in public code: policies, velocity fields, survival, graphs, text."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def scaled(layer: nn.Linear, gain: float = math.sqrt(2.0)) -> nn.Linear:
    """Reinforcement learning's usual start: orthogonal, gain sqrt 2, small last layers."""
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


class Agent(nn.Module):
    """Actor and critic; forward gives a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.critic, self.actor = self._tower(1, 1.0), self._tower(6, 0.01)
        self.log_sd = nn.Parameter(torch.zeros(1, 6))

    def _tower(self, out: int, gain: float) -> nn.Sequential:
        return nn.Sequential(
            scaled(nn.Linear(17, 64)), nn.SELU(), scaled(nn.Linear(64, 64)), nn.SELU(),
            scaled(nn.Linear(64, out), gain),
        )  # fmt: skip

    def forward(self, x: Tensor, action: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        mean = self.actor(x)
        policy: Any = torch.distributions.Normal(mean, self.log_sd.expand_as(mean).exp())
        action = policy.rsample() if action is None else action
        return action, policy.log_prob(action).sum(1), self.critic(x)


class FieldBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.emb, self.two = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        return x + F.selu(self.two(F.selu(self.one(x) + self.emb(e))))


class Field(nn.Module):
    """A velocity field with sines of the time, added in each block."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.width = width
        self.inp, self.time, self.out = (
            nn.Linear(2, width),
            nn.Linear(width, width),
            nn.Linear(width, 2),
        )
        self.blocks = nn.ModuleList(FieldBlock(width) for _ in range(3))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        k = torch.arange(self.width // 2)
        angle = t[:, None] * torch.exp(-math.log(1e4) * k / (self.width // 2))[None]
        e = F.selu(self.time(torch.cat([angle.sin(), angle.cos()], -1)))
        h = F.selu(self.inp(x))
        for block in self.blocks:
            h = block(h, e)
        out: Tensor = self.out(h)
        return out


class Survival(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n, m in ((30, 100), (100, 90)):
            layer = nn.Linear(n, m)
            nn.init.kaiming_normal_(layer.weight)
            layers += [layer, nn.BatchNorm1d(m), nn.SELU(), nn.Dropout(0.4)]
        self.model = nn.Sequential(*layers, nn.Linear(90, 1))

    def forward(self, X: Tensor) -> Any:
        return self.model(X)


class Convolve(nn.Module):
    def __init__(self, n: int, m: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(n, m)))

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        return F.relu(adjacency @ (x @ self.weight))


class GraphNet(nn.Module):
    """Two graph convolutions with ReLU, a mean over nodes, a head of SELUs."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = Convolve(16, 64), Convolve(64, 64)
        self.head = nn.Sequential(
            nn.Linear(64, 128), nn.SELU(), nn.AlphaDropout(0.1), nn.Linear(128, 96), nn.SELU(),
            nn.Linear(96, 1),
        )  # fmt: skip

    def forward(self, x: Tensor, adjacency: Tensor) -> Any:
        return self.head(self.two(self.one(x, adjacency), adjacency).mean(1))


class Block(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.att = nn.MultiheadAttention(d, 4, dropout=0.1, batch_first=True)
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.ff = nn.Sequential(
            nn.Linear(d, 4 * d), nn.SELU(), nn.Dropout(0.1), nn.Linear(4 * d, d)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.n1(x + self.att(x, x, x, need_weights=False)[0])
        out: Tensor = self.n2(x + self.ff(x))
        return out


class Encoder(nn.Module):
    """A transformer whose blocks are healthy, and a head of SELUs that is not."""

    def __init__(self, d: int = 64) -> None:
        super().__init__()
        self.emb, self.blocks = nn.Embedding(50, d), nn.Sequential(Block(d), Block(d))
        self.head = nn.Sequential(
            nn.Linear(d, 192), nn.SELU(), nn.Dropout(0.3), nn.Linear(192, 128), nn.SELU(),
            nn.Linear(128, 5),
        )  # fmt: skip

    def forward(self, tokens: Tensor) -> Any:
        return self.head(self.blocks(self.emb(tokens)).mean(1))


# Name: the class, its data, the codes in their order, and those that no line can mend.
STRANGERS: dict[str, tuple[type[nn.Module], Any, list[str], list[str]]] = {
    "policy": (Agent, lambda: torch.randn(200, 17), ["weight-scale"], []),
    "field": (
        Field,
        lambda: (torch.rand(200), torch.randn(200, 2)),
        ["default-init", "unscaled-residual", "input-not-standardised"],
        ["unscaled-residual"],
    ),
    "survival": (Survival, lambda: torch.randn(200, 30), ["plain-dropout", "batch-norm"], []),
    "graphs": (
        GraphNet,
        lambda: (torch.randn(100, 7, 16), torch.rand(100, 7, 7).softmax(-1)),
        ["default-init", "input-not-standardised"],
        [],
    ),
    "text": (
        Encoder,
        lambda: torch.randint(0, 50, (100, 20)),
        ["default-init", "plain-dropout", "input-not-standardised"],
        [],
    ),
}
