"""Saving and loading: nothing lost, nothing run, nothing damaged accepted, old files for ever."""

from __future__ import annotations

import builtins
import hashlib
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import selfnorm
from selfnorm.errors import DataError, DomainError, MissingDependencyError
from selfnorm.tabular import SNNClassifier, SNNRegressor, load
from selfnorm.tabular._saving import save

DATA = Path(__file__).parent.parent / "data"
RNG = np.random.default_rng(5)
ROWS = 40
X = pd.DataFrame(
    {
        "length": RNG.standard_normal(ROWS),
        "köln": RNG.choice(["u", "v", None], ROWS),
        "count": RNG.integers(0, 9, ROWS),
    }
)
NEW = pd.DataFrame(
    {"length": [0.5, np.nan, 1e9], "köln": ["v", "unseen", None], "count": [1, 2, 3]}
)
CODES = np.arange(ROWS) % 3
LABELS = {
    "int64": np.array([10, -3, 7])[CODES],
    "int8": np.array([10, -3, 7], np.int8)[CODES],
    "bool": CODES == 1,
    "float64": np.array([1.0, 2.0, -4.0])[CODES],
    "str": np.array(["no", "yés", ""])[CODES],
    "object": np.array(["no", "yés", "maybe"], object)[CODES],
    "labels": (np.arange(ROWS)[:, None] % np.array([2, 3, 5]) == 0).astype(int),
}


