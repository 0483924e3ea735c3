"""One member's training, once more: ordinary modules, autograd, torch.optim, one loop.

Of the package it uses the initial network, the labels of the random streams, and the reference of
the dropout's decisions. Everything else is written down a second time here.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from selfnorm import theory, train
from selfnorm.ops._reference import drop_mask
from selfnorm.train._random import generator_for, key_for


@dataclasses.dataclass
class Eager:
    """Settings of one member, by hand; ``loss`` maps (outputs, targets) to a loss for each row."""

    net: torch.nn.Module
    architecture: train.Architecture
    loss: object
    optimizer: object
    dropout: float
    seed: int
    batch_size: int
    clip_norm: float | None = None
    average: float | None = None
    order_seed: int | None = None

    def __post_init__(self) -> None:
        self.steps = 0
        blocks = [b if hasattr(b, "weight") else b[0] for b in self.net.hidden]
        self.weights = [b.weight for b in blocks] + [self.net.head.weight]
        self.biases = [b.bias for b in blocks] + [self.net.head.bias]
        self.averaged = None
        self.epoch_loss = math.nan

    def forward(self, x: Tensor, drop: bool) -> Tensor:
        arch = self.architecture
        mean, var = arch.fixed_point
        h = x * math.sqrt(var)
        gains = [1.0] + [math.sqrt(var / (var + mean**2))] * len(arch.hidden)
        depth = len(arch.hidden)
        for k in range(depth):
            w, b = self.weights[k], self.biases[k]
            if arch.weight_standardized:
                c = w - w.mean(1, keepdim=True)
                w = gains[k] * c / c.square().sum(1, keepdim=True).sqrt()
            z = F.linear(h, w, b)
            h = self.activation(z)
            if not drop or self.dropout == 0.0:
                continue
            rng = torch.tensor([key_for(self.seed, "dropout"), self.steps * depth + k])
            mask = drop_mask(rng, tuple(z.shape), self.dropout)
            if arch.dropout_kind == "alpha":
                s = theory.solve(mean, var).saturation
                q, p = 1.0 - self.dropout, self.dropout
                a = math.sqrt(var / (q * (p * (s - mean) ** 2 + var)))
                h = a * torch.where(mask, s, h) + mean - a * (q * mean + p * s)
            else:
                h = torch.where(mask, 0.0, h) / (1.0 - self.dropout)
        return F.linear(h, self.weights[-1], self.biases[-1])

    def activation(self, z: Tensor) -> Tensor:
        name = self.architecture.activation
        if name == "selu":
            c = theory.solve(*self.architecture.fixed_point)
            return c.scale * F.elu(z, c.alpha)
        return {"elu": F.elu, "relu": F.relu, "leaky_relu": F.leaky_relu}[name](z)

    def effective(self) -> list[Tensor]:
        """Return the parameters that are evaluated: weights, then biases."""
        own = [*self.weights, *(b for b in self.biases if b is not None)]
        return own if self.averaged is None else self.averaged

    def epoch(
        self,
        X: Tensor,
        y: Tensor,
        rows: Tensor,
        epoch: int,
        rate_of_step,
        weights: Tensor | None = None,
        bounds: list[int] | None = None,
    ) -> float:
        seed = self.seed if self.order_seed is None else self.order_seed
        order = rows[torch.randperm(len(rows), generator=generator_for(seed, "order", epoch))]
        w = torch.ones(len(X), dtype=X.dtype) if weights is None else weights
        w = w / w[rows].mean()
        if bounds is None:
            bounds = [*range(0, len(rows), self.batch_size), len(rows)]
        total = 0.0
        for start, end in itertools.pairwise(bounds):
            batch = order[start:end]
            value = (w[batch] * self.loss(self.forward(X[batch], True), y[batch])).mean()
            total += value.item() * len(batch)
            self.optimizer.zero_grad()
            value.backward()
            own = [*self.weights, *(b for b in self.biases if b is not None)]
            if self.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(own, self.clip_norm)
            for group in self.optimizer.param_groups:
                group["lr"] = rate_of_step(self.steps)
            self.optimizer.step()
            self.steps += 1
            if self.average is not None:
                k = max(1.0 - self.average, 1.0 / self.steps)
                if self.averaged is None:
                    self.averaged = [p.detach().clone() for p in own]
                self.averaged = [
                    (1.0 - k) * a + k * p.detach() for a, p in zip(self.averaged, own, strict=True)
                ]
        return total / len(rows)


def parameter_groups(net, decay: float, decay_bias: bool) -> list[dict[str, object]]:
    weights = [p for n, p in net.named_parameters() if n.endswith("weight")]
    biases = [p for n, p in net.named_parameters() if n.endswith("bias")]
    groups = [{"params": weights, "weight_decay": decay}]
    if biases:
        groups.append({"params": biases, "weight_decay": decay if decay_bias else 0.0})
    return groups


def assert_close(found: list[Tensor], expected: list[Tensor], bound: float) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        error = float((a.detach() - b.detach()).abs().max())
        assert error <= bound * max(1.0, float(b.detach().abs().max())), error


def parts(net) -> list[Tensor]:
    """Return weights, then biases."""
    blocks = [b if hasattr(b, "weight") else b[0] for b in net.hidden] + [net.head]
    weights = [b.weight for b in blocks]
    return weights + [b.bias for b in blocks if b.bias is not None]
