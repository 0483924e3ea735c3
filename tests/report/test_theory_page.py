from __future__ import annotations

import copy
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from selfnorm.errors import CertificateError, MissingDependencyError
from selfnorm.report import Choice, Figure, Page, theory_record, theory_report, vector_field
from selfnorm.report import _theory_fields as fields
from selfnorm.report import _theory_record as numbers
from selfnorm.report._theory_page import _page

from .support import Document, assert_self_contained


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return theory_record()


@pytest.fixture(scope="module")
def page(record: dict[str, Any]) -> Page:
    return _page(record)


@pytest.fixture(scope="module")
def html(page: Page) -> str:
    return page.html()


def sentences(page: Page) -> str:
    """All sentences of a page, without drawing its pictures."""
    parts = [page.summary, page.verdict or ""]
    for section in page.sections:
        parts += [*section.paragraphs, section.see]
        if isinstance(section.figure, Choice):
            parts += [frame.see for frame in section.figure.frames]
            parts += [key.label for key in section.figure.legend]
    return "\n".join(parts)


def rows_of(page: Page, heading: str) -> list[tuple[str, ...]]:
    """The cells of the table that has this heading, row by row."""
    tables = (section.table for section in page.sections if section.table is not None)
    return list(next(table for table in tables if heading in table.columns).cells)


def selu_moments(alpha: float, scale: float, var: float) -> tuple[float, float]:
    """Mean and variance of SELU of N(0, var) by quadrature, each side of the kink on its own."""

    def expect(power: int) -> float:
        def f(x: float) -> float:
            value = scale * (x if x > 0 else alpha * np.expm1(x))
            return float(value**power * stats.norm.pdf(x, scale=np.sqrt(var)))

        end = 12 * np.sqrt(var)
        parts = (integrate.quad(f, *ends, epsabs=1e-13)[0] for ends in ((-end, 0), (0, end)))
        return float(sum(parts))

    mean = expect(1)
    return mean, expect(2) - mean**2


def test_the_constants_are_those_of_the_closed_form(record: dict[str, Any]) -> None:
    # alpha = sqrt(x/2pi)/(1/2 - E1) with E1 = exp(x/2) erfc(sqrt(x/2))/2, at 40 digits.
    golden = {0.1: 1.20365116302, 0.5: 1.4680598705305, 2.0: 1.9712557503463, 4.0: 2.4040053382165}
    slopes = {0.1: 0.899175, 0.5: 0.821428, 2.0: 0.744443, 4.0: 0.709850}
    found = {one["var"]: one for one in record["targets"]}
    for var, alpha in golden.items():
        assert found[var]["alpha"] == pytest.approx(alpha, rel=1e-11)
        assert found[var]["var_slope"] == pytest.approx(slopes[var], abs=6e-7)
    assert found[1.0]["scale"] == pytest.approx(1.05070098735548, rel=1e-13)
    assert found[1.0]["spectral_norm"] == pytest.approx(0.787673360465716, rel=1e-12)
    assert found[1.0]["chi"] == pytest.approx(1.0715749924557993, rel=1e-12)


def test_paths_follow_the_map(record: dict[str, Any]) -> None:
    for target in (record["targets"][1], record["targets"][-1]):
        for means, variances in target["paths"][:2]:
            for k in (0, 1, 5):
                wanted = selu_moments(target["alpha"], target["scale"], variances[k])
                assert (means[k + 1], variances[k + 1]) == pytest.approx(wanted, rel=1e-8, abs=1e-9)


def test_the_layers_counted_are_the_first_that_are_near(record: dict[str, Any]) -> None:
    target = next(one for one in record["targets"] if one["var"] == 1.0)
    assert target["layers"] == 17
    away = [max(abs(path[1][k] - 1) for path in target["paths"]) for k in (16, 17)]
    assert away[0] > 0.1 >= away[1]


def test_fixed_points_by_weight_scale(record: dict[str, Any]) -> None:
    found = {one["weight_sumsq"]: one for one in record["weights"]}
    golden = {0.6: 0.06125, 0.8: 0.41071, 1.0: 1.0, 1.25: 2.17886, 2.0: 18.4599}
    for sumsq, var in golden.items():
        assert found[sumsq]["fixed_point"]["var"] == pytest.approx(var, rel=1e-4)
    assert found[1 / 3]["fixed_point"] is found[3.0]["fixed_point"] is None
    assert found[1 / 3]["unit_var_after"] < 1e-4 < 1e2 < found[3.0]["unit_var_after"]
    assert record["weight_range"] == pytest.approx([0.495589300656, 2.65757004052], rel=1e-10)


