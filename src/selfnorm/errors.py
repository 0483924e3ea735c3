"""The exceptions selfnorm raises.

::

    SelfNormError(Exception)
    ├── DomainError(ValueError)              an argument lies outside its domain
    ├── ConvergenceError(RuntimeError)       an iteration ended without an answer
    ├── CertificateError                     a claim or a certificate does not hold
    ├── BackendError(RuntimeError)           a kernel or device cannot do what was asked
    ├── MissingDependencyError(ImportError)  an optional package is not installed
    └── DataError(ValueError)                data are absent, damaged or of the wrong form

Every class also inherits the standard exception that callers already catch. A message says
what was expected, what came (name and value) and the remedy.
"""

from __future__ import annotations

__all__ = [
    "BackendError",
    "CertificateError",
    "ConvergenceError",
    "DataError",
    "DomainError",
    "MissingDependencyError",
    "SelfNormError",
]


class SelfNormError(Exception):
    """Base class of every exception that selfnorm raises on purpose."""


class DomainError(SelfNormError, ValueError):
    """An argument lies outside the domain on which the function is defined."""


class ConvergenceError(SelfNormError, RuntimeError):
    """An iteration or a search ended without an answer that may be returned."""


class CertificateError(SelfNormError):
    """A claim could not be certified, or a stored certificate does not hold."""


class BackendError(SelfNormError, RuntimeError):
    """A kernel, a device or a data type cannot do what was asked."""


class MissingDependencyError(SelfNormError, ImportError):
    """An optional package is needed and is not installed.

    Parameters
    ----------
    package : str
        Distribution name, as pip knows it.
    extra : str
        The selfnorm extra that brings it.
    purpose : str
        What needs it, as the beginning of a sentence.

    Examples
    --------
    >>> print(MissingDependencyError("some-package", extra="report", purpose="this"))
    this needs some-package, which is not installed; install it with: pip install 'selfnorm[report]'
    """

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed; "
            f"install it with: pip install 'selfnorm[{extra}]'"
        )
        self.package = package
        self.extra = extra


class DataError(SelfNormError, ValueError):
    """A data set is absent, damaged or not of the form that was asked for."""
