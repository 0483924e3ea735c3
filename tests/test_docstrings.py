"""Every public function and class has a complete numpydoc docstring, and its examples run."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpydoc.validate import validate

import selfnorm
from selfnorm import theory

# numpydoc's checks, less those of mere form that the house style does not ask for.
# GL01/GL02/GL03: where the quotes stand (ruff's pydocstyle rules hold that); ES01: an extended
# summary is not always needed; SA01: nor is "See Also"; SS06: the summary may wrap.
IGNORED = {"GL01", "GL02", "GL03", "ES01", "SA01", "SS06"}


def public_objects() -> Iterator[tuple[str, object]]:
    for info in pkgutil.iter_modules(selfnorm.__path__, "selfnorm."):
        if info.name.rpartition(".")[2].startswith("_") or info.name == "selfnorm.cli":
            continue
        module = importlib.import_module(info.name)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value) or inspect.isclass(value):
                yield f"{info.name}.{name}", value


PUBLIC = dict(public_objects())


@pytest.mark.parametrize("name", PUBLIC)
def test_docstring_is_complete(name: str) -> None:
    value = PUBLIC[name]
    faults = [f"{code}: {text}" for code, text in validate(name)["errors"] if code not in IGNORED]
    if inspect.isclass(value) and issubclass(value, Exception):
        # One line says what an exception means; only those with arguments of their own need more.
        faults = [fault for fault in faults if not fault.startswith(("PR01", "EX01"))]
    elif dataclasses.is_dataclass(value) and "Attributes\n" in (value.__doc__ or ""):
        # A result that users read and do not make: its fields stand under Attributes, and the
        # function that returns it has the example.
        faults = [fault for fault in faults if not fault.startswith(("PR01", "EX01"))]
        listed = set(re.findall(r"\w+", (value.__doc__ or "").partition("Attributes\n")[2]))
        faults += [
            f"{f.name} is missing" for f in dataclasses.fields(value) if f.name not in listed
        ]
    assert not faults, "\n".join(faults)


def test_the_check_can_fail() -> None:
    assert {code for code, _ in validate("textwrap.indent")["errors"]} - IGNORED


def modules() -> list[ModuleType]:
    found = [selfnorm]
    for info in pkgutil.walk_packages(selfnorm.__path__, "selfnorm."):
        if not info.name.endswith("__main__"):
            found.append(importlib.import_module(info.name))
    return found


@pytest.mark.parametrize("module", modules(), ids=lambda m: m.__name__)
def test_examples_run(module: ModuleType) -> None:
    with np.printoptions(legacy=False):
        result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


ROOT = Path(__file__).resolve().parent.parent


def test_the_reference_lists_every_function_of_the_theory() -> None:
    page = (ROOT / "docs" / "reference" / "theory.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^   (\w+)$", page, re.M))
    functions = {name for name in theory.__all__ if inspect.isfunction(getattr(theory, name))}
    assert functions <= listed <= set(theory.__all__)


PAGES = sorted(p for p in (ROOT / "docs").rglob("*.md") if "_build" not in p.parts)
GUIDE = [ROOT / "README.md", *PAGES]


@pytest.mark.parametrize("path", GUIDE, ids=lambda p: str(p.relative_to(ROOT)))
def test_guide_examples_run(path: Path) -> None:
    """The ``python`` blocks of a page run in order, as one session, and print what they show."""
    blocks = re.findall(r"^```python\n(.*?)^```$", path.read_text(encoding="utf-8"), re.M | re.S)
    source = "\n".join(blocks)
    assert source.count(">>>") == len(re.findall(r"^>>> ", source, re.M))
    test = doctest.DocTestParser().get_doctest(source, {}, path.name, str(path), 0)
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    assert result.failed == 0


def _fences_are_closed(text: str) -> bool:
    return len(re.findall(r"^```", text, re.M)) % 2 == 0


def test_fences_are_closed() -> None:
    assert not _fences_are_closed("```\ncode\n```\ntext\n```\n")
    assert [path for path in GUIDE if not _fences_are_closed(path.read_text("utf-8"))] == []


def test_the_page_of_the_command_line_names_every_command() -> None:
    pytest.importorskip("click")
    commands = importlib.import_module("selfnorm.cli._main").COMMANDS
    experiments = importlib.import_module("selfnorm.cli._experiment").experiment.commands
    text = (ROOT / "docs" / "reference" / "command-line.md").read_text("utf-8")
    shown = set(re.findall(r"^\$ selfnorm ([\w-]+)", text, re.M))
    assert shown == set(commands)
    assert set(re.findall(r"^\$ selfnorm experiment ([\w-]+)", text, re.M)) == set(experiments)
