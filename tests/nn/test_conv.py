"""ConvSELU: values, borders, sizes, dropout, refusals."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as reference

from selfnorm import functional, init, nn, theory
from selfnorm.errors import DomainError

CONVS = [nn.ConvSELU1d, nn.ConvSELU2d, nn.ConvSELU3d]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=dtype)


# ---- values -------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_value(dims: int) -> None:
    layer: Any = CONVS[dims - 1](
        4, 6, 3, 2, 0, 2, 2, mean=0.1, var=0.7, dropout=0.3, dtype=torch.float64
    )
    torch.nn.init.normal_(layer.conv.bias, generator=seeded(2))
    x = gaussian(3, 4, *(7, 6, 9)[:dims], dtype=torch.float64)
    conv = (reference.conv1d, reference.conv2d, reference.conv3d)[dims - 1]
    pre = conv(x, layer.conv.weight, layer.conv.bias, 2, 0, 2, 2)
    activated = functional.selu(pre, mean=0.1, var=0.7)
    torch.testing.assert_close(layer.eval()(x), activated)
    torch.testing.assert_close(layer(x[0]), activated[0])  # without batch
    with torch.random.fork_rng():
        torch.manual_seed(3)
        got = layer.train()(x)
        torch.manual_seed(3)
        want = functional.alpha_dropout(activated, 0.3, mean=0.1, var=0.7)
    torch.testing.assert_close(got, want)


def padded_by_numpy(x: Tensor, low: int, high: int, mode: str) -> Tensor:
    name = {"replicate": "edge", "reflect": "reflect", "circular": "wrap", "zeros": "constant"}
    widths = ((0, 0), (0, 0), (low, high), (low, high))
    return torch.from_numpy(np.pad(x.numpy(), widths, mode=name[mode]))  # type: ignore[call-overload]


@pytest.mark.parametrize("mode", ["replicate", "reflect", "circular", "zeros"])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (4, 2, 1), (2, 3, 3)])
def test_padding_values(mode: str, kernel: int, stride: int, dilation: int) -> None:
    layer = nn.ConvSELU2d(
        2, 3, kernel, stride, dilation=dilation, padding_mode=mode, dtype=torch.float64
    )
    x = gaussian(2, 2, 7, 10, dtype=torch.float64)
    span = dilation * (kernel - 1)
    padded = padded_by_numpy(x, span // 2, span - span // 2, mode)
    weight, bias = layer.conv.weight, layer.conv.bias
    want = reference.selu(reference.conv2d(padded, weight, bias, stride, 0, dilation))
    torch.testing.assert_close(layer(x), want)
    assert want.shape[-2:] == (-(-7 // stride), -(-10 // stride))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (4, 2, 1), (3, 3, 4)])
def test_rescaled_padding_by_counting(kernel: int, stride: int, dilation: int, bias: bool) -> None:
    kind = torch.float64
    layer = nn.ConvSELU2d(
        2, 3, kernel, stride, dilation=dilation, bias=bias, padding_mode="rescaled", dtype=kind
    )
    x = gaussian(2, 2, 7, 10, dtype=kind)
    counted = torch.ones(1, 1, kernel, kernel, dtype=kind)
    span = dilation * (kernel - 1)
    ones = padded_by_numpy(
        torch.ones(1, 1, 7, 10, dtype=kind), span // 2, span - span // 2, "zeros"
    )
    inside = reference.conv2d(ones, counted, None, stride, 0, dilation)
    if layer.conv.bias is not None:
        torch.nn.init.normal_(layer.conv.bias, generator=seeded(2))
    padded = padded_by_numpy(x, span // 2, span - span // 2, "zeros")
    pre = reference.conv2d(padded, layer.conv.weight, layer.conv.bias, stride, 0, dilation)
    want = reference.selu(pre * (kernel**2 / inside).sqrt())
    torch.testing.assert_close(layer(x), want)


@pytest.mark.parametrize("mode", ["replicate", "rescaled"])
def test_gradients(mode: str) -> None:
    layer = nn.ConvSELU2d(2, 4, 3, 2, groups=2, padding_mode=mode, dtype=torch.float64)
    x = gaussian(2, 2, 3, 5, dtype=torch.float64).requires_grad_()

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        state = {"conv.weight": weight, "conv.bias": bias}
        result: Tensor = torch.func.functional_call(layer, state, (x,))
        return result

    weight = layer.conv.weight.detach().requires_grad_()
    bias = gaussian(4, seed=2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(run, (x, weight, bias))


# ---- moments ------------------------------------------------------------------------------


def second_moments(mode: str, *, standardized: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Second moment of each position after 16 layers, and of the gradient at the input."""
    forward, backward, means = [], [], []
    for seed in range(4):
        g = seeded(seed)
        x = torch.randn(32, 48, 6, 5, generator=g, requires_grad=True)
        h = x
        for _ in range(16):
            layer = nn.ConvSELU2d(
                48, 48, 3, padding_mode=mode, weight_standardized=standardized, generator=g
            )
            h = layer(h)
        (h * torch.randn(h.shape, generator=g)).sum().backward()
        assert x.grad is not None
        forward.append(h.detach().square().mean((0, 1)))
        means.append(h.detach().mean((0, 1)))
        backward.append(x.grad.square().mean((0, 1)))
    return torch.stack(forward).mean(0), torch.stack(means).mean(0), torch.stack(backward).mean(0)


