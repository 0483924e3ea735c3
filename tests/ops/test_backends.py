"""Which implementation answers, and what happens where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfnorm import ops
from selfnorm.ops import _native

NATIVE = ops.backends()["cpu"].name == "native"
needs_kernels = pytest.mark.skipif(not NATIVE, reason="this installation has no native library")


def fresh(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_backends_say_what_is_in_use_and_why() -> None:
    found = ops.backends()
    assert set(found) == {"cpu", "cuda", "other"}
    for backend in found.values():
        assert backend.name in {"native", "triton", "torch"}
        assert len(backend.reason) > 20


SHOW = "from selfnorm import ops; print(*ops.backends()['cpu'])"


def test_the_native_library_can_be_switched_off() -> None:
    result = fresh(SHOW, SELFNORM_NATIVE="0")
    assert result.stdout.startswith("torch SELFNORM_NATIVE=0 in the environment")


@needs_kernels
def test_instructions_can_be_chosen() -> None:
    assert " baseline instructions" in fresh(SHOW, SELFNORM_CPU="baseline").stdout


@needs_kernels
def test_instructions_that_are_not_there_are_refused() -> None:
    result = fresh(SHOW, SELFNORM_CPU="avx1024")
    assert result.returncode == 1
    assert "however: SELFNORM_CPU='avx1024'; leave it out" in result.stderr
    assert "BackendError" in result.stderr


def test_a_library_that_does_not_load_is_reported_and_harms_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "libselfnorm_kernels.so"
    broken.write_bytes(b"no library")
    monkeypatch.setattr(_native, "_find", lambda: broken)
    monkeypatch.delenv("SELFNORM_NATIVE", raising=False)
    loaded, reason = _native.load()
    assert not loaded
    assert reason.startswith(f"the native library {broken} does not load: ")


def test_an_installation_without_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native, "_find", lambda: None)
    monkeypatch.delenv("SELFNORM_NATIVE", raising=False)
    loaded, reason = _native.load()
    assert not loaded
    assert "pip install --no-build-isolation selfnorm" in reason
