"""Tables from files: the dialect found out, faults named with their place, kinds of columns."""

from __future__ import annotations

import csv
import gzip
import io
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from selfnorm.errors import DataError, MissingDependencyError
from selfnorm.tabular import _csv
from selfnorm.tabular._survey import day_text, survey
from selfnorm.tabular._table_rows import frame_blocks, gather
from selfnorm.tabular._tables import TableFile


@pytest.fixture
def table(tmp_path: Path):
    """A function that writes bytes or text to a file and opens it as a table."""

    def make(content: bytes | str, name: str = "t.csv") -> TableFile:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return TableFile(path)

    return make


def lines(header: str, *rows: str) -> str:
    return "\n".join([header, *rows]) + "\n"


def read(table: TableFile) -> pd.DataFrame:
    """Read all usable columns."""
    seen, _ = survey(table)
    usable = [column for column in seen.columns.values() if column.usable]
    return gather(table, usable, np.ones(seen.rows, np.uint8))[0]


# ---- how a file is written ----------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators_and_line_ends(separator: str, end: str, table) -> None:
    text = end.join(separator.join(row) for row in [("a", " b "), ("1.5", "x"), ("", " y ")]) + end
    found = read(table(text))
    assert found.columns.tolist() == ["a", "b"]
    np.testing.assert_array_equal(found["a"], np.float32([1.5, np.nan]))
    assert found["b"].tolist() == ["x", "y"]


def test_decimal_commas_are_found_and_told(table) -> None:
    file = table(lines("a;b", "1,5;2", "-0,25;3"))
    assert read(file)["a"].tolist() == [1.5, -0.25]
    assert file.notes == ["The fields are separated by semicolons, decimals by a comma."]


def test_semicolons_with_decimal_points(table) -> None:
    assert read(table(lines("a;b", "1.5;2", "2.5;3")))["a"].tolist() == [1.5, 2.5]


def test_separators_inside_quotes_do_not_count(table) -> None:
    file = table(lines("a,b", '"x;y;z;w",1', '"x;y;z;w",2', '"p;q;r;s",3'))
    assert read(file)["a"].tolist() == ["x;y;z;w", "x;y;z;w", "p;q;r;s"]


def test_a_mark_in_a_name_is_no_separator(table) -> None:
    file = table(lines("a;x;y,b", "1.5,2", "2.5,3"))
    assert file.names == ["a;x;y", "b"]


def test_quotes_line_breaks_and_a_byte_order_mark(table) -> None:
    rows = [["p\nq", 'say "hi"'], ["p\nq", "ü, ö"], ["r", "ü, ö"]]
    stream = io.StringIO()
    csv.writer(stream).writerows([["a", "b"], *rows])  # written by another hand than the reader's
    found = read(table(b"\xef\xbb\xbf" + stream.getvalue().encode()))
    assert found.columns.tolist() == ["a", "b"]
    assert found["a"].tolist() == [row[0] for row in rows]
    assert found["b"].tolist() == [row[1] for row in rows]


def test_blank_lines_and_a_missing_last_line_end(table) -> None:
    assert read(table("\n\na,b\n\n1,2\n\n\n3,5"))["b"].tolist() == [2.0, 5.0]


def test_compressed_files(table) -> None:
    assert read(table(gzip.compress(b"a,b\n1,2\n3,5\n"), "t.csv.gz"))["b"].tolist() == [2.0, 5.0]


