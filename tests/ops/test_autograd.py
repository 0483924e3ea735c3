"""Derivatives of the operators: any order, forward mode, vmap, the compiler; what is kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from selfnorm import functional, ops
from selfnorm.ops import _autograd, _reference

NATIVE = ops.backends()["cpu"].name == "native"
needs_kernels = pytest.mark.skipif(not NATIVE, reason="this path is only taken with kernels")

# Not the published constants, so that none is built in; a, b and p are no neutral values either.
ALPHA, SCALE, A, B, P = 1.4680598705305, 1.0409573375386, 0.8, 0.3, 0.4
CONSTANTS = (P, ALPHA, SCALE, A, B)
RNG = torch.tensor([1234567890123456789, 987654321])

# torch's own forward mode imports its deprecated script compiler.
forward_mode = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")


def gaussian(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def away_from_the_kink(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 0.05, x + 0.1, x)


def operator(rng: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, bias: _autograd.selu(x, bias, rng, *CONSTANTS)


def composition(rng: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
    def function(x: Tensor, bias: Tensor) -> Tensor:
        drop = None if rng is None else _reference.drop_mask(rng, tuple(x.shape), P)
        return _reference.selu_value(x, bias, drop, ALPHA, SCALE, A, B)

    return function


@pytest.fixture(params=[None, RNG], ids=["kept", "dropped"])
def rng(request: pytest.FixtureRequest) -> Tensor | None:
    return request.param


@forward_mode
def test_selu_derivatives_of_every_kind(rng: Tensor | None) -> None:
    bias = gaussian(3, seed=2)
    x = (away_from_the_kink(gaussian(5, 3) + bias) - bias).requires_grad_()
    inputs = (x, bias.requires_grad_())
    function = operator(rng)
    assert gradcheck(function, inputs, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(function, inputs, check_fwd_over_rev=True, check_rev_over_rev=True)


def test_third_derivatives() -> None:
    x = torch.tensor([-0.7, 0.4], dtype=torch.float64, requires_grad=True)
    value = _autograd.selu(x, None, None, *CONSTANTS).sum()
    for _ in range(3):
        (value,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    assert value.tolist() == pytest.approx([A * SCALE * ALPHA * math.exp(-0.7), 0.0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_equal_the_compositions(rng: Tensor | None, dtype: torch.dtype) -> None:
    grads = []
    weight = gaussian(40, 7, seed=3).to(dtype)
    for function in (operator(rng), composition(rng)):
        x = gaussian(40, 7).to(dtype).requires_grad_()
        bias = gaussian(7, seed=2).float().requires_grad_()
        function(x, bias).backward(weight)
        grads.append((x.grad, bias.grad))
    eps = torch.finfo(dtype).eps
    for got, want in zip(*grads, strict=True):
        # The bias sums 40 gradients, each rounded to dtype.
        torch.testing.assert_close(got, want, rtol=4 * eps, atol=20 * eps)


@forward_mode
def test_alpha_dropout_derivatives_of_every_kind() -> None:
    def function(x: Tensor) -> Tensor:
        return _autograd.alpha_dropout(x, RNG, P, A, B, -1.5)

    x = gaussian(5, 3).requires_grad_()
    assert gradcheck(function, x, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(function, x, check_fwd_over_rev=True)
    drop = _reference.drop_mask(RNG, (5, 3), P)
    (grad,) = torch.autograd.grad(function(x).sum(), x)
    torch.testing.assert_close(grad, (~drop).double() * A, rtol=0.0, atol=0.0)


# ---- slopes from the output -----------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6,), (4, 6), (2, 3, 6)])
def test_linear_selu_derivatives(rng: Tensor | None, shape: tuple[int, ...]) -> None:
    def function(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return _autograd.linear_selu(x, weight, bias, rng, *CONSTANTS)

    x, weight, bias = gaussian(*shape), gaussian(5, 6, seed=4), gaussian(5, seed=5)
    inputs = [t.requires_grad_() for t in (x, weight, bias)]
    assert gradcheck(function, inputs)
    assert gradgradcheck(function, inputs)


def test_linear_selu_equals_its_parts(rng: Tensor | None) -> None:
    results = []
    for together in (True, False):
        tensors = [
            gaussian(*s, seed=k).requires_grad_() for k, s in enumerate([(8, 6), (5, 6), (5,)])
        ]
        if together:
            y = _autograd.linear_selu(*tensors, rng, *CONSTANTS)
        else:
            y = _autograd.selu(torch.nn.functional.linear(*tensors), None, rng, *CONSTANTS)
        y.backward(gaussian(8, 5, seed=9))
        results.append([y.detach(), *(t.grad for t in tensors)])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_in_place_equals_out_of_place(rng: Tensor | None, dtype: torch.dtype) -> None:
    leaf = gaussian(50, 7, dtype=dtype).requires_grad_()
    bias = gaussian(7, seed=2, dtype=dtype).requires_grad_()
    grads = []
    for function in (_autograd.selu_, _autograd.selu):
        x = leaf * 1.0
        y = function(x, bias, rng, *CONSTANTS)
        assert (y.data_ptr() == x.data_ptr()) == (function is _autograd.selu_)
        grads.append((y.detach().clone(), *torch.autograd.grad(y.square().sum(), (leaf, bias))))
    eps = torch.finfo(dtype).eps
    for got, want in zip(*grads, strict=True):
        # The slope is right to one unit in the last place of its largest value, not of its own.
        torch.testing.assert_close(got, want, rtol=8 * eps, atol=50 * eps)


def saved_bytes(function: Callable[[], Tensor], *own: Tensor) -> int:
    """Count the bytes kept for the backward pass in storages that are not ``own``."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = function()
    for tensor in own:
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    kept.pop(result.untyped_storage().data_ptr(), None)
    return sum(kept.values())


