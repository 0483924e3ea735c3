"""Entry point: the command group, loaded command by command, and the exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

import click

import selfnorm
from selfnorm.errors import DomainError, SelfNormError

# name -> (module, attribute, one line for --help); a command is imported when it is called, so that
# `selfnorm solve` pays neither for torch nor for matplotlib.
COMMANDS: Final = {
    "bench": ("selfnorm.cli._bench", "bench", "Layers and training on this machine, timed."),
    "certify": ("selfnorm.cli._certify", "certify", "Prove the theorems, or check a stored proof."),
    "check": ("selfnorm.cli._check", "check", "The known faults of a network, and their remedies."),
    "diagnose": ("selfnorm.cli._diagnose", "diagnose", "A network's moments beside theory's."),
    "experiment": ("selfnorm.cli._experiment", "experiment", "Run a published or new experiment."),
    "export": ("selfnorm.cli._export", "export", "A trained model as an ONNX file."),
    "predict": ("selfnorm.cli._predict", "predict", "Predictions for the rows of a file."),
    "solve": ("selfnorm.cli._solve", "solve", "Constants and stability for a fixed point."),
    "theory-report": (
        "selfnorm.cli._theory_report",
        "theory_report",
        "Pictures and proofs of the theory in one HTML file.",
    ),
    "train": ("selfnorm.cli._train", "train", "A model, its metrics and a report from a table."),
}


class LazyGroup(click.Group):
    """A click group whose commands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command, None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in sorted(COMMANDS)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(selfnorm.__version__, prog_name="selfnorm")
def cli() -> None:
    """Self-normalizing neural networks: design, train, and see whether they normalise themselves.

    Exit codes: 0 fine, 1 findings or failure, 2 wrong usage.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code; errors are one line on stderr.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after ``selfnorm``; by default those of the process.

    Raises
    ------
    SystemExit
        Always: 0 fine, 1 findings or failure, 2 wrong usage, 130 interrupted.
    """
    try:
        status = cli.main(arguments, prog_name="selfnorm", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(2)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "selfnorm"
        fail(f"{error.format_message()} See '{where} --help'.", 2)
    except click.ClickException as error:
        fail(error.format_message(), error.exit_code)
    except click.Abort:
        fail("interrupted; what was finished is kept.", 130)
    except DomainError as error:
        fail(str(error), 2)
    except SelfNormError as error:
        fail(str(error), 1)
    except (MemoryError, RuntimeError) as error:
        # torch tells of a full memory by a RuntimeError of its own making.
        if not isinstance(error, MemoryError) and "allocate" not in str(error):
            raise
        fail("the memory of this machine is too small for these sizes; choose smaller ones.", 1)
    except BrokenPipeError:
        # The reader (head, less) went away: no message, and no second attempt to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        place = f" {error.filename!r}" if error.filename else ""
        fail(f"cannot use{place}: {error.strerror or error}; choose another place or free it.", 1)
    sys.exit(status if isinstance(status, int) else 0)


def fail(message: str, code: int) -> NoReturn:
    """Print one line on stderr and leave with the exit code."""
    click.echo(f"selfnorm: {' '.join(message.split())}", err=True)
    sys.exit(code)
