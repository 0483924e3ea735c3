"""Ranges of weight scales: golden ends, agreement with the fixed-point search, refusals."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import scipy.optimize

from selfnorm.constants import ALPHA01, LAMBDA01
from selfnorm.errors import ConvergenceError, DomainError
from selfnorm.theory import (
    Layer,
    activation,
    activation_names,
    fixed_point,
    predict,
    weight_scale_range,
)

CENTRED_LINEAR = 1.0 / (0.5 - 0.5 / math.pi)  # 1/Var max(z, 0)


def test_golden_selu() -> None:
    """1/((r^2 + l^2)/2 - (r - l)^2/(2 pi)), at 0 with r = scale, l = scale alpha, at inf l = 0."""
    low, high = weight_scale_range("selu")
    assert low == pytest.approx(0.495589300656, rel=1e-12)
    assert high == pytest.approx(2.65757004052, rel=2e-12)
    low, high = weight_scale_range("selu", form="mean_field")
    assert low == pytest.approx(0.476771017883, rel=1e-12)
    assert high == pytest.approx(1.8116392234, rel=2e-11)
    assert low == pytest.approx(2.0 / (LAMBDA01**2 * (1.0 + ALPHA01**2)), rel=1e-13)
    assert high == pytest.approx(2.0 / LAMBDA01**2, rel=1e-13)


@pytest.mark.parametrize(
    ("name", "centred", "mean_field"),
    [
        ("tanh", (1.0, math.inf), (1.0, math.inf)),
        ("sin", (1.0, math.inf), (1.0, math.inf)),
        ("erf", (math.pi / 4.0, math.inf), (math.pi / 4.0, math.inf)),
        ("sigmoid", (16.0, math.inf), (0.0, math.inf)),
        ("elu", (1.0, CENTRED_LINEAR), (1.0, 2.0)),
        ("softplus", None, (0.0, 2.0)),
        # Mish starts with slope 0.6, rises above that and falls to the slope of ReLU.
        ("mish", (1.0 / 0.36, CENTRED_LINEAR), None),
        ("relu", None, None),
        ("gelu", None, None),
        ("identity", None, None),
    ],
)
def test_known_ends(
    name: str, centred: tuple[float, float] | None, mean_field: tuple[float, float] | None
) -> None:
    for form, expected in (("centered", centred), ("mean_field", mean_field)):
        found = weight_scale_range(name, form=form)
        assert found == (expected if expected is None else pytest.approx(expected, rel=1e-12))


@pytest.mark.parametrize("name", sorted(activation_names()))
def test_ends_agree_with_the_search_for_fixed_points(name: str) -> None:
    found = weight_scale_range(name)
    if found is None:
        for tau in (0.3, 1.1, 2.0, 2.6, 7.0):
            try:
                point = fixed_point(name, weight_sumsq=tau)
            except ConvergenceError:
                continue
            assert not (point.stable and not point.others)
        return
    inside = [found.low * 1.03, min(found.high, 50.0) * 0.97]
    for tau in inside:
        point = fixed_point(name, weight_sumsq=tau)
        assert point.stable
        assert point.others == ()
    outside = [found.low * 0.99] + [found.high * 1.01] * math.isfinite(found.high)
    for tau in outside:
        try:
            point = fixed_point(name, weight_sumsq=tau)
        except ConvergenceError:
            continue
        assert not (point.stable and not point.others)


def test_mean_field_ends_by_iteration() -> None:
    """Just inside, E x^2 settles; just outside, it dies out or grows without bound."""
    low, high = weight_scale_range("selu", form="mean_field")

    def settles(tau: float) -> bool:
        path = predict([Layer("selu", weight_sumsq=tau)] * 1500, 0.0, 1.0)
        second = path.mean**2 + path.var
        return bool(np.isclose(second[-1], second[-200], rtol=1e-3, atol=0.0))

    assert [settles(tau) for tau in (low * 0.97, low * 1.03, high * 0.97, high * 1.03)] == [
        False,
        True,
        True,
        False,
    ]


def bumpy() -> Any:
    """x - 1.8 sin 2x up to 60, x beyond: its response falls, rises and falls again."""
    return activation(
        lambda x: np.where(np.abs(x) < 60.0, x - 1.8 * np.sin(2.0 * x), x),
        derivative=lambda x: np.where(np.abs(x) < 60.0, 1.0 - 3.6 * np.cos(2.0 * x), 1.0),
        kinks=(-60.0, 60.0),
    )


def bumpy_response(x: Any) -> Any:
    """E f^2/x of x + a sin kx: 1 + 2 a k e^{-k^2 x/2} + a^2 (1 - e^{-2 k^2 x})/(2x)."""
    a, k = mp.mpf(-1.8), 2
    rise = 2 * a * k * mp.exp(-k * k * x / 2)
    return 1 + rise + a * a * (1 - mp.exp(-2 * k * k * x)) / (2 * x)


def test_an_interior_maximum_is_an_end() -> None:
    """A second, narrower range lies between the dip and the limit 1."""
    top = mp.findroot(lambda x: mp.diff(bumpy_response, x), 1.5)
    far = bumpy_response(mp.mpf(top))
    assert far > bumpy_response(top * mp.mpf("1.2"))
    low, high = weight_scale_range(bumpy(), form="mean_field")
    assert low == pytest.approx(1.0 / 6.76, rel=1e-12)
    assert high == pytest.approx(float(1 / far), rel=1e-9)


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        DomainError, match=r"form must be 'centered' or 'mean_field', however: form"
    ):
        weight_scale_range("selu", form="centred")
    with pytest.raises(
        DomainError, match=r"must have limits at 0 and at both infinities.*infinity"
    ):
        weight_scale_range(np.square)
    kinked = activation(lambda x: np.where(x > 0.0, 2.0 * x, 0.5 * x))
    with pytest.raises(DomainError, match=r"however: at 0 they give the response"):
        weight_scale_range(kinked)
    failed = SimpleNamespace(success=False, fun=math.nan, message="too many steps")
    monkeypatch.setattr(scipy.optimize, "minimize_scalar", lambda *_, **__: failed)
    with pytest.raises(ConvergenceError, match=r"the extremum of the response near var=.*too many"):
        weight_scale_range(bumpy())
