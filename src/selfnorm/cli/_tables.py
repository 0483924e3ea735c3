"""What ``train``, ``predict`` and ``export`` have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from selfnorm.errors import DataError

if TYPE_CHECKING:
    from selfnorm.tabular import SNNClassifier, SNNRegressor

__all__ = ["MODEL", "BadData", "bad_data", "check_model", "check_table", "load_model"]

MODEL: Final = "model.safetensors"


class BadData(click.ClickException):
    """What was given cannot be used: wrong usage, as a wrong option is."""

    exit_code = 2


@contextlib.contextmanager
def bad_data() -> Iterator[None]:
    """Leave with the exit code of wrong usage when a table or a model is at fault."""
    try:
        yield
    except DataError as error:
        raise BadData(str(error)) from error


def check_table(path: Path) -> None:
    """Refuse a table that is not there, before anything large is imported."""
    if not path.exists():
        raise BadData(
            f"the table must be a readable file, however: {str(path)!r} is not there; check the "
            "path"
        )


def check_model(folder: Path) -> Path:
    """Return the file of a model; refuse a folder without one, before anything is imported."""
    path = folder / MODEL if folder.is_dir() else folder
    if not path.exists():
        raise BadData(
            f"the model must be a folder that 'selfnorm train' has made, however: {str(path)!r} is "
            "not there; check the path, or train first"
        )
    return path


def load_model(folder: Path) -> SNNClassifier | SNNRegressor:
    """Load the model of a folder that ``selfnorm train`` has made, or a model file itself."""
    path = check_model(folder)
    from selfnorm.tabular._saving import load

    return load(path)
