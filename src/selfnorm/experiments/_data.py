"""The image data sets of the experiments."""

from __future__ import annotations

import dataclasses
import http.client
import os
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from selfnorm.errors import DataError, MissingDependencyError
from selfnorm.experiments._mnist import MnistHalf, check_half, read_mnist
from selfnorm.experiments._options import check_choice, check_integer

__all__ = ["DATA_SETS", "Dataset", "every_fifth", "load_data"]

DATA_SETS: Final = ("digits", "mnist")
_VARIABLE: Final = "SELFNORM_DATA"
_MNIST_TRAIN_ROWS: Final = 60_000


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images as rows of pixels between 0 and 1, with a fixed division in training and test rows.

    Attributes
    ----------
    name : str
        Name of the data set.
    X_train, X_test : numpy.ndarray of float32, shape (n_samples, n_features)
        Pixels divided by the largest possible value, hence in [0, 1].
    y_train, y_test : numpy.ndarray of int64, shape (n_samples,)
        Class numbers from 0.
    n_classes : int
        Number of classes.
    source : str
        Where the rows came from.
    """

    name: str
    X_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    X_test: NDArray[np.float32]
    y_test: NDArray[np.int64]
    n_classes: int
    source: str

    @property
    def chance(self) -> float:
        """Accuracy of always guessing the commonest class of the test rows."""
        return float(np.bincount(self.y_test).max() / len(self.y_test))

    def take(self, train_size: int) -> Dataset:
        """Keep the first ``train_size`` training rows, in the order of the source.

        Parameters
        ----------
        train_size : int
            From 1 to the number of training rows.

        Returns
        -------
        Dataset
            The same test rows with fewer training rows.

        Raises
        ------
        DataError
            If the data set has fewer training rows.
        DomainError
            If ``train_size`` is not an integer of at least 1.

        Examples
        --------
        >>> from selfnorm.experiments import load_data
        >>> load_data("digits").take(100).X_train.shape
        (100, 64)
        """
        rows = check_integer("train_size", train_size)
        if rows > len(self.X_train):
            raise DataError(
                f"train_size must be at most {len(self.X_train)}, the training rows of "
                f"{self.name}, however: train_size={rows}"
            )
        return dataclasses.replace(self, X_train=self.X_train[:rows], y_train=self.y_train[:rows])

    def standardized(self) -> Dataset:
        """Scale each pixel to mean 0 and variance 1 over the training rows.

        The test rows are scaled by the same statistics. A pixel that is constant over the
        training rows carries nothing to learn from and is set to 0 everywhere.

        Returns
        -------
        Dataset
            The scaled data.

        Examples
        --------
        >>> from selfnorm.experiments import load_data
        >>> X = load_data("digits").standardized().X_train
        >>> bool(abs(X.mean()) < 1e-6), sorted({round(float(v), 4) for v in X.var(axis=0)})
        (True, [0.0, 1.0])
        """
        mean = self.X_train.mean(axis=0, dtype=np.float64)
        deviation = self.X_train.std(axis=0, dtype=np.float64)
        # A constant pixel's computed deviation may be a rounding error instead of zero.
        factor = np.where(deviation > 1e-6, 1.0 / np.maximum(deviation, 1e-6), 0.0)
        return dataclasses.replace(
            self,
            X_train=((self.X_train - mean) * factor).astype(np.float32),
            X_test=((self.X_test - mean) * factor).astype(np.float32),
        )

    def scaled(self, var: float) -> Dataset:
        """Multiply all inputs by √var.

        Parameters
        ----------
        var : float
            Factor of the variance, above 0.

        Returns
        -------
        Dataset
            The scaled data.

        Examples
        --------
        >>> from selfnorm.experiments import load_data
        >>> X = load_data("digits").standardized().scaled(0.25).X_train
        >>> round(float(X[:, 20].var()), 4)
        0.25
        """
        factor = np.float32(np.sqrt(var))
        return dataclasses.replace(self, X_train=self.X_train * factor, X_test=self.X_test * factor)

    def with_validation(self) -> Dataset:
        """Exchange the test rows for validation rows taken from the training rows.

        Returns
        -------
        Dataset
            Every fifth training row of each class (see :func:`load_data`) as ``X_test``, the
            others as ``X_train``; the test rows are gone, so that they cannot be looked at.

        Examples
        --------
        >>> from selfnorm.experiments import load_data
        >>> data = load_data("digits")
        >>> inner = data.with_validation()
        >>> len(inner.X_train) + len(inner.X_test) == len(data.X_train)
        True
        """
        held = every_fifth(self.y_train)
        return dataclasses.replace(
            self,
            X_train=self.X_train[~held],
            y_train=self.y_train[~held],
            X_test=self.X_train[held],
            y_test=self.y_train[held],
        )


def every_fifth(y: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark the 5th, 10th, 15th … row of each class: a stratified fifth without any randomness."""
    marked = np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        marked[np.flatnonzero(y == label)[4::5]] = True
    return marked


