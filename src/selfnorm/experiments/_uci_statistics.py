"""What the cells of the tabular experiment say: means, ranks, paired comparisons."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from selfnorm.experiments._uci_cells import Cell, calibration_error

__all__ = ["MEASURES", "Grid", "Measure", "Paired", "grid_of", "paired"]

RESAMPLES: Final = 10_000
_SEED: Final = 0


@dataclasses.dataclass(frozen=True)
class Measure:
    """The figure that decides, by collection.

    Attributes
    ----------
    key : str
        Its name in a cell.
    words : str
        Its name in tables.
    higher : bool
        Whether more is better.
    """

    key: str
    words: str
    higher: bool


MEASURES: Final[Mapping[str, Measure]] = {
    "uci": Measure("accuracy", "accuracy", higher=True),
    "htru2": Measure("auc", "AUC", higher=True),
    "houses": Measure("rmse", "RMSE (100,000 dollars)", higher=False),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """Figures by unit (data set, or fold where there is one set only) and method.

    Attributes
    ----------
    units, methods : tuple of str
        Heads of rows and columns.
    values : numpy.ndarray, shape (units, methods)
        Mean over a set's folds; NaN where a method has not finished all of them.
    """

    units: tuple[str, ...]
    methods: tuple[str, ...]
    values: NDArray[np.float64]

    def common(self) -> Grid:
        """Return the units that every method has finished."""
        whole = np.asarray(np.isfinite(self.values).all(axis=1))
        units = tuple(unit for unit, kept in zip(self.units, whole.tolist(), strict=True) if kept)
        return dataclasses.replace(self, units=units, values=self.values[whole])

    def ranks(self, *, higher: bool) -> NDArray[np.float64]:
        """Return the mean rank of each method over the common units: 1 is best, ties share."""
        from scipy.stats import rankdata

        values = self.common().values
        if not len(values):
            return np.full(len(self.methods), math.nan)
        order = rankdata(-values if higher else values, axis=1)
        mean: NDArray[np.float64] = order.mean(axis=0)
        return mean


@dataclasses.dataclass(frozen=True)
class Paired:
    """A comparison of two methods on the same units.

    Attributes
    ----------
    units : int
        Units that both have finished.
    difference : float
        Mean of the first less the second.
    low, high : float
        95 % bootstrap interval of that mean over units (percentiles of 10,000 resamples).
    wins, ties, losses : int
        Units where the first is better, equal, worse.
    p : float
        Two-sided p-value of Wilcoxon's signed-rank test; NaN where all differences are 0.
    """

    units: int
    difference: float
    low: float
    high: float
    wins: int
    ties: int
    losses: int
    p: float


def paired(
    first: NDArray[np.float64], second: NDArray[np.float64], *, higher: bool = True
) -> Paired | None:
    """Compare two methods unit by unit.

    Parameters
    ----------
    first, second : numpy.ndarray, shape (units,)
        Their figures; units where one is NaN are left out.
    higher : bool
        Whether more is better.

    Returns
    -------
    Paired or None
        None where fewer than two units are left.

    Notes
    -----
    Differences below 1e-12 are ties; Wilcoxon's test divides their ranks between both sides.

    Examples
    --------
    >>> import numpy as np
    >>> result = paired(np.array([0.9, 0.8, 0.7]), np.array([0.8, 0.8, 0.75]))
    >>> result.wins, result.ties, result.losses, round(result.difference, 4)
    (1, 1, 1, 0.0167)
    """
    from scipy.stats import wilcoxon

    known = np.isfinite(first) & np.isfinite(second)
    gap = (first - second)[known]
    gap = np.where(np.abs(gap) < 1e-12, 0.0, gap)
    if len(gap) < 2:
        return None
    generator = np.random.default_rng(_SEED)
    means = gap[generator.integers(len(gap), size=(RESAMPLES, len(gap)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    better = gap if higher else -gap
    p = float(wilcoxon(gap, zero_method="zsplit").pvalue) if gap.any() else math.nan
    return Paired(
        units=len(gap),
        difference=float(gap.mean()),
        low=float(low),
        high=float(high),
        wins=int((better > 0).sum()),
        ties=int((better == 0).sum()),
        losses=int((better < 0).sum()),
        p=p,
    )


def grid_of(
    record: Mapping[str, Any], key: str, *, fixed: bool | None = None, by_fold: bool = False
) -> Grid:
    """Arrange one figure of the finished cells.

    Parameters
    ----------
    record : mapping
        The experiment's record: ``sets``, ``methods`` and ``cells``.
    key : str
        Which figure; ``"ece"`` is computed from the bins of a set's folds, pooled.
    fixed : bool, optional
        Only sets with (without) a fixed test part. Default: all.
    by_fold : bool
        Whether a unit is a fold instead of a set.

    Returns
    -------
    Grid
        The figures.
    """
    methods = tuple(method["name"] for method in record["methods"])
    found: dict[tuple[str, int, str], Cell] = {
        (cell["set"], cell["fold"], cell["method"]): cell for cell in record["cells"]
    }
    units: list[str] = []
    rows: list[list[float]] = []
    for item in record["sets"]:
        if fixed is not None and item["fixed"] != fixed:
            continue
        groups = [[fold] for fold in item["folds"]] if by_fold else [item["folds"]]
        for folds in groups:
            units.append(f"{item['name']}, fold {folds[0]}" if by_fold else item["name"])
            rows.append(
                [
                    _mean([found.get((item["name"], fold, name)) for fold in folds], key)
                    for name in methods
                ]
            )
    return Grid(tuple(units), methods, np.array(rows, np.float64).reshape(-1, len(methods)))


def _mean(cells: Sequence[Cell | None], key: str) -> float:
    known = [cell for cell in cells if cell is not None]
    name = "bins" if key == "ece" else key
    if len(known) < len(cells) or any(cell.get(name) is None for cell in known):
        return math.nan
    if key == "ece":
        return calibration_error([cell["bins"] for cell in known])
    return float(np.mean([cell[key] for cell in known]))
