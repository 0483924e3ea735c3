"""The Triton programs: decisions, values, layouts, in Triton's interpreter and on a device.

Triton decides at its import whether it interprets. So `test_in_the_interpreter` runs this file once
more in a process of its own, with ``TRITON_INTERPRET=1``; there the operators take CPU tensors.
Where there is a CUDA device, the same tests run on it in this process, through the dispatcher.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

from selfnorm.errors import DomainError
from selfnorm.ops import _backends, _reference

pytest.importorskip("triton")

from selfnorm.ops import _triton, _triton_kernels, _triton_linear

ROOT = Path(__file__).resolve().parents[2]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")

if INTERPRETED:  # NumPy speaks up where the arithmetic of a value not chosen overflows.
    pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")

# No constant at a neutral value: SELU of the fixed point (0, 0.5), an affine map, saturation.
ALPHA, SCALE = 1.4680598705305, 1.0409573375386
A, B = 0.8, 0.3
SATURATION = -1.25
LOW, FULL = (torch.bfloat16, torch.float16), (torch.float32, torch.float64)
KEY_OFFSET = (0x7A3F_19C4_5D2E_8B60, 0x2C91_E7F0_44A8_13D5)


@pytest.fixture(scope="module")
def ops() -> Any:
    """Return the operators by name, "selu" and "selu.out", as they are registered."""
    if not INTERPRETED:
        if not torch.cuda.is_available():
            pytest.skip("there is no CUDA device; test_in_the_interpreter runs this test")
        assert _backends.cuda().name == "triton"
        found = torch.ops.selfnorm
        return {
            f"{name}{form}": getattr(getattr(found, name), form[1:] or "default")
            for name in _triton.OPERATORS
            for form in ("", ".out")
        }
    with pytest.MonkeyPatch.context() as patch:
        return registered(patch)


def registered(patch: pytest.MonkeyPatch) -> dict[str, Callable[..., Any]]:
    """Return what `register` hands to torch where there is a device of compute capability 9.0."""
    kept: dict[str, Callable[..., Any]] = {}

    def impl(name: str, function: Callable[..., Any], key: str) -> None:
        assert key == "CUDA"
        kept[name] = function

    patch.setattr(_triton, "LIBRARY", types.SimpleNamespace(impl=impl))
    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "device_count", lambda: 1)
    patch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    loaded, reason = _triton.register()
    assert loaded, reason
    return kept


def make_rng() -> Tensor:
    return torch.tensor(KEY_OFFSET, device=DEVICE)


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64).to(DEVICE, dtype)


def mask_by(ops: Any, shape: tuple[int, ...], p: float) -> Tensor:
    dropped = ops["alpha_dropout"](
        torch.ones(shape, device=DEVICE), make_rng(), p, A, B, SATURATION
    )
    at_drop = torch.tensor(A * SATURATION + B)
    assert set(dropped.unique().tolist()) <= {at_drop.item(), torch.tensor(A + B).item()}
    return (dropped == at_drop.item()).cpu()


def mask_of(shape: tuple[int, ...], p: float) -> Tensor:
    return _reference.drop_mask(torch.tensor(KEY_OFFSET), shape, p)


def assert_ulps(got: Tensor, exact: Tensor, limit: float) -> None:
    """Compare in units of the last place of the dtype of ``got``, subnormal numbers included."""
    got, exact = got.cpu(), exact.cpu()
    info = torch.finfo(got.dtype)
    _, exponent = np.frexp(exact.to(got.dtype).double().numpy())
    ulp = np.maximum(np.ldexp(info.eps, exponent - 1), info.tiny * info.eps)
    error = np.abs(got.double().numpy() - exact.numpy()) / ulp
    assert error.max() <= limit, f"{error.max()} ulp at index {error.argmax()}"


# ---- decisions ------------------------------------------------------------------------------


SIZES = (*range(1, 41), 1000, 1025, 2048, 5003)  # 2048: one program


@pytest.mark.parametrize("p", [0.0, 2.0**-32, 0.05, 0.37, 0.5, 1.0 - 2.0**-32, 1.0])
def test_decisions_are_those_of_the_reference(ops: Any, p: float) -> None:
    for size in SIZES if p == 0.37 else (1, 7, 8, 39, 1000, 1025, 5003):
        got = mask_by(ops, (size,), p)
        assert torch.equal(got, mask_of((size,), p)), size
    assert p in (0.0, 2.0**-32) or got.any()
    assert p >= 1.0 - 2.0**-32 or not got.all()


@pytest.mark.parametrize("element", [3, 8 * 261 + 6])
def test_ties_are_resolved_by_the_second_block(ops: Any, element: int) -> None:
    # p is put to the 32 bits that decide on this element, and to the next number: not below, below.
    key, offset = ([n & 0xFFFFFFFF, n >> 32] for n in KEY_OFFSET)
    halves = []
    for flag in (0, 1 << 31):
        counter = torch.tensor([[element // 8], [0], [offset[0]], [offset[1] ^ flag]])
        word = int(_reference.philox(counter, torch.tensor(key))[element % 8 // 2, 0])
        halves.append((word >> 16 * (element % 2)) & 0xFFFF)
    for more, dropped in ((0, False), (1, True)):
        p = (halves[0] * 65536 + halves[1] + more) / 2.0**32
        got = mask_by(ops, (8 * 300,), p)
        assert bool(got[element]) is dropped
        assert torch.equal(got, mask_of((8 * 300,), p))


def test_decisions_of_blocks_beyond_32_bits(ops: Any) -> None:
    # Blocks of a tensor of 2**36 elements, all of whose rows lie at one place.
    start = 2**33 + 7
    x = torch.ones(8, device=DEVICE)
    out = torch.empty_like(x)
    upper, lower = _triton.decisions(0.37)
    _triton_kernels.elementwise[(1,)](
        x, None, None, make_rng(), out, start, start + 1, 8 * (start + 1), 1, 1, 0, 0, 0, 0,
        upper, lower, *_triton.constants(x.dtype, -SATURATION, 1.0, A, B),
        OP="alpha_dropout", ROWS=True, TAIL=False, WIDE=True, BLOCKS=16,
    )  # fmt: skip
    key, offset, block = ([n & 0xFFFFFFFF, n >> 32] for n in (*KEY_OFFSET, start))
    counter = torch.tensor([*block, *offset]).unsqueeze(1)
    word = _reference.philox(counter, torch.tensor(key))[:, 0]
    half = torch.stack((word & 0xFFFF, word >> 16), dim=1).flatten()
    assert torch.equal(out.cpu() < 0, half < upper)
    assert 0 < (half < upper).sum() < 8


# ---- values and slopes ------------------------------------------------------------------------


def value_and_slope(ops: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.to(DEVICE)
    y = ops["selu"](x, None, None, 0.0, ALPHA, SCALE, 1.0, 0.0)
    slope = ops["selu_grad"](torch.ones_like(x), x, None, None, 0.0, ALPHA, SCALE, 1.0)
    return y, slope


def exact(x: Tensor) -> tuple[Tensor, Tensor]:
    """Value and slope in float64, for arguments of a narrower type."""
    x = x.double().cpu()
    left = x.clamp(max=0.0)
    value = SCALE * torch.where(x > 0, x, ALPHA * torch.expm1(left))
    return value, SCALE * torch.where(x > 0, 1.0, ALPHA * torch.exp(left))


def test_float32_is_within_two_ulp(ops: Any) -> None:
    rng = np.random.default_rng(7)
    parts = [
        -np.logspace(-44, 38, 30_000),
        np.logspace(-44, 38, 10_000),
        -rng.uniform(0, 110, 30_000),
        -rng.uniform(0, 2, 40_000),
    ]
    x = torch.from_numpy(np.concatenate(parts).astype(np.float32))
    y, slope = value_and_slope(ops, x)
    # The interpreter rounds product and sum, where a device rounds once.
    limit = 2.1 if INTERPRETED else 2.0
    finite = exact(x)[0].abs() < torch.finfo(torch.float32).max
    assert_ulps(y.cpu()[finite], exact(x)[0][finite], limit)
    assert_ulps(slope, exact(x)[1], limit)


@pytest.mark.parametrize("dtype", LOW)
def test_every_low_precision_value_and_slope(ops: Any, dtype: torch.dtype) -> None:
    x = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    finite = torch.isfinite(x) & (exact(x)[0].abs() < torch.finfo(dtype).max)
    limit = 0.52
    if INTERPRETED and dtype == torch.bfloat16:
        # The interpreter cuts bfloat16 off instead of rounding it, and cannot make subnormal ones.
        limit = 1.02
        finite &= (exact(x)[0].abs() > 1e-37) & (exact(x)[1] > 1e-37)
    y, slope = value_and_slope(ops, x[finite])
    assert_ulps(y, exact(x[finite])[0], limit)
    assert_ulps(slope, exact(x[finite])[1], limit)


def test_float64_is_within_two_ulp_of_40_digits(ops: Any) -> None:
    x = np.concatenate([-np.logspace(-300, 2.87, 400), -np.linspace(0.01, 40, 400)])
    y, slope = (t.tolist() for t in value_and_slope(ops, torch.from_numpy(x)))
    with mpmath.workdps(40):
        factor = mpmath.mpf(ALPHA) * mpmath.mpf(SCALE)
        for i, value in enumerate(x):
            for got, want in (
                (y[i], factor * mpmath.expm1(value)),
                (slope[i], factor * mpmath.exp(value)),
            ):
                error = abs(mpmath.mpf(got) - want) / mpmath.mpf(math.ulp(float(want)))
                assert error <= 2.1, (value, got)


@pytest.mark.parametrize("dtype", [*LOW, *FULL])
def test_special_values(ops: Any, dtype: torch.dtype) -> None:
    x = torch.tensor([-0.0, 0.0, math.nan, math.inf, -math.inf, 3e4, -3e4], dtype=dtype)
    y, slope = value_and_slope(ops, x)
    assert [math.copysign(1.0, v) for v in y[:2].tolist()] == [-1.0, 1.0]
    assert y[:2].tolist() == [0.0, 0.0]
    assert y[2].isnan()
    assert slope[2].isnan()
    assert y[3].item() == math.inf
    torch.testing.assert_close(
        torch.cat((y[4:], slope[:2], slope[3:])).double().cpu() / SCALE,
        torch.tensor([-ALPHA, 3e4, -ALPHA, ALPHA, ALPHA, 1.0, 0.0, 1.0, 0.0], dtype=torch.float64),
        rtol=1e-2 if dtype in LOW else 1e-6,
        atol=0.0,
    )


def test_a_dropped_nan_or_infinity_leaves_no_trace(ops: Any) -> None:
    x = torch.tensor([math.nan, math.inf, -math.inf] * 7, device=DEVICE)
    at_drop = torch.tensor(B - A * SCALE * ALPHA).item()
    y = ops["selu"](x, None, make_rng(), 1.0, ALPHA, SCALE, A, B)
    assert set(y.tolist()) == {at_drop}
    dx = ops["selu_grad"](x, x, None, make_rng(), 1.0, ALPHA, SCALE, A)
    assert set(dx.tolist()) == {0.0}
    # Nor is there a slope a little below the value of a dropped element, where roundings may lead.
    for output in (y, y - 1e-3):
        dx = ops["selu_grad_from_output"](x, output, ALPHA, SCALE, A, B)
        assert set(dx.tolist()) == {0.0}


# ---- layouts ----------------------------------------------------------------------------------

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda t: t,
    "rows": lambda t: t.new_zeros(*t.shape[:-1], (t.shape[-1] + 15) // 8 * 8)[
        ..., : t.shape[-1]
    ].copy_(t),
    "odd rows": lambda t: t.new_zeros(*t.shape[:-1], t.shape[-1] + 3)[..., 1:-2].copy_(t),
    "transposed": lambda t: t.transpose(0, -1).contiguous().transpose(0, -1),
    "every other": lambda t: t.repeat_interleave(2, -1)[..., ::2],
    "expanded": lambda t: t[:1].expand(t.shape),
}
SHAPES = [(33, 16), (5, 4, 24), (420, 5), (26, 1)]


def assert_like(got: Tensor, want: Tensor, first: Tensor) -> None:
    assert got.dtype == first.dtype
    assert got.stride() == torch.empty_like(first).stride()
    # Products and a sum, rounded once each: units of the greatest summand.
    tolerance = 4 * torch.finfo(first.dtype).eps
    torch.testing.assert_close(got.double().cpu(), want.cpu(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layouts(ops: Any, layout: str, shape: tuple[int, ...]) -> None:
    # Types take turns, and so do the cases of bias and decisions.
    turn = list(LAYOUTS).index(layout) + SHAPES.index(shape)
    dtype = (torch.float32, torch.bfloat16, torch.float64)[turn % 3]
    x, grad = (LAYOUTS[layout](normal(*shape, seed=s, dtype=dtype)) for s in (0, 10))
    bias = normal(shape[-1], seed=20, dtype=torch.float64 if turn % 3 == 2 else torch.float32)
    wide_x, wide_grad = x.double(), grad.double()
    for some, rng in ((bias, make_rng()), (bias, None), (None, make_rng()), (None, None)):
        constants = (rng, 0.37, ALPHA, SCALE, A)
        wide = None if some is None else some.double()
        y = ops["selu"](x, some, *constants, B)
        assert_like(y, _reference.selu(wide_x, wide, *constants, B), x)
        if (rng is None) == (some is None):
            dx = ops["selu_grad"](grad, x, some, *constants)
            assert_like(dx, _reference.selu_grad(wide_grad, wide_x, wide, *constants), grad)
    dx = ops["selu_grad_from_output"](grad, y, ALPHA, SCALE, A, B)
    want = _reference.selu_grad_from_output(wide_grad, y.double(), ALPHA, SCALE, A, B)
    assert_like(dx, want, grad)
    y = ops["alpha_dropout"](x, make_rng(), 0.37, A, B, SATURATION)
    assert_like(y, _reference.alpha_dropout(wide_x, make_rng(), 0.37, A, B, SATURATION), x)


def test_a_bias_of_any_stride(ops: Any) -> None:
    x, bias = normal(30, 24, seed=28), normal(48, seed=29)[::2]
    y = ops["selu"](x, bias, None, 0.0, ALPHA, SCALE, A, B)
    assert_like(y, _reference.selu(x.double(), bias.double(), None, 0.0, ALPHA, SCALE, A, B), x)


def test_a_bias_over_several_programs(ops: Any) -> None:
    # Rows of 408 elements in programs of 2048, with gaps in between: none is a multiple.
    x = LAYOUTS["rows"](normal(23, 408, seed=30))
    bias = normal(408, seed=31)
    y = ops["selu"](x, bias, make_rng(), 0.37, ALPHA, SCALE, A, B)
    want = _reference.selu(x.double(), bias.double(), make_rng(), 0.37, ALPHA, SCALE, A, B)
    assert_like(y, want, x)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0), (0, 4)], ids=str)
def test_smallest_shapes(ops: Any, shape: tuple[int, ...]) -> None:
    x = torch.full(shape, -0.7, device=DEVICE)
    y = ops["selu"](x, None, make_rng(), 0.37, ALPHA, SCALE, A, B)
    want = _reference.selu(x.double(), None, make_rng(), 0.37, ALPHA, SCALE, A, B)
    assert_like(y, want, x)


def test_channels_last_is_kept(ops: Any) -> None:
    x = normal(2, 3, 5, 4, seed=32).to(memory_format=torch.channels_last)
    for rng in (None, make_rng()):
        y = ops["selu"](x, None, rng, 0.37, ALPHA, SCALE, A, B)
        assert y.is_contiguous(memory_format=torch.channels_last)
        assert_like(y, _reference.selu(x.double(), None, rng, 0.37, ALPHA, SCALE, A, B), x)


def test_results_into_given_tensors(ops: Any) -> None:
    # Three programs, so that one can write what another has still to read.
    x, grad, bias = normal(200, 24, seed=33), normal(200, 24, seed=34), normal(24, seed=35)
    arguments = (bias, make_rng(), 0.37, ALPHA, SCALE, A)
    y = ops["selu"](x, *arguments, B)
    dx = ops["selu_grad"](grad, x, *arguments)
    for layout in ("contiguous", "rows", "odd rows", "transposed", "every other"):
        out = LAYOUTS[layout](torch.empty_like(x))
        ops["selu.out"](x, *arguments, B, out=out)
        assert torch.equal(out, y), layout
    # Over an input, and over memory that is an input's at another place.
    for shift, want in ((0, dx), (24, dx)):
        memory = torch.cat((grad.flatten(), grad.new_zeros(24)))
        here, out = memory[:4800].view(200, 24), memory[shift : 4800 + shift].view(200, 24)
        ops["selu_grad.out"](here, x, *arguments, out=out)
        assert torch.equal(out, want), shift
    ops["selu.out"](x, *arguments, B, out=x)
    assert torch.equal(x, y)
    ops["alpha_dropout.out"](x, make_rng(), 0.37, A, B, SATURATION, out=grad)
    assert torch.equal(grad, ops["alpha_dropout"](y, make_rng(), 0.37, A, B, SATURATION))
    ops["selu_grad_from_output.out"](x, y, ALPHA, SCALE, A, B, out=x)
    assert torch.equal(x, ops["selu_grad_from_output"](y, y, ALPHA, SCALE, A, B))


def test_short_rows_at_wide_distances(ops: Any) -> None:
    x, bias = LAYOUTS["rows"](normal(30, 5, seed=36)), normal(5, seed=37)
    out = LAYOUTS["rows"](torch.empty_like(x))
    assert x.stride() == out.stride() == (16, 1)
    ops["selu.out"](x, bias, make_rng(), 0.37, ALPHA, SCALE, A, B, out=out)
    want = _reference.selu(x.double(), bias.double(), make_rng(), 0.37, ALPHA, SCALE, A, B)
    torch.testing.assert_close(out.double(), want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("x", "stride"),
    [
        (torch.empty(4, 24), 24),
        (torch.empty(4, 32)[:, :24], 32),
        (torch.empty_strided((5, 1, 4, 24), (128, 999, 32, 1)), 32),
        (torch.empty(5, 4, 32)[:, :3, :24], None),
        (torch.empty(24, 4).t(), None),
        (torch.empty(24).expand(4, 24), None),
        (torch.empty(4, 1).expand(4, 24), None),
        (torch.empty(1, 24), 24),
        (torch.empty(6, 8)[::2, :1], 16),
    ],
)
def test_row_stride(x: Tensor, stride: int | None) -> None:
    assert _triton._row_stride(x) == stride


@pytest.mark.parametrize("b", [0.0, -0.0])
def test_nothing_is_subtracted_as_plus_zero(b: float) -> None:
    # z - (-0) would turn z = -0 into 0; the interpreter does not see the sign of a constant 0.
    assert math.copysign(1.0, _triton.constants(torch.float32, ALPHA, SCALE, A, b).minus_b) == 1.0


# ---- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.ones(3, 8, dtype=torch.int32)}, "x must be float64, .*torch.int32"),
        ({"p": 1.5}, r"p must be in \[0, 1\], however: p=1.5"),
        ({"p": math.nan}, r"p must be in \[0, 1\], however: p=nan"),
        ({"bias": torch.ones(7)}, r"bias must be torch.float32.*\(8,\).*it is .*\(7,\)"),
        ({"bias": torch.ones(8).bfloat16()}, "bias must be torch.float32.*it is torch.bfloat16"),
        ({"rng": torch.ones(2)}, "rng must be key and offset, torch.int64.*it is torch.float32"),
        ({"rng": torch.ones(3, dtype=torch.int64)}, r"rng must be .*it is .*\(3,\)"),
        ({"grad": torch.ones(8, 3)}, r"grad must be .*\(3, 8\).*it is .*\(8, 3\)"),
        ({"out": torch.ones(3, 8).half()}, "out must be torch.float32.*it is torch.float16"),
    ],
)  # fmt: skip
def test_refusals(ops: Any, change: dict[str, Any], message: str) -> None:
    given = {
        "grad": torch.ones(3, 8),
        "x": torch.ones(3, 8),
        "bias": torch.ones(8),
        "rng": torch.tensor(KEY_OFFSET),
        "p": 0.37,
        "out": torch.ones(3, 8),
    } | change
    given = {k: v.to(DEVICE) if isinstance(v, Tensor) else v for k, v in given.items()}
    out = given.pop("out")
    with pytest.raises(DomainError, match=message):
        ops["selu_grad.out"](*given.values(), ALPHA, SCALE, A, out=out)


# ---- a linear layer -----------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [(37,), (3, 11), ()], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_linear_is_the_composition(ops: Any, dtype: torch.dtype, rows: tuple[int, ...]) -> None:
    x = normal(*rows, 50, seed=40, dtype=dtype)
    weight = (normal(72, 50, seed=41) / 50**0.5).to(dtype)
    # Products of float16 are exact in float32; the interpreter multiplies float32 as it is.
    tolerance = 4e-6 if dtype == torch.float32 else 1e-3
    for bias, rng in ((None, None), (normal(72, seed=42, dtype=dtype), make_rng())):
        y = _triton_linear.linear_selu(
            x, weight, bias, rng, 0.37, ALPHA, SCALE, A, B, tile=(16, 32, 16, 4, 2)
        )
        z = x.double() @ weight.double().T + (0.0 if bias is None else bias.double())
        want = _reference.selu(z, None, rng, 0.37, ALPHA, SCALE, A, B)
        assert y.dtype == dtype
        torch.testing.assert_close(y.double(), want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("x", "weight", "bias", "message"),
    [
        (torch.ones(2, 3), torch.ones(8, 4), None, r"\(2, 3\) and \(8, 4\)"),
        (torch.ones(2, 3), torch.ones(7, 3), None, "multiple of 8, however: 7"),
        (torch.ones(2, 3).double(), torch.ones(8, 3).double(), None, "x.dtype=torch.float64"),
        (torch.ones(2, 3), torch.ones(8, 3).half(), None, "weight must have .*torch.float16"),
        (torch.ones(2, 3), torch.ones(8, 3), torch.ones(8).half(), "bias must have .*float16"),
        (torch.ones(2, 3), torch.ones(8, 3), torch.ones(3), r"\(8,\), however: \(3,\)"),
    ],
)  # fmt: skip
def test_refusals_of_linear(x: Tensor, weight: Tensor, bias: Tensor | None, message: str) -> None:
    with pytest.raises(DomainError, match=message):
        _triton_linear.linear_selu(x, weight, bias, None, 0.0, ALPHA, SCALE, A, B)


# ---- without interpreter and device -------------------------------------------------------------


def test_in_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    command += ["-k", "not (in_the_interpreter or draw_once or matrix_unit or benchmark)"]
    result = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert re.search(r"\d\d passed", result.stdout), result.stdout
    assert "skipped" not in result.stdout


def test_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {f"{name}{form}" for name in _triton.OPERATORS for form in ("", ".out")}
    with pytest.MonkeyPatch.context() as patch:
        assert set(registered(patch)) == names
        patch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
        patch.setattr(torch.cuda, "get_device_name", lambda _: "an old one")
        loaded, reason = _triton.register()
        assert not loaded
        assert "an old one, has (7, 5)" in reason
    monkeypatch.setattr(_triton, "triton", None)
    assert _triton.register() == (False, "Triton is not installed; where it has wheels (Linux), "
                                         "pip install triton")  # fmt: skip
    monkeypatch.setenv("SELFNORM_TRITON", "0")
    assert "SELFNORM_TRITON=0" in _triton.register()[1]


def compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: Any, **arguments: Any
) -> str:
    """Compile for compute capability 9.0, which needs no device; return the assembly."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    names = function.arg_names
    types_of = {n: "constexpr" if n.isupper() else "i32" for n in names}
    types_of |= dict.fromkeys(("positive", "c", "c_low", "minus_b", "at_drop"), "fp64")
    types_of |= {n: v for n, v in arguments.items() if not n.isupper()}
    constants = {n: v for n, v in arguments.items() if n.isupper()}
    constants |= {n: None for n, v in types_of.items() if v == "constexpr" and not n.isupper()}
    aligned = {n for n, v in types_of.items() if v.startswith("*")} | {"depth"}
    source = ASTSource(
        function,
        types_of,
        {(names.index(n),): v for n, v in constants.items()},
        {(names.index(n),): [["tt.divisibility", 16]] for n in aligned & set(names)},
    )
    program = triton.compile(
        source, target=GPUTarget("cuda", 90, 32), options={"num_warps": _triton.WARPS}
    )
    assert program.asm["cubin"]
    return str(program.asm["ptx"])


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp64"])
def test_programs_draw_once_and_access_widely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    assembly = compiled(
        tmp_path,
        monkeypatch,
        _triton_kernels.elementwise,
        x=f"*{dtype}", grad=f"*{dtype}", out=f"*{dtype}", bias="constexpr", rng="*i64",
        OP="selu_grad", ROWS=True, TAIL=False, WIDE=False, BLOCKS=_triton.BLOCKS,
    )  # fmt: skip
    # 16 bytes by each access of a thread to memory.
    accesses = re.findall(r"(ld|st)\.global(?:\.v(\d))?\.b(\d+)", assembly)
    widths = {(kind, int(count or 1) * int(bits)) for kind, count, bits in accesses}
    assert widths == {("ld", 128), ("ld", 64), ("st", 128)}  # 64: key and offset
    # Ten rounds with this multiplier for each of a thread's blocks, in the two places that draw.
    drawn = len(re.findall(rf"{0xD2511F53}|{0xD2511F53 - 2**32}", assembly))
    assert 0 < drawn <= 2 * 10 * _triton.BLOCKS // (32 * _triton.WARPS)


def test_the_linear_program_uses_the_matrix_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pointers = dict.fromkeys(("x", "weight", "bias", "out"), "*bf16")
    assembly = compiled(
        tmp_path, monkeypatch, _triton_linear._program, **pointers, rng="*i64",
        PRECISION="tf32", ROWS=64, COLUMNS=64, DEPTH=64,
    )  # fmt: skip
    assert "wgmma.mma_async" in assembly


def test_the_benchmark_says_that_there_is_no_device() -> None:
    code = (
        "from benchmarks import gpu, _harness\n"
        "print(_harness.table([r for c in gpu.cases() for r in _harness.measure('gpu', c, 0.0)]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = result.stdout.splitlines()[2:]
    assert len(lines) > 20
    assert all(line.endswith("| not run: no CUDA device here |") for line in lines)
