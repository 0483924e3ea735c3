"""tools/environment.py: a broken or half-made environment is noticed, a whole one is reused."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "tools" / "environment.py"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, turned to a small environment of its own that holds one fake distribution."""
    spec = importlib.util.spec_from_file_location("environment", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    venv = tmp_path / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", venv)
    monkeypatch.setattr(module, "PYTHON", venv / "bin" / "python")
    monkeypatch.setattr(module, "STAMP", venv / "stamp.json")
    monkeypatch.setattr(module, "CONSTRAINTS", tmp_path / "constraints.txt")
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "CMakeLists.txt").write_text("project(fake)\n")
    (tmp_path / "csrc").mkdir()
    (tmp_path / "src").mkdir()
    (tmp_path / "csrc" / "kernel.cpp").write_text("int one;\n")
    site = next((venv / "lib").glob("python3*")) / "site-packages"
    info = site / "fake-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "fake.py").write_text("")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake\nVersion: 1.0\n")
    (info / "RECORD").write_text("fake.py,,\n__pycache__/fake.pyc,,\n")
    module.finish()
    module.fake = site / "fake.py"
    return module


def test_a_whole_environment_is_reused(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "make", lambda: pytest.fail("made anew"))
    environment.main()
    assert capsys.readouterr().out == ""


def test_missing(environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "VENV", tmp_path / "nowhere")
    assert "none yet" in environment.fault()


def test_unfinished_set_up(environment: ModuleType) -> None:
    environment.STAMP.unlink()
    assert "not finished" in environment.fault()
    environment.STAMP.write_text("{ half")
    assert "not finished" in environment.fault()


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_inputs(environment: ModuleType, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("changed")
    assert name in environment.fault()


def test_deleted_package_file(environment: ModuleType) -> None:
    environment.fake.unlink()
    assert environment.fault() == "fake: fake.py is missing"


def test_broken_interpreter(environment: ModuleType) -> None:
    environment.PYTHON.unlink()
    assert "does not start" in environment.fault()


def test_a_fault_leads_to_a_new_environment(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []
    monkeypatch.setattr(environment, "make", lambda: made.append(True))
    environment.STAMP.unlink()
    environment.main()
    assert made == [True]
    assert "set-up was not finished" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["csrc/kernel.cpp", "csrc/new.h", "CMakeLists.txt", "src/new.py"])
def test_changed_kernels_are_built_and_nothing_else(
    environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    commands: list[tuple[object, ...]] = []
    monkeypatch.setattr(environment, "make", lambda: pytest.fail("made anew"))
    monkeypatch.setattr(environment, "run", lambda *command: commands.append(command))
    monkeypatch.setattr(environment, "which_kernels", lambda: "native")
    (tmp_path / name).write_text("changed")
    environment.main()
    assert [("--no-deps" in c, "--no-build-isolation" in c) for c in commands] == [(True, True)]
    environment.main()
    assert len(commands) == 1


def test_old_python_is_refused(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.sys, "version_info", (3, 10, 4))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 or newer"):
        environment.main()


def test_a_failing_command_shows_its_output(environment: ModuleType) -> None:
    code = "import sys; print('why it failed'); sys.exit(3)"
    with pytest.raises(SystemExit, match=r"why it failed\n\nset-up failed \(exit 3\)"):
        environment.run(sys.executable, "-c", code)
