"""The training loop against a second implementation, and its ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from selfnorm.experiments._training import accuracy_of, as_rows, train


def data(n=90, features=4):
    rng = np.random.default_rng(8)
    X = rng.normal(size=(n, features)).astype(np.float32)
    y = (X @ rng.normal(size=(features, 3))).argmax(axis=1)
    return as_rows(X, y.astype(np.int64))


def linear_model():
    model = nn.utils.skip_init(nn.Linear, 4, 3)
    with torch.no_grad():
        model.weight.normal_(generator=torch.Generator().manual_seed(1))
        model.bias.fill_(0.1)
    return model


@pytest.mark.parametrize(("schedule", "batches"), [("constant", 4), ("cosine", 5), ("cosine", 4)])
def test_steps_are_those_of_momentum_descent(schedule, batches):
    """Softmax regression by hand in float64: gradient, momentum, order of rows, schedule."""
    rows = data()
    model = linear_model()
    W, b = model.weight.detach().numpy().astype(float), model.bias.detach().numpy().astype(float)
    history = train(
        model,
        rows,
        rows,
        epochs=3,
        batch_size=20,
        lr=0.2,
        generator=torch.Generator().manual_seed(6),
        schedule=schedule,
        partial=batches == 5,
    )
    X, y = rows[0].numpy().astype(float), rows[1].numpy()
    generator = torch.Generator().manual_seed(6)
    vW, vb, step, losses = np.zeros_like(W), np.zeros_like(b), 0, []
    for _ in range(3):
        order = torch.randperm(90, generator=generator).numpy()
        epoch = []
        for k in range(batches):  # the fifth batch has ten rows
            batch = order[20 * k : 20 * k + 20]
            lr = (
                0.2
                if schedule == "constant"
                else 0.1 * (1 + math.cos(math.pi * step / (3 * batches)))
            )
            logits = X[batch] @ W.T + b
            p = np.exp(logits - logits.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            n = len(batch)
            epoch.extend(-np.log(p[np.arange(n), y[batch]]))
            p[np.arange(n), y[batch]] -= 1
            vW, vb = 0.9 * vW + p.T @ X[batch] / n, 0.9 * vb + p.mean(axis=0)
            W, b, step = W - lr * vW, b - lr * vb, step + 1
        losses.append(np.mean(epoch))
    np.testing.assert_allclose(model.weight.detach().numpy(), W, atol=1e-5)
    np.testing.assert_allclose(model.bias.detach().numpy(), b, atol=1e-5)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-5)
    assert history.accuracy[-1] == np.mean((X @ W.T + b).argmax(axis=1) == y)
    assert history.diverged is None
    assert history.seconds > 0


def test_each_step_is_told():
    told = []
    rows = data()
    train(
        linear_model(),
        rows,
        rows,
        epochs=2,
        batch_size=30,
        lr=0.1,
        generator=torch.Generator().manual_seed(6),
        on_step=lambda *event: told.append(event),
    )
    assert [event[0] for event in told] == [1, 1, 1, 2, 2, 2]
    assert [event[2] is None for event in told] == [True] * 3 + [False] * 3


def test_divergence_ends_the_training_and_is_located():
    rows = data()
    X = rows[0].clone()
    generator = torch.Generator().manual_seed(6)
    order = [torch.randperm(90, generator=generator) for _ in range(2)][1]
    X[order[30:60][0]] = math.inf  # the second batch of the second epoch, if it ran that far
    first = torch.randperm(90, generator=torch.Generator().manual_seed(6))
    position = int((first == order[30]).nonzero()) // 30 + 1
    history = train(
        linear_model(),
        (X, rows[1]),
        rows,
        epochs=3,
        batch_size=30,
        lr=0.1,
        generator=torch.Generator().manual_seed(6),
    )
    assert history.diverged == {"epoch": 1, "step": position}
    assert history.accuracy == [None, None, None]
    assert history.loss == [None, None, None]


def test_a_net_that_answers_nan_after_its_last_step_has_diverged():
    rows = data()
    model = linear_model()
    # One step with a rate that overflows float32: the loss before it is finite.
    history = train(
        model,
        rows,
        rows,
        epochs=1,
        batch_size=90,
        lr=3e38,
        generator=torch.Generator().manual_seed(6),
    )
    assert accuracy_of(model, rows) is None
    assert history.diverged == {"epoch": 1, "step": 1}


def test_accuracy_counts_all_rows_in_eval_mode():
    X, y = data(n=4321)
    model = nn.Sequential(linear_model(), nn.Dropout(0.9))
    expected = float((model[0](X).argmax(1) == y).double().mean())
    assert 0 < expected < 1
    assert accuracy_of(model, (X, y)) == pytest.approx(expected, rel=1e-12)


def plain_run(**options):
    rows = data()
    model = linear_model()
    arguments = {"epochs": 2, "batch_size": 20, "lr": 0.2} | options
    generator = torch.Generator().manual_seed(6)
    return model, train(model, rows, rows, generator=generator, **arguments)


def test_the_summed_loss_is_a_rate_times_the_batch():
    summed, told = plain_run(summed=True, lr=0.01)
    mean, expected = plain_run(lr=0.2)
    torch.testing.assert_close(summed.weight, mean.weight)
    assert told.loss == pytest.approx(expected.loss), "recorded is the mean in either case"


def test_without_momentum_the_steps_are_gradients():
    model, _ = plain_run(momentum=0.0, epochs=1, batch_size=90, lr=0.3)
    X, y = data()
    start = linear_model()
    start.zero_grad()
    nn.functional.cross_entropy(start(X), y).backward()
    torch.testing.assert_close(model.weight, start.weight - 0.3 * start.weight.grad)


def test_a_transform_changes_the_batches_alone():
    seen = []

    def double(inputs):
        seen.append(len(inputs))
        return inputs * 2

    changed, history = plain_run(transform=double)
    rows = data()
    expected = linear_model()
    train(
        expected,
        (rows[0] * 2, rows[1]),
        rows,
        epochs=2,
        batch_size=20,
        lr=0.2,
        generator=torch.Generator().manual_seed(6),
    )
    torch.testing.assert_close(changed.weight, expected.weight)
    assert seen == [20] * 8
    assert history.accuracy[-1] == accuracy_of(expected, rows)


def test_test_rows_are_measured_after_each_epoch():
    X, y = data()
    other = (X[:30], (y[:30] + 1) % 3)
    model, history = plain_run(test_rows=other, epochs=3)
    assert len(history.tested) == len(history.epoch_seconds) == 3
    assert history.tested[-1] == accuracy_of(model, other)
    assert history.tested != history.accuracy
    assert sum(history.epoch_seconds) < history.seconds


def test_weight_decay_is_added_to_the_gradient():
    decayed, _ = plain_run(momentum=0.0, epochs=1, batch_size=90, lr=0.3, weight_decay=0.2)
    plain, _ = plain_run(momentum=0.0, epochs=1, batch_size=90, lr=0.3)
    start = linear_model()
    torch.testing.assert_close(decayed.weight, plain.weight - 0.3 * 0.2 * start.weight)
