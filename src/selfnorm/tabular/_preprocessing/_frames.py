"""Arrays, sparse matrices, pandas and polars DataFrames, read column by column.

pandas and polars are never imported: an object of theirs proves that they are loaded.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import check_array

from selfnorm.errors import DataError
from selfnorm.tabular._preprocessing._columns import NumberKind
from selfnorm.tabular._preprocessing._objects import read_objects, text_of

__all__ = ["Numbers", "Table", "Texts", "check_finite", "read_table"]

F64 = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """A column as numbers, NaN where missing; the kind is None where all are missing."""

    values: F64
    kind: NumberKind | None = "number"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """A column as places in a list of distinct texts, -1 where missing."""

    codes: NDArray[np.intp]
    levels: list[str]
    numeric: bool = False  # the levels were numbers


class Table:
    """Rows and columns of whatever kind.

    Attributes
    ----------
    n_rows, n_features : int
        The shape.
    names : list of str or None
        The column names where all are strings.
    labels : list of str
        The names, or ``x0``, ``x1``, …
    matrix : numpy.ndarray, scipy.sparse.csr_array or None
        The whole, where it is of numbers only.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        columns: Callable[[int], Numbers | Texts | Unparsed] | None = None,
        *,
        names: Sequence[object] | None = None,
        matrix: Any = None,
    ) -> None:
        self.n_rows, self.n_features = shape
        if 0 in shape:
            what = "sample" if shape[0] == 0 else "feature"
            raise DataError(
                f"X must have at least one row and one column, however: Found array with 0 "
                f"{what}(s) (shape={shape}) while a minimum of 1 is required."
            )
        self.names: list[str] | None = None
        if names is not None and all(isinstance(name, str) for name in names):
            self.names = [str(name) for name in names]
        self._given = names
        self.matrix = matrix
        self._columns = columns

    @property
    def labels(self) -> list[str]:
        if self._given is not None:
            return [str(name) for name in self._given]
        return [f"x{k}" for k in range(self.n_features)]

    def label(self, index: int) -> str:
        return f"x{index}" if self._given is None else str(self._given[index])

    def column(self, index: int) -> Numbers | Texts:
        """Read a column as what it is."""
        found = self._raw(index)
        return self._checked(found.parse() if isinstance(found, Unparsed) else found, index)

    def numbers(self, index: int) -> Numbers:
        """Read a column of numbers; refuse texts."""
        found = self.column(index)
        if isinstance(found, Numbers):
            return found
        present = found.codes[found.codes >= 0]
        if not len(present):
            return Numbers(np.full(self.n_rows, np.nan), None)
        raise DataError(
            f"column {self.label(index)!r} of X must hold numbers, however: it holds the text "
            f"{found.levels[present[0]]!r}; convert it, or fit with this column in "
            "categorical_features"
        )

    def texts(self, index: int) -> Texts:
        """Read a column as categories, which numbers can be too."""
        found = self._raw(index)
        found = self._checked(found.as_text() if isinstance(found, Unparsed) else found, index)
        return _as_texts(found.values) if isinstance(found, Numbers) else found

    def _raw(self, index: int) -> Numbers | Texts | Unparsed:
        if self._columns is not None:
            return self._columns(index)
        if sparse.issparse(self.matrix):
            return Numbers(self.matrix[:, [index]].toarray().ravel().astype(np.float64))
        return Numbers(self.matrix[:, index].astype(np.float64))

    def _checked(self, found: Numbers | Texts, index: int) -> Numbers | Texts:
        if isinstance(found, Numbers):
            check_finite(found.values[:, None], [self.label(index)])
        return found


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Unparsed:
    """A column of an array of fixed-width text, in which numbers became text too."""

    values: NDArray[np.str_]

    def parse(self) -> Numbers | Texts:
        try:
            return Numbers(self.values.astype(np.float64))
        except ValueError:
            return self.as_text()

    def as_text(self) -> Numbers | Texts:
        return _texts(read_objects(self.values.astype(object), ""))


def _as_texts(values: F64) -> Texts:
    levels, codes = np.unique(values, return_inverse=True)
    codes = codes.astype(np.intp)
    codes[np.isnan(values)] = -1
    return Texts(codes, [text_of(level) for level in levels.tolist() if level == level], True)


