"""`mstedge verify`: what it shows, what it exits with, and that no byte of a bundle can change unseen."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from bundle_factory import SPECS, change_manifest, make_bundle, seal

from mstedge.cli import run
from mstedge.verification import VerifyReport

NAMES = (
    "SHA256SUMS",
    "golden/cases.json",
    "golden/features.npy",
    "golden/logits.npy",
    "golden/raw/case-0.wav",
    "golden/raw/case-1.wav",
    "manifest.json",
    "model.onnx",
    "parity/features.npy",
    "parity/logits.npy",
    "parity/report.json",
    "parity/rows.json",
)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "audio", "audio", cases=2)


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "bundle"))


def test_passing_bundle(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(folder)]) == 0
    shown = capsys.readouterr()
    header, _, *rows, _, verdict = shown.out.splitlines()
    assert header.split("  ")[0] == "case"
    assert [row.split()[0] for row in rows] == ["case-0", "case-1"]
    assert all(row.split()[1:3] == ["equal", "bit-equal"] and row.endswith("ok") for row in rows)
    assert verdict.startswith("PASS: factory-audio: 11 files whole, 2 golden cases, onnxruntime ")
    assert shown.err == ""


def test_json_is_the_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(folder), "--json"]) == 0
    report = msgspec.json.decode(capsys.readouterr().out, type=VerifyReport)
    assert report.passed
    assert len(report.cases) == 2


def test_edited_hop_is_named_as_features(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_manifest(folder, spec={**msgspec.to_builtins(SPECS["audio"]), "hop_samples": 90})
    assert run(["verify", str(folder)]) == 1
    shown = capsys.readouterr().out
    assert shown.count("differs at features") == 2
    assert "FAIL: factory-audio: 2 of 2 cases differ, first at: features" in shown
    assert "case-0: features: the front end makes shape [1, 23, " in shown
    assert run(["verify", str(folder), "--json"]) == 1
    report = msgspec.json.decode(capsys.readouterr().out, type=VerifyReport)
    assert {case.first_difference for case in report.cases} == {"features"}


def test_swapped_recording_is_named_as_decode(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copyfile(folder / "golden/raw/case-0.wav", folder / "golden/raw/case-1.wav")
    seal(folder)
    assert run(["verify", str(folder)]) == 1
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if line.startswith("case-1 "))
    assert row.split()[1] == "differs"
    assert row.endswith("differs at decode")
    assert "1 of 2 cases differ, first at: decode" in shown


def test_features_only_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_bundle(tmp_path / "bundle", "array", cases=2, raw=False)
    assert run(["verify", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "2 of them without a raw file: from the golden features on" in shown
    assert shown.splitlines()[2].split()[1:3] == ["-", "-"]


def test_names_cover_the_whole_bundle(pristine: Path) -> None:
    assert {str(path.relative_to(pristine)) for path in pristine.rglob("*") if path.is_file()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", ["verify", "predict"])
def test_one_flipped_byte_in_any_file_is_found_and_named(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, name: str
) -> None:
    content = bytearray((folder / name).read_bytes())
    sample = folder.parent / "sample.wav"
    shutil.copyfile(folder / "golden/raw/case-0.wav", sample)
    for position in {0, len(content) // 2, len(content) - 1}:
        changed = bytearray(content)
        changed[position] ^= 1
        (folder / name).write_bytes(changed)
        assert run([command, str(folder), *([str(sample)] if command == "predict" else [])]) == 1, position
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith("error: ")
        assert name in shown.err
        assert "Traceback" not in shown.err


def test_folder_that_is_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(tmp_path)]) == 2
    assert "is not a bundle" in capsys.readouterr().err
