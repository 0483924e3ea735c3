"""Initialisers: distribution, fan_in through real layers, what is refused."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from selfnorm import init
from selfnorm.errors import DomainError

METHODS = ["lecun_normal", "lecun_truncated_normal", "lecun_uniform", "orthogonal"]
FILLERS: dict[str, Callable[..., Tensor]] = {
    "lecun_normal": init.lecun_normal_,
    "lecun_truncated_normal": lambda t, **kw: init.lecun_normal_(t, truncated=True, **kw),
    "lecun_uniform": init.lecun_uniform_,
    "orthogonal": init.scaled_orthogonal_,
}
# Fourth moment over squared variance of each distribution; the truncated one from 30-digit
# integration of the normal density on [-2, 2].
KURTOSIS = {"lecun_normal": 3.0, "lecun_truncated_normal": 2.36559, "lecun_uniform": 1.8}


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_variance(weight: Tensor, expected: float, kurtosis: float) -> None:
    """Fails right code with probability 1e-6; n is checked to find an error of 5 %."""
    n = weight.numel()
    error = math.sqrt((kurtosis - 1) / n)
    assert error * (4.9 + 2.4) < 0.05, "too few weights for power .99 at 5 %"
    assert abs(weight.double().square().mean().item() / expected - 1) < 4.9 * error
    assert abs(weight.double().mean().item()) < 4.9 * math.sqrt(expected / n)


# ---- distributions ------------------------------------------------------------------------


@pytest.mark.parametrize("method", KURTOSIS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_variance_and_shape_of_the_distribution(method: str, dtype: torch.dtype) -> None:
    w = torch.empty(300, 500, dtype=dtype)
    assert FILLERS[method](w, gain=1.3, generator=seeded()) is w
    assert_variance(w, 1.3**2 / 500, KURTOSIS[method])
    standardised = w.double() * math.sqrt(500) / 1.3
    # The fourth moment tells the three distributions apart; 6 % is over 5 standard errors.
    assert standardised.pow(4).mean().item() == pytest.approx(KURTOSIS[method], rel=0.06)


def test_truncation() -> None:
    w = torch.empty(300, 500)
    init.lecun_normal_(w, truncated=True, generator=seeded())
    # Cut at 2 standard deviations of the normal before truncation: 2 / 0.8796256610342398.
    largest = w.abs().max().item() * math.sqrt(500)
    assert 2.26 < largest <= 2.2736944
    # The correction: the standard deviation of a normal truncated at ±2, recomputed here.
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(30):
        density = mpmath.npdf
        mass = mpmath.quad(density, [-2, 2])
        sd = mpmath.sqrt(mpmath.quad(lambda z: z**2 * density(z), [-2, 2]) / mass)
        assert abs(init._TRUNCATED_SD - sd) < 1e-15


def test_uniform_limit() -> None:
    w = init.lecun_uniform_(torch.empty(300, 500), gain=0.5, generator=seeded())
    limit = 0.5 * math.sqrt(3 / 500)
    assert 0.999 * limit < w.abs().max() <= limit


@pytest.mark.parametrize(("out", "inputs"), [(64, 256), (256, 64), (100, 100)])
@pytest.mark.parametrize("gain", [1.0, 0.7])
def test_orthogonal(out: int, inputs: int, gain: float) -> None:
    w = init.scaled_orthogonal_(
        torch.empty(out, inputs, dtype=torch.float64), gain=gain, generator=seeded()
    )
    sums = w.square().sum(1)
    assert sums.mean().item() == pytest.approx(gain**2, rel=1e-12)
    if out <= inputs:
        torch.testing.assert_close(w @ w.T, gain**2 * torch.eye(out, dtype=w.dtype))
    else:
        eye = torch.eye(inputs, dtype=w.dtype)
        torch.testing.assert_close(w.T @ w, gain**2 * out / inputs * eye)


def test_orthogonal_is_uniform_over_signs() -> None:
    # A QR without fixed signs has a diagonal of one sign. 200 entries of sign ±1: 4.9 sd.
    signs = sum(
        init.scaled_orthogonal_(torch.empty(4, 4), generator=seeded(s))[0, 0].sign().item()
        for s in range(200)
    )
    assert abs(signs) < 4.9 * math.sqrt(200)


@pytest.mark.parametrize("method", METHODS)
def test_generator_is_the_only_source(method: str) -> None:
    state = torch.get_rng_state()
    first = FILLERS[method](torch.empty(20, 30), generator=seeded(5))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, FILLERS[method](torch.empty(20, 30), generator=seeded(5)))
    assert not torch.equal(first, FILLERS[method](torch.empty(20, 30), generator=seeded(6)))


@pytest.mark.parametrize("method", METHODS)
def test_no_trace_in_the_graph(method: str) -> None:
    layer = nn.Linear(20, 30)
    version_before = layer.weight
    FILLERS[method](layer.weight, generator=seeded())
    assert layer.weight is version_before
    assert layer.weight.requires_grad
    assert layer.weight.is_leaf
    view = torch.empty(60, 20).t()  # not contiguous: filled through its strides
    FILLERS[method](view, generator=seeded())
    assert view.square().sum(1).mean().item() == pytest.approx(1.0, rel=0.3)


@pytest.mark.parametrize("method", METHODS)
def test_empty_and_meta(method: str) -> None:
    assert FILLERS[method](torch.empty(0, 5)).shape == (0, 5)
    assert FILLERS[method](torch.empty(5, 0)).shape == (5, 0)
    assert FILLERS[method](torch.empty(5, 6, device="meta"), generator=seeded()).is_meta


# ---- fault 8: fan_in through real layers --------------------------------------------------


def sums_of_squares(layer: nn.Module, x: Tensor) -> float:
    """Mean square of a layer's output for inputs of independent standard normals."""
    with torch.no_grad():
        return layer(x).square().mean().item()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("inputs", "out"), [(256, 64), (64, 256)])
