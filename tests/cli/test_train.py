"""``selfnorm train`` and ``predict``: from a CSV file to predictions, faults in one line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

import selfnorm
from selfnorm.cli import main
from selfnorm.tabular._saving import save
from selfnorm.tabular._table_training import train_table

ROWS = 120


def frame() -> pd.DataFrame:
    generator = np.random.default_rng(4)
    size, town = generator.standard_normal(ROWS), generator.integers(0, 4, ROWS)
    target = 3 * size + (town == 2) + 0.1 * generator.standard_normal(ROWS)
    return pd.DataFrame(
        {
            "size": np.where(np.arange(ROWS) % 9 == 0, np.nan, size.round(3)),
            "town": np.array(["A", "B, north", 'C "old"', "<b>D"])[town],
            "price": target.round(4),
            "kind": np.where(target > 0, "big", "small"),
        }
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    frame().to_csv(folder / "towns.csv", index=False)
    return folder / "towns.csv"


@pytest.fixture(scope="module")
def trained(data: Path) -> Path:
    """A folder with a classifier; tests must leave it as it is."""
    out = data.parent / "model"
    with pytest.raises(SystemExit) as stop:
        main(["train", str(data), "--target", "kind", "--members", "1", "--out", str(out)])
    assert not stop.value.code
    return out


# ---- train --------------------------------------------------------------------------------------


def test_a_classification(run, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    words = ("train", str(data), "--target", "kind", "--members", "2", "--test-fraction", "0.25")
    outcome = run(*words, "--out", str(out), "--seed", "3")
    assert outcome.code == 0
    assert "classification into 2 classes of 'kind' from 3 columns: 90 rows" in outcome.out
    assert "holds texts" in outcome.out
    assert "area under the ROC curve" in outcome.out
    assert sorted(path.name for path in out.iterdir()) == [
        "metrics.json",
        "model.safetensors",
        "report.html",
    ]
    record = json.loads((out / "metrics.json").read_text("utf-8"))
    assert record["rows"] == {"file": 120, "without_target": 0, "training": 90, "held_out": 30}
    assert record["metrics"]["accuracy"] > 0.8 > 0.7 > record["baseline"]["accuracy"]
    assert f"{record['metrics']['accuracy']:.4g}" in outcome.out
    importance = {one["name"]: one["mean"] for one in record["importance"]["columns"]}
    assert importance["price"] > 10 * abs(importance["town"])
    model = selfnorm.load(out / "model.safetensors")
    assert len(model.networks_) == 2
    assert record["settings"]["used"]["members"] == 2
    assert "<!doctype html>" in (out / "report.html").read_text("utf-8")


def test_the_same_seed_makes_the_same_model(data: Path, tmp_path: Path) -> None:
    files = []
    for seed in (1, 1, 2):
        found = train_table(data, "kind", members=1, seed=seed)
        files.append(save(found.estimator, tmp_path / "model").read_bytes())
    assert files[0] == files[1] != files[2]


def test_a_regression_as_json(run, data: Path, tmp_path: Path) -> None:
    words = ("train", str(data), "--target", "price", "--members", "1", "--out", str(tmp_path))
    record = json.loads(run(*words, "--json").out)
    assert record == json.loads((tmp_path / "metrics.json").read_text("utf-8"))
    assert record["task"] == "regression"
    assert record["metrics"]["rmse"] < 0.7 * record["baseline"]["rmse"]
    assert record["metrics"]["r2"] > 0.5


def test_held_out_metrics_are_those_of_the_saved_model(run, data: Path, tmp_path: Path) -> None:
    """The scores are recomputed from the saved model on the rows that no training row equals."""
    words = ("train", str(data), "--target", "kind", "--members", "1", "--out", str(tmp_path))
    record = json.loads(run(*words, "--json").out)
    model = selfnorm.load(tmp_path / "model.safetensors")
    rows = pd.read_csv(data)
    right = model.predict(rows[model.feature_names_in_.tolist()]) == rows["kind"]
    held_wrong = round((1 - record["metrics"]["accuracy"]) * 24)
    assert held_wrong <= (~right).sum()
    assert np.sum(record["confusion"]["counts"]) == record["rows"]["held_out"] == 24


def test_a_time_limit_is_planned_with(run, data: Path, tmp_path: Path) -> None:
    words = ("train", str(data), "--target", "kind", "--out", str(tmp_path / "a"))
    outcome = run(*words, "--time-limit", "0.001", "--members", "2")
    assert outcome.code == 0
    assert "To keep the time limit, training took" in outcome.out
    assert re.search(r" of 0\.001 s: .*planning ", outcome.out)
    outcome = run(*words, "--time-limit", "3600", "--members", "1", "--force")
    assert "To keep the time limit" not in outcome.out


def test_an_earlier_training_is_not_overwritten(run, refused, data: Path, trained: Path) -> None:
    before = {path: path.read_bytes() for path in trained.iterdir()}
    words = ("train", str(data), "--target", "kind", "--out", str(trained))
    assert "model.safetensors, metrics.json, report.html of an earlier" in refused(2, *words)
    assert before == {path: path.read_bytes() for path in trained.iterdir()}


def test_the_folder_is_named_after_the_data(run, data: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("train", str(data), "--target", "kind", "--members", "1").code == 0
    assert (tmp_path / "out" / "towns" / "report.html").is_file()


def rows_of(*rows: str) -> bytes:
    return ("\n".join(["x,z,y", *rows]) + "\n").encode()


GOOD = [f"{k},{k * 7 % 11},{'ab'[k % 2]}" for k in range(40)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not there; check the path"),
        (b"", "is empty"),
        (rows_of(), "header alone"),
        (rows_of(*GOOD, "1,2,3,4"), "line 42 of .* has 4"),
        (rows_of(*GOOD, "1,2,ü").replace("ü".encode(), b"\xfc"), "at byte .*there is 0xfc"),
        (rows_of(*GOOD).replace(b"x,z,y", b"x,x,y"), "2 columns of .* called 'x'"),
        (rows_of(*GOOD).replace(b"x,z,y", b"x,z,w"), "the target must be a column.*: 'y'"),
        (rows_of(*(f",,{'ab'[k % 2]}" for k in range(40))), "columns to learn from"),
        (rows_of(*GOOD, "inf,1,a"), "column 'x' holds inf in data row 41"),
        (rows_of(*(f"{k},{k}," for k in range(40))), "all 40 rows of column 'y' are empty"),
        (rows_of(*(f"{k},{k},a" for k in range(40))), "at least 2 classes"),
        (rows_of(*(f"{k},{k},c{k}" for k in range(12))), "12 classes in 12 rows"),
        (rows_of(*GOOD[:4]), "at least 10 rows"),
        (rows_of(*GOOD, '1,"2,a'), "quotation mark.*begins in line 42"),
    ],
)
def test_bad_files_are_one_line_and_usage_code(content, message, refused, tmp_path) -> None:
    path = tmp_path / "t.csv"
    if content is not None:
        path.write_bytes(content)
    line = refused(2, "train", str(path), "--target", "y", "--out", str(tmp_path / "out"))
    assert re.search(message, line), line
    assert not (tmp_path / "out").exists()


def test_other_bad_input(refused, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(rows_of(*GOOD))
    parquet.write_table(pa.table({"x": [[1]], "y": [1]}), tmp_path / "nested.parquet")
    words = ("train", str(tmp_path / "t.csv"), "--target", "y", "--out", str(tmp_path / "o"))
    assert "must hold numbers" in refused(2, *words, "--task", "regression")
    assert "is not one of" in refused(2, *words, "--task", "clustering")
    assert "--test-fraction" in refused(2, *words, "--test-fraction", "1")
    assert "--members" in refused(2, *words, "--members", "0")
    assert "time_limit" in refused(2, *words, "--time-limit", "-1")
    assert "Missing option '--target'" in refused(2, *words[:2])
    assert "is a folder" in refused(2, "train", str(tmp_path), "--target", "y")
    nested = ("train", str(tmp_path / "nested.parquet"), "--target", "y")
    assert "column 'x' of" in refused(2, *nested, "--out", str(tmp_path / "o"))
    (tmp_path / "file").touch()
    words = (*words[:-1], str(tmp_path / "file" / "o"), "--members", "1")
    assert "cannot use" in refused(1, *words)


# ---- predict ------------------------------------------------------------------------------------


def test_predictions_are_those_of_the_model(run, data: Path, trained: Path, tmp_path) -> None:
    out = tmp_path / "new" / "p.csv"
    outcome = run("predict", str(trained), str(data), "--out", str(out), "--proba")
    assert outcome.out == f"120 predictions  {out}\n"
    found = pd.read_csv(out)
    model = selfnorm.load(trained / "model.safetensors")
    rows = pd.read_csv(data)[model.feature_names_in_.tolist()].astype({"size": "float32"})
    rows["price"] = rows["price"].astype("float32")
    assert found["prediction"].tolist() == model.predict(rows).tolist()
    expected = model.predict_proba(rows)
    np.testing.assert_allclose(found[["probability_big", "probability_small"]], expected, rtol=1e-9)


def test_parquet_in_and_out_other_columns_in_another_order(run, trained: Path, tmp_path) -> None:
    table = frame().drop(columns="kind")[["town", "price", "size"]]
    table.insert(0, "more", "x")
    parquet.write_table(pa.Table.from_pandas(table, preserve_index=False), tmp_path / "t.parquet")
    table.to_csv(tmp_path / "t.csv", index=False)
    assert (
        run("predict", str(trained), str(tmp_path / "t.csv"), "--out", str(tmp_path / "p.csv")).code
        == 0
    )
    words = ("predict", str(trained / "model.safetensors"), str(tmp_path / "t.parquet"))
    outcome = run(*words, "--out", str(tmp_path / "p.parquet"), "--json")
    assert json.loads(outcome.out) == {
        "rows": 120,
        "ignored": ["more"],
        "notes": [],
        "out": str(tmp_path / "p.parquet"),
    }
    found = parquet.read_table(tmp_path / "p.parquet").to_pandas()
    assert found["prediction"].tolist() == pd.read_csv(tmp_path / "p.csv")["prediction"].tolist()


def test_blocks_keep_the_order_of_rows(run, trained: Path, tmp_path, monkeypatch) -> None:
    """Rows that are told apart by their predictions, over many blocks."""
    from selfnorm.tabular import _csv

    big = pd.concat([frame()] * 5, ignore_index=True).sample(frac=1.0, random_state=1)
    big.to_csv(tmp_path / "t.csv", index=False)
    results = []
    for block in (_csv._BLOCK, 1000):
        monkeypatch.setattr(_csv, "_BLOCK", block)
        out = tmp_path / f"p{block}.csv"
        words = ("predict", str(trained), str(tmp_path / "t.csv"), "--out", str(out), "--proba")
        assert run(*words).code == 0
        results.append(pd.read_csv(out)["probability_big"].to_numpy())
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5)
    first = {tuple(row): p for row, p in zip(big.astype(str).to_numpy(), results[0], strict=True)}
    again = [first[tuple(row)] for row in big.astype(str).to_numpy()]
    np.testing.assert_allclose(results[0], again, rtol=1e-5)
    assert len(set(np.round(results[0], 9))) > 60


def test_values_that_training_has_not_seen(run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("town,size,price\nelsewhere,,1\n,1e9,-2\n", "utf-8")
    words = ("predict", str(trained), str(tmp_path / "t.csv"), "--out", str(tmp_path / "p.csv"))
    assert run(*words).code == 0
    assert set(pd.read_csv(tmp_path / "p.csv")["prediction"]) <= {"big", "small"}
    (tmp_path / "t.csv").write_text("town,size,price\n", "utf-8")
    assert run(*words).code == 0
    assert (tmp_path / "p.csv").read_text("utf-8").strip() == '"prediction"'


def test_bad_input_to_predict(refused, data: Path, trained: Path, tmp_path: Path) -> None:
    new, out = tmp_path / "t.csv", tmp_path / "p.csv"
    out.write_text("old")
    words = ("predict", str(trained), str(new), "--out", str(out))
    for text, message in (
        ("size,town\n1,A\n", "lacks 'price'; add them"),
        ("size,town,price\n1,A,2\nx,A,2\n", "column 'size' must hold numbers.*'x' in data row 2"),
        ("size,town,price\n1,A,2\n1,A\n", "line 3 of .* has 2"),
        ("", "is empty"),
    ):
        new.write_text(text, "utf-8")
        line = refused(2, *words)
        assert re.search(message, line), line
    assert out.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.csv", "t.csv"]
    assert "is not there" in refused(2, "predict", str(tmp_path / "no"), *words[2:])
    assert "safetensors" in refused(2, "predict", str(new), *words[2:])
    assert "another file" in refused(2, *words[:3], "--out", str(new))
    content = (trained / "model.safetensors").read_bytes()
    (tmp_path / "cut").write_bytes(content[:-1])
    assert "checksum does not fit" in refused(2, "predict", str(tmp_path / "cut"), *words[2:])


def test_rows_of_a_file_in_python(run, refused, tmp_path: Path, monkeypatch) -> None:
    """Dates, booleans and marks mean in Python what they meant in training; --ignore leaves out."""
    from selfnorm.tabular import _csv

    generator = np.random.default_rng(1)
    days = generator.integers(0, 3000, ROWS)
    rows = pd.DataFrame(
        {
            "nr": np.arange(ROWS) + 1,
            "id": [f"K{k}" for k in range(ROWS)],
            "since": np.datetime64("2015-01-01") + days,
            "paid": np.where(days % 3 == 0, "true", "false"),
            "size": [*["-"] * 5, *generator.standard_normal(ROWS - 5).round(3)],
            "cost": np.where(np.arange(ROWS) < 1, 1e6, days * (1 + (days % 3 == 0))),
        }
    )
    path, out = tmp_path / "t.csv", tmp_path / "m"
    pd.concat([rows] * 2).to_csv(path, index=False)
    words = ("train", str(path), "--target", "cost", "--out", str(out), "--members", "1")
    for bad, message in (("cost", "target cannot be ignored"), ("paids", "did you mean 'paid'")):
        assert message in refused(2, *words, "--ignore", bad)
    outcome = run(*words, "--ignore", "nr", "--ignore", "id")
    assert "numbers the rows" not in outcome.out
    assert "train on the logarithm" in outcome.out
    record = json.loads((out / "metrics.json").read_text("utf-8"))
    columns = {one["name"]: one for one in record["columns"]}
    assert [columns[name]["used"] for name in ("nr", "id", "since")] == ["no", "no", "yes"]
    assert columns["since"]["low"] == str(rows["since"].min().date())
    model = selfnorm.load(out / "model.safetensors")
    run("predict", str(out), str(path), "--out", str(tmp_path / "p.csv"))
    monkeypatch.setattr(_csv, "_BLOCK", 1000)
    found = model.predict(selfnorm.tabular.read_rows(path, model))
    expected = pd.read_csv(tmp_path / "p.csv")["prediction"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # By hand: the columns as pandas reads them, when told to.
    same = pd.read_csv(path, parse_dates=["since"], na_values=["-"], dtype={"paid": str})
    found = model.predict(same[model.feature_names_in_.tolist()].astype({"size": "float32"}))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    path.write_text("since,paid,size,nr\n", "utf-8")
    assert selfnorm.tabular.read_rows(path, model).shape == (0, 3)
    words = ("train", str(tmp_path / "c.csv"), "--target", "cost", "--out", str(out), "--force")
    rows.drop(columns="id").to_csv(tmp_path / "c.csv", index=False)
    assert "Column 'nr' numbers the rows and is used" in run(*words, "--members", "1").out


def test_models_fitted_in_python_and_regressions(run, refused, data: Path, tmp_path: Path) -> None:
    rows = frame()
    net = selfnorm.SNNRegressor((4,), n_members=1, max_iter=1).fit(rows[["size"]], rows["price"])
    net.save(tmp_path / "model")
    words = ("predict", str(tmp_path / "model"), str(data), "--out", str(tmp_path / "p.csv"))
    assert "fitted in Python; predict there" in refused(2, *words)
    words = (
        "train",
        str(data),
        "--target",
        "price",
        "--members",
        "1",
        "--out",
        str(tmp_path / "r"),
    )
    assert run(*words).code == 0
    words = ("predict", str(tmp_path / "r"), str(data), "--out", str(tmp_path / "p.csv"))
    assert "probabilities belong to classes" in refused(2, *words, "--proba")
    assert run(*words).code == 0
    assert pd.read_csv(tmp_path / "p.csv")["prediction"].corr(rows["price"]) > 0.7


# ---- as a process -------------------------------------------------------------------------------


def test_the_command_itself(data: Path, tmp_path: Path) -> None:
    """In a real process: nothing on stderr, no warning, one line for a fault."""
    start = [sys.executable, "-W", "error", "-m", "selfnorm"]
    words = ["train", str(data), "--target", "kind", "--members", "1", "--out", str(tmp_path / "m")]
    done = subprocess.run([*start, *words], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    done = subprocess.run(
        [*start, "train", "absent.csv", "--target", "y"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


MEASURE = """
import resource, sys
from selfnorm.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(*words: str) -> float:
    """Run the command in a process of its own and return its peak memory in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *words], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1]) / 1024


@pytest.mark.slow
def test_memory_is_bounded_on_a_file_of_300_mb(tmp_path: Path) -> None:
    """1.5 million rows of 21 columns: the matrix is 126 MiB, the file 300 MB.

    The libraries take .45 GiB. Beside them training holds the matrix, at most 512 MiB of inputs
    made of it and copies of these; predicting holds some blocks (measured: .12 GiB).
    """
    generator = np.random.default_rng(0)
    path = tmp_path / "big.csv"
    with path.open("w") as file:
        file.write(",".join([f"x{k}" for k in range(20)] + ["town", "y"]) + "\n")
        while file.tell() < 300e6:
            block = generator.standard_normal((20_000, 20))
            town = generator.integers(0, 30, 20_000)
            label = np.where(block[:, 0] + 0.3 * (town % 3) > 0, "yes", "no")
            for row, place, one in zip(block.tolist(), town, label, strict=True):
                file.write(",".join(f"{v:.6g}" for v in row) + f",town {place},{one}\n")
    words = ("--target", "y", "--members", "1", "--time-limit", "60", "--out", str(tmp_path / "m"))
    base = peak("train", str(small_copy(path)), *words)
    assert peak("train", str(path), *words, "--force") < base + 1800
    model, out = str(tmp_path / "m"), str(tmp_path / "p.csv")
    assert peak("predict", model, str(path), "--out", out) < base + 250


def small_copy(path: Path) -> Path:
    """Return a file of the first 1,000 rows."""
    with path.open() as file:
        text = "".join(next(file) for _ in range(1001))
    copy = path.with_name("small.csv")
    copy.write_text(text)
    return copy
