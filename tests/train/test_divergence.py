"""A training that goes to infinity says where, or tries again at half the rate."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from selfnorm import nn, train
from selfnorm.errors import ConvergenceError

from .eager import assert_close, parts

SIZES = (6, 13, 11, 3)


def problem() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(61, 6, generator=g, dtype=torch.float64), torch.randn(
        61, 3, generator=g, dtype=torch.float64
    )


def trainer(lr, members: int = 1, **settings) -> train.Trainer:
    architecture = train.Architecture(SIZES, dtype=torch.float64, activation="leaky_relu")
    return train.Trainer(
        architecture,
        members=members,
        loss="squared",
        optimizer=train.SGD(lr, 0.9),
        epochs=12,
        batch_size=16,
        dropout=0.1,
        **settings,
    )


def test_it_is_told_where() -> None:
    with pytest.raises(ConvergenceError) as caught:
        trainer((0.01, 1e6, 0.01), 3).fit(*problem())
    message = str(caught.value)
    assert "for member 1;" in message
    assert "lr=1e+06" in message
    assert "on_divergence='halve'" in message


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize(
    ("layer", "where"),
    [(0, "what hidden layer 1 gave"), (1, "what hidden layer 2 gave"), (2, "the output layer")],
)
def test_the_layer_and_the_step_are_right(layer: int, where: str, members: int) -> None:
    """One weight is so large that the layer's products overflow at once, in step 1."""
    net = nn.SNN(6, 3, width=13, depth=2, dtype=torch.float64, dropout=0.0)
    weight = [net.hidden[0].weight, net.hidden[1].weight, net.head.weight][layer]
    with torch.no_grad():
        weight[1] = 1.7e308
    t = train.Trainer(net, members=members, loss="squared", batch_size=16)
    X, y = problem()
    with pytest.raises(ConvergenceError, match=f"epoch 1, step 1, for member 0;.*{where}"):
        t.fit(10.0 * X, y)


def test_a_parameter_that_an_update_broke() -> None:
    """The loss of step 1 is finite and so is its gradient; times the rate it is not."""
    X, y = problem()
    t = train.Trainer(
        train.Architecture(SIZES, dtype=torch.float64),
        loss="squared",
        optimizer=train.SGD(1e300),
        batch_size=16,
        dropout=0.0,
    )
    with pytest.raises(
        ConvergenceError, match=r"epoch 1, step 2, .*the parameters of hidden layer"
    ):
        t.fit(X, 1e10 * y)


def test_the_last_update_of_an_epoch_is_looked_at() -> None:
    X, y = problem()
    t = train.Trainer(
        train.Architecture(SIZES, dtype=torch.float64),
        loss="squared",
        optimizer=train.SGD(1e300),
        epochs=1,
        batch_size=100,
    )
    with pytest.raises(
        ConvergenceError, match=r"epoch 1, step 1, .*the parameters of hidden layer"
    ):
        t.fit(X, 1e10 * y)


@pytest.mark.parametrize("members", [1, 3])
def test_halving_ends_where_a_lower_rate_would_have_started(members: int) -> None:
    """A linear model whose loss overflows in the first epoch, unless the rate is stable.

    Targets are of size 1e15, so float32 overflows once the error has grown by 1e4. The Hessian's
    largest eigenvalue lies near 2: 0.4 is stable, at 0.8 and above errors soon grow.
    """
    X, y = (t.float() for t in problem())
    high = 0.4 * 2.0**6

    def run(rate: float, **settings) -> tuple[train.Trainer, train.Result]:
        t = train.Trainer(
            train.Architecture((6, 3)),
            members=members,
            loss="squared",
            optimizer=train.SGD(rate if members == 1 else (0.01, rate, 0.02)),
            epochs=12,
            batch_size=4,
            average=0.9,
            **settings,
        )
        return t, t.fit(X, 1e15 * y)

    halved, result = run(high, on_divergence="halve")
    factor = result.rate_factor[members // 2]
    assert factor in (2.0**-5, 2.0**-6, 2.0**-7, 2.0**-8)
    direct, expected = run(high * factor)
    assert expected.loss == pytest.approx(result.loss, rel=1e-5)
    for member in range(members):
        assert_close(parts(halved.export(member)), parts(direct.export(member)), 1e-5)
    others = [f for k, f in enumerate(result.rate_factor) if k != members // 2]
    assert others == [1.0] * (members - 1)


@pytest.mark.parametrize("members", [1, 3])
def test_a_ruined_state_is_left(members: int) -> None:
    """The loss grows for epochs before it overflows: no epoch's beginning helps but the first."""
    X, y = problem()
    high = 1e3 if members == 1 else (0.01, 1e3, 0.02)
    result = trainer(high, members, on_divergence="halve").fit(X, y)
    broken = members // 2
    assert math.frexp(result.rate_factor[broken])[0] == 0.5, "a power of two"
    assert [r.epoch for r in result.history] == list(range(1, 13))
    assert 2.0**-18 < result.rate_factor[broken] < 2.0**-5
    assert math.isfinite(result.loss[broken])
    if members > 1:
        alone = trainer((0.01, 0.01, 0.02), 3).fit(X, y)
        assert result.loss[0] == pytest.approx(alone.loss[0], rel=1e-12)
        assert result.loss[2] == pytest.approx(alone.loss[2], rel=1e-12)


def test_halving_gives_up() -> None:
    with pytest.raises(ConvergenceError, match="for member 0"):
        trainer(1e200, on_divergence="halve").fit(*problem())


@pytest.mark.parametrize("patience", [None, 3])
def test_the_others_go_on_as_if_it_had_not_been_there(patience: int | None) -> None:
    X, y = problem()
    stopping = None if patience is None else train.EarlyStopping(patience)
    settings = {"early_stopping": stopping, "on_divergence": "stop"}
    validation = None if patience is None else problem()
    rates = (0.01, 1e6, 0.02, 30.0)
    four = trainer(rates, 4, **settings)
    result = four.fit(X, y, validation=validation)
    assert [d is None for d in result.diverged] == [True, False, True, False]
    # It takes a few steps to overflow, and more of them at a lower rate.
    assert (1, 1) < result.diverged[1] < result.diverged[3]
    assert result.stopped_epoch[1] == result.diverged[1][0]
    assert result.history[result.diverged[3][0] - 1].loss[3] is None
    for member, rate in ((0, 0.01), (2, 0.02)):
        alone = trainer(rate, random_state=member, early_stopping=stopping)
        alone.fit(X, y, validation=validation)
        assert_close(parts(four.export(member)), parts(alone.export()), 1e-12)
    for member in (1, 3):
        assert all(bool(torch.isfinite(p).all()) for p in four.export(member).parameters())


def test_all_may_diverge() -> None:
    result = trainer((1e6, 1e6), 2, on_divergence="stop").fit(*problem())
    assert None not in result.diverged
    assert len(result.history) < 12


def test_parameters_that_overflow_with_the_last_step_end_a_member() -> None:
    """The loss is finite in each step; the only step of the epoch makes the weights infinite."""
    X, y = problem()
    t = train.Trainer(
        train.Architecture((6, 3), dtype=torch.float64),
        members=2,
        loss="squared",
        optimizer=train.SGD((1e308, 0.01)),
        epochs=3,
        batch_size=61,
        on_divergence="stop",
    )
    result = t.fit(1e3 * X, y)
    assert result.diverged[0] == (1, 1)
    assert result.diverged[1] is None
    assert [record.loss[1] is not None for record in result.history] == [True] * 3