def test_fault_8_linear(method: str, inputs: int, out: int) -> None:
    # Swapping fan_in and fan_out is off by a factor of 4. Sums of 16,384 weights' squares:
    # their standard error is below 0.012, and 3,000 rows add 0.004.
    layer = init.initialize_(nn.Linear(inputs, out), method=method, generator=seeded(2))
    x = torch.randn(3000, inputs, generator=seeded(3))
    assert sums_of_squares(layer, x) == pytest.approx(1.0, abs=0.07)
    assert (layer.bias == 0).all()


CONVOLUTIONS = {
    "1d": (nn.Conv1d(24, 96, 5), (24, 40)),
    "2d groups": (nn.Conv2d(32, 96, 3, groups=4), (32, 12, 12)),
    "2d narrowing": (nn.Conv2d(96, 16, (3, 5)), (96, 12, 12)),
    "2d depthwise": (nn.Conv2d(128, 256, 3, groups=128), (128, 12, 12)),
    "3d": (nn.Conv3d(12, 48, 3), (12, 6, 6, 6)),
    "transposed 1d": (nn.ConvTranspose1d(96, 48, 4, stride=2, padding=4), (96, 40)),
    "transposed 2d groups": (
        nn.ConvTranspose2d(64, 32, 4, stride=2, groups=4, padding=4),
        (64, 12, 12),
    ),
    "transposed 2d stride 1": (nn.ConvTranspose2d(16, 64, 3, padding=2), (16, 12, 12)),
    "transposed 3d": (nn.ConvTranspose3d(32, 24, 2, stride=2), (32, 5, 5, 5)),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_fault_8_convolution(method: str, name: str) -> None:
    layer, shape = CONVOLUTIONS[name]
    layer = init.initialize_(copy.deepcopy(layer), method=method, generator=seeded(4))
    x = torch.randn(60, *shape, generator=seeded(5))
    # At least 2,300 independent weights: standard error below 0.03.
    assert sums_of_squares(layer, x) == pytest.approx(1.0, abs=0.15)


def test_orthogonal_is_per_group() -> None:
    layer = init.initialize_(nn.Conv2d(8, 12, 3, groups=4), method="orthogonal", generator=seeded())
    for block in layer.weight.detach().chunk(4):
        rows = block.reshape(3, 18)
        torch.testing.assert_close(rows @ rows.T, torch.eye(3))
    transposed = init.initialize_(
        nn.ConvTranspose2d(8, 12, 3, groups=4), method="orthogonal", generator=seeded()
    )
    for block in transposed.weight.detach().chunk(4):
        rows = block.transpose(0, 1).reshape(3, 18)
        torch.testing.assert_close(rows @ rows.T, torch.eye(3))


def test_bilinear() -> None:
    layer = init.initialize_(nn.Bilinear(20, 30, 80), generator=seeded())
    assert_variance(layer.weight.detach(), 1 / 600, 3.0)


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_embedding(kind: Any) -> None:
    layer = init.initialize_(kind(800, 60, padding_idx=3), method="orthogonal", generator=seeded())
    weight = layer.weight.detach()
    assert (weight[3] == 0).all()
    assert_variance(torch.cat([weight[:3], weight[4:]]), 1.0, 3.0)


def test_other_linear_layers_are_known_by_their_shape() -> None:
    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.in_features, self.out_features = 200, 400
            self.weight = nn.Parameter(torch.full((400, 200), 9.0))
            self.bias = nn.Parameter(torch.ones(400))

    layer = init.initialize_(Other(), generator=seeded())
    assert_variance(layer.weight.detach(), 1 / 200, 3.0)
    assert (layer.bias == 0).all()


def test_whole_network() -> None:
    net = nn.Sequential(
        nn.Linear(30, 50), nn.BatchNorm1d(50), nn.PReLU(), nn.Linear(50, 20, bias=False)
    )
    norm, slope = copy.deepcopy(net[1].state_dict()), net[2].weight.clone()
    assert init.initialize_(net, gain=0.5, generator=seeded()) is net
    for key, value in norm.items():
        assert torch.equal(net[1].state_dict()[key], value)
    assert torch.equal(net[2].weight, slope)
    assert net[0].weight.square().sum(1).mean().item() == pytest.approx(0.25, rel=0.2)
    same = init.initialize_(copy.deepcopy(net), gain=0.5, generator=seeded())
    assert torch.equal(same[3].weight, net[3].weight)


def test_shared_weights_are_drawn_once() -> None:
    a, b = nn.Linear(6, 6), nn.Linear(6, 6)
    b.weight = a.weight
    net = init.initialize_(nn.Sequential(a, b), generator=seeded())
    assert torch.equal(net[0].weight, init.lecun_normal_(torch.empty(6, 6), generator=seeded()))


# ---- refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_tensors_are_refused(method: str) -> None:
    fill = FILLERS[method]
    with pytest.raises(DomainError, match=r"at least two dimensions.*tensor\.shape=\(5,\)"):
        fill(torch.empty(5))
    with pytest.raises(DomainError, match=r"floating point, however: tensor\.dtype=torch\.int64"):
        fill(torch.zeros(5, 5, dtype=torch.int64))
    with pytest.raises(DomainError, match=r"must be a torch\.Tensor, however: a list"):
        fill([[1.0]])
    with pytest.raises(DomainError, match="run one batch through the network first"):
        fill(nn.LazyLinear(3).weight)


@pytest.mark.parametrize("gain", [-1.0, math.nan, math.inf, None, "1", True])
def test_gains_are_refused(gain: Any) -> None:
    with pytest.raises(DomainError, match="gain must be a finite number, 0 or more, however"):
        init.lecun_normal_(torch.empty(3, 3), gain=gain)
    with pytest.raises(DomainError, match="SELU needs gain=1"):
        init.initialize_(nn.Linear(3, 3), gain=gain)


def test_generator_of_another_device_is_refused() -> None:
    class Elsewhere(torch.Generator):
        device = torch.device("cuda")

    with pytest.raises(DomainError, match=r"generator\.device=cuda, tensor\.device=cpu"):
        init.lecun_uniform_(torch.empty(3, 3), generator=Elsewhere())


def test_modules_are_refused() -> None:
    with pytest.raises(DomainError, match=r"takes a torch\.nn\.Module, however: a Parameter"):
        init.initialize_(nn.Linear(2, 2).weight)  # type: ignore[type-var]
    with pytest.raises(DomainError, match=r"method must be one of .*however: method='he'"):
        init.initialize_(nn.Linear(2, 2), method="he")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.LSTM(3, 4), "no rule for LSTM '1'.*call initialize_ on the other submodules"),
        (nn.GRUCell(3, 4), "no rule for GRUCell '1'"),
        (nn.MultiheadAttention(4, 2), "no rule for MultiheadAttention '1'"),
        (nn.LazyLinear(3), "run one batch through the network first"),
        (nn.LazyConv2d(3, 3), "run one batch through the network first"),
        (
            nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)),
            "weight of ParametrizedLinear '1' is computed.*initialise before parametrising",
        ),
        (
            nn.utils.parametrizations.spectral_norm(nn.Conv1d(3, 3, 2)),
            "initialise before parametrising",
        ),
    ],
)
def test_nothing_changes_when_a_layer_is_refused(layer: nn.Module, message: str) -> None:
    net = nn.Sequential(nn.Linear(3, 3), layer)
    before = net[0].weight.clone()
    with pytest.raises(DomainError, match=message):
        init.initialize_(net)
    assert torch.equal(net[0].weight, before)


def test_lazy_batch_norm_is_left() -> None:
    net = init.initialize_(nn.Sequential(nn.Linear(3, 4), nn.LazyBatchNorm1d()))
    assert (net[0].bias == 0).all()


def test_a_seed_is_no_generator() -> None:
    with pytest.raises(DomainError, match=r"torch\.Generator\(\)\.manual_seed"):
        init.lecun_normal_(torch.empty(3, 4), generator=3)
    with pytest.raises(DomainError, match=r"torch\.Generator\(\)\.manual_seed"):
        init.initialize_(torch.nn.Linear(3, 4), generator=3)
