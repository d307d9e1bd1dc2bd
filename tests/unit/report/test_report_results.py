"""Pages of evaluations, explanations and engines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
import pytest
from report_inputs import engine_build, evaluation, explanation

from mstedge.evaluation import FailedFile
from mstedge.manifest import ParitySummary
from mstedge.report import write_report
from mstedge.report.evaluation_page import matrix_of, mistakes_of
from mstedge.report.explanation_page import kept_of
from mstedge.schema import encode_json

if TYPE_CHECKING:
    from pathlib import Path


def page_of(tmp_path: Path, result: object) -> str:
    path = tmp_path / "result.json"
    path.write_bytes(encode_json(result))
    return write_report(path).read_text(encoding="utf-8")


def test_evaluation_shows_accuracy_classes_and_confusions(tmp_path: Path) -> None:
    page = page_of(tmp_path, evaluation())
    assert re.search(r'class="big">90\.0 %</b><span>accuracy, 95 % interval 80\.0 to 95\.0 %', page)
    assert re.search(r"<td>middle</td>.*90\.0 %.*85\.0 %.*70\.0 to 95\.0 %.*0\.87", page)
    assert 'var(--series-0) 52%, var(--panel))">19</td>' in page
    assert 'var(--series-1) 38%, var(--panel))">3</td>' in page
    assert re.search(r"<td>high</td><td>middle</td><td class=\"right\">3</td>", page)
    assert "cannot be read: it is empty" in page
    assert 'class="alarm"' not in page


def test_evaluation_of_a_bundle_that_did_not_pass_says_so_first(tmp_path: Path) -> None:
    parity = ParitySummary(verdict="fail", scope="engine", rows=512, failure_allowed=True)
    page = page_of(tmp_path, evaluation(parity=parity))
    assert page.index("This bundle FAILED its parity gate") < page.index('class="facts"')


def test_evaluation_without_a_labelled_row(tmp_path: Path) -> None:
    page = page_of(tmp_path, evaluation(score=None, labelled=0, clusters=0))
    assert "NO FIGURES" in page
    assert "What was taken for what" not in page


def test_many_failed_files_are_cut(tmp_path: Path) -> None:
    failed = tuple(FailedFile(id=f"row-{number}", reason="empty") for number in range(60))
    page = page_of(tmp_path, evaluation(failed=failed))
    assert page.count("<td>empty</td>") == 50
    assert "10 more." in page


def test_matrix_is_left_out_where_nobody_could_read_it() -> None:
    found = evaluation()
    assert found.score is not None
    assert matrix_of(tuple(f"label {number}" for number in range(41)), found.score) is None
    assert mistakes_of(found.labels, found.score) == (
        ("high", "middle", 3),
        ("middle", "high", 2),
        ("low", "middle", 1),
    )


def test_row_of_a_class_without_rows_is_cold() -> None:
    found = evaluation()
    assert found.score is not None
    empty = msgspec.structs.replace(found.score, confusion=((0, 0, 0),) * 3)
    matrix = matrix_of(found.labels, empty)
    assert matrix is not None
    assert {cell.heat for _, cells in matrix for cell in cells} == {0.0}


def test_explanation_names_the_first_node_with_its_slashes(tmp_path: Path) -> None:
    page = page_of(tmp_path, explanation())
    assert re.search(r"BEYOND TOLERANCE</span>first at /body/3/Conv: below 15 dB", page)
    assert re.search(r"<td>/body/3/Conv</td><td>Conv</td><td>tensor_3</td>.*9\.5.*badge fail.*beyond", page)
    assert re.search(r"<td>/body/4/Conv</td>.*badge unsure.*beyond", page)
    assert ">/body/0/Conv</text>" in page


def test_explanation_within_tolerance(tmp_path: Path) -> None:
    page = page_of(tmp_path, explanation(first_beyond=None, tensors=explanation().tensors[:3]))
    assert "WITHIN TOLERANCE" in page
    assert "badge fail" not in page


def test_script_in_a_node_is_text(tmp_path: Path) -> None:
    spoilt = msgspec.structs.replace(explanation().tensors[3], node="<script>", tensor="<script>")
    page = page_of(tmp_path, explanation(first_beyond="<script>", tensors=(spoilt,)))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4


def test_chart_keeps_the_furthest_tensors_in_order() -> None:
    one = explanation().tensors[0]
    tensors = [msgspec.structs.replace(one, node=str(place), median_sqnr_db=float(place % 100)) for place in range(200)]
    kept = kept_of(tensors)
    assert len(kept) == 60
    assert [int(each.node) for each in kept] == sorted(int(each.node) for each in kept)
    assert max(each.median_sqnr_db for each in kept) == 29


@pytest.mark.parametrize("gpu", [True, False])
def test_engine_shows_what_was_built(tmp_path: Path, gpu: bool) -> None:  # noqa: FBT001
    build = engine_build() if gpu else engine_build(gpu=None)
    page = page_of(tmp_path, build)
    for words in (
        "PARITY PENDING",
        "an engine runs only where there is a GPU",
        "tensorrt-rtx 1.7.1",
        "A GPU" if gpu else "no GPU",
        "5 of 5 layers with weights compute in it",
        "batch \N{MULTIPLICATION SIGN} 1 \N{MULTIPLICATION SIGN} 98",
        "CONVOLUTION",
        "[W] something",
    ):
        assert words in page
