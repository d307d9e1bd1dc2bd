"""`mstedge inspect`: cards of bundles, runs and results."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from bundle_factory import SPECS, change_manifest, make_bundle
from report_inputs import (
    bundle_with_report,
    engine_build,
    evaluation,
    explanation,
    failed_parity_report,
    measurement,
    parity_report,
)

from mstedge.cli import run
from mstedge.manifest import ParitySummary
from mstedge.run_card import Comparison, MethodResult, Metrics, NetworkCard, RunCard, RunLineage
from mstedge.runtime.bundle.signature import Signature, text_of
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
        "PASS (graph, 2 rows)",
        "Rests on 2 held-out rows without labels",
        "the engine that will run on the device has not been compared yet",
        "signature    none",
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


def test_bundle_that_did_not_pass_warns_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = bundle_with_report(tmp_path / "bundle", "array", failed_parity_report())
    shown = shown_by(capsys, str(folder))
    lines = shown.splitlines()
    assert lines[1].startswith("WARNING")
    assert "FAILED its parity gate and was exported all the same" in lines[1]
    assert "FAIL (engine, 3 rows)" in lines[2]
    for words in ("L1: largest |dp| is 0.25", "at most 0.10 points (default of fp32)", "95.83%, reference 96.25%"):
        assert words in shown


def test_card_of_an_int8_bundle_for_openvino(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_bundle(tmp_path / "bundle", "array", cases=1)
    card = json.loads(shown_by(capsys, str(folder), "--json"))
    card["manifest"] |= {
        "target": "openvino",
        "precision": "int8",
        "ir": {},
        "quantisation": {"form": "symmetric", "method": "entropy", "rows": 300},
        "kept": ["/head/Gemm"],
    }
    card["manifest"]["lineage"] |= {"origin": "onnx", "recipe": None, "seed": None}
    (tmp_path / "card.json").write_text(json.dumps(card))
    shown = shown_by(capsys, str(tmp_path / "card.json"))
    for words in (
        "symmetric int8 with float biases",
        "ranges by entropy over 300 rows",
        "kept in fp32  /head/Gemm",
        "model.xml and model.bin, from model.onnx",
        "trained elsewhere, given as ONNX, network linear",
    ):
        assert words in shown
    assert "seed" not in shown
    card["manifest"] |= {"target": "trt", "ir": None, "engine": {"max_batch_rows": 4}, "kept": []}
    (tmp_path / "card.json").write_text(json.dumps(card))
    shown = shown_by(capsys, str(tmp_path / "card.json"))
    assert "batch 1 to 4, tuned for 1; workspace 1024 MiB; optimisation level 3" in shown
    assert "kept in fp32   no node" in shown


def test_signature_is_named_as_unverified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_bundle(tmp_path / "bundle", "array", cases=1)
    (folder / "SIGNATURE").write_bytes(text_of(Signature("ab" * 32, b"\0" * 64)))
    shown = shown_by(capsys, str(folder))
    assert f"by the key {'ab' * 32}; not verified" in shown
    assert f"SIGNATURE, {(folder / 'SIGNATURE').stat().st_size} bytes" in shown
    (folder / "SIGNATURE").write_text("nonsense")
    assert run(["inspect", str(folder)]) == 1
    assert "is not a signature" in capsys.readouterr().err


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
    assert "ok           largest |dp|: 0, allowed <= 0.0001" in shown
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


def test_parity_by_levels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "parity.json"
    path.write_bytes(encode_json(parity_report()))
    lines = shown_by(capsys, str(path)).splitlines()
    assert [line[:13].strip() for line in lines if line[:2] in {"L0", "L1", "L2", "L3"}] == [
        "L0 contract",
        "L1 numbers",
        "L2 decisions",
        "L3 task",
    ]
    shown = "\n".join(lines)
    for words in (
        "PASS (engine, openvino, int8)",
        "warning      median SQNR, dB: 12.3, allowed >= 15; a limit of 12.3 would have passed",
        "lower bound of the difference: -0.85, allowed > -1.00 points",
        "3 changed, 1 of them hard",
        "2 recordings cannot travel",
    ):
        assert words in shown


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (evaluation(), ("tiny on monday.csv", "90.00% (95 %: 80.0% to 95.0%)", "60 labelled, 12 recordings")),
        (evaluation(score=None), ("no labelled row could be answered for",)),
        (explanation(), ("/body/3/Conv", "2 of 5 tensors", "15 dB")),
        (engine_build(), ("TensorRT-RTX 1.7.1", "5 of 5 layers", "pending: an engine runs only")),
        (engine_build(gpu=None), ("GPU        none",)),
        (measurement(), ("3.50 times smaller", "0.640 ms, fp32 1.000 ms: 0.64 of it", "A processor")),
        (measurement(latencies=()), ("not measured",)),
    ],
    ids=["evaluation", "no score", "explanation", "engine", "no GPU", "measurement", "no latency"],
)
def test_cards_of_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], result: object, words: tuple[str, ...]
) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(encode_json(result))
    shown = shown_by(capsys, str(path))
    for each in words:
        assert each in shown


def test_evaluation_of_a_bundle_that_did_not_pass_warns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parity = ParitySummary(verdict="inconclusive", scope="engine", rows=512, failure_allowed=True)
    path = tmp_path / "evaluation.json"
    path.write_bytes(encode_json(evaluation(parity=parity)))
    assert "NOT PROVED: its parity gate could not tell" in shown_by(capsys, str(path))


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