# Over 12 such sets of four networks the worst position deviates by 0.05 ± 0.014 (second moment;
# 0.08 ± 0.016 with standardised weights) and 0.03 ± 0.008 (mean); the corner's gradient is that
# of the centre times 1.04 ± 0.09 (replicate), 0.99 ± 0.02 (circular), 0.25 (reflect), 0.44.
@pytest.mark.parametrize("mode", ["replicate", "reflect", "circular", "rescaled"])
def test_the_border_keeps_the_variance_through_16_layers(mode: str) -> None:
    forward, means, backward = second_moments(mode)
    assert (forward - 1).abs().max() < 0.13
    assert means.abs().max() < 0.08
    # The gradient of the corner, of the centre: what replicate keeps and rescaled does not.
    ratio = (backward[0, 0] / backward[3, 2]).item()
    low, high = {"replicate": (0.7, 1.4), "circular": (0.7, 1.4)}.get(mode, (0.1, 0.7))
    assert low < ratio < high


def test_zero_padding_loses_the_corner() -> None:
    forward, _, _ = second_moments("zeros")
    assert forward[0, 0] < 0.3


def test_standardised_weights_keep_the_variance_through_16_layers() -> None:
    forward, means, _ = second_moments("replicate", standardized=True)
    assert (forward - 1).abs().max() < 0.17
    assert means.abs().max() < 0.08


def test_prediction_beside_measurement() -> None:
    # From mean 0.3 and variance 2 the moments return as theory says.
    g = seeded(6)
    path = theory.predict([theory.Layer("selu", dropout=0.1)] * 5, 0.3, 2.0)
    h = 0.3 + 2.0**0.5 * torch.randn(64, 40, 9, 7, generator=g)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(7)
        for mean, var in zip(path.mean, path.var, strict=True):
            h = nn.ConvSELU2d(h.shape[1], 160, 3, dropout=0.1, generator=g)(h)
            # The worst layer's deviation over 12 seeds: 0.022 ± 0.008 and 0.021 ± 0.011.
            assert h.mean().item() == pytest.approx(mean, abs=0.065)
            assert h.var().item() == pytest.approx(var, abs=0.08)


# ---- parts --------------------------------------------------------------------------------


def test_the_initial_weights_count_the_groups() -> None:
    layer = nn.ConvSELU2d(60, 40, (3, 2), groups=20, generator=seeded(8))
    assert layer.conv.weight.shape == (40, 3, 3, 2)
    # 720 weights of 40 units: standard error of the sum of squares 0.05.
    assert layer.conv.weight.square().sum((1, 2, 3)).mean().item() == pytest.approx(1, abs=0.25)
    assert layer.conv.bias is not None
    assert (layer.conv.bias == 0).all()
    init.initialize_(layer, method="orthogonal", generator=seeded(9))
    torch.testing.assert_close(layer.conv.weight.square().sum((1, 2, 3)), torch.ones(40))