def check_finite(
    values: NDArray[Any], labels: Sequence[str] | Callable[[], Sequence[str]], row: int = 0
) -> NDArray[np.bool_] | None:
    """Refuse infinities; return where values are missing, or None where none is."""
    finite = np.isfinite(values)
    if finite.all():
        return None
    infinite = np.isinf(values)
    if infinite.any():
        k, j = np.argwhere(infinite)[0].tolist()
        label = (labels if isinstance(labels, Sequence) else labels())[j]
        raise DataError(
            "X must hold finite numbers, or NaN where a value is missing, however: it holds "
            f"{float(values[k, j])!r} (infinity) in row {row + k}, column {label!r}; replace it "
            "by a number or by NaN"
        )
    missing: NDArray[np.bool_] = ~finite
    return missing


# -------------------------------------------------------------------------------------- reading


def read_table(X: Any) -> Table:
    """Recognise what X is; refuse what is no table."""
    # Almost all calls, and single rows must be fast.
    if type(X) is np.ndarray and X.ndim == 2 and X.dtype.kind in "fiub" and X.size:
        return Table(X.shape, matrix=X)
    if sparse.issparse(X):
        return _read_sparse(X)
    if _is_a(X, "pandas", "DataFrame"):
        return _read_pandas(X)
    if _is_a(X, "polars", "DataFrame"):
        return _read_polars(X)
    if _is_a(X, "polars", "LazyFrame"):
        raise DataError("X must be a table in memory, however: X is a LazyFrame; call X.collect()")
    return _read_array(X)


def _is_a(X: object, package: str, name: str) -> bool:
    return any(
        kind.__name__ == name and kind.__module__.partition(".")[0] == package
        for kind in type(X).__mro__
    )


def _read_array(X: Any) -> Table:
    if isinstance(X, np.ma.MaskedArray):
        raise DataError(
            "X must be an array without mask, however: X is a MaskedArray; "
            "X.astype(float).filled(numpy.nan) marks what is masked as missing"
        )
    array = X
    if not isinstance(X, np.ndarray):
        try:
            array = np.asarray(X)
        except ValueError as error:
            raise DataError(
                "X must be a table whose rows are equally long, however: "
                f"X is a {type(X).__name__} of unequal rows; fill the gaps with None"
            ) from error
        if array.dtype.kind in "US":  # numbers among texts became texts
            array = np.asarray(X, dtype=object)
    # It refuses complex numbers, other shapes and no rows in the words that scikit-learn's users
    # and its checks know.
    array = check_array(array, dtype=None, ensure_all_finite=False, input_name="X")
    kind = array.dtype.kind
    if kind in "fiub":
        return Table(array.shape, matrix=array)
    if kind not in "OUMm":
        raise DataError(
            "X must hold numbers, texts, booleans or dates, however: "
            f"X.dtype={array.dtype}; convert it, texts to str"
        )

    def column(index: int) -> Numbers | Texts | Unparsed:
        values = array[:, index]
        if kind == "O":
            return _texts(read_objects(values, f"x{index}"))
        if kind == "U":
            return Unparsed(values)
        return _times(values)

    return Table(array.shape, column)


def _read_sparse(X: Any) -> Table:
    if X.ndim != 2:
        raise DataError(f"X must have two dimensions, however: X.shape={X.shape}; reshape it")
    if X.dtype.kind == "c":
        raise DataError(f"Complex data not supported, however: X.dtype={X.dtype}; take X.real")
    return Table(X.shape, matrix=X.tocsr())


def _texts(found: tuple[str, Any]) -> Numbers | Texts:
    """Wrap what :func:`read_objects` found."""
    kind, values = found
    if kind == "text":
        codes, levels = values
        return Texts(codes, levels)
    return Numbers(values, None if kind == "missing" else kind)  # type: ignore[arg-type]


def _times(values: NDArray[Any]) -> Numbers:
    """Read datetime64 or timedelta64 as seconds."""
    kind: NumberKind = "datetime" if values.dtype.kind == "M" else "duration"
    ticks = values.astype(f"{values.dtype.kind}8[us]")
    seconds = ticks.astype(np.int64) / 1e6
    seconds[np.isnat(ticks)] = np.nan
    return Numbers(seconds, kind)


