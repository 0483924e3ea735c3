"""The native kernels: values in units of the last place, special values, bias, instruction sets.

Their decisions are in test_native_decisions, layouts, aliases and refusals in test_native_layouts,
and what sanitisers see in tests/native.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

from selfnorm import ops
from selfnorm.ops import _reference

_BACKEND = ops.backends()["cpu"]
pytestmark = pytest.mark.skipif(_BACKEND.name != "native", reason=_BACKEND.reason)

OPS = torch.ops.selfnorm
NAMES = ("selu", "selu_grad", "selu_grad_from_output", "alpha_dropout")
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
LOW = (torch.bfloat16, torch.float16)

# alpha, scale, a: none of them the published SELU without dropout.
CONSTANTS = (
    (1.4680598705305, 1.0409573375386, 1.0),
    (1.6732632423543772, 1.0507009873554805, 0.95484447600503),
    (0.7, 1.9999, 0.87890358344353),
    (3.1, 1.3, 0.6),
)
ALPHA, SCALE, A, B = 1.4680598705305, 1.0409573375386, 0.87, 0.31
SELU = (ALPHA, SCALE, A, B)
RNG = (0x123456789ABCDEF, 0x7FEDCBA987654321)

# What a product of gradient and slope may be off, in units of the last place of the type. In
# float64 "exact" is no better than four itself; 40 digits are compared elsewhere.
PRODUCT = {torch.float64: 7.0, torch.float32: 3.0, torch.bfloat16: 0.51, torch.float16: 0.51}


def key(*numbers: int) -> Tensor:
    return torch.tensor(numbers or RNG)


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    x = 2.0 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return x.to(dtype)


def exact_value(z: Tensor, alpha: float, scale: float, a: float, b: float) -> Tensor:
    wide = z.double()
    left = alpha * torch.expm1(wide.clamp(max=0.0))
    return a * scale * torch.where(wide > 0, wide, left) + b


def exact_slope(z: Tensor, alpha: float, scale: float, a: float) -> Tensor:
    wide = z.double()
    return a * scale * torch.where(wide > 0, 1.0, alpha * torch.exp(wide.clamp(max=0.0)))


def ulp(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the unit of the last place of a type at these values, subnormal ones included."""
    info = torch.finfo(dtype)
    _, exponent = np.frexp(x.abs().to(dtype).double().clamp(max=info.max).numpy())
    return torch.from_numpy(np.maximum(np.ldexp(info.eps, exponent - 1), info.tiny * info.eps))


def assert_ulps(got: Tensor, exact: Tensor, limit: float, b: float = 0.0) -> None:
    """Compare where the result is finite; what cancels in a sum with b counts by its size."""
    finite = exact.abs() <= torch.finfo(got.dtype).max
    got, exact = got[finite], exact[finite]
    unit = limit * ulp(exact, got.dtype)
    if b != 0.0:
        # Computed in float32 at least, where sum and summand are each right to two units.
        wide = torch.float64 if got.dtype == torch.float64 else torch.float32
        unit += 2 * ulp((exact - b).abs().clamp(min=abs(b)), wide)
    error = (got.double() - exact).abs() / unit
    worst = int(error.argmax())
    assert error[worst] <= 1.0, f"{limit * error[worst]} ulp at {worst}: {got[worst]}"


def every_float32(step: int) -> Tensor:
    """Return one float32 in ``step`` of all bit patterns, infinities and subnormals included."""
    bits = torch.arange(-(2**31), 2**31, step).to(torch.int32).view(torch.float32)
    return bits[~bits.isnan()]


def dense_float32() -> Tensor:
    rng = np.random.default_rng(7)
    steps = np.arange(-160.0, 1.0)
    ends = (steps[:, None] / 2 * math.log(2) + np.linspace(-1e-5, 1e-5, 101)).ravel()
    parts = [-rng.uniform(0, 2, 200_000), -rng.uniform(0, 110, 100_000), ends[ends <= 0]]
    return torch.cat([every_float32(5003), torch.from_numpy(np.concatenate(parts)).float()])


# ---- values and slopes --------------------------------------------------------------------------