def test_which_activations_attract(record: dict[str, Any]) -> None:
    words = {one["name"]: one["behaviour"] for one in record["activations"]}
    for name in ("gelu", "silu", "mish", "softplus"):
        assert words[name] == "repelling"
    for name in ("relu", "leaky_relu", "prelu", "identity"):
        assert words[name] == "neutral"
    for name in ("selu", "elu", "tanh", "erf", "sigmoid"):
        assert words[name] == "attracting"
    silu = next(one for one in record["activations"] if one["name"] == "silu")
    # Stein's identity and quadrature at 40 digits.
    expected = (0.206620964, 1.787187222, 1.100947, 1.212081)
    got = (silu["mean"], silu["gain"], silu["var_slope"], silu["chi"])
    assert got == pytest.approx(expected, rel=1e-6)
    assert next(one for one in record["activations"] if one["name"] == "tanh")["mean"] == 0.0


def test_the_theorems_are_certified(record: dict[str, Any]) -> None:
    found = {one["claim"]: one for one in record["certificates"]}
    assert list(found) == ["theorem1", "theorem2", "theorem3", "lemma12", "box"]
    assert all(one["holds"] for one in record["certificates"])
    # True extremes by a search over each box in doubles: a proof may not claim more.
    assert 0.8976083584 < found["theorem1"]["contraction"] < 0.8977
    assert 0.98902627 < found["lemma12"]["contraction"] < 0.9892
    assert -0.119744289956 < found["theorem2"]["parts"][0]["bounds"][0] < -0.1196
    assert 0.0077 < found["theorem3"]["parts"][0]["bounds"][0] < 0.00773608321059
    assert len(record["certificates"]) == 6
    assert {tuple(one["depths"]) for one in record["basins"] if one["depths"]} == {
        (1000,),
        (500,),
        (100,),
        (50,),
        (10,),
    }
    assert all(one["certificate"]["contraction"] < 1 for one in record["basins"])


