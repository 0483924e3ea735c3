"""WSLinear, WSConv: exact sums, values, gradients, refusals."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from selfnorm import init, nn, theory
from selfnorm.errors import DomainError


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layers() -> dict[str, tuple[Any, Tensor]]:
    """One layer of each kind, with an input; float64."""
    g, kind = seeded(1), torch.float64
    made: dict[str, tuple[Any, tuple[int, ...]]] = {
        "linear": (nn.WSLinear(5, 3, dtype=kind, generator=g), (7, 5)),
        "1d": (nn.WSConv1d(4, 6, 3, 2, 1, groups=2, dtype=kind, generator=g), (2, 4, 9)),
        "2d": (
            nn.WSConv2d(
                3, 5, (2, 3), (1, 2), (0, 1), padding_mode="circular", dtype=kind, generator=g
            ),
            (2, 3, 5, 7),
        ),
        "3d": (nn.WSConv3d(2, 3, 2, dilation=2, dtype=kind, generator=g), (2, 2, 3, 4, 5)),
    }
    for layer, _ in made.values():
        torch.nn.init.normal_(layer.bias, generator=g)
    return {
        name: (layer, torch.randn(shape, dtype=kind, generator=g))
        for name, (layer, shape) in made.items()
    }


KINDS = list(layers())
ARGUMENTS = (
    ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
    ("in_features", "out_features"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_sums_are_exact_after_any_step(kind: str) -> None:
    layer, x = layers()[kind]
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.3)
    for _ in range(3):
        layer(x).pow(3).sum().backward()
        optimizer.step()
        rows = layer.standardized_weight().detach().flatten(1)
        assert rows.sum(1).abs().max() < 1e-14
        assert (rows.square().sum(1) - 1).abs().max() < 1e-14
    assert layer.weight.flatten(1).sum(1).abs().max() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_value_is_that_of_the_plain_layer(kind: str) -> None:
    layer, x = layers()[kind]
    mode = {} if kind == "linear" else {"padding_mode": layer.padding_mode}
    plain = getattr(torch.nn, type(layer).__name__.removeprefix("WS"))(
        *(getattr(layer, name) for name in ARGUMENTS[kind == "linear"]), dtype=torch.float64, **mode
    )
    raw = layer.weight.detach().numpy()
    axes = tuple(range(1, raw.ndim))
    # The population's standard deviation over fan_in n, times sqrt(n), is the length.
    wanted = (raw - raw.mean(axes, keepdims=True)) / raw.std(axes, keepdims=True)
    wanted /= (raw.size / len(raw)) ** 0.5
    plain.load_state_dict({"weight": torch.from_numpy(wanted), "bias": layer.bias.detach()})
    torch.testing.assert_close(layer(x), plain(x))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind: str) -> None:
    layer, x = layers()[kind]

    def run(weight: Tensor, x: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(layer, {"weight": weight}, (x,))
        return result

    inputs = (layer.weight.detach().requires_grad_(), x.requires_grad_())
    assert torch.autograd.gradcheck(run, inputs)


def test_scale_and_mean_of_the_raw_weight_have_no_effect() -> None:
    layer, x = layers()["linear"]
    want = layer(x)
    with torch.no_grad():
        layer.weight.mul_(3.7).add_(0.9)
    torch.testing.assert_close(layer(x), want)


def test_moments_of_shifted_inputs_arrive_at_zero_and_their_variance() -> None:
    # 200,000 outputs: standard error of the mean 0.002, of the variance 0.004 (about), so that the
    # bounds are above five of each. Independent weights would give the variance 0.8 + 0.49.
    g = seeded(2)
    x = 0.7 + 0.8**0.5 * torch.randn(2000, 50, generator=g)
    z = nn.WSLinear(50, 100, generator=g)(x).detach()
    assert abs(z.mean().item()) < 0.01
    assert z.var().item() == pytest.approx(0.8, abs=0.02)
    after = theory.moment_map(theory.activation("selu"), 0.7, 0.8)  # omega 0, tau 1
    y = functional.selu(z)
    assert y.mean().item() == pytest.approx(float(after.mean), abs=0.02)
    assert y.var().item() == pytest.approx(float(after.var), abs=0.03)


def test_a_unit_of_equal_weights_gives_its_bias_and_learns() -> None:
    layer = nn.WSConv2d(3, 2, 3)
    with torch.no_grad():
        layer.weight[0] = 0.1
        assert layer.bias is not None
        layer.bias.fill_(0.25)
    x = torch.randn(2, 3, 4, 5, generator=seeded(3))
    y = layer(x)
    torch.testing.assert_close(y[:, 0], torch.full_like(y[:, 0], 0.25), atol=1e-6, rtol=0)
    assert y[:, 1].std() > 0.1
    y.pow(3).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.isfinite().all()
    assert layer.weight.grad[0].abs().max() > 0.01


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_rounded_once(dtype: torch.dtype) -> None:
    layer = nn.WSLinear(40, 30, dtype=dtype, generator=seeded(4))
    wide = copy.deepcopy(layer).double().standardized_weight()
    low = layer.standardized_weight()
    assert low.dtype == dtype
    assert layer(torch.ones(2, 40, dtype=dtype)).dtype == dtype
    half_unit = torch.finfo(dtype).eps / 2
    assert ((low - wide).abs() <= half_unit * (wide.abs() + 1e-4)).all()


def test_generator_is_the_only_source_of_the_weights() -> None:
    state = torch.get_rng_state()
    first = nn.WSConv2d(4, 6, 3, groups=2, generator=seeded(5))
    assert torch.equal(torch.get_rng_state(), state)
    second = nn.WSConv2d(4, 6, 3, groups=2)
    assert not torch.equal(first.weight, second.weight)
    second.reset_parameters(seeded(5))
    assert torch.equal(first.weight, second.weight)
    init.initialize_(second, method="orthogonal", generator=seeded(5))
    assert not torch.equal(first.weight, second.weight)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.WSLinear(1, 3), r"fan_in of at least 2.*fan_in=1 \(in_features=1\)"),
        (
            lambda: nn.WSConv2d(4, 8, 1, groups=4),
            r"fan_in=1 \(in_channels=4, groups=4, kernel_size=1\); take the plain layer",
        ),
        (
            lambda: nn.WSConv1d(4, 6, 3, groups=4),
            "in_channels=4, out_channels=6, groups=4; take a common divisor: 1, 2",
        ),
        (lambda: nn.WSLinear(0, 3), "in_features must be an integer, 1 or more"),
        (lambda: nn.WSConv3d(2, 3, 2, generator=7), r"torch\.Generator\(\)\.manual_seed"),
        (lambda: nn.WSLinear(4, 3, dtype=torch.int8), "floating-point"),
    ],
)
def test_refusals(make: Any, message: str) -> None:
    with pytest.raises(DomainError, match=message):
        make()
