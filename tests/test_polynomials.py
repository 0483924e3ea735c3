"""The coefficients of the native kernels: written by their script, and good enough."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType

import mpmath
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("polynomials", ROOT / "tools" / "polynomials.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_header_is_what_the_script_writes(script: ModuleType) -> None:
    assert script.HEADER.read_text(encoding="utf-8") == script.header()


@pytest.mark.parametrize(("kind", "digits"), [("float", 24), ("double", 53)])
def test_the_error_is_below_an_eighth_of_a_unit(script: ModuleType, kind: str, digits: int) -> None:
    found, _ = script.coefficients(script.TERMS[kind])
    with mpmath.workdps(40):
        for k in range(-50, 51):
            r = mpmath.mpf(k) / 50 * math.log(2) / 2
            if k:
                approximate = r + r**2 * mpmath.polyval(found, r)
                assert abs(approximate / mpmath.expm1(r) - 1) < mpmath.mpf(2) ** (-digits - 3)
