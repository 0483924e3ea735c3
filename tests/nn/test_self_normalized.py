"""SelfNormalized: the formula in every dtype, moments by sampling, compile, refusals."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from selfnorm import theory
from selfnorm.errors import DomainError
from selfnorm.nn import SelfNormalized

NAMES = [name for name in theory.activation_names() if name != "prelu"]
PARAMETERS = {
    "celu": {"alpha": 1.7},
    "elu": {"alpha": 0.6},
    "leaky_relu": {"negative_slope": 0.2},
    "selu": {"alpha": 1.3, "scale": 1.2},
    "serlu": {"alpha": 2.5, "scale": 1.1},
}
X = torch.linspace(-8.0, 8.0, 401, dtype=torch.float64)


def formula(module: SelfNormalized, name: str, **parameters: float) -> np.ndarray:
    """The definition, with the float64 function of the theory."""
    f = theory.activation(name, **parameters)
    inner = module.input_scale * X.numpy() + module.input_shift
    return np.asarray(module.output_scale * (f(inner) + module.output_shift))


@pytest.mark.parametrize("method", ["standardize", "bidirectional"])
@pytest.mark.parametrize("name", NAMES)
def test_formula(name: str, method: str) -> None:
    parameters = PARAMETERS.get(name, {})
    module = SelfNormalized(name, method=method, **parameters)
    np.testing.assert_allclose(module(X).numpy(), formula(module, name, **parameters), atol=1e-12)
    assert (module.input_scale, module.input_shift) == (1.0, 0.0)
    f = theory.activation(name, **parameters)
    numbers: Any
    if method == "standardize":
        numbers = theory.standardize(f)
        factor = numbers.gain
    else:
        numbers = theory.bidirectional(f)
        factor = numbers.scale
    assert module.output_scale == factor
    assert module.output_scale * module.output_shift == pytest.approx(numbers.shift, abs=1e-11)
    assert (module.stable, module.reason) == (numbers.stable, numbers.reason)


def test_odd_functions_stay_odd() -> None:
    for name in ("tanh", "erf", "sin", "softsign", "hardtanh"):
        module = SelfNormalized(name)
        assert module.output_shift == 0.0
        assert float(module(torch.zeros(()))) == 0.0


@pytest.mark.parametrize(("name", "depth"), [("selu", 30), ("elu", 6), ("softplus", 12)])
def test_formula_tailored(name: str, depth: int) -> None:
    parameters = PARAMETERS.get(name, {})
    module = SelfNormalized(name, method="dks", depth=depth, zeta=1.4, **parameters)
    np.testing.assert_allclose(module(X).numpy(), formula(module, name, **parameters), atol=1e-11)
    t = theory.tailor(theory.activation(name, **parameters), depth, 1.4)
    assert module.input_scale == t.input_scale
    assert module.input_shift == t.input_shift
    assert module.output_shift == t.output_shift
    assert module.output_scale == t.output_scale
    assert not module.stable
    assert module.reason.startswith("neutral by design")


@pytest.mark.parametrize("name", ["leaky_relu", "relu"])
def test_formula_tat(name: str) -> None:
    module = SelfNormalized(name, method="tat", depth=20)
    slope = module.function_parameters["negative_slope"]
    assert 0.0 < slope < 1.0
    expected = formula(module, "leaky_relu", negative_slope=slope)
    np.testing.assert_allclose(module(X).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_sampled_moments(name: str) -> None:
    """Mean 0 and variance 1 on 200,000 draws: z-tests at 6e-7 (5 sigma) for each of the two."""
    z = torch.randn(200_000, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    y = SelfNormalized(name)(z).numpy()
    n = y.size
    assert abs(y.mean()) < 5.0 / n**0.5
    assert abs(y.var() - 1.0) < 5.0 * np.std((y - y.mean()) ** 2) / n**0.5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.bfloat16, 0.08), (torch.float16, 0.01)]
)
def test_dtypes(name: str, dtype: torch.dtype, tolerance: float) -> None:
    """Relative to the size of the terms, which for DKS are larger than their sum."""
    module = SelfNormalized(name)
    x = X.to(dtype)
    y = module(x)
    assert (y.dtype, y.shape) == (dtype, x.shape)
    exact = module(x.to(torch.float64))
    size = module.output_scale * (1.0 + abs(module.output_shift)) + exact.abs()
    assert ((y.to(torch.float64) - exact).abs() <= tolerance * size).all()


@pytest.mark.parametrize("name", NAMES)
def test_gradients(name: str) -> None:
    x = torch.tensor([-2.3, -0.7, -0.2, 0.4, 0.9, 3.1], dtype=torch.float64, requires_grad=True)
    module = SelfNormalized(name, **PARAMETERS.get(name, {}))
    assert torch.autograd.gradcheck(module, (x,))
    f = theory.activation(name, **PARAMETERS.get(name, {}))
    (slope,) = torch.autograd.grad(module(x).sum(), x)
    expected = module.output_scale * np.asarray(f.derivative(x.detach().numpy()))
    np.testing.assert_allclose(slope.numpy(), expected, rtol=1e-10, atol=1e-12)


def test_no_gradient_is_nan_far_out() -> None:
    x = torch.tensor([-1e4, -90.0, 90.0, 1e4], requires_grad=True)
    for name in ("selu", "serlu", "elu", "mish", "gelu"):
        (slope,) = torch.autograd.grad(SelfNormalized(name)(x).sum(), x)
        assert slope.isfinite().all()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gelu", {}),
        ("serlu", {"method": "bidirectional", "branch": "large"}),
        ("selu", {"method": "dks", "depth": 8}),
        ("leaky_relu", {"method": "tat", "depth": 30}),
    ],
)
def test_compile(name: str, options: dict[str, Any]) -> None:
    module = SelfNormalized(name, **options)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    x = X.to(torch.float32).reshape(-1, 1).requires_grad_()
    torch.testing.assert_close(compiled(x), module(x), rtol=1e-6, atol=1e-6)
    (plain,) = torch.autograd.grad(module(x).sum(), x)
    (traced,) = torch.autograd.grad(compiled(x).sum(), x)
    torch.testing.assert_close(traced, plain, rtol=1e-6, atol=1e-6)


def test_a_deep_network_keeps_its_moments() -> None:
    """40 layers of width 200 with orthogonal weights; the pooled prediction is variance 1.

    The standard error of one network and 64 inputs is about 0.1; plain tanh falls to about 0.01.
    """
    generator = torch.Generator().manual_seed(1)
    h = torch.randn(64, 200, generator=generator)
    plain = h
    module = SelfNormalized("tanh")
    for _ in range(40):
        w = torch.linalg.qr(torch.randn(200, 200, generator=generator)).Q
        h, plain = module(h @ w.T), torch.tanh(plain @ w.T)
    assert abs(float(h.var()) - 1.0) < 0.4
    assert float(plain.var()) < 0.05


def test_a_module_without_state() -> None:
    module = SelfNormalized("silu", method="dks", depth=9)
    assert list(module.parameters()) == []
    assert module.state_dict() == {}
    for copied in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        torch.testing.assert_close(copied(X), module(X), rtol=0.0, atol=0.0)


def test_repr() -> None:
    assert repr(SelfNormalized("selu")) == (
        "SelfNormalized('selu', method='standardize', alpha=1.67326, scale=1.0507, stable=True)"
    )
    assert repr(SelfNormalized("selu", method="dks", depth=8)) == (
        "SelfNormalized('selu', method='dks', depth=8, alpha=1.67326, scale=1.0507, "
        "input_scale=0.352453, input_shift=-0.667685, output_shift=0.802358, "
        "output_scale=2.98185, stable=False)"
    )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("prelu", {}, "activation='prelu' learns its slope"),
        ("swish", {}, "activation must be one of .*, however: activation='swish'"),
        (torch.tanh, {}, r"take the numbers of selfnorm.theory.standardize\(callable\)"),
        ("tanh", {"method": "DKS"}, "method must be one of .*, however: method='DKS'"),
        ("tanh", {"depth": 3}, "depth must be given for the methods dks and tat .* drop it"),
        ("tanh", {"method": "dks"}, "depth=None; give the number of layers as depth="),
        ("tanh", {"method": "dks", "depth": 0}, "depth must be a whole number of at least 1"),
        ("selu", {"method": "tat", "depth": 9}, "TAT must be given leaky_relu"),
        ("tanh", {"branch": "small"}, "branch must be left out for method='standardize'"),
        ("tanh", {"method": "bidirectional", "branch": "x"}, "branch must be 'small' or 'large'"),
        ("tanh", {"alpha": 2.0}, "tanh has no parameter 'alpha'"),
        ("elu", {"alpha": -1.0}, "alpha must be greater than 0"),
        ("tanh", {"method": "dks", "depth": 3, "zeta": "2"}, "zeta must be a number, however"),
        ("relu", {"method": "dks", "depth": 3}, "DKS does not apply to relu"),
    ],
)
def test_refusals(name: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        SelfNormalized(name, **options)
