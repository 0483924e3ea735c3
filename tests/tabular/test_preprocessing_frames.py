"""Tables of every kind are read alike: arrays, lists, sparse matrices, pandas, polars."""

from __future__ import annotations

import datetime as dt
import re
import time
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from selfnorm.errors import DataError
from selfnorm.tabular._preprocessing import NumberColumn, Preprocessor, _checks

pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")

N = 60
RNG = np.random.default_rng(11)
DATA: dict[str, list[Any]] = {
    "size": RNG.normal(size=N).tolist(),
    "count": RNG.integers(0, 5, N).tolist(),
    "gaps": [None if u < 0.2 else u for u in RNG.random(N).tolist()],
    "new": [bool(u) for u in RNG.random(N) < 0.4],
    "maybe": [None if u < 0.2 else u < 0.5 for u in RNG.random(N).tolist()],
    "colour": [[None, "red", "blue", "green"][k] for k in RNG.integers(0, 4, N)],
    "town": [f"town {k}" for k in RNG.integers(0, 20, N)],
    "day": [dt.datetime(2021, 3, 1) + dt.timedelta(hours=int(h)) for h in RNG.integers(0, 999, N)],
    "wait": [dt.timedelta(seconds=int(s)) for s in RNG.integers(0, 999, N)],
    "empty": [None] * N,
}
OBJECTS = np.array([list(row) for row in zip(*DATA.values(), strict=True)], dtype=object)


def pandas_frame() -> Any:
    return pandas.DataFrame(DATA)


def pandas_special() -> Any:
    frame = pandas.DataFrame(DATA)
    frame["colour"] = frame["colour"].astype("category").cat.add_categories(["never"])
    frame["town"] = frame["town"].astype("string")
    frame["count"] = frame["count"].astype("Int16")
    frame["gaps"] = frame["gaps"].astype("Float64")
    frame["maybe"] = frame["maybe"].astype("boolean")
    frame["day"] = frame["day"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")
    return frame


def pandas_arrow() -> Any:
    pytest.importorskip("pyarrow")
    return pandas.DataFrame(DATA).convert_dtypes(dtype_backend="pyarrow")


def polars_frame() -> Any:
    return polars.DataFrame(DATA)


def polars_special() -> Any:
    return polars.DataFrame(DATA).with_columns(
        polars.col("colour").cast(polars.Enum(["green", "never", "red", "blue"])),
        polars.col("town").cast(polars.Categorical),
        polars.col("day").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo"),
    )


KINDS = [pandas_frame, pandas_special, pandas_arrow, polars_frame, polars_special]


@pytest.mark.parametrize("make", KINDS)
def test_all_kinds_are_read_alike(make: Any) -> None:
    reference = Preprocessor().fit(OBJECTS)
    expected = reference.transform(OBJECTS)
    frame = make()
    fitted = Preprocessor().fit(frame)
    assert fitted.feature_names_in_.tolist() == list(DATA)
    assert fitted.output_names[:8] == [
        "size", "count", "gaps", "new", "maybe", "day", "wait", "gaps missing",
    ]  # fmt: skip
    np.testing.assert_array_equal(fitted.transform(frame), expected)
    # What is learnt from one kind applies to the others, single rows included.
    np.testing.assert_array_equal(reference.transform(frame), expected)
    np.testing.assert_array_equal(fitted.transform(frame[7:8]), expected[7:8])
    np.testing.assert_array_equal(fitted.transform(OBJECTS.tolist()), expected)


@pytest.mark.parametrize("make", [pandas.DataFrame, polars.DataFrame])
def test_columns_must_be_those_of_the_training(make: Any) -> None:
    fitted = Preprocessor().fit(make({"a": [1.0, 2.0], "b": [1.0, 5.0]}))
    for other in ({"b": [1.0], "a": [1.0]}, {"a": [1.0], "c": [1.0]}):
        with pytest.raises(ValueError, match=r"feature names should match .* column"):
            fitted.transform(make(other))
    with pytest.raises(ValueError, match="X has 1 features"):
        fitted.transform(make({"a": [1.0]}))


def test_names_that_are_no_strings_are_not_kept() -> None:
    fitted = Preprocessor().fit(pandas.DataFrame({3: [1.0, 2.0], 5: [1.0, 5.0]}))
    assert not hasattr(fitted, "feature_names_in_")
    assert fitted.output_names == ["3", "5"]
    fitted.fit(pandas.DataFrame({"a": [1.0, 2.0]}))
    assert fitted.feature_names_in_.tolist() == ["a"]
    fitted.fit([[1.0], [2.0]])
    assert not hasattr(fitted, "feature_names_in_")


def test_categories_by_name() -> None:
    frame = pandas.DataFrame({"zip": [10, 20, 10, 30], "size": [1.0, 2.0, 4.0, 8.0]})
    fitted = Preprocessor(categorical_features=["zip"]).fit(frame)
    assert fitted.output_names == ["size", "zip=10", "zip=20", "zip=30"]
    twice = pandas.DataFrame([[1, 2], [3, 4]], columns=["zip", "zip"])
    with pytest.raises(ValueError, match="the name 'zip' is that of 2 columns"):
        Preprocessor(categorical_features=["zip"]).fit(twice)


def test_categories_of_one_text_are_one() -> None:
    column = pandas.Categorical([1, "1", "b", 2.0, None, 1])
    fitted = Preprocessor().fit(pandas.DataFrame({"a": column}))
    assert fitted.output_names == ["a=1", "a=2", "a=b", "a=missing"]
    out = fitted.transform(pandas.DataFrame({"a": column}))
    np.testing.assert_array_equal(out[0], out[1])


def test_numbers_may_all_be_missing_whatever_their_type() -> None:
    fitted = Preprocessor().fit(pandas.DataFrame({"a": [1.0, 2.0, 5.0], "b": [3.0, 7.0, 4.0]}))
    expected = fitted.transform(pandas.DataFrame({"a": [2.0], "b": [3.0]}))
    for gap in (pandas.Categorical([None], categories=["x"]), [None], [pandas.NA], [pandas.NaT]):
        frame = pandas.DataFrame({"a": gap, "b": [3.0]})
        np.testing.assert_array_equal(fitted.transform(frame), expected)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pandas.period_range("2020", periods=2, freq="D"), "Period"),
        ([1 + 1j, 2.0], "Complex"),
        ([dt.date(2020, 1, 1), "x"], "datetime and text"),
        ([1.0, float("-inf")], "row 1, column 'bad'"),
        ([dt.time(1), dt.time(2)], "holds a time"),
    ],
)
def test_what_pandas_can_hold_and_a_net_cannot_take(column: Any, words: str) -> None:
    frame = pandas.DataFrame({"good": [1.0, 2.0], "bad": column})
    with pytest.raises((DataError, TypeError), match=words):
        Preprocessor().fit(frame)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ([[1], [2]], "'bad' has dtype List"),
        ([dt.time(1), dt.time(2)], "'bad' has dtype Time"),
        ([1.0, float("inf")], "row 1, column 'bad'"),
    ],
)
def test_what_polars_can_hold_and_a_net_cannot_take(column: Any, words: str) -> None:
    frame = polars.DataFrame({"good": [1.0, 2.0], "bad": column})
    with pytest.raises(DataError, match=words):
        Preprocessor().fit(frame)
    with pytest.raises(DataError, match="collect"):
        Preprocessor().fit(frame.lazy())


