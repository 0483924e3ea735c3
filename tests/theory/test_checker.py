"""The independent checker: its arithmetic encloses, and no damaged certificate passes."""

from __future__ import annotations

import ast
import copy
import json
import math
import random
import re
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import selfnorm.theory
from selfnorm.errors import CertificateError
from selfnorm.theory import Box, certify, check_certificate
from selfnorm.theory._checker_interval import Interval, erfc, erfcx, exp
from selfnorm.theory._checker_leaves import assert_tiling
from selfnorm.theory._checker_map import constants, enclose, selu_constants

pytest.importorskip("flint")

ALPHA = "1.673263242354377284817042991671652038461"
SCALE = "1.050700987355480493419334985294606351959"
WIDER = Box(
    mean=("-0.2", "0.6"), var=("0.15", "5"), weight_sum=("-0.1", "0.1"), weight_sumsq=("0.7", "1.5")
)
Record = dict[str, Any]


@pytest.fixture(scope="module")
def records() -> dict[str, Record]:
    found = {
        name: json.loads(certify(name).to_json())
        for name in ("theorem1", "theorem2", "theorem3", "lemma12")
    }
    wider = certify(WIDER, metric="log-variance", mean_weight=0.5)
    return {**found, "box": json.loads(wider.to_json())}


# --- interval arithmetic -------------------------------------------------------------------------

doubles = st.floats(min_value=-1e9, max_value=1e9, allow_subnormal=False)


def holds(found: Interval, exact: Fraction) -> bool:
    """Whether an interval, whose ends may be infinite, encloses an exact number."""
    lo, hi = float(found.lo), float(found.hi)
    above = lo == -math.inf or (math.isfinite(lo) and Fraction(lo) <= exact)
    return above and (hi == math.inf or (math.isfinite(hi) and exact <= Fraction(hi)))


@given(doubles, doubles, doubles, doubles, st.randoms(use_true_random=False))
@example(0.0, 4.0, -1.0, -sys.float_info.min, random.Random(1))
def test_the_four_operations_enclose_exact_results(
    a: float, b: float, c: float, d: float, rng: random.Random
) -> None:
    (a, b), (c, d) = sorted((a, b)), sorted((c, d))
    one, other = Interval(a, b), Interval(c, d)
    x = Fraction(min(max(rng.uniform(a, b), a), b))
    y = Fraction(min(max(rng.uniform(c, d), c), d))
    cases = [(one + other, x + y), (one - other, x - y), (one * other, x * y)]
    cases += [(one.square(), x * x), (-one, -x), (2.5 - one, Fraction(5, 2) - x)]
    if not c <= 0 <= d:
        cases.append((one / other, x / y))
    for found, exact in cases:
        assert holds(found, exact)
    assert float(one.square().lo) >= 0


def test_operations_that_overflow_enclose_without_a_warning() -> None:
    largest, tiny = sys.float_info.max, sys.float_info.min
    one, other = Interval(1e200, largest), Interval(1e150, largest)
    small = Interval(tiny, 3.0)
    for x in (1e200, 1e300, largest):
        assert holds(one.square(), Fraction(x) ** 2)
        assert holds(-one * one, -(Fraction(x) ** 2))
        for y in (1e150, largest):
            assert holds(one + other, Fraction(x) + Fraction(y))
            assert holds(-one - other, -Fraction(x) - Fraction(y))
            assert holds(one * other, Fraction(x) * Fraction(y))
        for y in (tiny, 3.0):
            assert holds(one / small, Fraction(x) / Fraction(y))
            assert holds(one / -small, -Fraction(x) / Fraction(y))
    assert float((1.0 / (one * one)).lo) <= 0.0
    spoiled = Interval.point(0.0) * (one * one)
    assert math.isnan(float(spoiled.lo)) or holds(spoiled, Fraction(0))


@given(st.floats(min_value=1e-9, max_value=1e9))
def test_the_square_root_encloses(value: float) -> None:
    root = Interval.point(value).sqrt()
    assert Fraction(float(root.lo)) ** 2 <= Fraction(value) <= Fraction(float(root.hi)) ** 2


def test_division_by_an_interval_with_zero_is_unbounded() -> None:
    quotient = Interval.point(1.0) / Interval(-1.0, 1.0)
    assert (float(quotient.lo), float(quotient.hi)) == (-math.inf, math.inf)