def small(kind=SNNClassifier, **options):
    return kind(
        **{"hidden_layer_sizes": (6, 5), "n_members": 2, "max_iter": 2, "random_state": 3} | options
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = small(hidden_layer_sizes=(3,), max_iter=1).fit(X, LABELS["str"])
    return save(net, tmp_path_factory.mktemp("saved") / "model.safetensors")


@pytest.mark.parametrize("name", LABELS)
def test_a_classifier_predicts_the_same_bits(name: str, tmp_path: Path) -> None:
    net = small(dropout=0.1, label_smoothing=0.05).fit(X, LABELS[name])
    net.temperature_ = 1.37
    again = load(net.save(tmp_path / "model"))
    for rows in (X, NEW):
        np.testing.assert_array_equal(again.predict_proba(rows), net.predict_proba(rows))
        np.testing.assert_array_equal(again.predict(rows), net.predict(rows))
    assert again.classes_.dtype == net.classes_.dtype
    assert again.predict(X).dtype == net.predict(X).dtype
    assert [type(v) for v in again.classes_.tolist()] == [type(v) for v in net.classes_.tolist()]


@pytest.mark.parametrize("columns", [1, 2])
def test_a_regressor_predicts_the_same_bits(columns: int, tmp_path: Path) -> None:
    y = 1e3 + 5 * RNG.standard_normal((ROWS, columns))
    net = small(SNNRegressor, activation="elu").fit(X, y[:, 0] if columns == 1 else y)
    again = selfnorm.load(net.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.predict(NEW), net.predict(NEW))
    assert again.networks_[1].activation == "elu"


def test_everything_learned_comes_back(tmp_path: Path) -> None:
    net = small(early_stopping=True, validation_fraction=0.25).fit(X, LABELS["int64"])
    again = load(save(net, tmp_path / "model"))
    learned = {name for name in vars(net) if name.endswith("_") and name[0] != "_"}
    assert learned == {name for name in vars(again) if name.endswith("_")}
    for name in learned - {"networks_", "preprocessor_"}:
        np.testing.assert_array_equal(getattr(again, name), getattr(net, name))
        assert type(getattr(again, name)) is type(getattr(net, name))
    assert all(not one.training for one in again.networks_)


def test_every_parameter_comes_back_with_its_type(tmp_path: Path) -> None:
    odd = {
        "hidden_layer_sizes": (6, 5),
        "class_weight": {np.int64(10): 2.0, -3: 1, 7: np.float32(0.1)},
        "learning_rate_init": np.float64(0.01),
        "categorical_features": ["köln", "count"],
        "fixed_point": (0.0, 0.5),
        "tol": 1e-300,
        "random_state": 2**40 + 1,
        "n_jobs": 1,
        "calibrate": False,
    }
    net = small(**odd).fit(X, LABELS["int64"])
    net.tol = float("inf")
    found = load(save(net, tmp_path / "model")).get_params()
    assert repr(found) == repr(net.get_params())


def test_equal_models_make_equal_files(file: Path, tmp_path: Path) -> None:
    again = save(load(file), tmp_path / "again")
    assert again.read_bytes() == file.read_bytes()


def test_the_file_is_safetensors_for_others(file: Path) -> None:
    with safe_open(file, "np") as other:
        assert json.loads(other.metadata()["model"])["kind"] == "SNNClassifier"
    net = load(file)
    np.testing.assert_array_equal(
        load_file(file)["networks_/1/head.weight"], net.networks_[1].head.weight.detach().numpy()
    )


def test_a_loaded_model_can_be_fitted_anew(file: Path) -> None:
    again = load(file).fit(X, LABELS["object"])
    assert set(again.predict(X)) <= {"no", "yés", "maybe"}


# ---- refusals ---------------------------------------------------------------------------------


def test_what_is_not_a_fitted_estimator_is_refused(tmp_path: Path) -> None:
    net = small().fit(X[["length"]], LABELS["bool"])
    pipeline = make_pipeline(StandardScaler(), net)
    with pytest.raises(DomainError, match="estimator is a Pipeline"):
        save(pipeline, tmp_path / "model")
    with pytest.raises(DomainError, match="call fit before"):
        save(small(), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.random.RandomState(0), "random_state=RandomState.*set it to an int or None"),
        (np.datetime64("2020-01-01"), "random_state has dtype=datetime64"),
        (object(), "random_state=<object"),
    ],
)
def test_values_without_a_plain_form_are_refused(value, message, file, tmp_path: Path) -> None:
    net = load(file)
    net.random_state = value
    target = tmp_path / "model"
    target.write_bytes(b"old")
    with pytest.raises(DataError, match=message):
        save(net, target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other"
    contents = {
        b"": "cut short or no safetensors file",
        b"short": "cut short or no safetensors file",
        pickle.dumps({"a": 1}): "cut short or no safetensors file",
        to_bytes({"a": np.ones(3)}): "a file of another kind",
        to_bytes({"a": np.ones(3)}, {"checksum": "0" * 64, "format": "other"}): "format='other'",
        (2).to_bytes(8, "little") + b"{}": "a file of another kind",
    }
    for content, message in contents.items():
        path.write_bytes(content)
        with pytest.raises(DataError, match=message) as caught:
            load(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
    with pytest.raises(DataError, match="readable file"):
        load(tmp_path)
    with pytest.raises(DataError, match="readable file"):
        load(tmp_path / "absent")


def test_no_change_of_a_byte_passes(file: Path) -> None:
    from selfnorm.tabular._saving import _read

    content = file.read_bytes()
    generator = np.random.default_rng(0)
    for place, mask in enumerate(generator.integers(1, 256, len(content)).tolist()):
        damaged = content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :]
        with pytest.raises(DataError):
            _read(damaged)


def test_no_cut_and_no_addition_passes(file: Path) -> None:
    from selfnorm.tabular._saving import _read

    content = file.read_bytes()
    for size in [*range(0, len(content), 7), len(content) - 1]:
        with pytest.raises(DataError):
            _read(content[:size])
    for more in (b"\0", content):
        with pytest.raises(DataError):
            _read(content + more)


# ---- changed on purpose, with a fitting checksum ------------------------------------------------


def forged(file: Path, change, **metadata: str) -> bytes:
    """Return the file with a changed record and a checksum that fits."""
    with safe_open(file, "np") as reader:
        fields = reader.metadata() | metadata | {"checksum": "0" * 64}
    arrays = load_file(file)
    record = json.loads(fields["model"])
    change(record, arrays)
    content = to_bytes(arrays, fields | {"model": json.dumps(record)})
    return content.replace(b"0" * 64, hashlib.sha256(content).hexdigest().encode(), 1)


def test_the_forgery_itself_loads(file: Path) -> None:
    from selfnorm.tabular._saving import _read

    assert type(_read(forged(file, lambda record, arrays: None))) is SNNClassifier


def set_state(name, value):
    return lambda record, arrays: record["state"].update({name: value})


def set_network(**values):
    return lambda record, arrays: record["state"]["networks_"][0]["snn"].update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record, arrays: record.update(kind="Popen"), "kind='Popen'"),
        (set_state("predict", 1), "it has 'predict'"),
        (set_state("__class__", 1), "it has '__class__'"),
        (set_state("_averaged", 1), "it has '_averaged'"),
        (set_state("t_", {"pickle": "x"}), "'pickle' is no type"),
        (set_state("t_", {"float": "1e"}), "float '1e'"),
        (set_state("t_", {"array": "absent"}), "an? array cannot be read"),
        (set_state("t_", {"array": {"dtype": "O", "shape": [10**12], "items": []}}), "array"),
        (
            set_state("t_", {"array": {"dtype": "U999999999", "shape": [9], "items": ["a"] * 9}}),
            "width",
        ),
        (set_state("t_", {"array": {"dtype": "M8[s]", "shape": [1], "items": [1]}}), "type 'M8"),
        (set_network(sizes=[5, 10**9, 3]), "is float32 of shape|missing"),
        (set_network(sizes=[5, 3]), "is float32 of shape"),
        (set_network(dtype="float16"), "cannot be read"),
        (set_network(activation="exec"), "activation"),
        (
            lambda record, arrays: arrays.pop("networks_/0/head.bias"),
            "'networks_/0/head.bias' is missing",
        ),
        (lambda record, arrays: record.pop("state"), "another form"),
        (lambda record, arrays: record.update(parameters=[]), "another form"),
        (set_state("preprocessor_", {"preprocessor": {}}), "preprocess"),
        (set_state("preprocessor_", {"preprocessor": None}), "preprocess"),
    ],
)
def test_forged_models_are_refused_in_one_line(change, message, file, tmp_path: Path) -> None:
    path = tmp_path / "forged"
    path.write_bytes(forged(file, change))
    with pytest.raises((DataError, DomainError), match=f"(?i){message}") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_later_formats(file: Path, tmp_path: Path) -> None:
    def later(record, arrays):
        record["parameters"]["not_yet_known"] = 3
        record["more"] = [1]

    path = tmp_path / "later"
    path.write_bytes(forged(file, later, version="1.7"))
    np.testing.assert_array_equal(load(path).predict_proba(NEW), load(file).predict_proba(NEW))
    for version in ("2.0", "0.9", "x", ""):
        path.write_bytes(forged(file, lambda record, arrays: None, version=version))
        with pytest.raises(DataError, match=re.escape(f"version={version!r}")):
            load(path)


