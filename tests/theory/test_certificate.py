"""Certificates: the paper's numbers, true and false claims, and that the proof encloses."""

from __future__ import annotations

import math
import random
import re
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
import pytest

from selfnorm.errors import CertificateError, DomainError, MissingDependencyError
from selfnorm.theory import (
    Box,
    Certificate,
    _certificate_part,
    certify,
    certify_fixed_point,
    check_certificate,
    moment_map,
)
from selfnorm.theory._activations import activation
from selfnorm.theory._certificate_balls import MapBalls, flint, selu_balls
from selfnorm.theory._certificate_inputs import constants_of
from selfnorm.theory._certificate_proof import (
    Metric,
    _ball_over,
    _contracts,
    _halves,
    rectangle_of,
)
from selfnorm.theory._certificate_search import Rectangle
from selfnorm.theory._checker_leaves import Claim
from selfnorm.theory._checker_map import selu_constants

pytest.importorskip("flint")

NAMES = ("theorem1", "theorem2", "theorem3", "lemma12")
SMALL = ("-0.1", "0.1")
ALPHA = "1.673263242354377284817042991671652038461"
SCALE = "1.050700987355480493419334985294606351959"
# Domains beyond the paper's, certified in the metric k^2 dmean^2 + (d ln var)^2.
WIDE = Box(
    mean=("-0.1", "0.2"), var=("0.39", "2.3"), weight_sum=SMALL, weight_sumsq=("0.8", "1.25")
)
WIDER = Box(mean=("-0.2", "0.6"), var=("0.15", "5"), weight_sum=SMALL, weight_sumsq=("0.7", "1.5"))


@pytest.fixture(scope="module")
def certificates() -> dict[str, Certificate]:
    found = {name: certify(name) for name in NAMES}
    found["wide"] = certify(WIDE, metric="log-variance")
    found["wider"] = certify(WIDER, metric="log-variance", mean_weight=0.5)
    return found


# --- an independent reference: mpmath, complementary error functions, numerical derivatives ------


