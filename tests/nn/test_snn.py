"""SNN: shapes, initial state, variance through the layers, what it survives."""

from __future__ import annotations

import copy
import io
import math
import pickle
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from selfnorm import nn, theory
from selfnorm.errors import DomainError

OTHERS = [
    "celu",
    "elu",
    "gelu",
    "hardtanh",
    "leaky_relu",
    "mish",
    "prelu",
    "relu",
    "sigmoid",
    "silu",
    "softplus",
    "softsign",
    "tanh",
]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=seeded(seed))


def layer_moments(net: nn.SNN, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each hidden layer's output, over rows and units."""
    found: list[tuple[Tensor, Tensor]] = []
    hooks = [
        block.register_forward_hook(lambda _m, _i, out: found.append((out.mean(), out.var())))
        for block in net.hidden
    ]
    with torch.no_grad():
        net(x)
    for hook in hooks:
        hook.remove()
    means, variances = zip(*found, strict=True)
    return torch.stack(means), torch.stack(variances)


# ---- shape --------------------------------------------------------------------------------


def test_rectangular() -> None:
    net = nn.SNN(7, 3, width=20, depth=4)
    assert net.widths == (20,) * 4
    assert [b.weight.shape for b in net.hidden] == [(20, 7), (20, 20), (20, 20), (20, 20)]
    assert type(net.head) is torch.nn.Linear
    assert net.head.weight.shape == (3, 20)
    assert net(gaussian(5, 2, 7)).shape == (5, 2, 3)


def test_conic_is_a_geometric_progression() -> None:
    net = nn.SNN(7, 2, width=512, depth=8, shape="conic")
    # 512 = 2**9 and 2 = 2**1: halved at every layer.
    assert net.widths == (512, 256, 128, 64, 32, 16, 8, 4)
    assert nn.SNN(7, 3, width=100, depth=3, shape="conic").widths == (100, 31, 10)
    assert nn.SNN(7, 1, width=2, depth=9, shape="conic").widths[-1] == 1
    assert nn.SNN(7, 5, width=5, depth=3, shape="conic").widths == (5, 5, 5)


def test_depth_zero_is_linear() -> None:
    net = nn.SNN(7, 3, depth=0, fixed_point="depth-matched")
    assert list(net.children()) == [net.hidden, net.head]
    x = gaussian(5, 7)
    torch.testing.assert_close(net(x), x @ net.head.weight.T)


def test_without_bias() -> None:
    for activation in ("selu", "relu"):
        net = nn.SNN(7, 3, width=5, depth=2, bias=False, activation=activation)
        assert not [name for name, _ in net.named_parameters() if "bias" in name]


# ---- variance at initialisation -----------------------------------------------------------
# Bounds: the mean over ten seeds of the worst layer's deviation plus at least six standard
# deviations of it.


@pytest.mark.parametrize(
    ("weight_init", "width", "bound"),
    [("lecun_normal", 512, 0.03), ("lecun_uniform", 512, 0.03), ("orthogonal", 192, 0.03)],
)
def test_variance_stays_at_one_through_32_layers(
    weight_init: Any, width: int, bound: float
) -> None:
    # torch's default init ends at 0.004, gain 3/4 at 0.05 (fault 10), He init overflows.
    net = nn.SNN(
        64, 10, width=width, depth=32, weight_init=weight_init, dropout=0.1, generator=seeded(2)
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        mean, var = layer_moments(net, gaussian(400, 64, seed=4))
    assert (var - 1).abs().max() < bound
    assert mean.abs().max() < bound


def test_depth_matched_variance() -> None:
    net = nn.SNN(
        64, 10, width=512, depth=48, fixed_point="depth-matched", dropout=0.0, generator=seeded(5)
    )
    target = theory.match_depth(48).var
    assert target < 0.5
    assert net.fixed_point == (0.0, target)
    assert net.input_scale == math.sqrt(target)
    mean, var = layer_moments(net, gaussian(300, 64, seed=6))
    assert (var / target - 1).abs().max() < 0.15
    assert mean.abs().max() < 0.02


def test_a_fixed_point_with_a_mean_is_kept() -> None:
    # The gain is what keeps it: with gain 1 the pre-activations have variance 1.5 + 0.2².
    net = nn.SNN(
        64, 10, width=512, depth=16, fixed_point=(0.2, 1.5), dropout=0.05, generator=seeded(7)
    )
    with torch.random.fork_rng():
        torch.manual_seed(8)
        mean, var = layer_moments(net, gaussian(300, 64, seed=9))
    assert (var - 1.5).abs().max() < 0.2
    assert (mean - 0.2).abs().max() < 0.12
    sums = [block.weight.square().sum(1).mean().item() for block in net.hidden]
    assert sums[0] == pytest.approx(1.0, abs=0.05)
    assert sums[1:] == pytest.approx([1.5 / 1.54] * 15, abs=0.02)


def test_conic_variance() -> None:
    # While layers are wide; the narrow ones scatter by their width, whatever the method.
    net = nn.SNN(64, 8, width=512, depth=8, shape="conic", dropout=0.0, generator=seeded(10))
    _, var = layer_moments(net, gaussian(400, 64, seed=11))
    for width, found in zip(net.widths, var.tolist(), strict=True):
        assert abs(found - 1) < 5 * math.sqrt(4 / width) / 2, (width, found)


@pytest.mark.parametrize("activation", OTHERS)
def test_other_activations_keep_the_preactivations_at_one(activation: str) -> None:
    net = nn.SNN(
        64, 3, width=512, depth=6, activation=activation, dropout=0.0, generator=seeded(12)
    )
    found = []
    for block in net.hidden:
        block[0].register_forward_hook(lambda _m, _i, out: found.append(out.square().mean()))
    with torch.no_grad():
        net(gaussian(300, 64, seed=13))
    # Activations whose variance map repels (1.1 per layer) scatter most.
    assert (torch.stack(found) - 1).abs().max() < 0.25


def test_relu_is_he_initialised() -> None:
    # He et al. 2015: 2 / fan_in, and 1 / fan_in where no ReLU came before.
    net = nn.SNN(300, 3, width=400, depth=3, activation="relu", generator=seeded(14))
    sums = [block[0].weight.square().sum(1).mean().item() for block in net.hidden]
    assert sums == pytest.approx([1.0, 2.0, 2.0], rel=0.03)
    assert net.head.weight.square().sum(1).mean().item() == pytest.approx(1.0, rel=0.3)


def test_dropout_is_ordinary_beside_other_activations() -> None:
    net = nn.SNN(4, 2, depth=1, activation="tanh", dropout=0.3)
    assert isinstance(net.hidden[0][2], torch.nn.Dropout)
    assert net.hidden[0][2].p == 0.3


# ---- randomness ---------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["selu", "prelu"])
def test_generator_is_the_only_source(activation: str) -> None:
    state = torch.get_rng_state()
    build = {"width": 6, "depth": 3, "activation": activation}
    first = nn.SNN(4, 2, generator=seeded(15), **build)
    second = nn.SNN(4, 2, generator=seeded(15), **build)
    assert torch.equal(torch.get_rng_state(), state)
    other = nn.SNN(4, 2, generator=seeded(16), **build)
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])
    assert not torch.equal(first.head.weight, other.head.weight)
    other.reset_parameters(seeded(15))
    assert torch.equal(first.head.weight, other.head.weight)