def test_generator_is_the_only_source_of_the_weights() -> None:
    state = torch.get_rng_state()
    first = nn.ConvSELU1d(3, 4, 5, generator=seeded(10))
    assert torch.equal(torch.get_rng_state(), state)
    second = nn.ConvSELU1d(3, 4, 5)
    second.reset_parameters(seeded(10))
    assert torch.equal(first.conv.weight, second.conv.weight)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_channel_dropout_drops_whole_channels(dims: int) -> None:
    shape = (5, 3, 4)[:dims]
    layer: Any = CONVS[dims - 1](4, 50, 3, dropout=0.3, channel_dropout=True)
    x = gaussian(40, 4, *shape)
    kept = layer.eval()(x).detach()
    with torch.random.fork_rng():
        torch.manual_seed(11)
        dropped = layer.train()(x).detach()
    affine = theory.alpha_dropout_affine(0.3)
    a, b = float(affine.a), float(affine.b)
    saturation = theory.solve(0.0, 1.0).saturation
    gone = (dropped - (a * saturation + b)).abs().flatten(2).amax(2) < 1e-5
    # 2,000 decisions: standard error 0.01, five of them.
    assert gone.float().mean().item() == pytest.approx(0.3, abs=0.05)
    torch.testing.assert_close(dropped[~gone], a * kept[~gone] + b)
    with torch.random.fork_rng():  # elementwise otherwise
        torch.manual_seed(11)
        layer.channel_dropout = False
        single = (layer(x) - (a * saturation + b)).abs().flatten(2) < 1e-5
    assert not single.all(2).any() or dims == 1


def test_the_preactivation_is_overwritten_only_when_nobody_sees_it() -> None:
    layer = nn.ConvSELU2d(3, 4, 3, dropout=0.2)
    x = gaussian(2, 3, 5, 6)
    seen: list[Tensor] = []
    layer.eval()
    want = layer(x)
    with layer.conv.register_forward_hook(lambda _m, _i, out: seen.append(out)):
        torch.testing.assert_close(layer(x), want)
    torch.testing.assert_close(reference.selu(seen[0])[..., 1:-1, 1:-1], want[..., 1:-1, 1:-1])
    torch.testing.assert_close(reference.selu(1.5 * seen[0][..., 0, 0]), want[..., 0, 0])
    assert not torch.equal(seen[0], want)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mode", ["replicate", "rescaled"])
def test_dtypes(dtype: torch.dtype, mode: str) -> None:
    layer = nn.ConvSELU2d(4, 6, 3, dropout=0.2, dtype=dtype, padding_mode=mode)
    y = layer(torch.ones(3, 4, 5, 6, dtype=dtype))
    assert y.dtype == dtype
    y.sum().backward()
    assert layer.conv.weight.grad is not None
    assert layer.conv.weight.grad.dtype == dtype


def test_autocast_and_export() -> None:
    layer = nn.ConvSELU2d(4, 6, 3, 2, padding_mode="rescaled").eval()
    x = gaussian(2, 4, 5, 6)
    with torch.autocast("cpu", torch.bfloat16):
        low = layer(x)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), layer(x), atol=0.05, rtol=0.05)
    program = torch.export.export(layer, (x,), strict=False)
    torch.testing.assert_close(program.module()(x), layer(x))
    fresh = nn.ConvSELU2d(4, 6, 3, 2).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is old, and a check of shapes is no branch
        traced: Any = torch.jit.trace(fresh, x)
    torch.testing.assert_close(traced(x), fresh(x))


def test_the_factors_of_the_border_follow_size_and_dtype_and_outlive_a_transform() -> None:
    layer = nn.ConvSELU2d(2, 3, (3, 1), dtype=torch.float64).eval()

    def run(x: Tensor) -> Tensor:
        result: Tensor = layer(x).square().sum()
        return result

    root = 1.5**0.5  # two of three taps inside
    for rows in (4, 6, 4):
        x = gaussian(5, 2, rows, 7, dtype=torch.float64)
        gradient = torch.func.grad(run)(x)
        copy.deepcopy(layer)  # torch cannot copy what a transform made
        with torch.inference_mode():
            layer(x)
        x.requires_grad_()
        pre = reference.conv2d(x, layer.conv.weight, padding=(1, 0))
        pre = torch.cat([pre[..., :1, :] * root, pre[..., 1:-1, :], pre[..., -1:, :] * root], 2)
        (want,) = torch.autograd.grad(reference.selu(pre).square().sum(), x)
        torch.testing.assert_close(gradient, want)
        torch.testing.assert_close(torch.autograd.grad(run(x), x)[0], want)
    assert layer.float()(x.detach().float()).dtype == torch.float32


