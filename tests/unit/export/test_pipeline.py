"""From a student to a bundle: what is written, what is not, and what the bundle says about it."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from made_student import LABELS, TRAINING_ROWS, made_student

from mstedge.errors import DataError, UsageError
from mstedge.export.pipeline import GateRefusedError, export_student
from mstedge.export.quantise.calibration import CalibrationWish
from mstedge.export.wish import ExportWish
from mstedge.limits import PRECISIONS, Precision
from mstedge.manifest import TARGETS, Target
from mstedge.parity import ParityReport
from mstedge.runtime.bundle import open_bundle
from mstedge.runtime.predictor import load
from mstedge.runtime.verify import verify


def exported(bundle: Path, **wish: object) -> ParityReport:
    return export_student(made_student(), bundle, ExportWish(**wish), note=lambda _text: None)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("target", TARGETS)
def test_every_target_and_precision_passes_and_answers(tmp_path: Path, target: Target, precision: Precision) -> None:
    report = exported(tmp_path / "x.bundle", target=target, precision=precision)
    assert (report.verdict, report.target, report.precision) == ("pass", target, precision)
    predictor = load(tmp_path / "x.bundle", threads=1)
    manifest = predictor.manifest
    assert (manifest.target, manifest.precision) == (target, precision)
    assert (manifest.ir is None, manifest.engine is None) == (target != "openvino", target != "trt")
    assert report.scope == ("graph" if target == "trt" else "engine")
    if manifest.quantisation is not None:
        assert manifest.quantisation.form == ("uint8" if target == "onnx" else "symmetric")
        assert predictor.bundle.calibration().ids  # the rows are on record
    rows = made_student().held_out.features
    answers = [int(predictor.logits(row).argmax()) for row in rows[:50]]
    reference = made_student().reference_logits(rows[:50]).argmax(axis=1)
    assert (np.array(answers) == reference).mean() >= 0.98
    assert verify(predictor).passed


def test_the_same_student_gives_the_same_bytes(tmp_path: Path) -> None:
    for precision in PRECISIONS:
        for number in range(2):
            exported(tmp_path / f"{number}", precision=precision)
        one, other = (
            {path.relative_to(tmp_path / str(number)): path.read_bytes() for path in files(tmp_path / str(number))}
            for number in range(2)
        )
        assert one == other


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_refused_candidate_leaves_the_old_bundle(tmp_path: Path) -> None:
    exported(tmp_path / "x.bundle")
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files(tmp_path)}
    with pytest.raises(GateRefusedError) as caught:
        exported(tmp_path / "x.bundle", precision="int8", margin=1e-6)
    assert caught.value.report.verdict in {"fail", "inconclusive"}
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files(tmp_path)} == before


def test_an_allowed_failure_is_written_and_recorded(tmp_path: Path) -> None:
    report = exported(tmp_path / "x.bundle", precision="int8", margin=1e-6, allow_failure=True)
    assert report.verdict != "pass"
    parity = open_bundle(tmp_path / "x.bundle").manifest.parity
    assert (parity.verdict, parity.failure_allowed) == (report.verdict, True)


def test_a_margin_is_printed_with_its_origin(tmp_path: Path) -> None:
    default = exported(tmp_path / "a", precision="fp16").task
    wider = exported(tmp_path / "b", precision="fp16", margin=0.02).task
    assert default is not None
    assert wider is not None
    assert (default.margin, wider.margin) == (0.005, 0.02)
    assert "--margin" in wider.margin_origin
    assert "--margin" not in default.margin_origin


def test_fewer_calibration_rows_than_asked_is_an_error_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{TRAINING_ROWS}.*5000|5000.*{TRAINING_ROWS}"):
        exported(tmp_path / "x.bundle", precision="int8", calibration=CalibrationWish(rows=5000))
    assert list(tmp_path.iterdir()) == []


def test_recordings_that_may_not_be_shared_stay_at_home(tmp_path: Path) -> None:
    private = made_student().but(shareable=False)
    with pytest.raises(UsageError, match="not declared shareable"):
        export_student(private, tmp_path / "x.bundle", ExportWish(golden="raw"), note=lambda _text: None)
    export_student(private, tmp_path / "x.bundle", ExportWish(), note=lambda _text: None)
    assert not list((tmp_path / "x.bundle/golden").glob("*.npy.*"))
    assert {case.file for case in open_bundle(tmp_path / "x.bundle").golden_cases().cases} == {None}


def test_golden_cases_hold_every_class_and_what_the_exported_model_gave(tmp_path: Path) -> None:
    exported(tmp_path / "x.bundle", precision="int8")
    bundle = open_bundle(tmp_path / "x.bundle")
    cases = bundle.golden_cases().cases
    assert len(cases) >= 8
    assert {case.label for case in cases} == set(range(len(LABELS)))
    predictor = load(tmp_path / "x.bundle", threads=1)
    for case in cases:
        np.testing.assert_array_equal(
            predictor.logits(bundle.golden_features()[case.index]), bundle.golden_logits()[case.index]
        )


def test_something_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="is not a bundle"):
        exported(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("margin", [0.0, -0.01, 1.0])
def test_margins_that_make_no_sense_are_refused(margin: float) -> None:
    with pytest.raises(UsageError, match="points"):
        ExportWish(margin=margin)


def test_fp16_keeps_its_last_layer_in_fp32_when_the_gate_asks_for_it(tmp_path: Path) -> None:
    network = copy.deepcopy(made_student().network)
    with torch.no_grad():  # softmax does not see the offset, but float16 has steps of 2 up there
        network.classifier.bias += 3000.3
    student = made_student().but(network=network)
    report, candidate, _ = export_student(
        student, tmp_path / "x.bundle", ExportWish(precision="fp16"), note=lambda _text: None
    )
    assert report.verdict == "pass"
    assert any("second attempt" in note for note in report.notes)
    (kept,) = candidate.kept
    assert open_bundle(tmp_path / "x.bundle").manifest.kept == (kept,)


def test_the_search_keeps_the_node_that_8_bits_would_spoil(tmp_path: Path) -> None:
    network = copy.deepcopy(made_student().network)
    loud = network.trunk[1]
    with torch.no_grad():  # one unit a hundred thousand times as loud as the others, and heard as little
        loud.weight[0] *= 1e5
        loud.bias[0] *= 1e5
        network.hidden.weight[:, 0] *= 1e-5
    student = made_student().but(network=network)
    with pytest.raises(GateRefusedError):
        export_student(student, tmp_path / "x.bundle", ExportWish(precision="int8"), note=lambda _text: None)
    wish = ExportWish(precision="int8", search_mixed=True, calibration=CalibrationWish(rows=200))
    report, candidate, _ = export_student(student, tmp_path / "x.bundle", wish, note=lambda _text: None)
    assert report.verdict == "pass"
    assert candidate.kept
    assert f"kept in fp32: {', '.join(candidate.kept)}" in report.notes
    bundle = open_bundle(tmp_path / "x.bundle")
    assert bundle.manifest.kept == candidate.kept
    searched_on = set(made_student().training.ids) - set(bundle.calibration().ids)
    assert len(searched_on) == 200  # neither the rows of calibration nor those of the gate


def test_a_search_without_rows_to_spare_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none is left for the search") as caught:
        exported(tmp_path / "x", precision="int8", search_mixed=True, calibration=CalibrationWish(rows=TRAINING_ROWS))
    assert "--calibration-rows 200" in str(caught.value)
