"""Which rows which member does not see, and what members say of rows they have not seen."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from selfnorm.tabular._engine import Job
from selfnorm.tabular._ensemble import Ensemble
from selfnorm.tabular._plan import seeds_for
from selfnorm.tabular._rows import parts

__all__ = ["cross_fitted", "held_out", "held_out_outputs", "wants_cross_fit"]

FOLDS: Final = 4  # of the members that are there for calibration alone
_FROM_ROWS: Final = 5000  # from here on the members themselves hold rows out
_SHARE: Final = 1 / 16  # of the rows, each member another part


def held_out(job: Job, fraction: float, *, watched: bool = True) -> Job:
    """Let each member hold out another part of the rows, so that together they see all."""
    count = max(2, min(len(job.rows), round(1.0 / fraction)))
    own, every = _parts(job, count), np.arange(len(job.rows))
    held = [own[k % count] for k in range(len(job.plans))]
    only = [np.setdiff1d(every, part) for part in held]
    return dataclasses.replace(job, only=only, held=held if watched else None, held_out=held)


def wants_cross_fit(calibrate: Any, job: Job) -> bool:
    """Tell whether ``calibrate`` asks for held-out rows."""
    if job.start is not None:
        return False  # networks to go on with have seen all rows already
    if isinstance(calibrate, str):
        # More members for calibration than for the prediction are for who asks for them.
        return len(job.plans) >= FOLDS
    return bool(calibrate)


def cross_fitted(job: Job) -> Job:
    """Add what gives outputs for rows that were not trained on, at no cost in training rows.

    Few rows: one more member for each of 4 folds. Many: each member holds out 1/16 of the rows,
    another part than the others.
    """
    count = len(job.rows)
    if count >= _FROM_ROWS:
        return held_out(job, _SHARE, watched=False)
    folds = min(FOLDS, count)
    held = _parts(job, folds)
    every = np.arange(count)
    only = [every] * len(job.plans) + [np.setdiff1d(every, part) for part in held]
    # Other members, other streams: a seed of their own from the first member's.
    seeds = seeds_for(job.plans[0].seed, folds)
    extra = [dataclasses.replace(job.plans[0], seed=seed) for seed in seeds]
    return dataclasses.replace(
        job,
        plans=[*job.plans, *extra],
        only=only,
        held_out=held,
        extra=folds,
    )


def _parts(job: Job, count: int) -> list[NDArray[np.intp]]:
    y = job.rows.y
    return parts(y, count, job.plans[0].seed, classes=y.ndim == 1)


def held_out_outputs(ensemble: Ensemble, job: Job) -> NDArray[Any]:
    """Return each row's mean output of the members that held it out; NaN where none did."""
    held = job.held_out or []
    # Each member on its own part alone, which is a sixteenth of a large table.
    found = [ensemble(job.rows.X[part], slice(k, k + 1))[0] for k, part in enumerate(held)]
    total = np.zeros((len(job.rows), found[0].shape[1]))
    counts = np.zeros((len(job.rows), 1))
    for part, outputs in zip(held, found, strict=True):
        total[part] += outputs
        counts[part] += 1
    mean: NDArray[Any] = np.full_like(total, np.nan)
    np.divide(total, counts, out=mean, where=counts > 0)
    return mean
