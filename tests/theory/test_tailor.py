"""DKS and TAT: golden numbers, the conditions checked by other means, branches, refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import scipy.optimize
from scipy.integrate import quad

from selfnorm.errors import ConvergenceError, DomainError
from selfnorm.theory import Tailored, activation, correlation_map, tailor


def tailored(t: Tailored) -> Callable[[Any], Any]:
    f = t.activation
    return lambda x: t.output_scale * (f(t.input_scale * x + t.input_shift) + t.output_shift)


def expect(g: Callable[[float], float], kinks: list[float]) -> float:
    def integrand(w: float) -> float:
        return g(w) * math.exp(-0.5 * w * w) / math.sqrt(2.0 * math.pi)

    inside = [k for k in kinks if abs(k) < 12.0]
    return quad(
        integrand, -12.0, 12.0, points=[-2.0, 2.0, *inside], limit=300, epsabs=1e-12, epsrel=1e-12
    )[0]


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        # Solved at 40 digits with the closed forms of E f, E f^2 and their derivatives.
        (8, (0.35245331715, -0.66768513061, 0.80235787224, 2.9818523084)),
        (32, (0.16000004874, -0.39351381388, 0.55695030962, 5.1972722202)),
    ],
)
def test_golden_selu(depth: int, expected: tuple[float, ...]) -> None:
    t = tailor("selu", depth)
    found = (t.input_scale, t.input_shift, t.output_shift, t.output_scale)
    assert found == pytest.approx(expected, rel=2e-11)
    assert t.residual < 1e-12
    assert (t.method, t.depth, t.activation.name) == ("dks", depth, "selu")


@pytest.mark.parametrize(
    ("name", "depth", "zeta", "branch"),
    [
        ("selu", 20, 1.5, "small_input_scale"),
        ("selu", 20, 1.5, "large_input_scale"),
        ("elu", 5, 2.0, "small_input_scale"),
        ("tanh", 30, 1.2, "small_input_scale"),
        ("gelu", 10, 1.5, "small_input_scale"),
        ("serlu", 12, 1.5, "small_input_scale"),
    ],
)
def test_the_four_conditions(name: str, depth: int, zeta: float, branch: str) -> None:
    """Q(1) = 1, C(0) = 0 by QUADPACK; Q'(1) and C'(1) by differences."""
    t = tailor(name, depth, zeta, branch=branch)
    g = tailored(t)
    kinks = [(k - t.input_shift) / t.input_scale for k in t.activation.kinks]
    assert expect(g, kinks) == pytest.approx(0.0, abs=1e-9)
    assert expect(lambda w: g(w) ** 2, kinks) == pytest.approx(1.0, abs=1e-9)

    h = 1e-3

    def second(s: float) -> float:
        return expect(lambda w: g(math.sqrt(s) * w) ** 2, [k / math.sqrt(s) for k in kinks])

    # Five points: the error of the rule is h^4.
    slope = (8 * (second(1 + h) - second(1 - h)) - second(1 + 2 * h) + second(1 - 2 * h)) / (12 * h)
    assert slope == pytest.approx(1.0, abs=1e-7)

    # C'(1) = E g'^2 with g' by differences, and over the depth zeta.
    def derivative(w: float) -> float:
        return float(t.output_scale * t.input_scale) * float(
            t.activation.derivative(t.input_scale * w + t.input_shift)
        )

    gain = expect(lambda w: derivative(w) ** 2, kinks)
    assert gain**depth == pytest.approx(zeta, rel=1e-8)
    chord = (1.0 - float(correlation_map(_callable(t), 1.0 - 1e-4))) / 1e-4
    assert chord == pytest.approx(gain, abs=0.02)


def _callable(t: Tailored) -> Any:
    kinks = [(k - t.input_shift) / t.input_scale for k in t.activation.kinks]
    return activation(tailored(t), kinks=kinks)


def test_branches_of_selu() -> None:
    """From depth 12 on a second solution exists; its input scale grows with the depth."""
    scales = {
        branch: [tailor("selu", d, branch=branch).input_scale for d in (12, 14, 16, 40)]
        for branch in ("small_input_scale", "large_input_scale")
    }
    small, large = scales["small_input_scale"], scales["large_input_scale"]
    assert small == sorted(small, reverse=True)
    assert large == sorted(large)
    assert large[0] < small[0]  # told apart by where they lead, not by their size
    assert large[-1] > small[-1]
    t = tailor("selu", 40)
    assert t.others == ((pytest.approx(large[-1]), pytest.approx(1.1699, abs=0.2)),)
    with pytest.raises(
        DomainError, match=r"branch='large_input_scale' must exist, however: selu at"
    ):
        tailor("selu", 8, branch="large_input_scale")


def test_what_is_chosen_of_many() -> None:
    tanh = tailor("tanh", 8)
    assert tanh.input_shift > 0.0
    assert tanh.others == ((pytest.approx(tanh.input_scale), pytest.approx(-tanh.input_shift)),)
    sine = tailor("sin", 8)
    assert 0.0 < sine.input_shift < 0.5 * math.pi
    assert all(abs(shift) >= sine.input_shift - 1e-9 for _, shift in sine.others)
    distances = [abs(shift) for _, shift in sine.others]
    assert distances == pytest.approx(sorted(distances), abs=1e-9)
    gelu = tailor("gelu", 8)
    assert gelu.input_shift > 0.0
    assert min(scale for scale, _ in gelu.others) < gelu.input_scale  # a flat tail, not chosen


@pytest.mark.parametrize(("depth", "eta"), [(20, 0.9), (100, 0.9), (12, 0.7)])
def test_tat_reaches_eta(depth: int, eta: float) -> None:
    """The maps of all layers, composed by quadrature, take the correlation 0 to eta."""
    t = tailor("leaky_relu", depth, method="tat", eta=eta)
    slope = t.activation.parameters["negative_slope"]
    assert 0.0 < slope < 1.0
    c = 0.0
    for _ in range(depth):
        c = float(correlation_map(t.activation, c))
    assert c == pytest.approx(eta, abs=1e-10)
    g = tailored(t)
    assert expect(lambda w: g(w) ** 2, [0.0]) == pytest.approx(1.0, abs=1e-10)
    assert (t.input_scale, t.input_shift, t.output_shift) == (1.0, 0.0, 0.0)
    same = tailor("relu", depth, method="tat", eta=eta)
    assert same.activation.parameters["negative_slope"] == slope


def test_refusals() -> None:
    with pytest.raises(
        DomainError, match=r"TAT must be given leaky_relu, however: act=selu; the sl"
    ):
        tailor("selu", 8, method="tat")
    with pytest.raises(
        DomainError, match=r"however: act=tanh; for a smooth activation such as tanh"
    ):
        tailor("tanh", 8, method="tat")
    with pytest.raises(
        DomainError, match=r"eta=0.9 and at depth=3 even slope 0 .ReLU. brings uncor"
    ):
        tailor("leaky_relu", 3, method="tat")
    with pytest.raises(DomainError, match=r"DKS does not apply to relu: for an activation that is"):
        tailor("relu", 8)
    with pytest.raises(DomainError, match=r"method must be 'dks' or 'tat', however: method='DKS'"):
        tailor("selu", 8, method="DKS")
    with pytest.raises(DomainError, match=r"branch must be 'small_input_scale' or"):
        tailor("selu", 8, branch="small")
    with pytest.raises(DomainError, match=r"zeta must be greater than 1, however: zeta=1.0"):
        tailor("selu", 8, 1.0)
    with pytest.raises(DomainError, match=r"eta must be between 0 and 1, both excluded"):
        tailor("leaky_relu", 8, method="tat", eta=1.0)
    with pytest.raises(DomainError, match=r"depth must be a whole number of at least 1"):
        tailor("selu", 2.5)


def test_a_failed_search_is_never_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConvergenceError, match=r"DKS found no solution for selu at depth=1, zeta=50"
    ):
        tailor("selu", 1, 50.0)
    monkeypatch.setattr(scipy.optimize, "brentq", lambda *_, **__: 0.5)
    with pytest.raises(ConvergenceError, match=r"no slope meets eta=0.9 at depth=50 to 1e-09"):
        tailor("leaky_relu", 50, method="tat")


def test_a_polish_that_stops_early_is_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    true = scipy.optimize.root

    def lazy(function: Any, start: Any, **options: Any) -> Any:
        result = true(function, start, **options)
        result.x = result.x + 1e-5
        return result

    monkeypatch.setattr(scipy.optimize, "root", lazy)
    with pytest.raises(ConvergenceError, match=r"DKS found no solution"):
        tailor("selu", 8)