def reference(y: mpmath.mpf, x: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
    """Mean and variance of selu(z), z ~ N(y, x), by the paper's eqs. 4 and 5 in mpmath."""
    alpha, scale = mpmath.mpf(ALPHA), mpmath.mpf(SCALE)
    root = mpmath.sqrt(2 * x)
    tail0, tail1, tail2 = (mpmath.erfc((y + k * x) / root) for k in range(3))
    bell = mpmath.sqrt(2 / mpmath.pi) * mpmath.sqrt(x) * mpmath.exp(-y * y / (2 * x))
    mean = (
        y * mpmath.erf(y / root) + alpha * mpmath.exp(y + x / 2) * tail1 - alpha * tail0 + bell + y
    ) * (scale / 2)
    square = (
        (y * y + x) * (2 - tail0)
        + alpha**2 * (mpmath.exp(2 * (y + x)) * tail2 - 2 * mpmath.exp(y + x / 2) * tail1 + tail0)
        + y * bell
    ) * (scale**2 / 2)
    return mean, square - mean**2


def reference_norm(
    mean: float, var: float, weight: float, sumsq: float, k: float, *, logarithmic: bool
) -> float:
    """Spectral norm of the Jacobian in coordinates (k mean, var or ln var), by differences."""
    with mpmath.workdps(40):
        point = [mpmath.mpf(mean), mpmath.mpf(var)]
        step = mpmath.mpf(10) ** -12

        def image(first: mpmath.mpf, second: mpmath.mpf) -> list[mpmath.mpf]:
            v = mpmath.exp(second) if logarithmic else second
            new_mean, new_var = reference(first / k * weight, v * sumsq)
            return [k * new_mean, mpmath.log(new_var) if logarithmic else new_var]

        point = [k * point[0], mpmath.log(point[1]) if logarithmic else point[1]]
        columns = []
        for axis in range(2):
            ahead, behind = list(point), list(point)
            ahead[axis] += step
            behind[axis] -= step
            difference = zip(image(*ahead), image(*behind), strict=True)
            columns.append([float((a - b) / (2 * step)) for a, b in difference])
    return float(np.linalg.norm(np.array(columns), 2))


def inside(rng: random.Random, ends: tuple[float, float]) -> float:
    return rng.uniform(*ends)


# --- golden numbers ------------------------------------------------------------------------------
# Extreme values over the paper's domains, from a search in mpmath at 40 digits. What certify proves
# lies between the extreme value and the number that the published proof, or a looser one, needs.


def test_theorem_1_contraction_is_proven_close_to_the_true_value(
    certificates: dict[str, Certificate],
) -> None:
    theorem = certificates["theorem1"]
    assert theorem.holds
    assert 0.8976083584089180 < theorem.contraction < 0.8977


def test_theorem_1_image_encloses_the_true_one(certificates: dict[str, Certificate]) -> None:
    image = certificates["theorem1"].image
    assert image.mean[0] == pytest.approx(-0.0310605017922177, abs=2e-5)
    assert image.mean[1] == pytest.approx(0.0677251016898786, abs=2e-5)
    assert image.var[0] == pytest.approx(0.8037117576791128, abs=1e-4)
    assert image.var[1] == pytest.approx(1.4815749582711647, abs=1e-4)
    assert image.mean[0] < -0.0310605017922177 < 0.0677251016898786 < image.mean[1]
    assert image.var[0] < 0.8037117576791128 < 1.4815749582711647 < image.var[1]


def test_lemma_12(certificates: dict[str, Certificate]) -> None:
    assert 0.98902627 < certificates["lemma12"].contraction < 0.9891
    assert certificates["lemma12"].image is None


def test_theorem_2(certificates: dict[str, Certificate]) -> None:
    (part,) = certificates["theorem2"].parts
    assert -0.119744289956 < part.bounds[0] < -0.1197
    assert certificates["theorem2"].contraction is None


def test_theorem_3(certificates: dict[str, Certificate]) -> None:
    first, second = certificates["theorem3"].parts
    assert 0.00773 < first.bounds[0] < 0.00773608321059
    assert 0.01102 < second.bounds[0] < 0.0110292742044


def test_larger_boxes_in_the_logarithmic_metric(certificates: dict[str, Certificate]) -> None:
    for name in ("wide", "wider"):
        assert certificates[name].holds, name
        assert certificates[name].contraction < 0.92, name


def test_sizes_are_reported(certificates: dict[str, Certificate]) -> None:
    theorem = certificates["theorem1"]
    assert theorem.leaves == sum(len(part.leaves) for part in theorem.parts)
    # A binary tree with n leaves has 2n - 1 nodes, each examined once.
    assert theorem.boxes == 2 * theorem.leaves - len(theorem.parts)
    assert theorem.seconds > 0


# --- the proof encloses --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["theorem1", "lemma12", "wide", "wider"])
def test_no_random_point_of_any_box_exceeds_the_contraction_constant(
    certificates: dict[str, Certificate], name: str
) -> None:
    certificate = certificates[name]
    box, rng = certificate.parts[0].box, random.Random(7)
    logarithmic = certificate.metric.name == "log-variance"
    for _ in range(150):
        # Half of the coordinates at their ends, where the extreme values are.
        point = [
            rng.choice(ends) if rng.random() < 0.5 else inside(rng, ends)
            for ends in (box.mean, box.var, box.weight_sum, box.weight_sumsq)
        ]
        k = certificate.metric.mean_weight
        assert reference_norm(*point, k, logarithmic=logarithmic) <= certificate.contraction, point


@pytest.mark.parametrize("name", ["theorem1", "wide", "wider"])
def test_random_points_of_each_leaf_map_into_the_image(
    certificates: dict[str, Certificate], name: str
) -> None:
    certificate, rng = certificates[name], random.Random(11)
    image = certificate.image
    for leaf in certificate.parts[1].leaves:
        mean, var = reference(mpmath.mpf(inside(rng, leaf[:2])), mpmath.mpf(inside(rng, leaf[2:])))
        assert image.mean[0] < mean < image.mean[1]
        assert image.var[0] < var < image.var[1]


@pytest.mark.parametrize(
    "rectangle",
    [
        Rectangle(-0.01, 0.01, 0.76, 1.65),
        Rectangle(-3.0, -2.5, 0.4, 0.6),
        Rectangle(0.5, 0.5, 0.016, 0.02),
        Rectangle(-1.0, 1.0, 300.0, 330.0),
        Rectangle(0.0, 5.0, 3e4, 3.1e4),
        Rectangle(2.0, 2.1, 7.0, 9.0),
        # Points: here the enclosures are tight, so that a wrong term cannot hide.
        Rectangle(0.3, 0.3, 0.8, 0.8),
        Rectangle(-1.2, -1.2, 2.5, 2.5),
        Rectangle(0.7, 0.7, 0.1, 0.1),
    ],
)
def test_enclosures_over_rectangles_hold_the_map_and_its_derivatives(rectangle: Rectangle) -> None:
    arb, rng = flint("the test").arb, random.Random(3)
    context = flint("the test").ctx
    with context.workprec(96), mpmath.workdps(40):
        balls = MapBalls(*selu_balls(Fraction(1)))
        y, y0 = _ball_over(rectangle.y_lo, rectangle.y_hi, arb)
        x, x0 = _ball_over(rectangle.x_lo, rectangle.x_hi, arb)
        first, second = balls.over(y, x, y0, x0)
        for _ in range(12):
            at = [mpmath.mpf(inside(rng, ends)) for ends in (rectangle[:2], rectangle[2:])]
            for index, function in enumerate(
                (lambda a, b: reference(a, b)[0], lambda a, b: reference(a, b)[1])
            ):
                orders = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
                found = [
                    (first.mean, first.var)[index],
                    *(first[2:4], first[4:6])[index],
                    *(second[:3], second[3:])[index],
                ]
                for order, enclosure in zip(orders, found, strict=True):
                    value = mpmath.diff(function, at, order) if any(order) else function(*at)
                    # 1e-9 pays for the numerical differentiation, not for the enclosure.
                    slack = 0 if order == (0, 0) else 1e-9 * (abs(value) + 1e-6)
                    lower, upper = (
                        mpmath.ldexp(*map(int, end.man_exp()))
                        for end in (enclosure.lower(), enclosure.upper())
                    )
                    assert lower - slack <= value <= upper + slack, order


def corner_norm(box: Box, leaf: Rectangle, metric: Metric) -> float:
    """The largest norm at the corners of a leaf, by numerical derivatives of the reference."""
    largest = 0.0
    for y in leaf[:2]:
        weight = max(map(abs, box.weight_sum))
        if box.mean[0] > 0:
            weight = min(weight, abs(y) / box.mean[0])
        for x in leaf[2:]:
            sumsq = min(box.weight_sumsq[1], x / box.var[0])
            largest = max(
                largest,
                reference_norm(
                    y / weight,
                    x / sumsq,
                    weight,
                    sumsq,
                    metric.mean_weight,
                    logarithmic=metric.name == "log-variance",
                ),
            )
    return largest


def maker_test(box: Box, bound: float, metric: Metric, leaf: Rectangle) -> bool:
    with flint("the test").ctx.workprec(96):
        constants = constants_of(None, None, None)
        return _contracts(constants.balls, box, bound, metric, flint("the test").arb)(leaf)


def checker_test(box: Box, bound: float, metric: Metric, leaf: Rectangle) -> bool:
    claim = Claim(
        "contraction",
        vars(box),
        (bound,),
        logarithmic=metric.name == "log-variance",
        mean_weight=metric.mean_weight,
    )
    return bool(claim.holds(selu_constants(Fraction(1)), np.array([leaf]))[0])


@pytest.mark.parametrize("leaf_test", [maker_test, checker_test])
@pytest.mark.parametrize("name", ["euclidean", "log-variance"])
@pytest.mark.parametrize(
    ("weight_sum", "mean_weight"),
    # Each choice lets one entry or one column of the Jacobian dominate its norm.
    [
        ((-1e-3, 2e-3), 1e-3),
        ((-1e-3, 1e-3), 1e3),
        ((-50, 20), 50),
        ((-2, 90), 1e-2),
        ((-1e-3, 1e-3), 0.3),
    ],
)
@pytest.mark.parametrize("mean", [(-90, 90), (1e-4, 90)])
def test_a_leaf_is_proven_just_above_its_corner_values_and_never_below(
    leaf_test: Callable[..., bool],
    name: str,
    weight_sum: tuple[float, float],
    mean_weight: float,
    mean: tuple[float, float],
) -> None:
    metric, rng = Metric(name, mean_weight), random.Random(29)
    box = Box(mean=mean, var=(0.3, 4), weight_sum=weight_sum, weight_sumsq=(0.5, 1.5))
    for flat in (0, 1) * 4:
        y, x = rng.uniform(0.01, 0.6), rng.uniform(0.2, 4)
        if mean[0] > 0 and max(map(abs, weight_sum)) < 1:
            y = rng.uniform(0.1, 0.9) * 1e-4 * max(map(abs, weight_sum))  # binds the weight
        ends = [y, y * 1.02, x, x]
        if flat:
            ends = [y, y, x, x * 1.02]
        leaf = Rectangle(*ends)
        norm = corner_norm(box, leaf, metric)
        assert not leaf_test(box, norm * (1 - 1e-7), metric, leaf), leaf
        assert leaf_test(box, norm * 1.05, metric, leaf), leaf


def test_a_ball_over_an_interval_holds_its_ends() -> None:
    arb, rng = flint("the test").arb, random.Random(5)
    for _ in range(500):
        lo, hi = sorted(rng.uniform(-1, 1) * 10 ** rng.uniform(-9, 3) for _ in range(2))
        ball, middle = _ball_over(lo, hi, arb)
        assert ball.contains(arb(lo))
        assert ball.contains(arb(hi))
        assert ball.contains(middle)


def test_the_rectangle_of_a_box_holds_all_its_points() -> None:
    rng = random.Random(13)
    for _ in range(200):
        mean, weight = (sorted(rng.uniform(-2, 2) for _ in range(2)) for _ in range(2))
        var, sumsq = (sorted(rng.uniform(0.1, 2) for _ in range(2)) for _ in range(2))
        rectangle = rectangle_of(
            Box(mean=mean, var=var, weight_sum=weight, weight_sumsq=sumsq)  # type: ignore[arg-type]
        )
        for _ in range(20):
            y = inside(rng, mean) * inside(rng, weight)  # type: ignore[arg-type]
            x = inside(rng, var) * inside(rng, sumsq)  # type: ignore[arg-type]
            assert rectangle.y_lo <= y <= rectangle.y_hi
            assert rectangle.x_lo <= x <= rectangle.x_hi


# --- claims that are false, or a little too strong -----------------------------------------------


def assert_counterexample(certificate: Certificate, box: Box) -> None:
    assert not certificate.holds
    assert certificate.parts == ()
    assert certificate.contraction is None
    point = certificate.counterexample
    assert box.contains(
        mean=point.mean, var=point.var, weight_sum=point.weight_sum, weight_sumsq=point.weight_sumsq
    )


THEOREM_1 = Box(mean=SMALL, var=("0.8", "1.5"), weight_sum=SMALL, weight_sumsq=("0.95", "1.1"))
LEMMA_12 = Box(mean=SMALL, var=("0.8", "1.5"), weight_sum=SMALL, weight_sumsq=("0.8", "1.25"))


@pytest.mark.parametrize(
    ("claim", "box", "bound"),
    [("theorem1", THEOREM_1, 0.8976083), ("lemma12", LEMMA_12, 0.98902)],
)
def test_a_contraction_slightly_below_the_true_value_is_refuted(
    claim: str, box: Box, bound: float
) -> None:
    certificate = certify(claim, bound=bound)
    assert_counterexample(certificate, box)
    assert "the spectral norm of the Jacobian is" in certificate.counterexample.statement
    point = certificate.counterexample
    at = (point.mean, point.var, point.weight_sum, point.weight_sumsq)
    assert reference_norm(*at, 1.0, logarithmic=False) > bound


def test_a_contraction_slightly_above_the_true_value_is_proven() -> None:
    assert certify("theorem1", bound=0.89761).contraction == 0.89761
    assert certify("lemma12", bound=0.98903).holds


@pytest.mark.parametrize(
    ("claim", "too_strong", "provable", "relation"),
    [("theorem2", -0.11975, -0.11974, "greater"), ("theorem3", 0.007737, 0.007735, "less")],
)
def test_changes_of_the_variance(
    claim: str, too_strong: float, provable: float, relation: str
) -> None:
    refuted = certify(claim, bound=too_strong)
    assert not refuted.holds
    assert f"{relation} than {too_strong}" in refuted.counterexample.statement
    point = refuted.counterexample
    _, var = reference(
        mpmath.mpf(point.mean) * point.weight_sum, mpmath.mpf(point.var) * point.weight_sumsq
    )
    change = var - point.var
    assert change > too_strong if relation == "greater" else change < too_strong
    assert certify(claim, bound=provable).holds


@pytest.mark.parametrize(
    ("change", "statement"),
    [
        # The largest image variance 1.48157 at var 1.5: at var_hi 1.4 the map leaves the box.
        ({"var": ("0.8", "1.4"), "weight_sumsq": ("0.95", "1.1")}, "the new variance is 1.40"),
        ({"mean": ("-0.01", "0.02")}, "the new mean is -0.02"),
        ({"weight_sumsq": ("0.95", "1.6")}, "the spectral norm of the Jacobian is 1."),
    ],
)
def test_changed_boxes_are_refuted(change: dict[str, tuple[str, str]], statement: str) -> None:
    ends = {
        "mean": SMALL,
        "var": ("0.8", "1.5"),
        "weight_sum": SMALL,
        "weight_sumsq": ("0.95", "1.1"),
    }
    box = Box(**{**ends, **change})
    refuted = certify(box)
    assert_counterexample(refuted, box)
    assert refuted.counterexample.statement.startswith(statement)


def test_another_activation_does_not_inherit_the_theorem() -> None:
    assert not certify("theorem1", var=2).holds
    assert not certify("theorem1", alpha="1").holds
    assert certify("theorem1", alpha=ALPHA, scale=SCALE).holds


def test_a_point_that_the_search_misses_is_found_by_the_proof(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def poor(function: Callable[..., np.ndarray], where: Rectangle) -> tuple[float, float, float]:
        y, x = np.array([where.y_lo]), np.array([where.x_lo])
        return float(function(y, x)[0]) - 0.05, where.y_lo, where.x_lo

    monkeypatch.setattr(_certificate_part, "largest", poor)
    assert 0.8976083584 < certify("theorem1").contraction < 0.91
    assert not certify("theorem1", bound=0.8976).holds
    monkeypatch.setattr(_certificate_part, "_ROUNDS", 1)
    with pytest.raises(CertificateError, match=r"no bound for the contraction .* in 1 rounds"):
        certify("theorem1")


def test_an_undecided_claim_says_how_far_it_got() -> None:
    with pytest.raises(CertificateError, match=r"within max_boxes=9: [\d.]+ % of the") as caught:
        certify("theorem1", max_boxes=9)
    assert "raise max_boxes, loosen the bound" in str(caught.value).lower()


def test_a_box_of_one_ulp_ends_the_bisection() -> None:
    above = math.nextafter(1.0, 2.0)
    with pytest.raises(CertificateError, match="a box of one ulp is left"):
        _halves(Rectangle(0.0, 0.0, 1.0, above))


# --- weights without zero, means of one sign -----------------------------------------------------


def test_a_box_whose_means_have_one_sign() -> None:
    box = Box(mean=("0.02", 1.25), var=(1.3, 6), weight_sum=(0.3, 0.6), weight_sumsq=(1.2, 1.25))
    certificate = certify(box, metric="log-variance", mean_weight=0.5)
    assert certificate.holds
    check_certificate(certificate)
    rng = random.Random(17)
    for _ in range(50):
        ends = (box.mean, box.var, box.weight_sum, box.weight_sumsq)
        point = [inside(rng, pair) for pair in ends]
        assert reference_norm(*point, 0.5, logarithmic=True) <= certificate.contraction


# --- Banach --------------------------------------------------------------------------------------


def test_banach_bound_against_the_iterated_map(certificates: dict[str, Certificate]) -> None:
    selu = activation("selu")
    for name in ("theorem1", "wider"):
        certificate = certificates[name]
        box, rng = certificate.parts[0].box, random.Random(19)
        for _ in range(8):
            weights = {
                "weight_sum": inside(rng, box.weight_sum),
                "weight_sumsq": inside(rng, box.weight_sumsq),
            }
            trails = []
            for start in ((box.mean[0], box.var[0]), (box.mean[1], box.var[1])):
                trail = [start]
                for _ in range(300):
                    new = moment_map(selu, *trail[-1], **weights)
                    trail.append((float(new.mean), float(new.var)))
                trails.append(trail)
            goal = trails[0][-1]
            for trail in trails:
                for layers in (0, 1, 5, 20, 60):
                    assert distance(certificate, trail[layers], goal) <= (
                        certificate.banach_bound(layers) + 1e-12
                    )


def distance(
    certificate: Certificate, one: tuple[float, float], other: tuple[float, float]
) -> float:
    name, k = certificate.metric
    var = math.log(one[1] / other[1]) if name == "log-variance" else one[1] - other[1]
    return math.hypot(k * (one[0] - other[0]), var)


def test_banach_bound_needs_both_parts(certificates: dict[str, Certificate]) -> None:
    with pytest.raises(CertificateError, match="Banach's bound needs a contraction"):
        certificates["lemma12"].banach_bound(3)


# --- fixed points and their basins ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "fixed_var"),
    [
        ({}, 1.0),
        ({"var": "0.1"}, 0.1),
        ({"var": "0.01", "weight_sum": (0, 0), "weight_sumsq": (1, 1)}, 0.01),
        ({"var": 4}, 4.0),
        ({"alpha": 1, "weight_sumsq": ("1.4", "1.6")}, None),
        ({"alpha": "2", "scale": "1.02"}, None),
    ],
)
def test_a_basin_is_found_and_draws_every_start_to_one_point(
    options: dict[str, object], fixed_var: float | None
) -> None:
    certificate = certify_fixed_point(**options)  # type: ignore[arg-type]
    assert certificate.holds
    assert certificate.contraction < 1
    box, rng = certificate.parts[0].box, random.Random(23)
    if fixed_var is not None:
        assert box.contains(mean=0, var=fixed_var, weight_sum=0, weight_sumsq=1)
    constants = constants_of(*(options.get(name) for name in ("var", "alpha", "scale")))  # type: ignore[arg-type]
    selu = activation("selu", alpha=float(constants.alpha), scale=float(constants.scale))
    weights = {
        "weight_sum": inside(rng, box.weight_sum),
        "weight_sumsq": inside(rng, box.weight_sumsq),
    }
    ends = []
    for _ in range(3):
        mean, var = inside(rng, box.mean), inside(rng, box.var)
        for _ in range(400):
            new = moment_map(selu, mean, var, **weights)
            mean, var = float(new.mean), float(new.var)
            assert box.contains(mean=mean, var=var, **weights)
        ends.append((mean, var))
    assert ends[1] == pytest.approx(ends[0], rel=1e-2, abs=1e-4)
    assert ends[2] == pytest.approx(ends[0], rel=1e-2, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        # ELU with alpha 1 is 1-Lipschitz: at weight_sumsq < 1 the variance vanishes.
        ({"alpha": 1, "weight_sumsq": ("0.4", "0.5")}, "no attracting fixed point was found"),
        ({"weight_sumsq": (3, 3)}, "no attracting fixed point was found"),
        ({"weight_sumsq": (1, "2.8")}, "no invariant box was found"),
        ({"alpha": 3, "scale": "1.5"}, "no contracting box was found"),
    ],
)
def test_absent_fixed_points_are_reported(options: dict[str, object], message: str) -> None:
    with pytest.raises(CertificateError, match=message):
        certify_fixed_point(**options)  # type: ignore[arg-type]


