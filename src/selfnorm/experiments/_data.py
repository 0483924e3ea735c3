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
from selfnorm.experiments._cifar10 import (
    CIFAR10_SHAPE,
    CifarHalf,
    check_cifar10_half,
    read_cifar10,
)
from selfnorm.experiments._mnist import MnistHalf, check_half, read_mnist
from selfnorm.experiments._options import check_choice, check_integer

__all__ = ["DATA_SETS", "Dataset", "every_fifth", "load_data"]

DATA_SETS: Final = ("digits", "mnist", "cifar10")
_VARIABLE: Final = "SELFNORM_DATA"
_MNIST_TRAIN_ROWS: Final = 60_000
_EXPECTED: Final = {
    "mnist": "no MNIST file; expected mnist_train.npz and mnist_test.npz, or "
    "train-images-idx3-ubyte and its three companions (.gz or not)",
    "cifar10": "no CIFAR-10 file; expected cifar10_jpeg_train.npz and cifar10_jpeg_test.npz, or "
    "the binary version (cifar-10-batches-bin with data_batch_1.bin and its companions)",
}


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
    shape : tuple of int
        Channels, height and width of an image; a row is an image flattened in this order.
    """

    name: str
    X_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    X_test: NDArray[np.float32]
    y_test: NDArray[np.int64]
    n_classes: int
    source: str
    shape: tuple[int, int, int]

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

    def take_test(self, test_size: int) -> Dataset:
        """Keep the first ``test_size`` test rows, in the order of the source.

        Parameters
        ----------
        test_size : int
            From 1 to the number of test rows.

        Returns
        -------
        Dataset
            The same training rows with fewer test rows.

        Raises
        ------
        DataError
            If the data set has fewer test rows.
        DomainError
            If ``test_size`` is not an integer of at least 1.

        Examples
        --------
        >>> from selfnorm.experiments import load_data
        >>> load_data("digits").take_test(100).X_test.shape
        (100, 64)
        """
        rows = check_integer("test_size", test_size)
        if rows > len(self.X_test):
            raise DataError(
                f"test_size must be at most {len(self.X_test)}, the test rows of "
                f"{self.name}, however: test_size={rows}"
            )
        return dataclasses.replace(self, X_test=self.X_test[:rows], y_test=self.y_test[:rows])

    def standardized(self, *, by_channel: bool = False) -> Dataset:
        """Scale each pixel to mean 0 and variance 1 over the training rows.

        The test rows are scaled by the same statistics. A pixel that is constant over the
        training rows carries nothing to learn from and is set to 0 everywhere.

        Parameters
        ----------
        by_channel : bool
            One mean and one variance for all pixels of a channel, as convolutions want it: a
            pixel means the same wherever it stands.

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
        if by_channel:
            channels = mean.reshape(self.shape[0], -1)
            square = (deviation**2).reshape(channels.shape) + channels**2
            size = channels.shape[1]
            mean = np.repeat(channels.mean(axis=1), size)
            deviation = np.sqrt(np.repeat(square.mean(axis=1), size) - mean**2)
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
    name : {"digits", "mnist", "cifar10"}
        ``digits``: the 1,797 images of 8×8 pixels that scikit-learn brings along; every fifth
        image of each class, in the order of the source, is a test image. ``mnist``: 60,000
        training and 10,000 test images of 28×28 pixels. ``cifar10``: colour images of 32×32
        pixels, as many as the files hold.
    data_dir : path-like, optional
        Folder with the files, by default the environment variable ``SELFNORM_DATA``. MNIST:
        ``mnist_train.npz`` and ``mnist_test.npz`` (arrays ``X``, uint8, (n, 28, 28), and ``y``),
        or the four original idx files, packed with gzip or not. CIFAR-10: the original binary
        batches, or ``cifar10_jpeg_train.npz`` and ``cifar10_jpeg_test.npz`` (arrays ``jpeg``,
        the bytes of all images, ``offsets``, one more than images, and ``y``). If no folder is
        named, or the one of the variable holds no such file, the data are fetched from OpenML
        and cached by scikit-learn: all of MNIST; of CIFAR-10 the third that OpenML calls
        ``CIFAR_10_small``, every fifth image of each class for testing. Digits need no folder.

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
        If scikit-learn or Pillow (for JPEG) is needed and not installed.

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
        found = _read(name, path)
        if found is not None:
            return found
        if data_dir is not None:
            raise DataError(f"data_dir={str(path)!r} holds {_EXPECTED[name]}")
    return _fetch_mnist() if name == "mnist" else _fetch_cifar10()


