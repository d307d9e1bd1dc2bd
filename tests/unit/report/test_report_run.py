"""The page of a run: headline, comparison, charts of what was written down, and nothing invented."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from report_inputs import TEACHERS, comparison, epochs, metrics, run_card, write_run

from mstedge.errors import ConfigError
from mstedge.report import write_report
from mstedge.schema import encode_json

if TYPE_CHECKING:
    from pathlib import Path


def page_of(folder: Path) -> str:
    return write_report(folder).read_text(encoding="utf-8")


def test_headline_is_the_test_result_with_interval_rows_and_units(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run", rows=[]))
    headline = page[: page.index("<h2>")]
    for words in ("87.5 %", "test accuracy, 95 % interval 82.5 to 91.5 %", "480", "24 independent units"):
        assert words in headline
    assert "12,345" in headline
    assert "1 min 30 s" in headline


def test_without_test_rows_the_validation_result_is_named_as_such(tmp_path: Path) -> None:
    card = run_card(metrics=(metrics("validation", 0.95),))
    assert "validation accuracy, 95 % interval" in page_of(write_run(tmp_path / "run", card, rows=[]))


def test_incomplete_run_says_so(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run", run_card(status="incomplete", metrics=()), rows=[]))
    assert "NOT COMPLETE" in page
    assert "no result on held-out rows" in page


@pytest.mark.parametrize(
    ("low", "high", "seeds", "badge"),
    [
        (0.01, 0.05, 2, '<span class="badge pass">Gain</span>'),
        (-0.02, 0.05, 2, '<span class="badge unsure">No gain shown</span>'),
        (0.0, 0.05, 2, '<span class="badge unsure">No gain shown</span>'),
        (-0.05, -0.01, 2, '<span class="badge fail">Loss</span>'),
        (-1.0, 1.0, 1, '<span class="badge unsure">Cannot tell</span>'),
    ],
)
def test_comparison_says_plainly_what_came_out(tmp_path: Path, low: float, high: float, seeds: int, badge: str) -> None:
    folder = write_run(tmp_path / "run", rows=[])
    result = comparison(low, high, seeds=seeds, conclusion="what the seeds show")
    (folder / "comparison.json").write_bytes(encode_json(result))
    page = page_of(folder)
    assert badge in page
    assert "what the seeds show" in page
    assert page.count('<svg class="chart"') == 1
    assert ("one seed bounds nothing" in page) == (seeds == 1)


def test_every_stage_is_drawn(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run"))
    titles = re.findall(r"<h3>(.*?)</h3>", page)
    assert titles == [
        "Validation accuracy of the members",
        "Losses",
        "Gradient flow between members",
        "What the MaskNets bring",
        "KL to the student while the MaskNets train",
        "Validation accuracy of the student",
        "Losses",
        "Routing",
    ]
    assert page.count('<svg class="chart"') == len(titles)
    _check_numbers_in_charts(page)


def _check_numbers_in_charts(page: str) -> None:
    assert len(re.findall(r">0\.123</text>", page)) == 6  # gradient flow, one per ordered pair
    assert len(re.findall(r">0\.777</text>", page)) == len(re.findall(r">0\.333</text>", page)) == len(TEACHERS)
    assert "0.56 nats; 0.69 would be an even choice" in page


def test_missing_keys_leave_out_their_charts(tmp_path: Path) -> None:
    rows = [{"stage": "labels-only", "epoch": epoch, "validation_accuracy": 0.5} for epoch in range(2)]
    page = page_of(write_run(tmp_path / "run", run_card(method="labels-only"), rows=rows))
    assert re.findall(r"<h3>(.*?)</h3>", page) == ["Validation accuracy of the student"]
    assert "Stage 1" not in page


def test_one_epoch_and_values_that_are_not_finite_are_drawn(tmp_path: Path) -> None:
    rows = [row | {"loss": None} for row in epochs() if row["epoch"] == 0]
    assert "Routing" in page_of(write_run(tmp_path / "run", rows=rows))


def test_run_without_metrics_still_has_a_report(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "metrics.jsonl").unlink()
    page = page_of(folder)
    assert "87.5 %" in page
    assert '<svg class="chart"' not in page


def test_torn_last_line_is_left_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", rows=epochs()[-2:])
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"stage": "distill", "epo')
    assert "Routing" in page_of(folder)


def test_damaged_line_is_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    (folder / "metrics.jsonl").write_text(text.replace('"epoch": 1', '"epoch": "one"', 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"metrics\.jsonl: line 2: epoch is 'one'"):
        write_report(folder)


def test_recipe_and_lineage_are_shown(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", rows=[])
    (folder / "recipe.yaml").write_text("name: tiny\nabout: <b>bold</b>\n", encoding="utf-8")
    page = page_of(folder)
    assert "about: &lt;b&gt;bold&lt;/b&gt;" in page
    assert "a" * 64 in page
    assert "torch 2.13.0" in page


def test_card_on_its_own_looks_at_no_neighbours(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "run.json").rename(folder / "saved.json")
    assert '<svg class="chart"' not in page_of(folder / "saved.json")
