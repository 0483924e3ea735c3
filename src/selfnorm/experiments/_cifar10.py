"""Read CIFAR-10 from files: archives of JPEG images, or the original binary batches."""

from __future__ import annotations

import io
import itertools
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from selfnorm.errors import DataError, MissingDependencyError
from selfnorm.experiments._mnist import DAMAGE, require_files

__all__ = ["CIFAR10_SHAPE", "CifarHalf", "check_cifar10_half", "read_cifar10"]

CIFAR10_SHAPE: Final = (3, 32, 32)
CifarHalf = tuple[NDArray[np.uint8], NDArray[np.int64]]

_JPEG: Final = ("cifar10_jpeg_train.npz", "cifar10_jpeg_test.npz")
_BINARY_FOLDER: Final = "cifar-10-batches-bin"
_BINARY: Final = (
    tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    ("test_batch.bin",),
)
_PICKLE_FOLDER: Final = "cifar-10-batches-py"
_PIXELS: Final = 3 * 32 * 32


def read_cifar10(folder: Path) -> tuple[CifarHalf, CifarHalf] | None:
    """Read both halves of CIFAR-10 from a folder.

    Parameters
    ----------
    folder : pathlib.Path
        Holds either ``cifar10_jpeg_train.npz`` and ``cifar10_jpeg_test.npz`` (``jpeg``, the bytes
        of all images one behind the other, ``offsets``, where image k begins, one more than there
        are images, and ``y``), or the original binary version, ``data_batch_1.bin`` to
        ``data_batch_5.bin`` and ``test_batch.bin``, beside one another or in a folder
        ``cifar-10-batches-bin``.

    Returns
    -------
    tuple or None
        (training half, test half), each (images, labels) of shape (n, 3, 32, 32), uint8, and
        (n,); None if the folder holds no CIFAR-10 file.

    Raises
    ------
    DataError
        If a file is missing, damaged, truncated, not of this form, or a Python pickle.
    MissingDependencyError
        If JPEG images are to be read and Pillow is not installed.
    """
    archives = [folder / name for name in _JPEG]
    if any(path.is_file() for path in archives):
        require_files(archives, "CIFAR-10")
        return _read_jpeg(archives[0]), _read_jpeg(archives[1])
    for place in (folder, folder / _BINARY_FOLDER):
        batches = [[place / name for name in names] for names in _BINARY]
        if any(path.is_file() for half in batches for path in half):
            require_files([path for half in batches for path in half], "CIFAR-10")
            train, test = (_joined([_read_binary(path) for path in half]) for half in batches)
            return train, test
    if (folder / _PICKLE_FOLDER).is_dir() or (folder / "data_batch_1").is_file():
        raise DataError(
            f"{folder} holds CIFAR-10 as Python pickles, which can run code when they are read; "
            f"put the binary version ({_BINARY_FOLDER}, from cifar-10-binary.tar.gz) there instead"
        )
    return None


def check_cifar10_half(
    images: NDArray[np.generic], labels: NDArray[np.generic], source: str
) -> CifarHalf:
    """Check one half and return it as (n, 3, 32, 32) uint8 and (n,) int64.

    Raises
    ------
    DataError
        If shapes, types or values are not those of CIFAR-10; the message begins with ``source``.
    """
    if images.ndim != 4 or images.shape[1:] != CIFAR10_SHAPE or not len(images):
        raise DataError(f"{source}: images must have shape (n, 3, 32, 32), however: {images.shape}")
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
    return images.astype(np.uint8, copy=False), labels.astype(np.int64)


def _read_jpeg(path: Path) -> CifarHalf:
    """Decode one archive, image by image."""
    pillow = _pillow()
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            content, offsets, labels = archive["jpeg"], archive["offsets"], archive["y"]
    except DAMAGE as error:
        raise DataError(
            f"{path} cannot be read as a NumPy archive with the arrays jpeg, offsets and y "
            f"({error}); copy it again"
        ) from error
    if content.dtype != np.uint8 or content.ndim != 1:
        raise DataError(f"{path}: jpeg must be bytes, however: {content.dtype} {content.shape}")
    good = offsets.dtype.kind in "iu" and offsets.ndim == 1 and len(offsets) > 1
    if not (good and offsets[0] == 0 and offsets[-1] == len(content)):
        raise DataError(
            f"{path}: offsets must be integers from 0 to the {len(content)} bytes of jpeg; "
            "copy it again"
        )
    if (np.diff(offsets.astype(np.int64)) <= 0).any():
        raise DataError(f"{path}: offsets must increase; copy it again")
    images = np.empty((len(offsets) - 1, *CIFAR10_SHAPE), dtype=np.uint8)
    for row, (start, end) in enumerate(itertools.pairwise(offsets)):
        images[row] = _decode(pillow, content[start:end].tobytes(), f"{path}, image {row}")
    return check_cifar10_half(images, labels, str(path))


def _decode(pillow: Any, content: bytes, source: str) -> NDArray[np.uint8]:
    """Decode one JPEG image to (3, 32, 32)."""
    try:
        with warnings.catch_warnings():
            # A picture that announces a monstrous size is refused below, by its size.
            warnings.simplefilter("ignore", pillow.DecompressionBombWarning)
            with pillow.open(io.BytesIO(content), formats=("JPEG",)) as picture:
                if picture.size != (32, 32):
                    raise DataError(f"{source}: must have 32×32 pixels, however: {picture.size}")
                pixels = np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{source} is no whole JPEG image ({error}); copy it again") from error
    return pixels.transpose(2, 0, 1)


def _read_binary(path: Path) -> CifarHalf:
    """Read one batch of records: a byte for the class, then the red, green and blue pixels."""
    try:
        content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); copy it again") from error
    if not len(content) or len(content) % (1 + _PIXELS):
        raise DataError(
            f"{path} must hold records of {1 + _PIXELS} bytes, however: {len(content)} bytes; "
            "copy it again"
        )
    records = content.reshape(-1, 1 + _PIXELS)
    return check_cifar10_half(records[:, 1:].reshape(-1, *CIFAR10_SHAPE), records[:, 0], str(path))


def _joined(parts: list[CifarHalf]) -> CifarHalf:
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _pillow() -> Any:
    try:
        import PIL.Image
    except ImportError:
        raise MissingDependencyError(
            "pillow", extra="experiments", purpose="decoding the JPEG images of CIFAR-10"
        ) from None
    return PIL.Image
