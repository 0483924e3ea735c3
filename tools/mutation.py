"""Mutation testing of ``selfnorm.theory``: change one thing and see whether a test notices.

Works on a copy in a temporary folder; the working tree is never touched. Which mutants are tried is
a fixed random choice (``--seed``), the files take turns, and no mutant starts after
``--budget-minutes``. A survivor is either a gap in the tests or a change without effect: read each.
"""

from __future__ import annotations

import argparse
import ast
import copy
import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
THEORY = Path("src/selfnorm/theory")
TESTS = Path("tests/theory")

# The tests that are a file's own, where not simply the test file of the same name.
_CERTIFICATE = ("certificate", "checker")
_CHECKER = ("checker",)
OWN_TESTS = {
    "activation_registry": ("activations", "moments", "gradient_gain"),
    "activation_type": ("activations", "moments"),
    "callables": ("activations", "moments"),
    "certificate_balls": ("certificate", "digits"),
    "checker_interval": _CHECKER,
    "checker_leaves": _CHECKER,
    "checker_map": _CHECKER,
    "closed_forms": ("moments", "moment_jacobian", "gradient_gain", "solve"),
    "finite_width": ("finite_width", "predict"),
    "gaussian": ("moments", "solve", "moment_jacobian"),
    "gradients": ("gradient_gain",),
    "linear_algebra": ("solve", "fixed_point"),
    "local_moments": ("tailor", "edge_of_chaos"),
    "moments": ("moments", "moment_jacobian"),
    "quadrature": ("moments", "moment_jacobian", "gradient_gain"),
    "validation": ("moments", "solve", "predict", "activations"),
}

COMPARISONS: dict[type[ast.cmpop], ast.cmpop] = {
    ast.Lt: ast.GtE(),
    ast.LtE: ast.Gt(),
    ast.Gt: ast.LtE(),
    ast.GtE: ast.Lt(),
    ast.Eq: ast.NotEq(),
    ast.NotEq: ast.Eq(),
    ast.Is: ast.IsNot(),
    ast.IsNot: ast.Is(),
    ast.In: ast.NotIn(),
    ast.NotIn: ast.In(),
}
OPERATORS: dict[type[ast.operator], ast.operator] = {
    ast.Add: ast.Sub(),
    ast.Sub: ast.Add(),
    ast.Mult: ast.Div(),
    ast.Div: ast.Mult(),
    ast.Pow: ast.Mult(),
    ast.FloorDiv: ast.Mult(),
    ast.Mod: ast.Mult(),
    ast.BitAnd: ast.BitOr(),
    ast.BitOr: ast.BitAnd(),
}
NUDGE = 1.01
TOLERANCE = 1e-4  # smaller constants are tolerances, where a nudge says nothing

# Runs the tests of the copy: an editable install must not win over it.
RUNNER = """
import sys
sys.meta_path[:] = [f for f in sys.meta_path if f.__module__.startswith("_frozen_importlib")]
sys.path.insert(0, sys.argv[1])
import selfnorm
assert selfnorm.__file__.startswith(sys.argv[1]), selfnorm.__file__
import pytest
sys.exit(pytest.main(sys.argv[2:]))
"""
FAILED = (1, 2)  # pytest: a test failed; collection broke


@dataclass(frozen=True)
class Mutant:
    """One change: the line, what stood there, what stands there now, and the whole new source."""

    line: int
    before: str
    after: str
    source: str


def replacements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what a node may be changed into."""
    if isinstance(node, ast.Compare):
        for k, operator in enumerate(node.ops):
            changed = copy.copy(node)
            changed.ops = [*node.ops[:k], COMPARISONS[type(operator)], *node.ops[k + 1 :]]
            yield changed
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield ast.BinOp(node.left, OPERATORS[type(node.op)], node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield node.operand
    elif isinstance(node, ast.Constant):
        value = node.value
        if isinstance(value, bool):
            yield ast.Constant(not value)
        elif isinstance(value, int):
            yield ast.Constant(value + 1)
        elif isinstance(value, float) and (value == 0.0 or abs(value) >= TOLERANCE):
            yield ast.Constant(value * NUDGE if value else 1.0)


def places(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Yield every place (parent, field, index) that holds code that a test could see the effect of.

    Annotations, decorators, the parts of messages and the ``strict`` of zip are left out.
    """
    for name, value in ast.iter_fields(node):
        defensive = isinstance(node, ast.keyword) and node.arg == "strict"
        if defensive or name in ("annotation", "returns", "decorator_list"):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                yield node, name, index
                yield from places(child)