@needs_kernels
def test_nothing_but_input_and_output_is_kept() -> None:
    x = gaussian(64, 128, dtype=torch.float32).requires_grad_()
    layer = torch.nn.Linear(128, 128)
    rng = 16  # bytes
    assert saved_bytes(lambda: functional.selu_dropout(x, 0.1), x) == rng
    assert saved_bytes(lambda: functional.alpha_dropout(x, 0.1), x) == rng
    own = (x, layer.weight, layer.bias)
    assert saved_bytes(lambda: functional.linear_selu(x, layer.weight, layer.bias, 0.1), *own) == 0
    # Against what torch keeps: its activation and dropout need at least four times the input.
    eager = torch.nn.functional.alpha_dropout
    assert saved_bytes(lambda: eager(torch.nn.functional.selu(x), 0.1, True), x) >= x.nbytes


# ---- vmap, the compiler, export -------------------------------------------------------------


@pytest.mark.parametrize("dims", [(0, None), (1, None), (None, 0), (0, 0)])
def test_vmap_equals_a_loop(rng: Tensor | None, dims: tuple[int | None, int | None]) -> None:
    function = operator(rng)
    x = gaussian(*((4, 5, 3) if dims[0] == 0 else (5, 4, 3) if dims[0] == 1 else (5, 3)))
    bias = gaussian(*((4, 3) if dims[1] == 0 else (3,)), seed=2)
    got = torch.vmap(function, in_dims=dims)(x, bias)
    want = torch.stack(
        [
            function(
                x if dims[0] is None else x.select(dims[0], k),
                bias if dims[1] is None else bias[k],
            )
            for k in range(4)
        ]
    )
    torch.testing.assert_close(got, want, rtol=0.0, atol=0.0)


def test_per_sample_gradients() -> None:
    x, bias = gaussian(4, 3), gaussian(3, seed=2)

    def loss(bias: Tensor, row: Tensor) -> Tensor:
        return _autograd.selu(row, bias, None, *CONSTANTS).square().sum()

    got = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(bias, x)
    want = [torch.func.grad(loss)(bias, row) for row in x]
    torch.testing.assert_close(got, torch.stack(want))
    hessian = torch.func.hessian(loss)(bias, x[0])
    want = torch.autograd.functional.hessian(lambda b: loss(b, x[0]), bias)
    torch.testing.assert_close(hessian, want)


def test_the_compiler_sees_one_graph_and_the_same_gradient(rng: Tensor | None) -> None:
    function = operator(rng)
    grads = []
    for f in (function, torch.compile(function, fullgraph=True, backend="aot_eager")):
        x, bias = gaussian(6, 3).requires_grad_(), gaussian(3, seed=2).requires_grad_()
        f(x, bias).square().sum().backward()
        grads.append((x.grad, bias.grad))
    for got, want in zip(*grads, strict=True):
        torch.testing.assert_close(got, want)


class Layer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(gaussian(5, 6, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear_selu(x, self.weight, None, 0.3)


@pytest.mark.parametrize("strict", [True, False])
def test_export_in_training(strict: bool) -> None:
    program = torch.export.export(Layer(), (gaussian(8, 6, dtype=torch.float32),), strict=strict)
    y = program.module()(gaussian(8, 6, dtype=torch.float32))
    assert y.shape == (8, 5)
    assert y.isfinite().all()


# ---- in the hands of users ------------------------------------------------------------------


@needs_kernels
def test_checkpointing_draws_the_same_mask_again() -> None:
    from torch.utils.checkpoint import checkpoint

    x = gaussian(32, 9, dtype=torch.float32).requires_grad_()
    grads = []
    for again in (False, True):
        with torch.random.fork_rng():
            torch.manual_seed(5)
            y: Any = (
                checkpoint(lambda t: functional.selu_dropout(t, 0.5), x, use_reentrant=False)
                if again
                else functional.selu_dropout(x, 0.5)
            )
        grads.append(torch.autograd.grad(y.square().sum(), x)[0])
    torch.testing.assert_close(*grads, rtol=0.0, atol=0.0)


def test_deterministic_mode_changes_nothing() -> None:
    x = gaussian(300, 70, dtype=torch.float32)
    results = []
    for mode in (False, True):
        torch.use_deterministic_algorithms(mode)
        try:
            g = torch.Generator().manual_seed(6)
            results.append(functional.selu_dropout(x, 0.5, generator=g))
        finally:
            torch.use_deterministic_algorithms(False)
    torch.testing.assert_close(*results, rtol=0.0, atol=0.0)


def test_subclasses_of_tensors_go_to_torch() -> None:
    class Marked(Tensor):
        pass

    x = gaussian(4, 3).as_subclass(Marked)
    y = functional.selu_dropout(x, 0.5, generator=torch.Generator().manual_seed(7))
    assert type(y) is Marked
    assert functional.alpha_dropout(x, 0.5).shape == (4, 3)


def test_autocast_computes_the_layer_in_bfloat16() -> None:
    layer = Layer()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(gaussian(8, 6, dtype=torch.float32))
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.isfinite().all()
