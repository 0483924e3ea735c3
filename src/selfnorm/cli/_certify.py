"""``selfnorm certify``: prove the theorems by ball arithmetic, or check a stored proof."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import click

from selfnorm import theory

CLAIMS = ("theorem1", "theorem2", "theorem3", "lemma12")
STATEMENTS = {
    "contraction": "contracts: spectral norm of the Jacobian at most {:g}",
    "self_map": "maps the box into itself: mean in [{:g}, {:g}], variance in [{:g}, {:g}]",
    "variance_shrinks": "variance shrinks: changes by at most {:g}",
    "variance_grows": "variance grows: changes by at least {:g}",
}
IDLE_FOR_FIXED_POINT = ("metric", "mean_weight", "bound")
IDLE_FOR_CLAIMS = ("weight_sum", "weight_sumsq")
RANGES = ("mean", "var", "weight_sum", "weight_sumsq")
AFTER = 1.0  # seconds of silence before a progress line appears


class Outcome(NamedTuple):
    """What stands in the table: one certificate, just made or just checked."""

    claim: str
    holds: bool
    lines: list[str]
    record: dict[str, Any]


@click.command()
@click.argument("name", required=False, type=click.Choice([*CLAIMS, "fixed-point"]))
@click.option(
    "--box",
    metavar="RANGES",
    help="Certify contraction and self-map of this box instead, for example "
    "mean=-0.1:0.2,var=0.39:2.3,weight_sum=-0.1:0.1,weight_sumsq=0.8:1.25 (decimals are exact).",
)
@click.option("--var", metavar="V", help="The SELU with fixed point (0, V).  [default: 1]")
@click.option("--alpha", metavar="A", help="The ELU with this alpha, or with --scale the SELU.")
@click.option("--scale", metavar="S", help="Scale of the SELU.")
@click.option(
    "--metric",
    type=click.Choice(["euclidean", "log-variance"]),
    help="Metric of --box; log-variance suits large boxes.  [default: euclidean]",
)
@click.option("--mean-weight", type=float, help="Weight of the mean in it.  [default: 1]")
@click.option("--weight-sum", metavar="LO:HI", help="For fixed-point.  [default: -0.1:0.1]")
@click.option("--weight-sumsq", metavar="LO:HI", help="For fixed-point.  [default: 0.95:1.1]")
@click.option("--bound", type=float, help="The constant to prove.  [default: close to the best]")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Store the certificate here."
)
@click.option(
    "--check",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Check this stored certificate, leaf by leaf, with arithmetic of its own.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def certify(
    name: str | None,
    box: str | None,
    out: Path | None,
    check: Path | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Prove Theorems 1 to 3 and Lemma 12 of the paper, or a box of your own.

    Without a NAME: all four. "fixed-point" looks for the widest box around the fixed point of the
    activation that --var, --alpha and --scale choose. A false claim ends with exit code 1 and a
    point where it is false.
    """
    given = {key: value for key, value in options.items() if value is not None}
    if check is not None:
        if name or box or out or given:
            raise click.UsageError("--check stands alone: leave out NAME and every other option.")
        outcomes = [checked(check)]
    else:
        if name and box:
            raise click.UsageError(f"give NAME or --box, not both, however: {name} and --box.")
        if out is not None and not (name or box):
            raise click.UsageError("--out stores one certificate: choose a NAME or give a --box.")
        if "bound" in given and not (name or box):
            raise click.UsageError("--bound belongs to one claim: choose a NAME or give a --box.")
        idle = IDLE_FOR_FIXED_POINT if name == "fixed-point" else IDLE_FOR_CLAIMS
        unread = sorted("--" + key.replace("_", "-") for key in given if key in idle)
        if unread:
            raise click.UsageError(
                f"{', '.join(unread)}: fixed-point finds box, metric and constant by itself from "
                "--weight-sum and --weight-sumsq, which no other claim reads; leave it out."
            )
        for key in ("weight_sum", "weight_sumsq"):
            if key in given:
                given[key] = ends(f"--{key.replace('_', '-')}", given[key])
        outcomes = [
            proven(claim, given, out)
            for claim in ([ranges(box)] if box else [name] if name else CLAIMS)
        ]
    if as_json:
        click.echo(json.dumps([outcome.record for outcome in outcomes], allow_nan=False))
    else:
        for outcome in outcomes:
            click.echo(f"{outcome.claim:<12}{'holds' if outcome.holds else 'IS FALSE'}")
            for line in outcome.lines:
                click.echo(f"            {line}")
        click.echo(
            "\nNot covered: pre-activations that are not normal, inputs that differ in mean or "
            "variance,\nthe deviation of order 1/width of a layer of finite width."
        )
    return 0 if all(outcome.holds for outcome in outcomes) else 1


