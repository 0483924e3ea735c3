"""The shape of the package: who imports whom, what is exported, what an import costs."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import selfnorm

SRC = Path(selfnorm.__file__).parent

# Who may import whom inside the package. `base` (errors, constants, _files) is open to all.
BASE = {"errors", "constants", "_files"}
MAY_IMPORT = {
    "__main__": {"cli"},
    "cli": {"report", "experiments", "diagnosis", "tabular", "train", "nn", "theory"},
    "experiments": {"report", "tabular", "train", "nn", "init", "diagnosis", "theory"},
    "report": {"theory"},  # a page takes the plain data of a record
    "diagnosis": {"report", "nn", "init", "functional", "theory"},
    "tabular": {"train", "nn", "init", "theory"},
    "train": {"nn", "ops", "theory"},
    "nn": {"functional", "init", "theory"},
    "functional": {"ops", "theory"},
    "init": {"theory"},
    "ops": set(),
    "theory": set(),
    "errors": set(),
    "constants": set(),
    "_files": set(),
}

# Third-party packages that only some parts may know.
ONLY_IN = {
    "torch": {"ops", "functional", "init", "nn", "train", "tabular", "diagnosis", "experiments"},
    "triton": {"ops"},
    "sklearn": {"tabular", "experiments"},
    "PIL": {"experiments"},
    "pandas": {"tabular"},
    "pyarrow": {"tabular", "train"},
    "safetensors": {"tabular"},
    "onnx": {"tabular"},
    "click": {"cli"},
    "rich": {"cli", "diagnosis", "train"},
    "flint": {"theory"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
}
STANDARD = sys.stdlib_module_names | {"numpy", "scipy"}


def imported_names(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; the package uses absolute ones"
            assert node.module is not None
            if node.module == "selfnorm":
                names |= {f"selfnorm.{alias.name}" for alias in node.names}
            else:
                names.add(node.module)
    return names


def part_of(path: Path) -> str:
    relative = path.relative_to(SRC)
    return relative.parts[0].removesuffix(".py")


MODULES = sorted(p for p in SRC.rglob("*.py") if p != SRC / "__init__.py")


def test_the_page_says_who_may_import_whom() -> None:
    page = (SRC.parent.parent / "docs" / "development.md").read_text(encoding="utf-8")
    lines = re.findall(r"^(\w+) +→ (.*)$", page, re.M)
    written = {name: set(others.split(", ")) for name, others in lines}
    assert written == {k: v for k, v in MAY_IMPORT.items() if v and k != "__main__"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SRC)))
def test_import_directions(path: Path) -> None:
    part = part_of(path)
    allowed = MAY_IMPORT[part] | BASE | {part}
    for name in imported_names(path):
        root, _, rest = name.partition(".")
        if root == "selfnorm":
            target = rest.partition(".")[0]
            if target:  # `import selfnorm` itself is the table of contents
                assert target in allowed, f"{part} may not import selfnorm.{target}"
        elif root in ONLY_IN:
            assert part in ONLY_IN[root], f"{root} may not be imported in {part}"
        else:
            assert root in STANDARD, f"{name} is imported in {path} and no rule speaks of it"


def test_the_import_rule_can_fail(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("from selfnorm import nn\nimport selfnorm.cli._main\nimport torch.nn as t\n")
    assert imported_names(bad) == {"selfnorm.nn", "selfnorm.cli._main", "torch.nn"}


def public_modules() -> list[str]:
    names = ["selfnorm"]
    for info in pkgutil.iter_modules([str(SRC)], "selfnorm."):
        if not info.name.rpartition(".")[2].startswith("_"):
            names.append(info.name)
    return names


@pytest.mark.parametrize("name", public_modules())
def test_all_is_what_can_be_imported(name: str) -> None:
    module = importlib.import_module(name)
    assert len(module.__all__) == len(set(module.__all__)), "a name comes twice"
    for public in module.__all__:
        assert getattr(module, public) is not None
    # What a module shows besides __all__ is private, a submodule, or imported for its own use.
    own = {
        attribute
        for attribute, value in vars(module).items()
        if not attribute.startswith("_")
        and getattr(value, "__module__", None) == name
        and callable(value)
    }
    assert own <= set(module.__all__), "public but not in __all__"


def test_dir_lists_the_lazy_parts() -> None:
    assert set(selfnorm.__all__) <= set(dir(selfnorm))
    with pytest.raises(AttributeError, match="no attribute 'no_such_part'"):
        _ = selfnorm.no_such_part


def fresh(code: str) -> str:
    """Run code in a new interpreter, without this test session's imports."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_import_is_cheap() -> None:
    report = json.loads(
        fresh(
            "import json, sys, time\n"
            "start = time.process_time()\n"
            "import selfnorm\n"
            "cpu = time.process_time() - start\n"
            "heavy = {'torch', 'numpy', 'scipy', 'sklearn', 'matplotlib', 'click', 'rich'}\n"
            "print(json.dumps({'cpu': cpu, 'heavy': sorted(heavy & set(sys.modules))}))\n"
        )
    )
    assert report["heavy"] == []
    # A contract, not a benchmark: CPU seconds of this process, about twenty times what it takes.
    assert report["cpu"] < 0.3


def test_theory_needs_no_torch_and_no_optional_package() -> None:
    loaded = fresh(
        "import sys, selfnorm.theory as t\n"
        "t.solve(0.0, 1.0)\n"
        "print({m.partition('.')[0] for m in sys.modules})\n"
    )
    for package in ("torch", "flint", "sklearn", "matplotlib", "click"):
        assert f"'{package}'" not in loaded


def test_version_is_one() -> None:
    from importlib.metadata import version

    assert version("selfnorm") == selfnorm.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", selfnorm.__version__)
    changelog = (SRC.parent.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    assert selfnorm.__version__ in changelog


def test_typed() -> None:
    assert (SRC / "py.typed").is_file()
