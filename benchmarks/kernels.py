"""SELU and alpha dropout element by element, and one layer: seconds, in copies, and bytes.

Two paths lead to our kernels, and both have rows: *autograd*, which is `selfnorm.functional` and
what a user calls, with results in new tensors; and the *operators*, `torch.ops.selfnorm`, which
write into given tensors, over their input, or into new ("fresh") tensors. The floors are one copy
of the tensor, the same copy into a new tensor, and ``x * 1.0`` through autograd.

Forward is forward in training: autograd records it. The operators are given the slope's decisions
by the output (float32) or draw them again (bfloat16). Over their input they run with constants 1
on negative numbers that are tiny, so that they may run any number of times; the work is the same.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812  the name that everybody uses
from torch import Tensor

from benchmarks._harness import Case, Goal, Provider
from benchmarks._memory import cannot_measure_peak, peak_growth, saved_bytes
from selfnorm import functional, nn, ops, theory
from selfnorm.constants import ALPHA01, LAMBDA01

Direction = Literal["forward", "backward", "forward + backward"]
Run = Callable[[], object]

RATE = 0.05
SIZES = {"1 K": 1 << 10, "16 K": 1 << 14, "256 K": 1 << 18, "4 M": 1 << 22, "32 M": 1 << 25}
DIRECTIONS: tuple[Direction, ...] = ("forward", "backward", "forward + backward")
THREADS = (1, 2)
WIDTH = BATCH = 1024

OURS, GIVEN, IN_PLACE = "selfnorm autograd", "operators, given tensors", "operators, in place"
FRESH, DRAWN = "operators, fresh tensors", "operators, slope from the input"
EAGER, COMPILED = "torch eager", "torch.compile"
COPY, CLONE, ALONE = "copy", "copy, fresh tensor", "autograd alone"
PRODUCTS, LINEAR, LAYER = "three products", "nn.Linear alone", "selfnorm LinearSELU"
NOT_NATIVE = "the plain reference answers, no kernel"


@dataclass(frozen=True)
class _Work:
    """What is computed: by torch, by us through autograd, and the most copies that it may cost."""

    name: str
    p: float
    eager: Callable[[Tensor], Tensor]
    ours: Callable[[Tensor], Tensor]
    most_copies: float


WORKS = (
    _Work("selu", 0.0, F.selu, functional.selu, 3.0),
    _Work(
        "selu + alpha dropout",
        RATE,
        lambda x: F.alpha_dropout(F.selu(x), RATE, training=True),
        lambda x: functional.selu_dropout(x, RATE),
        4.0,
    ),
)


def cases() -> list[Case]:
    """List the cases in the order of the table."""
    listed = [
        _elementwise(work, direction, size, threads, torch.float32)
        for threads in THREADS
        for work in WORKS
        for direction in DIRECTIONS
        for size in SIZES
    ]
    for threads in THREADS:
        for work in WORKS:
            listed.append(_elementwise(work, DIRECTIONS[2], "4 M", threads, torch.bfloat16))
    listed += [_layer(p, threads) for threads in THREADS for p in (0.0, RATE)]
    for work in WORKS:
        listed += [_saved(work, "16 K"), _saved(work, "32 M"), _peak(work, "32 M")]
    return listed


# ---- time ------------------------------------------------------------------------------------


def _elementwise(
    work: _Work, direction: Direction, size: str, threads: int, dtype: torch.dtype
) -> Case:
    """Make a case with the goals that hold for it."""
    n = SIZES[size]
    goals = []
    if n <= SIZES["1 K"] and direction != "backward":
        goals.append(Goal(OURS, 1.0, EAGER))
    if direction == "forward + backward" and dtype == torch.float32 and n > SIZES["1 K"]:
        if work.p > 0.0:
            goals += [Goal(path, 0.1, EAGER) for path in (OURS, GIVEN)]
            goals += [Goal(path, 0.2, COMPILED) for path in (OURS, GIVEN)]
        if n >= SIZES["4 M"]:
            goals += [Goal(path, work.most_copies, COPY) for path in (GIVEN, IN_PLACE)]
    kind = "" if dtype == torch.float32 else f", {_short(dtype)}"
    return Case(
        f"{work.name}, {direction}, {size}{kind}, {_count(threads)}",
        functools.partial(_elementwise_providers, work, direction, n, threads, dtype),
        goals=goals,
        relative_to=COPY,
        large=n > SIZES["16 K"] or threads > 1,
    )


def _elementwise_providers(
    work: _Work, direction: Direction, n: int, threads: int, dtype: torch.dtype
) -> list[Provider]:
    torch.set_num_threads(threads)
    x, grad, out = _tensors(n, dtype)
    compiled, absent = _compile(work.eager, threads, x, repeatable=direction == "backward")

    def through_autograd(function: Callable[[Tensor], Tensor]) -> Run:
        return _through_autograd(function, x, grad, direction)

    plain = x.detach()
    providers = [
        Provider(OURS, through_autograd(work.ours)),
        *_operators(work, direction, plain, grad),
        Provider(EAGER, through_autograd(work.eager)),
        Provider(COMPILED, _nothing if absent else through_autograd(compiled), absent=absent),
        Provider(COPY, lambda: out.copy_(plain), floor=True),
        Provider(CLONE, lambda: torch.empty_like(plain).copy_(plain), floor=True),
        Provider(ALONE, through_autograd(lambda t: t * 1.0), floor=True),
    ]
    if not _native():
        providers += [Provider(GIVEN, _nothing, absent=NOT_NATIVE)]
    return providers


def _tensors(n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    x = torch.randn(n, generator=generator).to(dtype).requires_grad_()
    return x, torch.randn(n, generator=generator).to(dtype), torch.zeros(n, dtype=dtype)


def _through_autograd(
    function: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor, direction: Direction
) -> Run:
    if direction == "forward":
        return lambda: function(x)
    if direction == "backward":
        y = function(x)
        return lambda: torch.autograd.grad(y, x, grad, retain_graph=True)
    return lambda: torch.autograd.grad(function(x), x, grad)


def _operators(work: _Work, direction: Direction, x: Tensor, grad: Tensor) -> list[Provider]:
    """Return the raw operators, by where they write; nothing where there is no kernel."""
    if not _native():
        return []
    kernels = torch.ops.selfnorm
    rng = torch.tensor([0x1234567, 0x89ABCDE]) if work.p else None
    a, b = theory.alpha_dropout_affine(work.p)[:2] if work.p else (1.0, 0.0)
    curve = (ALPHA01, LAMBDA01, a)
    y, dx = torch.empty_like(x), torch.zeros_like(x)
    kernels.selu.out(x, None, rng, work.p, *curve, b, out=y)
    exact = x.dtype == torch.float32

    def chosen(forward: Run, backward: Run) -> Run:
        def both() -> tuple[object, object]:
            return forward(), backward()

        return dict(zip(DIRECTIONS, (forward, backward, both), strict=True))[direction]

    def forward() -> Tensor:
        kernels.selu.out(x, None, rng, work.p, *curve, b, out=y)
        return y

    def backward() -> Tensor:
        kernels.selu_grad_from_output.out(grad, y, *curve, b, out=dx)
        return dx

    def drawn() -> Tensor:
        kernels.selu_grad.out(grad, x, None, rng, work.p, *curve, out=dx)
        return dx

    def fresh_forward() -> Tensor:
        fresh: Tensor = kernels.selu.default(x, None, rng, work.p, *curve, b)
        return fresh

    def fresh_backward() -> Tensor:
        fresh: Tensor
        if exact:
            fresh = kernels.selu_grad_from_output.default(grad, y, *curve, b)
        else:
            fresh = kernels.selu_grad.default(grad, x, None, rng, work.p, *curve)
        return fresh

    providers = [
        Provider(GIVEN, chosen(forward, backward if exact else drawn)),
        Provider(FRESH, chosen(fresh_forward, fresh_backward)),
    ]
    if exact:
        over, slope = torch.where(x > 0, x, 1e-6 * x), grad.clone()
        ones = (1.0, 1.0, 1.0, 0.0)

        def over_forward() -> Tensor:
            kernels.selu.out(over, None, rng, work.p, *ones, out=over)
            return over

        def over_backward() -> Tensor:
            kernels.selu_grad_from_output.out(slope, over, *ones, out=slope)
            return slope

        providers.insert(1, Provider(IN_PLACE, chosen(over_forward, over_backward)))
    if exact and direction == "backward" and work.p:
        providers.append(Provider(DRAWN, drawn))
    return providers


def _layer(p: float, threads: int) -> Case:
    """Make the case of a layer's forward and backward pass against its products alone."""
    name = f"linear + selu{' + alpha dropout' if p else ''}, forward + backward"
    return Case(
        f"{name}, {BATCH} x {WIDTH} x {WIDTH}, {_count(threads)}",
        functools.partial(_layer_providers, p, threads),
        goals=[Goal(LAYER, 1.15, PRODUCTS)],
        relative_to=PRODUCTS,
        large=True,
    )