def test_reset_restores_prelu_and_biases() -> None:
    net = nn.SNN(4, 2, width=6, depth=2, activation="prelu")
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(7.0)
    net.reset_parameters()
    assert net.hidden[1][1].weight.item() == 0.25
    assert (net.head.bias == 0).all()
    assert (net.hidden[0][0].bias == 0).all()


# ---- what it survives ---------------------------------------------------------------------


@pytest.fixture
def net() -> nn.SNN:
    return nn.SNN(4, 3, width=5, depth=3, dropout=0.2, fixed_point=(0.1, 0.8), generator=seeded(17))


def test_copies(net: nn.SNN) -> None:
    x = gaussian(6, 4)
    net.eval()
    buffer = io.BytesIO()
    torch.save(net, buffer)
    buffer.seek(0)
    for twin in (
        copy.deepcopy(net),
        pickle.loads(pickle.dumps(net)),
        torch.load(buffer, weights_only=False),
    ):
        assert torch.equal(twin(x), net(x))
        assert repr(twin) == repr(net)


def test_state_dict(net: nn.SNN) -> None:
    twin = nn.SNN(4, 3, width=5, depth=3, fixed_point=(0.1, 0.8))
    assert twin.load_state_dict(net.state_dict()).missing_keys == []
    x = gaussian(6, 4)
    assert torch.equal(twin.eval()(x), net.eval()(x))
    assert set(net.state_dict()) == {
        *(f"hidden.{k}.{name}" for k in range(3) for name in ("weight", "bias")),
        "head.weight",
        "head.bias",
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("activation", ["selu", "prelu"])
def test_dtypes(dtype: torch.dtype, activation: str) -> None:
    model = nn.SNN(4, 3, width=5, depth=2, activation=activation, dtype=dtype)
    assert {p.dtype for p in model.parameters()} == {dtype}
    y = model(gaussian(6, 4).to(dtype))
    y.sum().backward()
    assert y.dtype == dtype
    assert model.to(torch.float32)(gaussian(6, 4)).dtype == torch.float32


def test_devices() -> None:
    model = nn.SNN(4, 3, width=5, depth=2, activation="prelu", device="meta")
    assert {p.device.type for p in model.parameters()} == {"meta"}
    with torch.device("meta"):
        model = nn.SNN(4, 3, width=5, depth=2)
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_autocast(net: nn.SNN) -> None:
    x = gaussian(6, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = net(x)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert {p.grad.dtype for p in net.parameters() if p.grad is not None} == {torch.float32}
    assert all(p.grad is not None for p in net.parameters())


def test_ensembles_by_vmap() -> None:
    members = [nn.SNN(4, 3, width=5, depth=2, dropout=0.5, generator=seeded(s)) for s in range(3)]
    params, buffers = torch.func.stack_module_state(members)
    base = copy.deepcopy(members[0]).to("meta")

    def run(p: Any, b: Any, x: Tensor) -> Tensor:
        return torch.func.functional_call(base, (p, b), (x,))

    x = gaussian(6, 4)
    y = torch.vmap(run, in_dims=(0, 0, None), randomness="different")(params, buffers, x)
    assert y.shape == (3, 6, 3)
    base.eval()
    y = torch.vmap(run, in_dims=(0, 0, None))(params, buffers, x)
    for member, out in zip(members, y, strict=True):
        torch.testing.assert_close(member.eval()(x), out)


def test_gradients() -> None:
    model = nn.SNN(4, 2, width=5, depth=2, dropout=0.0, dtype=torch.float64, generator=seeded(18))
    x = gaussian(3, 4, seed=19).double().requires_grad_()
    assert torch.autograd.gradcheck(model, x)
    assert torch.autograd.gradgradcheck(model, x)


def test_compile_in_one_graph_with_rates_and_nets_that_change(net: nn.SNN) -> None:
    torch.compiler.reset()
    run = torch.compile(net, fullgraph=True, backend="aot_eager")
    for rate, rows in [(0.2, 6), (0.3, 6), (0.5, 9)]:
        for block in net.hidden:
            block.dropout = rate
        with torch.random.fork_rng():
            x = gaussian(rows, 4)
            torch.manual_seed(20)
            got = run(x)
            torch.manual_seed(20)
            torch.testing.assert_close(got, net(x))
    other = nn.SNN(4, 3, width=5, depth=3, dropout=0.0, fixed_point=(0.0, 0.3))
    again = torch.compile(other, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(again(x), other(x))


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None,
    reason="inductor needs a C++ compiler",
)
# torch's inductor imports its deprecated script compiler.
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")
def test_compile_by_inductor(net: nn.SNN) -> None:
    torch.compiler.reset()
    twin, x = copy.deepcopy(net).eval(), gaussian(6, 4)
    run = torch.compile(net.eval(), fullgraph=True)
    run(x).square().sum().backward()
    twin(x).square().sum().backward()
    for got, want in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(got.grad, want.grad)


@pytest.mark.parametrize("strict", [False, True])
def test_export(net: nn.SNN, strict: bool) -> None:
    rows = torch.export.Dim("rows", min=2)
    program = torch.export.export(
        net.eval(), (gaussian(6, 4),), dynamic_shapes=({0: rows},), strict=strict
    )
    x = gaussian(11, 4, seed=2)
    # What is exported is torch's own ELU; here our kernel may have answered.
    torch.testing.assert_close(program.module()(x), net(x))


def test_repr(net: nn.SNN) -> None:
    shown = repr(net)
    assert "activation='selu', weight_init='lecun_normal', fixed_point=(0.1, 0.8)" in shown
    assert "input_scale=0.894427" in shown
    assert "LinearSELU(in_features=4, out_features=5, bias=True, mean=0.1, var=0.8" in shown
    assert "fixed_point" not in repr(nn.SNN(4, 3, depth=1))


# ---- refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width must be an integer, 1 or more, however: width=0"),
        ({"depth": -1}, "depth must be an integer, 0 or more, however: depth=-1"),
        ({"depth": 2.0}, "depth must be an integer"),
        ({"dropout": 2.0}, r"dropout is the probability.*dropout=2\.0"),
        ({"shape": "cubic"}, "shape must be 'rectangular' or 'conic', however: shape='cubic'"),
        ({"shape": "conic", "width": 2}, "width=2, out_features=3; take a width of at least"),
        ({"activation": "swish"}, "activation must be one of .*however: activation='swish'"),
        ({"weight_init": "he"}, "weight_init must be one of .*however: weight_init='he'"),
        ({"fixed_point": "deep"}, "must be .*or 'depth-matched', however: fixed_point='deep'"),
        ({"fixed_point": 1.0}, r"must be \(mean, var\) or 'depth-matched', however"),
        ({"fixed_point": (0.0, 1.0, 2.0)}, r"must be \(mean, var\) or 'depth-matched', however"),
        ({"fixed_point": (0.0, -1.0)}, "var"),
        (
            {"fixed_point": (0.0, 0.5), "activation": "relu"},
            "only SELU has a fixed point of choice.*take activation='selu'",
        ),
        ({"fixed_point": "depth-matched", "depth": 99, "activation": "elu"}, "only SELU has"),
    ],
)
def test_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        nn.SNN(4, 3, **arguments)


def test_sizes_are_refused() -> None:
    with pytest.raises(DomainError, match="in_features must be an integer, 1 or more"):
        nn.SNN(0, 3)
    with pytest.raises(DomainError, match="out_features must be an integer, 1 or more"):
        nn.SNN(3, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generator": 3}, r"torch\.Generator\(\)\.manual_seed"),
        ({"activation": ["selu"]}, "activation must be one of"),
        ({"dtype": torch.int32}, "floating-point"),
        ({"dtype": "float32"}, "floating-point"),
    ],
)
def test_wrong_types_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        nn.SNN(4, 3, width=5, depth=2, **options)


def test_a_rate_may_be_a_number_of_numpy() -> None:
    assert nn.SNN(4, 3, width=5, depth=1, dropout=np.float32(0.25)).dropout == 0.25
