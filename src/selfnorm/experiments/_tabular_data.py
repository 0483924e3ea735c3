"""The data sets of the tabular experiments, each with the rows that its tests hold out."""

from __future__ import annotations

import csv
import dataclasses
import http.client
import lzma
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from selfnorm.errors import DataError, MissingDependencyError
from selfnorm.experiments._options import check_choice, check_choices

__all__ = ["COLLECTIONS", "Table", "load_paper_accuracy", "load_tables", "stratified_folds"]

COLLECTIONS: Final = ("uci", "htru2", "houses")
_VARIABLE: Final = "SELFNORM_DATA"
_FOLDS: Final = {"htru2": 10, "houses": 5}
_HOUSES_ID: Final = 537  # OpenML's number of the set "houses", version 1


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """One data set and the rows of its tests.

    Attributes
    ----------
    name : str
        Name of the set.
    X : numpy.ndarray of float32, shape (n_samples, n_features)
        Inputs.
    y : numpy.ndarray of int64 or float64, shape (n_samples,)
        Class numbers, 0 to the number of classes less 1, or targets.
    tests : numpy.ndarray of bool, shape (n_folds, n_samples)
        Test rows of each fold; all others are for training.
    task : {"classification", "regression"}
        What is learnt.
    fixed : bool
        Whether all folds have the same test rows, as the source prescribes them.
    """

    name: str
    X: NDArray[np.float32]
    y: NDArray[Any]
    tests: NDArray[np.bool_]
    task: Literal["classification", "regression"] = "classification"
    fixed: bool = False

    @property
    def n_classes(self) -> int:
        """Number of classes, those without a training row included; 0 in regression."""
        return int(self.y.max()) + 1 if self.task == "classification" else 0

    @property
    def n_train(self) -> int:
        """Training rows of the first fold."""
        return int((~self.tests[0]).sum())


def load_tables(
    collection: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    sets: Sequence[str] | None = None,
) -> tuple[Table, ...]:
    """Load a collection of tables, those with the fewest training rows first.

    Parameters
    ----------
    collection : {"uci", "htru2", "houses"}
        ``uci``: the UCI classification sets of the paper, with the paper's four folds
        (``uci.npz``). ``htru2``: pulsars, ten stratified folds (``htru2.npz`` or the
        ``HTRU_2.csv`` of the UCI repository). ``houses``: California housing in units of 100,000
        dollars, five folds (``houses.npz``, else OpenML).
    data_dir : path-like, optional
        Folder with these files, by default the environment variable ``SELFNORM_DATA``.
    sets : sequence of str, optional
        Names of the sets to keep; by default all.

    Returns
    -------
    tuple of Table
        The sets.

    Raises
    ------
    DomainError
        If a name is unknown.
    DataError
        If a file is missing, damaged or of the wrong form, or if the download failed.
    MissingDependencyError
        If scikit-learn is needed for the download and not installed.
    """
    check_choice("data", collection, COLLECTIONS)
    folder = _folder(data_dir)
    if collection == "uci":
        tables = _uci(_find(folder, "uci.npz", hint=_UCI_HINT))
    else:
        X, y = _htru2(folder) if collection == "htru2" else _houses(folder)
        task: Literal["classification", "regression"] = (
            "classification" if collection == "htru2" else "regression"
        )
        labels = y.astype(np.int64) if task == "classification" else np.zeros(len(y), np.int64)
        fold = stratified_folds(labels, _FOLDS[collection])
        tests = np.stack([fold == k for k in range(_FOLDS[collection])])
        tables = [Table(collection, X, y, tests, task)]
    if sets is not None:
        kept = check_choices("sets", sets, [table.name for table in tables])
        tables = [table for table in tables if table.name in kept]
    return tuple(sorted(tables, key=lambda table: (table.n_train * table.X.shape[1], table.name)))


def load_paper_accuracy(
    data_dir: str | os.PathLike[str] | None = None,
) -> Mapping[str, Mapping[str, float]]:
    """Load the paper's accuracies, from ``uci_paper_accuracy.csv`` where the data lie.

    Parameters
    ----------
    data_dir : path-like, optional
        As for `load_tables`.

    Returns
    -------
    dict
        Accuracy by data set and method; empty where there is no such file. A number that the
        paper has not is left out.

    Raises
    ------
    DataError
        If the file has no column ``dataset``, or a cell that is no number.
    """
    folder = _folder(data_dir)
    path = None if folder is None else folder / "uci_paper_accuracy.csv"
    if path is None or not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    try:
        return {
            row.pop("dataset"): {
                key: float(value) for key, value in row.items() if value not in ("", "NA")
            }
            for row in rows
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{str(path)!r} must have a column dataset and numbers beside it, however: {error}"
        ) from error


def stratified_folds(y: NDArray[np.int64], folds: int, seed: int = 0) -> NDArray[np.int64]:
    """Deal the rows of each class to the folds in turn, in random order.

    Parameters
    ----------
    y : numpy.ndarray of int, shape (n_samples,)
        Class numbers.
    folds : int
        Number of folds.
    seed : int
        Seed of the order.

    Returns
    -------
    numpy.ndarray of int, shape (n_samples,)
        The fold of each row. Sizes differ by one row at most, and so do those of each class.

    Examples
    --------
    >>> import numpy as np
    >>> fold = stratified_folds(np.array([0, 0, 0, 0, 1, 1]), 2)
    >>> np.bincount(fold).tolist(), int(fold[4] + fold[5])
    ([3, 3], 1)
    """
    order = np.random.default_rng(seed).permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    fold = np.empty(len(y), np.int64)
    fold[order] = np.arange(len(y)) % folds
    return fold


