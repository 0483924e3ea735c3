"""An independent checker of certificates: own file reader, own arithmetic, own formulas.

It shares no code with ``certify`` and does not use python-flint, so that an error in the maker or
in the ball arithmetic cannot pass unseen. What both rest on is the reduction to (y, x) and the
mean-value theorem; what the checker rests on beside them is IEEE 754 arithmetic.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from selfnorm.errors import CertificateError
from selfnorm.theory._checker_leaves import Claim, assert_proven, assert_tiling
from selfnorm.theory._checker_map import Constants, constants, selu_constants

if TYPE_CHECKING:
    from selfnorm.theory._certificate_result import Certificate

__all__ = ["CheckResult", "check_certificate"]

_REMEDY: Final = (
    "make the certificate again with certify(...).save(path), or selfnorm certify --out"
)
_FIELDS = ("mean", "var", "weight_sum", "weight_sumsq")
_BOUNDS = {"contraction": 1, "self_map": 4, "variance_shrinks": 1, "variance_grows": 1}


def _domain(*ends: str) -> dict[str, tuple[Fraction, Fraction]]:
    pairs = [pair.split() for pair in ends]
    return {n: (Fraction(lo), Fraction(hi)) for n, (lo, hi) in zip(_FIELDS, pairs, strict=True)}


_THEOREM_1 = _domain("-0.1 0.1", "0.8 1.5", "-0.1 0.1", "0.95 1.1")
_PAPER: Final = {
    "theorem1": [("contraction", _THEOREM_1), ("self_map", _THEOREM_1)],
    "theorem2": [("variance_shrinks", _domain("-1 1", "3 16", "-0.1 0.1", "0.8 1.25"))],
    "theorem3": [
        ("variance_grows", _domain("-0.1 0.1", "0.02 0.16", "-0.1 0.1", "0.8 1.25")),
        ("variance_grows", _domain("-0.1 0.1", "0.02 0.24", "-0.1 0.1", "0.9 1.25")),
    ],
    "lemma12": [("contraction", _domain("-0.1 0.1", "0.8 1.5", "-0.1 0.1", "0.8 1.25"))],
}


@dataclass(frozen=True)
class CheckResult:
    """What a certificate proves, as the checker found it.

    Attributes
    ----------
    claim : str
        Name of the claim, or ``"box"``.
    kinds : tuple of str
        What each part proves.
    contraction : float or None
        The proven contraction constant.
    leaves : int
        How many leaves were tested.
    halvings : int
        How often a leaf was halved because the checker's arithmetic is coarser than the maker's.
    """

    claim: str
    kinds: tuple[str, ...]
    contraction: float | None
    leaves: int
    halvings: int


def check_certificate(
    source: str | os.PathLike[str] | Mapping[str, Any] | Certificate,
    *,
    progress: Callable[[float], None] | None = None,
) -> CheckResult:
    """Check a certificate anew, leaf by leaf, with arithmetic of its own.

    Parameters
    ----------
    source : path, dict or Certificate
        A file that ``Certificate.save`` wrote, its parsed content, or the certificate itself.
    progress : callable, optional
        ``progress(fraction)``, called for each part as it advances.

    Returns
    -------
    CheckResult
        What is proven. A certificate that does not prove its claim never gets here.

    Raises
    ------
    CertificateError
        If the source cannot be read or does not prove what it says: the message names the part and
        the reason.

    Notes
    -----
    Checked: that the domains of a named claim are the paper's; that the constants are those of the
    activation; that the leaves of each part tile a rectangle (no gap, no overlap) which holds every
    (mean * weight_sum, var * weight_sumsq) of the box, in exact arithmetic; that the inequality
    holds on each leaf; that an image lies inside its box.

    The arithmetic is intervals of doubles with outward rounding; exp and erfc are enclosed by a
    Taylor polynomial, a series and a continued fraction whose remainders are proven in the source.
    The four named claims together take about 0.1 s.

    Examples
    --------
    >>> from selfnorm.theory._certificate import certify
    >>> check_certificate(certify("lemma12")).contraction
    0.98903
    """
    record = _read(source)
    claim = _get(record, "claim", str, "certificate")
    if _get(record, "format", str, "certificate") != "selfnorm-certificate":
        raise CertificateError(f"not a selfnorm certificate: format={record['format']!r}")
    if _get(record, "version", int, "certificate") != 1:
        raise CertificateError(f"unknown version of the format: version={record['version']!r}")
    if _get(record, "holds", bool, "certificate") is not True:
        raise CertificateError(
            f"the certificate of {claim!r} says that the claim is false; there is nothing to check"
        )
    selu = _constants(record)
    logarithmic, mean_weight = _metric(record)
    listed = _get(record, "parts", list, "certificate")
    claims: list[Claim] = []
    leaves: list[Any] = []
    for number, part in enumerate(listed):
        where = f"part {number}"
        if not isinstance(part, Mapping):
            raise CertificateError(f"{where}: not an object")
        kind = _get(part, "kind", str, where)
        if kind not in _BOUNDS:
            raise CertificateError(f"{where}: unknown kind={kind!r}, expected one of {[*_BOUNDS]}")
        bounds = _doubles(part, "bounds", _BOUNDS[kind], where)
        box = _box(part, where)
        claims.append(Claim(kind, box, bounds, logarithmic=logarithmic, mean_weight=mean_weight))
        leaves.append(_leaves(part, where))
    _assert_complete(claim, claims, metric=(logarithmic, mean_weight))
    contraction = _assert_headline(record, claims)
    halvings = 0
    for number, (one, rectangles) in enumerate(zip(claims, leaves, strict=True)):
        where = f"part {number}"
        _assert_bounds(one, where)
        _assert_covers(one, rectangles, where)
        halvings += assert_proven(one, selu, rectangles, where, progress)
    return CheckResult(
        claim, tuple(one.kind for one in claims), contraction, sum(map(len, leaves)), halvings
    )


def _read(source: str | os.PathLike[str] | Mapping[str, Any] | Certificate) -> Mapping[str, Any]:
    if isinstance(source, Mapping):
        return source
    try:
        if isinstance(source, (str, os.PathLike)):
            text = Path(source).read_text(encoding="utf-8")
        else:
            text = source.to_json()
        record = json.loads(text)
    except AttributeError:
        raise CertificateError(
            f"source must be a path, a dict or a Certificate, however: {type(source).__name__}"
        ) from None
    except OSError as error:
        raise CertificateError(
            f"the certificate cannot be read: {error}; check the path, or {_REMEDY}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise CertificateError(
            f"the certificate is no valid JSON (truncated?): {error}; {_REMEDY}"
        ) from None
    if not isinstance(record, dict):
        raise CertificateError(
            f"the certificate must be an object, however: {type(record).__name__}"
        )
    return record


def _get(record: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    if name not in record:
        raise CertificateError(f"{where}: the entry {name!r} is missing; {_REMEDY}")
    value = record[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise CertificateError(
            f"{where}: {name!r} must be of type {kind.__name__}, however: {value!r:.60}"
        )
    return value


def _double(value: object, where: str) -> float:
    try:
        number = float.fromhex(value) if isinstance(value, str) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise CertificateError(
            f"{where}: expected a finite hexadecimal double, however: {value!r:.60}"
        )
    return number


def _doubles(record: Mapping[str, Any], name: str, count: int, where: str) -> tuple[float, ...]:
    values = _get(record, name, list, where)
    if len(values) != count:
        raise CertificateError(
            f"{where}: {name!r} must have {count} numbers, however: {len(values)}"
        )
    return tuple(_double(value, f"{where}, {name}") for value in values)


def _box(record: Mapping[str, Any], where: str) -> dict[str, tuple[float, float]]:
    box = _get(record, "box", dict, where)
    result: dict[str, tuple[float, float]] = {}
    for name in _FIELDS:
        lo, hi = _doubles(box, name, 2, f"{where}, box")
        if lo > hi or (name in ("var", "weight_sumsq") and lo <= 0):
            raise CertificateError(f"{where}, box: {name} is no valid range: [{lo!r}, {hi!r}]")
        result[name] = (lo, hi)
    return result


def _leaves(part: Mapping[str, Any], where: str) -> Any:
    listed = _get(part, "leaves", list, where)
    if not listed:
        raise CertificateError(f"{where}: there are no leaves")
    rows = []
    for number, leaf in enumerate(listed):
        row = _doubles({"leaf": leaf}, "leaf", 4, f"{where}, leaf {number}")
        if row[0] > row[1] or row[2] > row[3] or row[2] <= 0:
            raise CertificateError(f"{where}, leaf {number}: no valid rectangle: {row}")
        rows.append(row)
    return np.array(rows, dtype=np.float64)


def _constants(record: Mapping[str, Any]) -> Constants:
    activation = _get(record, "activation", dict, "certificate")
    names = set(activation)
    if names not in ({"fixed_point_var"}, {"alpha", "scale"}):
        raise CertificateError(
            "activation must name fixed_point_var, or alpha and scale, however: "
            f"{sorted(map(str, names))}"
        )
    exact: dict[str, Fraction] = {}
    for name, text in activation.items():
        try:
            exact[name] = (
                Fraction(text) if isinstance(text, str) and len(text) < 4000 else Fraction(0)
            )
        except (ValueError, ZeroDivisionError):
            exact[name] = Fraction(0)
        if not Fraction(1, 10**12) <= exact[name] <= 10**12:
            raise CertificateError(
                f"activation: {name} must be a ratio such as '1/10' between 1e-12 and 1e12, "
                f"however: {text!r:.60}"
            )
    selu = selu_constants(exact["fixed_point_var"]) if len(exact) == 1 else constants(**exact)
    for name, own in (("alpha", selu.alpha), ("scale", selu.scale)):
        lo, hi = _doubles(record, name, 2, "certificate")
        if not (lo <= own.hi and own.lo <= hi):
            raise CertificateError(
                f"wrong constants: {name} lies in [{float(own.lo)!r}, {float(own.hi)!r}], however "
                f"the certificate says [{lo!r}, {hi!r}]"
            )
    return selu


def _metric(record: Mapping[str, Any]) -> tuple[bool, float]:
    metric = _get(record, "metric", dict, "certificate")
    name = _get(metric, "name", str, "metric")
    weight = _double(metric.get("mean_weight"), "metric, mean_weight")
    if name not in ("euclidean", "log-variance") or weight <= 0:
        raise CertificateError(f"unknown metric: name={name!r}, mean_weight={weight!r}")
    return name == "log-variance", weight


def _assert_complete(claim: str, parts: list[Claim], *, metric: tuple[bool, float]) -> None:
    """Require the parts that the claim consists of, on boxes that hold its domains."""
    kinds = [part.kind for part in parts]
    if claim == "box":
        if kinds != ["contraction", "self_map"] or parts[0].box != parts[1].box:
            raise CertificateError(
                "a certificate of a box needs contraction and self_map of one box, however: "
                f"{kinds} of {'one box' if len({str(p.box) for p in parts}) == 1 else 'several'}"
            )
        return
    if claim not in _PAPER:
        raise CertificateError(f"unknown claim {claim!r}, expected one of {[*_PAPER, 'box']}")
    if kinds != [kind for kind, _ in _PAPER[claim]]:
        raise CertificateError(
            f"{claim} consists of {[kind for kind, _ in _PAPER[claim]]}, however: {kinds}"
        )
    if metric != (False, 1.0):
        raise CertificateError(f"{claim} is about the Euclidean metric, however: another is given")
    for number, (part, (kind, domain)) in enumerate(zip(parts, _PAPER[claim], strict=True)):
        for name, (lo, hi) in domain.items():
            ends = part.box[name]
            if Fraction(ends[0]) > lo or Fraction(ends[1]) < hi:
                raise CertificateError(
                    f"part {number}: {name} in {ends} does not hold the domain "
                    f"[{float(lo)}, {float(hi)}] of {claim}"
                )
        if kind == "self_map":
            _assert_inside(part.bounds, domain, f"part {number}")


def _assert_inside(
    image: tuple[float, ...], box: Mapping[str, tuple[Any, Any]], where: str
) -> None:
    for name, lo, hi in (("mean", image[0], image[1]), ("var", image[2], image[3])):
        low, high = (Fraction(end) for end in box[name])
        if not low <= Fraction(lo) <= Fraction(hi) <= high:
            raise CertificateError(
                f"{where}: the image [{lo!r}, {hi!r}] of {name} does not lie inside "
                f"[{float(low)!r}, {float(high)!r}]"
            )


def _assert_bounds(part: Claim, where: str) -> None:
    if part.kind == "self_map":
        return _assert_inside(part.bounds, part.box, where)
    bound = part.bounds[0]
    admitted = {
        "contraction": 0 < bound < 1,
        "variance_shrinks": bound < 0,
        "variance_grows": bound > 0,
    }
    if not admitted[part.kind]:
        raise CertificateError(f"{where}: {bound!r} is no bound that proves {part.kind}")
    return None


def _assert_headline(record: Mapping[str, Any], parts: list[Claim]) -> float | None:
    """Require that what the certificate reports at its top is what its parts prove."""
    contraction = next((part.bounds[0] for part in parts if part.kind == "contraction"), None)
    image = next((part.bounds for part in parts if part.kind == "self_map"), None)
    stated = record.get("contraction")
    stated = None if stated is None else _double(stated, "contraction")
    if stated != contraction:
        raise CertificateError(
            f"the certificate states contraction={stated!r}, however its parts say {contraction!r}"
        )
    shown = record.get("image")
    if shown is not None:
        box = _box({"box": shown}, "image")
        shown = (*box["mean"], *box["var"])
    if shown != image:
        raise CertificateError(
            f"the certificate states the image {shown!r}, however its parts say {image!r}"
        )
    return contraction


def _assert_covers(part: Claim, leaves: Any, where: str) -> None:
    y_lo, y_hi, x_lo, x_hi = part.rectangle()
    if (
        Fraction(float(leaves[:, 0].min())) > y_lo
        or Fraction(float(leaves[:, 1].max())) < y_hi
        or Fraction(float(leaves[:, 2].min())) > x_lo
        or Fraction(float(leaves[:, 3].max())) < x_hi
    ):
        raise CertificateError(
            f"{where}: the leaves do not reach the ends of the box, y [{float(y_lo):.9g}, "
            f"{float(y_hi):.9g}], x [{float(x_lo):.9g}, {float(x_hi):.9g}]"
        )
    assert_tiling(leaves, where)
