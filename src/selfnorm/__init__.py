"""Self-normalizing neural networks: theory, layers, experiments.

A table of contents. Parts load on first use (PEP 562), so that ``import selfnorm`` is cheap and
imports neither torch nor scipy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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
    from selfnorm import (
        constants,
        diagnosis,
        experiments,
        functional,
        init,
        nn,
        ops,
        report,
        tabular,
        theory,
        train,
    )
    from selfnorm.diagnosis import Monitor, check, convert, coord_check, diagnose
    from selfnorm.tabular import SNNClassifier, SNNRegressor, load

__version__ = "0.1.0"

_MODULES = (
    "constants",
    "diagnosis",
    "experiments",
    "functional",
    "init",
    "nn",
    "ops",
    "report",
    "tabular",
    "theory",
    "train",
)
_ESTIMATORS = ("SNNClassifier", "SNNRegressor", "load")
_DIAGNOSIS = ("Monitor", "check", "convert", "coord_check", "diagnose")

__all__ = [
    "BackendError",
    "CertificateError",
    "ConvergenceError",
    "DataError",
    "DomainError",
    "MissingDependencyError",
    "Monitor",
    "SNNClassifier",
    "SNNRegressor",
    "SelfNormError",
    "__version__",
    "check",
    "constants",
    "convert",
    "coord_check",
    "diagnose",
    "diagnosis",
    "experiments",
    "functional",
    "init",
    "load",
    "nn",
    "ops",
    "report",
    "tabular",
    "theory",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"selfnorm.{name}")
    if name in _ESTIMATORS:
        return getattr(importlib.import_module("selfnorm.tabular"), name)
    if name in _DIAGNOSIS:
        return getattr(importlib.import_module("selfnorm.diagnosis"), name)
    raise AttributeError(f"module 'selfnorm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
