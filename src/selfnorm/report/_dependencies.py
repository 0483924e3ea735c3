"""The optional packages that draw: present, or named with the remedy."""

from __future__ import annotations

import importlib.util

from selfnorm.errors import MissingDependencyError

__all__ = ["require"]


def require() -> None:
    """Raise at once if a package that draws reports is missing.

    A long computation calls this first, so that it does not end without its report.

    Raises
    ------
    MissingDependencyError
        If matplotlib or jinja2 is not installed; the message holds the pip line.

    Examples
    --------
    >>> require()
    """
    for package in ("matplotlib", "jinja2"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(package, extra="report", purpose="A report")
