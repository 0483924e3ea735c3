"""CIFAR-10: every accepted form of the files, every fault by message."""

from __future__ import annotations

import builtins
import io
import types

import numpy as np
import pytest

from selfnorm.errors import DataError, MissingDependencyError
from selfnorm.experiments import load_data

Image = pytest.importorskip("PIL.Image")
sklearn_datasets = pytest.importorskip("sklearn.datasets")


@pytest.fixture(autouse=True)
def no_folder_named(monkeypatch):
    monkeypatch.delenv("SELFNORM_DATA", raising=False)


def pictures(n, seed=2):
    """Return flat coloured images, which JPEG keeps almost exactly, and labels."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, size=(n, 3, 1, 1))
    return np.broadcast_to(colours, (n, 3, 32, 32)).astype(np.uint8), rng.integers(0, 10, size=n)


def jpeg(image):
    stream = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def write_archive(path, images, labels, **changes):
    parts = [jpeg(image) for image in images]
    content = {
        "jpeg": np.frombuffer(b"".join(parts), dtype=np.uint8),
        "offsets": np.cumsum([0, *map(len, parts)]),
        "y": labels.astype(np.uint8),
    }
    np.savez(path, **content | changes)


def write_archives(folder, **changes):
    train, test = pictures(6), pictures(4, seed=3)
    write_archive(folder / "cifar10_jpeg_train.npz", *train, **changes)
    write_archive(folder / "cifar10_jpeg_test.npz", *test)
    return train, test


def record_bytes(images, labels):
    """Write the binary version from its description: a class, then red, green, blue rows."""
    return b"".join(
        bytes([int(label)]) + image.tobytes() for image, label in zip(images, labels, strict=True)
    )


def write_binary(folder):
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(9)
    images = rng.integers(0, 256, size=(12, 3, 32, 32)).astype(np.uint8)
    labels = rng.integers(0, 10, size=12)
    for number in range(5):
        rows = slice(2 * number, 2 * number + 2)
        name = f"data_batch_{number + 1}.bin"
        (folder / name).write_bytes(record_bytes(images[rows], labels[rows]))
    (folder / "test_batch.bin").write_bytes(record_bytes(images[10:], labels[10:]))
    return images, labels


def test_jpeg_archives(tmp_path):
    (images, labels), (test_images, test_labels) = write_archives(tmp_path)
    data = load_data("cifar10", data_dir=tmp_path)
    assert data.shape == (3, 32, 32)
    assert (data.X_train.shape, data.X_test.shape) == ((6, 3072), (4, 3072))
    # Flat colours: one value per channel, up to JPEG's rounding of colours.
    np.testing.assert_allclose(data.X_train, images.reshape(6, -1) / 255, atol=4 / 255)
    np.testing.assert_allclose(data.X_test, test_images.reshape(4, -1) / 255, atol=4 / 255)
    np.testing.assert_array_equal(data.y_train, labels)
    np.testing.assert_array_equal(data.y_test, test_labels)


@pytest.mark.parametrize("inside", [True, False])
def test_binary_version(tmp_path, inside):
    folder = tmp_path / "cifar-10-batches-bin" if inside else tmp_path
    images, labels = write_binary(folder)
    data = load_data("cifar10", data_dir=tmp_path)
    np.testing.assert_allclose(data.X_train, images[:10].reshape(10, -1) / 255.0, rtol=1e-6)
    np.testing.assert_allclose(data.X_test, images[10:].reshape(2, -1) / 255.0, rtol=1e-6)
    np.testing.assert_array_equal(data.y_train, labels[:10])
    np.testing.assert_array_equal(data.y_test, labels[10:])


def test_pickles_are_refused(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(DataError, match=r"Python pickles, which can run code .*cifar-10-binary"):
        load_data("cifar10", data_dir=tmp_path)


def test_standardised_by_channel(tmp_path):
    write_binary(tmp_path)
    scaled = load_data("cifar10", data_dir=tmp_path).standardized(by_channel=True)
    channels = scaled.X_train.reshape(-1, 3, 1024).astype(np.float64)
    np.testing.assert_allclose(channels.mean(axis=(0, 2)), 0.0, atol=1e-6)
    np.testing.assert_allclose(channels.var(axis=(0, 2)), 1.0, rtol=1e-5)
    plain = load_data("cifar10", data_dir=tmp_path)
    first = plain.X_train.reshape(-1, 3, 1024)[:, 1].astype(np.float64)
    expected = (plain.X_test.reshape(-1, 3, 1024)[:, 1] - first.mean()) / first.std()
    np.testing.assert_allclose(scaled.X_test.reshape(-1, 3, 1024)[:, 1], expected, atol=1e-5)


def test_missing_half(tmp_path):
    write_archives(tmp_path)
    (tmp_path / "cifar10_jpeg_test.npz").unlink()
    with pytest.raises(DataError, match=r"jpeg_test.npz is missing, while other CIFAR-10 files"):
        load_data("cifar10", data_dir=tmp_path)


def test_missing_batch(tmp_path):
    write_binary(tmp_path)
    (tmp_path / "data_batch_4.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_4.bin is missing, while other CIFAR-10"):
        load_data("cifar10", data_dir=tmp_path)


def test_truncated_batch(tmp_path):
    write_binary(tmp_path)
    path = tmp_path / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DataError, match=r"records of 3073 bytes, however: 6139 bytes"):
        load_data("cifar10", data_dir=tmp_path)


def test_class_out_of_range(tmp_path):
    write_binary(tmp_path)
    path = tmp_path / "test_batch.bin"
    path.write_bytes(bytes([17]) + path.read_bytes()[1:])
    with pytest.raises(DataError, match=r"test_batch.bin: labels must lie in 0..9, however: .*17"):
        load_data("cifar10", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offsets": np.array([0, 5, 9])}, "offsets must be integers from 0 to the"),
        ({"offsets": np.array([0.0, 1.0])}, "offsets must be integers"),
        ({"y": np.zeros(5, dtype=np.uint8)}, r"6 images need labels of shape \(6,\)"),
        ({"y": np.full(6, 12)}, r"labels must lie in 0..9"),
        ({"jpeg": np.zeros(7)}, "jpeg must be bytes, however: float64"),
        ({"jpeg": np.array([{}], dtype=object)}, "cannot be read as a NumPy archive"),
    ],
)
def test_wrong_form_names_file_and_fault(tmp_path, changes, message):
    write_archives(tmp_path, **changes)
    with pytest.raises(DataError, match=rf"cifar10_jpeg_train.npz.*{message}"):
        load_data("cifar10", data_dir=tmp_path)


def test_decreasing_offsets(tmp_path):
    images, _ = pictures(6)
    ends = np.cumsum([0, *(len(jpeg(image)) for image in images)])
    ends[[2, 3]] = ends[[3, 2]]
    write_archives(tmp_path, offsets=ends)
    with pytest.raises(DataError, match="offsets must increase"):
        load_data("cifar10", data_dir=tmp_path)


def test_truncated_archive(tmp_path):
    write_archives(tmp_path)
    path = tmp_path / "cifar10_jpeg_test.npz"
    path.write_bytes(path.read_bytes()[:-90])
    with pytest.raises(DataError, match=r"jpeg_test.npz cannot be read as a NumPy archive"):
        load_data("cifar10", data_dir=tmp_path)


@pytest.mark.parametrize("kind", ["noise", "truncated", "png", "large"])
def test_a_picture_that_is_none(tmp_path, kind):
    images, _ = pictures(6)
    parts = [jpeg(image) for image in images]
    other = io.BytesIO()
    if kind == "png":
        Image.fromarray(images[3].transpose(1, 2, 0)).save(other, "PNG")
    elif kind == "large":
        Image.fromarray(np.zeros((40, 32, 3), dtype=np.uint8)).save(other, "JPEG")
    elif kind == "truncated":
        other.write(parts[3][: len(parts[3]) // 3])
    else:
        other.write(bytes(range(200)))
    parts[3] = other.getvalue()
    write_archives(
        tmp_path,
        jpeg=np.frombuffer(b"".join(parts), dtype=np.uint8),
        offsets=np.cumsum([0, *map(len, parts)]),
    )
    message = "must have 32×32 pixels, however: " if kind == "large" else "is no whole JPEG image"
    with pytest.raises(DataError, match=rf"image 3:? {message}"):
        load_data("cifar10", data_dir=tmp_path)


def test_without_pillow(tmp_path, monkeypatch):
    write_archives(tmp_path)
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("PIL"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=r"pillow.*pip install 'selfnorm\[experiment"):
        load_data("cifar10", data_dir=tmp_path)


def test_folder_without_cifar10(tmp_path):
    with pytest.raises(DataError, match=r"holds no CIFAR-10 file; expected cifar10_jpeg_train"):
        load_data("cifar10", data_dir=tmp_path)


def test_without_files_it_is_fetched(tmp_path, monkeypatch):
    rng = np.random.default_rng(5)
    X, y = rng.integers(0, 256, size=(60, 3072)), np.repeat(np.arange(6), 10)
    bundle = types.SimpleNamespace(data=X.astype(float), target=y.astype(str))
    asked = []
    monkeypatch.setattr(
        sklearn_datasets, "fetch_openml", lambda *a, **k: asked.append((a, k)) or bundle
    )
    monkeypatch.setenv("SELFNORM_DATA", str(tmp_path))
    data = load_data("cifar10")
    assert asked == [(("CIFAR_10_small",), {"version": 1, "as_frame": False})]
    held = [10 * label + row for label in range(6) for row in (4, 9)]
    np.testing.assert_allclose(data.X_test, X[held] / 255.0, rtol=1e-6)
    assert len(data.X_train) == 48
    assert "every fifth image of each class" in data.source


def test_failed_download_names_the_remedy(monkeypatch):
    def fail(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(sklearn_datasets, "fetch_openml", fail)
    with pytest.raises(DataError, match=r"CIFAR-10 could not be fetched .*cifar-10-batches-bin"):
        load_data("cifar10")