def test_empty_frames_are_refused() -> None:
    for frame in (pandas_frame()[:0], polars_frame()[:0], pandas.DataFrame(index=[0, 1])):
        with pytest.raises(DataError, match=r"0 (sample|feature)\(s\)"):
            Preprocessor().fit(frame)


def test_dates_are_seconds() -> None:
    days = np.array(["1970-01-02", "NaT", "2021-06-01T12:00:00.25", "1900-01-01"], dtype="M8[ns]")
    fitted = Preprocessor().fit(days[:, None])
    column = fitted.columns[0]
    assert isinstance(column, NumberColumn)
    assert column.kind == "datetime"
    assert column.scaling is not None
    assert column.scaling.center == 86_400
    assert fitted.output_names == ["x0", "x0 missing"]
    out = fitted.transform(days[:, None])
    objects = [[dt.date(1970, 1, 2)], [None], [dt.datetime(2021, 6, 1, 12, 0, 0, 250_000)]]
    np.testing.assert_array_equal(fitted.transform(objects), out[:3])
    zone = dt.timezone(dt.timedelta(hours=2))
    np.testing.assert_array_equal(
        fitted.transform([[dt.datetime(1970, 1, 2, 2, tzinfo=zone)]]), out[:1]
    )
    with pytest.raises(DataError, match=r"must hold a datetime .* it holds a number"):
        fitted.transform(np.array([[86_400.0]], dtype=object))


def test_dates_do_not_depend_on_where_the_machine_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(time, "tzset"):
        pytest.skip("the time zone cannot be set here")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        column = Preprocessor().fit([[dt.datetime(1970, 1, 2)], [dt.date(1970, 1, 2)], [None]])
    finally:
        monkeypatch.undo()
        time.tzset()
    days = Preprocessor().fit(np.array([["1970-01-02"], ["1970-01-02"], ["NaT"]], dtype="M8[D]"))
    assert column.columns == days.columns
    assert column.output_names == ["x0 missing"]


def test_text_arrays_keep_their_numbers() -> None:
    X = np.array([["1.5", "a", "01"], ["2", "b", "x"], ["7", "a", "01"]])
    fitted = Preprocessor().fit(X)
    assert fitted.output_names == ["x0", "x1=b", "x2=x"]
    # A row in which the third column looks like a number is still one of categories.
    np.testing.assert_array_equal(fitted.transform(X[:1]), fitted.transform(X)[:1])
    with pytest.raises(DataError, match="text 'many'"):
        fitted.transform(np.array([["many", "a", "01"]]))


@pytest.mark.parametrize("form", ["csr_array", "csc_matrix", "coo_array", "lil_matrix"])
def test_sparse_is_dense(form: str) -> None:
    dense = np.where(RNG.random((90, 12)) < 0.7, 0, RNG.lognormal(size=(90, 12)))
    dense[3, 4] = np.nan
    X = getattr(sparse, form)(dense)
    options: dict[str, Any] = {"categorical_features": [1], "max_one_hot": 3}
    fitted = Preprocessor(**options).fit(X)
    reference = Preprocessor(**options).fit(dense)
    assert fitted.columns == reference.columns
    np.testing.assert_array_equal(fitted.transform(X), reference.transform(dense))


def test_sparse_that_would_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    X = sparse.csr_array((10**8, 10**6), dtype=np.float32)
    words = "at most .* GB here, however: 100000000 rows x 1000000 columns take 4e+05 GB"
    with pytest.raises(DataError, match=re.escape(words).replace(r"\.\*", ".*")):
        Preprocessor().fit(X)
    small = sparse.csr_array(RNG.normal(size=(10, 3)))
    fitted = Preprocessor().fit(small)
    monkeypatch.setattr(_checks, "memory_limit", lambda: 119.0)
    with pytest.raises(DataError, match="10 rows x 3 columns"):
        fitted.transform(small)
    fitted.transform(small[:9])
