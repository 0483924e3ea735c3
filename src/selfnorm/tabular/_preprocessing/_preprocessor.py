"""The preprocessing of tables: learnt on the training rows, stored with the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.exceptions import NotFittedError

from selfnorm.errors import DataError, DomainError
from selfnorm.tabular._bins import Bins
from selfnorm.tabular._preprocessing._categories import CategoryTable
from selfnorm.tabular._preprocessing._checks import (
    check_columns,
    check_memory,
    check_weight,
)
from selfnorm.tabular._preprocessing._columns import CategoryColumn, NumberColumn
from selfnorm.tabular._preprocessing._frames import (
    Table,
    check_finite,
    read_table,
)
from selfnorm.tabular._preprocessing._learning import learn_columns
from selfnorm.tabular._preprocessing._numbers import NumberArrays, blocks
from selfnorm.tabular._preprocessing._stored import read_state, state_of
from selfnorm.tabular._preprocessing._target_codes import append_target_codes

__all__ = ["Preprocessor"]

CategoricalFeatures = Literal["auto"] | Sequence[int] | Sequence[str] | Sequence[bool] | None


class Preprocessor:
    """Turn a table into a float32 matrix of mean 0 and variance 1, without missing values.

    Parameters
    ----------
    categorical_features : "auto", None or sequence of str, int or bool
        Which columns are categories. ``"auto"``: those of pandas' ``category``, ``string`` and
        ``object`` dtype and of polars' ``String``, ``Categorical`` and ``Enum`` that hold text.
        None: none. Names, places or a mask: these and no others. Texts in other columns are
        refused.
    max_one_hot : int
        Categories of up to this many levels get one coordinate per level; others fixed random
        codes of 2 ceil(log2(levels)) coordinates, to which `add_targets` adds.
    random_state : int
        Seed of the random codes, 0 or more.

    Attributes
    ----------
    n_features_in_ : int
        Number of input columns.
    feature_names_in_ : numpy.ndarray of str
        Names of the input columns; absent where X had none.
    columns : tuple of NumberColumn and CategoryColumn
        What was learnt of each input column.
    output_names : list of str
        Name of each output column.
    width : int
        Number of output columns, at least 1.
    bins : Bins or None
        What `add_bins` added.

    Raises
    ------
    DomainError
        If a parameter lies outside its domain.

    Notes
    -----
    **Inputs**: NumPy arrays, nested lists, pandas and polars DataFrames, SciPy sparse matrices.
    A sparse matrix gives a dense one: it is read in blocks, and refused where the result would
    take more than half of the machine's memory.

    **Numbers**: ``z = 0.6745 * (x - median) / distance`` with the median distance from the median
    of the rows that are not at the median, so that a column of many zeros is scaled by the rest;
    then the smooth clip ``z / sqrt(1 + (z/5)**2)``, which holds outliers below 5; then mean 0 and
    variance 1 exactly. Columns of one value give no output. Where a value is so rare (below 1/37)
    that variance 1 would put it more than 6 from the mean, it is put at 6 and the variance is
    less than 1. Integers, however few, are numbers. Booleans are 0 and 1.
    Infinities are refused.

    **Dates** are numbers, seconds from 1970-01-01 (UTC where the zone is not told); durations are
    seconds. A time of day or a weekday is not derived: add it as a column if it matters.

    **Missing values** (NaN, None, NA, NaT, null) of numbers become the median, and where the
    training rows miss some, a column that tells so is added. A value missing for the first time
    at prediction becomes the median silently.

    **Categories**: see ``max_one_hot``. The missing value is a level if the training rows hold
    it. Levels that they do not hold have all coordinates 0, the average row of the training.
    A level is its text: 1, 1.0, True and "1" are one. In an object column of numbers only, these
    are numbers. In an array of fixed-width text, a column of which each value parses as a number
    is a column of numbers. A column of more than ``max_one_hot`` levels that all come once tells
    nothing of other rows and gives no output; of more than 4,096 levels the rarest count as
    unknown.

    If no column gives an output, there is one column of zeros. `add_targets` and `add_bins` append
    further features.

    Examples
    --------
    >>> import numpy as np
    >>> X = [[1.0, "red"], [2.0, "blue"], [None, "red"], [9.0, "green"]]
    >>> preprocessor = Preprocessor().fit(X)
    >>> preprocessor.output_names
    ['x0', 'x0 missing', 'x1=blue', 'x1=green', 'x1=red']
    >>> rows = preprocessor.transform(X)
    >>> np.abs(rows.mean(axis=0)).max() < 1e-6
    np.True_
    >>> preprocessor.transform([[3.0, "mauve"]])[0, 2:]
    array([0., 0., 0.], dtype=float32)
    """

    n_features_in_: int
    feature_names_in_: NDArray[np.object_]
    columns: tuple[NumberColumn | CategoryColumn, ...]
    output_names: list[str]
    width: int

    def __init__(
        self,
        *,
        categorical_features: CategoricalFeatures = "auto",
        max_one_hot: int = 10,
        random_state: int = 0,
    ) -> None:
        for name, value in (("max_one_hot", max_one_hot), ("random_state", random_state)):
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 0:
                raise DomainError(
                    f"{name} must be an integer, 0 or more, however: {name}={value!r}; "
                    f"leave it out for the default"
                )
        self.categorical_features = categorical_features
        self.max_one_hot = int(max_one_hot)
        self.random_state = int(random_state)

    # ------------------------------------------------------------------------------------ fitting

    def fit(self, X: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Learn the columns of a table.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            The training rows.
        sample_weight : array of shape (n_samples,), optional
            Weights, 0 or more: 2 is as good as the row twice, 0 as good as no row.

        Returns
        -------
        Preprocessor
            Itself.

        Raises
        ------
        DataError
            If X is no table, holds infinities, or has texts where numbers are expected; if the
            weights do not fit.
        TypeError
            If a value is neither number, text, boolean nor date.
        """
        table = read_table(X)
        check_memory(table, table.n_features)
        rows, weight = check_weight(sample_weight, table.n_rows)
        columns = learn_columns(
            table,
            self.categorical_features,
            rows,
            weight,
            max_one_hot=self.max_one_hot,
            seed=self.random_state,
        )
        self._learn(columns, table.names)
        return self

    def _learn(
        self, columns: tuple[NumberColumn | CategoryColumn, ...], names: list[str] | None
    ) -> None:
        """Take over what was learnt or read, and lay out the outputs."""
        self.columns = columns
        self.n_features_in_ = len(columns)
        if names is not None:
            self.feature_names_in_ = np.array(names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        numbers = [c for c in columns if isinstance(c, NumberColumn)]
        categories = [c for c in columns if isinstance(c, CategoryColumn) and c.width]
        self._numbers = NumberArrays.of(numbers)
        self._reads_all = len(self._numbers.used) == len(columns)
        self._kinds = {c.index: c.kind for c in numbers}
        self._categories = [CategoryTable(c) for c in categories]
        self._target_places: list[int] = []
        self.bins: Bins | None = None
        self.output_names = [c.name for c in numbers if c.scaling is not None]
        self.output_names += [f"{c.name} missing" for c in numbers if c.flag is not None]
        for column in categories:
            self.output_names += column.output_names
        if not self.output_names:
            self.output_names = ["constant"]
        self.width = len(self.output_names)

    def add_targets(
        self,
        rows: NDArray[np.float32],
        targets: NDArray[np.float64],
        weights: NDArray[np.float64] | None,
        folds: list[NDArray[np.intp]],
    ) -> NDArray[np.float32]:
        """Append to the codes of categories what the target is like in each level.

        Parameters
        ----------
        rows : numpy.ndarray of float32, shape (n_samples, width)
            What `transform` gave for the training rows, in any order.
        targets, weights, folds : numpy.ndarray and list
            Of these rows; see `selfnorm.tabular._preprocessing._target_codes`.

        Returns
        -------
        numpy.ndarray of float32, shape (n_samples, new width)
            The training rows, each without what its own target tells. `transform` gives other rows
            what all of them tell.
        """
        found, columns, places = append_target_codes(
            self._categories, self._numbers.width, rows, targets, weights, folds
        )
        if columns:
            names = getattr(self, "feature_names_in_", None)
            every = tuple(columns.get(column.index, column) for column in self.columns)
            self._learn(every, None if names is None else names.tolist())
            self._target_places = places
        return found

    @property
    def coded(self) -> bool:
        """Whether a category has codes, not a coordinate for each level."""
        return any(not category.column.one_hot for category in self._categories)

    def add_bins(self, count: int, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Append piecewise linear features to the outputs.

        They are those of the columns of numbers and of what `add_targets` added.

        Parameters
        ----------
        count : int
            Bins of a column, at least 2; see `selfnorm.tabular._bins.Bins`.
        rows : numpy.ndarray of float32, shape (n_samples, width)
            What `transform` gave for the training rows.

        Returns
        -------
        numpy.ndarray of float32, shape (n_samples, new width)
            What it gives from now on.
        """
        numbers = [c for c in self.columns if isinstance(c, NumberColumn) and c.scaling is not None]
        columns = [*range(len(numbers)), *self._target_places]
        if not columns:
            return rows
        bins = Bins(count).fit(rows, columns)
        if not bins.width:
            return rows
        self._append(bins)
        return np.concatenate([rows, bins.transform(rows)], axis=1)

    def _append(self, bins: Bins) -> None:
        self.bins, self.output_names = bins, self.output_names + bins.names(self.output_names)
        self.width = len(self.output_names)

    # ----------------------------------------------------------------------------------- applying

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Turn rows into what the network takes.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            Rows with the columns of the training rows, in their order.

        Returns
        -------
        numpy.ndarray of float32, shape (n_samples, width)
            Finite numbers.

        Raises
        ------
        DataError
            If X is no table, has other columns than in training, or holds infinities.
        TypeError
            If a value is neither number, text, boolean nor date.
        sklearn.exceptions.NotFittedError
            If nothing was learnt yet.
        """
        self._require_columns()
        table = read_table(X)
        check_columns(table, self.n_features_in_, getattr(self, "feature_names_in_", None))
        check_memory(table, self.width)
        out = np.zeros((table.n_rows, self.width), dtype=np.float32)
        if table.matrix is not None:
            self._transform_matrix(table, out)
        else:
            self._transform_columns(table, out)
        start = self._numbers.width
        for category in self._categories:
            stop = start + category.column.width
            category.apply(table.texts(category.column.index), out[:, start:stop])
            start = stop
        if self.bins is not None:
            width = self.width - self.bins.width
            out[:, width:] = self.bins.transform(out[:, :width])
        return out

    def _transform_matrix(self, table: Table, out: NDArray[np.float32]) -> None:
        matrix, used = table.matrix, self._numbers.used
        dense = not sparse.issparse(matrix)
        for rows in blocks(table.n_rows, table.n_features):
            part = matrix[rows] if dense else matrix[rows].toarray()
            missing = check_finite(part, lambda: table.labels, rows.start)
            if self._reads_all:
                values = part.astype(np.float64)
            else:
                values = part[:, used].astype(np.float64)
                missing = None if missing is None else missing[:, used]
            self._numbers.apply(values, missing, out[rows])

    def _transform_columns(self, table: Table, out: NDArray[np.float32]) -> None:
        used = self._numbers.used.tolist()
        values = np.empty((table.n_rows, len(used)))
        for place, index in enumerate(used):
            column = table.numbers(index)
            kind = self._kinds[index]
            if column.kind != kind and not np.isnan(column.values).all():
                raise DataError(
                    f"column {table.label(index)!r} of X must hold a {kind} per row as in "
                    f"training, however: it holds a {column.kind}; convert it"
                )
            values[:, place] = column.values
        for rows in blocks(table.n_rows, len(used)):
            part = values[rows]
            missing = np.isnan(part)
            self._numbers.apply(part, missing if missing.any() else None, out[rows])

    # ------------------------------------------------------------------------------------ storing

    def to_state(self) -> dict[str, Any]:
        """Return all that was learnt, for JSON.

        Returns
        -------
        dict
            Strings, numbers, lists and dicts only. Floats come back exactly from their ``repr``,
            which is what :mod:`json` writes.
        """
        self._require_columns()
        return state_of(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Build the preprocessing that ``to_state`` described.

        Parameters
        ----------
        state : mapping
            The description.

        Returns
        -------
        Preprocessor
            It transforms as the original does, bit for bit.

        Raises
        ------
        DataError
            If the description is damaged or of a later version.
        """
        stored = read_state(state)
        new = cls(**stored.parameters)
        new._learn(stored.columns, stored.names)
        if stored.bins is not None:
            stored.check_bins(new.width)
            new._append(stored.bins)
        return new

    def _require_columns(self) -> None:
        if not hasattr(self, "columns"):
            raise NotFittedError("the preprocessing must be fitted first; call fit(X)")