def _layer_providers(p: float, threads: int) -> list[Provider]:
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(WIDTH)
    x = torch.randn(BATCH, WIDTH, generator=generator).requires_grad_()
    grad = torch.randn(BATCH, WIDTH, generator=generator)
    layer = nn.LinearSELU(WIDTH, WIDTH, dropout=p, generator=generator)
    weight, bias = layer.weight, layer.bias
    assert bias is not None
    work = WORKS[1 if p else 0]

    def eager(x: Tensor) -> Tensor:
        return work.eager(F.linear(x, weight, bias))

    def step(function: Callable[[Tensor], Tensor]) -> Run:
        return lambda: torch.autograd.grad(function(x), (x, weight, bias), grad)

    z, dx, dw = torch.empty(BATCH, WIDTH), torch.empty(BATCH, WIDTH), torch.empty(WIDTH, WIDTH)
    plain_x, plain_w, plain_b = x.detach(), weight.detach(), bias.detach()

    def products() -> None:
        torch.addmm(plain_b, plain_x, plain_w.t(), out=z)
        torch.mm(grad, plain_w, out=dx)
        torch.mm(grad.t(), plain_x, out=dw)

    compiled, absent = _compile(eager, threads, x)
    return [
        Provider(LAYER, step(layer)),
        Provider(EAGER, step(eager)),
        Provider(COMPILED, _nothing if absent else step(compiled), absent=absent),
        Provider(PRODUCTS, products, floor=True),
        Provider(LINEAR, step(lambda x: F.linear(x, weight, bias)), floor=True),
    ]


