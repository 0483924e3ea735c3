"""The wheel, not only the checkout: what it holds, and that it works when unpacked elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {
    path.relative_to(ROOT / "src").as_posix()
    for path in (ROOT / "src" / "selfnorm").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}

# Runs apart from the checkout: the finder of the editable installation is taken out.
USE = """
import sys
sys.meta_path = [f for f in sys.meta_path if "editable" not in type(f).__module__]
sys.path = [sys.argv[1], *(p for p in sys.path if not p.endswith("/src"))]
import selfnorm, selfnorm.report as report
assert selfnorm.__file__.startswith(sys.argv[1]), selfnorm.__file__
assert selfnorm.theory.solve().stable
import torch
backend = selfnorm.ops.backends()["cpu"]
assert backend.name == sys.argv[2], backend
generator = torch.Generator().manual_seed(0)
model = selfnorm.nn.SNN(4, 3, width=8, depth=2, generator=generator)
model(torch.ones(5, 4)).sum().backward()
section = report.Section("head", ["text"], table=report.Table(["a"], [[1.5]]), see="this")
assert "<h1" in report.Page("title", "summary", [section]).html()
"""


def make(folder: Path, **environment: str) -> Path:
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    # A build folder of its own, so that no earlier result is taken for this one's.
    settings = ["--config-settings", f"build-dir={folder / 'build'}"]
    subprocess.run(
        [*pip, *settings, "--wheel-dir", folder, ROOT],
        check=True,
        capture_output=True,
        env={**os.environ, **environment},
    )
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def pure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("pure"), SELFNORM_PURE="1")


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (shutil.which("c++") or os.environ.get("CXX")):
        pytest.skip("no C++ compiler here")
    return make(tmp_path_factory.mktemp("native"))


def contents(wheel: Path) -> set[str]:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert any(name.endswith("LICENSE") for name in names)
    return {name for name in names if ".dist-info/" not in name}


def assert_works(wheel: Path, folder: Path, backend: str) -> None:
    zipfile.ZipFile(wheel).extractall(folder)
    command = [sys.executable, "-c", USE, str(folder), backend]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_pure_wheel_holds_the_package_and_nothing_else(pure: Path) -> None:
    assert pure.name.endswith("-py3-none-any.whl")
    assert contents(pure) == SOURCES


def test_the_pure_wheel_works_when_unpacked_elsewhere(pure: Path, tmp_path: Path) -> None:
    assert_works(pure, tmp_path, "torch")


def test_the_native_wheel_adds_one_library(native: Path, tmp_path: Path) -> None:
    # For this platform, and for every Python.
    assert "-py3-none-" in native.name
    assert not native.name.endswith("-any.whl")
    added = contents(native) - SOURCES
    assert len(added) == 1
    assert added.pop().startswith("selfnorm/ops/native/")
    if os.environ.get("SELFNORM_NATIVE") != "0":
        assert_works(native, tmp_path, "native")


def test_a_compiler_that_fails_leaves_the_pure_wheel(tmp_path: Path) -> None:
    assert make(tmp_path, CXX="/bin/false").name.endswith("-py3-none-any.whl")
