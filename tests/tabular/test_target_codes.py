"""What the target is like in a category's levels: formulas, cross-fitting, the estimators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import selfnorm as sn
from selfnorm.tabular import SNNClassifier, SNNRegressor
from selfnorm.tabular._preprocessing._target_codes import target_codes, target_columns
from selfnorm.tabular._rows import parts

SMALL: dict[str, Any] = {"hidden_layer_sizes": (6,), "n_members": 2, "max_iter": 2, "bins": 0}


def levels_and_targets(rows: int, levels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Levels of unequal frequency, effects of variance 2, noise of variance 1."""
    generator = np.random.default_rng(seed)
    share = 1.0 / np.arange(3, levels + 3)
    places = generator.choice(levels, rows, p=share / share.sum())
    effect = np.sqrt(2.0) * generator.standard_normal(levels)
    return places, effect[places] + generator.standard_normal(rows)


def effects_by_loops(
    places: np.ndarray, y: np.ndarray, w: np.ndarray, levels: int
) -> tuple[dict[int, float], dict[int, float], float]:
    """Effective size and mean of each level that has rows, and the mean of all."""
    size, mean = {}, {}
    for k in range(levels):
        inside = places == k
        if inside.any():
            size[k] = w[inside].sum() ** 2 / (w[inside] ** 2).sum()
            mean[k] = float(np.average(y[inside], weights=w[inside]))
    overall = sum(size[k] * mean[k] for k in size) / sum(size.values())
    return size, mean, overall


@pytest.mark.parametrize("weighted", [False, True])
def test_values_are_shrunk_means_of_the_other_folds(weighted: bool) -> None:
    """Level by level in loops, up to one factor and one shift for all."""
    rows, levels = 700, 60
    places, y = levels_and_targets(rows, levels, 3)
    places[:11] = levels  # without a level
    generator = np.random.default_rng(8)
    w = generator.integers(1, 5, rows) * 1.0 if weighted else np.ones(rows)
    folds = parts(y, 5, 1, classes=False)
    given = w if weighted else None
    found = target_codes(places, levels, y[:, None], given, folds)
    assert found is not None
    codes, values = found[0][:, 0], found[1][:, 0]
    size, mean, overall = effects_by_loops(places, y, w, levels)
    total = sum(size.values())
    spread = {k: np.average((y[places == k] - mean[k]) ** 2, weights=w[places == k]) for k in size}
    within = sum(size[k] * spread[k] for k in size) / (total - len(size))
    squares = sum(size[k] * (mean[k] - overall) ** 2 for k in size)
    between = (squares - (len(size) - 1) * within) / (
        total - sum(n * n for n in size.values()) / total
    )
    assert 1.0 < between < 4.0  # 2, by its construction
    assert 0.8 < within < 1.2

    def effect(size: float, mean: float, overall: float) -> float:
        return between / (between + within / size) * (mean - overall)

    full = np.array(
        [effect(size[k], mean[k], overall) if k in size else 0.0 for k in range(levels)]
    )
    seen = sorted(size)
    slope, shift = np.polyfit(full[seen], codes[seen], 1)
    np.testing.assert_allclose(codes[seen], slope * full[seen] + shift, atol=1e-10)
    known = places < levels
    share = w[known] / w[known].sum()
    assert share @ codes[places[known]] == pytest.approx(0.0, abs=1e-12)
    assert share @ codes[places[known]] ** 2 == pytest.approx(1.0)
    assert not values[~known].any()
    for fold in folds:
        rest = np.setdiff1d(np.arange(rows), fold)
        size, mean, overall = effects_by_loops(places[rest], y[rest], w[rest], levels)
        for row in fold[known[fold]][:40]:
            k = int(places[row])
            expected = effect(size[k], mean[k], overall) if k in size else 0.0
            assert values[row] == pytest.approx(slope * expected + shift, abs=1e-5)


def test_levels_that_do_not_matter_give_nothing() -> None:
    """Of 400 targets without effect 2.3 % (one-sided, two standard errors) may pass: 400 * .023 +
    5 * sqrt(9) is 24. Beside one that matters only that one is kept."""
    generator = np.random.default_rng(5)
    places = generator.integers(0, 150, 900)
    noise = generator.standard_normal((900, 400))
    folds = parts(noise, 5, 1, classes=False)
    found = target_codes(places, 150, noise, None, folds)
    assert found is None or found[0].shape[1] <= 24
    matters = noise[:, :3].copy()
    matters[:, 1] += generator.standard_normal(150)[places]
    found = target_codes(places, 150, matters, None, folds)
    assert found is not None
    assert found[0].shape == (150, 1)
    single = target_codes(np.arange(900), 900, matters, None, folds)  # each level once
    assert single is None


