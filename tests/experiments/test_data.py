"""Data sets: every accepted form of the files, every fault by message, the division into rows."""

from __future__ import annotations

import gzip
import types
import zipfile

import numpy as np
import pytest

from selfnorm.errors import DataError, DomainError
from selfnorm.experiments import _data, load_data

sklearn_datasets = pytest.importorskip("sklearn.datasets")

IDX = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}


def halves():
    """Return images with recognisable pixels, 11 for training and 7 for testing."""
    rng = np.random.default_rng(3)
    return {
        half: (
            rng.integers(0, 256, size=(n, 28, 28)).astype(np.uint8),
            rng.integers(0, 10, size=n).astype(np.uint8),
        )
        for half, n in (("train", 11), ("test", 7))
    }


def idx_bytes(array):
    """Write the idx format from its description: magic, big-endian sizes, bytes."""
    magic = {3: 2051, 1: 2049}[array.ndim]
    header = b"".join(int(n).to_bytes(4, "big") for n in (magic, *array.shape))
    return header + array.tobytes()


def write_npz(folder, content):
    for half, (X, y) in content.items():
        np.savez_compressed(folder / f"mnist_{half}.npz", X=X, y=y)


def write_idx(folder, content, *, dot=False, packed=False):
    for (half, kind), name in IDX.items():
        data = idx_bytes(content[half][0 if kind == "images" else 1])
        path = folder / (name.replace("-idx", ".idx") if dot else name)
        if packed:
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(data))
        else:
            path.write_bytes(data)


def assert_is_mnist(data, content):
    for X, y, half in (
        (data.X_train, data.y_train, "train"),
        (data.X_test, data.y_test, "test"),
    ):
        images, labels = content[half]
        np.testing.assert_allclose(X, images.reshape(len(images), 784) / 255.0, rtol=1e-6)
        assert X.dtype == np.float32
        np.testing.assert_array_equal(y, labels)
        assert y.dtype == np.int64
    assert data.n_classes == 10


@pytest.fixture(autouse=True)
def no_folder_named(monkeypatch):
    monkeypatch.delenv("SELFNORM_DATA", raising=False)


def test_digits_are_divided_by_the_stated_rule():
    data = load_data("digits")
    bundle = sklearn_datasets.load_digits()
    seen = np.zeros(10, dtype=int)
    train, test = [], []
    for row, label in enumerate(bundle.target):
        seen[label] += 1
        (test if seen[label] % 5 == 0 else train).append(row)
    np.testing.assert_array_equal(data.X_train, (bundle.data[train] / 16).astype(np.float32))
    np.testing.assert_array_equal(data.X_test, (bundle.data[test] / 16).astype(np.float32))
    np.testing.assert_array_equal(data.y_train, bundle.target[train])
    np.testing.assert_array_equal(data.y_test, bundle.target[test])


def test_unknown_name():
    with pytest.raises(
        DomainError, match="data must be among digits, mnist, cifar10, however: data='cifar'"
    ):
        load_data("cifar")


def test_npz(tmp_path):
    content = halves()
    write_npz(tmp_path, content)
    assert_is_mnist(load_data("mnist", data_dir=tmp_path), content)


def test_lzma_members(tmp_path):
    content = halves()
    for half, (X, y) in content.items():
        plain = tmp_path / "plain.npz"
        np.savez(plain, X=X, y=y)
        with (
            zipfile.ZipFile(plain) as source,
            zipfile.ZipFile(tmp_path / f"mnist_{half}.npz", "w", zipfile.ZIP_LZMA) as target,
        ):
            for name in source.namelist():
                target.writestr(name, source.read(name))
    assert_is_mnist(load_data("mnist", data_dir=tmp_path), content)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dot", [False, True])
def test_idx(tmp_path, dot, packed):
    content = halves()
    write_idx(tmp_path, content, dot=dot, packed=packed)
    assert_is_mnist(load_data("mnist", data_dir=str(tmp_path)), content)


def test_environment_variable_names_the_folder(tmp_path, monkeypatch):
    content = halves()
    write_npz(tmp_path, content)
    monkeypatch.setenv("SELFNORM_DATA", str(tmp_path))
    assert_is_mnist(load_data("mnist"), content)


def test_folder_is_no_folder(tmp_path):
    with pytest.raises(DataError, match=r"data_dir must be a folder, however: .*nowhere"):
        load_data("mnist", data_dir=tmp_path / "nowhere")


