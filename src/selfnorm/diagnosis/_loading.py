"""A model by the name of what builds it, and data from a file."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from selfnorm.errors import DataError

__all__ = ["load_data", "load_model", "normal_rows"]


def load_model(target: str) -> nn.Module:
    """Return the model that ``module:name`` or ``file.py:name`` names.

    The name may have dots. What it names is a module, or is called without arguments and returns
    one. The current folder is searched first.

    Raises
    ------
    DataError
        If it is not found, raises an exception, or returns something else.
    """
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise DataError(
            f"the model must be named as module:factory, however: {target!r}; write for example "
            "mypackage.models:build or models.py:build"
        )
    with _current_folder():
        value: Any = _imported(place, target)
        for part in name.split("."):
            if not hasattr(value, part):
                raise DataError(
                    f"{place} must have {name!r}, however: {part!r} is not there; "
                    f"it has {_names(value)}"
                )
            value = getattr(value, part)
        if not isinstance(value, nn.Module):
            value = _called(value, target)
    if not isinstance(value, nn.Module):
        raise DataError(
            f"{target} must return a torch.nn.Module, however: a {type(value).__name__} came; "
            "let it return the network"
        )
    return value


def _imported(place: str, target: str) -> Any:
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        path = Path(place)
        if not path.is_file():
            raise DataError(
                f"the file of {target!r} must exist, however: {place!r} does not; check the path"
            )
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(path.stem, module)
        spec.loader.exec_module(module)
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"{place} must be importable, however: {type(error).__name__}: {error}; "
            "run the command in the folder where it can be imported"
        ) from error
    return module


def _called(value: Any, target: str) -> Any:
    if not callable(value):
        raise DataError(
            f"{target} must be a model or a function that builds one, however: it is a "
            f"{type(value).__name__}; name a function"
        )
    try:
        return value()
    except Exception as error:
        raise DataError(
            f"{target}() must build a model without arguments, however: {type(error).__name__}: "
            f"{error}; write a function that passes them"
        ) from error


def _names(value: Any) -> str:
    names = [name for name in vars(value) if not name.startswith("_")] if vars(value) else []
    shown = ", ".join(names[:8]) or "nothing public"
    return shown + (", …" if len(names) > 8 else "")


@contextlib.contextmanager
def _current_folder() -> Iterator[None]:
    sys.path.insert(0, "")
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove("")


def load_data(path: Path) -> Any:
    """Read tensors or arrays from a .npy, .npz, .pt or .csv file.

    An .npz gives its ``X`` and, if there is one, ``y``; otherwise its only array, or all its arrays
    as a mapping to the arguments of the model's forward. A .pt file is read with ``weights_only``,
    so that it cannot run code.

    Raises
    ------
    DataError
        If the file cannot be read or has another ending.
    """
    readers = {".npy": _npy, ".npz": _npz, ".pt": _pt, ".pth": _pt, ".csv": _csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"data must be a file ending in {', '.join(readers)}, however: {str(path)!r}; "
            "save an array with numpy.save"
        )
    try:
        return reader(path)
    except FileNotFoundError as error:
        raise DataError(
            f"the data file must exist, however: {str(path)!r} does not; check the path"
        ) from error
    except DataError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, RuntimeError, KeyError) as error:
        raise _unreadable(path, error) from error
    except Exception as error:
        # pickle, inside torch.load, raises exceptions of many kinds.
        if type(error).__module__ in ("_pickle", "pickle"):
            raise _unreadable(path, error) from error
        raise


def _unreadable(path: Path, error: Exception) -> DataError:
    first = str(error).strip().splitlines()[:1]
    return DataError(
        f"{str(path)!r} must be readable, however: {type(error).__name__}: {' '.join(first)}; "
        "save plain tensors or arrays of numbers"
    )


def _npy(path: Path) -> Any:
    return _numbers(np.load(path, allow_pickle=False))


def _npz(path: Path) -> Any:
    with np.load(path, allow_pickle=False) as stored:
        names = list(stored)
        if "X" in names:
            X = _numbers(stored["X"])
            return (X, stored["y"]) if "y" in names else X
        arrays = {name: _numbers(stored[name]) for name in names}
        return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def _pt(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _csv(path: Path) -> Any:
    first = path.read_text(encoding="utf-8").splitlines()[:1]
    words = first[0].split(",") if first else []
    header = any(not _is_number(word) for word in words)
    return np.loadtxt(path, delimiter=",", skiprows=int(header), ndmin=2, dtype=np.float32)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _numbers(array: Any) -> Any:
    if array.dtype.kind not in "fiub":
        raise DataError(
            f"data must be numbers, however: an array of dtype={array.dtype} came; encode texts "
            "as numbers first"
        )
    return array


def normal_rows(shape: str) -> torch.Tensor:
    """Draw standard normal numbers of a shape written as ``256x30``.

    Raises
    ------
    DataError
        If the shape is not of this form.
    """
    parts = shape.lower().split("x")
    if len(parts) < 2 or not all(part.isdigit() and int(part) for part in parts):
        raise DataError(
            f"the shape must be written as rows x features, as 256x30, however: {shape!r}; "
            "images are 64x3x32x32"
        )
    return torch.randn([int(part) for part in parts], generator=torch.Generator().manual_seed(0))