def assert_encloses(
    function: Callable[[Interval], Interval],
    reference: Callable[[mpmath.mpf], mpmath.mpf],
    points: np.ndarray,
    width: float,
) -> None:
    found = function(Interval.point(points))
    for point, lo, hi in zip(points, found.lo, found.hi, strict=True):
        with mpmath.workdps(40):
            value = reference(mpmath.mpf(float(point)))
            assert mpmath.mpf(float(lo)) <= value <= mpmath.mpf(float(hi)), point
            assert float(hi - lo) <= width * abs(value) + 1e-299, point


def test_exp_encloses() -> None:
    rng = np.random.default_rng(1)
    special = [0.0, -0.0, 1e-300, -699.9, 699.9, 0.5 * math.log(2), -0.5 * math.log(2), -800.0]
    points = np.concatenate([rng.uniform(-5, 5, 1000), rng.uniform(-700, 700, 500), special])
    assert_encloses(exp, mpmath.exp, points, 1e-12)
    large = exp(Interval.point(np.array([800.0])))
    assert large.hi[0] == math.inf
    assert large.lo[0] <= math.exp(700)


def test_erfcx_and_erfc_enclose_on_both_sides_of_the_split() -> None:
    rng = np.random.default_rng(2)
    edge = [0.0, 1.5, math.nextafter(1.5, 0), math.nextafter(1.5, 2), 1e-200, 1e3]
    points = np.concatenate([rng.uniform(0, 1.6, 800), rng.uniform(1.4, 25, 400), edge])
    assert_encloses(erfcx, lambda s: mpmath.exp(s * s) * mpmath.erfc(s), points, 1e-12)
    assert_encloses(erfc, mpmath.erfc, rng.uniform(-6, 6, 800), 1e-12)


def test_enclosures_over_intervals_hold_the_values_at_their_ends() -> None:
    rng = np.random.default_rng(3)
    lo = rng.uniform(-3, 3, 200)
    hi = lo + rng.uniform(0, 1, 200)
    for function, reference in ((exp, mpmath.exp), (erfc, mpmath.erfc)):
        found = function(Interval(lo, hi))
        for ends in (lo, hi):
            for point, low, high in zip(ends, found.lo, found.hi, strict=True):
                assert low <= reference(mpmath.mpf(float(point))) <= high


def test_erfcx_of_a_negative_number_satisfies_no_comparison() -> None:
    found = erfcx(Interval.point(np.array([-1.0])))
    assert math.isnan(found.lo[0])


def test_constants_enclose_the_closed_form() -> None:
    standard = selu_constants(Fraction(1))
    given_ones = constants(Fraction(ALPHA), Fraction(SCALE))
    for found in (standard, given_ones):
        assert Fraction(float(found.alpha.lo)) < Fraction(ALPHA) < Fraction(float(found.alpha.hi))
        assert Fraction(float(found.scale.lo)) < Fraction(SCALE) < Fraction(float(found.scale.hi))


def gaussian_moment(power: int, y: mpmath.mpf, x: mpmath.mpf) -> mpmath.mpf:
    """E selu(z)^power, z ~ N(y, x), by quadrature of the definition."""
    alpha, scale, sd = mpmath.mpf(ALPHA), mpmath.mpf(SCALE), mpmath.sqrt(x)

    def integrand(z: mpmath.mpf) -> mpmath.mpf:
        value = scale * z if z > 0 else scale * alpha * mpmath.expm1(z)
        return value**power * mpmath.npdf(z, y, sd)

    nodes = sorted([mpmath.mpf(0), *(y + step * sd for step in (-12, -4, -1, 1, 4, 12))])
    return mpmath.quad(integrand, nodes)