# ---- memory ----------------------------------------------------------------------------------


def _saved(work: _Work, size: str) -> Case:
    """Make the case of what autograd keeps of an activation whose input is an activation."""
    return Case(
        f"{work.name}, saved for backward, {size}",
        functools.partial(_saved_providers, work, SIZES[size]),
        unit="B",
        # Half, or the same; beside the tensor there are 16 bytes, from which to draw again.
        goals=[Goal(OURS, 0.501 if work.p else 1.0, EAGER)],
        relative_to="the tensor",
        large=SIZES[size] > SIZES["16 K"],
    )


def _saved_providers(work: _Work, n: int) -> list[Provider]:
    torch.set_num_threads(1)
    x, _, _ = _tensors(n, torch.float32)
    compiled, absent = _compile(work.eager, 1, x)

    def saved(function: Callable[[Tensor], Tensor]) -> Run:
        # The factor makes the input a result, which lives on for the backward pass alone.
        return lambda: saved_bytes(lambda: function(x * 1.0), [x])

    return [
        Provider(OURS, saved(work.ours)),
        Provider(EAGER, saved(work.eager)),
        Provider(COMPILED, _nothing if absent else saved(compiled), absent=absent),
        Provider("the tensor", lambda: 4 * n, floor=True),
    ]


def _peak(work: _Work, size: str) -> Case:
    """Make the case of how far a process grows, results and gradients included."""
    return Case(
        f"{work.name}, forward + backward, peak growth, {size}",
        functools.partial(_peak_providers, work, SIZES[size]),
        unit="B",
        relative_to="the tensor",
        large=True,
    )


def _peak_providers(work: _Work, n: int) -> list[Provider]:
    x, _, _ = _tensors(1 << 10, torch.float32)
    absent = {
        OURS: "",
        GIVEN: "" if _native() else NOT_NATIVE,
        EAGER: "",
        COMPILED: _compile(work.eager, 1, x)[1],
    }

    def provider(name: str, why: str) -> Provider:
        arguments = (WORKS.index(work), name, n)
        run = functools.partial(peak_growth, "benchmarks.kernels", *arguments)
        return Provider(name, run, absent=cannot_measure_peak() or why)

    return [*itertools.starmap(provider, absent.items()),
            Provider("the tensor", lambda: 4 * n, floor=True)]  # fmt: skip


def memory_step(work_index: int, name: str, n: int) -> Run:
    """Return the step whose growth `peak_growth` measures."""
    work = WORKS[work_index]
    torch.set_num_threads(1)
    x, grad, _ = _tensors(n, torch.float32)
    if name == GIVEN:
        return _operators(work, "forward + backward", x.detach(), grad)[0].run
    function = {OURS: work.ours, EAGER: work.eager}.get(name)
    if function is None:
        function, absent = _compile(work.eager, 1, x)
        if absent:
            raise SystemExit(absent)
    return _through_autograd(function, x, grad, "forward + backward")


# ---- what they share -------------------------------------------------------------------------


def _compile(
    function: Callable[[Tensor], Tensor], threads: int, x: Tensor, *, repeatable: bool = False
) -> tuple[Callable[[Tensor], Tensor], str]:
    """Compile for this shape and try it; return the function, or why there is none.

    A backward pass that is ``repeatable`` may not reuse the memory of what was saved for it.
    """
    if torch._dynamo.config.disable:
        return function, "torch.compile is switched off (TORCH_COMPILE_DISABLE)"
    torch.compiler.reset()
    torch._inductor.config.cpp.threads = threads
    torch._functorch.config.donated_buffer = not repeatable
    compiled = torch.compile(function, dynamic=False, fullgraph=True)
    try:
        torch.autograd.grad(compiled(x).sum(), x)
    except (RuntimeError, OSError) as error:
        return function, f"torch.compile failed: {str(error).strip().splitlines()[0]}"
    return compiled, ""


def _nothing() -> None:
    """Stand in for a provider that is absent."""


def _native() -> bool:
    return ops.backends()["cpu"].name == "native"


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _count(threads: int) -> str:
    return f"{threads} thread{'s' if threads > 1 else ''}"
