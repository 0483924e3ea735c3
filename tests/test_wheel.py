"""The wheel, not only the checkout: what it holds, and that it works when unpacked elsewhere."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Runs apart from the checkout: the finder of the editable installation is taken out.
USE = """
import sys
sys.meta_path = [f for f in sys.meta_path if "editable" not in type(f).__module__]
sys.path = [sys.argv[1], *(p for p in sys.path if not p.endswith("/src"))]
import selfnorm, selfnorm.report as report
assert selfnorm.__file__.startswith(sys.argv[1]), selfnorm.__file__
assert selfnorm.theory.solve().stable
import torch
generator = torch.Generator().manual_seed(0)
model = selfnorm.nn.SNN(4, 3, width=8, depth=2, generator=generator)
assert model(torch.ones(5, 4)).shape == (5, 3)
section = report.Section("head", ["text"], table=report.Table(["a"], [[1.5]]), see="this")
assert "<h1" in report.Page("title", "summary", [section]).html()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", folder, ROOT], check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_it_holds_the_package_and_nothing_else(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    source = ROOT / "src"
    expected = {
        path.relative_to(source).as_posix()
        for path in (source / "selfnorm").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert any(name.endswith("LICENSE") for name in names)


def test_it_works_when_unpacked_elsewhere(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    command = [sys.executable, "-c", USE, str(tmp_path)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