_UCI_HINT: Final = (
    "an archive with the arrays NAME/X, NAME/y and NAME/test for each set, where test is a mask "
    "of shape (rows, folds); it can not be fetched, since OpenML has other folds than the paper"
)
_HTRU2_HINT: Final = (
    "an archive with the arrays X and y, or HTRU_2.csv from "
    "https://archive.ics.uci.edu/dataset/372/htru2"
)


def _folder(data_dir: str | os.PathLike[str] | None) -> Path | None:
    named = data_dir if data_dir is not None else os.environ.get(_VARIABLE) or None
    if named is None:
        return None
    path = Path(named)
    if not path.is_dir():
        raise DataError(f"data_dir must be a folder, however: {str(path)!r} is none")
    return path


def _find(folder: Path | None, name: str, *, hint: str) -> Path:
    path = None if folder is None else folder / name
    if path is None or not path.is_file():
        where = "no folder is named" if folder is None else f"{str(folder)!r} holds none"
        raise DataError(
            f"{name} is needed, however: {where}; put it into a folder and name that by data_dir "
            f"or by the environment variable {_VARIABLE}: {hint}"
        )
    return path


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, lzma.LZMAError) as error:
        raise DataError(
            f"{str(path)!r} must be an archive of NumPy arrays, however: {error}; "
            "fetch the file again"
        ) from error


def _uci(path: Path) -> list[Table]:
    arrays = _arrays(path)
    names = sorted({name.rpartition("/")[0] for name in arrays})
    tables = []
    for name in names:
        try:
            X, y = arrays[f"{name}/X"], arrays[f"{name}/y"]
            tests = np.ascontiguousarray(arrays[f"{name}/test"].T)
        except KeyError as error:
            raise DataError(
                f"{str(path)!r} must have the array {error}, however: it has not; {_UCI_HINT}"
            ) from None
        X, y = _checked(X, y, f"{path}: {name}")
        if tests.dtype != bool or tests.ndim != 2 or tests.shape[1] != len(y):
            raise DataError(
                f"{name}/test must be a mask of shape ({len(y)}, folds), however: "
                f"{tests.dtype}, shape {tests.T.shape}, in {str(path)!r}"
            )
        # Class numbers without gaps: a class that no row has is no class.
        y = np.unique(y, return_inverse=True)[1].astype(np.int64)
        tables.append(Table(name, X, y, tests, fixed=bool((tests == tests[0]).all())))
    return tables


def _htru2(folder: Path | None) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    source = None if folder is None else folder / "HTRU_2.csv"
    if source is not None and source.is_file() and not (source.parent / "htru2.npz").is_file():
        try:
            cells = np.loadtxt(source, delimiter=",", ndmin=2)
        except ValueError as error:
            raise DataError(
                f"{str(source)!r} must hold numbers only, however: {error}; fetch it again"
            ) from error
        X, y = _checked(cells[:, :-1], cells[:, -1], str(source))
    else:
        path = _find(folder, "htru2.npz", hint=_HTRU2_HINT)
        arrays = _arrays(path)
        if not {"X", "y"} <= set(arrays):
            raise DataError(f"{str(path)!r} must hold X and y, however: {sorted(arrays)}")
        X, y = _checked(arrays["X"], arrays["y"], str(path))
    return X, y.astype(np.int64)


def _houses(folder: Path | None) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    path = None if folder is None else folder / "houses.npz"
    if path is not None and path.is_file():
        arrays = _arrays(path)
        if not {"X", "y"} <= set(arrays):
            raise DataError(f"{str(path)!r} must hold X and y, however: {sorted(arrays)}")
        X, y = _checked(arrays["X"], arrays["y"], str(path))
    else:
        try:
            import sklearn.datasets
        except ImportError:
            raise MissingDependencyError(
                "scikit-learn", extra="experiments", purpose="fetching California housing"
            ) from None
        try:
            bundle = sklearn.datasets.fetch_openml(data_id=_HOUSES_ID, as_frame=False)
        except (OSError, ValueError, RuntimeError, http.client.HTTPException) as error:
            raise DataError(
                f"California housing could not be fetched from OpenML ({error}); check the "
                "network, or put houses.npz (arrays X and y) into a folder and name that by "
                f"data_dir or by the environment variable {_VARIABLE}"
            ) from error
        X, y = _checked(bundle.data, np.asarray(bundle.target, np.float64), "OpenML houses")
    return X, y.astype(np.float64) / 1e5


def _checked(
    X: NDArray[Any], y: NDArray[Any], where: str
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    if (
        X.ndim != 2
        or y.shape != (len(X),)
        or X.dtype.kind not in "fiub"
        or y.dtype.kind not in "fiub"
    ):
        raise DataError(
            f"X must be numbers of shape (rows, columns) and y of shape (rows,), however: "
            f"X {X.dtype} {X.shape}, y {y.dtype} {y.shape}, in {where}"
        )
    return X.astype(np.float32), y
