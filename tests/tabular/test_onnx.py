"""ONNX files say what the estimator says, on ordinary and on odd rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from selfnorm.errors import DataError, MissingDependencyError
from selfnorm.tabular import SNNClassifier, SNNRegressor
from selfnorm.tabular._onnx_graph import Graph

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

SMALL: dict[str, Any] = {
    "hidden_layer_sizes": (9, 7),
    "n_members": 3,
    "max_iter": 4,
    "learning_rate_init": 0.02,
    "random_state": 5,
}
N = 150


def numbers(seed: int = 1) -> NDArray[np.float64]:
    """Return columns that are skewed, of few values, mostly zero, constant, with gaps."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, 6))
    X[:, 1] = np.exp(3 * X[:, 1])
    X[:, 2] = rng.integers(0, 4, N) / 10
    X[:, 3] = np.where(rng.random(N) < 0.8, 0, X[:, 3] * 1e6)
    X[:, 4] = 7.0
    X[rng.random((N, 6)) < [0.1, 0, 0.1, 0, 0.1, 0]] = np.nan
    return X


def odd_rows(X: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the rows and some that are missing, huge, tiny or unknown throughout."""
    d = X.shape[1]
    odd = [np.full(d, value) for value in (np.nan, 3e38, -3e38, 0.0, 1e-40, 0.7)]
    return np.vstack([X, *odd]).astype(np.float32)


def run(estimator: Any, path: Path, feeds: dict[str, Any]) -> dict[str, NDArray[Any]]:
    assert estimator.to_onnx(path) == path
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def assert_same_classes(estimator: Any, found: dict[str, NDArray[Any]], X: Any) -> None:
    assert list(found) == ["label", "probabilities"]
    expected = estimator.predict_proba(X)
    assert np.ptp(expected, axis=0).max() > 0.05, "the rows are told apart"
    assert found["probabilities"].dtype == np.float32
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
    labels = estimator.predict(X)
    assert found["label"].shape == labels.shape
    np.testing.assert_array_equal(found["label"], labels)


@pytest.mark.parametrize(
    "labels",
    [
        np.array([3, -1, 8]),
        np.array(["a", "bé", ""]),
        np.array([False, True]),
        np.array([1.0, 2.0]),
        np.array(["no", "yes"], dtype=object),
    ],
    ids=lambda labels: f"{labels.dtype.kind}{len(labels)}",
)
def test_classes_of_any_type(labels: NDArray[Any], tmp_path: Path) -> None:
    X = numbers()
    rng = np.random.default_rng(2)
    y = labels[(rng.integers(0, 2, N) + (X[:, 3] > 0)) % len(labels)]
    estimator = SNNClassifier(**SMALL).fit(X, y)
    rows = odd_rows(X)
    assert_same_classes(estimator, run(estimator, tmp_path / "a.onnx", {"X": rows}), rows)


def test_the_temperature_is_inside(tmp_path: Path) -> None:
    X = numbers()
    estimator = SNNClassifier(**SMALL).fit(X, (X[:, 3] > 0) + 2 * (X[:, 1] > 1))
    estimator.temperature_ = 0.4
    rows = odd_rows(X)
    assert_same_classes(estimator, run(estimator, tmp_path / "a.onnx", {"X": rows}), rows)


def test_several_labels_a_row(tmp_path: Path) -> None:
    X = numbers()
    y = np.stack([X[:, 3] > 0, X[:, 1] > 1, X[:, 5] > 0], axis=1).astype(int)
    estimator = SNNClassifier(**SMALL).fit(X, y)
    rows = odd_rows(X)
    assert_same_classes(estimator, run(estimator, tmp_path / "a.onnx", {"X": rows}), rows)


@pytest.mark.parametrize(
    "options",
    [
        {"calibrate": True},
        {"linear": False},
        {"fixed_point": (0.0, 0.2)},
        {"fixed_point": (0.1, 1.3)},
        {"activation": "elu"},
        {"activation": "relu"},
        {"activation": "leaky_relu"},
        {"hidden_layer_sizes": (5,) * 12, "fixed_point": "auto"},
    ],
    ids=str,
)
def test_any_network_and_one_target(options: dict[str, Any], tmp_path: Path) -> None:
    X = numbers()
    estimator = SNNRegressor(**{**SMALL, **options}).fit(X, 3 + 2 * X[:, 5] + 3 * X[:, 5] ** 2)
    rows = odd_rows(X)
    found = run(estimator, tmp_path / "a.onnx", {"X": rows})
    assert list(found) == ["variable"]
    assert found["variable"].shape == (len(rows), 1)
    expected = estimator.predict(rows)
    assert expected.std() > 0.1
    np.testing.assert_allclose(found["variable"][:, 0], expected, atol=1e-5)


def test_several_targets(tmp_path: Path) -> None:
    X = numbers()
    y = np.stack([X[:, 5], 1e-3 * X[:, 5] ** 2 - 4], axis=1)
    estimator = SNNRegressor(**SMALL).fit(X, y)
    rows = odd_rows(X)
    found = run(estimator, tmp_path / "a.onnx", {"X": rows})
    np.testing.assert_allclose(found["variable"], estimator.predict(rows), atol=1e-5)


def test_calibration_and_bins_are_inside(tmp_path: Path) -> None:
    X = numbers()
    # Neighbours as close as float32 has them make the steepest bins.
    X[:, 5] = np.where(X[:, 0] > 0, 1.0, np.nextafter(np.float32(1), np.float32(2)))
    X[::3, 5] = 3.0
    options = {**SMALL, "n_members": 4, "max_iter": 20, "bins": 5, "calibrate": True}
    estimator = SNNClassifier(**options).fit(X, (X[:, 3] > 0) + 2 * (X[:, 1] > 1))
    assert estimator.temperature_ != 1
    assert estimator.logit_offsets_.any()
    assert any(" bin " in name for name in estimator.preprocessor_.output_names)
    rows = odd_rows(X)
    assert_same_classes(estimator, run(estimator, tmp_path / "a.onnx", {"X": rows}), rows)


@pytest.mark.parametrize("targets", [1, 2])
def test_quantiles(targets: int, tmp_path: Path) -> None:
    X = numbers()
    levels = (0.1, 0.3, 0.45, 0.9)
    # One step of training leaves them crossing, which sorting mends.
    options = {**SMALL, "max_iter": 1, "learning_rate_init": 1e-4}
    y = X[:, 5] if targets == 1 else np.stack([X[:, 5], 3 - X[:, 5]], axis=1)
    estimator = SNNRegressor(**options, quantiles=levels, linear=targets == 2).fit(X, y)
    rows = odd_rows(X)
    found = run(estimator, tmp_path / "a.onnx", {"X": rows})
    assert list(found) == ["quantiles", "variable"]
    expected = estimator.predict(rows, quantile=levels).reshape(-1, targets, 4)
    np.testing.assert_allclose(found["quantiles"], expected, atol=1e-5)
    np.testing.assert_array_equal(found["variable"], found["quantiles"][:, :, 2])


def test_numbers_as_categories_in_the_matrix(tmp_path: Path) -> None:
    X = numbers().astype(np.float32)  # 0.1, 0.2 and 0.3 are no float64 of the same text
    for most in ([2], [2, 4]):
        estimator = SNNClassifier(**SMALL, categorical_features=most)
        estimator.fit(X, (X[:, 3] > 0) ^ (X[:, 2] > 0.15))
        rows = odd_rows(X.astype(np.float64))
        assert_same_classes(estimator, run(estimator, tmp_path / "a.onnx", {"X": rows}), rows)


def test_infinity_is_clipped(tmp_path: Path) -> None:
    X = numbers()
    estimator = SNNRegressor(**SMALL).fit(X, X[:, 5])
    feeds = np.array([[np.inf] * 6, [3e38] * 6], dtype=np.float32)
    first, second = run(estimator, tmp_path / "a.onnx", {"X": feeds})["variable"]
    assert np.isfinite(first).all()
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    estimator = SNNRegressor(**SMALL).fit(np.ones((9, 2)), np.arange(9.0))
    feeds = np.array([[1, 1], [np.nan, 3], [2, -2]], dtype=np.float32)
    found = run(estimator, tmp_path / "a.onnx", {"X": feeds})["variable"]
    np.testing.assert_allclose(found[:, 0], estimator.predict(feeds), atol=1e-5)


# ---------------------------------------------------------------------------------- named columns


def frame_of(count: int = N) -> Any:
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(4)
    return pandas.DataFrame(
        {
            "size": numbers()[:count, 0],
            "colour": rng.choice(np.array(["red", "grün", None], dtype=object), count),
            "town": [f"town {k}" for k in rng.integers(0, 15, count)],
            "day": np.datetime64("2021-01-01T00:00:01") + rng.integers(0, 10**7, count),
            "new": rng.random(count) < 0.3,
            "same": ["a"] * count,
            "zip": pandas.Categorical(rng.choice([10115, 20095, 80331], count)),
        }
    )


def feeds_of(frame: Any) -> dict[str, Any]:
    """Return the feeds as the notes of the export describe them."""
    feeds: dict[str, Any] = {}
    for name in frame.columns:
        column = frame[name]
        if name in ("colour", "town", "same"):
            values = np.array(["" if v != v or v is None else v for v in column], dtype=object)
        elif name == "day":
            values = column.to_numpy("M8[us]").astype(np.int64) / 1e6
        else:
            values = column.astype(object).to_numpy(dtype=np.float64, na_value=np.nan)
        feeds[name] = values[:, None]
    return feeds


def test_named_columns(tmp_path: Path) -> None:
    frame = frame_of()
    y = (frame["colour"] == "red").to_numpy() * 2 + (frame["day"].dt.month > 2).to_numpy()
    estimator = SNNClassifier(**{**SMALL, "max_iter": 30}).fit(frame, y)
    new = frame.copy()
    new["zip"] = new["zip"].cat.add_categories([1])
    new.loc[:4, "town"] = "elsewhere"
    new.loc[3:8, "town"] = None
    new.loc[5:9, "colour"] = "blue"
    new.loc[7:20, "zip"] = 1
    new.loc[15:25, "zip"] = None
    new.loc[20:22, "size"] = 1.7e308
    new.loc[23:25, "size"] = np.nan
    found = run(estimator, tmp_path / "a.onnx", feeds_of(new))
    assert_same_classes(estimator, found, new)
    # Seconds matter: float32 would know the day to two minutes only.
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"))
    assert [(i.name, i.type) for i in session.get_inputs()] == [
        ("size", "tensor(double)"),
        ("colour", "tensor(string)"),
        ("town", "tensor(string)"),
        ("day", "tensor(double)"),
        ("new", "tensor(double)"),
        ("same", "tensor(string)"),
        ("zip", "tensor(double)"),
    ]
    assert "empty text where missing" in session.get_modelmeta().description


def test_dates_have_an_input_of_their_own(tmp_path: Path) -> None:
    frame = frame_of()[["size", "day"]]
    day = frame["day"].to_numpy("M8[us]").astype(np.int64) / 1e6
    # Days apart only by seconds, which float32 does not tell apart.
    frame["day"] = np.datetime64("2021-01-01") + (day % 60).astype("m8[s]")
    estimator = SNNRegressor(**{**SMALL, "max_iter": 40}).fit(frame, day % 60)
    found = run(estimator, tmp_path / "a.onnx", feeds_of(frame))["variable"]
    expected = estimator.predict(frame)
    assert expected.std() > 5
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-4)  # float32, up to 60


def test_the_empty_text_can_be_a_level(tmp_path: Path) -> None:
    X = np.array([[""], ["a"], ["b"], [None]] * 6, dtype=object)
    y = np.array([5.0, 1.0, 2.0, -4.0] * 6)
    estimator = SNNRegressor(**{**SMALL, "max_iter": 60}).fit(X, y)
    feeds = {"x0": np.array([["a"], [""], ["z"]], dtype=object)}
    found = run(estimator, tmp_path / "a.onnx", feeds)["variable"]
    expected = estimator.predict(feeds["x0"])
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-5)


# --------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("name", ["label", "probabilities", ""])
def test_column_names_that_onnx_cannot_take(name: str, tmp_path: Path) -> None:
    frame = frame_of().rename(columns={"town": name})
    estimator = SNNClassifier(**SMALL).fit(frame, frame["new"])
    with pytest.raises(DataError, match=f"column name={name!r}; rename"):
        estimator.to_onnx(tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_two_columns_of_one_name() -> None:
    graph = Graph()
    assert graph.input("size", np.float64, 1) == "size"
    with pytest.raises(DataError, match="column name='size'; rename"):
        graph.input("size", np.float64, 1)


def test_classes_of_mixed_types(tmp_path: Path) -> None:
    X = numbers()
    estimator = SNNClassifier(**SMALL).fit(X, X[:, 3] > 0)
    estimator.classes_ = np.array([1, "a"], dtype=object)
    with pytest.raises(DataError, match=r"classes_=\[1, 'a'\]; convert y"):
        estimator.to_onnx(tmp_path / "a.onnx")


def test_numbers_that_coincide_as_float32(tmp_path: Path) -> None:
    X = np.array([[1.0, 0.0], [1.0 + 1e-12, 1.0], [3.0, 0.0]] * 5)
    estimator = SNNRegressor(**SMALL, categorical_features=[0]).fit(X, X[:, 1])
    with pytest.raises(DataError, match="column 'x0' has levels that coincide"):
        estimator.to_onnx(tmp_path / "a.onnx")


def test_onnx_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    X = numbers()
    estimator = SNNRegressor(**SMALL).fit(X, X[:, 5])
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'selfnorm\[tabular\]'"):
        estimator.to_onnx(tmp_path / "a.onnx")
