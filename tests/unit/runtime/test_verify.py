"""Replaying golden cases: each way to go wrong is named by the first stage at which it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from bundle_factory import LABELS, SPECS, change_json, change_manifest, make_bundle, model_bytes, npy_bytes, seal

from mstedge.errors import BundleError
from mstedge.runtime.predictor import open_predictor
from mstedge.runtime.verify import verify
from mstedge.verification import VerifyReport


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle", "audio", cases=3)


def verified(folder: Path) -> VerifyReport:
    return verify(open_predictor(folder))


def first_differences(report: VerifyReport) -> set[str | None]:
    return {case.first_difference for case in report.cases}


def change_array(folder: Path, name: str, change: Any) -> None:
    values = np.load(folder / name).copy()
    (folder / name).write_bytes(npy_bytes(change(values).astype(np.float32)))
    seal(folder)


@pytest.mark.parametrize("kind", SPECS)
def test_untouched_bundle_passes(tmp_path: Path, kind: Any) -> None:
    report = verified(make_bundle(tmp_path / "bundle", kind, cases=3))
    assert report.passed
    assert report.files == 12
    assert report.backend.startswith("onnxruntime ")
    assert [case.id for case in report.cases] == ["case-0", "case-1", "case-2"]
    for case in report.cases:
        assert (case.first_difference, case.feature_difference) == (None, 0.0)
        assert case.detail == "features are bit-equal"
        assert case.label == case.expected
        assert case.logit_difference is not None
        assert case.logit_difference < 1e-5


def test_without_raw_files_only_the_network_is_replayed_and_it_says_so(tmp_path: Path) -> None:
    report = verified(make_bundle(tmp_path / "bundle", "audio", cases=2, raw=False))
    assert report.passed
    for case in report.cases:
        assert case.feature_difference is None
        assert case.logit_difference is not None
        assert case.detail == "no raw input: starts from the golden features"


def test_decode_is_named_when_the_recording_is_another(folder: Path) -> None:
    names = [folder / f"golden/raw/case-{number}.wav" for number in (0, 1)]
    names[0].write_bytes(names[1].read_bytes())
    report = verified(seal(folder))
    assert not report.passed
    assert [case.first_difference for case in report.cases] == ["decode", None, None]
    assert "decode: golden/raw/case-0.wav has the digest" in report.cases[0].detail
    assert report.cases[0].feature_difference is not None
    assert report.cases[0].feature_difference > 0.1


def test_decode_is_named_when_the_recording_cannot_be_read(folder: Path) -> None:
    (folder / "golden/raw/case-2.wav").write_bytes(b"no sound at all")
    report = verified(seal(folder))
    assert [case.first_difference for case in report.cases] == [None, None, "decode"]
    assert report.cases[2].label is None
    assert "case-2.wav" in report.cases[2].detail


@pytest.mark.parametrize(("hop", "seen"), [(90, "makes shape"), (99, "largest |difference| is")])
def test_features_are_named_when_the_front_end_was_edited(folder: Path, hop: int, seen: str) -> None:
    spec = {**msgspec.to_builtins(SPECS["audio"]), "hop_samples": hop}
    report = verified(change_manifest(folder, spec=spec))
    assert not report.passed
    assert first_differences(report) == {"features"}
    assert all(seen in case.detail for case in report.cases)
    assert all((case.feature_difference is None) == (hop == 90) for case in report.cases)


def test_features_are_named_when_the_front_end_refuses(folder: Path) -> None:
    spec = {**msgspec.to_builtins(SPECS["audio"]), "low_hz": 1000.0, "high_hz": 1010.0}
    report = verified(change_manifest(folder, spec=spec))
    assert first_differences(report) == {"features"}
    assert {case.label for case in report.cases} == {None}


@pytest.mark.parametrize(("noise", "stages"), [(0.9e-4, {None}), (1.2e-4, {"features"})])
def test_features_may_differ_by_the_tolerance(folder: Path, noise: float, stages: set[str | None]) -> None:
    def shifted(values: np.ndarray) -> np.ndarray:
        values[:, 0, 0, 0] += noise
        return values

    change_array(folder, "golden/features.npy", shifted)
    report = verified(folder)
    assert report.passed == (stages == {None})
    assert all("bit-equal" not in case.detail for case in report.cases)
    assert report.cases[0].feature_difference == pytest.approx(noise, rel=0.01)
    assert first_differences(report) == stages


def test_logits_are_named_when_the_network_is_another(folder: Path) -> None:
    spec = SPECS["audio"]
    rng = np.random.default_rng(5)
    weights = rng.normal(size=(len(LABELS), int(np.prod(spec.feature_shape)))).astype(np.float32)
    (folder / "model.onnx").write_bytes(model_bytes(spec.feature_shape, weights, np.zeros(3, np.float32)))
    report = verified(seal(folder))
    assert not report.passed
    assert first_differences(report) == {"logits"}
    assert "largest |difference| of probabilities is" in report.cases[0].detail


def test_logits_are_judged_as_probabilities(folder: Path) -> None:
    change_array(folder, "golden/logits.npy", lambda logits: logits + 0.5)
    report = verified(folder)
    assert report.passed
    assert report.cases[0].logit_difference == pytest.approx(0.5, abs=1e-3)


def bundle_with_logits(folder: Path, golden: list[float], label: int, bias: list[float]) -> Path:
    """Make a bundle whose network answers `bias` for everything, and whose golden logits say something else."""
    make_bundle(folder, "array", cases=1)
    shape = SPECS["array"].feature_shape
    weights = np.zeros((len(LABELS), int(np.prod(shape))), np.float32)
    (folder / "model.onnx").write_bytes(model_bytes(shape, weights, np.array(bias, np.float32)))
    (folder / "golden/logits.npy").write_bytes(npy_bytes(np.array([golden], np.float32)))
    cases = msgspec.json.decode((folder / "golden/cases.json").read_bytes())["cases"]
    return change_json(folder, "golden/cases.json", cases=[{**cases[0], "label": label}])


def test_another_label_in_a_tie_passes(tmp_path: Path) -> None:
    report = verified(bundle_with_logits(tmp_path / "b", [1.00002, 1, 0], 0, [1, 1.00002, 0]))
    assert report.passed
    assert report.cases[0].label == LABELS[1]
    assert report.cases[0].expected == LABELS[0]
    assert "below 0.001, a tie" in report.cases[0].detail


def test_another_label_beyond_a_tie_fails(tmp_path: Path) -> None:
    report = verified(bundle_with_logits(tmp_path / "b", [1.1, 1, 0], 0, [1, 1.1, 0]))
    assert first_differences(report) == {"logits"}
    assert "label: 'middle' instead of 'low'" in report.cases[0].detail


def test_file_that_changes_after_opening_is_tampering(folder: Path) -> None:
    predictor = open_predictor(folder)
    path = folder / "golden/raw/case-1.wav"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(BundleError, match=r"case-1\.wav"):
        verify(predictor)


def test_report_survives_json(folder: Path) -> None:
    report = verified(folder)
    assert msgspec.json.decode(msgspec.json.encode(report), type=VerifyReport) == report
