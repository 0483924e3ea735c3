"""Records and the output folder: valid JSON, whole files, resumption."""

from __future__ import annotations

import json
import math
import os

import numpy as np
import pytest

from selfnorm.errors import DomainError
from selfnorm.experiments import load_data
from selfnorm.experiments._records import Recorder, Report, digest_of, plain

CONFIG = {"lr": 0.1, "arms": ("a", "b")}
ENVIRONMENT = {"selfnorm": "1", "torch": "2", "processor": "p", "threads": 1, "date": "today"}


def recorder(out, *, config=CONFIG, environment=ENVIRONMENT, **options):
    return Recorder(
        "trial",
        config=config,
        environment=environment,
        choice=("arms",),
        report=Report(out, lambda record: f"{len(record['arms'])} {record['complete']}"),
        **options,
    )


def written(out):
    return json.loads((out / "result.json").read_text()), (out / "report.html").read_text()


def test_each_arm_is_written_and_marked_incomplete_until_the_end(tmp_path):
    out = tmp_path / "new" / "folder"
    with recorder(out, page_interval=0.0) as records:
        assert os.listdir(out) == []
        records.add({"name": "a", "loss": [0.5, math.nan]}, last=False)
        record, page = written(out)
        assert not record["complete"]
        assert record["arms"] == [{"name": "a", "loss": [0.5, None]}]
        assert page == "1 False"
        records.add({"name": "b"}, last=True)
    record, page = written(out)
    assert record["complete"]
    assert page == "2 True"
    assert sorted(os.listdir(out)) == ["report.html", "result.json"]
    assert records.paths == (out / "result.json", out / "report.html")


def test_an_interruption_leaves_what_is_finished(tmp_path):
    def interrupted_run():
        with recorder(tmp_path, page_interval=1e9) as records:
            records.add({"name": "a"}, last=False)
            assert not (tmp_path / "report.html").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_run()
    record, page = written(tmp_path)
    assert [arm["name"] for arm in record["arms"]] == ["a"]
    assert page == "1 False"


def interrupted(out, **options):
    with recorder(out, **options) as records:
        records.add({"name": "a", "value": 7}, last=False)


def test_the_same_run_takes_finished_arms_over(tmp_path):
    interrupted(tmp_path)
    again = recorder(tmp_path, config={**CONFIG, "arms": ("b", "a")})
    assert again.previous("a") == {"name": "a", "value": 7}
    assert again.previous("b") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {**CONFIG, "lr": 0.2}},
        {"environment": {**ENVIRONMENT, "torch": "3"}},
        {"environment": {**ENVIRONMENT, "threads": 2}},
    ],
)
def test_another_run_takes_nothing_over(tmp_path, changes):
    interrupted(tmp_path)
    assert recorder(tmp_path, **changes).previous("a") is None


def test_the_date_does_not_matter(tmp_path):
    interrupted(tmp_path)
    later = recorder(tmp_path, environment={**ENVIRONMENT, "date": "tomorrow"})
    assert later.previous("a") is not None


def test_a_complete_run_is_repeated(tmp_path):
    with recorder(tmp_path) as records:
        records.add({"name": "a"}, last=True)
    assert recorder(tmp_path).previous("a") is None


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"complete": false}', "\udcff"])
def test_a_foreign_result_counts_as_nothing(tmp_path, content):
    (tmp_path / "result.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert recorder(tmp_path).previous("a") is None


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("here already")
    with pytest.raises(DomainError, match=r"out must be a folder that can be written, .*out'"):
        recorder(tmp_path / "out")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DomainError, match="choose another folder"):
        recorder(tmp_path / "file" / "out")


def test_without_a_folder_nothing_is_written():
    records = Recorder(
        "trial", config=CONFIG, environment=ENVIRONMENT, choice=("arms",), report=None
    )
    with records:
        records.add({"name": "a"}, last=True)
    assert records.paths == (None, None)
    assert records.record["complete"]


def test_plain_holds_only_what_json_can():
    value = plain({"a": (1, math.inf, {"b": -math.nan}), 3: [True, None, "x", 0.25]})
    assert value == {"a": [1, None, {"b": None}], "3": [True, None, "x", 0.25]}
    json.dumps(value, allow_nan=False)


def test_digest_depends_on_every_part():
    data = load_data("digits")
    changed = load_data("digits")
    assert digest_of(changed) == digest_of(data)
    changed.y_test[-1] = (changed.y_test[-1] + 1) % 10
    assert digest_of(changed) != digest_of(data)
    assert digest_of(data.take(100)) != digest_of(data)
    assert len(digest_of(data)) == 16
    assert np.array_equal(data.X_train, load_data("digits").X_train)
