"""Whether a network keeps its scale when it gets deeper or wider."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from selfnorm.diagnosis._arguments import guesses
from selfnorm.diagnosis._batches import Batch, batches_of
from selfnorm.diagnosis._diagnose import run
from selfnorm.diagnosis._probe import Measured, Probe
from selfnorm.diagnosis._records import Finding, finding, plain
from selfnorm.diagnosis._state import unchanged
from selfnorm.errors import DataError, DomainError
from selfnorm.functional._checks import is_number

__all__ = ["CoordCheck", "coord_check"]

_QUANTITIES: Final = ("var", "gradient")
_ROWS: Final = 256


@dataclass(frozen=True)
class CoordCheck:
    """How variance and gradients change with depth and width, and whether that passes.

    Attributes
    ----------
    points : tuple of dict
        One a network: ``depth``, ``width``, ``seed``, ``var`` (of the last activation),
        ``gradient`` (root of the mean squared gradient's factor from the last activation to the
        first).
    slopes : dict of str to float
        Change of the natural logarithm: ``var_by_depth`` and ``gradient_by_depth`` per layer,
        ``var_by_width`` and ``gradient_by_width`` per doubling of the width. NaN where there was
        only one depth or width.
    factors : dict of str to float
        The factor that this slope makes over the whole range that was asked for.
    tolerance, gradient_tolerance : float
        The largest factors that pass, up or down, of variance and squared gradient.
    findings : tuple of Finding
        What fails.
    """

    points: tuple[dict[str, float], ...]
    slopes: dict[str, float]
    factors: dict[str, float]
    tolerance: float
    gradient_tolerance: float
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing changes by more than the tolerance."""
        return not self.findings

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data.

        Returns
        -------
        dict
            The fields, with ``passed``; numbers that are not finite are None.
        """
        result = plain(
            {
                "passed": self.passed,
                "points": list(self.points),
                "slopes": self.slopes,
                "factors": self.factors,
                "tolerance": self.tolerance,
                "gradient_tolerance": self.gradient_tolerance,
                "findings": [one.to_dict() for one in self.findings],
            }
        )
        assert isinstance(result, dict)
        return result

    def __str__(self) -> str:
        """Return verdict and factors, one a line."""
        lines = ["passed" if self.passed else "failed"]
        for name, factor in self.factors.items():
            if math.isfinite(factor):
                lines.append(f"{name.replace('_', ' ')}: factor {factor:.3g} over the range")
        return "\n".join([*lines, *map(str, self.findings)])


def coord_check(
    factory: Callable[..., nn.Module],
    data: Any = None,
    *,
    depths: Sequence[int] = (2, 4, 8, 16, 32),
    widths: Sequence[int] = (64, 128, 256),
    repeats: int = 3,
    tolerance: float = 3.0,
    gradient_tolerance: float = 100.0,
    random_state: int = 0,
) -> CoordCheck:
    """Build a network at several depths and widths, and test that its scale does not change.

    The variance of the last activation, and the gradient on its way from the last activation to
    the first, are fitted as exponentials in the depth and powers of the width. The change that the
    fit gives over the whole range must stay within a factor.

    Parameters
    ----------
    factory : callable
        ``factory(depth=…, width=…)`` builds an untrained network; an argument that it does not
        have is left out, and one that is swept must be there.
    data : tensor, array, callable or iterable, optional
        As :func:`diagnose` takes it, or a function of the model that returns it. Default: 256 rows
        of standard normal numbers.
    depths : sequence of int
        Depths, at the middle width. One or none: depth is not swept.
    widths : sequence of int
        Widths, at the middle depth.
    repeats : int
        Networks a point, of different seeds.
    tolerance : float
        Largest factor of the variance that passes, up or down; above 1.
    gradient_tolerance : float
        The same of the squared gradient. SELU's own growth, 1.0716 a layer, reaches 100 at depth
        67; with alpha dropout of .05 it falls, .928 a layer.
    random_state : int
        Seed of the first network; torch's default generator is put back afterwards.

    Returns
    -------
    CoordCheck
        Slopes, factors, and findings where one fails.

    Raises
    ------
    DomainError
        If depths, widths, repeats or tolerance lie outside their domain, or the factory does not
        take what is swept.
    DataError
        If a network cannot be run on the data.

    References
    ----------
    The idea of plotting the scale of activations against the width is the "coordinate check" of
    Yang et al. 2022, "Tensor Programs V", arXiv:2203.03466; here depth and a verdict are added.

    Examples
    --------
    >>> from selfnorm.diagnosis import coord_check
    >>> from selfnorm.nn import SNN
    >>> def build(depth, width):
    ...     return SNN(20, 2, depth=depth, width=width)
    >>> coord_check(build, depths=(2, 6), widths=(32, 64), repeats=1).passed
    True
    """
    _check(factory, depths, widths, repeats)
    limits = {"var": tolerance, "gradient": gradient_tolerance}
    for name, limit in (("tolerance", tolerance), ("gradient_tolerance", gradient_tolerance)):
        if not (is_number(limit) and limit > 1.0):
            raise DomainError(
                f"{name} must be a factor above 1, however: {name}={limit!r}; leave it out"
            )
    middle_depth, middle_width = _middle(depths), _middle(widths)
    wanted: list[tuple[int | None, int | None, str]]
    wanted = [(d, middle_width, "depth") for d in depths if len(depths) > 1]
    wanted += [(middle_depth, w, "width") for w in widths if len(widths) > 1]
    rows: list[tuple[str, dict[str, float]]] = []
    known: dict[tuple[int | None, int | None, int], dict[str, float]] = {}
    for depth, width, swept in wanted:
        for repeat in range(repeats):
            key = (depth, width, random_state + repeat)
            if key not in known:
                known[key] = _point(factory, data, *key)
            rows.append((swept, known[key]))
    slopes, factors = {}, {}
    for quantity in _QUANTITIES:
        for swept, values in (("depth", depths), ("width", widths)):
            points = [point for name, point in rows if name == swept]
            slope = _slope(points, quantity, swept)
            name = f"{quantity}_by_{swept}"
            slopes[name] = slope
            factors[name] = _factor(slope, swept, values)
    found = []
    for name, factor in factors.items():
        limit = limits[name.partition("_")[0]]
        if not math.isnan(factor) and not 1.0 / limit <= factor <= limit:
            found.append(_finding(name, factor, limit))
    return CoordCheck(
        points=tuple(known.values()),
        slopes=slopes,
        factors=factors,
        tolerance=float(tolerance),
        gradient_tolerance=float(gradient_tolerance),
        findings=tuple(found),
    )


def _point(
    factory: Callable[..., nn.Module],
    data: Any,
    depth: int | None,
    width: int | None,
    seed: int,
) -> dict[str, float]:
    """Build one network and measure it."""
    given = {"depth": depth, "width": width}
    accepted = _accepted(factory, {k: v for k, v in given.items() if v is not None})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = factory(**accepted)
        if not isinstance(model, nn.Module):
            raise DomainError(
                "factory must return a torch.nn.Module, however: a "
                f"{type(model).__name__} came; write factory(depth=…, width=…)"
            )
        batch = data(model) if callable(data) else data
    sites = list(_measured(model, batch, seed).sites.values())
    if not sites:
        raise DataError(
            "the network must have activations, however: none was seen; check the factory"
        )
    squares = [one.squared_gradient / max(1, one.gradient_rows) for one in sites]
    gradient = math.nan
    if len(sites) > 1:
        gradient = squares[0] / squares[-1] if squares[-1] > 0.0 else 0.0
    return {
        "depth": float(depth if depth is not None else math.nan),
        "width": float(width if width is not None else math.nan),
        "seed": float(seed),
        "var": sites[-1].output.var,
        "gradient": gradient,
    }


def _measured(model: nn.Module, data: Any, seed: int) -> Measured:
    """Run the data, or made-up rows of the first layer's shape."""
    with unchanged(model, seed=seed):
        model.train()
        if data is not None:
            probe = Probe(model)
            run(probe, batches_of(model, data, batch_size=_ROWS, max_rows=4096))
            return probe.measured
        error: DataError | None = None
        for one in guesses(model):
            generator = torch.Generator().manual_seed(seed)
            rows = [
                torch.randn(_ROWS, *t.shape[1:], generator=generator).to(t)
                if t.is_floating_point()
                else t
                for t in one
            ]
            probe = Probe(model)
            try:
                run(probe, [Batch(rows, {}, None, len(rows[0]))])
            except DataError as found:
                error = found
            else:
                return probe.measured
    raise DataError(
        "data must be given for a network whose input cannot be guessed, however: data=None; "
        "pass a batch, or a function of the model that returns one"
    ) from error