# --- arguments, progress, storage ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"claim": "theorem4"}, "claim must be one of ['lemma12', 'theorem1'"),
        ({"claim": 1}, "or a Box, however: claim=1"),
        ({"claim": "theorem1", "metric": "log-variance"}, "theorem1 is about the Euclidean metric"),
        ({"claim": "theorem1", "mean_weight": 2}, "theorem1 is about the Euclidean metric"),
        ({"claim": WIDE, "metric": "l1"}, "metric must be 'euclidean' or 'log-variance'"),
        ({"claim": WIDE, "mean_weight": 0}, "mean_weight must lie between 1e-9 and 1e9"),
        ({"claim": WIDE, "mean_weight": math.nan}, "mean_weight must be finite"),
        ({"claim": "theorem1", "var": 0}, "var must be above 0, however: var=0"),
        ({"claim": "theorem1", "alpha": "-1"}, "alpha must be above 0, however: alpha='-1'"),
        ({"claim": "theorem1", "var": 1, "alpha": 1}, "var fixes alpha and scale"),
        ({"claim": "theorem1", "scale": 1}, "scale needs alpha beside it"),
        (
            {"claim": "theorem1", "bound": 1.0},
            "must be a float between 0 and 1, however: bound=1.0",
        ),
        ({"claim": "theorem2", "bound": 0.1}, "must be a float below 0, however: bound=0.1"),
        ({"claim": "theorem3", "bound": math.nan}, "must be a float above 0, however: bound=nan"),
        ({"claim": "lemma12", "max_boxes": 0}, "max_boxes must be an int of at least 1"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DomainError, match=re.escape(message)):
        certify(**arguments)  # type: ignore[arg-type]