def proven(claim: str | theory.Box, options: dict[str, Any], out: Path | None) -> Outcome:
    """Make one certificate."""
    line = ProgressLine()
    if claim == "fixed-point":
        certificate = theory.certify_fixed_point(**options, progress=line.step)
    else:
        certificate = theory.certify(claim, **options, progress=line.step)
    line.clear()
    lines = []
    for part in certificate.parts:
        lines.append(STATEMENTS[part.kind].format(*part.bounds))
        sides = (f"{side} in [{lo:.6g}, {hi:.6g}]" for side, lo, hi in sides_of(part.box))
        lines.append(f"  for {', '.join(sides)}")
    point = certificate.counterexample
    if point is not None:
        lines.append(f"{point.statement}, at")
        lines.append("  " + ", ".join(f"{side} = {getattr(point, side)!r}" for side in RANGES))
    lines.append(f"{certificate.boxes} boxes, {certificate.seconds:.2f} s")
    record = {
        "claim": certificate.claim,
        "holds": certificate.holds,
        "contraction": certificate.contraction,
        "boxes": certificate.boxes,
        "seconds": certificate.seconds,
        "parts": [
            {
                "kind": part.kind,
                "bounds": list(part.bounds),
                "box": {side: [lo, hi] for side, lo, hi in sides_of(part.box)},
            }
            for part in certificate.parts
        ],
        "counterexample": None
        if point is None
        else {"statement": point.statement, **{side: getattr(point, side) for side in RANGES}},
    }
    if out is not None:
        certificate.save(out)
        lines.append(f"stored in {out}")
    return Outcome(certificate.claim, certificate.holds, lines, record)


def checked(path: Path) -> Outcome:
    """Check one stored certificate; one that does not prove its claim raises."""
    start = time.perf_counter()
    line = ProgressLine()
    result = theory.check_certificate(path, progress=lambda share: line.step("check", 0, share))
    line.clear()
    seconds = time.perf_counter() - start
    lines = [f"proves: {', '.join(kind.replace('_', ' ') for kind in result.kinds)}"]
    if result.contraction is not None:
        lines.append(f"contraction constant {result.contraction:g}")
    lines.append(f"{result.leaves} leaves checked anew, {seconds:.2f} s")
    record = {
        "claim": result.claim,
        "holds": True,
        "kinds": list(result.kinds),
        "contraction": result.contraction,
        "leaves": result.leaves,
        "seconds": seconds,
    }
    return Outcome(result.claim, True, lines, record)


def sides_of(box: theory.Box) -> list[tuple[str, float, float]]:
    """Return name, lower and upper end of each side."""
    return [(side, *getattr(box, side)) for side in RANGES]


def ranges(text: str) -> theory.Box:
    """Read ``mean=lo:hi,var=lo:hi,weight_sum=lo:hi,weight_sumsq=lo:hi``."""
    sides: dict[str, tuple[str, str]] = {}
    for part in text.split(","):
        side, _, text_of_ends = part.partition("=")
        if side.strip() not in RANGES:
            raise click.UsageError(
                f"--box expects {', '.join(f'{side}=lo:hi' for side in RANGES)}, however: {part!r}."
            )
        sides[side.strip()] = ends(f"--box {side.strip()}", text_of_ends)
    missing = [side for side in RANGES if side not in sides]
    if missing:
        raise click.UsageError(f"--box needs {', '.join(missing)} as well, each as lo:hi.")
    return theory.Box(**sides)


def ends(name: str, text: str) -> tuple[str, str]:
    """Read ``lo:hi``; the decimals stay text, so that they are meant exactly."""
    lo, colon, hi = text.partition(":")
    if not colon:
        raise click.UsageError(f"{name} expects lo:hi, however: {text!r}.")
    return lo.strip(), hi.strip()


class ProgressLine:
    """One line on a terminal's stderr, from the second second on."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._stream = sys.stderr
        self._shown = False

    def step(self, what: str, boxes: int, share: float) -> None:
        """Show how far the proof is, if it has lasted and somebody watches."""
        if time.monotonic() - self._start < AFTER or not self._stream.isatty():
            return
        self._shown = True
        count = f", {boxes} boxes" if boxes else ""
        self._stream.write(f"\r{what.replace('_', ' ')}: {share:6.1%}{count}\x1b[K")
        self._stream.flush()

    def clear(self) -> None:
        """Remove the line."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