def _read(name: str, folder: Path) -> Dataset | None:
    """Read a data set from a folder, None if it holds no file of that set."""
    if name == "mnist":
        digits = read_mnist(folder)
        return None if digits is None else _mnist(*digits, source=str(folder))
    pictures = read_cifar10(folder)
    return None if pictures is None else _cifar10(*pictures, source=str(folder))


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
        "digits",
        X[~test],
        y[~test],
        X[test],
        y[test],
        10,
        "scikit-learn's bundled digits",
        (1, 8, 8),
    )


def _mnist(train: MnistHalf, test: MnistHalf, *, source: str) -> Dataset:
    """Flatten and scale both halves."""
    return _dataset("mnist", train, test, source, (1, 28, 28))


def _cifar10(train: CifarHalf, test: CifarHalf, *, source: str) -> Dataset:
    """Flatten and scale both halves."""
    return _dataset("cifar10", train, test, source, CIFAR10_SHAPE)


def _dataset(
    name: str,
    train: tuple[NDArray[np.uint8], NDArray[np.int64]],
    test: tuple[NDArray[np.uint8], NDArray[np.int64]],
    source: str,
    shape: tuple[int, int, int],
) -> Dataset:
    (X_train, y_train), (X_test, y_test) = train, test
    flat = [X.reshape(len(X), -1).astype(np.float32) for X in (X_train, X_test)]
    for X in flat:
        X /= np.float32(255)
    return Dataset(name, flat[0], y_train, flat[1], y_test, 10, source, shape)


def _fetch_mnist() -> Dataset:
    """Fetch MNIST from OpenML."""
    X, y = _fetch(
        "mnist_784",
        "MNIST",
        "mnist_train.npz and mnist_test.npz (or the original idx files)",
    )
    source = "OpenML mnist_784"
    if len(X) <= _MNIST_TRAIN_ROWS:
        raise DataError(f"{source}: expected 70000 images, however: {len(X)}")
    X = X.reshape(-1, 28, 28)
    return _mnist(
        check_half(X[:_MNIST_TRAIN_ROWS], y[:_MNIST_TRAIN_ROWS], source),
        check_half(X[_MNIST_TRAIN_ROWS:], y[_MNIST_TRAIN_ROWS:], source),
        source=f"{source}, version 1",
    )


def _fetch_cifar10() -> Dataset:
    """Fetch the smaller CIFAR-10 of OpenML, and divide it."""
    X, y = _fetch("CIFAR_10_small", "CIFAR-10", "the binary version (cifar-10-batches-bin)")
    source = "OpenML CIFAR_10_small"
    images, labels = check_cifar10_half(X.reshape(-1, *CIFAR10_SHAPE), y, source)
    test = every_fifth(labels)
    return _cifar10(
        (images[~test], labels[~test]),
        (images[test], labels[test]),
        source=f"{source}, version 1, every fifth image of each class for testing",
    )


def _fetch(name: str, words: str, files: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Fetch pixels and labels from OpenML."""
    datasets = _sklearn_datasets(f"fetching {words}")
    try:
        bundle = datasets.fetch_openml(name, version=1, as_frame=False)
        X = np.asarray(bundle.data)
        X = X if X.dtype.kind in "iu" else X.astype(np.int64)
        return X, np.asarray(bundle.target).astype(np.int64)
    except (OSError, ValueError, RuntimeError, EOFError, http.client.HTTPException) as error:
        raise DataError(
            f"{words} could not be fetched from OpenML ({error}); check the network, or put "
            f"{files} into a folder and name it by data_dir or by the environment variable "
            f"{_VARIABLE}"
        ) from error
