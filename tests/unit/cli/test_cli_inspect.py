"""`mstedge inspect`: cards of bundles, runs and results."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from bundle_factory import SPECS, change_manifest, make_bundle

from mstedge.cli import run
from mstedge.run_card import Comparison, MethodResult, Metrics, NetworkCard, RunCard, RunLineage
from mstedge.schema import encode_json
from mstedge.specs import AudioSpec, ImageSpec, Scaling


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    card = RunCard(
        name="digits-audio",
        method="mst",
        seed=7,
        status="complete",
        labels=tuple(f"class-{number}" for number in range(20)),
        specs={"audio": SPECS["audio"], "image": ImageSpec(width=8, height=9, scaling=Scaling(mean=(0.5,), std=(1,)))},
        student=NetworkCard(network="small", options={}, modality="audio", parameters=12345),
        lineage=RunLineage(
            recipe_sha256="a" * 64, data_sha256="b" * 64, versions={"torch": "2.13"}, device="cpu", threads=2
        ),
        metrics=(Metrics(part="test", accuracy=0.91, low=0.88, high=0.93, rows=400, clusters=40, cross_entropy=0.3),),
        seconds={"distill": 61.2},
    )
    (tmp_path / "run.json").write_bytes(encode_json(card))
    return tmp_path


def shown_by(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["inspect", *arguments]) == 0
    return capsys.readouterr().out


def test_card_of_a_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_bundle(tmp_path / "bundle", "audio", cases=2, lineage_seed=41)
    shown = shown_by(capsys, str(folder))
    for words in (
        "factory-audio",
        "classification of audio",
        "sound at 8000 Hz, clips of 0.25 s aligned at the start; log-mel, ",
        "window 200, hop 100, FFT 256 samples, edges reflect; not scaled",
        "low, middle, high",
        f"model.onnx, {(folder / 'model.onnx').stat().st_size:,} bytes, 2 operations",
        "opset        17",
        "fp32",
        "pass (graph, 2 rows)",
        "factory, seed 41, network linear",
        "2 cases, 2 with raw input, licence CC0-1.0",
        "golden/raw/case-1.wav, ",
        "SHA256SUMS, ",
    ):
        assert words in shown


def test_card_of_a_bundle_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_bundle(tmp_path / "bundle", "array", cases=2, raw=False)
    shown = shown_by(capsys, str(folder), "--json")
    card = json.loads(shown)
    assert next(iter(card)) == "schema"
    assert card["schema"] == "mstedge.card/1"
    assert card["manifest"]["name"] == "factory-array"
    assert (card["golden_cases"], card["golden_files"], card["opset"]) == (2, 0, 17)
    assert card["files"]["model.onnx"] == (folder / "model.onnx").stat().st_size
    (tmp_path / "card.json").write_text(shown)
    assert "factory-array" in shown_by(capsys, str(tmp_path / "card.json"))


def test_front_ends_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = make_bundle(tmp_path / "image", "image", cases=1)
    assert "picture of 12 x 10 pixels, rgb, stretch, linear" in shown_by(capsys, str(image))
    array = make_bundle(tmp_path / "array", "array", cases=1)
    scaling = {"mean": [0.0] * 6, "std": [1.0] * 6}
    change_manifest(array, spec={"kind": "array", "shape": [4, 6], "scaling": scaling})
    assert "array of 4 x 6; scaled per feature (6)" in shown_by(capsys, str(array))
    audio = make_bundle(tmp_path / "audio", "audio", cases=1)
    mfcc: AudioSpec = msgspec.structs.replace(SPECS["audio"], features="mfcc", mfcc_count=8)
    change_manifest(audio, spec=msgspec.to_builtins(mfcc))
    assert "8 MFCC of " in shown_by(capsys, str(audio))


def test_damaged_bundle_has_no_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_bundle(tmp_path / "bundle", "array", cases=1)
    (folder / "model.onnx").write_bytes(b"")
    assert run(["inspect", str(folder)]) == 1
    assert "model.onnx" in capsys.readouterr().err


def test_card_of_a_run(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = shown_by(capsys, str(run_folder))
    for words in (
        "digits-audio",
        "complete",
        "mst, seed 7",
        "class-11, … (20 in all)",
        "small, 12,345 parameters, sees audio",
        "accuracy 0.9100 (95 %: 0.8800 to 0.9300)",
        "400 rows, 40 recordings",
        "picture of 8 x 9 pixels",
        "scaled as a whole",
        "distill 61 s",
        "torch 2.13",
        "not recorded",
    ):
        assert words in shown
    assert shown_by(capsys, str(run_folder / "run.json")).startswith("schema")
    assert json.loads(shown_by(capsys, str(run_folder), "--json"))["schema"] == "mstedge.run/1"


def test_run_that_stopped_says_so(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run_folder / "run.json"
    path.write_bytes(path.read_bytes().replace(b'"complete"', b'"incomplete"'))
    assert "incomplete: `mstedge distill --resume` goes on with it" in shown_by(capsys, str(run_folder))


def test_results_by_their_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = make_bundle(tmp_path / "bundle", "array", cases=2)
    shown = shown_by(capsys, str(bundle / "parity/report.json"))
    assert "mstedge.parity/1" in shown
    assert "largest probability difference: 0 <= 0.0001" in shown
    assert run(["verify", str(bundle), "--json"]) == 0
    (tmp_path / "verify.json").write_text(capsys.readouterr().out)
    assert "2, of which 0 differ" in shown_by(capsys, str(tmp_path / "verify.json"))
    method = MethodResult(method="mst", accuracies=(0.9, 0.92), mean=0.91, low=0.8, high=1.0)
    comparison = Comparison(
        recipe="digits",
        seeds=(1, 2),
        methods=(method, msgspec.structs.replace(method, method="labels-only", low=None, high=None)),
        difference=0.01,
        low=-0.1,
        high=0.1,
        outcome="no gain shown",
        conclusion="the interval holds zero",
    )
    (tmp_path / "comparison.json").write_bytes(encode_json(comparison))
    shown = shown_by(capsys, str(tmp_path / "comparison.json"))
    assert "mean accuracy 91.0% (95 %: 80.0% to 100.0%)" in shown
    assert "one seed bounds nothing" in shown
    assert "the interval holds zero" in shown


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"\x00\x01", "not a JSON document"),
        (b"[1]", "names no schema"),
        (b'{"schema": "other/1"}', "its schema is 'other/1'"),
        (b'{"schema": 3}', "its schema is 3"),
        (b"[" * 100_000, "not a JSON document"),
    ],
    ids=["missing", "binary", "list", "other schema", "number", "deep"],
)
def test_anything_else_says_what_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    path = tmp_path / "thing"
    if content is not None:
        path.write_bytes(content)
    assert run(["inspect", str(path)]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert "inspect takes a bundle, a run, or a JSON file with one of the schemas mstedge.parity/1, " in shown


def test_folder_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(tmp_path)]) == 2
    assert "holds neither a bundle nor a run" in capsys.readouterr().err


def test_result_of_the_right_schema_that_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.json").write_text('{"schema": "mstedge.verify/1", "bundel": "x"}')
    assert run(["inspect", str(tmp_path / "x.json")]) == 2
    assert "x.json: unknown key bundel" in capsys.readouterr().err
