"""Make, repair or reuse the development environment in ``.venv``.

Run by the Makefile with any Python >= 3.11 and nothing but its standard library. A stamp inside the
environment, written last, records what the environment was made from; every call compares it and
checks that the interpreter starts and that each installed file is still there. Anything else than a
complete environment is removed and made anew, so an interrupted set-up repairs itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "selfnorm-environment.json"
CONSTRAINTS = ROOT / "constraints.txt"

# Runs inside the environment: names the first installed file that is missing. Byte code is left
# out, since deleting it is harmless.
CHECK = """
from importlib.metadata import distributions
for d in distributions():
    for f in d.files or ():
        if f.suffix != ".pyc" and not f.locate().exists():
            raise SystemExit(f"{d.name}: {f} is missing")
"""


def digest(*paths: Path) -> str:
    """Return a hash of the contents of files."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.read_bytes())
    return total.hexdigest()


def wanted() -> dict[str, str]:
    """Return what the environment has to be made from."""
    inputs = digest(ROOT / "pyproject.toml", CONSTRAINTS, Path(__file__))
    return {"python": sys.version, "root": str(ROOT), "inputs": inputs}


def kernels() -> str:
    """Return what the native library has to be made from, and which modules there are.

    An editable installation remembers where each module was.
    """
    names = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "src").rglob("*.py"))
    contents = digest(ROOT / "CMakeLists.txt", *sorted((ROOT / "csrc").glob("*")))
    return hashlib.sha256("\n".join((contents, *names)).encode()).hexdigest()


def stamp() -> dict[str, str]:
    """Return what the environment was made from; raise OSError or ValueError without it."""
    return dict(json.loads(STAMP.read_text(encoding="utf-8")))


def fault() -> str | None:
    """Return why the environment cannot be used as it is, or None if it can."""
    if not VENV.exists():
        return "there is none yet"
    try:
        if wanted().items() - stamp().items():
            return "it was made from another pyproject.toml, constraints.txt, Python or folder"
    except (OSError, ValueError):
        return "its set-up was not finished"
    try:
        check = subprocess.run([PYTHON, "-c", CHECK], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"its interpreter does not start ({error})"
    return None if check.returncode == 0 else check.stderr.strip().splitlines()[-1]


def run(*command: str | Path) -> None:
    """Run a command; on failure print its output and leave with its exit code."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode:
        shown = " ".join(str(part) for part in command)
        sys.exit(f"{result.stdout}\nset-up failed (exit {result.returncode}): {shown}")


def install(*arguments: str | Path) -> None:
    """Install into the environment."""
    run(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)


def make() -> None:
    """Make the environment from nothing."""
    shutil.rmtree(VENV, ignore_errors=True)
    try:
        import ensurepip  # noqa: F401  Debian splits it off; without it venv fails half-way
    except ImportError:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        sys.exit(
            f"this Python ({sys.executable}) cannot make virtual environments: ensurepip is "
            f"missing; on Debian and Ubuntu: apt-get install python{version}-venv"
        )
    run(sys.executable, "-m", "venv", VENV)
    constrained = ("--constraint", CONSTRAINTS)
    # torch first and by its exact pin, so that no later step resolves it anew; no build isolation,
    # so that building the package never fetches a second torch.
    builders = [name for name in ("cmake", "ninja") if not shutil.which(name)]
    install(*constrained, "torch", "scikit-build-core", *builders)
    install(*constrained, "--no-build-isolation", "--editable", f"{ROOT}[dev]")
    finish()


def build_kernels() -> None:
    """Install the package once more, for its native library and its list of modules."""
    install("--no-deps", "--no-build-isolation", "--force-reinstall", "--editable", ROOT)
    finish()


def finish() -> None:
    """Write the stamp, the sign that everything is there."""
    STAMP.write_text(json.dumps({**wanted(), "kernels": kernels()}), encoding="utf-8")


def which_kernels() -> str:
    """Return in words what computes on the CPU."""
    command = "from selfnorm import ops; print(': '.join(ops.backends()['cpu']))"
    result = subprocess.run([PYTHON, "-c", command], capture_output=True, text=True, check=False)
    return result.stdout.strip() or result.stderr.strip().splitlines()[-1]


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Hold a lock, so that two make calls at once do not build into one folder."""
    if os.name == "nt":
        yield
        return
    import fcntl

    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Bring the environment into order and say so only when there was something to do."""
    if sys.version_info < (3, 11):  # noqa: UP036  the interpreter is the user's
        sys.exit(
            f"selfnorm needs Python 3.11 or newer, however {sys.executable} is "
            f"{sys.version.split()[0]}; choose another: make PYTHON=python3.12 ..."
        )
    with only_one():
        reason = fault()
        start = time.monotonic()
        if reason is not None:
            print(
                f"making the environment .venv ({reason}); this takes a minute or two ...",
                flush=True,
            )
            make()
        elif stamp().get("kernels") != kernels():
            print("csrc or the list of modules has changed, installing anew ...", flush=True)
            build_kernels()
        else:
            return
        print(f"environment ready after {time.monotonic() - start:.0f} s; {which_kernels()}")


if __name__ == "__main__":
    main()
