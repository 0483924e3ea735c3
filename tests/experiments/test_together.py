"""Nets trained side by side by the engine are those that the eager loop trains."""

from __future__ import annotations

import math

import pytest
import torch

from selfnorm.experiments._nets import NetPlan, build_net
from selfnorm.experiments._together import train_together
from selfnorm.experiments._training import train

PLANS = [
    NetPlan(5, 11, 3, 4, "selu", "orthogonal", "lecun", target_var=0.3),
    NetPlan(5, 11, 2, 4, "relu", "torch", "torch"),
]


def rows(var: float) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(2)
    X = torch.randn(60, 5, generator=g)
    return X * math.sqrt(var), (X[:, 0] > 0).long() + 2 * (X[:, 1] * X[:, 2] > 0).long()


def nets(plan: NetPlan, count: int) -> list[torch.nn.Sequential]:
    return [build_net(plan, torch.Generator().manual_seed(k)) for k in range(count)]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_as_the_eager_loop(plan, schedule):
    """One batch takes all rows, hence their order does not matter."""
    X, y = rows(plan.target_var if plan.activation == "selu" else 1.0)
    given, held = (X[:40], y[:40]), (X[40:], y[40:])
    lrs = (0.1, 0.03)
    options = {"epochs": 4, "batch_size": 40, "schedule": schedule}
    together = nets(plan, 2)
    histories = train_together(plan, together, given, held, lrs=lrs, seeds=(8, 9), **options)
    for model, lr, history, found in zip(nets(plan, 2), lrs, histories, together, strict=True):
        alone = train(model, given, held, lr=lr, generator=torch.Generator(), **options)
        assert history.loss == pytest.approx(alone.loss, rel=1e-4)
        assert history.accuracy == alone.accuracy
        for a, b in zip(found.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=2e-5, rtol=0)
    assert histories[0].loss != histories[1].loss


def test_the_same_batches_if_asked():
    plan = PLANS[0]
    data = rows(plan.target_var)
    same = [build_net(plan, torch.Generator().manual_seed(1)) for _ in range(2)]
    other = [build_net(plan, torch.Generator().manual_seed(1)) for _ in range(2)]
    options = {"epochs": 2, "batch_size": 16, "lrs": (0.05, 0.05), "seeds": (3, 4)}
    a, b = train_together(plan, same, data, data, same_batches=True, **options)
    assert a.loss == b.loss
    a, b = train_together(plan, other, data, data, **options)
    assert a.loss != b.loss


def test_one_net_diverges_alone():
    plan = PLANS[0]
    data = rows(plan.target_var)
    told = []
    quiet, wild = train_together(
        plan,
        nets(plan, 2),
        data,
        data,
        epochs=3,
        batch_size=16,
        lrs=(0.05, 1e8),
        seeds=(3, 4),
        on_epoch=told.append,
    )
    assert quiet.diverged is None
    assert len(quiet.loss) == 3
    assert None not in quiet.loss
    assert wild.loss == wild.accuracy == [None, None, None]
    assert wild.diverged["epoch"] == 1
    assert 1 < wild.diverged["step"] <= 4
    assert [record.step for record in told] == [4, 8, 12]
