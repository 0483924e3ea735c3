"""Read MNIST from files: NumPy archives or the original idx files, packed or not."""

from __future__ import annotations

import gzip
import lzma
import math
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from selfnorm.errors import DataError

__all__ = ["DAMAGE", "MnistHalf", "check_half", "read_mnist", "require_files"]

MnistHalf = tuple[NDArray[np.uint8], NDArray[np.int64]]

_NPZ: Final = {"train": "mnist_train.npz", "test": "mnist_test.npz"}
_IDX_PREFIX: Final = {"train": "train", "test": "t10k"}
_IMAGE_MAGIC: Final = 2051
_LABEL_MAGIC: Final = 2049
# What the archive readers raise for a damaged, truncated or foreign file.
DAMAGE: Final = (
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    ValueError,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_mnist(folder: Path) -> tuple[MnistHalf, MnistHalf] | None:
    """Read both halves of MNIST from a folder.

    Parameters
    ----------
    folder : pathlib.Path
        Holds either ``mnist_train.npz`` and ``mnist_test.npz`` (``X`` of shape (n, 28, 28),
        uint8; ``y`` of shape (n,)), or the four original idx files (``train-images-idx3-ubyte``
        and so on; a dot in place of the second hyphen and a ``.gz`` ending are accepted).

    Returns
    -------
    tuple or None
        (training half, test half), each (images, labels); None if the folder holds no MNIST file.

    Raises
    ------
    DataError
        If one of the files is missing, damaged, truncated, or not of this form.
    """
    archives = {half: folder / name for half, name in _NPZ.items()}
    if any(path.is_file() for path in archives.values()):
        require_files(archives.values(), "MNIST")
        return _read_npz(archives["train"]), _read_npz(archives["test"])
    wanted = {
        (half, kind): _find_idx(folder, f"{_IDX_PREFIX[half]}-{kind}", rank)
        for half in ("train", "test")
        for kind, rank in (("images", 3), ("labels", 1))
    }
    if not any(path.is_file() for path in wanted.values()):
        return None
    require_files(wanted.values(), "MNIST")
    halves = [
        check_half(
            _read_idx(wanted[half, "images"], _IMAGE_MAGIC),
            _read_idx(wanted[half, "labels"], _LABEL_MAGIC),
            str(wanted[half, "images"]),
        )
        for half in ("train", "test")
    ]
    return halves[0], halves[1]


def check_half(images: NDArray[np.generic], labels: NDArray[np.generic], source: str) -> MnistHalf:
    """Check one half and return it as (n, 28, 28) uint8 and (n,) int64.

    Raises
    ------
    DataError
        If shapes, types or values are not MNIST's; the message begins with ``source``.
    """
    if images.ndim != 3 or images.shape[1:] != (28, 28) or not len(images):
        raise DataError(f"{source}: images must have shape (n, 28, 28), however: {images.shape}")
    if labels.shape != images.shape[:1]:
        raise DataError(
            f"{source}: {len(images)} images need labels of shape ({len(images)},), "
            f"however: {labels.shape}"
        )
    for name, values, top in (("pixels", images, 255), ("labels", labels, 9)):
        if values.dtype.kind not in "iu":
            raise DataError(f"{source}: {name} must be integers, however: dtype {values.dtype}")
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > top:
            raise DataError(f"{source}: {name} must lie in 0..{top}, however: {low}..{high}")
    return images.astype(np.uint8), labels.astype(np.int64)


def require_files(paths: Iterable[Path], what: str) -> None:
    """Raise if one of the files of a set is missing."""
    for path in paths:
        if not path.is_file():
            raise DataError(
                f"{path} is missing, while other {what} files lie beside it; add it, or point "
                "data_dir (or SELFNORM_DATA) to a complete copy"
            )


def _find_idx(folder: Path, stem: str, rank: int) -> Path:
    """Return the first spelling of an idx file that exists, else the original spelling."""
    names = [f"{stem}{mark}idx{rank}-ubyte{end}" for mark in "-." for end in ("", ".gz")]
    found = [folder / name for name in names if (folder / name).is_file()]
    return found[0] if found else folder / names[0]


def _read_npz(path: Path) -> MnistHalf:
    """Read ``X`` and ``y`` of one archive, without pickles."""
    try:
        # Opened here: NumPy leaves a damaged archive that it opened itself to the collector.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            images, labels = archive["X"], archive["y"]
    except DAMAGE as error:
        raise DataError(
            f"{path} cannot be read as a NumPy archive with the arrays X and y ({error}); "
            "copy it again"
        ) from error
    return check_half(images, labels, str(path))


def _read_idx(path: Path, magic: int) -> NDArray[np.uint8]:
    """Read one idx file of unsigned bytes."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except DAMAGE as error:
        raise DataError(f"{path} cannot be read ({error}); copy it again") from error
    rank = magic & 0xFF
    header = np.frombuffer(content[: 4 * (1 + rank)], dtype=np.uint8)
    if len(header) < 4 * (1 + rank):
        raise DataError(f"{path} is truncated: it has {len(content)} bytes, less than its header")
    found, *shape = (int(number) for number in header.view(">u4"))
    if found != magic:
        raise DataError(
            f"{path} must begin with the magic number {magic}, however: {found}; "
            "images and labels may be exchanged"
        )
    size = math.prod(shape)
    body = np.frombuffer(content, dtype=np.uint8, offset=4 * (1 + rank))
    if len(body) != size:
        raise DataError(
            f"{path} announces {size} values of shape {tuple(shape)}, however: it holds "
            f"{len(body)}; copy it again"
        )
    return body.reshape(shape)