def test_folder_without_mnist(tmp_path):
    with pytest.raises(DataError, match=r"holds no MNIST file; expected mnist_train.npz and"):
        load_data("mnist", data_dir=tmp_path)


@pytest.mark.parametrize("missing", ["mnist_train.npz", "mnist_test.npz"])
def test_missing_half_of_npz(tmp_path, missing):
    write_npz(tmp_path, halves())
    (tmp_path / missing).unlink()
    with pytest.raises(DataError, match=f"{missing} is missing, while other MNIST files lie"):
        load_data("mnist", data_dir=tmp_path)


@pytest.mark.parametrize("missing", sorted(IDX.values()))
def test_missing_part_of_idx(tmp_path, missing):
    write_idx(tmp_path, halves())
    (tmp_path / missing).unlink()
    with pytest.raises(DataError, match=f"{missing} is missing, while other MNIST files lie"):
        load_data("mnist", data_dir=tmp_path)


def test_truncated_npz(tmp_path):
    write_npz(tmp_path, halves())
    path = tmp_path / "mnist_test.npz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"mnist_test.npz cannot be read as a NumPy archive"):
        load_data("mnist", data_dir=tmp_path)


def test_damaged_member_of_npz(tmp_path):
    write_npz(tmp_path, halves())
    path = tmp_path / "mnist_train.npz"
    content = bytearray(path.read_bytes())
    content[300:400] = bytes(100)
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"mnist_train.npz cannot be read as a NumPy archive"):
        load_data("mnist", data_dir=tmp_path)


def test_npz_without_labels(tmp_path):
    content = halves()
    write_npz(tmp_path, content)
    np.savez(tmp_path / "mnist_train.npz", X=content["train"][0])
    with pytest.raises(DataError, match="with the arrays X and y"):
        load_data("mnist", data_dir=tmp_path)


def test_npz_with_pickle_is_not_run(tmp_path):
    content = halves()
    write_npz(tmp_path, content)
    objects = np.array([{"a": 1}] * 11, dtype=object)
    np.savez(tmp_path / "mnist_train.npz", X=objects, y=content["train"][1])
    with pytest.raises(DataError, match="cannot be read"):
        load_data("mnist", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X[:, :27], y), r"images must have shape \(n, 28, 28\), .*\(11, 27, 28\)"),
        (lambda X, y: (X.reshape(11, 784), y), r"images must have shape .*\(11, 784\)"),
        (lambda X, y: (X[:0], y[:0]), r"images must have shape .*\(0, 28, 28\)"),
        (lambda X, y: (X, y[:-1]), r"11 images need labels of shape \(11,\), however: \(10,\)"),
        (lambda X, y: (X / 255.0, y), "pixels must be integers, however: dtype float64"),
        (lambda X, y: (X, y.astype(float)), "labels must be integers"),
        (lambda X, y: (X.astype(int) * 2 + 256, y), r"pixels must lie in 0..255, however: 256"),
        (lambda X, y: (X, y + 100), r"labels must lie in 0..9, however: 10"),
    ],
)
def test_wrong_form_names_file_and_fault(tmp_path, change, message):
    content = halves()
    write_npz(tmp_path, content)
    X, y = change(*content["train"])
    np.savez(tmp_path / "mnist_train.npz", X=X, y=y)
    with pytest.raises(DataError, match=rf"mnist_train.npz: {message}"):
        load_data("mnist", data_dir=tmp_path)


def test_idx_with_exchanged_files(tmp_path):
    write_idx(tmp_path, halves())
    images, labels = (tmp_path / IDX["train", kind] for kind in ("images", "labels"))
    images.write_bytes(labels.read_bytes() + bytes(8))
    with pytest.raises(DataError, match=r"must begin with the magic number 2051, however: 2049"):
        load_data("mnist", data_dir=tmp_path)


def test_idx_shorter_than_its_header(tmp_path):
    write_idx(tmp_path, halves())
    (tmp_path / IDX["test", "images"]).write_bytes(b"\0\0\x08")
    with pytest.raises(DataError, match="is truncated: it has 3 bytes"):
        load_data("mnist", data_dir=tmp_path)


def test_idx_truncated_body(tmp_path):
    write_idx(tmp_path, halves())
    path = tmp_path / IDX["test", "images"]
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"announces 5488 values of shape \(7, 28, 28\), .* 5483"):
        load_data("mnist", data_dir=tmp_path)


