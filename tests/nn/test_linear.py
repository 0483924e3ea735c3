"""LinearSELU: values, initial state, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from selfnorm import functional, init, nn
from selfnorm.errors import DomainError


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_value() -> None:
    layer = nn.LinearSELU(5, 3, mean=0.1, var=0.7, dropout=0.3, dtype=torch.float64)
    with torch.no_grad():
        assert layer.bias is not None
        layer.bias.copy_(torch.tensor([0.5, -0.5, 1.0]))
    x = torch.randn(40, 2, 5, generator=seeded(1), dtype=torch.float64)
    pre = x @ layer.weight.T + layer.bias
    activated = functional.selu(pre, mean=0.1, var=0.7)
    torch.testing.assert_close(layer.eval()(x), activated)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        got = layer.train()(x)
        torch.manual_seed(2)
        want = functional.alpha_dropout(activated, 0.3, mean=0.1, var=0.7)
    torch.testing.assert_close(got, want)


def test_fault_10_the_initial_gain_is_one() -> None:
    # calculate_gain("selu") = 3/4 would give 9/16. 60,000 weights: standard error 0.006.
    layer = nn.LinearSELU(200, 300, generator=seeded(3))
    assert layer.weight.shape == (300, 200)
    assert layer.weight.square().sum(1).mean().item() == pytest.approx(1.0, abs=0.03)
    assert layer.bias is not None
    assert (layer.bias == 0).all()


def test_generator_is_the_only_source_of_the_weights() -> None:
    state = torch.get_rng_state()
    first = nn.LinearSELU(4, 6, generator=seeded(4))
    assert torch.equal(torch.get_rng_state(), state)
    second = nn.LinearSELU(4, 6)
    assert not torch.equal(first.weight, second.weight)
    second.reset_parameters(seeded(4))
    assert torch.equal(first.weight, second.weight)


def test_initialize_knows_the_layer() -> None:
    layer = init.initialize_(nn.LinearSELU(8, 3), method="orthogonal", generator=seeded(5))
    torch.testing.assert_close(layer.weight @ layer.weight.T, torch.eye(3))


def test_without_bias() -> None:
    layer = nn.LinearSELU(4, 6, bias=False)
    assert layer.bias is None
    assert set(layer.state_dict()) == {"weight"}
    assert layer(torch.zeros(2, 4)).shape == (2, 6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(dtype: torch.dtype) -> None:
    layer = nn.LinearSELU(4, 6, dropout=0.2, dtype=dtype)
    y = layer(torch.ones(3, 4, dtype=dtype))
    assert y.dtype == dtype
    y.sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == dtype


def test_repr() -> None:
    assert repr(nn.LinearSELU(4, 6)) == "LinearSELU(in_features=4, out_features=6, bias=True)"
    assert repr(nn.LinearSELU(4, 6, bias=False, mean=0.1, var=0.7, dropout=0.2)) == (
        "LinearSELU(in_features=4, out_features=6, bias=False, mean=0.1, var=0.7, dropout=0.2)"
    )


@pytest.mark.parametrize("size", [0, -1, 2.0, "3", None, True])
def test_sizes_are_refused(size: Any) -> None:
    with pytest.raises(DomainError, match="in_features must be an integer, 1 or more, however"):
        nn.LinearSELU(size, 3)
    with pytest.raises(DomainError, match="out_features must be an integer, 1 or more, however"):
        nn.LinearSELU(3, size)


def test_rates_and_fixed_points_are_refused() -> None:
    with pytest.raises(DomainError, match=r"dropout is the probability.*however: dropout=1\.5"):
        nn.LinearSELU(3, 3, dropout=1.5)
    with pytest.raises(DomainError, match="var"):
        nn.LinearSELU(3, 3, var=0.0)