@pytest.mark.parametrize(
    "rectangle", [(-0.01, 0.01, 0.76, 0.8), (-2.6, -2.5, 0.4, 0.41), (1.0, 1.1, 0.05, 0.06)]
)
def test_the_map_and_four_derivatives_are_enclosed(
    rectangle: tuple[float, float, float, float],
) -> None:
    y_lo, y_hi, x_lo, x_hi = rectangle
    found = enclose(selu_constants(Fraction(1)), Interval(y_lo, y_hi), Interval(x_lo, x_hi))
    rng = random.Random(4)
    with mpmath.workdps(35):
        y, x = mpmath.mpf(rng.uniform(y_lo, y_hi)), mpmath.mpf(rng.uniform(x_lo, x_hi))
        for power, enclosures in ((1, found.mean), (2, found.second)):
            step = mpmath.mpf("5e-3") * mpmath.sqrt(x)
            at = [gaussian_moment(power, y + k * step, x) for k in range(-3, 4)]
            for order, enclosure in enumerate(enclosures):
                weights = STENCILS[order]
                value = sum(w * v for w, v in zip(weights, at, strict=True)) / step**order
                # Error of the stencils: below 1e-6 of the scale of the derivative.
                slack = mpmath.mpf("1e-6") / mpmath.sqrt(x) ** order if order else 1e-18
                assert enclosure.lo - slack <= value <= enclosure.hi + slack, (power, order)


# Central differences on seven points, of order of accuracy 6, 6, 4 and 4 (Fornberg 1988).
STENCILS = [
    [Fraction(0), 0, 0, 1, 0, 0, 0],
    [Fraction(n, 60) for n in (-1, 9, -45, 0, 45, -9, 1)],
    [Fraction(n, 180) for n in (2, -27, 270, -490, 270, -27, 2)],
    [Fraction(n, 8) for n in (1, -8, 13, 0, -13, 8, -1)],
    [Fraction(n, 6) for n in (-1, 12, -39, 56, -39, 12, -1)],
]
STENCILS = [
    [mpmath.mpf(w.numerator) / w.denominator for w in map(Fraction, row)] for row in STENCILS
]


# --- sound certificates pass ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["theorem1", "theorem2", "theorem3", "lemma12", "box"])
def test_sound_certificates_pass(records: dict[str, Record], name: str) -> None:
    result = check_certificate(records[name])
    assert result.claim == name
    assert result.kinds == tuple(part["kind"] for part in records[name]["parts"])
    assert result.leaves == sum(len(part["leaves"]) for part in records[name]["parts"])


def test_paths_and_objects_are_read_too(tmp_path: Path) -> None:
    certificate = certify("lemma12")
    seen: list[float] = []
    by_path = check_certificate(certificate.save(tmp_path / "a.json"), progress=seen.append)
    assert by_path == check_certificate(certificate) == check_certificate(str(tmp_path / "a.json"))
    assert by_path.contraction == certificate.contraction
    assert seen[-1] == 1.0


@pytest.mark.parametrize(
    "options", [{"var": "0.1"}, {"var": "1/3"}, {"alpha": "1.3", "scale": "1.1"}, {"alpha": 1.7}]
)
def test_other_activations(options: dict[str, Any]) -> None:
    certificate = selfnorm.theory.certify_fixed_point(weight_sumsq=("1.04", "1.06"), **options)
    assert check_certificate(certificate).contraction == certificate.contraction


def test_coarse_leaves_are_halved_by_the_checker_itself(records: dict[str, Record]) -> None:
    record = copy.deepcopy(records["theorem1"])
    for part in record["parts"]:
        ends = np.array([[float.fromhex(end) for end in leaf] for leaf in part["leaves"]])
        hull = [ends[:, 0].min(), ends[:, 1].max(), ends[:, 2].min(), ends[:, 3].max()]
        part["leaves"] = [[float(end).hex() for end in hull]]
    result = check_certificate(record)
    assert result.leaves == 2
    assert result.halvings > 20