def test_a_file_of_format_1_loads_for_ever() -> None:
    """The stored files were written by tests/data/make_saved_models.py and are never replaced."""
    for path in sorted(DATA.glob("saved-format1-*.safetensors")):
        expected = json.loads(path.with_suffix(".json").read_text("utf-8"))
        net = load(path)
        rows = pd.DataFrame(expected["rows"])
        # Another machine's products may round otherwise.
        if "proba" in expected:
            np.testing.assert_allclose(net.predict_proba(rows), expected["proba"], rtol=2e-5)
            assert net.predict(rows).tolist() == expected["predict"]
        else:
            np.testing.assert_allclose(net.predict(rows), expected["predict"], rtol=2e-5)
    assert len(list(DATA.glob("saved-format1-*.safetensors"))) == 2


def test_nothing_is_unpickled_or_evaluated(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args, **kwargs):
        raise AssertionError("loading must not run code")

    for module, name in (
        (pickle, "loads"),
        (pickle, "load"),
        (pickle, "Unpickler"),
        (torch, "load"),
    ):
        monkeypatch.setattr(module, name, forbidden)
    for name in ("eval", "exec", "compile"):
        monkeypatch.setattr(builtins, name, forbidden)
    net = load(file)
    monkeypatch.undo()
    assert net.n_features_in_ == 3


def test_without_safetensors_the_remedy_is_named(file: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(MissingDependencyError, match=re.escape("pip install 'selfnorm[tabular]'")):
        load(file)


def test_another_process_predicts_the_same(file: Path) -> None:
    code = (
        "import sys, pandas as pd, selfnorm\n"
        "rows = pd.DataFrame({'length': [0.5], 'köln': ['v'], 'count': [1]})\n"
        "print(selfnorm.load(sys.argv[1]).predict_proba(rows).tobytes().hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == load(file).predict_proba(NEW[:1]).tobytes().hex()
