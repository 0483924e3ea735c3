"""Estimators for tables: time to fit and to predict, size of what is saved, beside their rivals.

Every provider is at its own defaults, in one thread, on made-up rows of 20 columns and two classes.
Times are CPU time, which in one thread is what a clock on the wall shows if nobody else computes.
A fit of more than 5 s is timed once. A rival's fit that must be expected to take more than 300 s,
from what it took with a tenth of the rows, is not begun, and its row says so.
"""

from __future__ import annotations

import functools
import math
import pickle
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import threadpoolctl
import torch

from benchmarks._harness import Case, Goal, Provider, Row
from selfnorm.experiments._rivals import METHODS, Method
from selfnorm.experiments._tabular_data import Table

COLUMNS = 20
NAMES = ("selfnorm", "mlp", "hgb", "lightgbm", "catboost", "realmlp", "tabm")
COUNTS = (1_000, 10_000, 100_000, 1_000_000)
PREDICTED = 10_000
ONCE, MOST = 5.0, 300.0  # seconds: timed once above; not begun above
OURS, RIVAL = "selfnorm", "realmlp"
# What was fitted and how long it took: the cases of predictions need the models, and the larger
# tables the times.
FITTED: dict[tuple[str, int], Any] = {}
SECONDS: dict[tuple[str, int], float] = {}


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


def fit(method: Method, table: Table) -> Any:
    """Fit, remember model and time, and keep a rival's remarks away (not converged, no names)."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = method.estimator(table, 0).fit(table.X, table.y)
    key = method.name, len(table.y)
    FITTED[key], SECONDS[key] = model, time.process_time() - start
    return model


def resume(done: Iterable[Row]) -> None:
    """Take over how long the fits of an earlier run took."""
    for row in done:
        for count in COUNTS:
            if row.case == f"fit {words(count)}" and row.median is not None:
                SECONDS[row.provider, count] = row.median


def words(count: int) -> str:
    return f"10^{round(math.log10(count))} rows"


def fitted(method: Method, table: Table) -> Any:
    model = FITTED.get((method.name, len(table.y)))
    return fit(method, table) if model is None else model


def too_long(name: str, count: int) -> str:
    """Say why a fit is not begun, or nothing."""
    for fewer in (n for n in reversed(COUNTS) if n < count):
        if (seconds := SECONDS.get((name, fewer))) is not None:
            expected = seconds * count / fewer
            what = f"at {seconds:.3g} s for {fewer:,} rows a fit would take about {expected:.0f} s"
            return what if expected > MOST and name != OURS else ""
    return ""


def provide(count: int, work: Callable[[Method, Table], Callable[[], object]]) -> list[Provider]:
    """Return a provider for each method; one that cannot run has a row that says so."""
    one_thread()
    table, found = rows(count), []
    for name in NAMES:
        method = METHODS[name]
        absent = too_long(name, count)
        if not method.installed:
            absent = f"{method.package} is not installed"
        found.append(Provider(name, work(method, table) if not absent else lambda: None,
                              absent=absent))  # fmt: skip
    return found


def fitting(count: int) -> list[Provider]:
    return provide(count, lambda method, table: lambda: fit(method, table))


def predicting(count: int, predicted: int) -> list[Provider]:
    X = rows(PREDICTED).X[:predicted]

    def work(method: Method, table: Table) -> Callable[[], object]:
        model = fitted(method, table)

        def predict() -> object:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return model.predict_proba(X)

        return predict

    return provide(count, work)


def sizes(count: int) -> list[Provider]:
    """Return who tells the bytes of the pickled model."""

    def work(method: Method, table: Table) -> Callable[[], object]:
        model = fitted(method, table)
        return lambda: len(pickle.dumps(model))

    return provide(count, work)


def cases() -> list[Case]:
    """Return what is measured: of each size the fits, then predictions and sizes."""
    clock: dict[str, Any] = {"clock": time.process_time, "clock_name": "CPU"}
    found = []
    for count in COUNTS:
        large, size = count > COUNTS[0], words(count)
        found.append(
            Case(
                f"fit {size}",
                functools.partial(fitting, count),
                item="fit",
                goals=[Goal(OURS, 0.1, RIVAL)],
                relative_to=OURS,
                large=large,
                slow=ONCE,
                **clock,
            )
        )
        for predicted in (1, PREDICTED):
            found.append(
                Case(
                    f"predict {predicted:,} row{'s' if predicted > 1 else ''} after {size}",
                    functools.partial(predicting, count, predicted),
                    item="call",
                    relative_to=OURS,
                    large=large,
                    **clock,
                )
            )
        found.append(
            Case(f"size after {size}", functools.partial(sizes, count), item="model", unit="B",
                 relative_to=OURS, large=large)
        )  # fmt: skip
    return found