def test_the_checker_works_without_flint_and_imports_nothing_of_the_maker(
    monkeypatch: pytest.MonkeyPatch, records: dict[str, Record]
) -> None:
    monkeypatch.setitem(sys.modules, "flint", None)
    assert check_certificate(records["theorem1"]).kinds == ("contraction", "self_map")
    for path in Path(selfnorm.theory.__file__).parent.glob("_checker*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        typing_only = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and id(node) not in typing_only:
                assert not re.search(r"_certificate|_box|flint|scipy", node.module or ""), path


# --- damaged certificates do not -----------------------------------------------------------------


def hexed(value: float) -> str:
    return float(value).hex()


def leaves_of(record: Record, part: int = 0) -> list[list[str]]:
    return record["parts"][part]["leaves"]


def remove_leaf(record: Record) -> None:
    leaves_of(record).pop(7)


def remove_corner_leaf(record: Record) -> None:
    leaves = leaves_of(record)
    leaves.remove(min(leaves, key=lambda leaf: [float.fromhex(end) for end in leaf]))


def duplicate_leaf(record: Record) -> None:
    leaves_of(record).append(leaves_of(record)[3])


def shift_leaf(record: Record) -> None:
    leaf = leaves_of(record)[5]
    width = float.fromhex(leaf[3]) - float.fromhex(leaf[2])
    leaf[2:] = [hexed(float.fromhex(end) + width / 4) for end in leaf[2:]]


def shrink_leaf_by_one_ulp(record: Record) -> None:
    leaf = leaves_of(record)[5]
    leaf[3] = hexed(math.nextafter(float.fromhex(leaf[3]), 0))


def widen_leaf_by_one_ulp(record: Record) -> None:
    leaves = leaves_of(record)
    widest = max(float.fromhex(leaf[3]) for leaf in leaves)
    leaf = next(leaf for leaf in leaves if float.fromhex(leaf[3]) < widest)
    leaf[3] = hexed(math.nextafter(float.fromhex(leaf[3]), 9))


def swap_ends(record: Record) -> None:
    leaf = leaves_of(record)[0]
    leaf[0], leaf[1] = hexed(0.01), hexed(-0.01)


def tighten_contraction(record: Record) -> None:
    record["contraction"] = record["parts"][0]["bounds"][0] = hexed(0.8976)


def tighten_image(record: Record) -> None:
    low = hexed(float.fromhex(record["parts"][1]["bounds"][0]) + 2e-5)
    record["parts"][1]["bounds"][0] = record["image"]["mean"][0] = low


def widen_image_beyond_the_box(record: Record) -> None:
    record["parts"][1]["bounds"][3] = record["image"]["var"][1] = hexed(1.51)


def loosen_headline(record: Record) -> None:
    record["contraction"] = hexed(0.5)


def change_headline_image(record: Record) -> None:
    record["image"]["var"][1] = hexed(1.45)


def no_contraction(record: Record) -> None:
    record["contraction"] = record["parts"][0]["bounds"][0] = hexed(1.0)


def wrong_alpha(record: Record) -> None:
    record["alpha"] = [hexed(1.6732), hexed(1.67325)]


def wrong_activation(record: Record) -> None:
    record["activation"] = {"fixed_point_var": "2"}


def other_activation_with_its_constants(record: Record) -> None:
    other = json.loads(certify(WIDER, metric="log-variance", mean_weight=0.5, var="1.2").to_json())
    for name in ("activation", "alpha", "scale"):
        record[name] = other[name]
    record["contraction"] = record["parts"][0]["bounds"][0] = hexed(0.88)


def unreadable_activation(record: Record) -> None:
    record["activation"] = {"fixed_point_var": "one"}


def unknown_activation(record: Record) -> None:
    record["activation"] = {"gelu": "1"}


def shrink_box(record: Record) -> None:
    for part in record["parts"]:
        part["box"]["var"] = [hexed(0.9), hexed(1.4)]


def shrink_box_from_above(record: Record) -> None:
    for part in record["parts"]:
        part["box"]["weight_sumsq"][1] = hexed(1.05)


def enlarge_box(record: Record) -> None:
    for part in record["parts"]:
        part["box"]["weight_sumsq"][1] = hexed(1.2)


def empty_box(record: Record) -> None:
    record["parts"][0]["box"]["var"] = [hexed(1.5), hexed(0.8)]


def boxes_differ(record: Record) -> None:
    record["claim"] = "box"
    record["parts"][1]["box"]["mean"][1] = hexed(0.09)


def drop_part(record: Record) -> None:
    record["parts"].pop()


def rename_claim(record: Record) -> None:
    record["claim"] = "theorem2"


def unknown_claim(record: Record) -> None:
    record["claim"] = "theorem9"


def unknown_kind(record: Record) -> None:
    record["parts"][0]["kind"] = "expansion"


def other_metric(record: Record) -> None:
    record["metric"]["mean_weight"] = hexed(0.01)


def unknown_metric(record: Record) -> None:
    record["metric"]["name"] = "taxicab"


def nan_leaf(record: Record) -> None:
    leaves_of(record)[2][1] = "nan"


def decimal_leaf(record: Record) -> None:
    leaves_of(record)[2][1] = 0.5  # type: ignore[call-overload]


def infinite_bound(record: Record) -> None:
    record["parts"][0]["bounds"] = ["0x1p+5000"]


def text_bound(record: Record) -> None:
    record["parts"][0]["bounds"] = ["small"]


def no_leaves(record: Record) -> None:
    record["parts"][0]["leaves"] = []


def short_leaf(record: Record) -> None:
    leaves_of(record)[0].pop()


def leaf_of_another_type(record: Record) -> None:
    leaves_of(record)[0] = 3  # type: ignore[call-overload]


def part_of_another_type(record: Record) -> None:
    record["parts"][0] = "contraction"


def missing_entry(record: Record) -> None:
    del record["parts"][0]["box"]


def other_format(record: Record) -> None:
    record["format"] = "proof"


def later_version(record: Record) -> None:
    record["version"] = 2


def boolean_version(record: Record) -> None:
    record["version"] = True


def says_false(record: Record) -> None:
    record["holds"] = False


DAMAGES: list[tuple[Callable[[Record], None], str]] = [
    (remove_leaf, "part 0: the leaves leave a gap in y ["),
    (remove_corner_leaf, "part 0: the leaves"),
    (duplicate_leaf, "part 0: leaves overlap in y ["),
    (shift_leaf, "part 0: leaves overlap in y ["),
    (shrink_leaf_by_one_ulp, "part 0: the leaves leave a gap"),
    (widen_leaf_by_one_ulp, "part 0: leaves overlap"),
    (swap_ends, "part 0, leaf 0: no valid rectangle"),
    (tighten_contraction, "part 0: the contraction with bounds (0.8976,) is not proven"),
    (tighten_image, "part 1: the self_map with bounds"),
    (widen_image_beyond_the_box, "does not lie inside [0.8, 1.5]"),
    (loosen_headline, "states contraction=0.5, however its parts say 0.89"),
    (change_headline_image, "the certificate states the image"),
    (no_contraction, "part 0: 1.0 is no bound that proves contraction"),
    (wrong_alpha, "wrong constants: alpha lies in [1.67326"),
    (wrong_activation, "wrong constants: alpha lies in [1.97125"),
    (other_activation_with_its_constants, "part 0: the contraction with bounds (0.88,) is not"),
    (unreadable_activation, "activation: fixed_point_var must be a ratio"),
    (unknown_activation, "activation must name fixed_point_var, or alpha and scale"),
    (shrink_box, "part 0: var in (0.9, 1.4) does not hold the domain [0.8, 1.5] of theorem1"),
    (shrink_box_from_above, "part 0: weight_sumsq in (0.95, 1.05) does not hold the domain"),
    (enlarge_box, "part 0: the leaves do not reach the ends of the box"),
    (empty_box, "part 0, box: var is no valid range: [1.5, 0.8]"),
    (boxes_differ, "a certificate of a box needs contraction and self_map of one box"),
    (drop_part, "theorem1 consists of ['contraction', 'self_map'], however: ['contraction']"),
    (rename_claim, "theorem2 consists of ['variance_shrinks']"),
    (unknown_claim, "unknown claim 'theorem9'"),
    (unknown_kind, "part 0: unknown kind='expansion'"),
    (other_metric, "theorem1 is about the Euclidean metric"),
    (unknown_metric, "unknown metric: name='taxicab'"),
    (nan_leaf, "part 0, leaf 2, leaf: expected a finite hexadecimal double, however: 'nan'"),
    (decimal_leaf, "expected a finite hexadecimal double, however: 0.5"),
    (infinite_bound, "part 0, bounds: expected a finite hexadecimal double"),
    (text_bound, "part 0, bounds: expected a finite hexadecimal double, however: 'small'"),
    (no_leaves, "part 0: there are no leaves"),
    (short_leaf, "part 0, leaf 0: 'leaf' must have 4 numbers, however: 3"),
    (leaf_of_another_type, "part 0, leaf 0: 'leaf' must be of type list"),
    (part_of_another_type, "part 0: not an object"),
    (
        missing_entry,
        "part 0: the entry 'box' is missing; make the certificate again with "
        "certify(...).save(path), or selfnorm certify --out",
    ),
    (other_format, "not a selfnorm certificate: format='proof'"),
    (later_version, "unknown version of the format: version=2"),
    (boolean_version, "'version' must be of type int"),
    (says_false, "says that the claim is false; there is nothing to check"),
]


@pytest.mark.parametrize(
    ("damage", "message"), DAMAGES, ids=lambda value: getattr(value, "__name__", "")
)
def test_damaged_certificates_are_refused_with_the_reason(
    records: dict[str, Record], damage: Callable[[Record], None], message: str
) -> None:
    record = copy.deepcopy(records["theorem1"])
    damage(record)
    with pytest.raises(CertificateError, match=re.escape(message)):
        check_certificate(record)


@pytest.mark.parametrize(
    ("name", "part", "bound"), [("theorem2", 0, -0.11975), ("theorem3", 0, 0.007737)]
)
def test_stronger_changes_of_the_variance_are_refused(
    records: dict[str, Record], name: str, part: int, bound: float
) -> None:
    record = copy.deepcopy(records[name])
    record["parts"][part]["bounds"] = [hexed(bound)]
    with pytest.raises(CertificateError, match="is not proven for y in"):
        check_certificate(record)
    record["parts"][part]["bounds"] = [hexed(0.0)]
    with pytest.raises(CertificateError, match=r"0\.0 is no bound that proves variance_"):
        check_certificate(record)


def test_a_false_certificate_is_not_a_proof() -> None:
    with pytest.raises(CertificateError, match="says that the claim is false"):
        check_certificate(certify("theorem1", bound=0.5))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no valid JSON"),
        (b"[1, 2]", "must be an object, however: list"),
        (b"\xff\xfe", "no valid JSON"),
        (b"[" * 100_000, "no valid JSON"),
        (b'{"format": NaN', "no valid JSON"),
    ],
)
def test_files_that_are_no_certificates(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "certificate.json"
    path.write_bytes(content)
    with pytest.raises(CertificateError, match=message):
        check_certificate(path)


def test_truncated_and_absent_files(tmp_path: Path) -> None:
    text = certify("lemma12").to_json()
    path = tmp_path / "certificate.json"
    for length in (10, len(text) // 2, len(text) - 3):
        path.write_text(text[:length], encoding="utf-8")
        with pytest.raises(
            CertificateError, match=r"no valid JSON \(truncated\?\).*; make .* again"
        ):
            check_certificate(path)
    with pytest.raises(
        CertificateError, match=r"cannot be read: .*; check the path, or make .* again with certify"
    ):
        check_certificate(tmp_path / "absent.json")
    with pytest.raises(CertificateError, match="source must be a path, a dict or a Certificate"):
        check_certificate(3)  # type: ignore[arg-type]


def test_a_pinwheel_without_straight_cut_is_no_bisection() -> None:
    # Five rectangles that do tile a square, but that no straight line separates.
    pinwheel = [[0, 2, 1, 2], [2, 3, 1, 3], [1, 3, 3, 4], [0, 1, 2, 4], [1, 2, 2, 3]]
    with pytest.raises(CertificateError, match="leaves overlap"):
        assert_tiling(np.array(pinwheel, dtype=float), "part 0")


def test_random_bisections_tile_and_one_missing_leaf_does_not() -> None:
    rng = random.Random(6)
    leaves = [(0.0, 1.0, 1.0, 3.0)]
    for _ in range(60):
        y_lo, y_hi, x_lo, x_hi = leaves.pop(rng.randrange(len(leaves)))
        if rng.random() < 0.5:
            cut = (y_lo + y_hi) / 2
            leaves += [(y_lo, cut, x_lo, x_hi), (cut, y_hi, x_lo, x_hi)]
        else:
            cut = (x_lo + x_hi) / 2
            leaves += [(y_lo, y_hi, x_lo, cut), (y_lo, y_hi, cut, x_hi)]
    assert_tiling(np.array(leaves), "part 0")
    for missing in range(len(leaves)):
        rest = leaves[:missing] + leaves[missing + 1 :]
        area = sum((b - a) * (d - c) for a, b, c, d in rest)
        hull = (min(r[0] for r in rest), max(r[1] for r in rest))
        assert hull == (0.0, 1.0)
        assert area < 2.0
        with pytest.raises(CertificateError, match=r"gap|overlap"):
            assert_tiling(np.array(rest), "part 0")


def test_a_box_without_extent_in_y() -> None:
    box = Box(mean=("-0.1", "0.1"), var=("0.7", 1.5), weight_sum=(0, 0), weight_sumsq=(1, 1))
    result = check_certificate(certify(box, metric="log-variance"))
    assert result.contraction < 1
