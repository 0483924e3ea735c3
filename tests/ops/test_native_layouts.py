"""The native kernels in memory: strides, aliases, refusals, sizes beyond 32 bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from selfnorm import ops
from selfnorm.ops import _reference

_BACKEND = ops.backends()["cpu"]
pytestmark = pytest.mark.skipif(_BACKEND.name != "native", reason=_BACKEND.reason)

OPS = torch.ops.selfnorm
ALPHA, SCALE, A, B, P = 1.4680598705305, 1.0409573375386, 0.87, 0.31, 0.37
SELU = (ALPHA, SCALE, A, B)
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# Against the reference, which rounds more often: y, and slopes left of zero.
TOLERANCE = {
    torch.float64: {"rtol": 2e-15, "atol": 1e-15},
    torch.float32: {"rtol": 1e-6, "atol": 5e-7},
    torch.bfloat16: {"rtol": 2.0**-7, "atol": 1e-6},
    torch.float16: {"rtol": 2.0**-10, "atol": 1e-6},
}


def key() -> Tensor:
    return torch.tensor([0x123456789ABCDEF, 0x7FEDCBA987654321])


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    x = 2.0 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return x.to(dtype)


# ---- the operators as functions of x, grad, bias -------------------------------------------------


def arguments(
    name: str, x: Tensor, grad: Tensor, bias: Tensor | None, rng: Tensor | None
) -> tuple[object, ...]:
    return {
        "selu": (x, bias, rng, P, *SELU),
        "selu_grad": (grad, x, bias, rng, P, ALPHA, SCALE, A),
        "selu_grad_from_output": (grad, x, *SELU),
        "alpha_dropout": (x, key() if rng is None else rng, P, A, B, -1.7),
    }[name]


NAMES = ("selu", "selu_grad", "selu_grad_from_output", "alpha_dropout")


def reference(name: str, *given: object) -> Tensor:
    operator: Callable[..., Tensor] = getattr(_reference, name)
    return operator(*(v.contiguous() if isinstance(v, Tensor) else v for v in given))


# ---- strides ------------------------------------------------------------------------------------


class Layout(NamedTuple):
    """How a tensor lies in memory: outermost dimension first, distances, gaps, expansion."""

    order: list[int]
    steps: list[int]
    gaps: list[int]
    expanded: list[bool]
    offset: int


@st.composite
def layouts(draw: st.DrawFn, shape: tuple[int, ...], readable: bool = True) -> Layout:
    """Draw a layout for a shape: dense in any order, rows with gaps, or anything."""
    kind = draw(st.sampled_from(["dense", "rows", "steps"]))
    order = list(range(len(shape)))
    if kind != "rows" or draw(st.booleans()):
        order = draw(st.permutations(order))
    return Layout(
        order,
        [draw(st.integers(1, 3)) if kind == "steps" else 1 for _ in shape],
        [draw(st.integers(0, 3)) if kind != "dense" else 0 for _ in shape],
        [readable and draw(st.integers(0, 5)) == 0 for _ in shape],
        draw(st.integers(0, 3)),
    )


def laid(values: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Return a tensor with this layout that holds these values, and the buffer that it lies in.

    Along expanded dimensions it holds the first of them.
    """
    strides = [0] * values.dim()
    size = 1
    for k in reversed(layout.order):
        if not layout.expanded[k]:
            strides[k] = size * layout.steps[k]
            size *= values.shape[k] * layout.steps[k] + layout.gaps[k]
    buffer = torch.full((layout.offset + size + 3,), math.nan, dtype=values.dtype)
    tensor = buffer.as_strided(values.shape, strides, layout.offset)
    first = tuple(slice(1) if e else slice(None) for e in layout.expanded)
    tensor[first] = values[first]
    return tensor, buffer


