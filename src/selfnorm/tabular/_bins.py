"""Piecewise linear features: each column's place among its own quantiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from selfnorm.errors import DataError, DomainError

__all__ = ["Bins"]

Array = NDArray[Any]

_LARGEST: Final = 4.0  # absolute value of a feature on training rows
_STEEPEST: Final = 1e30  # slope of a feature, within float32
_SAMPLE: Final = 100_000  # rows from which quantiles are taken
_FIELDS: Final = ("column", "start", "slope", "factor", "summand")


class Bins:
    r"""Piecewise linear features of columns of numbers.

    A column is divided at its quantiles :math:`a_0 < a_1 < \dots < a_m`; between two of them runs
    the feature

    .. math:: t_k(x) = \min(1, \max(0, (x - a_{k-1}) / (a_k - a_{k-1}))),

    0 below its bin and 1 above it. Each is scaled to mean 0 and variance 1 on the training rows, or
    to less variance where its largest absolute value would be above 4: a step that few rows take
    must not weigh more than a column.

    Parameters
    ----------
    count : int
        Bins of a column, at least 2. A column with fewer values has a bin between each two of them.

    Attributes
    ----------
    width : int
        Number of features. A column of two values has none: it is one itself.

    Raises
    ------
    DomainError
        If ``count`` is not an integer of at least 2.

    Notes
    -----
    A network of few layers is slow to learn a step in one column, which a tree finds at once; with
    these features it is one weight. Since they are linear inside a bin and nothing hangs on exact
    values, rows that were scaled a little apart keep their meaning. No random numbers.

    References
    ----------
    Gorishniy, Rubachev, Babenko, "On Embeddings for Numerical Features in Tabular Deep Learning",
    NeurIPS 2022, arXiv:2203.05556, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.arange(9.0)[:, None]
    >>> bins = Bins(2).fit(X)
    >>> print(bins.transform(X)[[0, 2, 4, 6, 8]].round(2))
    [[-1.99 -0.77]
     [-0.61 -0.77]
     [ 0.77 -0.77]
     [ 0.77  0.61]
     [ 0.77  1.99]]
    """

    def __init__(self, count: int) -> None:
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 2:
            raise DomainError(f"count must be an integer of at least 2, however: count={count!r}")
        self.count = int(count)
        self._state: dict[str, Array] = {}

    def fit(self, X: Array, columns: Sequence[int] | None = None) -> Bins:
        """Learn bins and scaling.

        Parameters
        ----------
        X : numpy.ndarray, shape (n_samples, n_columns)
            Numbers, finite.
        columns : sequence of int, optional
            The columns that get bins; all by default.

        Returns
        -------
        Bins
            The object itself.

        Raises
        ------
        DataError
            If ``X`` is not of that form.
        """
        X = _numbers(X)
        # Evenly spaced rows: enough for quantiles, and the same at every call.
        sample = X[:: max(1, len(X) // _SAMPLE)].astype(np.float64)
        column, start, slope = [], [], []
        for index in range(X.shape[1]) if columns is None else columns:
            edges = _edges(sample[:, index], self.count)
            if len(edges) > 2:
                column += [index] * (len(edges) - 1)
                start += edges[:-1].tolist()
                slope += np.minimum(1.0 / np.diff(edges), _STEEPEST).tolist()
        self._state = {
            "column": np.array(column, np.intp),
            "start": np.array(start, np.float32),
            "slope": np.array(slope, np.float32),
            "factor": np.ones(len(column), np.float32),
            "summand": np.zeros(len(column), np.float32),
        }
        if column:
            t = self._raw(X)
            mean, sd = t.mean(axis=0, dtype=np.float64), t.std(axis=0, dtype=np.float64)
            reach = np.maximum(mean, 1.0 - mean) / _LARGEST
            # A feature that is constant on the training rows (none, but for sampling) becomes 0.
            factor = np.where(sd > 0.0, 1.0 / np.maximum(np.maximum(sd, reach), 1e-12), 0.0)
            self._state["factor"] = factor.astype(np.float32)
            self._state["summand"] = (-mean * factor).astype(np.float32)
        return self

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self._fitted()["column"])

    @property
    def columns(self) -> list[int]:
        """The column that each feature is of."""
        columns: list[int] = self._fitted()["column"].tolist()
        return columns

    def names(self, columns: Sequence[str]) -> list[str]:
        """Return a name for each feature from the names of the columns."""
        found, seen = [], dict.fromkeys(self.columns, 0)
        for column in self.columns:
            found.append(f"{columns[column]} bin {seen[column]}")
            seen[column] += 1
        return found

    def transform(self, X: Array) -> NDArray[np.float32]:
        """Return the features.

        Parameters
        ----------
        X : numpy.ndarray, shape (n_samples, n_columns)
            Numbers; beyond the range of the training rows the features stay as at its ends.

        Returns
        -------
        numpy.ndarray of float32, shape (n_samples, width)
            The features, without the columns themselves.

        Raises
        ------
        DataError
            If ``X`` is not of that form, or `fit` was not called.
        """
        state = self._fitted()
        t = self._raw(_numbers(X))
        t *= state["factor"]
        t += state["summand"]
        return t

    def to_state(self) -> dict[str, Any]:
        """Return what `from_state` needs, of numbers and lists."""
        state = self._fitted()
        return {"version": 1, "count": self.count} | {
            name: state[name].tolist() for name in _FIELDS
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Bins:
        """Return the object that `to_state` was called on.

        Parameters
        ----------
        state : mapping
            What `to_state` returned, after JSON or not.

        Returns
        -------
        Bins
            Gives the same features, bit by bit.

        Raises
        ------
        DataError
            If something is missing or of the wrong form.
        """
        try:
            if state["version"] != 1:
                raise ValueError(f"version={state['version']!r}")
            bins = cls(state["count"])
            bins._state = {
                name: np.array(state[name], np.intp if name == "column" else np.float32)
                for name in _FIELDS
            }
            if len({array.shape for array in bins._state.values()}) != 1 or any(
                array.ndim != 1 or not np.isfinite(array).all() for array in bins._state.values()
            ):
                raise ValueError("lists of unequal length, or numbers that are not finite")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"state must be what to_state returned, version 1, however: {error}; save the "
                "model again"
            ) from error
        return bins

    def _raw(self, X: Array) -> NDArray[np.float32]:
        state = self._fitted()
        most = int(state["column"].max(initial=-1))
        if X.shape[1] <= most:
            raise DataError(
                f"X must have the columns of fit, at least {most + 1}, however: X.shape={X.shape}"
            )
        t: NDArray[np.float32] = X[:, state["column"]].astype(np.float32)
        t -= state["start"]
        t *= state["slope"]
        np.clip(t, 0.0, 1.0, out=t)
        return t

    def _fitted(self) -> dict[str, Array]:
        if not self._state:
            raise DataError("bins must be fitted first, however: call fit before")
        return self._state


def _edges(values: Array, count: int) -> Array:
    """Return the edges of a column's bins, increasing and apart in float32."""
    own = np.unique(values)
    if len(own) > count + 1:
        own = np.quantile(values, np.linspace(0.0, 1.0, count + 1))
    # Edges are float32, as the values that they will be compared with.
    edges: Array = np.unique(own.astype(np.float32)).astype(np.float64)
    return edges


def _numbers(X: Array) -> Array:
    X = np.asarray(X)
    if X.ndim != 2 or X.dtype.kind not in "fiub" or not len(X):
        raise DataError(
            "X must be numbers of shape (n_samples, n_columns), at least one row, however: "
            f"X {X.dtype} of shape {X.shape}"
        )
    return X
