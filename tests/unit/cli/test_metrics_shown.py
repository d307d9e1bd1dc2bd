"""How good a student is, as `mstedge distill` and `mstedge inspect` print it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from report_inputs import metrics, run_card

from mstedge.cli import run
from mstedge.cli.distill import _say_metrics
from mstedge.schema import encode_json

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from mstedge.run_card import Metrics

CLASSIFIED = {
    "average_accuracy": 0.871,
    "macro_f1": 0.8642,
    "weighted_f1": 0.8653,
    "kappa": 0.8511,
    "calibration_error": 0.0421,
}
MAPPED = {"average_accuracy": 0.555, "mean_iou": 0.4012}


def both(**figures: Any) -> tuple[Metrics, ...]:
    return tuple(
        msgspec.structs.replace(metrics(part, accuracy), **figures)
        for part, accuracy in (("validation", 0.95), ("test", 0.875))
    )


def printed(capsys: pytest.CaptureFixture[str], **figures: Any) -> list[str]:
    _say_metrics(both(**figures))
    return capsys.readouterr().out.splitlines()


def test_table_of_a_classifier(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, **CLASSIFIED)
    assert lines[0].split() == [
        "part",
        "accuracy",
        "95",
        "%",
        "interval",
        "balanced",
        "macro",
        "F1",
        "rows",
        "recordings",
    ]
    assert lines[3].split() == ["test", "87.5%", "82.5%", "to", "91.5%", "87.1%", "0.8642", "480", "24"]
    assert max(map(len, lines)) <= 100


def test_table_of_maps(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, **MAPPED)
    assert lines[0].split() == ["part", "accuracy", "95", "%", "interval", "balanced", "mIoU", "rows", "recordings"]
    assert lines[3].split() == ["test", "87.5%", "82.5%", "to", "91.5%", "55.5%", "40.1%", "480", "24"]


def test_table_of_an_earlier_version_has_no_empty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys)[0].split() == ["part", "accuracy", "95", "%", "interval", "rows", "recordings"]


def test_card_of_a_run_has_all_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.json").write_bytes(encode_json(run_card(metrics=both(**CLASSIFIED))))
    assert run(["inspect", str(tmp_path)]) == 0
    expected = "balanced 0.8710, macro F1 0.8642, weighted F1 0.8653, kappa 0.8511, calibration error 0.0421"
    assert capsys.readouterr().out.count(expected) == 2
    (tmp_path / "run.json").write_bytes(encode_json(run_card(metrics=both(**MAPPED))))
    assert run(["inspect", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("balanced 0.5550, mIoU 0.4012\n") == 2
