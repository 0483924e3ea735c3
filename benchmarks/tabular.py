"""Estimators for tables: time to fit and to predict, size of what is saved, beside their rivals.

Every provider is at its own defaults, in one thread, on made-up rows of 20 columns and two classes.
The large cases take as long as six fits of each provider: hours from 100,000 rows on.
"""

from __future__ import annotations

import functools
import math
import pickle
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import threadpoolctl
import torch

from benchmarks._harness import Case, Goal, Provider
from selfnorm.experiments._rivals import METHODS, Method
from selfnorm.experiments._tabular_data import Table

COLUMNS = 20
ALL = ("selfnorm", "mlp", "hgb", "lightgbm", "catboost", "rf", "realmlp", "tabm")
# Six fits of the others would take more than a day for a million rows.
QUICK = ("selfnorm", "hgb", "lightgbm")
FIT = {1_000: ALL, 10_000: ALL, 100_000: ALL, 1_000_000: QUICK}
PREDICT_AFTER, BLOCK = 1_000, 10_000
OURS, RIVAL = "selfnorm", "realmlp"


def rows(count: int) -> Table:
    """Return rows whose class depends on sums, products and a step; a tenth of them at random."""
    g = np.random.default_rng(0)
    X = g.normal(size=(count, COLUMNS)).astype(np.float32)
    score = X[:, 0] + X[:, 1] * X[:, 2] + 2.0 * (X[:, 3] > 0.5) + np.sin(3.0 * X[:, 4])
    y = np.where(g.random(count) < 0.1, g.integers(0, 2, count), score > 0.5)
    return Table("rows", X, y.astype(np.int64), np.zeros((1, count), bool))


def one_thread() -> None:
    """Let torch, OpenMP and BLAS compute in one thread from here on; this group is the last."""
    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1)


def quiet(run: Callable[[], object]) -> Callable[[], object]:
    """Keep a rival's remarks away (not converged, no names of columns)."""

    def without_warnings() -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return run()

    return without_warnings


def provide(names: Sequence[str], work: Callable[[Method], Callable[[], object]]) -> list[Provider]:
    """Return a provider for each method; one that is not installed has a row that says so."""
    one_thread()
    found = []
    for name in names:
        method = METHODS[name]
        if method.installed:
            found.append(Provider(name, quiet(work(method))))
        else:
            found.append(Provider(name, lambda: None, absent=f"{method.package} is not installed"))
    return found


def fitting(count: int, names: Sequence[str]) -> list[Provider]:
    table = rows(count)

    def work(method: Method) -> Callable[[], object]:
        return lambda: method.estimator(table, 0).fit(table.X, table.y)

    return provide(names, work)


def fitted(method: Method) -> Any:
    table = rows(PREDICT_AFTER)
    return quiet(lambda: method.estimator(table, 0).fit(table.X, table.y))()


def predicting(count: int) -> list[Provider]:
    X = rows(max(count, 2)).X[:count]

    def work(method: Method) -> Callable[[], object]:
        model = fitted(method)
        return lambda: model.predict_proba(X)

    return provide(ALL, work)


def sizes() -> list[Provider]:
    """Return who tells the bytes of the pickled model."""

    def work(method: Method) -> Callable[[], object]:
        model = fitted(method)
        return lambda: len(pickle.dumps(model))

    return provide(ALL, work)


def cases() -> list[Case]:
    """Return what is measured."""
    found = [
        Case(
            f"fit 10^{round(math.log10(count))} rows",
            functools.partial(fitting, count, names),
            item="fit",
            goals=[Goal(OURS, 0.1, RIVAL)] if RIVAL in names else [],
            relative_to=OURS,
            large=count > 1_000,
        )
        for count, names in FIT.items()
    ]
    for count in (1, BLOCK):
        found.append(
            Case(
                f"predict {count} row{'s' if count > 1 else ''} after {PREDICT_AFTER}",
                functools.partial(predicting, count),
                items=count,
                item="row",
                relative_to=OURS,
            )
        )
    found.append(Case(f"size after {PREDICT_AFTER}", sizes, item="model", unit="B"))
    return found