def _slope(points: Sequence[Mapping[str, float]], quantity: str, swept: str) -> float:
    """Fit the logarithm by least squares; NaN with fewer than two places."""
    if any(math.isnan(p[quantity]) for p in points):
        return math.nan  # one activation has no gradient on its way to another
    usable = [p for p in points if p[quantity] > 0.0 and math.isfinite(p[quantity])]
    x = np.array([math.log2(p["width"]) if swept == "width" else p["depth"] for p in usable])
    if len(usable) < len(points):
        return math.nan if not points else -math.inf  # a signal that died out or overflowed
    if np.unique(x).size < 2:
        return math.nan
    y = np.log([p[quantity] for p in usable])
    return float(np.polyfit(x, y, 1)[0])


def _factor(slope: float, swept: str, values: Sequence[int]) -> float:
    if math.isnan(slope) or len(values) < 2:
        return math.nan
    span = math.log2(max(values) / min(values)) if swept == "width" else max(values) - min(values)
    return math.exp(max(-700.0, min(700.0, slope * span)))


def _finding(name: str, factor: float, tolerance: float) -> Finding:
    quantity, _, swept = name.partition("_by_")
    what = "variance of the last activation" if quantity == "var" else "squared gradient"
    return finding(
        f"scale-with-{swept}",
        "",
        f"The {what} changes by the factor {factor:.3g} over the range of {swept}s; "
        f"{tolerance:g} is allowed.",
        "run selfnorm.check(model): its first finding tells why",
        factor=factor,
        tolerance=tolerance,
    )


