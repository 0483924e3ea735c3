"""The sequence classifier: moments, lengths, tokens, learning, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from selfnorm import nn
from selfnorm.errors import DataError, DomainError


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("steps", [1, 150])
def test_moments_of_the_hidden_layers(steps: int) -> None:
    """The fluctuation of 256 units in three layers: theory's standard error is 0.10."""
    net = nn.SNNSequenceClassifier(5, 3, width=256, depth=3, generator=seeded(0))
    x = torch.randn(300, steps, 5, generator=seeded(1))
    with torch.no_grad():
        _, state = net.recurrent(x)
        h = state[-1]
        for block in (torch.nn.Identity(), *net.hidden):
            h = block(h)
            assert h.mean().item() == pytest.approx(0.0, abs=0.2)
            assert h.var().item() == pytest.approx(1.0, abs=0.3)


def test_lengths_equal_cutting_each_sequence() -> None:
    net = nn.SNNSequenceClassifier(
        4, 3, width=10, num_layers=2, generator=seeded(2), dtype=torch.float64
    )
    x = torch.randn(5, 7, 4, generator=seeded(3), dtype=torch.float64)
    lengths = torch.tensor([7, 2, 1, 5, 7])
    got = net(x, lengths)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(got[row], net(x[row : row + 1, :length])[0])
    whole = net(x)
    torch.testing.assert_close(net(x, torch.full((5,), 7)), whole)
    # What is read is the last layer's state after the last step.
    torch.testing.assert_close(net.head(net.hidden(net.recurrent(x)[0][:, -1])), whole)


def test_tokens_go_through_the_embedding() -> None:
    net = nn.SNNSequenceClassifier(6, 3, width=10, vocabulary=20, generator=seeded(4))
    plain = nn.SNNSequenceClassifier(6, 3, width=10, generator=seeded(5))
    plain.load_state_dict({k: v for k, v in net.state_dict().items() if "embedding" not in k})
    assert net.embedding is not None
    tokens = torch.randint(20, (4, 9), generator=seeded(6))
    assert torch.equal(net(tokens), plain(net.embedding(tokens)))


def test_generator_is_the_only_source() -> None:
    state = torch.get_rng_state()
    first = nn.SNNSequenceClassifier(3, 2, width=4, vocabulary=9, generator=seeded(7))
    assert torch.equal(torch.get_rng_state(), state)
    second = nn.SNNSequenceClassifier(3, 2, width=4, vocabulary=9)
    second.reset_parameters(seeded(7))
    for mine, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_it_remembers_the_first_of_forty_steps() -> None:
    """The class is the sign of the first input; thirty-nine steps of noise follow."""
    net = nn.SNNSequenceClassifier(1, 2, width=48, depth=0, generator=seeded(8))
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    generator = seeded(9)
    for _ in range(120):
        x = torch.randn(64, 40, 1, generator=generator)
        x[:, 0, 0] = x[:, 0, 0].sign() * 2
        y = (x[:, 0, 0] > 0).long()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    assert (net(x).argmax(1) == y).double().mean().item() > 0.9


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.SNNSequenceClassifier(3, 0), DomainError, "out_features=0"),
        (lambda: nn.SNNSequenceClassifier(3, 2, depth=-1), DomainError, "depth=-1"),
        (lambda: nn.SNNSequenceClassifier(3, 2)(torch.zeros(7, 3)), DomainError, "batch of one"),
        (lambda: nn.SNNSequenceClassifier(3, 2)(torch.zeros(2, 7, 4)), DomainError, "(2, 7, 4)"),
        (lambda: nn.SNNSequenceClassifier(3, 2)(torch.zeros(2, 0, 3)), DomainError, "(2, 0, 3)"),
        (
            lambda: nn.SNNSequenceClassifier(3, 2, vocabulary=5)(torch.zeros(7).long()),
            DomainError,
            "tokens must have shape",
        ),
        (
            lambda: nn.SNNSequenceClassifier(3, 2, vocabulary=5)(torch.full((1, 2), 5)),
            DataError,
            "between 0 and 4",
        ),
        (
            lambda: nn.SNNSequenceClassifier(3, 2)(torch.zeros(2, 7, 3), torch.tensor([7, 0])),
            DataError,
            r"lengths\[1\]=0",
        ),
        (
            lambda: nn.SNNSequenceClassifier(3, 2)(torch.zeros(2, 7, 3), torch.tensor([8, 1])),
            DataError,
            r"lengths\[0\]=8",
        ),
        (
            lambda: nn.SNNSequenceClassifier(3, 2)(torch.zeros(2, 7, 3), torch.tensor([8])),
            DataError,
            "2 whole numbers",
        ),
    ],
)
def test_refusals(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message.replace("(2, 7, 4)", r"\(2, 7, 4\)")):
        make()
