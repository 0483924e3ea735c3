"""``selfnorm.theory``: seconds and correct digits."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import itertools
import math
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import mpmath
import numpy as np
from scipy.optimize import fsolve
from scipy.special import ndtr

from benchmarks import _arb
from benchmarks._harness import Case, Provider
from selfnorm import theory
from selfnorm.constants import ALPHA01, LAMBDA01

Accuracy = tuple[float, str]
ZETA = 1.5
CLAIMS = ("theorem1", "theorem2", "theorem3", "lemma12")

# Where digits are counted: the domain of the accuracy that the documentation states.
MEANS = [0.0, *(s * m for m in (1e-4, 3e-3, 0.07, 0.6, 2.5, 9.0, 30.0) for s in (-1.0, 1.0))]
VARIANCES = [10.0 ** (k / 2) for k in range(-12, 13)]
GRID = np.array(list(itertools.product(MEANS, VARIANCES))).T
GRID_TEXT = f"digits on {GRID.shape[1]} points, mean within ±30, var 1e-6 to 1e6"
QUADRATURE_GRID = np.array(list(itertools.product([-2.0, -0.3, 0.0, 0.6, 2.0], [0.1, 1.0, 4.0]))).T
# Fixed points (mean, var, weight_sum, weight_sumsq) that some SELU has.
CENTRED = [(0.0, v, 0.0, 1.0) for v in VARIANCES]
SHIFTED = [
    (m * math.sqrt(v), v, w, t)
    for m, v, w, t in itertools.product((-0.1, 0.2), (0.1, 0.7, 2.0), (0.3, 1.0), (0.8, 1.25))
]


def cases() -> list[Case]:
    """List the cases in the order of the table."""
    return [*_solving(), *_mapping(), *_searching(), *_certifying(), *_starting(), *_tailoring()]


def _solving() -> list[Case]:
    def case(name: str, target: tuple[float, ...], targets: Sequence[tuple[float, ...]]) -> Case:
        def ours(mean: float, var: float, omega: float, tau: float) -> tuple[float, float]:
            selu = theory.solve(mean, var, weight_sum=omega, weight_sumsq=tau)
            return selu.alpha, selu.scale

        def correct(solve: Callable[..., tuple[float, float]]) -> Accuracy:
            exact = [e for t in targets for e in _arb.selu_constants(*t)]
            found = [f for t in targets for f in solve(*t)]
            return _arb.digits(found, exact, exact), f"digits of {len(targets)} targets"

        return Case(
            name,
            [
                Provider("selfnorm", lambda: ours(*target), lambda: correct(ours)),
                Provider(
                    "scipy fsolve, textbook formulas",
                    lambda: _by_fsolve(*target),
                    lambda: correct(_by_fsolve),
                ),
            ],
            goal=100e-6,
        )

    return [
        case("solve(0, 1)", CENTRED[12], CENTRED),
        case("solve(-0.1, 2, weight_sum=1)", (-0.1, 2.0, 1.0, 1.0), SHIFTED),
    ]


def _by_fsolve(mean: float, var: float, omega: float, tau: float) -> tuple[float, float]:
    """Solve by a general solver on the formulas as printed, from a start near the usual SELU."""
    y, x = mean * omega, var * tau

    def conditions(at: Any) -> list[float]:
        m, v = _textbook_map(y, x, *at)
        return [m - mean, v - var]

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # it also warns where it fails; the digits say so
        alpha, scale = fsolve(conditions, [1.5, 1.0], xtol=1e-13)
    return float(alpha), float(scale)


def _textbook_map(y: Any, x: Any, alpha: Any, scale: Any) -> tuple[Any, Any]:
    """The moments as printed in papers: they overflow and cancel outside a middle range."""
    sigma = np.sqrt(x)
    phi = np.exp(-y * y / (2 * x)) / math.sqrt(2 * math.pi)
    above, below = ndtr(y / sigma), ndtr(-y / sigma)
    a = np.exp(y + x / 2) * ndtr(-(y + x) / sigma)
    b = np.exp(2 * (y + x)) * ndtr(-(y + 2 * x) / sigma)
    mean = scale * (y * above + sigma * phi + alpha * (a - below))
    second = (y * y + x) * above + y * sigma * phi + alpha**2 * (b - 2 * a + below)
    return mean, scale**2 * second - mean**2


def _by_hermite(y: Any, x: Any) -> tuple[Any, Any]:
    """GELU's moments by 64 Gauss-Hermite nodes for every point."""
    nodes, weights = _hermite()
    z = y[:, None] + np.sqrt(x)[:, None] * nodes
    f = z * ndtr(z)
    mean = f @ weights
    return mean, np.square(f) @ weights - mean**2


