"""Which rows which member does not see, and what members say of rows they have not seen."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from selfnorm.tabular._engine import Job
from selfnorm.tabular._ensemble import Ensemble
from selfnorm.tabular._plan import Plan, seeds_for
from selfnorm.tabular._rows import parts

__all__ = ["cross_fitted", "held_out", "held_out_outputs", "wants_cross_fit"]

FOLDS: Final = 4  # of the members that are there for calibration alone
_FROM_ROWS: Final = 5000  # from here on the members themselves hold rows out
_SHARE: Final = 1 / 16  # of the rows, each member another part
_BLOCK: Final = 1 << 16  # rows whose outputs are there at a time


def held_out(job: Job, fraction: float, *, watched: bool = True) -> Job:
    """Let each member of a kind hold out another part of the rows: together they see all."""
    count = max(2, min(len(job.rows), round(1.0 / fraction)))
    own, every = _parts(job, count), np.arange(len(job.rows))
    # Members of other kinds hold out the same rows, so that these can tell the kinds apart.
    places = [place for kind in _kinds(job.plans) for place in range(len(kind))]
    held = [own[place % count] for place in places]
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

    Few rows: one more member for each of 4 folds. Many, or members of several kinds: each member
    holds out 1/16 of the rows, another part than the others of its kind.
    """
    count = len(job.rows)
    if count >= _FROM_ROWS or len(_kinds(job.plans)) > 1:
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


def _kinds(plans: Sequence[Plan]) -> list[list[int]]:
    """Return the places of the members of each weight decay; equal ones stand side by side."""
    places = itertools.groupby(range(len(plans)), key=lambda k: plans[k].weight_decay)
    return [list(group) for _, group in places]


def held_out_outputs(ensemble: Ensemble, job: Job) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return each row's mean output of the members that held it out, and that of the others.

    Both of shape (kinds, n, outputs), for each kind of members; NaN where there is no such member.
    """
    held = job.held_out or []
    unseen = np.zeros((len(held), len(job.rows), 1), dtype=bool)
    for k, own in enumerate(held):
        unseen[k, own] = True
    kinds = _kinds(job.plans[len(job.plans) - len(held) :])
    both: list[tuple[NDArray[Any], NDArray[Any]]] = []
    # All members' outputs for millions of rows would not fit; parts of equal size do.
    count = -(-len(job.rows) // _BLOCK)
    for rows in np.array_split(np.arange(len(job.rows)), count):
        part = slice(rows[0], rows[-1] + 1)
        outputs, mask = ensemble(job.rows.X[part]), unseen[:, part]
        both.append((_means(outputs, mask, kinds), _means(outputs, ~mask, kinds)))
    theirs, others = zip(*both, strict=True)
    return np.concatenate(theirs, axis=1), np.concatenate(others, axis=1)


def _means(outputs: NDArray[Any], mask: NDArray[Any], kinds: list[list[int]]) -> NDArray[Any]:
    counts = np.stack([mask[kind].sum(0) for kind in kinds])
    total = np.stack([np.where(mask[kind], outputs[kind], 0.0).sum(0) for kind in kinds])
    found: NDArray[Any] = np.full_like(total, np.nan)
    np.divide(total, counts, out=found, where=counts > 0)
    return found
