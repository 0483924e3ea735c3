"""The mutation tool: what it changes, what it leaves alone, and that every file has its tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).resolve().parent.parent / "tools" / "mutation.py"


@pytest.fixture(scope="module")
def mutation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutation", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutation"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_mutants_of_each_kind(mutation: ModuleType) -> None:
    source = "def f(x):\n    y = -x + 2.0\n    return x < 3 and not y ** 2 in (True,)\n"
    found = [(m.line, m.before, m.after) for m in mutation.mutants(source)]
    assert found == [
        (2, "-x + 2.0", "-x - 2.0"),
        (2, "-x", "x"),
        (2, "2.0", "2.02"),
        (3, "x < 3 and (not y ** 2 in (True,))", "x < 3 or not y ** 2 in (True,)"),
        (3, "x < 3", "x >= 3"),
        (3, "3", "4"),
        (3, "not y ** 2 in (True,)", "y ** 2 in (True,)"),
        (3, "y ** 2 in (True,)", "y ** 2 not in (True,)"),
        (3, "y ** 2", "y * 2"),
        (3, "2", "3"),
        (3, "True", "False"),
    ]


def test_each_mutant_is_one_change_of_the_whole_source(mutation: ModuleType) -> None:
    sources = [m.source for m in mutation.mutants("a = 1 + 2\nb = a * 3\n")]
    assert sources == [
        "a = 1 - 2\nb = a * 3",
        "a = 2 + 2\nb = a * 3",
        "a = 1 + 3\nb = a * 3",
        "a = 1 + 2\nb = a / 3",
        "a = 1 + 2\nb = a * 4",
    ]


@pytest.mark.parametrize(
    "source",
    [
        "x: Literal[3] = y",
        "def f(x: Literal[3]) -> Literal[4]: pass",
        "@dataclass(frozen=True)\nclass C: pass",
        "raise E(f'{x + 1:.3f}')",
        "zip(a, b, strict=True)",
        "tolerance = 1e-9",
        "'text'",
    ],
)
def test_what_no_test_can_notice_is_left_alone(mutation: ModuleType, source: str) -> None:
    assert mutation.mutants(source) == []


def test_every_file_of_the_theory_has_tests(mutation: ModuleType) -> None:
    files = sorted((mutation.ROOT / mutation.THEORY).glob("_[!_]*.py"))
    assert len(files) > 30
    for file in files:
        assert all((mutation.ROOT / test).is_file() for test in mutation.own_tests(file))


def test_a_file_without_tests_is_refused(mutation: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"_unheard\.py must have a test file, however: tests"):
        mutation.own_tests(Path("src/selfnorm/theory/_unheard.py"))