def test_idx_that_is_no_gzip(tmp_path):
    write_idx(tmp_path, halves(), packed=True)
    (tmp_path / (IDX["train", "labels"] + ".gz")).write_bytes(b"plain text")
    with pytest.raises(DataError, match=r"labels-idx1-ubyte.gz cannot be read"):
        load_data("mnist", data_dir=tmp_path)


def test_truncated_gzip(tmp_path):
    write_idx(tmp_path, halves(), packed=True)
    path = tmp_path / (IDX["train", "images"] + ".gz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"images-idx3-ubyte.gz cannot be read"):
        load_data("mnist", data_dir=tmp_path)


def fetched(rows):
    """Return what OpenML answers for MNIST: rows of 784 numbers, labels as text."""
    rng = np.random.default_rng(5)
    return types.SimpleNamespace(
        data=rng.integers(0, 256, size=(rows, 784)), target=np.arange(rows).astype(str).astype("U1")
    )


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
@pytest.mark.parametrize("variable", [False, True])
def test_without_files_mnist_is_fetched(tmp_path, monkeypatch, variable, dtype):
    bundle = fetched(30)
    bundle.data = bundle.data.astype(dtype)
    assert _data._MNIST_TRAIN_ROWS == 60_000
    monkeypatch.setattr(_data, "_MNIST_TRAIN_ROWS", 20)
    asked = []
    monkeypatch.setattr(
        sklearn_datasets, "fetch_openml", lambda *a, **k: asked.append((a, k)) or bundle
    )
    if variable:  # a folder of the environment variable may hold other data
        monkeypatch.setenv("SELFNORM_DATA", str(tmp_path))
    data = load_data("mnist")
    assert asked == [(("mnist_784",), {"version": 1, "as_frame": False})]
    assert data.X_train.shape == (20, 784)
    np.testing.assert_allclose(data.X_test, bundle.data[20:] / 255.0, rtol=1e-6)
    np.testing.assert_array_equal(data.y_test, bundle.target[20:].astype(int))


@pytest.mark.parametrize("error", [OSError("no route"), ValueError("bad checksum")])
def test_failed_download_names_the_remedy(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(sklearn_datasets, "fetch_openml", fail)
    with pytest.raises(DataError, match=r"could not be fetched .*SELFNORM_DATA"):
        load_data("mnist")


def test_too_few_rows_fetched(monkeypatch):
    monkeypatch.setattr(sklearn_datasets, "fetch_openml", lambda *_, **__: fetched(50))
    with pytest.raises(DataError, match="expected 70000 images, however: 50"):
        load_data("mnist")


def test_take_keeps_the_first_rows():
    data = load_data("digits")
    part = data.take(17)
    np.testing.assert_array_equal(part.X_train, data.X_train[:17])
    np.testing.assert_array_equal(part.y_train, data.y_train[:17])
    np.testing.assert_array_equal(part.X_test, data.X_test)


def test_take_more_than_there_is():
    with pytest.raises(DataError, match=r"train_size must be at most 1442, .*train_size=1443"):
        load_data("digits").take(1443)


@pytest.mark.parametrize("rows", [0, -3, 2.5, True, "10"])
def test_take_a_wrong_number(rows):
    with pytest.raises(DomainError, match="train_size must be"):
        load_data("digits").take(rows)


def test_statistics_come_from_training_rows_alone():
    data = load_data("digits").take(300)
    scaled = data.standardized()
    wide = data.X_train.astype(np.float64)
    live = wide.std(axis=0) > 0
    assert 40 < live.sum() < 64
    expected = (data.X_test[:, live] - wide.mean(axis=0)[live]) / wide.std(axis=0)[live]
    np.testing.assert_allclose(scaled.X_test[:, live], expected, rtol=1e-5, atol=1e-6)
    assert not scaled.X_test[:, ~live].any()
    assert not scaled.X_train[:, ~live].any()
    np.testing.assert_allclose(scaled.X_train[:, live].var(axis=0), 1.0, rtol=1e-5)


def test_scaled_multiplies_the_variance():
    data = load_data("digits").standardized()
    np.testing.assert_allclose(data.scaled(0.09).X_test, 0.3 * data.X_test, rtol=1e-6)


def test_validation_rows_come_from_training_rows_alone():
    data = load_data("digits")
    inner = data.with_validation()
    joined = np.concatenate([inner.X_train, inner.X_test])
    assert sorted(map(bytes, joined)) == sorted(map(bytes, data.X_train))
    shares = np.bincount(inner.y_test) / np.bincount(data.y_train)
    assert np.all((shares > 0.19) & (shares <= 0.2))
