"""The ``selfnorm`` command: parse, call, print; nothing else."""

from __future__ import annotations

from selfnorm.cli._main import cli, main

__all__ = ["cli", "main"]