def test_progress_ends_with_each_part_complete() -> None:
    seen: list[tuple[str, int, float]] = []
    certify(WIDER, metric="log-variance", mean_weight=0.5, progress=lambda *now: seen.append(now))
    assert [kind for kind, _, fraction in seen if fraction == 1.0] == ["contraction", "self_map"]
    fractions = [fraction for kind, _, fraction in seen if kind == "contraction"]
    assert len(fractions) > 1
    assert fractions == sorted(fractions)


def test_certificates_are_deterministic_and_saved_whole(tmp_path: Path) -> None:
    one, other = certify("lemma12"), certify("lemma12")
    assert one == other
    path = one.save(tmp_path / "new" / "lemma12.json")
    assert path.read_text(encoding="utf-8") == other.to_json()


def test_the_precision_of_flint_is_left_as_it_was() -> None:
    context = flint("the test").ctx
    before = context.prec
    certify("lemma12")
    assert context.prec == before


def test_without_flint_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flint", None)
    for function in (certify_fixed_point, lambda: certify("theorem1")):
        with pytest.raises(MissingDependencyError, match=r"certify\(\) needs python-flint"):
            function()


def test_importing_the_theory_does_not_import_flint() -> None:
    code = "import sys, selfnorm.theory; raise SystemExit('flint' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
