"""The flow-matching field: moments at every time, the loss, the sampler's order, refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from selfnorm import nn
from selfnorm.errors import DataError, DomainError


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("t", [0.0, 0.137, 0.5, 1.0])
def test_what_the_first_layer_sees_has_mean_square_1_at_every_time(t: float) -> None:
    field = nn.SNNField(3, width=16, depth=1, time_features=10, dtype=torch.float64)
    noise = torch.randn(20_000, 3, generator=seeded(0), dtype=torch.float64)
    data = torch.randn(20_000, 3, generator=seeded(1), dtype=torch.float64)
    scaled, waves = field.embed((1 - t) * noise + t * data, torch.tensor(t, dtype=torch.float64))
    # 60,000 numbers: the standard error of the mean square is 0.006.
    assert scaled.square().mean().item() == pytest.approx(1.0, abs=0.024)
    torch.testing.assert_close(waves.square().mean(1), torch.ones(20_000).double())
    frequencies = 0.25 * 2.0 ** np.arange(5)
    want = math.sqrt(2) * np.concatenate([np.cos(2 * np.pi * t * frequencies),
                                          np.sin(2 * np.pi * t * frequencies)])  # fmt: skip
    np.testing.assert_allclose(waves[7].numpy(), want, atol=1e-12)


def test_moments_of_the_hidden_layers_at_every_time() -> None:
    """Variance 1 in every layer at each time, whatever the shares: 64 coordinates, width 300."""
    for share in (0.2, 0.9):
        field = nn.SNNField(64, width=300, depth=6, time_share=share, generator=seeded(2))
        outputs: list[Tensor] = []
        first: list[Tensor] = []
        for block in field.hidden:
            block.register_forward_hook(lambda _, __, out: outputs.append(out))  # noqa: B023
        field.hidden[0].register_forward_pre_hook(lambda _, given: first.append(given[0]))  # noqa: B023
        for t in (0.0, 0.5, 1.0):
            with torch.no_grad():
                x = torch.lerp(
                    torch.randn(400, 64, generator=seeded(3)),
                    torch.randn(400, 64, generator=seeded(4)),
                    t,
                )
                field(x, torch.tensor(t))
        # The time's features are the same in all rows, so that units scatter as for one input:
        # the standard error of a layer's variance is about 0.09 by theory.predict(width=300).
        for layer in (*first, *outputs):
            assert layer.var().item() == pytest.approx(1.0, abs=0.3)
            assert layer.mean().item() == pytest.approx(0.0, abs=0.2)
        weights = field.lift.weight.square().sum(1).mean(), field.time.weight.square().sum(1).mean()
        # 19,200 and 2,400 weights: standard errors 1 % and 3 %.
        assert weights[0].item() == pytest.approx(1.0 - share, rel=0.05)
        assert weights[1].item() == pytest.approx(share, rel=0.12)


def test_a_value() -> None:
    """The whole field, depth 2, by its formula in NumPy."""
    field = nn.SNNField(2, width=5, depth=2, time_features=4, generator=seeded(5)).double()
    x = torch.randn(3, 2, generator=seeded(6), dtype=torch.float64)
    t = torch.tensor([0.0, 0.3, 0.9], dtype=torch.float64)
    w = {name: p.detach().numpy() for name, p in field.named_parameters()}
    tt = t.numpy()[:, None]
    angles = 2 * np.pi * tt * np.array([0.25, 0.5])
    waves = np.sqrt(2) * np.concatenate([np.cos(angles), np.sin(angles)], 1)

    def selu(z: np.ndarray) -> np.ndarray:
        return 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(z))

    scaled = x.numpy() / np.sqrt((1 - tt) ** 2 + tt**2)
    h = selu(scaled @ w["lift.weight"].T + w["lift.bias"] + waves @ w["time.weight"].T)
    h = selu(h @ w["hidden.0.weight"].T + w["hidden.0.bias"])
    want = h @ w["head.weight"].T + w["head.bias"]
    np.testing.assert_allclose(field(x, t).detach().numpy(), want, atol=1e-6)


def test_loss_of_known_fields() -> None:
    """One data point c: the best field is (c - x) / (1 - t), whose loss is 0."""
    c = torch.tensor([1.5, -2.0, 0.5], dtype=torch.float64)
    data = c.expand(20_000, 3)

    def best(x: Tensor, t: Tensor) -> Tensor:
        return (c - x) / (1 - t).unsqueeze(1)

    assert nn.flow_matching_loss(best, data, generator=seeded(7)).item() < 1e-12
    zero = nn.flow_matching_loss(lambda x, t: 0 * x, data, generator=seeded(7)).item()
    # E (c - x0)² = |c|² / 3 + 1, standard error 0.02.
    assert zero == pytest.approx(float(c.square().mean()) + 1.0, abs=0.08)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2), ("rk4", 4)])
def test_order_of_the_sampler(method: str, order: int) -> None:
    """x' = (1 + t) x has x(1) = x(0) exp(3 / 2); twice the steps, 2^order less error."""
    x = torch.tensor([[1.3, -0.7]], dtype=torch.float64)
    want = x * math.exp(1.5)
    errors = [
        (nn.integrate_flow(lambda x, t: x * (1 + t).unsqueeze(1), x, n, method=method) - want)
        .abs()
        .max()
        .item()
        for n in (40, 80)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


def test_sampling_a_normal_distribution_with_its_exact_field() -> None:
    """Data N(m, s²): v = m + (x - t m) ((s² t - (1 - t)) / ((1 - t)² + t² s²))."""
    m, s = 2.0, 0.4

    def field(x: Tensor, t: Tensor) -> Tensor:
        t = t.unsqueeze(1)
        return m + (x - t * m) * (s * s * t - (1 - t)) / ((1 - t) ** 2 + t * t * s * s)

    noise = torch.randn(4000, 1, generator=seeded(8), dtype=torch.float64)
    out = nn.integrate_flow(field, noise, 64)
    torch.testing.assert_close(out, m + s * noise, atol=2e-3, rtol=0)


def test_sampling_is_of_the_generator_and_without_dropout() -> None:
    state = torch.get_rng_state()
    field = nn.SNNField(2, width=12, depth=3, dropout=0.5, generator=seeded(9))
    samples = [field.sample(6, 3, generator=seeded(10)) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(*samples)
    assert field.training
    assert not samples[0].requires_grad


def test_it_learns_two_points() -> None:
    """Half of the data at -1, half at 1: samples go to one or the other."""
    data = torch.tensor([-1.0, 1.0]).repeat(64).unsqueeze(1)
    field = nn.SNNField(1, width=32, depth=3, generator=seeded(12))
    optimizer = torch.optim.Adam(field.parameters(), lr=3e-3)
    generator = seeded(13)
    for _ in range(400):
        optimizer.zero_grad()
        field.loss(data, generator=generator).backward()
        optimizer.step()
    out = field.sample(500, 20, generator=seeded(14))
    assert (out.abs() - 1).abs().median().item() < 0.15
    assert 0.35 < (out > 0).double().mean().item() < 0.65


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.SNNField(0), DomainError, "features=0"),
        (lambda: nn.SNNField(2, depth=0), DomainError, "depth=0"),
        (lambda: nn.SNNField(2, time_features=5), DomainError, "time_features=5"),
        (lambda: nn.SNNField(2, time_share=1.5), DomainError, "time_share=1.5"),
        (lambda: nn.SNNField(2)(torch.zeros(4, 3), torch.zeros(4)), DomainError, r"\(4, 3\)"),
        (lambda: nn.SNNField(2)(torch.zeros(4, 2), torch.zeros(4, 1)), DomainError, r"\(4, 1\)"),
        (lambda: nn.SNNField(2).sample(0), DomainError, "n=0"),
        (lambda: nn.SNNField(2).sample(3, 0), DomainError, "steps=0"),
        (lambda: nn.SNNField(2).sample(3, method="x"), DomainError, "method='x'"),
        (lambda: nn.SNNField(2).loss(torch.zeros(0, 2)), DataError, r"\(0, 2\)"),
        (lambda: nn.SNNField(2).loss(torch.zeros(3, 2, dtype=torch.long)), DataError, "int64"),
    ],
)
def test_refusals(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