@functools.cache
def _hermite() -> tuple[Any, Any]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    return nodes, weights / weights.sum()


def _mapping() -> list[Case]:
    rng = np.random.default_rng(0)
    y, x = rng.normal(0.0, 1.0, 100_000), np.exp(rng.normal(0.0, 1.0, 100_000))
    few_y, few_x = y[:1000], x[:1000]
    selu = theory.activation("selu")

    def correct(found: Callable[[Any, Any], Any]) -> Accuracy:
        with np.errstate(all="ignore"):
            mean, var = found(*GRID)[:2]
        exact = [_arb.selu_map(*p, alpha=ALPHA01, scale=LAMBDA01) for p in GRID.T]
        worst = min(
            _arb.digits(mean, [e["mean"] for e in exact], [e["rms"] for e in exact]),
            _arb.digits(np.nan_to_num(var, posinf=0.0), *[[e["var"] for e in exact]] * 2),
        )
        return worst, GRID_TEXT

    def correct_jacobian() -> Accuracy:
        found = theory.moment_jacobian(selu, *GRID, weight_sum=1.0)
        exact = [
            e for p in GRID.T for e in _arb.selu_map(*p, alpha=ALPHA01, scale=LAMBDA01)["jacobian"]
        ]
        rows = [max(abs(e) for e in exact[k - k % 2 : k - k % 2 + 2]) for k in range(len(exact))]
        return _arb.digits(found.ravel(), exact, rows), GRID_TEXT

    def correct_gelu(found: Callable[[Any, Any], Any]) -> Accuracy:
        mean, var = found(*QUADRATURE_GRID)[:2]
        exact = [_arb.moments(_arb.gelu(), *p) for p in QUADRATURE_GRID.T]
        worst = min(
            _arb.digits(mean, [e["mean"] for e in exact], [e["rms"] for e in exact]),
            _arb.digits(var, *[[e["var"] for e in exact]] * 2),
        )
        return worst, f"digits on {QUADRATURE_GRID.shape[1]} points, var 0.1 to 4"

    def ours(y: Any, x: Any) -> Any:
        return theory.moment_map(selu, y, x, weight_sum=1.0)

    def ours_gelu(y: Any, x: Any) -> Any:
        return theory.moment_map("gelu", y, x, weight_sum=1.0)

    def textbook(y: Any, x: Any) -> Any:
        return _textbook_map(y, x, ALPHA01, LAMBDA01)

    return [
        Case(
            "moment_map(selu)",
            [
                Provider("selfnorm", lambda: ours(y, x), lambda: correct(ours)),
                Provider(
                    "numpy, textbook formulas", lambda: textbook(y, x), lambda: correct(textbook)
                ),
            ],
            items=y.size,
            item="point",
            goal=1e-6,
        ),
        Case(
            "moment_map(gelu)",
            [
                Provider(
                    "selfnorm", lambda: ours_gelu(few_y, few_x), lambda: correct_gelu(ours_gelu)
                ),
                Provider(
                    "numpy, 64 Gauss-Hermite nodes",
                    lambda: _by_hermite(few_y, few_x),
                    lambda: correct_gelu(_by_hermite),
                ),
            ],
            items=few_y.size,
            item="point",
        ),
        Case(
            "moment_jacobian(selu)",
            [
                Provider(
                    "selfnorm",
                    lambda: theory.moment_jacobian(selu, y, x, weight_sum=1.0),
                    correct_jacobian,
                )
            ],
            items=y.size,
            item="point",
        ),
    ]


