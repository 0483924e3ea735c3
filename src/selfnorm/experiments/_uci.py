"""The tabular experiment: this library's estimators and their rivals, each at its defaults."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from selfnorm._files import write_atomically
from selfnorm.errors import DomainError, MissingDependencyError
from selfnorm.experiments._environment import environment, one_thread
from selfnorm.experiments._options import check_choice, check_choices, check_integer
from selfnorm.experiments._progress import ProgressCallback, Watch
from selfnorm.experiments._records import ExperimentResult, Record, Report, plain
from selfnorm.experiments._rivals import METHODS, Method
from selfnorm.experiments._tabular_data import (
    COLLECTIONS,
    Table,
    load_paper_accuracy,
    load_tables,
)
from selfnorm.experiments._uci_cells import Log, identity, run_cell
from selfnorm.experiments._uci_report import markdown, render, table_of
from selfnorm.experiments._uci_statistics import MEASURES

__all__ = ["uci"]

LOG_NAME: Final = "cells.jsonl"
TABLES_NAME: Final = "tables.md"
DEFAULT_METHODS: Final = ("selfnorm", "rf", "svm", "mlp", "hgb", "lightgbm")


def uci(
    *,
    data: str = "uci",
    data_dir: str | os.PathLike[str] | None = None,
    methods: Sequence[str] = DEFAULT_METHODS,
    sets: Sequence[str] | None = None,
    folds: Sequence[int] | None = None,
    max_rows: int | None = None,
    resume: bool = True,
    out: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
) -> ExperimentResult:
    """Run tabular methods at their own defaults on the same folds and compare them.

    Parameters
    ----------
    data : {"uci", "htru2", "houses"}
        The UCI classification sets of the paper on its folds (accuracy), the HTRU2 pulsars in ten
        folds (area under the curve), or California housing in five (root mean square error).
    data_dir : path-like, optional
        Folder with ``uci.npz``, ``htru2.npz`` and ``houses.npz``, by default the environment
        variable ``SELFNORM_DATA``. California housing is fetched from OpenML where it is missing.
    methods : sequence of str
        Of ``selfnorm``, ``rf``, ``svm``, ``svm-c10``, ``mlp``, ``hgb``, ``lightgbm``,
        ``catboost``, ``realmlp``, ``tabm``. One whose package is not installed is left out, and
        the record says so.
    sets : sequence of str, optional
        Names of data sets. Default: all of the collection.
    folds : sequence of int, optional
        Numbers of folds from 0. Default: all. Where all folds have the same test rows, the first
        of them is taken alone.
    max_rows : int, optional
        Leave out sets with more training rows.
    resume : bool
        Whether to take over the cells that a run into the same folder has finished.
    out : path-like, optional
        Folder for ``cells.jsonl`` (a line for each finished fold and method), ``result.json``,
        ``report.html`` and its tables as Markdown, ``tables.md``.
    progress : callable, optional
        Called with a :class:`ProgressEvent` after each fold; a step is a fold.

    Returns
    -------
    ExperimentResult
        The record, the summary table and the paths of the files.

    Raises
    ------
    DomainError
        If an option is out of its domain, no method or no set is left, or ``out`` cannot be
        written.
    DataError
        If the data are missing or damaged.
    MissingDependencyError
        If scikit-learn, or what draws the report, is not installed.

    Notes
    -----
    Seconds are those of the processor, in one thread. All rows that are not test rows are for
    training: methods that hold rows out for themselves do so among these. Every method has one
    thread, the number of the fold as its random state, and its own defaults; support vector
    machines and scikit-learn's perceptron get z-scored inputs as their authors advise. A method
    that fails on a fold gets no figure there and the record holds its message; comparisons use the
    sets that both methods have finished.

    The test rows of the fixed test parts of the paper's sets were scaled apart from the training
    rows at the source. They are reported by themselves.

    References
    ----------
    .. [1] Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks", NeurIPS
       2017, arXiv:1706.02515, section "Experiments" and appendix.
    .. [2] Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7, 2006.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> X = np.random.default_rng(0).normal(size=(60, 2))
    >>> test = (np.arange(60)[:, None] % 4) == np.arange(4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/uci.npz", **{"a/X": X, "a/y": X[:, 0] > 0, "a/test": test})
    ...     result = uci(data_dir=folder, methods=["svm", "mlp"], folds=[0, 1])
    >>> [row[0] for row in result.rows], len(result.record["cells"])
    (['svm', 'mlp'], 4)
    """
    check_choice("data", data, COLLECTIONS)
    chosen = [METHODS[name] for name in check_choices("methods", methods, tuple(METHODS))]
    limit = None if max_rows is None else check_integer("max_rows", max_rows)
    try:
        import sklearn  # noqa: F401 - found missing here, before any work
    except ImportError:
        raise MissingDependencyError(
            "scikit-learn", extra="experiments", purpose="the tabular experiment"
        ) from None
    tables = load_tables(data, data_dir=data_dir, sets=sets)
    tables = tuple(table for table in tables if limit is None or table.n_train <= limit)
    if not tables:
        raise DomainError(f"max_rows must leave a data set, however: max_rows={max_rows}")
    wanted = {table.name: _folds(table, folds) for table in tables}
    present = [method for method in chosen if method.installed]
    absent = [method.absence for method in chosen if not method.installed]
    if not present:
        raise DomainError(f"methods must name one that is installed, however: {'; '.join(absent)}")
    report = None if out is None else Report(out, render)
    log = Log(None if report is None else Path(report.folder) / LOG_NAME, resume=resume)
    paper = load_paper_accuracy(data_dir) if data == "uci" else {}
    record: Record = {
        "experiment": "uci",
        "complete": False,
        "config": {
            "data": data,
            "methods": [method.name for method in present],
            "sets": None if sets is None else list(sets),
            "folds": None if folds is None else list(folds),
            "max_rows": limit,
        },
        "environment": plain(environment() | {"threads": 1}),
        "measure": MEASURES[data].key,
        "methods": [{"name": m.name, "words": m.words, "version": m.version} for m in present],
        "absent": absent,
        "sets": [
            {
                "name": table.name,
                "n_train": table.n_train,
                "n_test": int(table.tests[0].sum()),
                "features": table.X.shape[1],
                "classes": table.n_classes,
                "fixed": table.fixed,
                "folds": wanted[table.name],
                "paper": dict(paper.get(table.name, {})),
            }
            for table in tables
        ],
        "cells": [],
    }
    threadpoolctl = importlib.import_module("threadpoolctl")  # scikit-learn requires it
    with one_thread(), threadpoolctl.threadpool_limits(1):
        try:
            _run(record, tables, present, log, progress)
            record["complete"] = True
        finally:
            if report is not None:
                report.write_result(record)
                report.write_page(record)
                write_atomically(report.folder / TABLES_NAME, markdown(record))
    columns, rows = table_of(record)
    paths = () if report is None else (report.folder / "result.json", report.folder / "report.html")
    return ExperimentResult(record, columns, rows, *paths)


def _folds(table: Table, folds: Sequence[int] | None) -> list[int]:
    known = range(len(table.tests))
    wanted = list(known) if folds is None else [check_integer("folds", k, minimum=0) for k in folds]
    for fold in wanted:
        if fold not in known:
            raise DomainError(
                f"folds must be among 0 to {len(table.tests) - 1} for {table.name}, however: "
                f"folds holds {fold}"
            )
    if not wanted:
        raise DomainError("folds must name at least one, however: it is empty")
    return sorted(set(wanted))[:1] if table.fixed else sorted(set(wanted))


def _run(
    record: Record,
    tables: Sequence[Table],
    methods: Sequence[Method],
    log: Log,
    progress: ProgressCallback | None,
) -> None:
    """Run every cell that is not in the log, the smallest sets first."""
    collection = record["config"]["data"]
    folds = {item["name"]: item["folds"] for item in record["sets"]}
    total = sum(map(len, folds.values()))
    watches = {
        method.name: Watch(
            progress, seed=0, arm=method.name, index=k, arms=len(methods), epochs=total, total=total
        )
        for k, method in enumerate(methods)
    }
    done, right = dict.fromkeys(watches, 0), dict.fromkeys(watches, 0.0)
    for table in tables:
        for fold in folds[table.name]:
            for method in methods:
                cell = log.find(identity(collection, table, fold, method))
                if cell is None:
                    cell = run_cell(collection, table, fold, method)
                    log.add(cell)
                record["cells"].append(cell)
                done[method.name] += 1
                right[method.name] += cell.get("accuracy") or 0.0
                mean = right[method.name] / done[method.name] if collection != "houses" else None
                watches[method.name].step(done[method.name], None, mean)
                if done[method.name] == total:
                    watches[method.name].end(None, mean, "finished")
