"""Rows kept at their length while an optimiser trains."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from selfnorm.errors import DomainError
from selfnorm.nn import LinearSELU, keep_row_norms


def net() -> Any:
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, groups=2), nn.SELU(), nn.Flatten(), LinearSELU(24, 5), nn.Linear(5, 3)
    ).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator).double())
    return model


def one_step(model: nn.Module, **options: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the parameters after one step, without and with the rows held."""
    found = []
    start = {name: value.clone() for name, value in model.state_dict().items()}
    for held in (False, True):
        model.load_state_dict(start)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
        handle = keep_row_norms(model, optimizer, **options) if held else None
        x = torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(1)).double()
        model(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append({name: value.clone() for name, value in model.state_dict().items()})
        if handle is not None:
            handle.remove()
    return found[0], found[1]


def test_rows_are_set_to_the_target_and_nothing_else_changes() -> None:
    free, held = one_step(net(), target=1.3)
    for name in ("0.weight", "3.weight"):
        rows = held[name].flatten(1)
        torch.testing.assert_close(rows.square().sum(1), torch.full((len(rows),), 1.3).double())
        cosine = nn.functional.cosine_similarity(rows, free[name].flatten(1))
        torch.testing.assert_close(cosine, torch.ones_like(cosine))
    for name in ("0.bias", "3.bias", "4.weight", "4.bias"):
        assert torch.equal(free[name], held[name])


def test_the_pull_is_the_gradient_of_the_penalty() -> None:
    """w - lr d/dw [d t (tau/t - 1)² / 4] at the point that the optimiser reached, by autograd."""
    decay, target, lr = 0.7, 1.3, 0.02
    free, held = one_step(net(), target=target, decay=decay)
    for name in ("0.weight", "3.weight"):
        w = free[name].clone().requires_grad_()
        tau = w.flatten(1).square().sum(1)
        penalty = (decay * target * (tau / target - 1).square() / 4).sum()
        (gradient,) = torch.autograd.grad(penalty, w)
        torch.testing.assert_close(held[name], w.detach() - lr * gradient)


def test_layers_groups_formats_and_zero_rows() -> None:
    model = net().to(memory_format=torch.channels_last)
    with torch.no_grad():
        model[0].weight[2] = 0.0
    optimizer = torch.optim.SGD(
        [{"params": model[0].parameters(), "lr": 0.0}, {"params": model[4].parameters()}], lr=0.1
    )
    held = keep_row_norms(model, optimizer, layers=["0", "4"])
    assert list(held.layers) == ["0", "4"]
    model(torch.randn(2, 4, 4, 4).double()).sum().backward()
    optimizer.step()
    sums = model[0].weight.detach().flatten(1).square().sum(1)
    torch.testing.assert_close(sums, torch.tensor([1.0, 1, 0, 1, 1, 1]).double())
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    held.remove()
    with torch.no_grad():
        model[4].weight.mul_(2.0)
    before = model[4].weight.detach().clone()
    optimizer.zero_grad()
    optimizer.step()
    assert torch.equal(model[4].weight, before)


def test_a_long_row_is_shortened_not_turned_round() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.fill_(100.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    keep_row_norms(model, optimizer, decay=1.0)
    optimizer.step()
    assert torch.equal(model[0].weight, torch.full((2, 3), 50.0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decay": 0.0}, "decay=0.0"),
        ({"target": float("nan")}, "target=nan"),
        ({"target": True}, "target=True"),
        ({"layers": ["1"]}, "known: '0', '3', '4'"),
        ({"layers": ["4"], "only": 0}, "'4' is not among"),
    ],
)
def test_bad_input_is_named(options: dict[str, Any], words: str) -> None:
    model = net()
    trained = model[options.pop("only")] if "only" in options else model
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
    with pytest.raises(DomainError, match=words):
        keep_row_norms(model, optimizer, **options)
