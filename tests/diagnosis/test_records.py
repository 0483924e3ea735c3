"""Findings and diagnoses as data, as text and as a page; names from outside are harmless."""

from __future__ import annotations

import json
import pickle
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from torch import nn

import selfnorm as sn
from selfnorm.diagnosis import RULES, Finding, findings_markdown, findings_text
from selfnorm.diagnosis._records import sorted_findings
from selfnorm.errors import DomainError

from .parts import mlp, standard

HOSTILE = "<script>alert(1)</script>|`x`\n# head\x1b[31m"


def sick() -> nn.Module:
    torch.manual_seed(0)
    return mlp(3, 64, nn.SELU, lambda: nn.Dropout(0.2))


def hostile() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential()
    for k in range(3):
        model.add_module(f"{HOSTILE}{k}a", nn.Linear(30, 30))
        model.add_module(f"{HOSTILE}{k}b", nn.SELU())
    model.__class__ = type(f"Net{HOSTILE}", (nn.Sequential,), {})
    return model


def test_a_finding_is_one_line_and_plain_data() -> None:
    one = Finding("he-init", "error", HOSTILE, "twice\nas much", {"tau": 2.0, "n": 3}, "a\nb")
    assert "\n" not in str(one)
    assert "\x1b" not in str(one)
    assert str(one).endswith("[he-init] fix: a b")
    assert json.loads(one.to_json())["evidence"] == {"tau": 2.0, "n": 3}
    assert pickle.loads(pickle.dumps(one)) == one
    assert len({one, one}) == 1
    with pytest.raises(TypeError):
        one.evidence["tau"] = 1.0  # type: ignore[index]


def test_numbers_that_json_does_not_have_are_null() -> None:
    one = Finding("he-init", "error", "", "", {"tau": float("inf")}, "")
    assert json.loads(one.to_json())["evidence"] == {"tau": None}


@pytest.mark.parametrize(
    ("code", "severity", "words"),
    [("no-such-code", "error", "code='no-such-code'"), ("he-init", "bad", "severity='bad'")],
)
def test_refusals(code: str, severity: str, words: str) -> None:
    with pytest.raises(DomainError, match=words):
        Finding(code, severity, "", "", {}, "")  # type: ignore[arg-type]


def test_the_gravest_come_first() -> None:
    mixed = [
        Finding("batch-norm", "warning", "b", "", {}, ""),
        Finding("prediction-off", "note", "c", "", {}, ""),
        Finding("plain-dropout", "error", "d", "", {}, ""),
        Finding("default-init", "error", "a", "", {}, ""),
    ]
    assert [one.place for one in sorted_findings(mixed)] == ["a", "d", "b", "c"]


def test_every_code_is_words_and_has_a_source() -> None:
    for code, rule in RULES.items():
        assert rule.code == code
        assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", code)
        assert rule.sentence.endswith(".")
        assert rule.source


def test_the_page_of_the_guide_lists_every_fault() -> None:
    page = Path(__file__).parents[2] / "docs" / "diagnosis.md"
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \|", page.read_text(encoding="utf-8"), re.M)
    assert dict(rows) == {code: rule.severity for code, rule in RULES.items()}
    order = sorted_findings(Finding(c, r.severity, "", "", {}, "") for c, r in RULES.items())
    assert [code for code, _ in rows] == [one.code for one in order]


def test_a_diagnosis_as_data_and_text() -> None:
    found = sn.diagnose(sick(), standard())
    record = json.loads(found.to_json())
    assert record["healthy"] is False
    assert [one["code"] for one in record["findings"]][:2] == ["default-init", "plain-dropout"]
    assert len(record["layers"]) == 3
    text = str(found)
    assert text.startswith("Sequential: Not healthy: default-init at 0, 3, 6")
    assert "fix: selfnorm.init.initialize_(model)" in text
    assert len(text.splitlines()[-3:]) == 3
    lines = found.to_markdown().splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 5
    assert {line.count("|") for line in table} == {10}


def test_markdown_of_hostile_names_is_harmless() -> None:
    text = sn.diagnose(hostile(), standard()).to_markdown()
    assert "<script>" not in re.sub(r"`+[^`\n]*`+", "", text).replace(r"\`", "")
    assert "\x1b" not in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {10}
    assert not any(line.startswith("#") for line in text.splitlines())
    assert findings_markdown([]) == findings_text([]) == "No findings."


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.remote: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.remote += [v for k, v in attrs if k in ("src", "href") and v and "//" in v]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("make", [hostile, nn.Identity])
def test_the_page(make: object, tmp_path: Path) -> None:
    assert callable(make)
    bad = standard()
    bad[0, 0] = float("nan")  # gaps in the pictures
    found = sn.diagnose(make(), bad)
    reader = Reader()
    reader.feed(found.to_html(tmp_path / "new" / "net.html").read_text(encoding="utf-8"))
    assert "script" not in reader.tags
    assert not reader.remote
    assert " ".join(found.verdict.split())[:30] in " ".join(reader.text.split())
    for one in found.findings:
        assert one.code in reader.text
    assert ("Structure" in reader.text) == bool(found.structure)
    assert ("Mean and variance by layer" in reader.text) == bool(found.layers)
