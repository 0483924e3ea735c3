"""Members side by side do not influence one another, whatever rows each of them has."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from selfnorm import nn, train
from selfnorm.errors import ConvergenceError, DomainError

from .eager import Eager, assert_close, parameter_groups, parts

ROWS = 61


def problem(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    X = torch.randn(ROWS, 6, generator=g, dtype=dtype)
    return X, (X[:, 0] + X[:, 1] * X[:, 2] > 0).long() + (X[:, 3] > 1).long()


def trained(random_state, members: int, dtype=torch.float64, fit=None, **settings) -> train.Trainer:
    architecture = train.Architecture((6, 13, 11, 3), dtype=dtype)
    trainer = train.Trainer(
        architecture,
        members=members,
        batch_size=16,
        random_state=random_state,
        **{"epochs": 5, "dropout": 0.2, "optimizer": train.AdamW(0.02), **settings},
    )
    trainer.fit(*problem(dtype), **(fit or {}))
    return trainer


def weights(trainer: train.Trainer, member: int) -> list[Tensor]:
    return [p.detach() for p in parts(trainer.export(member))]


def assert_equal(a: list[Tensor], b: list[Tensor]) -> None:
    assert_close(a, b, 0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_member_has_the_same_bits_among_any_others(dtype: torch.dtype) -> None:
    five = trained(5, 5, dtype)
    two = trained((6, 8), 2, dtype)
    assert_equal(weights(two, 0), weights(five, 1))
    assert_equal(weights(two, 1), weights(five, 3))
    assert not torch.equal(weights(two, 0)[0], weights(two, 1)[0])


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_alone_a_member_differs_by_roundings(dtype: torch.dtype, bound: float) -> None:
    three = trained(5, 3, dtype)
    for member in range(3):
        assert_close(weights(three, member), weights(trained(5 + member, 1, dtype), 0), bound)


def test_another_rate_of_one_changes_no_other() -> None:
    same = trained(5, 3)
    other = trained(5, 3, optimizer=train.AdamW((0.02, 0.07, 0.02)), dropout=(0.2, 0.2, 0.2))
    # The optimiser's calls are cut otherwise, and torch's kernels round a range's end otherwise.
    assert_close(weights(other, 0), weights(same, 0), 1e-14)
    assert_close(weights(other, 2), weights(same, 2), 1e-14)
    assert not torch.allclose(weights(other, 1)[0], weights(same, 1)[0], atol=1e-3)


def test_no_global_random_state_is_touched() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    trained(5, 2)
    assert torch.equal(torch.get_rng_state(), before)


def by_hand(seed: int, rows: Tensor, bounds: list[int] | None, epochs: int, weight=None) -> Eager:
    X, y = problem()
    architecture = train.Architecture((6, 13, 11, 3), dtype=torch.float64)
    net = architecture.build(seed=seed)
    optimizer = torch.optim.AdamW(parameter_groups(net, 0.0, False), lr=0.02)
    hand = Eager(
        net,
        architecture,
        lambda z, t: F.cross_entropy(z, t, reduction="none"),
        optimizer,
        0.2,
        seed,
        16,
    )
    for epoch in range(1, epochs + 1):
        hand.epoch_loss = hand.epoch(X, y, rows, epoch, lambda step: 0.02, weight, bounds)
    return hand


@pytest.mark.parametrize("weighted", [False, True])
def test_folds(weighted: bool) -> None:
    """Unequal numbers of rows: equally many steps, the rows that fill up have no weight.

    Of 61 rows member 0 keeps 49 (4 steps), member 1 keeps 48 (3 full batches of 16 alone, here 4
    of 12), member 2 keeps 59 (4 steps, the last of 11 rows).
    """
    X, y = problem()
    left_out = [torch.arange(12), torch.arange(20, 33), torch.tensor([3, 60])]
    w = torch.linspace(0.1, 2.0, ROWS, dtype=torch.float64) if weighted else None
    trainer = train.Trainer(
        train.Architecture((6, 13, 11, 3), dtype=torch.float64),
        members=3,
        batch_size=16,
        epochs=4,
        dropout=0.2,
        optimizer=train.AdamW(0.02),
        random_state=5,
    )
    result = trainer.fit(X, y, validation=left_out, sample_weight=w)
    assert result.history[-1].step == 16
    for member, bounds in enumerate(
        ([0, 16, 32, 48, 49], [0, 12, 24, 36, 48], [0, 16, 32, 48, 59])
    ):
        keep = torch.ones(ROWS, dtype=torch.bool)
        keep[left_out[member]] = False
        hand = by_hand(5 + member, keep.nonzero()[:, 0], bounds, 4, w)
        assert_close(weights(trainer, member), hand.effective(), 1e-10)
        assert result.loss[member] == pytest.approx(hand.epoch_loss, rel=1e-10)
        held = left_out[member]
        with torch.no_grad():
            expected = F.cross_entropy(hand.forward(X[held], False), y[held]).item()
        assert result.history[-1].validation_loss[member] == pytest.approx(expected, rel=1e-10)


def test_equal_folds_take_the_same_steps_as_alone() -> None:
    left_out = [torch.arange(10), torch.arange(10, 20)]
    together = trained(5, 2, fit={"validation": left_out})
    for member in range(2):
        alone = trained(5 + member, 1, fit={"validation": left_out[member]})
        assert_close(weights(together, member), weights(alone, 0), 1e-13)


def test_members_are_trained_on_the_rows_they_are_given() -> None:
    X, y = problem()
    part = torch.arange(3, 50, 2)
    twice = torch.cat([torch.arange(12), torch.arange(12)])
    mask = torch.zeros(ROWS, dtype=torch.bool)
    mask[part] = True
    held = [torch.arange(50, 60), torch.tensor([60])]
    settings = {"early_stopping": train.EarlyStopping(9)}
    both = trained(5, 2, fit={"rows": [mask, twice], "validation": held}, **settings)
    for member, own in enumerate((part, twice)):
        alone = train.Trainer(
            train.Architecture((6, 13, 11, 3), dtype=torch.float64),
            batch_size=16,
            random_state=5 + member,
            epochs=5,
            dropout=0.2,
            optimizer=train.AdamW(0.02),
            **settings,
        )
        alone.fit(X[own], y[own], validation=(X[held[member]], y[held[member]]))
        assert_close(weights(both, member), weights(alone, 0), 1e-12)


def test_a_pass_over_each_part_is_an_epoch_with_the_optimisers_state_kept() -> None:
    X, y = problem()
    lots = [(X[:16], y[:16]), (X[16:32], y[16:32]), (X[32:48], y[32:48])]
    architecture = train.Architecture((6, 13, 11, 3), dtype=torch.float64, dropout=0.0)
    optimizer = train.AdamW((0.02, 0.01), weight_decay=0.3)
    trainer = train.Trainer(
        architecture, members=2, batch_size=16, random_state=5, optimizer=optimizer
    )
    losses = [trainer.partial_fit(*part) for part in lots]
    for member in range(2):
        net = architecture.build(seed=5 + member)
        decayed = [p for name, p in net.named_parameters() if name.endswith("weight")]
        free = [p for name, p in net.named_parameters() if name.endswith("bias")]
        hand = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.3}, {"params": free, "weight_decay": 0.0}],
            lr=optimizer.lr[member],
        )
        for (rows, labels), found in zip(lots, losses, strict=True):
            hand.zero_grad()
            loss = F.cross_entropy(net(rows), labels)
            loss.backward()
            hand.step()
            assert found[member] == pytest.approx(loss.item(), rel=1e-6)
        assert_close(weights(trainer, member), [p.detach() for p in parts(net)], 1e-10)
    before = weights(trainer, 1)
    with pytest.raises(DomainError, match="X must be finite"):
        trainer.partial_fit(torch.full((4, 6), math.inf), y[:4])
    assert_equal(weights(trainer, 1), before)


def test_a_pass_goes_on_from_what_fit_has_learned() -> None:
    X, y = problem()
    trainer = trained(5, 1, dropout=0.0)
    net = trainer.export()
    with torch.no_grad():
        expected = F.cross_entropy(net(X[:16]), y[:16]).item()
    assert trainer.partial_fit(X[:16], y[:16])[0] == pytest.approx(expected, rel=1e-6)
    trainer.fit(X, y)  # from the beginning again
    assert_equal(weights(trainer, 0), weights(trained(5, 1, dropout=0.0), 0))


def test_a_pass_that_diverges_changes_nothing() -> None:
    X, y = problem()
    trainer = train.Trainer(
        train.Architecture((6, 13, 3), dropout=0.0), optimizer=train.SGD(0.01), loss="squared"
    )
    targets = torch.stack([y, y, y], 1).float()
    trainer.partial_fit(X, targets)
    before = weights(trainer, 0)
    with pytest.raises(ConvergenceError, match=r"in pass 2; .* is kept; lower lr=0.01"):
        trainer.partial_fit(X * 1e25, targets * 1e25)
    assert_equal(weights(trainer, 0), before)


@pytest.mark.parametrize("average", [None, 0.9])
def test_early_stopping_keeps_the_best_and_leaves_the_others_alone(average: float | None) -> None:
    """Against members by hand that are evaluated after each epoch."""
    X, y = problem()
    g = torch.Generator().manual_seed(9)
    held = (
        torch.randn(30, 6, generator=g, dtype=torch.float64),
        torch.randint(0, 3, (30,), generator=g),
    )
    stopping = train.EarlyStopping(patience=3)
    trainer = train.Trainer(
        train.Architecture((6, 13, 11, 3), dtype=torch.float64),
        members=4,
        batch_size=16,
        epochs=30,
        dropout=0.2,
        optimizer=train.AdamW((0.02, 0.002, 0.02, 0.06)),
        random_state=5,
        early_stopping=stopping,
        average=average,
    )
    result = trainer.fit(X, y, validation=held)
    stops = []
    for member, rate in enumerate((0.02, 0.002, 0.02, 0.06)):
        architecture = train.Architecture((6, 13, 11, 3), dtype=torch.float64)
        net = architecture.build(seed=5 + member)
        optimizer = torch.optim.AdamW(parameter_groups(net, 0.0, False), lr=rate)
        hand = Eager(
            net,
            architecture,
            lambda z, t: F.cross_entropy(z, t, reduction="none"),
            optimizer,
            0.2,
            5 + member,
            16,
            average=average,
        )
        best, best_epoch, kept, waited, stopped = math.inf, 0, [], 0, None
        for epoch in range(1, 31):
            hand.epoch(X, y, torch.arange(ROWS), epoch, lambda step, rate=rate: rate)
            own = [p.detach().clone() for p in hand.effective()]
            score = validation_loss(hand, own, held)
            assert result.history[epoch - 1].metric[member] == pytest.approx(score, rel=1e-9)
            waited += 1
            if score < best:
                best, best_epoch, kept, waited = score, epoch, own, 0
            elif waited == 3:
                stopped = epoch
                break
        assert result.best_epoch[member] == best_epoch
        assert result.stopped_epoch[member] == stopped
        assert result.best_metric[member] == pytest.approx(best, rel=1e-9)
        assert_close(weights(trainer, member), kept, 1e-9)
        stops.append(stopped)
    assert len(set(stops)) > 1, "the members should stop at different epochs"
    last = max(stops)
    assert len(result.history) == last
    quick = min(range(4), key=stops.__getitem__)
    assert result.history[-1].loss[quick] is None
    assert result.history[-1].rate[quick] is None


def validation_loss(hand: Eager, own: list[Tensor], held: tuple[Tensor, Tensor]) -> float:
    live = [*hand.weights, *hand.biases]
    before = [p.detach().clone() for p in live]
    with torch.no_grad():
        for p, value in zip(live, own, strict=True):
            p.copy_(value)
        score = F.cross_entropy(hand.forward(held[0], False), held[1]).item()
        for p, value in zip(live, before, strict=True):
            p.copy_(value)
    return score


def test_a_metric_is_reported_without_early_stopping() -> None:
    X, y = problem()
    trainer = train.Trainer(
        train.Architecture((6, 13, 3), dtype=torch.float64),
        members=2,
        epochs=6,
        batch_size=16,
        optimizer=train.AdamW((1e-3, 0.05)),
        metric="accuracy",
    )
    result = trainer.fit(X[:40], y[:40], validation=(X[40:], y[40:]))
    for member in range(2):
        with torch.no_grad():
            hits = trainer.export(member)(X[40:]).argmax(1) == y[40:]
        assert result.history[-1].metric[member] == pytest.approx(float(hits.double().mean()))
    assert result.best_epoch == (6, 6)
    assert result.history[-1].metric != result.history[-1].validation_loss
    with pytest.raises(DomainError, match="give it to EarlyStopping"):
        trained(5, 1, metric="loss", early_stopping=train.EarlyStopping(2))
    with pytest.raises(DomainError, match="accuracy needs classes"):
        trained(5, 1, metric="accuracy", loss="squared")


def test_accuracy_and_own_metrics() -> None:
    X, y = problem()
    held = list(range(40, 61))
    seen = []

    def metric(outputs: Tensor, targets: Tensor) -> float:
        seen.append((outputs.clone(), targets.clone()))
        return float((outputs.argmax(1) == targets).double().mean())

    accuracy = train.EarlyStopping(patience=2, metric="accuracy")
    own = train.EarlyStopping(patience=2, metric=metric, mode="max")
    results = []
    for stopping in (accuracy, own):
        trainer = train.Trainer(
            train.Architecture((6, 13, 3)),
            members=2,
            epochs=12,
            batch_size=16,
            early_stopping=stopping,
        )
        results.append(trainer.fit(X.float(), y, validation=held))
    assert [r.metric for r in results[0].history] == [r.metric for r in results[1].history]
    assert results[0].best_metric[0] > 0.4
    assert all(torch.equal(targets, y[held]) for _, targets in seen)


def test_accuracy_of_binary_outputs() -> None:
    X, y = problem()
    for outputs, targets in ((1, (y > 0).double()), (2, torch.stack([y > 0, y > 1], 1).double())):
        trainer = train.Trainer(
            train.Architecture((6, 13, outputs), dtype=torch.float64),
            loss="binary",
            epochs=3,
            early_stopping=train.EarlyStopping(3, "accuracy"),
        )
        result = trainer.fit(X, targets, validation=(X, targets))
        best = trainer.predict(X)[0]
        hits = ((best > 0) == (targets.view(best.shape) > 0.5)).double().mean()
        assert result.best_metric[0] == pytest.approx(float(hits), rel=1e-12)


def test_min_delta() -> None:
    stopping = train.EarlyStopping(patience=2, min_delta=0.1)
    assert stopping.better(1.0, None)
    assert not stopping.better(0.95, 1.0)
    assert stopping.better(0.85, 1.0)
    assert not stopping.better(math.nan, None)


def test_plateau() -> None:
    """The rate of each member follows its own validation loss."""
    X, y = problem()
    trainer = train.Trainer(
        train.Architecture((6, 13, 3), dtype=torch.float64),
        members=3,
        epochs=25,
        batch_size=16,
        optimizer=train.AdamW((0.05, 0.001, 0.05)),
        schedule=train.Plateau(factor=0.3, patience=2, warmup=1),
    )
    result = trainer.fit(X[:40], y[:40], validation=(X[40:], y[40:]))
    for member, rate in enumerate((0.05, 0.001, 0.05)):
        best, waited, factor = math.inf, 0, 1.0
        for record in result.history:
            assert record.rate[member] == pytest.approx(rate * factor, rel=1e-12)
            if record.validation_loss[member] < best:
                best, waited = record.validation_loss[member], 0
            else:
                waited += 1
                if waited == 2:
                    factor, waited = factor * 0.3, 0
        assert result.rate_factor[member] == pytest.approx(factor)
    assert len(set(result.rate_factor)) > 1


def test_a_lower_rate_after_a_plateau_is_used() -> None:
    X, y = problem()

    def run(factor: float) -> train.Trainer:
        trainer = train.Trainer(
            train.Architecture((6, 13, 3), dtype=torch.float64),
            epochs=10,
            optimizer=train.SGD(0.5, 0.9),
            schedule=train.Plateau(factor, patience=1),
            batch_size=16,
        )
        result = trainer.fit(X[:40], y[:40], validation=(X[40:], y[40:]))
        assert result.rate_factor[0] < 1.0
        return trainer

    a, b = weights(run(1e-9), 0), weights(run(0.5), 0)
    assert not torch.allclose(a[0], b[0], atol=1e-3)


def test_each_of_several_networks_starts_from_its_own_weights() -> None:
    X, y = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 3
    nets = [
        nn.SNN(4, 3, width=9, depth=2, dropout=p, generator=torch.Generator().manual_seed(seed))
        for seed, p in ((5, 0.1), (6, 0.0), (7, 0.3))
    ]
    before = [p.clone() for net in nets for p in net.parameters()]
    together = train.Trainer(nets, epochs=3, batch_size=16)
    together.fit(X, y)
    for member, net in enumerate(nets):
        alone = train.Trainer(net, epochs=3, batch_size=16, random_state=member)
        alone.fit(X, y)
        exported = together.export(member)
        assert exported.dropout == net.dropout
        for ours, theirs in zip(exported.parameters(), alone.export().parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    after = [p for net in nets for p in net.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    with pytest.raises(DomainError, match="members must be at least the number of models, 3"):
        train.Trainer(nets, members=2)
    with pytest.raises(DomainError, match="that of model 1 is Architecture"):
        train.Trainer([nets[0], nn.SNN(4, 3, width=8, depth=2)])
    with pytest.raises(DomainError, match="there must be a model at least"):
        train.Trainer([])
    with pytest.raises(DomainError, match="members must be an integer, 1 or more"):
        train.Trainer(nets[0], members=0)