class Case(NamedTuple):
    """A call: the operator, and the layouts of x, grad and out."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    bias: bool
    drop: bool
    x: Layout
    grad: Layout
    out: Layout
    seed: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    shape = tuple(draw(st.lists(st.integers(0, 9) | st.just(1), max_size=4)))
    if shape and draw(st.booleans()):
        shape = (*shape[:-1], draw(st.sampled_from([31, 256, 300])))
    return Case(
        draw(st.sampled_from(NAMES)),
        draw(st.sampled_from(DTYPES)),
        shape,
        bool(shape) and draw(st.booleans()),
        draw(st.booleans()),
        draw(layouts(shape)),
        draw(layouts(shape)),
        draw(layouts(shape, False)),
        draw(st.integers(0, 2**16)),
    )


@settings(max_examples=300, deadline=None)
@given(cases())
def test_any_layout(case: Case) -> None:
    name, dtype, shape, seed = case.name, case.dtype, case.shape, case.seed
    x, _ = laid(normal(*shape, seed=seed, dtype=dtype), case.x)
    grad, _ = laid(normal(*shape, seed=seed + 1, dtype=dtype), case.grad)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    bias = normal(2 * shape[-1], seed=seed, dtype=wide)[::2] if case.bias else None
    given = arguments(name, x, grad, bias, key() if case.drop else None)
    kept = [v.clone() if isinstance(v, Tensor) else v for v in given]
    want = reference(name, *given)

    got = getattr(OPS, name).default(*given)
    torch.testing.assert_close(got, want, **TOLERANCE[dtype])
    like = torch.empty_like(given[0])
    assert (got.shape, got.stride()) == (like.shape, like.stride())

    out, buffer = laid(torch.zeros(shape, dtype=dtype), case.out)
    outside = torch.ones_like(buffer, dtype=torch.bool)
    outside.as_strided(out.shape, out.stride(), out.storage_offset()).fill_(False)
    assert getattr(OPS, name).out(*given, out=out) is None
    torch.testing.assert_close(out, got, rtol=0.0, atol=0.0)
    assert buffer[outside].isnan().all()
    for value, before in zip(given, kept, strict=True):
        if isinstance(value, Tensor):
            assert torch.equal(value, before)


@pytest.mark.parametrize("name", NAMES)
def test_channels_last_keeps_its_format(name: str) -> None:
    x, grad = (normal(2, 5, 7, 11, seed=s).to(memory_format=torch.channels_last) for s in (1, 2))
    for rng in (None, key()):
        given = arguments(name, x, grad, None, rng)
        got = getattr(OPS, name).default(*given)
        assert got.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(got, reference(name, *given).to(got), rtol=1e-6, atol=5e-7)


@pytest.mark.parametrize("name", NAMES)
def test_scalars_and_empty_tensors(name: str) -> None:
    for shape in ((), (0,), (3, 0), (0, 3), (1, 1, 1)):
        x, grad = normal(*shape, seed=3), normal(*shape, seed=4)
        given = arguments(name, x, grad, None, key())
        got = getattr(OPS, name).default(*given)
        torch.testing.assert_close(got, reference(name, *given), rtol=1e-6, atol=5e-7)
        getattr(OPS, name).out(*given, out=got)


@pytest.mark.parametrize("name", NAMES)
def test_negative_views_are_read_as_their_values(name: str) -> None:
    # The imaginary part of a conjugate is a view whose sign is only noted.
    x = torch.complex(normal(40, 3, seed=5), normal(40, 3, seed=6)).conj().imag
    assert x.is_neg()
    given = arguments(name, x, x, None, key())
    torch.testing.assert_close(
        getattr(OPS, name).default(*given), reference(name, *given), rtol=1e-6, atol=5e-7
    )


# ---- aliases ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3000,), (70, 41), (5, 300)])
@pytest.mark.parametrize("name", NAMES)
def test_out_may_be_an_input(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    for place in (0, 1) if "grad" in name else (0,):
        for strided in (False, True):
            x, grad = (normal(*shape, seed=s, dtype=dtype) for s in (7, 8))
            if strided:
                x, grad = (torch.cat([v, v], -1)[..., : shape[-1]] for v in (x, grad))
            given = arguments(name, x, grad, None, key())
            want = getattr(OPS, name).default(*given)
            getattr(OPS, name).out(*given, out=given[place])
            assert torch.equal(given[place], want)


OVERLAPS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "behind": lambda t: (t.view(-1)[:-3], t.view(-1)[3:]),
    "before": lambda t: (t.view(-1)[3:], t.view(-1)[:-3]),
    "rows": lambda t: (t[:-1], t[1:]),
    "columns": lambda t: (t[:, :-1], t[:, 1:]),
    "transposed": lambda t: (t, t.t()),
    "steps": lambda t: (t.view(-1)[:2000:2], t.view(-1)[:1000]),
    # From 64 columns on rows are read and written where they lie.
    "wider": lambda t: (t.as_strided((50, 64), (64, 1)), t.as_strided((50, 64), (70, 1))),
    "expanded": lambda t: (t[5].expand(60, -1), t[:60]),
}


@pytest.mark.parametrize("how", OVERLAPS)
@pytest.mark.parametrize("name", NAMES)
def test_out_may_overlap_an_input(name: str, how: str) -> None:
    for place in (0, 1) if "grad" in name else (0,):
        shared, out = OVERLAPS[how](normal(64, 64, seed=9))
        other = normal(*shared.shape, seed=10)
        x, grad = (other, shared) if place == 0 and "grad" in name else (shared, other)
        given = arguments(name, x, grad, None, key())
        assert given[place] is shared
        want = reference(name, *given).clone()
        getattr(OPS, name).out(*given, out=out)
        torch.testing.assert_close(out, want, rtol=1e-6, atol=5e-7)


@pytest.mark.parametrize("columns", [3, 300])
@pytest.mark.parametrize("name", ["selu", "selu_grad"])
def test_out_may_overlap_the_bias(name: str, columns: int) -> None:
    x, grad = normal(200, columns, seed=11), normal(200, columns, seed=12)
    given = arguments(name, x, grad, x[4], key())
    want = reference(name, *given).clone()
    getattr(OPS, name).out(*given, out=x)
    torch.testing.assert_close(x, want, rtol=1e-6, atol=5e-7)


@pytest.mark.parametrize("columns", [5, 70])
@pytest.mark.parametrize("name", NAMES)
def test_out_that_overlaps_itself_is_refused(name: str, columns: int) -> None:
    x, out = normal(4, columns, seed=13), torch.zeros(1, columns).expand(4, columns)
    with pytest.raises(RuntimeError, match=r"a place of its own .* dimension 0"):
        getattr(OPS, name).out(*arguments(name, x, x, None, key()), out=out)
    with pytest.raises(RuntimeError, match=r"a place of its own .* dimension 0"):
        getattr(OPS, name).out(*arguments(name, out, out, None, key()), out=out)


# ---- refusals -----------------------------------------------------------------------------------

X = torch.ones(4, 5)
Y = torch.ones(4, 5, dtype=torch.bfloat16)
TAIL = (P, *SELU)
REFUSED = {
    "x must be float64, float32, bfloat16 or float16, however: its type is Int": (
        lambda: OPS.selu(X.int(), None, None, *TAIL),
        lambda: OPS.alpha_dropout(X.int(), key(), P, A, B, -1.7),
    ),
    "y must be float64, float32, bfloat16 or float16, however: its type is ComplexFloat": (
        lambda: OPS.selu_grad_from_output(X.cfloat(), X.cfloat(), *SELU),
    ),
    r"grad must have the type and shape of x, Float \[4, 5\], however: grad is Float \[5, 4\]": (
        lambda: OPS.selu_grad(X.t(), X, None, None, *TAIL[:-1]),
    ),
    r"type and shape of y, Float \[4, 5\], however: grad is BFloat16 \[4, 5\]": (
        lambda: OPS.selu_grad_from_output(Y, X, *SELU),
    ),
    r"grad must have the type and shape of x, Float \[4, 5\], however: grad is Float \[\]": (
        lambda: OPS.selu_grad(X[0, 0], X, None, None, *TAIL[:-1]),
    ),
    r"out must have the type and shape of x, Float \[4, 5\], however: out is Float \[20\]": (
        lambda: OPS.selu.out(X, None, None, *TAIL, out=torch.empty(20)),
        lambda: OPS.alpha_dropout.out(X, key(), P, A, B, -1.7, out=torch.empty(20)),
    ),
    r"out must have the type and shape of x, BFloat16 \[4, 5\], however: out is Float \[4, 5\]": (
        lambda: OPS.selu.out(Y, None, None, *TAIL, out=torch.empty(4, 5)),
    ),
    "bias must be Float, which x is computed in, however: it is Double": (
        lambda: OPS.selu(X, torch.ones(5).double(), None, *TAIL),
    ),
    "bias must be Float, which x is computed in, however: it is BFloat16": (
        lambda: OPS.selu(Y, Y[0], None, *TAIL),
    ),
    "bias must be Double, which x is computed in, however: it is Float": (
        lambda: OPS.selu_grad(X.double(), X.double(), X[0], None, *TAIL[:-1]),
    ),
    r"one element per feature of x, however: x is Float \[4, 5\], bias is Float \[4\]": (
        lambda: OPS.selu(X, torch.ones(4), None, *TAIL),
    ),
    r"bias must have one dimension, .* x is Float \[4, 5\], bias is Float \[1, 5\]": (
        lambda: OPS.selu(X, torch.ones(1, 5), None, *TAIL),
    ),
    r"however: x is Float \[\], bias is Float \[1\]": (
        lambda: OPS.selu(X[0, 0], torch.ones(1), None, *TAIL),
    ),
    "rng must be two contiguous int64 numbers, key and offset, however: it has 3": (
        lambda: OPS.selu(X, None, torch.ones(3).long(), *TAIL),
    ),
    "rng must be two contiguous int64 numbers.*elements of type Int": (
        lambda: OPS.selu_grad(X, X, None, torch.ones(2).int(), *TAIL[:-1]),
    ),
    "rng must be two contiguous int64 numbers, key and offset": (
        lambda: OPS.alpha_dropout(X, torch.ones(4).long()[::2], P, A, B, -1.7),
    ),
    **{
        rf"p must be in \[0, 1\], however: p={p}": (
            lambda p=p: OPS.selu(X, None, key(), p, *SELU),
            lambda p=p: OPS.selu_grad(X, X, None, key(), p, *SELU[:-1]),
            lambda p=p: OPS.alpha_dropout(X, key(), p, A, B, -1.7),
        )
        for p in (-0.001, 1.001, math.nan, math.inf)
    },
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(message: str) -> None:
    for call in REFUSED[message]:
        with pytest.raises(RuntimeError, match=message):
            call()


# ---- what torch asks of an operator -------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_opcheck(name: str, dtype: torch.dtype) -> None:
    x, grad = (normal(9, 14, seed=s, dtype=dtype)[:, ::2] for s in (14, 15))
    for tensors in ((x, grad, None, None), (x, grad, normal(7, seed=16), key())):
        given = arguments(name, *tensors)
        torch.library.opcheck(getattr(OPS, name).default, given)
        torch.library.opcheck(getattr(OPS, name).out, given, {"out": torch.empty_like(given[0])})


@pytest.mark.slow  # 4 GiB
def test_more_than_2_to_the_31_elements() -> None:
    size, tail = 2**31 + 100_003, 5000
    x = torch.ones(size, dtype=torch.bfloat16)
    OPS.alpha_dropout.out(x, key(), P, A, B, -1.7, out=x)
    first = (size - tail) // 8
    block = torch.arange(first, -(-size // 8))
    words = torch.tensor([[n & 0xFFFFFFFF, n >> 32] for n in key().tolist()])
    counter = torch.stack([block, block * 0, *(n.expand_as(block) for n in words[1])])
    half = _reference._half_words(_reference.philox(counter, words[0]))
    drop = half[: size - 8 * first] < math.floor(P * 2**16)
    assert torch.equal(x[8 * first :] < 0, drop)
    # A row-strided view of it, whose last rows begin beyond 2**31.
    rows = x.fill_(-3.0)[: size // 1000 * 1000].view(-1, 1000)[:, :700]
    OPS.selu.out(rows, None, None, *TAIL, out=rows)
    want = _reference.selu(torch.full((1,), -3.0, dtype=x.dtype), None, None, *TAIL)
    assert (rows[-2000:] == want).all()
    assert (x[: size // 1000 * 1000].view(-1, 1000)[:, 700:] == -3.0).all()