def _middle(values: Sequence[int]) -> int | None:
    return sorted(values)[len(values) // 2] if values else None


def _accepted(factory: Callable[..., nn.Module], given: dict[str, int]) -> dict[str, int]:
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return given
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return given
    return {name: value for name, value in given.items() if name in parameters}


def _check(factory: Any, depths: Sequence[int], widths: Sequence[int], repeats: int) -> None:
    if not callable(factory) or isinstance(factory, nn.Module):
        raise DomainError(
            f"factory must be a function that builds a network, however: factory={factory!r:.80}; "
            "write def build(depth, width): …"
        )
    for name, values in (("depths", depths), ("widths", widths)):
        listed = isinstance(values, Sequence) and not isinstance(values, str | bytes)
        if not listed or not all(type(value) is int and value > 0 for value in values):
            raise DomainError(
                f"{name} must be a sequence of whole numbers of at least 1, however: "
                f"{name}={values!r}; "
                "a depth counts layers, a width units"
            )
        takes = name[:-1] in _accepted(factory, {name[:-1]: 1})
        if len(set(values)) > 1 and not takes:
            raise DomainError(
                f"factory must take {name[:-1]}, which is swept, however: it has no such argument; "
                f"name it so, or pass {name}=()"
            )
    if len(set(depths)) < 2 and len(set(widths)) < 2:
        raise DomainError(
            f"at least two depths or two widths are needed, however: depths={depths!r}, "
            f"widths={widths!r}; one point has no slope"
        )
    if type(repeats) is not int or repeats < 1:
        raise DomainError(f"repeats must be at least 1, however: repeats={repeats!r}; 3 is usual")
