"""Checkpoints: one file, written whole or not at all, without code in it."""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
import warnings
from pathlib import Path
from typing import Any, Final, Literal

import torch

from selfnorm._files import write_atomically
from selfnorm.errors import DataError, DomainError
from selfnorm.train._checks import check_choice, check_number

__all__ = ["Checkpoint", "load", "refuse_to_overwrite", "save", "save_or_warn"]

_FORMAT: Final = "selfnorm.train 1"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where and how often a training is saved, so that it can be resumed after a crash.

    The file holds everything but the data: parameters, optimiser, schedule, early stopping,
    position in the epoch, history. It is written to a temporary file, flushed and renamed: whoever
    kills the process at any moment finds the old file or the new one.

    Parameters
    ----------
    path : str or path-like
        The file. Its folder is made if it is missing.
    every : float
        Time or epochs between two writings, greater than 0. A last one is at the end.
    unit : {"seconds", "epochs"}
        What ``every`` counts. Seconds are looked at after each step, so a long epoch is saved in
        its middle.

    Raises
    ------
    DomainError
        If an argument lies outside its domain.

    Notes
    -----
    The size is that of the parameters times 3 for AdamW (2 for SGD, one more each for a weight
    average and for the best weights of early stopping).

    Examples
    --------
    >>> Checkpoint("run.ckpt", every=10, unit="epochs").every
    10.0
    """

    path: str | os.PathLike[str]
    every: float = 600.0
    unit: Literal["seconds", "epochs"] = "seconds"

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | os.PathLike) or not os.fspath(self.path):
            raise DomainError(f"path must name a file, however: path={self.path!r}")
        every = check_number("every", self.every, 0.0, open_low=True)
        object.__setattr__(self, "every", every)
        check_choice("unit", self.unit, ("seconds", "epochs"))


def refuse_to_overwrite(
    checkpoint: Checkpoint | None, resumed: tuple[Path, dict[str, Any]] | None
) -> None:
    """Refuse a file that exists, unless it is the one that the training goes on from."""
    if checkpoint is None or not Path(checkpoint.path).exists():
        return
    if resumed is None or resumed[0].resolve() != Path(checkpoint.path).resolve():
        raise DomainError(
            "a new training must not overwrite a checkpoint, however: "
            f"{os.fspath(checkpoint.path)!r} exists; call resume with it, delete it, or take "
            "another path"
        )


def save(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write a state of numbers, texts, tensors and lists and dicts of these."""
    stream = io.BytesIO()
    torch.save({"format": _FORMAT, **state}, stream)
    write_atomically(path, stream.getvalue())


def save_or_warn(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write a state; if that fails, say so and let the training go on: it is worth more."""
    try:
        save(path, state)
    except OSError as error:
        warnings.warn(
            f"the checkpoint {os.fspath(path)!r} could not be written ({error}); the training goes "
            "on, and the file is as it was; make room or free the folder",
            RuntimeWarning,
            stacklevel=2,
        )


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a state; nothing in the file is run."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(
            f"the checkpoint must be a readable file, however: path={os.fspath(path)!r} ({error})"
        ) from error
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{os.fspath(path)!r} must be a checkpoint of selfnorm.train, however: it cannot be "
            f"read as one ({reason})"
        ) from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise DataError(
            f"{os.fspath(path)!r} must be a checkpoint in the format {_FORMAT!r}, however: "
            f"format={state.get('format') if isinstance(state, dict) else None!r}"
        )
    return state
