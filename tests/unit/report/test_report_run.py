"""The page of a run: headline, comparison, charts of what was written down, and nothing invented."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from msgspec import structs
from report_inputs import MEMBERS, TEACHERS, comparison, epochs, metrics, run_card, write_run

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


def test_every_monitor_is_drawn(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run"))
    assert re.findall(r"<h2>(.*?)</h2>", page)[1:6] == [
        "How the members taught each other",
        "What the masks did",
        "How the student learnt",
        "Who taught",
        "Who agrees",
    ]
    titles = re.findall(r"<h3>(.*?)</h3>", page)
    assert titles == [
        "Validation accuracy of the members",
        "Cross-entropy of the members",
        "KL between members",
        "Gradient flow between members",
        "KL to the student, before and after",
        "KL to the student while the MaskNets train",
        "Validation accuracy of the student",
        "Cross-entropy of the student",
        "Loss and its terms",
        "Weights of the terms",
        "Routing shares",
        "Routing entropy",
        "Agreement of the teachers",
        "Agreement of the student with its teachers",
    ]
    assert page.count('<svg class="chart"') == len(titles)
    assert re.findall(r">(\w+) learns</text>", page) == list(MEMBERS)
    assert len(re.findall(r"0\.777 → 0\.333 +\N{MINUS SIGN}57 %", page)) == len(TEACHERS)
    assert page.count(">43.2</text>") == 2  # one pair of teachers, both ways
    assert ">log 2</text>" in page


def test_findings_say_what_the_numbers_come_to(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run")).replace("\N{NO-BREAK SPACE}", " ")
    for words in (
        "Every member that learns got a gradient from every other in every epoch",
        "2 of 2 masks brought their teacher nearer to the student",
        "Epoch 1 of 2 ships: its cross-entropy on validation rows is the lowest, 0.600 nats, at an accuracy of 80.0 %.",
        "The highest accuracy, 82.0 %, was that of epoch 2.",
        "picture@body had most of the teaching, 75.0 %, and both@fused least, 25.0 %; even would be 50.0 % each.",
        "The alarm on a collapse of the router was not raised.",
        "both@fused and picture@body agree in 43.2 % of their answers.",
        "The student of epoch 1 agrees most with both@fused: in 65.4 % of its answers.",
    ):
        assert words in page
    assert "epoch 1 ships</text>" in page
    assert '<p class="alarm">' not in page


def test_collapse_is_an_alarm_with_epochs_and_teachers(tmp_path: Path) -> None:
    collapsed = [
        row | {"epoch": epoch, "alarm": {"picture@body": 0.987} if epoch in {2, 3, 6} else None}
        for epoch, row in enumerate([epochs()[-1]] * 8)
    ]
    page = page_of(write_run(tmp_path / "run", rows=collapsed)).replace("\N{NO-BREAK SPACE}", " ")
    alarm = page[page.index('<p class="alarm">') :]
    assert "alarm in 3 of 8 epochs (3 to 4, 7)" in alarm[: alarm.index("</p>")]
    assert "picture@body (98.7 %)" in alarm[: alarm.index("</p>")]
    assert page.count("The bar above marks epochs with an alarm.") == 2
    assert "was not raised" not in page


def test_gradient_of_zero_and_masks_that_lead_away_are_named(tmp_path: Path) -> None:
    rows = epochs()
    rows[1]["gradient_flow"]["both<-student"] = 0.0
    away = {"stage": "specialise", "epoch": 2, "teacher": "picture@body", "kl_before": 0.2, "kl_after": 0.3}
    page = page_of(write_run(tmp_path / "run", rows=[*rows, away]))
    assert "In epoch 2 nothing flowed from student to both: the gradient was 0." in page
    assert "Every member that learns" not in page
    assert "1 of 2 masks" in page
    assert "Not nearer: picture@body." in page


def test_one_colour_per_member_even_where_a_frozen_one_has_no_loss(tmp_path: Path) -> None:
    rows = [row for row in epochs() if row["stage"] == "collaborative"]
    for row in rows:
        del row["cross_entropy"]["both"]
    page = page_of(write_run(tmp_path / "run", rows=rows))
    chart = page[page.index("Cross-entropy of the members") :]
    keys = re.findall(r'stroke="(var\(--series-\d\))".*?</svg>(\w+)</li>', chart[: chart.index("</ul>")])
    assert keys == [("var(--series-0)", "student"), ("var(--series-2)", "picture")]


def test_missing_keys_leave_out_their_charts(tmp_path: Path) -> None:
    rows = [{"stage": "labels-only", "epoch": epoch, "loss": 0.7, "validation_accuracy": 0.5} for epoch in range(2)]
    page = page_of(write_run(tmp_path / "run", run_card(method="labels-only"), rows=rows))
    assert re.findall(r"<h3>(.*?)</h3>", page) == ["Validation accuracy of the student", "Loss"]
    assert "learns from the labels alone" in page
    assert "Stage 1" not in page
    assert "ships" not in page


def test_one_epoch_is_drawn_as_bars_with_their_values(tmp_path: Path) -> None:
    rows = [row | {"loss": None} for row in epochs() if row["epoch"] == 0 or "kl_after" in row]
    page = page_of(write_run(tmp_path / "run", rows=rows))
    chart = page[page.index("Validation accuracy of the student") :]
    assert ">80.0</text>" in chart[: chart.index("</svg>")]
    assert page.count(">0.123</text>") == 6  # gradient flow as a matrix, one number per ordered pair
    assert "KL to the student while the MaskNets train" not in page


def test_incomplete_run_has_a_best_epoch_so_far(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run", run_card(status="incomplete", metrics=())))
    assert "Epoch 1 of 2 is best so far" in page


def test_one_teacher_leaves_nothing_to_choose(tmp_path: Path) -> None:
    rows = [row | {"routing": {"both@fused": 1.0}, "agreement": {"both@fused": 0.5}} for row in epochs()[-1:]]
    page = page_of(write_run(tmp_path / "run", rows=rows))
    assert "There is one teacher alone, both@fused" in page
    assert "Routing entropy" not in page


def test_every_figure_that_was_taken_is_explained(tmp_path: Path) -> None:
    taken = structs.replace(metrics("test", 0.875), average_accuracy=0.7654, macro_f1=0.7321, kappa=0.512)
    page = page_of(write_run(tmp_path / "run", run_card(metrics=(metrics("validation", 0.9), taken)), rows=[]))
    table = page[page.index("<h2>Scores</h2>") : page.index("<h2>How it was made</h2>")]
    rows = dict(re.findall(r'<th scope="row">(.*?)</th>(.*?)</tr>', table))
    assert re.findall(r'"right">(.*?)<', rows["average accuracy"]) == ["none", "76.5 %"]
    assert re.findall(r'"right">(.*?)<', rows["macro F1"]) == ["none", "0.732"]
    assert "right answers among the labelled rows" in rows["accuracy"]
    assert not {"mean IoU", "weighted F1", "calibration error"} & set(rows)


def test_maps_are_scored_by_places_and_overlap(tmp_path: Path) -> None:
    one = structs.replace(metrics("test", 0.875), mean_iou=0.4125)
    page = page_of(write_run(tmp_path / "run", run_card(metrics=(one,)), rows=[]))
    assert "right answers among the labelled places of the maps" in page
    assert "41.2 %" in page


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
    assert "Routing shares" in page_of(folder)


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