def test_the_record_is_json(record: dict[str, Any]) -> None:
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_each_field_is_that_of_its_own_target_and_weights(
    record: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = []

    def recorded(image: Any, **options: Any) -> Figure:
        images.append(image)
        return vector_field(image, **options)

    monkeypatch.setattr(fields, "vector_field", recorded)
    fields.field_sections(record)
    standard = record["targets"][3]
    cases = [(one["alpha"], one["scale"], 1.0) for one in record["targets"]]
    cases += [
        (standard["alpha"], standard["scale"], one["weight_sumsq"]) for one in record["weights"]
    ]
    assert len(images) == len(cases) == 13
    for image, (alpha, scale, sumsq) in zip(images, cases, strict=True):
        mean, var = image(np.array([0.7]), np.array([1.3]))
        wanted = selu_moments(alpha, scale, 1.3 * sumsq)
        assert (mean[0], var[0]) == pytest.approx(wanted, rel=1e-8, abs=1e-9)


def test_only_boxes_that_cover_the_weights_are_shown(page: Page) -> None:
    choice = page.sections[1].figure
    assert isinstance(choice, Choice)
    shown = {
        frame.label: [key.label for key in frame.figure.legend if "certified" in key.label]
        for frame in choice.frames
    }
    assert [len(boxes) for boxes in shown.values()] == [0, 0, 2, 3, 2, 0, 0]
    assert shown["1.25"] == [
        "larger box, certified for Σw² 0.8 to 1.25",
        "larger box, certified for Σw² 0.7 to 1.5",
    ]
    assert [frame.see for frame in choice.frames if "No certified box" in frame.see] == [
        frame.see for frame in choice.frames if frame.label in ("0.6", "2: He")
    ]


def test_the_page_is_self_contained(html: str) -> None:
    document = Document(html)
    assert_self_contained(document)
    assert "http" not in html
    # Six target variances and seven weight scales; the standard SELU shows first in both.
    chosen = [a["id"] for a in document.all("input") if "checked" in a]
    labels = dict(zip([a["for"] for a in document.all("label")], _labels(html), strict=True))
    assert len(labels) == 13
    assert [labels[one] for one in chosen] == ["1", "1: LeCun"]
    assert document.text.count("selfnorm theory-report") == 1


def _labels(html: str) -> list[str]:
    return re.findall(r"<label[^>]*>(.*?)</label>", html)


def test_tables_hold_the_numbers_of_the_record(page: Page, record: dict[str, Any]) -> None:
    activations = {row[0]: row for row in rows_of(page, "activation f")}
    assert len(activations) == len(record["activations"])
    assert activations["gelu"] == (*("gelu", "0.2821", "1.701", "1.0621", "1.3188", "repelling"),)
    assert activations["tanh"][1] == "0.0000"
    claims = rows_of(page, "certified")
    assert [row[0] for row in claims] == [
        *["Theorem 1"] * 2,
        "Theorem 2",
        *["Theorem 3"] * 2,
        "Lemma 12",
        *["larger box"] * 4,
    ]
    assert {row[1] for row in claims} == {"yes"}
    assert claims[0][2:7] == (
        "norm ≤ 0.8977 (Euclidean)",
        "−0.1 to 0.1",
        "0.8 to 1.5",
        "−0.1 to 0.1",
        "0.95 to 1.1",
    )
    assert claims[8][2:5] == ("norm ≤ 0.911 (ln, k = 0.5)", "−0.2 to 0.6", "0.15 to 5")
    depths = [row[1] for row in rows_of(page, "matched to layers")]
    assert depths == ["1,000", "500", "100", "–", "50", "–", "–", "10", "–", "–"]


def test_bounds_are_rounded_to_the_weaker_side(page: Page, record: dict[str, Any]) -> None:
    rows = rows_of(page, "certified")
    parts = [part for one in record["certificates"] for part in one["parts"]]
    for row, part in zip(rows, parts, strict=True):
        if part["kind"] == "self_map":
            shown = [float(x) for x in " to ".join(row[3:5]).replace("−", "-").split(" to ")]
            for k, (outer, inner) in enumerate(zip(shown, part["bounds"], strict=True)):
                assert outer >= inner if k % 2 else outer <= inner
            continue
        number = float(re.findall(r"−?[\d.]+", row[2].split("old")[-1])[0].replace("−", "-"))
        (bound,) = part["bounds"]
        assert number <= bound if part["kind"] == "variance_grows" else number >= bound
        assert number == pytest.approx(bound, rel=2e-3)


def test_sentences_follow_from_the_numbers(record: dict[str, Any], page: Page) -> None:
    text = sentences(page)
    assert "12 of 20 attract, sin fastest" in text
    assert "Of the 7 scales shown, 5 hold a fixed point" in text
    assert "all variances from 0.15 to 5 to one fixed point, the paper’s those from 0.8" in text
    other = copy.deepcopy(record)
    for one in other["activations"]:
        one["behaviour"], one["var_slope"] = "repelling", 1.5
    other["activations"][2] |= {"behaviour": "attracting", "var_slope": 0.25}
    other["weights"][1]["fixed_point"] = None
    other["depths"][-1]["chi"] = 1.125
    other["targets"][3]["layers"] = 61
    changed = sentences(_page(other))
    assert f"1 of 20 attract, {record['activations'][2]['name']} fastest (0.25 of an" in changed
    assert "none restore nothing" in changed
    assert "Of the 7 scales shown, 4 hold" in changed
    assert "1,000 layers want χ\u00a0=\u00a01.125" in changed
    assert "of the variance 1 after at most 61 layers" in changed


def test_a_false_claim_is_shown_as_false(record: dict[str, Any]) -> None:
    other = copy.deepcopy(record)
    why = "the spectral norm of the Jacobian is 1.2, greater than 1"
    other["certificates"][0] |= {"holds": False, "parts": [], "counterexample": why}
    page = _page(other)
    text = sentences(page)
    assert "Not true as stated: Theorem 1." in text
    assert rows_of(page, "certified")[0][:3] == ("Theorem 1", "no", why)
    assert "5 of 6 claims hold" in text
    assert "The largest box" not in text
    assert "larger box, certified for" in text
    assert "Theorem 1, certified for" not in text


def test_basins_that_were_not_found_are_said(
    record: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(**_: object) -> None:
        raise CertificateError("no contracting box was found")

    monkeypatch.setattr(numbers.theory, "certify_fixed_point", fails)
    assert numbers._basin("0.5", [50]) == {
        "var": 0.5,
        "depths": [50],
        "certificate": None,
        "why": "no contracting box was found",
    }
    other = copy.deepcopy(record)
    other["basins"][1] |= {"certificate": None, "why": "no contracting box was found"}
    assert rows_of(_page(other), "matched to layers")[1][-1] == "none found"
    for one in other["basins"]:
        one["certificate"] = None
    text = sentences(_page(other))
    assert "No basin was found." in text
    assert "certified basin" not in text


def test_without_flint_the_rest_is_written_and_the_remedy_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "flint", None)
    path = theory_report(tmp_path / "new" / "theory.html")
    html = path.read_text("utf-8")
    document = Document(html)
    assert_self_contained(document)
    assert document.text.count("pip install 'selfnorm[certificate]'") == 2
    assert "No certificate was made" in html
    assert "certified for Σw²" not in html
    assert len(document.all("input")) == 13
    assert "softsign" in document.text
    assert "What no certificate covers" in html


def test_a_missing_drawing_package_is_named_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def untouched() -> None:
        raise AssertionError

    monkeypatch.setattr("selfnorm.report._theory_page.theory_record", untouched)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="A report needs matplotlib"):
        theory_report(tmp_path / "theory.html")
    assert not list(tmp_path.iterdir())


def test_a_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(numbers.importlib.metadata, "version", missing)
    assert numbers._environment()["python-flint"] == "not installed"