def mutants(source: str) -> list[Mutant]:
    """Return every mutant of a file, in the order of its text."""
    tree = ast.parse(source)
    found = []
    for parent, name, index in places(tree):
        value = getattr(parent, name)
        old = value if index is None else value[index]
        for new in replacements(old):
            if index is None:
                setattr(parent, name, new)
            else:
                value[index] = new
            changed = ast.unparse(ast.fix_missing_locations(tree))
            found.append(Mutant(old.lineno, ast.unparse(old), ast.unparse(new), changed))
        if index is None:
            setattr(parent, name, old)
        else:
            value[index] = old
    return found


def own_tests(file: Path, root: Path = ROOT) -> list[str]:
    """Return the test files of a source file."""
    subject = file.stem.removeprefix("_")
    default = _CERTIFICATE if subject.startswith("certificate_") else (subject,)
    tests = [
        f"test_{name}{more}.py" for name in OWN_TESTS.get(subject, default) for more in ("", "_*")
    ]
    present = [str(f.relative_to(root)) for t in tests for f in (root / TESTS).glob(t)]
    if not present:
        sys.exit(f"{file} must have a test file, however: {TESTS} has no {tests[0]}; name it "
                 "in OWN_TESTS of tools/mutation.py")  # fmt: skip
    return present


class Copy:
    """A copy of sources and tests, in which one file at a time is mutated."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ignored = shutil.ignore_patterns("__pycache__")
        for name in ("src", "tests"):
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", folder)
        # Byte code that is valid by content: one by time and size would hide a quick change.
        compiling = ("-m", "compileall", "-q", "--invalidation-mode", "checked-hash")
        subprocess.run([sys.executable, *compiling, folder], check=True)

    def fails(self, tests: Iterable[str], limit: float | None = None) -> str:
        """Run tests; return "" if they pass, else how they failed."""
        options = ("-x", "-q", "-m", "not slow", "-p", "no:cacheprovider")
        environment = {
            **os.environ,
            "CI": "true",  # hypothesis then draws the same examples each time
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        command = [sys.executable, "-c", RUNNER, str(self.folder / "src"), *options, *tests]
        try:
            result = subprocess.run(
                command, cwd=self.folder, env=environment, capture_output=True, text=True,
                timeout=limit, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "time limit"
        if result.returncode == 0:
            return ""
        if result.returncode in FAILED or result.returncode < 0:
            return result.stdout
        sys.exit(f"pytest ended with {result.returncode}:\n{result.stdout}{result.stderr}")


def main() -> None:
    """Try mutants until the budget is spent; print the survivors and the score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="default: all of selfnorm.theory")
    parser.add_argument("--budget-minutes", type=float, default=10.0)
    parser.add_argument("--per-file", type=int, default=40, help="mutants of each file, at most")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    end = time.monotonic() + 60.0 * options.budget_minutes
    given = [file.resolve().relative_to(ROOT) for file in options.files]
    files = given or sorted(f.relative_to(ROOT) for f in (ROOT / THEORY).glob("_[!_]*.py"))
    with tempfile.TemporaryDirectory() as folder:
        try_all(Copy(Path(folder)), files, options, end)


def try_all(copied: Copy, files: list[Path], options: argparse.Namespace, end: float) -> None:
    """Let the files take turns, one mutant at a time."""
    queues, possible = {}, 0
    limits: dict[Path, float] = {}
    for file in files:
        every = mutants((copied.folder / file).read_text(encoding="utf-8"))
        possible += len(every)
        random.Random(f"{options.seed} {file}").shuffle(every)  # noqa: S311
        queues[file] = every[: options.per_file]
    killed: dict[Path, int] = dict.fromkeys(files, 0)
    tried: dict[Path, int] = dict.fromkeys(files, 0)
    for turn in itertools.zip_longest(*(queues[file] for file in files)):
        for file, mutant in zip(files, turn, strict=True):
            if mutant is None or time.monotonic() > end:
                continue
            tests = own_tests(file, copied.folder)
            if file not in limits:
                start = time.monotonic()
                if fault := copied.fails(tests):
                    print(f"not mutated: the tests of {file} must pass, however:\n{fault}")
                limits[file] = 0.0 if fault else 10.0 + 5.0 * (time.monotonic() - start)
            if limits[file] == 0.0:
                continue
            target = copied.folder / file
            original = target.read_text(encoding="utf-8")
            target.write_text(mutant.source, encoding="utf-8")
            fault = copied.fails(tests, limits[file])
            target.write_text(original, encoding="utf-8")
            tried[file] += 1
            killed[file] += bool(fault)
            if not fault:
                print(f"survived  {file}:{mutant.line}  {mutant.before}  ->  {mutant.after}",
                      flush=True)  # fmt: skip
    print()
    for file in files:
        print(f"{killed[file]:4} of {tried[file]:4} killed  {file}")
    total, caught = sum(tried.values()), sum(killed.values())
    share = 100.0 * caught / total if total else 0.0
    print(f"score {share:.1f} %: {caught} of {total} mutants killed, of {possible} possible")


if __name__ == "__main__":
    main()
