"""SELU and alpha dropout on a CUDA device: 64 M elements against copying them, and one layer.

A call launches the work `LAUNCHES` times and then waits for the device, so a row is the time of the
device, not of the launch; the case of 1 K elements is the opposite. Without a device every row says
so. The goal is nine tenths of the bandwidth of a copy: a forward pass moves as much, a backward
pass, which reads two tensors and writes one, half as much again.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Final, Literal

import torch
import torch.nn.functional as F  # noqa: N812  the name that everybody uses
from torch import Tensor

from benchmarks._harness import Case, Goal, Provider
from selfnorm import functional, ops, theory
from selfnorm.constants import ALPHA01, LAMBDA01

Pass = Literal["forward", "backward", "forward + backward"]
Run = Callable[[], object]

RATE = 0.05
LARGE, SMALL = 1 << 26, 1 << 10
LAUNCHES = 10
DTYPES = (torch.float32, torch.bfloat16)
FEATURES = 1024  # Large tensors are batches of so many, where there is a bias.
LAYERS = ((8192, 1024, 1024), (8192, 4096, 4096), (1024, 256, 256))  # batch, inputs, outputs
BANDWIDTH = 0.9  # of a copy's

GIVEN, FRESH, OURS = "operators, given tensors", "operators, fresh tensors", "selfnorm autograd"
EAGER, COMPILED, COPY = "torch eager", "torch.compile", "copy"
FUSED, COMPOSED, PRODUCT = "one Triton program", "cuBLAS + kernel", "cuBLAS alone"
FORWARD: Final = "forward"
BACKWARD: Final = "backward"
BOTH: Final = "forward + backward"
DIRECTIONS: Final[tuple[Pass, ...]] = (FORWARD, BACKWARD, BOTH)


def cases() -> list[Case]:
    """List the cases in the order of the table."""
    listed = [
        _elementwise(p, direction, dtype)
        for dtype, p, direction in itertools.product(DTYPES, (0.0, RATE), DIRECTIONS)
    ]
    listed += [_with_bias(dtype) for dtype in DTYPES]
    listed += [_dropout_alone(dtype) for dtype in DTYPES]
    listed.append(_launch())
    listed += [_layer(*sizes, dtype) for sizes in LAYERS for dtype in DTYPES]
    return listed


def absent() -> str:
    """Return why there is nothing to measure, if so."""
    if not torch.cuda.is_available():
        return "no CUDA device here"
    backend = ops.backends()["cuda"]
    return "" if backend.name == "triton" else backend.reason


# ---- cases ---------------------------------------------------------------------------------------


def _elementwise(p: float, direction: Pass, dtype: torch.dtype) -> Case:
    copies = {FORWARD: 1.0, BACKWARD: 1.5, BOTH: 2.5}[direction]
    name = f"selu{' + alpha dropout' if p else ''}, {direction}, 64 M, {_short(dtype)}"
    return _case(name, functools.partial(_elementwise_providers, p, direction, dtype), copies)


def _with_bias(dtype: torch.dtype) -> Case:
    name = f"bias + selu + alpha dropout, forward, 64 M, {_short(dtype)}"
    return _case(name, functools.partial(_bias_providers, dtype), 1.0)


def _dropout_alone(dtype: torch.dtype) -> Case:
    name = f"alpha dropout, forward, 64 M, {_short(dtype)}"
    return _case(name, functools.partial(_dropout_providers, dtype), 1.0)


def _case(name: str, providers: Callable[[], list[Provider]], copies: float) -> Case:
    return Case(
        name,
        _or_absent(providers, GIVEN),
        items=LAUNCHES,
        item="pass",
        device=_device(),
        goals=[Goal(GIVEN, copies / BANDWIDTH, COPY)],
        relative_to=COPY,
        large=True,
    )


def _launch() -> Case:
    name = "selu + alpha dropout, forward + backward, 1 K, float32: launch"
    providers = functools.partial(_elementwise_providers, RATE, BOTH, torch.float32, SMALL)
    return Case(name, _or_absent(providers, GIVEN), items=LAUNCHES, item="pass", device=_device(),
                relative_to=COPY)  # fmt: skip


def _layer(batch: int, inputs: int, outputs: int, dtype: torch.dtype) -> Case:
    name = f"linear + selu + alpha dropout, forward, {batch} x {inputs} x {outputs}"
    providers = functools.partial(_layer_providers, batch, inputs, outputs, dtype)
    return Case(
        f"{name}, {_short(dtype)}",
        _or_absent(providers, FUSED),
        items=LAUNCHES,
        item="pass",
        device=_device(),
        relative_to=PRODUCT,
        large=True,
    )


# ---- who does it -------------------------------------------------------------------------------


def _elementwise_providers(
    p: float, direction: Pass, dtype: torch.dtype, n: int = LARGE
) -> list[Provider]:
    x, grad = _normal(n, dtype=dtype), _normal(n, dtype=dtype)
    y, dx, leaf = torch.empty_like(x), torch.empty_like(x), x.clone().requires_grad_()
    kernels, rng, curve, b = torch.ops.selfnorm, _rng() if p else None, *_constants(p)
    kernels.selu.out(x, None, rng, p, *curve, b, out=y)

    def forward() -> None:
        kernels.selu.out(x, None, rng, p, *curve, b, out=y)

    def backward() -> None:
        # The output tells the slope where its type is exact enough; else decisions are drawn again.
        if dtype == torch.float32:
            kernels.selu_grad_from_output.out(grad, y, *curve, b, out=dx)
        else:
            kernels.selu_grad.out(grad, x, None, rng, p, *curve, out=dx)

    def drawn() -> None:
        kernels.selu_grad.out(grad, x, None, rng, p, *curve, out=dx)

    def fresh_forward() -> object:
        return kernels.selu.default(x, None, rng, p, *curve, b)

    def eager(t: Tensor) -> Tensor:
        t = F.selu(t)
        return F.alpha_dropout(t, p, training=True) if p else t

    def ours(t: Tensor) -> Tensor:
        return functional.selu_dropout(t, p) if p else functional.selu(t)

    def through(function: Callable[[Tensor], Tensor]) -> Run:
        if direction == FORWARD:
            return lambda: function(leaf)
        if direction == BACKWARD:
            result = function(leaf)
            return lambda: torch.autograd.grad(result, leaf, grad, retain_graph=True)
        return lambda: torch.autograd.grad(function(leaf), leaf, grad)

    given = {FORWARD: [forward], BACKWARD: [backward], BOTH: [forward, backward]}[direction]
    providers = [_provider(GIVEN, *given)]
    if direction == FORWARD:
        providers.append(_provider(FRESH, fresh_forward))
    if direction == BACKWARD and dtype == torch.float32:
        providers.append(_provider("operators, slope from the input", drawn))
    return [
        *providers,
        _provider(OURS, through(ours)),
        _provider(EAGER, through(eager)),
        _provider(COMPILED, through(_compile(eager, direction))),
        _provider(COPY, lambda: y.copy_(x), floor=True),
    ]


def _bias_providers(dtype: torch.dtype) -> list[Provider]:
    x, bias = _normal(LARGE // FEATURES, FEATURES, dtype=dtype), _normal(FEATURES, dtype=dtype)
    y, wide, rng, curve, b = torch.empty_like(x), bias.float(), _rng(), *_constants(RATE)

    def given() -> None:
        torch.ops.selfnorm.selu.out(x, wide, rng, RATE, *curve, b, out=y)

    def eager(t: Tensor) -> Tensor:
        return F.alpha_dropout(F.selu(t + bias), RATE, training=True)

    return [
        _provider(GIVEN, given),
        _provider(OURS, lambda: functional.selu_dropout(x, RATE, bias)),
        _provider(EAGER, lambda: eager(x)),
        _provider(COMPILED, functools.partial(_compile(eager), x)),
        _provider(COPY, lambda: y.copy_(x), floor=True),
    ]


def _dropout_providers(dtype: torch.dtype) -> list[Provider]:
    x = _normal(LARGE, dtype=dtype)
    y, rng, (_, _, a), b = torch.empty_like(x), _rng(), *_constants(RATE)

    def given() -> None:
        torch.ops.selfnorm.alpha_dropout.out(x, rng, RATE, a, b, -ALPHA01 * LAMBDA01, out=y)

    def eager(t: Tensor) -> Tensor:
        return F.alpha_dropout(t, RATE, training=True)

    return [
        _provider(GIVEN, given),
        _provider(OURS, lambda: functional.alpha_dropout(x, RATE)),
        _provider(EAGER, lambda: eager(x)),
        _provider(COMPILED, functools.partial(_compile(eager), x)),
        _provider(COPY, lambda: y.copy_(x), floor=True),
    ]


def _layer_providers(batch: int, inputs: int, outputs: int, dtype: torch.dtype) -> list[Provider]:
    from selfnorm.ops import _triton_linear

    x, bias = _normal(batch, inputs, dtype=dtype), _normal(outputs, dtype=dtype)
    weight, rng, curve, b = _normal(outputs, inputs, dtype=dtype), _rng(), *_constants(RATE)
    weight *= inputs**-0.5

    def fused() -> Tensor:
        return _triton_linear.linear_selu(x, weight, bias, rng, RATE, *curve, b)

    def composed() -> Tensor:
        z = F.linear(x, weight, bias)
        torch.ops.selfnorm.selu.out(z, None, rng, RATE, *curve, b, out=z)
        return z

    def eager(t: Tensor) -> Tensor:
        return F.alpha_dropout(F.selu(F.linear(t, weight, bias)), RATE, training=True)

    return [
        _provider(FUSED, fused),
        _provider(COMPOSED, composed),
        _provider(EAGER, lambda: eager(x)),
        _provider(COMPILED, functools.partial(_compile(eager), x)),
        _provider(PRODUCT, lambda: F.linear(x, weight, bias), floor=True),
    ]


# ---- what they share -----------------------------------------------------------------------------


def _or_absent(
    providers: Callable[[], list[Provider]], name: str
) -> list[Provider] | Callable[[], list[Provider]]:
    """Return the providers, or one of this name that says why nobody is there."""
    why = absent()
    return [Provider(name, _nothing, absent=why)] if why else providers


def _device() -> str:
    return f"cuda, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else "cuda"


def _nothing() -> None:
    """Stand in for a provider that is absent."""


def _provider(name: str, *runs: Run, floor: bool = False) -> Provider:
    """Return a provider that does its work several times and waits for the device."""

    def repeated() -> None:
        for _ in range(LAUNCHES):
            for run in runs:
                run()
        torch.cuda.synchronize()

    return Provider(name, repeated, floor=floor)


def _compile(
    function: Callable[[Tensor], Tensor], direction: Pass = FORWARD
) -> Callable[[Tensor], Tensor]:
    torch.compiler.reset()
    # A backward pass that is measured alone runs again: it may not reuse what was saved for it.
    torch._functorch.config.donated_buffer = direction != BACKWARD
    return torch.compile(function, dynamic=False, fullgraph=True)


def _normal(*shape: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator("cuda").manual_seed(shape[0])
    return torch.randn(*shape, generator=generator, device="cuda").to(dtype)


def _rng() -> Tensor:
    return torch.tensor([0x1234567, 0x89ABCDE], device="cuda")


def _constants(p: float) -> tuple[tuple[float, float, float], float]:
    """Return (alpha, scale, a) and b."""
    a, b = theory.alpha_dropout_affine(p)[:2] if p else (1.0, 0.0)
    return (ALPHA01, LAMBDA01, a), b


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
