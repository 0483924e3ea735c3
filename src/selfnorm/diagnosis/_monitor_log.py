"""Where a monitor writes: a callable, JSON lines, TensorBoard."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from selfnorm.diagnosis._records import plain
from selfnorm.errors import DomainError

__all__ = ["Log", "Record", "Writer", "flat", "log_of"]

Record = dict[str, Any]


class Writer(Protocol):
    """TensorBoard's SummaryWriter, and whoever does as it does."""

    def add_scalar(self, tag: str, scalar_value: Any, global_step: int) -> Any:
        """Write one number."""


Log = Callable[[Record], object] | str | os.PathLike[str] | Writer | None


def flat(record: Record, prefix: str = "selfnorm") -> Iterator[tuple[str, float]]:
    """Yield each number of a record under a name of its own: ``selfnorm/<layer>/<what>``."""
    for layer in record["layers"]:
        for name, value in layer.items():
            if isinstance(value, int | float):
                yield f"{prefix}/{layer['layer']}/{name}", value


def log_of(log: Log) -> tuple[Callable[[Record], object] | None, Callable[[], None]]:
    """Return what takes a record, and what is called at the end."""
    if log is None:
        return None, _nothing
    if isinstance(log, str | os.PathLike):
        if not str(log) or Path(log).is_dir():
            raise DomainError(
                f"log must be the path of a file, however: log={os.fspath(log)!r} is a folder; "
                "name the file, as 'run.jsonl'"
            )
        lines = _Lines(Path(log))
        return lines.write, lines.close
    add = getattr(log, "add_scalar", None)
    if callable(add):

        def scalars(record: Record) -> None:
            for name, value in flat(record):
                add(name, value, record["step"])

        return scalars, _nothing
    if callable(log):
        return log, _nothing
    raise DomainError(
        "log must be a path, a callable or a SummaryWriter, however: "
        f"log={log!r}; leave it out to keep the records in the monitor"
    )


def _nothing() -> None:
    """Do nothing."""


class _Lines:
    """JSON lines: each record is appended by one write, so that a line is whole or missing."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._handle: int | None = os.open(path, flags, 0o666)
        size = path.stat().st_size
        with path.open("rb") as stream:
            stream.seek(max(0, size - 1))
            # A killed process may have left a part of a line, which must not swallow the next.
            self._start = b"" if size == 0 or stream.read() == b"\n" else b"\n"

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one line."""
        if self._handle is None:
            return
        text = json.dumps(plain(record), allow_nan=False, separators=(",", ":"))
        os.write(self._handle, self._start + text.encode() + b"\n")
        self._start = b""

    def close(self) -> None:
        """Close the file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