def test_rows_over_many_blocks(table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Characters, quoted line breaks and numbers fall on the ends of blocks of 64 bytes."""
    monkeypatch.setattr(_csv, "_BLOCK", 64)
    rows = [f'{k * 0.25},"{"äö€"[k % 3]}\n{k % 5}"' for k in range(400)]
    file = table(lines("a,b", *rows))
    found = read(file)
    assert found["a"].tolist() == [k * 0.25 for k in range(400)]
    assert found["b"].tolist() == [f"{'äö€'[k % 3]}\n{k % 5}" for k in range(400)]
    seen, _ = survey(file)
    streamed = list(frame_blocks(file, [c for c in seen.columns.values() if c.usable]))
    assert len(streamed) > 50
    assert pd.concat(streamed)["a"].tolist() == found["a"].tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "first line must hold the names.*empty"),
        (b" \n\n", "first line must hold the names.*empty"),
        (b"a,b\n", "must have rows.*header alone"),
        (b"a,b", "must have rows.*header alone"),
        (b"a,b\n1,2\n\n3\n", "2 fields.*line 4 of .* has 1"),
        (b'a,b\n1,"x\ny"\n1,2,3\n', "2 fields.*line 4 of .* has 3"),
        (b'a,b\n1,2\n3,"x\n4,5\n', "quotation mark.*begins in line 3"),
        ("a,b\n1,ü\n".encode("latin1"), "UTF-8.*at byte 6, there is 0xfc.*iconv -f latin1"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-8.*UTF-16; iconv -f utf-16"),
        ("a,b\n1,2\n".encode("utf-16-be"), "UTF-8.*zero byte"),
        ("a,b\n1,ü".encode()[:-1], "UTF-8.*ends inside a character"),
        (b"PK\3\4rest", "Excel workbook or a zip"),
        (b"a,b,a\n1,2,3\n", "names must differ.*2 columns of .* called 'a'"),
        (b"a,,b\n1,2,3\n", "column 2 of .* has none"),
        (b"1,2\n3,4\n", "numbers alone \\(1, 2\\)"),
        (b"PAR1 no parquet", "must be a Parquet file"),
        (b"a,b\n1,inf\n", "finite.*column 'b' holds inf in data row 1"),
        (b"a,b\n1,2\n3,-Infinity\n", "finite.*column 'b' holds -Infinity in data row 2"),
    ],
)
def test_faulty_files_are_refused_in_one_line(content: bytes, message: str, table) -> None:
    with pytest.raises(DataError, match=message) as caught:
        survey(table(content))
    assert "\n" not in str(caught.value)


def test_encoding_faults_far_inside(table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_csv, "_BLOCK", 64)
    for shift in range(8):  # the last one ends a block inside an ä
        good = ("a,b\n" + "1," + "x" * shift + "\n" + "1,ä\n" * 100).encode()
        with pytest.raises(DataError, match=f"at byte {len(good) + 2:,}, there is 0xff"):
            table(good + b"1,\xff\n")


def test_a_lone_inch_is_no_open_quotation(table) -> None:
    found = read(table(lines("a,b", '5" pipe,2', "other,3")))
    assert found["a"].tolist() == ['5" pipe', "other"]


def test_places_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder; name a CSV"):
        TableFile(tmp_path)
    with pytest.raises(DataError, match="No such file"):
        TableFile(tmp_path / "absent.csv")


def test_a_wrong_name_is_met_with_the_nearest(table) -> None:
    file = table(lines("Price,rooms", "1,2"))
    for wrong, message in (("price", "did you mean 'Price'"), ("xyz", "they are 'Price', 'rooms'")):
        with pytest.raises(DataError, match=message):
            file.require(wrong, "the target")
    with pytest.raises(DataError, match="only column is 'a b'; separate the fields"):
        table(lines("a b", "1 2")).require("b", "the target")


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_a_first_column_that_numbers_the_rows_is_ignored(name: str, table) -> None:
    file = table(lines(f"{name},a", "0,1.5", "1,2.5"))
    assert file.names == ["a"]
    assert "numbers the rows and is ignored" in file.notes[0]


def test_without_pyarrow_the_remedy_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'selfnorm\[tabular\]'"):
        TableFile(tmp_path)


# ---- what columns are ---------------------------------------------------------------------------


def test_kinds_of_columns(table) -> None:
    rows = [
        f"{k},{k % 3},{'ab'[k % 2]},2020-02-{1 + k % 28:02d},,id{k},7,x,{k if k else 'n/k'},"
        + (f"{k % 4}" if k % 2 else "-")
        for k in range(40)
    ]
    seen, kept = survey(table(lines("n,few,t,d,e,id,c,ct,m,h", *rows)), keep="t")
    kinds = {name: column.kind for name, column in seen.columns.items()}
    assert kinds == {
        "n": "number",
        "few": "number",
        "t": "text",
        "d": "date",
        "e": "empty",
        "id": "identifier",
        "c": "constant",
        "ct": "constant",
        "m": "number",
        "h": "text",  # half of it is no number: no column of numbers with marks
    }
    assert seen.columns["t"].levels == ("a", "b")
    assert (seen.columns["n"].low, seen.columns["n"].high) == (0.0, 39.0)
    assert (seen.columns["m"].markers, seen.columns["m"].missing) == (("n/k",), 1)
    assert seen.columns["e"].missing == seen.rows == 40
    assert kept.to_pylist() == ["ab"[k % 2] for k in range(40)]


def test_codes_with_zeros_before_them_are_categories(table) -> None:
    rows = [f"{k % 9:03d};0,{k % 9};{k % 3};{'0,5' if k % 2 else '1,5'}" for k in range(60)]
    columns = survey(table(lines("code;dec;zero;comma", *rows)))
    found = columns[0].columns
    assert found["code"].levels == tuple(f"{k:03d}" for k in range(9))
    assert [one.kind for one in found.values()] == ["text", "number", "number", "number"]
    assert [one.padded for one in found.values()] == [True, False, False, False]
    later = survey(table(lines("code,x", *(f"{k},{k}" for k in range(50)), "007,1")))[0].columns
    assert later["code"].kind == "number"  # nearly every one is new: no levels
    many = survey(table(lines("code,x", *(f"{k % 10_500:06d},1" for k in range(21_000)))))[0]
    assert many.columns["code"].kind == "number"


def test_dates_are_moments(table) -> None:
    file = table(lines("d,x", "1970-01-02,1", "1969-12-31 12:00:00,2", ",3"))
    expected = np.array(["1970-01-02", "1969-12-31T12:00", "NaT"], "M8[us]")
    np.testing.assert_array_equal(read(file)["d"].to_numpy("M8[us]"), expected)
    seen, _ = survey(file)
    assert (seen.columns["d"].low, seen.columns["d"].high) == (-0.5, 1.0)
    assert [day_text(days) for days in (-0.5, 1.0)] == ["1969-12-31T12:00:00", "1970-01-02"]


def test_many_marks_among_many_numbers_and_numbers_that_count(table, monkeypatch) -> None:
    """A third of "-" beside 53 kinds of numbers is missing values; beside 2 kinds it is a level."""
    rows = [f"{k + 5},{k * 7 % 40},{'-' if k % 3 == 0 else k},{'-' if k % 3 == 0 else k % 2}"
            for k in range(80)]  # fmt: skip
    for block in (_csv._BLOCK, 64):
        monkeypatch.setattr(_csv, "_BLOCK", block)
        columns = survey(table(lines("id,n,many,few", *rows)))[0].columns
        assert [one.kind for one in columns.values()] == ["number", "number", "number", "text"]
        assert columns["many"].missing == 27
        assert [one.counts for one in columns.values()] == [True, False, False, False]
    other = [*rows[:70], *rows[71:]]  # one number is left out
    assert not survey(table(lines("id,n,many,few", *other)))[0].columns["id"].counts


def test_numbers_far_from_zero_keep_their_differences(table) -> None:
    file = table(lines("t,x", *(f"{1_700_000_000 + k},{k}" for k in range(9))))
    assert np.diff(read(file)["t"]).tolist() == [1.0] * 8  # float32 steps there are 128
    assert read(file)["x"].dtype == np.float32


def test_missing_values_have_many_names(table) -> None:
    words = ["", "NA", "nan", "?", "null", " N/A ", "None", "NaN"]
    found = read(
        table(lines("a,b", *(f"{word},{k}" for k, word in enumerate(words)), "1,0", "2,0"))
    )
    assert found["a"].isna().sum() == len(words)


def test_ten_thousand_levels_are_too_many(table) -> None:
    rows = [f"v{k % 10_001},{k}" for k in range(21_000)]
    seen, _ = survey(table(lines("a,b", *rows)))
    assert seen.columns["a"].kind == "identifier"
    seen, _ = survey(table(lines("a,b", *(f"v{k % 10_000},{k}" for k in range(21_000)))))
    assert len(seen.columns["a"].levels) == 10_000


def test_gather_deals_rows_to_two_frames(table) -> None:
    file = table(lines("a,b", *(f"{k},{'xyz'[k % 3]}" for k in range(30))))
    seen, _ = survey(file)
    part = np.arange(30).astype(np.uint8) % 3
    first, second = gather(file, list(seen.columns.values()), part)
    assert first["a"].tolist() == list(range(1, 30, 3))
    assert second["a"].tolist() == list(range(2, 30, 3))
    assert set(second["b"]) == {"z"}
    assert first["b"].cat.codes.dtype == np.int8


def test_later_rows_that_do_not_fit_are_named(table) -> None:
    seen, _ = survey(table(lines("a,d", "1,2020-01-01", "-,2020-01-02", *["3,2020-02-03"] * 20)))
    columns = list(seen.columns.values())
    later = table(lines("d,more,a", "2020-01-01,x,-", "2020-01-01,x,4"), "later.csv")
    (frame,) = frame_blocks(later, columns)
    np.testing.assert_array_equal(frame["a"], [np.nan, 4.0])
    for row, message in (
        ("2020-01-01,x,abc", "column 'a' must hold numbers.*'abc' in data row 2"),
        ("01.02.2020,x,1", "column 'd' must hold dates.*'01.02.2020' in data row 2"),
        ("2020-01-01,x,1e39", "column 'a' holds 1e39 in data row 2"),
        ("2020-01-01,x,inf", "column 'a' holds inf in data row 2"),
    ):
        with pytest.raises(DataError, match=message):
            list(frame_blocks(table(lines("d,more,a", "2020-01-01,x,1", row)), columns))


def test_rows_are_counted_over_blocks(table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_csv, "_BLOCK", 64)
    rows = [f"{k},{k % 5}" for k in range(300)]
    seen, _ = survey(table(lines("a,b", *rows)))
    with pytest.raises(DataError, match="'oops' in data row 301"):
        list(frame_blocks(table(lines("a,b", *rows, "oops,1")), list(seen.columns.values())))
    with pytest.raises(DataError, match="holds inf in data row 301"):
        survey(table(lines("a,b", *rows, "inf,1")))


# ---- Parquet ------------------------------------------------------------------------------------


def test_parquet_types(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    content = pa.table(
        {
            "i": pa.array([1, None, 3, 4], pa.int16()),
            "f": [1.5, float("nan"), None, 2.5],
            "dec": pa.array([1, 2, None, 4], pa.decimal128(9, 2)),
            "b": [True, False, None, True],
            "s": ["x", "y", "x", None],
            "code": pa.array(["p", "q", "p", "p"]).dictionary_encode(),
            "d": pa.array([0, 1, 2, None], pa.date32()),
            "t": pa.array([0, 43_200_000_000, None, 1], pa.timestamp("us")),
        }
    )
    parquet.write_table(content, path)
    seen, _ = survey(TableFile(path))
    assert [column.kind for column in seen.columns.values()] == (
        ["number"] * 3 + ["text"] * 3 + ["date"] * 2
    )
    assert [column.missing for column in seen.columns.values()] == [1, 2, 1, 1, 1, 0, 1, 1]
    found = read(TableFile(path))
    np.testing.assert_array_equal(found["f"], np.float32([1.5, np.nan, np.nan, 2.5]))
    assert found["b"].tolist()[:2] == ["true", "false"]
    expected = np.array([0, 43_200_000_000, "NaT", 1], "M8[us]")
    np.testing.assert_array_equal(found["t"].to_numpy("M8[us]"), expected)


@pytest.mark.parametrize("kind", ["list", "struct", "binary"])
def test_nested_parquet_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    values = {"list": [[1, 2]], "struct": [{"a": 1}], "binary": [b"x"]}[kind]
    parquet.write_table(pa.table({"x": [1], "odd": values}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=f"column 'odd' of .* holds {kind}"):
        TableFile(tmp_path / "t.parquet")


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"x": np.arange(50_000.0)}), path, use_dictionary=False)
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        TableFile(path)
    content[5:4000] = b"\xff" * 3995  # the pages, not the footer
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read to its end"):
        survey(TableFile(path))
