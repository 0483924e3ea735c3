"""A model leaves as it came: modes, buffers, gradients, hooks; so do random numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import selfnorm as sn
from selfnorm.errors import DataError


class Falls(nn.Module):
    """Falls at the second layer, after a batch norm has written its statistics."""

    def __init__(self, falls: bool = True) -> None:
        super().__init__()
        self.a, self.norm, self.drop = nn.Linear(12, 20), nn.BatchNorm1d(20), nn.Dropout(0.3)
        self.b = nn.Linear(20, 5)
        self.register_buffer("calls", torch.zeros(3))
        self.falls = falls

    def forward(self, x: Tensor) -> Any:
        assert isinstance(self.calls, Tensor)
        self.calls += 1.0
        x = self.drop(torch.selu(self.norm(self.a(x))))
        if self.falls:
            raise ArithmeticError("as planned")
        return self.b(x)


def state(model: nn.Module) -> dict[str, Any]:
    return {
        "modes": [m.training for m in model.modules()],
        "values": {k: v.clone() for k, v in model.state_dict().items()},
        "places": {k: v.data_ptr() for k, v in model.state_dict(keep_vars=True).items()},
        "grads": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "wants": [p.requires_grad for p in model.parameters()],
        "hooks": [
            (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for m in model.modules()
        ],
        "random": torch.random.get_rng_state(),
        "grad mode": torch.is_grad_enabled(),
    }


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    for key in before:
        old, new = before[key], after[key]
        if key == "values":
            assert all(torch.equal(old[k], new[k]) for k in old), key
        elif key == "grads":
            pairs = zip(old, new, strict=True)
            assert all(
                (a is None) == (b is None) and (a is None or torch.equal(a, b)) for a, b in pairs
            ), key
        elif key == "random":
            assert torch.equal(old, new)
        else:
            assert old == new, key


CALLS: dict[str, Callable[[nn.Module, Any], Any]] = {
    "check": lambda model, x: sn.check(model, x),
    "diagnose": lambda model, x: sn.diagnose(model, x),
    "diagnose in evaluation": lambda model, x: sn.diagnose(model, x, training=False),
}


@pytest.mark.parametrize("falls", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("call", CALLS)
def test_everything_is_as_before(call: str, training: bool, falls: bool) -> None:
    model = Falls(falls).train(training)
    model.drop.train(not training)  # modes are kept module by module
    model.a.weight.requires_grad_(False)
    model.b.weight.grad = torch.ones(5, 20)
    x = torch.randn(40, 12)
    kept = x.clone()
    before = state(model)
    if falls:
        with pytest.raises(DataError, match="ArithmeticError: as planned"):
            CALLS[call](model, x)
    else:
        CALLS[call](model, x)
    assert_same(before, state(model))
    assert torch.equal(x, kept)


def test_an_input_that_the_model_writes_to_is_kept() -> None:
    model = nn.Sequential(nn.SELU(inplace=True), nn.Linear(12, 20), nn.SELU(inplace=True))
    x = torch.randn(40, 12)
    kept = x.clone()
    sn.check(model, x)
    sn.diagnose(model, x)
    assert torch.equal(x, kept)


def test_frozen_weights_have_gradients_at_the_activations() -> None:
    torch.manual_seed(0)
    model = sn.nn.SNN(12, 3, width=64, depth=4, dropout=0.0)
    X = torch.randn(300, 12)
    free = sn.diagnose(model, X)
    model.requires_grad_(False)
    frozen = sn.diagnose(model, X)
    # The first activation starts the graph; all gradients are those of the free network.
    for one, other in zip(free.layers, frozen.layers, strict=True):
        assert one.gradient == pytest.approx(other.gradient, rel=1e-5)
    assert all(p.grad is None for p in model.parameters())


def test_a_random_stream_of_the_user_goes_on() -> None:
    torch.manual_seed(11)
    expected = torch.randn(3)
    torch.manual_seed(11)
    sn.diagnose(sn.nn.SNN(12, 3, width=32, depth=2, generator=torch.Generator()), torch.ones(9, 12))
    assert torch.equal(torch.randn(3), expected)
