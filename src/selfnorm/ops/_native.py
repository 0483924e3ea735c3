"""The native library: where it is, whether it loads, and if not, why."""

from __future__ import annotations

import ctypes
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import torch

from selfnorm.errors import BackendError
from selfnorm.ops import _schema, _training  # noqa: F401  it takes over what they define

__all__ = ["load"]

# What CMake calls a module on Linux and macOS, and on Windows.
_NAMES: Final = ("libselfnorm_kernels.so", "selfnorm_kernels.dll")


def load() -> tuple[bool, str]:
    """Load the library; return whether it answers for CPU tensors from now on, and why (not).

    Raises
    ------
    BackendError
        If ``SELFNORM_CPU`` asks for instructions that this processor or this library lacks.
    """
    if os.environ.get("SELFNORM_NATIVE", "1") == "0":
        return False, "SELFNORM_NATIVE=0 in the environment switches the native library off"
    path = _find()
    if path is None:
        return False, (
            "this installation has no native library: it was made without a C++ compiler or "
            "without torch at hand; with both, pip install --no-build-isolation selfnorm adds it"
        )
    try:
        instructions = _instructions(path)
        if instructions is not None:
            torch.ops.load_library(path)
    except (OSError, AttributeError) as error:
        return False, f"the native library {path} does not load: {error.__cause__ or error}"
    if instructions is None:
        raise BackendError(
            "SELFNORM_CPU must name instructions that this processor has, of baseline, avx2 and "
            f"avx512, however: SELFNORM_CPU={os.environ.get('SELFNORM_CPU')!r}; leave it out for "
            "the best"
        )
    return True, f"compiled kernels with {instructions} instructions, {path}"


def _find() -> Path | None:
    # An editable installation has two folders: the sources, and what was built.
    spec = find_spec("selfnorm.ops")
    folders = spec.submodule_search_locations if spec else None
    candidates = (Path(folder, "native", name) for folder in folders or () for name in _NAMES)
    return next((path for path in candidates if path.is_file()), None)


def _instructions(path: Path) -> str | None:
    """Return the name of the instruction set that the library chose, None if there is none."""
    function = ctypes.CDLL(str(path)).selfnorm_cpu
    function.restype = ctypes.c_char_p
    name = function()
    return None if name is None else str(name, "ascii")