def load_data(name: str, *, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Load a data set of images.

    Parameters
    ----------
    name : {"digits", "mnist"}
        ``digits``: the 1,797 images of 8×8 pixels that scikit-learn brings along; every fifth
        image of each class, in the order of the source, is a test image. ``mnist``: 60,000
        training and 10,000 test images of 28×28 pixels.
    data_dir : path-like, optional
        Folder with the MNIST files, by default the environment variable ``SELFNORM_DATA``:
        ``mnist_train.npz`` and ``mnist_test.npz`` (arrays ``X``, uint8, (n, 28, 28), and ``y``),
        or the four original idx files, packed with gzip or not. If no folder is named, or the
        one of the variable holds no MNIST file, MNIST is fetched from OpenML and cached by
        scikit-learn. Digits need no folder.

    Returns
    -------
    Dataset
        Pixels in [0, 1].

    Raises
    ------
    DomainError
        If the name is unknown.
    DataError
        If a file is missing, damaged or of the wrong form, or if the download failed.
    MissingDependencyError
        If scikit-learn is needed and not installed.

    Examples
    --------
    >>> data = load_data("digits")
    >>> data.X_train.shape, data.X_test.shape, data.n_classes
    ((1442, 64), (355, 64), 10)
    """
    check_choice("data", name, DATA_SETS)
    if name == "digits":
        return _digits()
    folder = data_dir if data_dir is not None else os.environ.get(_VARIABLE) or None
    if folder is not None:
        path = Path(folder)
        if not path.is_dir():
            raise DataError(f"data_dir must be a folder, however: {str(path)!r} is none")
        halves = read_mnist(path)
        if halves is not None:
            return _mnist(*halves, source=str(path))
        if data_dir is not None:
            raise DataError(
                f"data_dir={str(path)!r} holds no MNIST file; expected mnist_train.npz and "
                "mnist_test.npz, or train-images-idx3-ubyte and its three companions (.gz or not)"
            )
    return _mnist(*_fetch(), source="OpenML mnist_784, version 1")


def _sklearn_datasets(purpose: str) -> Any:
    """Import scikit-learn's data sets."""
    try:
        import sklearn.datasets
    except ImportError:
        raise MissingDependencyError("scikit-learn", extra="experiments", purpose=purpose) from None
    return sklearn.datasets


def _digits() -> Dataset:
    """Return the bundled digits, every fifth of each class as test rows."""
    bundle = _sklearn_datasets("the digits data set").load_digits()
    X = (bundle.data / 16.0).astype(np.float32)
    y = bundle.target.astype(np.int64)
    test = every_fifth(y)
    return Dataset(
        "digits", X[~test], y[~test], X[test], y[test], 10, "scikit-learn's bundled digits"
    )


def _mnist(train: MnistHalf, test: MnistHalf, *, source: str) -> Dataset:
    """Flatten and scale both halves."""
    (X_train, y_train), (X_test, y_test) = train, test
    flat = [X.reshape(len(X), -1).astype(np.float32) / np.float32(255) for X in (X_train, X_test)]
    return Dataset("mnist", flat[0], y_train, flat[1], y_test, 10, source)


def _fetch() -> tuple[MnistHalf, MnistHalf]:
    """Fetch MNIST from OpenML."""
    datasets = _sklearn_datasets("fetching MNIST")
    try:
        bundle = datasets.fetch_openml("mnist_784", version=1, as_frame=False)
        X = np.asarray(bundle.data).reshape(-1, 28, 28)
        X = X if X.dtype.kind in "iu" else X.astype(np.int64)
        y = np.asarray(bundle.target).astype(np.int64)
    except (OSError, ValueError, RuntimeError, EOFError, http.client.HTTPException) as error:
        raise DataError(
            f"MNIST could not be fetched from OpenML ({error}); check the network, or put "
            "mnist_train.npz and mnist_test.npz (or the original idx files) into a folder and "
            f"name it by data_dir or by the environment variable {_VARIABLE}"
        ) from error
    source = "OpenML mnist_784"
    if len(X) <= _MNIST_TRAIN_ROWS:
        raise DataError(f"{source}: expected 70000 images, however: {len(X)}")
    return (
        check_half(X[:_MNIST_TRAIN_ROWS], y[:_MNIST_TRAIN_ROWS], source),
        check_half(X[_MNIST_TRAIN_ROWS:], y[_MNIST_TRAIN_ROWS:], source),
    )