def test_columns_of_targets() -> None:
    y = np.array([0, 1, 1, 2, 2, 2])
    np.testing.assert_array_equal(target_columns(y[:3], True)[:, 0], [0.0, 1.0, 1.0])
    np.testing.assert_array_equal(target_columns(y, True), np.eye(3)[y])
    many = np.repeat(np.arange(40), np.arange(1, 41))
    assert target_columns(many, True).sum(0).tolist() == list(range(25, 41))
    assert target_columns(np.ones((5, 30)), False).shape == (5, 16)


def table(rows: int = 400, classes: int = 3) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    places, y = levels_and_targets(rows, 50, 11)
    frame = pd.DataFrame({"town": [f"town {k}" for k in places], "x": np.cos(np.arange(rows))})
    frame["few"] = np.where(y > 0, "p", "q")
    return frame, y, np.digitize(y, np.quantile(y, np.arange(1, classes) / classes))


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_estimators_store_and_export_them(classes: int, tmp_path: Path) -> None:
    frame, y, labels = table(classes=max(classes, 2))
    kind: Any = SNNClassifier if classes else SNNRegressor
    small = SMALL | {"bins": 3}
    model = kind(**small, random_state=1).fit(frame, labels if classes else y)
    town, added = model.preprocessor_.columns[0], classes if classes > 2 else 1
    assert town.width == 2 * 6 + added
    # Bins stand beside the number x and beside what was added.
    assert set(model.preprocessor_.bins.columns) == {0, *range(13, 13 + added)}
    rows = frame.iloc[:40].copy()
    rows.loc[3, "town"], rows.loc[7, "town"] = "unknown", None
    predict = model.predict_proba if classes else model.predict
    expected = predict(rows)
    model.save(tmp_path / "m")
    again = sn.load(tmp_path / "m")
    np.testing.assert_array_equal(
        again.predict_proba(rows) if classes else again.predict(rows), expected
    )
    # A new town is the average one: all its coordinates are 0.
    assert not model.preprocessor_.transform(rows)[[3, 7], 1 : 1 + town.width].any()
    onnxruntime = pytest.importorskip("onnxruntime")
    model.to_onnx(tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    feeds = {
        "town": rows[["town"]].fillna("").to_numpy(object),
        "x": rows[["x"]].to_numpy(),
        "few": rows[["few"]].to_numpy(object),
    }
    found = session.run(["probabilities" if classes else "variable"], feeds)[0]
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)


def test_copies_weights_and_the_order_of_rows() -> None:
    """Bits: a weight of 3 is three copies, 0 is none, and rows may come in any order."""
    frame, y, labels = table(300)
    generator = np.random.default_rng(0)
    counts = generator.integers(0, 4, len(frame)) * (np.arange(len(frame)) % 3 > 0)
    copied = generator.permutation(np.repeat(np.arange(len(frame)), counts))
    for kind, target in ((SNNClassifier, labels), (SNNRegressor, y)):
        one = kind(**SMALL, random_state=4).fit(frame, target, sample_weight=counts)
        other = kind(**SMALL, random_state=4).fit(frame.iloc[copied], target[copied])
        assert one.preprocessor_.columns[0].width > 12
        for a, b in zip(one.networks_, other.networks_, strict=True):
            for p, q in zip(a.parameters(), b.parameters(), strict=True):
                assert (p == q).all()


def test_they_help_where_levels_matter_and_cost_nothing_where_not() -> None:
    """90 towns in 500 rows. R²: .465; with random codes alone .386; shrunk means .520."""
    places, y = levels_and_targets(1500, 90, 2)
    frame = pd.DataFrame({"town": [f"t{k}" for k in places], "x": np.cos(np.arange(1500.0))})
    model = SNNRegressor(n_members=2, random_state=0).fit(frame[:500], y[:500])
    assert model.score(frame[500:], y[500:]) > 0.43
    noise = np.random.default_rng(6).standard_normal(1500)
    model = SNNRegressor(**SMALL, random_state=0).fit(frame[:500], noise[:500])
    assert model.preprocessor_.columns[0].width == 14


def test_a_stream_keeps_the_codes_it_began_with() -> None:
    """A first batch says little of many levels: partial_fit averages no targets."""
    frame, _, labels = table()
    model = SNNClassifier(**SMALL, random_state=1)
    model.partial_fit(frame[:200], labels[:200], classes=np.unique(labels))
    assert model.preprocessor_.columns[0].width == 12
    model.partial_fit(frame[200:], labels[200:])
    fitted = SNNClassifier(**SMALL, random_state=1).fit(frame, labels)
    width = fitted.preprocessor_.width
    fitted.partial_fit(frame[:100], labels[:100])
    fitted.set_params(warm_start=True).fit(frame, labels)
    assert fitted.preprocessor_.width == width
