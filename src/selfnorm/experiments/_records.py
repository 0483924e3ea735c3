"""Records of experiments: plain JSON, written whole after each finished part."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from selfnorm._files import write_atomically
from selfnorm.errors import DomainError
from selfnorm.experiments._data import Dataset
from selfnorm.report import require

__all__ = ["ExperimentResult", "Recorder", "Report", "digest_of", "plain"]

RESULT_NAME: Final = "result.json"
REPORT_NAME: Final = "report.html"
_ENVIRONMENT_THAT_MATTERS: Final = ("selfnorm", "torch", "processor", "threads")

Record = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ExperimentResult:
    """What an experiment returns.

    Attributes
    ----------
    record : dict
        Everything measured, as it stands in ``result.json``: plain lists, dicts, text and
        numbers. A number that is not finite is None.
    columns : tuple of str
        Heads of the summary table.
    rows : tuple of tuple
        Its rows, one per arm: text, numbers or None.
    result_path, report_path : pathlib.Path or None
        The files written, None without an output folder.
    """

    record: Record
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | None, ...], ...]
    result_path: Path | None = None
    report_path: Path | None = None

    def to_json(self) -> str:
        """Return the record as JSON text."""
        return json.dumps(self.record, allow_nan=False, indent=1)


class Report:
    """The output folder: proven to be writable, and able to draw.

    Parameters
    ----------
    out : path-like
        Folder to write to; made if it is missing.
    render : callable
        Makes the page from a record.

    Raises
    ------
    DomainError
        If the folder cannot be written: found here, before any training.
    MissingDependencyError
        If a package that draws the report is not installed.
    """

    def __init__(self, out: str | os.PathLike[str], render: Callable[[Record], str]) -> None:
        require()
        self.folder = _writable(Path(out))
        self._render = render

    def write_result(self, record: Record) -> None:
        """Write the record."""
        text = json.dumps(record, allow_nan=False, indent=1)
        write_atomically(self.folder / RESULT_NAME, text + "\n")

    def write_page(self, record: Record) -> None:
        """Write the page."""
        write_atomically(self.folder / REPORT_NAME, self._render(record))


class Recorder:
    """Collects finished arms and keeps the files in the output folder up to date.

    Parameters
    ----------
    experiment : str
        Name of the experiment.
    config, environment : mapping
        Stored with the record.
    choice : sequence of str
        Keys of ``config`` that only choose which arms to run. Arms of an interrupted run are
        taken over if everything else agrees.
    report : Report or None
        Where to write; None writes nothing.
    page_interval : float
        Seconds between two writings of the page, whose pictures take seconds. Leaving the ``with``
        block, by an interruption too, brings it up to date.
    """

    def __init__(
        self,
        experiment: str,
        *,
        config: Mapping[str, Any],
        environment: Mapping[str, Any],
        choice: Sequence[str],
        report: Report | None,
        page_interval: float = 30.0,
    ) -> None:
        relevant = {
            "experiment": experiment,
            "config": {key: value for key, value in config.items() if key not in choice},
            "environment": {key: environment.get(key) for key in _ENVIRONMENT_THAT_MATTERS},
        }
        text = json.dumps(plain(relevant), sort_keys=True)
        self.record: Record = {
            "experiment": experiment,
            "complete": False,
            "arms": [],
            "config": plain(config),
            "environment": plain(environment),
            "fingerprint": hashlib.sha256(text.encode()).hexdigest(),
        }
        self._report = report
        self._page_interval = page_interval
        self._page_written = time.monotonic()
        self._page_is_behind = False
        self._previous = self._interrupted()

    def previous(self, name: str) -> Record | None:
        """Return an arm that an interrupted run of the same configuration had finished."""
        return self._previous.get(name)

    def __enter__(self) -> Recorder:
        """Return the recorder."""
        return self

    def __exit__(self, *_: object) -> None:
        """Bring the page up to date with the arms that are finished."""
        if self._report is not None and self._page_is_behind:
            self._write_page(self._report)

    def add(self, arm: Mapping[str, Any], *, last: bool) -> None:
        """Add a finished arm and write it; the last one completes the record."""
        self.record["arms"].append(plain(arm))
        self.record["complete"] = last
        if self._report is None:
            return
        self._page_is_behind = True
        self._report.write_result(self.record)
        if last or time.monotonic() - self._page_written >= self._page_interval:
            self._write_page(self._report)

    @property
    def paths(self) -> tuple[Path | None, Path | None]:
        """The record's and the page's path."""
        if self._report is None:
            return None, None
        return self._report.folder / RESULT_NAME, self._report.folder / REPORT_NAME

    def _write_page(self, report: Report) -> None:
        report.write_page(self.record)
        self._page_written = time.monotonic()
        self._page_is_behind = False

    def _interrupted(self) -> dict[str, Record]:
        """Read what an interrupted run left; anything unreadable or different counts as nothing."""
        if self._report is None:
            return {}
        try:
            old = json.loads((self._report.folder / RESULT_NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(old, dict) or old.get("complete") is not False:
            return {}
        if old.get("fingerprint") != self.record["fingerprint"]:
            return {}
        return {item["name"]: item for item in old["arms"]}


def plain(value: Any) -> Any:
    """Turn a value into what JSON can hold: a number that is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def digest_of(data: Dataset) -> str:
    """Return 16 hexadecimal digits that depend on every row and label."""
    state = hashlib.blake2b(digest_size=8)
    for array in (data.X_train, data.y_train, data.X_test, data.y_test):
        state.update(repr(array.shape).encode())
        state.update(array.tobytes())
    return state.hexdigest()


def _writable(folder: Path) -> Path:
    """Make the folder and prove that a file can be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"selfnorm")
            stream.flush()
    except OSError as error:
        raise DomainError(
            f"out must be a folder that can be written, however: out={str(folder)!r} "
            f"({error.strerror or error}); choose another folder"
        ) from error
    return folder
