"""The exception tree: each class is also the standard one that callers already catch."""

from __future__ import annotations

import pytest

from selfnorm import errors


@pytest.mark.parametrize(
    ("name", "standard"),
    [
        ("DomainError", ValueError),
        ("ConvergenceError", RuntimeError),
        ("CertificateError", Exception),
        ("BackendError", RuntimeError),
        ("MissingDependencyError", ImportError),
        ("DataError", ValueError),
    ],
)
def test_tree(name: str, standard: type[Exception]) -> None:
    error = getattr(errors, name)
    assert issubclass(error, errors.SelfNormError)
    assert issubclass(error, standard)
    assert name in (errors.__doc__ or "")


def test_missing_dependency_names_the_pip_line() -> None:
    error = errors.MissingDependencyError("python-flint", extra="certificate", purpose="certify()")
    assert str(error).endswith("pip install 'selfnorm[certificate]'")
    assert (error.package, error.extra) == ("python-flint", "certificate")
