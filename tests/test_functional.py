"""The functional interface: arguments, edges, layouts, transforms of torch."""

from __future__ import annotations

import itertools
import math
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from selfnorm import functional, theory
from selfnorm.constants import SATURATION01
from selfnorm.errors import DomainError

FUNCTIONS = {
    "selu": lambda x: functional.selu(x, mean=0.1, var=0.7),
    "elu": lambda x: functional.elu(x, 1.3),
    "alpha_dropout": lambda x: functional.alpha_dropout(x, 0.3, var=0.7),
    "selu_dropout": lambda x: functional.selu_dropout(x, 0.3, var=0.7),
}


def gaussian(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ---- values -------------------------------------------------------------------------------


def test_selu_has_the_constants_of_its_fixed_point() -> None:
    # alpha, scale for (0, 0.5): closed form of the theory, recomputed at 30 digits.
    x = torch.tensor([-1.0, 2.0], dtype=torch.float64)
    y = functional.selu(x, var=0.5)
    alpha, scale = 1.4680598705305, 1.0409573375386
    assert y.tolist() == pytest.approx([scale * alpha * math.expm1(-1.0), 2 * scale], rel=1e-12)


def test_default_selu_is_the_published_one() -> None:
    x = gaussian(1000).double() * 3
    torch.testing.assert_close(functional.selu(x), torch.selu(x), rtol=1e-14, atol=0.0)


@pytest.mark.parametrize(("mean", "var"), [(0.0, 1.0), (0.0, 0.1), (0.3, 2.0)])
def test_selu_keeps_its_fixed_point(mean: float, var: float) -> None:
    # E and Var over a fine grid of the normal distribution (midpoints of 4e5 equal cells).
    z = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000
    y = functional.selu(torch.special.ndtri(z) * math.sqrt(var), mean=mean, var=var)
    assert y.mean().item() == pytest.approx(mean, abs=1e-4)
    assert y.var().item() == pytest.approx(var, rel=1e-3)


def test_elu() -> None:
    x = torch.tensor([-2.0, 0.5], dtype=torch.float64)
    assert functional.elu(x, 0.3).tolist() == pytest.approx([0.3 * math.expm1(-2.0), 0.5])
    assert functional.elu(x).tolist() == pytest.approx([math.expm1(-2.0), 0.5])
    assert functional.elu(x, 0).tolist() == [0.0, 0.5]


def test_selu_dropout_is_alpha_dropout_of_selu() -> None:
    x, bias = gaussian(50, 7).double(), gaussian(7, seed=2).double()
    for p in (0.0, 0.4, 1.0):
        fused, stepwise = (
            functional.selu_dropout(x, p, bias, mean=0.1, var=0.8, generator=seeded(3)),
            functional.alpha_dropout(
                functional.selu(x + bias, mean=0.1, var=0.8),
                p,
                mean=0.1,
                var=0.8,
                generator=seeded(3),
            ),
        )
        torch.testing.assert_close(fused, stepwise, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(
        functional.selu_dropout(x, 0.4, bias, training=False), functional.selu(x + bias)
    )


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_evaluation_in_low_precision_is_rounded_once() -> None:
    x, bias = gaussian(500, 7).bfloat16(), gaussian(7, seed=2).bfloat16()
    got = functional.selu_dropout(x, 0.4, bias, training=False)
    want = functional.selu(x.double() + bias.double()).bfloat16()
    torch.testing.assert_close(got, want, rtol=0.0, atol=0.0)


# ---- dropout: edges and faults of others --------------------------------------------------


def test_fault_4_dropout_is_on_by_default() -> None:
    x = gaussian(1000)
    assert not torch.equal(functional.alpha_dropout(x, 0.5, generator=seeded(1)), x)
    assert torch.equal(functional.alpha_dropout(x, 0.5, False), x)


def test_fault_5_unbatched_and_sequences() -> None:
    # (C, H, W): whole channels; (N, T, F): features for all times, each row for itself.
    y = functional.alpha_dropout(torch.ones(64, 5, 6), 0.5, shared_dims=(1, 2), generator=seeded(2))
    flat = y.reshape(64, 30)
    assert (flat == flat[:, :1]).all()
    assert 15 < (flat[:, 0] < 0).sum() < 49  # 32 ± 4.2 standard deviations
    y = functional.alpha_dropout(torch.ones(32, 9, 16), 0.5, shared_dims=(1,), generator=seeded(3))
    assert (y == y[:, :1]).all()
    dropped = y[:, 0] < 0
    assert not (dropped == dropped[:1]).all()
    assert not (dropped == dropped[:, :1]).all()


def test_shared_dims_count_from_the_end() -> None:
    x = gaussian(4, 3, 5)
    same = [
        functional.alpha_dropout(x, 0.5, shared_dims=dims, generator=seeded(4))
        for dims in [(1, 2), (-2, -1), [2, -2]]
    ]
    assert torch.equal(same[0], same[1])
    assert torch.equal(same[0], same[2])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mean", [0.0, 0.25])
def test_fault_6_everything_dropped(dtype: torch.dtype, mean: float) -> None:
    x = gaussian(20).to(dtype).requires_grad_()
    y = functional.alpha_dropout(x, 1.0, mean=mean, var=0.7)
    assert y.dtype == dtype
    assert (y == mean).all()
    y.sum().backward()
    assert x.grad is not None
    assert (x.grad == 0).all()
    assert (functional.selu_dropout(x, 1.0, mean=mean, var=0.7) == mean).all()


@pytest.mark.parametrize("p", [0, 0.0])
def test_nothing_dropped_is_the_identity(p: float) -> None:
    x = gaussian(20)
    assert torch.equal(functional.alpha_dropout(x, p), x)


def test_generators() -> None:
    x = gaussian(100)
    state = torch.get_rng_state()
    first = functional.alpha_dropout(x, 0.5, generator=seeded(5))
    assert torch.equal(torch.get_rng_state(), state), "the default generator was touched"
    assert torch.equal(first, functional.alpha_dropout(x, 0.5, generator=seeded(5)))
    assert not torch.equal(first, functional.alpha_dropout(x, 0.5, generator=seeded(6)))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        one = functional.alpha_dropout(x, 0.5)
        two = functional.alpha_dropout(x, 0.5)
        torch.manual_seed(5)
        assert torch.equal(one, functional.alpha_dropout(x, 0.5))
    assert not torch.equal(one, two)


# ---- shapes and layouts -------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3, 4)])
def test_shape_and_dtype_are_kept(name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x = torch.full(shape, -0.5, dtype=dtype, requires_grad=True)
    y = FUNCTIONS[name](x)
    assert y.shape == shape
    assert y.dtype == dtype
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype


@st.composite
def strided(draw: st.DrawFn) -> Tensor:
    """Tensors of any layout: permuted, sliced with steps, expanded."""
    shape = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    base = gaussian(*(2 * n + 1 for n in shape))
    x = base[tuple(slice(draw(st.integers(0, 1)), 2 * n, draw(st.integers(1, 2))) for n in shape)]
    x = x.permute(*draw(st.permutations(range(len(shape)))))
    return x.expand(3, *x.shape) if draw(st.booleans()) else x


@settings(max_examples=60, deadline=None)
@given(strided(), st.sampled_from(["selu", "elu", "alpha_dropout", "selu_dropout"]))
def test_layout_does_not_matter(x: Tensor, name: str) -> None:
    def run(t: Tensor) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(8)
            return FUNCTIONS[name](t)

    # The same decisions; values to two units in the last place (vector and scalar loops).
    torch.testing.assert_close(run(x), run(x.contiguous()), rtol=5e-7, atol=2e-7)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_memory_format_is_kept(name: str) -> None:
    x = gaussian(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert FUNCTIONS[name](x).stride() == x.stride()


def test_memory_format_is_kept_with_shared_decisions() -> None:
    x = gaussian(2, 3, 4, 5).to(memory_format=torch.channels_last)
    y = functional.alpha_dropout(x, 0.5, shared_dims=(2, 3))
    assert y.stride() == x.stride()


# ---- transforms ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_vmap(name: str) -> None:
    x = gaussian(4, 6, 5)
    y = torch.vmap(FUNCTIONS[name], randomness="different")(x)
    assert y.shape == x.shape
    if "dropout" in name:
        ones = torch.ones(64, 5, 5)
        masks = torch.vmap(FUNCTIONS[name], randomness="different")(ones) < 0
        assert not (masks == masks[0]).all()
        masks = torch.vmap(FUNCTIONS[name], randomness="same")(ones) < 0
        assert (masks == masks[0]).all()
    else:
        assert torch.equal(y, FUNCTIONS[name](x))


def test_vmap_over_a_bias_draws_masks_for_a_shared_input() -> None:
    x = torch.ones(6, 50).T  # not contiguous, not batched
    y = torch.vmap(
        lambda c: functional.alpha_dropout(x, 0.5, mean=0.1) * c, randomness="different"
    )(torch.ones(3))
    assert not torch.equal(y[0], y[1])


# torch's own forward mode imports its deprecated script compiler.
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
def test_jacobian_by_functorch() -> None:
    x = gaussian(5).double()
    slopes = torch.func.jacfwd(torch.func.grad(lambda t: functional.selu(t, var=0.7).sum()))(x)
    constants = theory.solve(0.0, 0.7)
    curvature = constants.scale * constants.alpha * torch.exp(x) * (x < 0)
    torch.testing.assert_close(slopes, torch.diag(curvature))


def compiled(function: Any, **options: Any) -> Any:
    torch.compiler.reset()
    return torch.compile(function, fullgraph=True, backend="aot_eager", **options)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dynamic", [None, True])
def test_compile_in_one_graph(name: str, dynamic: bool | None) -> None:
    run = compiled(FUNCTIONS[name], dynamic=dynamic)
    for rows in (6, 9):
        with torch.random.fork_rng():
            x, twin = (gaussian(rows, 5).requires_grad_() for _ in range(2))
            torch.manual_seed(9)
            run(x).square().sum().backward()
            torch.manual_seed(9)
            FUNCTIONS[name](twin).square().sum().backward()
        torch.testing.assert_close(x.grad, twin.grad)


def test_compile_with_numbers_that_change() -> None:
    # From the second value on the compiler makes symbols of p, mean and var.
    def f(x: Tensor, p: float, mean: float, var: float) -> Tensor:
        return functional.alpha_dropout(functional.selu(x, mean=mean, var=var), p, var=var)

    run = compiled(f)
    x = gaussian(20, 5)
    for p, mean, var in [(0.1, 0.0, 1.0), (0.2, 0.1, 0.5), (0.35, -0.01, 1e-3), (1.0, 0.0, 30.0)]:
        with torch.random.fork_rng():
            torch.manual_seed(10)
            got = run(x, p, mean, var)
            torch.manual_seed(10)
            want = f(x, p, mean, var)
        torch.testing.assert_close(got, want)


def test_compile_keeps_bfloat16() -> None:
    # fault 6: torch's decomposition of alpha dropout returns float32.
    run = compiled(lambda x: functional.alpha_dropout(x, 0.3))
    assert run(gaussian(5).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("name", FUNCTIONS)
def test_autocast_keeps_the_dtype_of_the_input(name: str) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert FUNCTIONS[name](gaussian(4, 3)).dtype == torch.float32
        assert FUNCTIONS[name](gaussian(4, 3).bfloat16()).dtype == torch.bfloat16


def test_meta_tensors() -> None:
    x = torch.empty(4, 3, device="meta")
    for function in FUNCTIONS.values():
        assert function(x).device.type == "meta"


def test_import_does_not_load_the_compiler() -> None:
    import subprocess

    code = "import sys, selfnorm.nn; print('torch._dynamo' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


# ---- refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_integers_are_refused(name: str) -> None:
    with pytest.raises(DomainError, match=r"x\.dtype=torch\.int64; convert it with x\.to"):
        FUNCTIONS[name](torch.arange(3))
    with pytest.raises(DomainError, match=r"x\.dtype=torch\.complex64"):
        FUNCTIONS[name](torch.zeros(3, dtype=torch.complex64))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_lists_are_refused(name: str) -> None:
    with pytest.raises(DomainError, match=r"x is a list; torch\.as_tensor converts it"):
        FUNCTIONS[name]([1.0, 2.0])


@pytest.mark.parametrize("p", [-0.1, 1.0001, math.nan, math.inf, None, "0.1", True])
@pytest.mark.parametrize("training", [True, False])
def test_rates_are_refused(p: Any, training: bool) -> None:
    with pytest.raises(DomainError, match=r"a number in \[0, 1\], however: p="):
        functional.alpha_dropout(gaussian(3), p, training)
    with pytest.raises(DomainError, match=r"a number in \[0, 1\], however: p="):
        functional.selu_dropout(gaussian(3), p, training=training)


@pytest.mark.parametrize("alpha", [-0.5, math.nan, math.inf, None])
def test_elu_alpha_is_refused(alpha: Any) -> None:
    with pytest.raises(DomainError, match="alpha must be a finite number, 0 or more, however"):
        functional.elu(gaussian(3), alpha)


@pytest.mark.parametrize("value", [None, "1", [1.0], torch.tensor(1.0), True])
def test_fixed_points_that_are_no_numbers_are_refused(value: Any) -> None:
    with pytest.raises(DomainError, match="var must be one number, however: var="):
        functional.selu(gaussian(3), var=value)
    with pytest.raises(DomainError, match="mean must be one number, however: mean="):
        functional.selu_dropout(gaussian(3), 0.1, mean=value)


@pytest.mark.parametrize("var", [-1.0, 0.0, math.nan, math.inf])
def test_impossible_variances_are_refused(var: float) -> None:
    for call in (
        lambda: functional.selu(gaussian(3), var=var),
        lambda: functional.alpha_dropout(gaussian(3), 0.1, False, var=var),
        lambda: functional.selu_dropout(gaussian(3), 0.1, var=var),
    ):
        with pytest.raises(DomainError, match="var"):
            call()


@pytest.mark.parametrize("dims", [(2,), (-3,), (0, 0), (1, -1)])
def test_shared_dims_are_refused(dims: tuple[int, ...]) -> None:
    with pytest.raises(DomainError, match=r"different dimensions of x, in \[-2, 1\], however"):
        functional.alpha_dropout(gaussian(3, 4), 0.1, shared_dims=dims)


def test_shared_dims_that_are_no_integers_are_refused() -> None:
    for dims in (1, (0.5,), "x", None):
        with pytest.raises(DomainError, match="shared_dims must be a sequence of integers"):
            functional.alpha_dropout(gaussian(3, 4), 0.1, shared_dims=dims)


def test_bias_is_refused() -> None:
    with pytest.raises(DomainError, match=r"one element per feature.*bias\.shape=\(3,\)"):
        functional.selu_dropout(gaussian(3, 4), 0.1, gaussian(3))
    with pytest.raises(DomainError, match="one element per feature"):
        functional.selu_dropout(gaussian(), 0.1, gaussian(1))
    with pytest.raises(DomainError, match=r"bias\.dtype=torch\.int64"):
        functional.selu_dropout(gaussian(3, 4), 0.1, torch.arange(4))
    with pytest.raises(DomainError, match=r"bias\.device=meta, x\.device=cpu"):
        functional.selu_dropout(gaussian(3, 4), 0.1, torch.empty(4, device="meta"))


def test_generator_of_another_device_is_refused() -> None:
    x = torch.empty(3, device="meta")
    with pytest.raises(DomainError, match=r"generator\.device=cpu, x\.device=meta"):
        functional.alpha_dropout(x, 0.1, generator=seeded(1))
    with pytest.raises(DomainError, match=r"make it with torch\.Generator"):
        functional.selu_dropout(x, 0.1, generator=seeded(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_dropped_nan_or_infinity_leaves_no_trace(dtype: torch.dtype) -> None:
    """Forward it is the saturation value, backward its gradient is 0, not 0 times NaN."""
    values = [math.nan, math.inf, -math.inf, 3.0]
    x = torch.tensor(values, dtype=dtype).repeat(500).requires_grad_()
    y = functional.selu_dropout(x, 1.0, generator=torch.Generator().manual_seed(0))
    y.sum().backward()
    assert torch.equal(y, torch.zeros_like(y))
    assert x.grad is not None
    assert torch.equal(x.grad, torch.zeros_like(x))
    x.grad = None
    y = functional.selu_dropout(x, 0.5, generator=torch.Generator().manual_seed(0))
    y.nan_to_num().sum().backward()
    a, b = theory.alpha_dropout_affine(0.5)
    dropped = y.isclose(torch.tensor(a * SATURATION01 + b, dtype=dtype)) & ~x.isneginf()
    assert 600 < int(dropped.sum()) < 900
    assert torch.equal(x.grad[dropped], torch.zeros_like(x.grad[dropped]))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sparse_tensors_are_refused(name: str) -> None:
    with pytest.raises(DomainError, match="to_dense"):
        FUNCTIONS[name](torch.eye(3).to_sparse())


def test_numbers_of_numpy_are_numbers() -> None:
    x = gaussian(7, 5)
    assert torch.equal(functional.selu(x, var=np.int64(2)), functional.selu(x, var=2.0))
    y = functional.selu_dropout(x, np.float32(0.5), generator=torch.Generator().manual_seed(3))
    z = functional.selu_dropout(x, 0.5, generator=torch.Generator().manual_seed(3))
    assert torch.equal(y, z)


@pytest.mark.parametrize("name", ["alpha_dropout", "selu_dropout"])
def test_a_seed_is_no_generator(name: str) -> None:
    with pytest.raises(DomainError, match=r"torch\.Generator\(\)\.manual_seed"):
        getattr(functional, name)(gaussian(3, 4), 0.5, generator=3)


@pytest.mark.parametrize("p", [0.0, 0.4])
@pytest.mark.parametrize("with_bias", [False, True])
def test_selu_dropout_in_place(p: float, with_bias: bool) -> None:
    leaf = gaussian(300, 70).requires_grad_()
    bias = gaussian(70, seed=2).requires_grad_() if with_bias else None
    results = []
    for inplace in (True, False):
        x = leaf * 1.0
        y = functional.selu_dropout(x, p, bias, var=0.7, generator=seeded(3), inplace=inplace)
        assert (y.data_ptr() == x.data_ptr()) == inplace
        wanted = [t for t in (leaf, bias) if t is not None]
        grads = torch.autograd.grad(y.square().sum(), wanted)
        results.append((y.detach().clone(), *grads))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-4)


def test_selu_dropout_in_place_under_transforms() -> None:
    def loss(x: Tensor, inplace: bool) -> Tensor:
        y = functional.selu_dropout(x * 1.0, 0.3, var=0.7, inplace=inplace)
        return y.square().sum()

    x = gaussian(300, 70)
    found = []
    with torch.random.fork_rng():
        for inplace in (True, False):
            torch.manual_seed(4)
            found.append(torch.func.grad(loss)(x, inplace))
    torch.testing.assert_close(*found)


def test_in_place_refuses_what_autograd_refuses() -> None:
    with pytest.raises(RuntimeError, match="leaf Variable"):
        functional.selu(torch.ones(3, requires_grad=True), inplace=True)


@pytest.mark.parametrize("p", [0.0, 0.4])
@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        *itertools.product((torch.float64, torch.float32), [(6,), (500, 6), (2, 300, 6), (0, 6)]),
        # Small: torch's larger bfloat16 products crash on machines that announce AMX and lack it.
        *itertools.product((torch.bfloat16, torch.float16), [(6,), (2, 3, 6)]),
    ],
)
def test_linear_selu_is_the_layer_then_selu_dropout(
    p: float, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    x, weight = gaussian(*shape).to(dtype), gaussian(70, 6, seed=2).to(dtype)
    bias = gaussian(70, seed=3).to(dtype)
    results = []
    for together in (True, False):
        leaves = [t.clone().requires_grad_() for t in (x, weight, bias)]
        if together:
            y = functional.linear_selu(*leaves, p, var=0.7, generator=seeded(4))
        else:
            z = torch.nn.functional.linear(*leaves)
            y = functional.selu_dropout(z, p, var=0.7, generator=seeded(4))
        grads = torch.autograd.grad(y, leaves, gaussian(*y.shape, seed=5).to(dtype))
        results.append((y.detach(), *grads))
    eps = torch.finfo(dtype).eps
    for got, want in zip(*results, strict=True):
        assert got.dtype == dtype
        torch.testing.assert_close(got, want, rtol=20 * eps, atol=100 * eps)


def test_in_place_needs_a_place_for_each_element() -> None:
    with pytest.raises(
        DomainError, match=r"x is expanded, x.shape=\(3, 4\), x.stride\(\)=\(0, 1\)"
    ):
        functional.selu(torch.ones(4).expand(3, 4), inplace=True)


@pytest.mark.parametrize(
    ("x", "weight", "message"),
    [
        (torch.ones(3, 4), torch.ones(5, 6), r"in_features=6 .*x.shape=\(3, 4\)"),
        (torch.ones(3, 4), torch.ones(4), r"weight.shape=\(4,\)"),
        (torch.tensor(1.0), torch.ones(5, 1), r"x.shape=\(\)"),
        (torch.ones(3, 4).long(), torch.ones(5, 4), "x.dtype=torch.int64"),
        (torch.ones(3, 4), [[1.0]], "weight is a list"),
    ],
)
def test_linear_selu_refuses(x: Tensor, weight: Any, message: str) -> None:
    with pytest.raises(DomainError, match=message):
        functional.linear_selu(x, weight)


def test_linear_selu_of_no_features() -> None:
    y = functional.linear_selu(torch.ones(3, 0), torch.ones(2, 0), torch.ones(2))
    assert y.tolist() == [[pytest.approx(1.0507, abs=1e-4)] * 2] * 3
