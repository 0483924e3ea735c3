"""Alpha dropout: what it computes for given decisions, and the statistics of the decisions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from selfnorm import functional, theory
from selfnorm.ops import _reference

# Every statistical test passes wrongly built code with probability below 1e-3 at the effect it
# names, and fails right code with probability 1e-6 (two-sided: 4.9 standard errors).
CRITICAL = 4.9


def assert_mean(samples: Tensor, expected: float, effect: float) -> None:
    """Assert a mean; ``effect`` is the deviation that n must suffice to find (power > .999)."""
    samples = samples.double().flatten()
    error = samples.std().item() / math.sqrt(samples.numel())
    assert error * (CRITICAL + 3.1) <= effect, f"too few samples: {error} for {effect}"
    assert abs(samples.mean().item() - expected) <= CRITICAL * error


def standard_normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# (mean, var, p): the published fixed point and two others; SELU outputs, not constants.
CASES = [(0.0, 1.0, 0.05), (0.0, 1.0, 0.5), (0.0, 0.5, 0.1), (0.2, 1.5, 0.2)]


@pytest.mark.parametrize(("mean", "var", "p"), CASES)
def test_mean_and_variance_are_kept(mean: float, var: float, p: float) -> None:
    g = torch.Generator().manual_seed(11)
    z = standard_normal(1_000_000, seed=12).double() * math.sqrt(var)
    x = functional.selu(z, mean=mean, var=var)
    assert_mean(x, mean, 0.03 * math.sqrt(var))
    y = functional.alpha_dropout(x, p, mean=mean, var=var, generator=g)
    assert_mean(y, mean, 0.03 * math.sqrt(var))
    assert_mean((y - mean) ** 2, var, 0.03 * var)


def test_fault_7_a_scale_error_of_five_percent_is_found() -> None:
    g = torch.Generator().manual_seed(13)
    y = functional.alpha_dropout(standard_normal(1_000_000, seed=14), 0.1, generator=g)
    assert_mean(y**2, 1.0, 0.03)
    with pytest.raises(AssertionError):
        assert_mean((1.05 * y) ** 2, 1.0, 0.03)


@pytest.mark.parametrize("p", [0.05, 0.37, 0.9])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_rate_of_the_decisions(p: float, dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(15)
    x = torch.ones(1_000_000, dtype=dtype)
    y = functional.alpha_dropout(x, p, generator=g)
    assert y.dtype == dtype
    # A rate rounded to the 8 bits of bfloat16 would be wrong by up to 0.002.
    assert_mean((y == y.min()).float(), p, 0.005)


def test_decisions_are_independent_along_rows_columns_and_calls() -> None:
    # Under independence, with p = 0.5, neighbouring decisions agree half of the time.
    g = torch.Generator().manual_seed(16)
    first, second = (
        functional.alpha_dropout(torch.ones(1000, 1001), 0.5, generator=g) < 0 for _ in range(2)
    )
    for a, b in (
        (first[1:], first[:-1]),
        (first[:, 1:], first[:, :-1]),
        (first, second),
    ):
        assert_mean((a == b).float(), 0.5, 0.005)


@pytest.mark.parametrize(
    ("p", "a", "b"),
    # 30-digit evaluations of a = sqrt(1/(q((1-q) s² + 1))), b = -a (1-q) s, s = -scale alpha.
    [
        (0.05, 0.95484447600503, 0.08393557219381),
        (0.1, 0.92128451614971, 0.16197097005757),
        (0.2, 0.87890358344353, 0.30903996214409),
        (0.5, 0.88640489466593, 0.77919393051803),
    ],
)
def test_golden_affine_map(p: float, a: float, b: float) -> None:
    g = torch.Generator().manual_seed(17)
    x = standard_normal(200, seed=18).double()
    y = functional.alpha_dropout(x, p, generator=g)
    dropped = torch.isclose(y, torch.tensor(a * -1.7580993408473769 + b, dtype=y.dtype))
    assert 0 < dropped.sum() < 200
    torch.testing.assert_close(y[~dropped], a * x[~dropped] + b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_gradient_is_a_times_mask(dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(19)
    x = standard_normal(40, 50, seed=20).to(dtype).requires_grad_()
    y = functional.alpha_dropout(x, 0.3, mean=0.1, var=0.6, generator=g)
    weight = standard_normal(40, 50, seed=21).to(dtype)
    y.backward(weight)
    saturation = theory.solve(0.1, 0.6).saturation
    a, _ = theory.alpha_dropout_affine(0.3, mean=0.1, var=0.6, saturation=saturation)
    kept = y != y.flatten().mode().values  # the one value that occurs often
    assert 0.6 < kept.float().mean() < 0.8
    want = torch.where(kept, weight.double() * a, 0.0).to(dtype)
    eps = 0.0 if dtype in (torch.bfloat16, torch.float16) else 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(x.grad, want, rtol=eps, atol=0.0)


def test_low_precision_is_rounded_once() -> None:
    # bias + selu + dropout in float32 and one rounding, against float64.
    x = standard_normal(2000, 7, seed=22).bfloat16()
    bias = standard_normal(7, seed=23).bfloat16()
    drop = standard_normal(2000, 7, seed=24) > 1
    constants = (1.4680598705305, 1.0409573375386)
    got = _reference.selu_value(x, bias, drop, *constants, 0.8, 0.3)
    want = _reference.selu_value(x.double(), bias.double(), drop, *constants, 0.8, 0.3)
    torch.testing.assert_close(got, want.bfloat16(), rtol=0.0, atol=0.0)


def test_dropped_infinity_and_nan_leave_no_trace() -> None:
    x = torch.tensor([math.inf, -math.inf, math.nan, 1.0], requires_grad=True)
    drop = torch.tensor([True, True, True, False])
    y = _reference.alpha_dropout_value(x, drop, 0.9, 0.2, -1.5)
    y.sum().backward()
    assert y.tolist() == pytest.approx([-1.15, -1.15, -1.15, 1.1])
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([0.0, 0.0, 0.0, 0.9])


# torch's own forward mode imports its deprecated script compiler.
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
def test_derivatives_of_every_kind() -> None:
    x = standard_normal(5, 3, seed=25).double().requires_grad_()
    bias = standard_normal(3, seed=26).double().requires_grad_()
    drop = standard_normal(5, 3, seed=27) > 0.5

    def f(t: Tensor, c: Tensor) -> Tensor:
        return _reference.selu_value(t, c, drop, 1.3, 1.1, 0.8, 0.3)

    assert torch.autograd.gradcheck(f, (x, bias), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(f, (x, bias), check_fwd_over_rev=True)
