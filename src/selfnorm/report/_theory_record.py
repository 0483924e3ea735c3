"""The numbers of the theory report, computed anew, as plain dicts and lists."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any, Final

import numpy as np

import selfnorm
from selfnorm import theory
from selfnorm.errors import CertificateError, ConvergenceError, MissingDependencyError

__all__ = ["theory_record"]

Record = dict[str, Any]

TARGETS: Final = ("0.1", "0.25", "0.5", "1", "2", "4")
CURVE: Final = np.geomspace(0.005, 8.0, 81)
DEPTHS: Final = (10, 50, 100, 500, 1000)
# Sum of a row's squared weights that an initialisation gives in the mean: fan_in times the variance
# of a weight, which is 1/(3 fan_in) for the uniform law on +-1/sqrt(fan_in).
WEIGHTS: Final = (
    (1 / 3, "1/3: PyTorch’s default"),
    (0.6, "0.6"),
    (0.8, "0.8"),
    (1.0, "1: LeCun"),
    (1.25, "1.25"),
    (2.0, "2: He"),
    (3.0, "3"),
)
# (mean, variance) at which the paths of the vector fields begin, and their length.
STARTS: Final = ((-0.8, 30.0), (2.2, 15.0), (-0.8, 0.02), (2.2, 0.04))
LAYERS: Final = 20
_CLAIMS: Final = ("theorem1", "theorem2", "theorem3", "lemma12")
# Boxes wider than the paper's and the weight of the mean in the metric in which they contract.
_LARGER: Final = (
    (1.0, {"mean": ("-0.1", "0.2"), "var": ("0.39", "2.3"), "weight_sumsq": ("0.8", "1.25")}),
    (0.5, {"mean": ("-0.2", "0.6"), "var": ("0.15", "5"), "weight_sumsq": ("0.7", "1.5")}),
)
_NEAR: Final = 0.1


def theory_record() -> Record:
    """Compute the numbers that :func:`theory_report` shows.

    Returns
    -------
    dict
        Numbers, texts, lists and dicts only, so that :func:`json.dumps` takes it:
        ``targets``, ``curve`` and ``depths`` (SELUs with the fixed point (0, var)), ``weights``
        and ``weight_range`` (the standard SELU at other sums of squared weights),
        ``activations`` (the affine maps of :func:`selfnorm.theory.standardize`),
        ``certificates`` and ``basins`` (empty if python-flint is not installed, which
        ``missing`` then says), ``environment``.

    Notes
    -----
    Takes about 3 s on one core. Deterministic but for the seconds that the proofs took.

    Examples
    --------
    >>> record = theory_record()
    >>> [depth["depth"] for depth in record["depths"]]
    [10, 50, 100, 500, 1000]
    """
    certificates, basins, missing = _proofs()
    limits = theory.weight_scale_range("selu")
    assert limits is not None
    return {
        "targets": [_target(var) for var in TARGETS],
        "curve": [_constants(float(var)) for var in CURVE],
        "depths": [_matched(depth) for depth in DEPTHS],
        "weights": [_weights(sumsq, name) for sumsq, name in WEIGHTS],
        "weight_range": [limits.low, limits.high],
        "activations": [_standardized(name) for name in theory.activation_names()],
        "certificates": certificates,
        "basins": basins,
        "missing": missing,
        "environment": _environment(),
    }


def _constants(var: float) -> Record:
    solution = theory.solve(0.0, var)
    return {
        "var": var,
        "alpha": float(solution.alpha),
        "scale": float(solution.scale),
        "var_slope": float(solution.jacobian[1, 1]),
        "spectral_norm": float(solution.spectral_norm),
        "chi": float(solution.chi),
    }


def _target(var: str) -> Record:
    constants = _constants(float(var))
    act = theory.activation("selu", alpha=constants["alpha"], scale=constants["scale"])
    return {
        **constants,
        "label": var,
        "paths": _paths(act, 1.0),
        "layers": max(_layers_until(act, start, constants["var"]) for start in STARTS),
        "near": _NEAR,
    }


def _matched(depth: int) -> Record:
    match = theory.match_depth(depth)
    return {**_constants(match.var), "depth": depth, "budget": match.budget, "growth": match.growth}


def _weights(sumsq: float, name: str) -> Record:
    try:
        found = theory.fixed_point("selu", weight_sumsq=sumsq)
        fixed_point = {"mean": found.mean, "var": found.var, "radius": found.spectral_radius}
    except ConvergenceError:
        fixed_point = None
    paths = _paths(theory.activation("selu"), sumsq)
    unit = _path(theory.activation("selu"), sumsq, (0.0, 1.0))
    return {
        "weight_sumsq": sumsq,
        "label": name,
        "fixed_point": fixed_point,
        "paths": paths,
        "layers": LAYERS,
        "unit_var_after": unit[1][-1],
    }


def _paths(act: theory.Activation, sumsq: float) -> list[list[list[float]]]:
    return [_path(act, sumsq, start) for start in STARTS]


def _path(act: theory.Activation, sumsq: float, start: tuple[float, float]) -> list[list[float]]:
    """Return means and variances layer by layer, weights centred, the start first."""
    means, variances = [start[0]], [start[1]]
    for _ in range(LAYERS):
        out = theory.moment_map(act, means[-1], variances[-1], weight_sumsq=sumsq)
        means.append(float(out.mean))
        variances.append(float(out.var))
    return [means, variances]


def _layers_until(act: theory.Activation, start: tuple[float, float], target: float) -> int:
    """Count the layers after which the variance is near the target, which must attract.

    With centred weights it approaches without turning back: the new variance grows with the old.
    """
    (mean, var), layers = start, 0
    while abs(var / target - 1) > _NEAR:
        mean, var, _ = theory.moment_map(act, mean, var)
        layers += 1
    return layers


def _standardized(name: str) -> Record:
    result = theory.standardize(name)
    return {
        "name": name,
        "mean": _clean(result.mean),
        "gain": result.gain,
        "var_slope": float(result.jacobian[1, 1]),
        "chi": result.chi,
        "behaviour": result.reason.partition(":")[0],
        "reason": result.reason,
    }


def _clean(value: float) -> float:
    """Take the rounding of an integral that is zero by symmetry for what it is."""
    return 0.0 if abs(value) < 1e-14 else value


def _proofs() -> tuple[list[Record], list[Record], str | None]:
    """Make all certificates, or say which package is missing."""
    larger = [
        (theory.Box(weight_sum=("-0.1", "0.1"), **sides), weight) for weight, sides in _LARGER
    ]
    try:
        made = [theory.certify(claim) for claim in _CLAIMS]
        made += [
            theory.certify(box, metric="log-variance", mean_weight=weight) for box, weight in larger
        ]
        basins = [_basin(var, depths) for var, depths in _basin_targets().items()]
    except MissingDependencyError as error:
        return [], [], str(error)
    return [_certificate(one) for one in made], basins, None


def _basin_targets() -> dict[str, list[int]]:
    """Map the variances whose basins are wanted, ascending, to the depths matched by them."""
    wanted: dict[str, list[int]] = {var: [] for var in TARGETS}
    for depth in DEPTHS:
        wanted.setdefault(f"{theory.match_depth(depth).var:.6g}", []).append(depth)
    return dict(sorted(wanted.items(), key=lambda item: float(item[0])))


def _basin(var: str, depths: list[int]) -> Record:
    found: Record = {"var": float(var), "depths": depths, "certificate": None, "why": None}
    try:
        return {**found, "certificate": _certificate(theory.certify_fixed_point(var=var))}
    except CertificateError as error:
        return {**found, "why": str(error)}


def _certificate(certificate: theory.Certificate) -> Record:
    point = certificate.counterexample
    return {
        "claim": certificate.claim,
        "holds": certificate.holds,
        "contraction": certificate.contraction,
        "metric": certificate.metric.name,
        "mean_weight": certificate.metric.mean_weight,
        "seconds": certificate.seconds,
        "counterexample": None if point is None else point.statement,
        "parts": [
            {
                "kind": part.kind,
                "bounds": list(part.bounds),
                "boxes": part.boxes,
                "box": {
                    side: list(getattr(part.box, side))
                    for side in ("mean", "var", "weight_sum", "weight_sumsq")
                },
            }
            for part in certificate.parts
        ],
    }


def _environment() -> Record:
    versions = {"selfnorm": selfnorm.__version__, "python": platform.python_version()}
    for package in ("numpy", "scipy", "python-flint"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {**versions, "machine": f"{platform.system()} {platform.machine()}"}