def _read_pandas(X: Any) -> Table:
    names = X.columns.tolist()
    dtypes = X.dtypes.tolist()
    if 0 not in X.shape and all(isinstance(d, np.dtype) and d.kind in "fiub" for d in dtypes):
        return Table(X.shape, names=names, matrix=X.to_numpy(dtype=np.result_type(*dtypes)))
    series = [one for _, one in X.items()]  # in a third of iloc's time
    return Table(X.shape, lambda k: _read_series(series[k], str(names[k])), names=names)


def _read_series(series: Any, name: str) -> Numbers | Texts:
    pandas = sys.modules["pandas"]
    types = pandas.api.types
    if isinstance(series.dtype, pandas.SparseDtype):
        series = series.sparse.to_dense()
    dtype = series.dtype
    if isinstance(dtype, pandas.CategoricalDtype):
        codes = series.cat.codes.to_numpy().astype(np.intp)
        levels = series.cat.categories
        numeric = types.is_bool_dtype(levels) or types.is_numeric_dtype(levels)
        return _merged(codes, [text_of(level) for level in levels.tolist()], numeric)
    if types.is_complex_dtype(dtype):
        raise DataError(f"Complex data not supported, however: column {name!r}; take its real part")
    if types.is_bool_dtype(dtype) or types.is_numeric_dtype(dtype):
        return Numbers(series.to_numpy(dtype=np.float64, na_value=np.nan))
    if dtype.kind == "M":
        if series.dt.tz is not None:
            series = series.dt.tz_convert("UTC").dt.tz_localize(None)
        return _times(series.to_numpy(dtype="M8[us]"))
    if dtype.kind == "m":
        return _times(series.to_numpy(dtype="m8[us]"))
    if types.is_object_dtype(dtype) or types.is_string_dtype(dtype) or dtype.kind == "O":
        return _texts(read_objects(series.to_numpy(dtype=object), name))
    raise _unknown(name, dtype)


def _merged(codes: NDArray[np.intp], levels: list[str], numeric: bool) -> Texts:
    """Join levels of one text, such as the number 1 and the text "1"."""
    distinct = list(dict.fromkeys(levels))
    if len(distinct) < len(levels):
        place = {level: k for k, level in enumerate(distinct)}
        codes = np.array([*(place[level] for level in levels), -1], dtype=np.intp)[codes]
    return Texts(codes, distinct, numeric)


def _read_polars(X: Any) -> Table:
    polars = sys.modules["polars"]
    names = list(X.columns)
    dtypes = X.dtypes
    if 0 not in X.shape and all(d.is_numeric() or d == polars.Boolean for d in dtypes):
        kind = polars.Float32 if all(d == polars.Float32 for d in dtypes) else polars.Float64
        return Table(X.shape, names=names, matrix=X.cast(kind).to_numpy())
    return Table(X.shape, lambda k: _read_polars_series(X.to_series(k), names[k]), names=names)


def _read_polars_series(series: Any, name: str) -> Numbers | Texts:
    polars = sys.modules["polars"]
    dtype = series.dtype
    if dtype.is_numeric() or dtype == polars.Boolean:
        return Numbers(np.array(series.cast(polars.Float64).to_numpy()))
    if dtype in (polars.String, polars.Categorical, polars.Enum):
        values = np.array(series.cast(polars.String).to_list(), dtype=object)
        return _texts(read_objects(values, name))
    if dtype in (polars.Date, polars.Datetime):
        ticks = series.dt.epoch("us")
        return Numbers(ticks.cast(polars.Float64).to_numpy() / 1e6, "datetime")
    if dtype == polars.Duration:
        ticks = series.dt.total_microseconds()
        return Numbers(ticks.cast(polars.Float64).to_numpy() / 1e6, "duration")
    if dtype == polars.Null:
        return Numbers(np.full(len(series), np.nan), None)
    if dtype == polars.Object:
        return _texts(read_objects(np.array(series.to_list(), dtype=object), name))
    raise _unknown(name, dtype)


def _unknown(name: str, dtype: object) -> DataError:
    return DataError(
        "X must hold numbers, texts, categories, booleans, dates or durations, however: "
        f"column {name!r} has dtype {dtype}; convert or drop it"
    )
