"""Members of one trainer, trained in several processes or on several machines."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from torch import Tensor

from selfnorm.errors import DomainError, MissingDependencyError
from selfnorm.train._checks import check_count
from selfnorm.train._records import EpochRecord, Result
from selfnorm.train._settings import Settings
from selfnorm.train._trainer import Trainer

__all__ = ["spread"]


def spread(
    trainer: Trainer,
    X: Any,
    y: Any = None,
    *,
    sample_weight: Any = None,
    class_weight: Mapping[int, float] | Literal["balanced"] | None = None,
    validation: Any = None,
    members_per_job: int | None = None,
    n_jobs: int | None = None,
) -> Result:
    """Train the members of a trainer in jobs that joblib hands out.

    Does what ``trainer.fit`` does, and the trainer is trained afterwards. Members are independent;
    a few of them together make a job, which goes to a process of this machine or, under
    ``joblib.parallel_config("dask")`` or ``("ray")``, to the cluster.

    Parameters
    ----------
    trainer : Trainer
        What to train: several members, without checkpoint and callbacks.
    X : array-like or iterable
        As for `Trainer.fit`, like the next four. Each job gets all rows; a file that is
        memory-mapped or read in batches must be there on all machines.
    y : array-like, optional
        Targets.
    sample_weight : array-like, optional
        Weights of the rows.
    class_weight : dict of int to float or "balanced", optional
        Weights of the classes.
    validation : tuple or array-like or list, optional
        What is held out; of a list of rows for each member a job gets its members' part.
    members_per_job : int, optional
        How many members go together, at least; what is left is divided evenly. Default: as many as
        give each worker one job, and not fewer than 2.
    n_jobs : int, optional
        Number of workers. Default: that of ``joblib.parallel_config``, else 1.

    Returns
    -------
    Result
        As of `Trainer.fit`; times are those of the slowest job.

    Raises
    ------
    DomainError
        If the trainer has what cannot be spread, or as `Trainer.fit`.
    MissingDependencyError
        If joblib is not installed.

    Notes
    -----
    A member gets the bits that training all together gives it as long as each job trains at least
    2 members, threads are as many, and members differ in nothing but seeds, dropout and which rows
    they have (not how many). Otherwise products or the optimiser round differently, as they do for
    a member that is trained alone. Folds of unequal sizes take as many steps an epoch as the
    largest one in their job.

    Examples
    --------
    >>> import torch
    >>> from selfnorm import train
    >>> X = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    >>> y = (X[:, 0] > 0).long()
    >>> trainer = train.Trainer(train.Architecture((4, 8, 2)), members=5, epochs=2)
    >>> result = train.spread(trainer, X, y, members_per_job=2, n_jobs=1)
    >>> len(result.history[0].loss), trainer.predict(X).shape
    (5, torch.Size([5, 90, 2]))
    """
    settings = trainer._settings
    _check(trainer, settings)
    joblib = _joblib()
    if members_per_job is None:
        workers = joblib.effective_n_jobs(n_jobs)
        members_per_job = max(2, settings.members // workers)
    check_count("members_per_job", members_per_job, 1)
    jobs = max(1, settings.members // members_per_job)
    bounds = [settings.members * k // jobs for k in range(jobs + 1)]
    chunks = [range(a, b) for a, b in itertools.pairwise(bounds)]
    # joblib maps large arrays into the processes of this machine, tensors it would copy.
    X, y, sample_weight = (_array(part) for part in (X, y, sample_weight))
    common = {"sample_weight": sample_weight, "class_weight": class_weight}
    done = joblib.Parallel(n_jobs=n_jobs)(
        joblib.delayed(_train)(
            _part(trainer, chunk), X, y, {**common, "validation": _rows_of(validation, chunk)}
        )
        for chunk in chunks
    )
    trainer._weights = [w.to(settings.device) for _, weights in done for w in weights]
    return _merged([result for result, _ in done], [len(chunk) for chunk in chunks])


def _check(trainer: Trainer, settings: Settings) -> None:
    for name, found, remedy in (
        ("checkpoint", settings.checkpoint, "leave it out"),
        ("a resumed checkpoint", trainer._resumed, "go on with fit"),
        ("callbacks", settings.callbacks or None, "look at the result's history"),
    ):
        if found is not None:
            raise DomainError(
                f"a training that is spread must not have {name}, however: {found!r} came; {remedy}"
            )
    if settings.shuffle == "shared":
        raise DomainError(
            "members that share their batches must stay together, however: shuffle='shared'; take "
            "shuffle='member'"
        )


def _part(trainer: Trainer, chunk: range) -> Trainer:
    """Return a trainer of these members alone."""
    settings = trainer._settings
    per_member: dict[str, Any] = {}
    for name in ("lr", "weight_decay", "momentum"):
        value = getattr(settings.optimizer, name, None)
        if isinstance(value, Sequence):
            per_member[name] = tuple(value[m] for m in chunk)
    part = copy.copy(trainer)
    part._weights = []
    part._initial = [trainer._initial[m] for m in chunk if m < len(trainer._initial)]
    part._settings = dataclasses.replace(
        settings,
        members=len(chunk),
        seeds=tuple(settings.seeds[m] for m in chunk),
        dropout=tuple(settings.dropout[m] for m in chunk),
        optimizer=dataclasses.replace(settings.optimizer, **per_member),
        progress=False,
        distributed="off",
    )
    return part


def _array(values: Any) -> Any:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def _rows_of(validation: Any, chunk: range) -> Any:
    """Return the validation of these members: their lists of rows, or what all have."""
    several = isinstance(validation, list) and len(validation) > 0
    if not several or isinstance(validation[0], int | bool | np.integer | tuple):
        return validation
    return [validation[m] for m in chunk if m < len(validation)]


def _train(trainer: Trainer, X: Any, y: Any, given: dict[str, Any]) -> tuple[Result, list[Tensor]]:
    result = trainer.fit(X, y, **given)
    return result, [weights.cpu() for weights in trainer._weights]


def _merged(results: Sequence[Result], sizes: Sequence[int]) -> Result:
    longest = max(len(result.history) for result in results)
    history = []
    for epoch in range(longest):
        records = [r.history[epoch] if epoch < len(r.history) else None for r in results]
        history.append(_record(records, sizes))

    def joined(name: str) -> tuple[Any, ...]:
        return tuple(itertools.chain.from_iterable(getattr(r, name) for r in results))

    return Result(history=tuple(history), **{n: joined(n) for n in _PER_MEMBER_OF_RESULT})


_PER_MEMBER_OF_RESULT = (
    *("best_epoch", "stopped_epoch", "loss", "best_metric", "rate_factor", "diverged"),
)


def _record(records: Sequence[EpochRecord | None], sizes: Sequence[int]) -> EpochRecord:
    """Return one epoch of all jobs; a job that had ended before has entries None."""
    running = [record for record in records if record is not None]

    def joined(name: str) -> Any:
        if getattr(running[0], name) is None:
            return None
        found: list[Any] = []
        for record, size in zip(records, sizes, strict=True):
            found += [None] * size if record is None else getattr(record, name)
        return tuple(found)

    names = ("loss", "validation_loss", "metric", "rate", "moments", "weight_sums")
    return EpochRecord(
        epoch=running[0].epoch,
        epochs=running[0].epochs,
        step=max(record.step for record in running),
        seconds=max(record.seconds for record in running),
        **{name: joined(name) for name in names},
    )


def _joblib() -> Any:
    try:
        return importlib.import_module("joblib")
    except ImportError as error:
        raise MissingDependencyError(
            "joblib", extra="tabular", purpose="spreading a training"
        ) from error
