"""AlphaDropout as a module."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from selfnorm import functional, nn
from selfnorm.errors import DomainError


def test_training_and_evaluation() -> None:
    x = torch.randn(40, 6, 7, generator=torch.Generator().manual_seed(1))
    module = nn.AlphaDropout(0.4, mean=0.1, var=0.6, shared_dims=(1,))
    with torch.random.fork_rng():
        torch.manual_seed(2)
        got = module(x)
        torch.manual_seed(2)
        want = functional.alpha_dropout(x, 0.4, mean=0.1, var=0.6, shared_dims=(1,))
    assert torch.equal(got, want)
    assert not torch.equal(got, x)
    assert module.eval()(x) is x


def test_rate_may_change() -> None:
    module = nn.AlphaDropout(0.1, var=0.6)
    module.p = 1.0
    assert (module(torch.ones(5)) == 0.0).all()
    module.p = 7.0
    with pytest.raises(DomainError, match=r"however: p=7\.0"):
        module(torch.ones(5))


@pytest.mark.parametrize(
    ("module", "shown"),
    [
        (nn.AlphaDropout(), "AlphaDropout(p=0.05)"),
        (
            nn.AlphaDropout(0.1, mean=0.2, var=1.5, shared_dims=[-1]),
            "AlphaDropout(p=0.1, mean=0.2, var=1.5, shared_dims=(-1,))",
        ),
    ],
)
def test_repr(module: torch.nn.Module, shown: str) -> None:
    assert repr(module) == shown


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan, None, "0.5"])
def test_rates_are_refused(p: Any) -> None:
    with pytest.raises(DomainError, match=r"p is the probability of dropping.*however: p="):
        nn.AlphaDropout(p)


def test_fixed_points_are_refused() -> None:
    with pytest.raises(DomainError, match="var"):
        nn.AlphaDropout(0.0, var=-1.0)


def test_dims_are_refused() -> None:
    for dims in (2, (0.5,), "x"):
        with pytest.raises(DomainError, match="shared_dims must be a sequence of integers"):
            nn.AlphaDropout(0.1, shared_dims=dims)  # type: ignore[arg-type]
