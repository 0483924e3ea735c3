"""The engine computes what autograd and torch.optim compute, for each option, to 1e-10."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from selfnorm import nn, train

from .eager import Eager, assert_close, parameter_groups, parts

ROWS, FEATURES = 37, 5
BOUND = 1e-10


def inputs(rows: int = ROWS, seed: int = 1) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, FEATURES, generator=g, dtype=torch.float64)


def classes(count: int, rows: int = ROWS) -> Tensor:
    return torch.randint(0, count, (rows,), generator=torch.Generator().manual_seed(2))


def reals(columns: int, rows: int = ROWS) -> Tensor:
    g = torch.Generator().manual_seed(3)
    return 2.0 * torch.randn(rows, columns, generator=g, dtype=torch.float64)


def smoothed(z: Tensor, y: Tensor) -> Tensor:
    logs = torch.log(torch.exp(z) / torch.exp(z).sum(1, keepdim=True))
    target = torch.full_like(z, 0.1 / z.shape[1])
    target[torch.arange(len(y)), y] += 0.9
    return -(target * logs).sum(1)


def pinball(z: Tensor, y: Tensor) -> Tensor:
    q = torch.tensor([0.1, 0.7], dtype=z.dtype)
    u = y.unsqueeze(2) - z.view(len(z), 2, 2)
    return torch.where(u > 0, q * u, (q - 1.0) * u).mean((1, 2))


def binary_smoothed(z: Tensor, y: Tensor) -> Tensor:
    t = 0.8 * y + 0.1
    p = torch.sigmoid(z)
    return -(t * p.log() + (1.0 - t) * (1.0 - p).log()).mean(1)


LOSSES = {
    "softmax": (
        train.Softmax(),
        4,
        classes(4),
        lambda z, y: F.cross_entropy(z, y, reduction="none"),
    ),
    "softmax, smoothed": (train.Softmax(0.1), 4, classes(4), smoothed),
    "binary": (
        train.Binary(),
        1,
        classes(2).double(),
        lambda z, y: F.binary_cross_entropy_with_logits(z[:, 0], y, reduction="none"),
    ),
    "binary, several, smoothed": (
        train.Binary(0.2), 3, (reals(3) > 0.4).double(), binary_smoothed
    ),
    "squared": (train.Squared(), 2, reals(2), lambda z, y: ((z - y) ** 2).mean(1)),
    "huber": (
        train.Huber(0.7),
        2,
        reals(2),
        lambda z, y: F.huber_loss(z, y, reduction="none", delta=0.7).mean(1),
    ),
    "pinball": (train.Pinball((0.1, 0.7)), 4, reals(2), pinball),
}  # fmt: skip

OPTIMIZERS = {
    "sgd": (
        train.SGD(0.05),
        lambda net: torch.optim.SGD(parameter_groups(net, 0.0, False), lr=0.05),
    ),
    "nesterov": (
        train.SGD(0.05, 0.8, 0.03, nesterov=True),
        lambda net: torch.optim.SGD(
            parameter_groups(net, 0.03, False), lr=0.05, momentum=0.8, nesterov=True
        ),
    ),
    "momentum, biases decay": (
        train.SGD(0.05, 0.8, 0.03, decay_bias=True),
        lambda net: torch.optim.SGD(parameter_groups(net, 0.03, True), lr=0.05, momentum=0.8),
    ),
    "adamw": (
        train.AdamW(0.01, (0.8, 0.95), 1e-6, 0.2),
        lambda net: torch.optim.AdamW(
            parameter_groups(net, 0.2, False), lr=0.01, betas=(0.8, 0.95), eps=1e-6
        ),
    ),
    "adamw, biases decay": (
        train.AdamW(0.01, weight_decay=0.2, decay_bias=True),
        lambda net: torch.optim.AdamW(parameter_groups(net, 0.2, True), lr=0.01),
    ),
}


def both(
    architecture: train.Architecture,
    *,
    members: int = 1,
    loss: str = "softmax, smoothed",
    optimizer: str = "adamw",
    dropout: float | tuple[float, ...] = 0.3,
    epochs: int = 2,
    batch_size: int = 8,
    clip_norm: float | None = None,
    average: float | None = None,
    schedule=None,
    rate=lambda step: None,
    sample_weight: Tensor | None = None,
    class_weight=None,
    row_weights: Tensor | None = None,
    shuffle: str = "member",
    random_state: int = 7,
) -> None:
    """Train with the engine and by hand; compare weights, losses and outputs."""
    chosen, outputs, y, by_hand = LOSSES[loss]
    settings, make = OPTIMIZERS[optimizer]
    assert architecture.sizes[-1] == outputs
    X = inputs()
    trainer = train.Trainer(
        architecture,
        members=members,
        loss=chosen,
        optimizer=settings,
        epochs=epochs,
        batch_size=batch_size,
        dropout=dropout,
        clip_norm=clip_norm,
        average=average,
        schedule=schedule,
        shuffle=shuffle,
        random_state=random_state,
    )
    result = trainer.fit(X, y, sample_weight=sample_weight, class_weight=class_weight)
    predicted = trainer.predict(X)
    for member in range(members):
        net = architecture.build(seed=random_state + member).double()
        start = [p.detach().clone() for p in parts(net)]
        hand = Eager(
            net,
            architecture,
            by_hand,
            make(net),
            dropout if isinstance(dropout, float) else dropout[member],
            random_state + member,
            batch_size,
            clip_norm,
            average,
            random_state if shuffle == "shared" else None,
        )
        for epoch in range(1, epochs + 1):
            base = settings.lr
            value = hand.epoch(
                X,
                y,
                torch.arange(ROWS),
                epoch,
                lambda s, base=base: base if rate(s) is None else base * rate(s),
                row_weights,
            )
            assert result.history[epoch - 1].loss[member] == pytest.approx(value, rel=1e-10)
        expected = hand.effective()
        moved = max(
            float((a - b.detach()).abs().max()) for a, b in zip(start, expected, strict=True)
        )
        assert moved > 1e-3, "nothing was trained"
        if not architecture.weight_standardized:
            assert_close(parts(trainer.export(member)), expected, BOUND)
        with torch.no_grad():
            for own, values in zip(
                [*hand.weights, *(b for b in hand.biases if b is not None)], expected, strict=True
            ):
                own.copy_(values)
            assert_close([predicted[member]], [hand.forward(X, False)], BOUND)
        # The module handed back computes what the engine does.
        with torch.no_grad():
            assert_close([trainer.export(member)(X)], [predicted[member]], BOUND)


def net_for(loss: str = "softmax, smoothed", **changes) -> train.Architecture:
    sizes = (FEATURES, 9, 7, 6, LOSSES[loss][1])
    return train.Architecture(sizes, **{"dtype": torch.float64, **changes})


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses(loss: str, members: int) -> None:
    both(net_for(loss), loss=loss, members=members)


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers(optimizer: str, members: int) -> None:
    both(net_for(), optimizer=optimizer, members=members)


ARCHITECTURES = {
    "another fixed point": {"fixed_point": (0.2, 0.7)},
    "SELU with ordinary dropout": {"dropout_kind": "ordinary"},
    "ELU": {"activation": "elu"},
    "ReLU": {"activation": "relu"},
    "leaky ReLU": {"activation": "leaky_relu"},
    "no biases": {"bias": False},
    "uniform weights": {"weight_init": "lecun_uniform"},
    "standardised weights": {"weight_standardized": True, "fixed_point": (0.2, 0.7)},
    "standardised weights of ReLU": {"weight_standardized": True, "activation": "elu"},
}


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("name", [n for n in ARCHITECTURES if n != "standardised weights of ReLU"])
def test_architectures(name: str, dropout: float, members: int) -> None:
    both(net_for(**ARCHITECTURES[name]), members=members, dropout=dropout)


def test_linear_model() -> None:
    both(train.Architecture((FEATURES, 4), dtype=torch.float64), members=2, dropout=0.0)


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("clip_norm", [0.05, 0.6, 1.3, 20.0])
def test_clipping(members: int, clip_norm: float) -> None:
    both(net_for(), members=members, clip_norm=clip_norm, optimizer="nesterov")


@pytest.mark.parametrize("members", [1, 3])
def test_average(members: int) -> None:
    both(net_for(), members=members, average=0.8, epochs=3)


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("batch_size", [37, 36, 1000])
def test_batch_sizes(batch_size: int, members: int) -> None:
    both(net_for(), members=members, batch_size=batch_size, epochs=3)


def test_shared_batches() -> None:
    both(net_for(), members=3, shuffle="shared")


@pytest.mark.parametrize("shuffle", ["member", "shared"])
@pytest.mark.parametrize("members", [1, 3])
def test_sample_weights(members: int, shuffle: str) -> None:
    g = torch.Generator().manual_seed(5)
    weights = 3.0 * torch.rand(ROWS, generator=g, dtype=torch.float64)
    weights[4] = 0.0
    both(net_for(), members=members, sample_weight=weights, row_weights=weights, shuffle=shuffle)
    both(
        net_for("huber"),
        loss="huber",
        members=members,
        sample_weight=weights,
        row_weights=weights,
        shuffle=shuffle,
    )


def test_class_weights() -> None:
    factors = {0: 0.5, 2: 3.0, 3: 0.0}
    own = torch.tensor([factors.get(int(c), 1.0) for c in classes(4)], dtype=torch.float64)
    both(net_for(), members=2, class_weight=factors, row_weights=own)
    both(
        net_for(),
        members=2,
        class_weight=factors,
        sample_weight=torch.arange(ROWS) + 1,
        row_weights=own * (torch.arange(ROWS) + 1),
    )


def test_balanced_classes() -> None:
    y = classes(4)
    own = torch.tensor([1.0 / int((y == c).sum()) for c in y], dtype=torch.float64)
    both(net_for(), class_weight="balanced", row_weights=own)
    y = classes(2)
    own = torch.tensor([1.0 / int((y == c).sum()) for c in y], dtype=torch.float64)
    both(net_for("binary"), loss="binary", class_weight="balanced", row_weights=own)


def test_cosine_with_warmup() -> None:
    def rate(step: int) -> float:
        # 5 steps an epoch, 4 epochs; 1.5 epochs of warm-up end within step 8.
        if step < 8:
            return (step + 1) / 7.5 if step < 7 else 1.0
        return 0.2 + 0.8 * (1.0 + math.cos(math.pi * (step - 8) / 12)) / 2.0

    both(net_for(), members=2, schedule=train.Cosine(1.5, 0.2), rate=rate, epochs=4)


def test_warmup() -> None:
    both(
        net_for(),
        schedule=train.Constant(1.4),
        rate=lambda step: min(1.0, (step + 1) / 7),
        epochs=3,
    )


def test_rates_decays_and_dropout_of_each_member() -> None:
    """Three members that differ in all of them are three trainings."""
    architecture, y = net_for(), classes(4)
    lr, decay, dropout = (0.01, 0.03, 0.01), (0.2, 0.0, 0.4), (0.3, 0.0, 0.1)
    trainer = train.Trainer(
        architecture,
        members=3,
        loss=train.Softmax(0.1),
        optimizer=train.AdamW(lr, weight_decay=decay),
        epochs=3,
        batch_size=8,
        dropout=dropout,
        clip_norm=0.7,
        random_state=(4, 9, 4),
    )
    trainer.fit(inputs(), y)
    for k, seed in enumerate((4, 9, 4)):
        net = architecture.build(seed=seed).double()
        optimizer = torch.optim.AdamW(parameter_groups(net, decay[k], False), lr=lr[k])
        hand = Eager(net, architecture, smoothed, optimizer, dropout[k], seed, 8, 0.7)
        for epoch in (1, 2, 3):
            hand.epoch(inputs(), y, torch.arange(ROWS), epoch, lambda step, k=k: lr[k])
        assert_close(parts(trainer.export(k)), hand.effective(), BOUND)


def test_momentum_of_each_member() -> None:
    architecture, y = net_for(), classes(4)
    trainer = train.Trainer(
        architecture,
        members=2,
        optimizer=train.SGD(0.05, (0.5, 0.9), 0.02),
        epochs=2,
        batch_size=8,
        random_state=1,
        dropout=0.2,
    )
    trainer.fit(inputs(), y)
    for k, momentum in enumerate((0.5, 0.9)):
        net = architecture.build(seed=1 + k).double()
        groups = parameter_groups(net, 0.02, False)
        optimizer = torch.optim.SGD(groups, lr=0.05, momentum=momentum)
        loss = LOSSES["softmax"][3]
        hand = Eager(net, architecture, loss, optimizer, 0.2, 1 + k, 8)
        for epoch in (1, 2):
            hand.epoch(inputs(), y, torch.arange(ROWS), epoch, lambda step: 0.05)
        assert_close(parts(trainer.export(k)), hand.effective(), BOUND)


@pytest.mark.parametrize("activation", ["selu", "relu"])
@pytest.mark.parametrize("shape", ["rectangular", "conic"])
def test_an_snn_is_trained_as_autograd_would(activation: str, shape: str) -> None:
    """The module's own forward pass, its weights taken over, no dropout."""
    g = torch.Generator().manual_seed(0)
    net = nn.SNN(
        FEATURES,
        4,
        width=12,
        depth=3,
        shape=shape,
        activation=activation,
        dropout=0.0,
        fixed_point="depth-matched" if activation == "selu" else (0.0, 1.0),
        generator=g,
        dtype=torch.float64,
    )
    before = [p.detach().clone() for p in net.parameters()]
    trainer = train.Trainer(net, epochs=1, batch_size=ROWS, optimizer=train.AdamW(0.02))
    trainer.fit(inputs(), classes(4))
    assert_close(list(net.parameters()), before, 0.0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.02, weight_decay=0.0)
    F.cross_entropy(net(inputs()), classes(4)).backward()
    optimizer.step()
    exported = trainer.export()
    assert exported.widths == net.widths
    assert exported.extra_repr() == net.extra_repr()
    assert not exported.training
    assert_close(list(exported.parameters()), list(net.parameters()), BOUND)
    torch.testing.assert_close(exported(inputs()), net(inputs()), atol=1e-9, rtol=0.0)
