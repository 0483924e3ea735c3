"""Run the command line inside the test process."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from selfnorm.cli import main


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """A function that runs ``selfnorm`` with the given words."""

    def call(*words: str) -> Outcome:
        with pytest.raises(SystemExit) as stop:
            main(words)
        captured = capsys.readouterr()
        return Outcome(int(stop.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def refused(run: Callable[..., Outcome]) -> Callable[..., str]:
    """A function that runs words which must be refused in one line, and returns that line."""

    def call(code: int, *words: str) -> str:
        outcome = run(*words)
        assert outcome.code == code
        assert outcome.out == ""
        assert outcome.err.startswith("selfnorm: ")
        assert outcome.err.count("\n") == 1
        return outcome.err

    return call