@pytest.mark.parametrize("b", [0.0, 0.3])
@pytest.mark.parametrize(("alpha", "scale", "a"), CONSTANTS)
def test_float32_is_within_two_ulp(alpha: float, scale: float, a: float, b: float) -> None:
    x = dense_float32()
    y = OPS.selu(x, None, None, 0.0, alpha, scale, a, b)
    assert_ulps(y, exact_value(x, alpha, scale, a, b), 2.0, b)
    slope = OPS.selu_grad(torch.ones_like(x), x, None, None, 0.0, alpha, scale, a)
    assert_ulps(slope, exact_slope(x, alpha, scale, a), 2.0)


@pytest.mark.parametrize(("alpha", "scale", "a"), CONSTANTS[1:3])
def test_float64_is_within_two_ulp_of_40_digits(alpha: float, scale: float, a: float) -> None:
    rng = np.random.default_rng(8)
    x = np.concatenate(
        [-np.logspace(-320, 2.9, 500), -rng.uniform(0, 2, 700), -rng.uniform(0, 746, 300)]
    )
    z = torch.from_numpy(x)
    y = OPS.selu(z, None, None, 0.0, alpha, scale, a, 0.0).tolist()
    slope = OPS.selu_grad(torch.ones_like(z), z, None, None, 0.0, alpha, scale, a).tolist()
    with mpmath.workdps(40):
        factor = mpmath.mpf(alpha) * mpmath.mpf(scale) * mpmath.mpf(a)
        for value, *got in zip(x, y, slope, strict=True):
            for number, want in zip(
                got, (factor * mpmath.expm1(value), factor * mpmath.exp(value)), strict=True
            ):
                assert abs(number - want) <= 2 * math.ulp(float(want)), (value, number)


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("b", [0.0, 0.3])
@pytest.mark.parametrize(("alpha", "scale", "a"), CONSTANTS)
def test_every_value_of_16_bits(
    alpha: float, scale: float, a: float, b: float, dtype: torch.dtype
) -> None:
    x = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    nan = x.isnan()
    y = OPS.selu(x, None, None, 0.0, alpha, scale, a, b)
    slope = OPS.selu_grad(torch.ones_like(x), x, None, None, 0.0, alpha, scale, a)
    # No decision falls on 1 in 65,536 at p = 1e-9: the affine map alone.
    affine = OPS.alpha_dropout(x, key(), 1e-9, a, b, -1.7)
    for got in (y, slope, affine):
        assert torch.equal(got.isnan(), nan)
    x = x[~nan]
    # 0.51: rounded once from float32, which is itself a rounding.
    assert_ulps(y[~nan], exact_value(x, alpha, scale, a, b), 0.51, b)
    assert_ulps(slope[~nan], exact_slope(x, alpha, scale, a), 0.51)
    assert_ulps(affine[~nan], a * x.double() + b, 0.51, b)
    # What is too large for the type becomes infinite from half a unit beyond the largest number.
    exact = exact_value(x, alpha, scale, a, b)
    limit = torch.finfo(dtype).max * (1.0 + torch.finfo(dtype).eps / 4)
    assert torch.equal(y[~nan].isinf(), exact.abs() >= limit)


