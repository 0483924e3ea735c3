"""Self-normalizing neural networks: theory, layers, experiments.

A table of contents. Parts load on first use (PEP 562), so that ``import selfnorm`` is cheap and
imports neither torch nor scipy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from selfnorm.errors import (
    BackendError,
    CertificateError,
    ConvergenceError,
    DataError,
    DomainError,
    MissingDependencyError,
    SelfNormError,
)

if TYPE_CHECKING:
    from types import ModuleType

    from selfnorm import constants, experiments, functional, init, nn, ops, report, theory, train

__version__ = "0.1.0"

_MODULES = (
    "constants",
    "experiments",
    "functional",
    "init",
    "nn",
    "ops",
    "report",
    "theory",
    "train",
)

__all__ = [
    "BackendError",
    "CertificateError",
    "ConvergenceError",
    "DataError",
    "DomainError",
    "MissingDependencyError",
    "SelfNormError",
    "__version__",
    "constants",
    "experiments",
    "functional",
    "init",
    "nn",
    "ops",
    "report",
    "theory",
    "train",
]


def __getattr__(name: str) -> ModuleType:
    if name in _MODULES:
        return importlib.import_module(f"selfnorm.{name}")
    raise AttributeError(f"module 'selfnorm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