def test_padding_costs_no_copy() -> None:
    # Kept for the backward pass: the input, the weight, the output and six factors.
    kept: dict[int, int] = {}
    layer = nn.ConvSELU2d(4, 6, 3, bias=False)
    x = gaussian(8, 4, 16, 12)

    def keep(t: Tensor) -> Tensor:
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        y = layer(x)
    maps = 4 * (x.numel() + y.numel() + layer.conv.weight.numel())
    assert maps <= sum(kept.values()) <= maps + 4 * 16 * 12
    with pytest.raises(AttributeError, match="padding_mode"):
        layer.padding_mode = "zeros"  # type: ignore[misc]


def test_compile_in_one_graph_with_dropout() -> None:
    torch.compiler.reset()
    layer = nn.ConvSELU2d(4, 6, 3, dropout=0.2, weight_standardized=True, dtype=torch.float64)
    run = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x, found = gaussian(2, 4, 50, 60, dtype=torch.float64), []
    for call in (run, layer):
        layer.zero_grad()
        with torch.random.fork_rng():
            torch.manual_seed(12)
            y = call(x)
        y.square().sum().backward()
        assert layer.conv.weight.grad is not None
        found.append((y.detach(), layer.conv.weight.grad.clone()))
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_repr() -> None:
    assert repr(nn.ConvSELU1d(4, 6, 3, var=0.7, dropout=0.2, channel_dropout=True)).split("\n")[
        1
    ] == (
        "  padding=((1, 1),), padding_mode='rescaled', mean=0, var=0.7, dropout=0.2, "
        "channel_dropout=True"
    )


# ---- refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": 4}, "in_channels=6, out_channels=9, groups=4; take a common divisor: 1, 3"),
        ({"in_channels": 8, "groups": 4}, "in_channels=8, out_channels=9, groups=4"),
        ({"kernel_size": 0}, "kernel_size must be an integer, 1 or more, or 2 of them"),
        ({"kernel_size": (3, 3, 3)}, r"or 2 of them.*however: kernel_size=\(3, 3, 3\)"),
        ({"stride": 1.5}, r"stride must be .*however: stride=1\.5"),
        ({"padding": "full"}, "padding must be 'same', 'valid'.*however: padding='full'"),
        ({"padding": -1}, "padding must be an integer, 0 or more"),
        ({"padding_mode": "mirror"}, "padding_mode must be one of .*padding_mode='mirror'"),
        ({"dropout": 1.5}, r"dropout is the probability.*however: dropout=1\.5"),
        ({"var": 0.0}, "var"),
        ({"generator": 3}, r"torch\.Generator\(\)\.manual_seed"),
    ],
)
def test_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        nn.ConvSELU2d(**{"in_channels": 6, "out_channels": 9, "kernel_size": 3} | arguments)


@pytest.mark.parametrize(
    ("arguments", "shape", "message"),
    [
        ({}, (2, 5, 4, 4), r"shape \(batch, 6, height, width\).*x.shape=\(2, 5, 4, 4\)"),
        ({}, (6, 4), r"x.shape=\(6, 4\)"),
        ({"padding": 0}, (2, 6, 2, 4), "map=2x4, kernel_size=.* leave 0x2; take padding='same'"),
        ({"padding_mode": "reflect"}, (2, 6, 1, 4), r"smaller than the map.*map=\(1, 4\)"),
        ({"padding_mode": "circular", "dilation": 3}, (2, 6, 2, 4), r"at most the map"),
        ({"padding_mode": "rescaled", "padding": 4}, (2, 6, 2, 4), r"a tap inside.*map=\(2, 4\)"),
    ],
)
def test_inputs_are_refused(
    arguments: dict[str, Any], shape: tuple[int, ...], message: str
) -> None:
    layer = nn.ConvSELU2d(6, 9, 3, **arguments)
    with pytest.raises(DomainError, match=message):
        layer(torch.zeros(shape))