def _searching() -> list[Case]:
    work: dict[str, Callable[[], object]] = {
        "fixed_point(selu, weight_sumsq=1.1)": lambda: theory.fixed_point("selu", weight_sumsq=1.1),
        "fixed_point(tanh, weight_sumsq=2)": lambda: theory.fixed_point("tanh", weight_sumsq=2.0),
        "match_depth(100)": lambda: theory.match_depth(100),
    }
    return [Case(name, [Provider("selfnorm", run)]) for name, run in work.items()]


def _certifying() -> list[Case]:
    certificate = functools.cache(lambda: theory.certify("theorem1"))

    def certify() -> None:
        for claim in CLAIMS:
            theory.certify(claim)

    def by_mpmath(digits: int) -> None:
        with mpmath.workdps(digits + 10):
            e1, e2 = mpmath.erfc(mpmath.sqrt(0.5)), mpmath.erfc(mpmath.sqrt(2))
            root, pi = mpmath.sqrt(mpmath.e), mpmath.pi
            alpha = -mpmath.sqrt(2 / pi) / (e1 * root - 1)
            rest = 2 * e2 * mpmath.e**2 + pi * e1**2 * mpmath.e - 2 * (2 + pi) * e1 * root + pi + 2
            scale = (1 - e1 * root) * mpmath.sqrt(2 * pi) / mpmath.sqrt(rest)
            mpmath.nstr(alpha, digits), mpmath.nstr(scale, digits), mpmath.nstr(alpha * scale)

    return [
        Case("certify, the paper's four claims", [Provider("selfnorm", certify)], goal=5.0),
        Case(
            "check_certificate(theorem1)",
            [Provider("selfnorm", lambda: theory.check_certificate(certificate()))],
        ),
        *(
            Case(
                f"solve_digits(digits={n})",
                [
                    Provider("selfnorm", functools.partial(theory.solve_digits, digits=n)),
                    Provider("mpmath, eq. 14, nothing guaranteed", functools.partial(by_mpmath, n)),
                ],
            )
            for n in (50, 1000)
        ),
    ]


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _starting() -> list[Case]:
    def python(*arguments: str) -> None:
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)

    return [
        Case(
            "import, a process of its own",
            [
                Provider("selfnorm", lambda: python("-c", "import selfnorm.theory")),
                Provider(
                    "numpy and scipy.special alone",
                    lambda: python("-c", "import numpy, scipy.special"),
                    floor=True,
                ),
                Provider("python alone", lambda: python("-c", "pass"), floor=True),
            ],
            goal=0.3,
            clock=_children_cpu,
            clock_name="CPU",
        ),
        Case(
            "selfnorm solve, the whole process",
            [Provider("selfnorm", lambda: python("-m", "selfnorm", "solve"))],
            goal=0.5,
        ),
    ]


def _tailoring() -> list[Case]:
    solver, absent = _dks()

    def case(name: str, depth: int) -> Case:
        target = ZETA ** (1.0 / depth)

        def ours() -> tuple[float, float, float, float]:
            t = theory.tailor(name, depth, ZETA)
            return t.input_scale, t.input_shift, t.output_shift, t.output_scale

        def theirs() -> tuple[float, float, float, float]:
            found = solver(
                [name],
                method="DKS",
                dks_params={"c_slope_1_target": ZETA},
                max_slope_func=lambda s: s**depth,
            )[name]
            names = ("input_scale", "input_shift", "output_shift", "output_scale")
            return tuple(float(found[key]) for key in names)  # type: ignore[return-value]

        def correct(solve: Callable[[], tuple[float, float, float, float]]) -> Accuracy:
            f = {"selu": _arb.selu_branches, "tanh": _arb.tanh}[name]()
            residual = _arb.dks_residual(f, solve(), target)
            return -math.log10(max(residual, 1e-16)), "digits to which the conditions hold"

        return Case(
            f"tailor({name}, depth={depth})",
            [
                Provider("selfnorm", ours, lambda: correct(ours)),
                Provider("dks", theirs, lambda: correct(theirs), absent),
            ],
        )

    return [case(*problem) for problem in (("selu", 8), ("selu", 32), ("selu", 100), ("tanh", 32))]


def _dks() -> tuple[Any, str]:
    """The NumPy solver of Google DeepMind's package, or why there is none."""
    with contextlib.suppress(ImportError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module("dks.base.activation_transform")
        return module._get_activations_params, ""
    return None, "needs pip install dks==0.1.2 absl-py"