@pytest.mark.parametrize("dtype", LOW)
def test_16_bits_round_halves_to_even(dtype: torch.dtype) -> None:
    # Each number in [1, 2), plus half a unit of its last place: a tie for each.
    eps = torch.finfo(dtype).eps
    x = (1.0 + eps * torch.arange(round(1 / eps))).to(dtype)
    for sign in (1.0, -1.0):
        got = OPS.alpha_dropout(x, key(), 0.0, sign, sign * eps / 2, -1.7) * sign
        units = (got.double() - 1.0) / eps
        assert torch.equal(units, 2.0 * ((torch.arange(len(x)) + 1) // 2))


@pytest.mark.parametrize("dtype", LOW)
def test_16_bits_keep_nan_of_any_payload(dtype: torch.dtype) -> None:
    # Only a bias brings payloads of 23 bits.
    payloads = torch.tensor([0x7F800001, 0x7FBFFFFF, 0x7FC00000, 0x7FFFFFFF], dtype=torch.int32)
    bias = torch.cat([payloads, payloads - 2**31]).view(torch.float32)
    assert bias.isnan().all()
    x = torch.ones(40, 8, dtype=dtype)
    assert OPS.selu(x, bias, None, 0.0, *SELU).isnan().all()
    assert OPS.selu_grad(x, x, bias, None, 0.0, ALPHA, SCALE, A).isnan().all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_are_multiplied_and_rounded_once(dtype: torch.dtype) -> None:
    x, grad = normal(5000, seed=1, dtype=dtype), normal(5000, seed=2, dtype=dtype)
    dx = OPS.selu_grad(grad, x, None, None, 0.0, ALPHA, SCALE, A)
    assert_ulps(dx, grad.double() * exact_slope(x, ALPHA, SCALE, A), PRODUCT[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_slope_from_the_output(dtype: torch.dtype) -> None:
    x, grad = normal(5000, seed=3, dtype=dtype), normal(5000, seed=4, dtype=dtype)
    y = OPS.selu(x, None, key(), 0.3, *SELU)
    dx = OPS.selu_grad_from_output(grad, y, *SELU)
    assert torch.equal(dx, _reference.selu_grad_from_output(grad, y, *SELU))
    if dtype in LOW:
        return
    drop = _reference.drop_mask(key(), (5000,), 0.3)
    want = torch.where(drop, 0.0, grad.double() * exact_slope(x, ALPHA, SCALE, A))
    assert not dx[drop].any()
    # Within the rounding of y, of the value of a dropped element, and of their difference.
    bound = 2 * torch.finfo(dtype).eps * A * SCALE * ALPHA
    assert ((dx.double() - want).abs() <= bound * grad.double().abs()).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values(dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    tiny = info.tiny * info.eps  # the least number
    far = -800.0 if dtype == torch.float64 else -104.0
    c = ALPHA * SCALE * A
    table = [  # x, value at b = 0, slope
        (0.0, 0.0, c),
        (-0.0, -0.0, c),
        (math.inf, math.inf, A * SCALE),
        (-math.inf, -c, 0.0),
        (math.nan, math.nan, math.nan),
        (far, -c, 0.0),
        (-info.max, -c, 0.0),
        (64 * tiny, 64 * tiny * A * SCALE, A * SCALE),
        (-64 * tiny, -64 * tiny * c, c),
    ]
    # Once as a vector, once each alone, where a loop's remainder answers.
    for repeat in (1, 37):
        for value, *expected in table:
            x = torch.full((repeat,), value, dtype=dtype)
            y = OPS.selu(x, None, None, 0.0, ALPHA, SCALE, A, 0.0)
            slope = OPS.selu_grad(torch.ones_like(x), x, None, None, 0.0, ALPHA, SCALE, A)
            for got, want in zip((y, slope), expected, strict=True):
                for number in got.tolist():
                    close = pytest.approx(want, rel=info.eps, abs=tiny, nan_ok=True)
                    assert number == close, (value, got)
                    assert math.isnan(want) or math.copysign(1, number) == math.copysign(1, want)


def rounded(value: float, dtype: torch.dtype) -> float:
    return torch.tensor(value, dtype=dtype).item()


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropped_infinity_and_nan_leave_no_trace_kept_ones_stay(dtype: torch.dtype) -> None:
    size, p = 999, 0.4
    drop = _reference.drop_mask(key(), (size,), p)
    for value in (math.nan, math.inf, -math.inf):
        x = torch.full((size,), value, dtype=dtype)
        y = OPS.selu(x, None, key(), p, *SELU)
        dx = OPS.selu_grad(x, x, None, key(), p, ALPHA, SCALE, A)
        z = OPS.alpha_dropout(x, key(), p, A, B, -1.3)
        assert y[drop].unique().tolist() == [rounded(B - A * SCALE * ALPHA, dtype)]
        assert z[drop].unique().tolist() == [rounded(B - A * 1.3, dtype)]
        assert not dx[drop].any()
        assert not torch.isfinite(z[~drop]).any()
        assert torch.isfinite(y[~drop]).all() == (value == -math.inf)
        # The gradient is as infinite as the value, and the slope 0 at -inf.
        assert not torch.isfinite(dx[~drop]).any()


# ---- bias ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("features", [1, 3, 255, 256, 257, 1024, 5000])
def test_bias(features: int, dtype: torch.dtype) -> None:
    rows = 3 * 1024 // features + 5  # several tiles, the last one not full
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    x, grad = (normal(rows, features, seed=s, dtype=dtype) for s in (5, 6))
    bias = normal(features, seed=7).to(wide)
    z = x.to(wide) + bias
    for p in (0.0, 0.2):
        rng = key() if p else None
        drop = _reference.drop_mask(key(), (rows, features), p)
        y = OPS.selu(x, bias, rng, p, *SELU)
        want = torch.where(drop, B - A * SCALE * ALPHA, exact_value(z, *SELU))
        assert_ulps(y, want, PRODUCT[dtype], B)
        dx = OPS.selu_grad(grad, x, bias, rng, p, ALPHA, SCALE, A)
        slope = torch.where(drop, 0.0, exact_slope(z, ALPHA, SCALE, A))
        assert_ulps(dx, grad.double() * slope, PRODUCT[dtype])


# ---- which kernels answer -----------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_library_answers_and_not_the_reference(name: str) -> None:
    for overload in ("", ".out"):
        operator = f"selfnorm::{name}{overload}"
        assert torch._C._dispatch_has_kernel_for_dispatch_key(operator, "CPU")


def child(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    site = ["-S"] if sys.flags.no_site else []
    return subprocess.run(
        [sys.executable, *site, *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )


CHOSEN = "SELFNORM_CPU" in os.environ
alone = pytest.mark.skipif(CHOSEN, reason="SELFNORM_CPU chooses the instructions of this run")


@alone
@pytest.mark.parametrize("instructions", ["baseline", "avx2", "avx512"])
def test_every_instruction_set_passes_these_tests(instructions: str) -> None:
    if f"with {instructions} instructions" in _BACKEND.reason:
        pytest.skip(f"{instructions} is what this run itself is with")
    files = (__file__, str(Path(__file__).with_name("test_native_decisions.py")))
    tests = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files]
    result = child(tests, SELFNORM_CPU=instructions)
    if "SELFNORM_CPU must name instructions" in result.stdout:
        pytest.skip(f"this processor has no {instructions}")
    assert result.returncode == 0, result.stdout
    assert " passed" in result.stdout


@pytest.mark.skipif(not CHOSEN, reason="the best instructions are in use")
def test_selfnorm_cpu_chooses() -> None:
    assert f"with {os.environ['SELFNORM_CPU']} instructions" in _BACKEND.reason


IN_USE = "from selfnorm import ops; print(*ops.backends()['cpu'])"


@alone
def test_empty_selfnorm_cpu_chooses_nothing() -> None:
    result = child(["-c", IN_USE], SELFNORM_CPU="")
    assert result.stdout.strip() == " ".join(_BACKEND), result.stderr


@alone
def test_selfnorm_cpu_that_does_not_exist_is_refused_and_harmless() -> None:
    # Whoever goes on after the refusal gets the reference, not a crash.
    careless = """
import torch
try:
    import selfnorm.ops
except RuntimeError as error:
    print(type(error).__name__, error)
x = torch.tensor([-1.0, 2.0])
print(torch.ops.selfnorm.selu(x, None, None, 0.0, 2.0, 1.5, 1.0, 0.0)[1].item())
"""
    result = child(["-c", careless], SELFNORM_CPU="avx1024")
    refusal, number = result.stdout.splitlines()
    assert refusal.startswith("BackendError SELFNORM_CPU must name instructions"), result.stderr
    assert "SELFNORM_CPU='avx1024'" in refusal
    assert number == "3.0"


@alone
def test_selfnorm_native_0_switches_it_off() -> None:
    result = child(["-c", IN_USE], SELFNORM_NATIVE="0")
    assert result.stdout.startswith("torch SELFNORM_NATIVE=0"), result.stderr
