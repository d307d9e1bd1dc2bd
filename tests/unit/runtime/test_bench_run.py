"""A whole benchmark of a small bundle: what was measured is what is told, and the bundle stays as it was."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from bundle_factory import make_bundle

from mstedge.bench_result import BenchResult
from mstedge.errors import BundleError, UsageError
from mstedge.runtime.bench.run import run_bench
from mstedge.schema import decode_json, encode_json

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bench") / "audio.bundle", "audio")


@pytest.fixture(scope="module")
def measured(audio: Path) -> BenchResult:
    return run_bench(audio, seconds=1.0, threads=1)


def test_the_whole_predictor_and_the_engine_are_measured_from_raw_inputs(measured: BenchResult):
    predictor, engine = measured.series
    assert (predictor.name, engine.name) == ("predictor", "engine")
    assert measured.input == "golden raw"
    assert predictor.quantiles[0].value_ns > engine.quantiles[0].value_ns
    assert set(measured.stages_ms) == {"decode", "features", "engine", "after"}
    assert all(milliseconds > 0 for milliseconds in measured.stages_ms.values())


def test_what_really_ran_is_told(measured: BenchResult, audio: Path):
    assert measured.model_sha256 == hashlib.sha256((audio / "model.onnx").read_bytes()).hexdigest()
    assert measured.backend.startswith("onnxruntime ")
    assert (measured.device, measured.precision, measured.threads, measured.batch) == ("CPU", "fp32", 1, 1)
    assert measured.load_ms > 0
    assert 2**20 < measured.peak_memory_bytes < measured.environment.memory_bytes


def test_a_result_survives_its_file(measured: BenchResult):
    text = encode_json(measured)
    assert text.startswith(b'{\n  "bundle"') or b'"schema": "mstedge.bench/1"' in text
    assert decode_json(text, BenchResult, source="bench.json") == measured


def test_the_bundle_stays_as_it_was(measured: BenchResult, audio: Path):
    sums = (audio / "SHA256SUMS").read_text()
    files = {path.relative_to(audio).as_posix() for path in audio.rglob("*") if path.is_file()}
    assert measured.series
    assert files == {"SHA256SUMS"} | {line.split(maxsplit=1)[1].lstrip("*") for line in sums.splitlines()}


def test_without_raw_inputs_the_golden_features_are_fed_and_a_note_says_so(tmp_path: Path):
    found = run_bench(make_bundle(tmp_path / "array.bundle", "array", raw=False), seconds=0.3)
    assert found.input == "golden features"
    assert set(found.stages_ms) == {"engine", "after"}
    assert "the bundle holds no raw inputs: decoding and the front end are not in these figures" in found.notes


def test_only_the_given_clock_is_read(tmp_path: Path):
    reads = 0

    def clock() -> int:
        nonlocal reads
        reads += 1
        return reads * 1_000_000

    found = run_bench(make_bundle(tmp_path / "array.bundle", "array", raw=False), seconds=5.0, clock=clock)
    predictor, engine = found.series
    # One reading before and one behind; the predictor without raw inputs reads three more for its stages.
    assert set(engine.samples_ns) == {1_000_000}
    assert set(predictor.samples_ns) == {4_000_000}
    assert found.stages_ms == {"engine": 1.0, "after": 1.0}
    assert reads == pytest.approx(5000, rel=0.1)


def test_the_load_of_the_minute_before_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.getloadavg", lambda: (999.0, 0.0, 0.0))
    found = run_bench(make_bundle(tmp_path / "array.bundle"), seconds=0.2)
    assert any(note.startswith("other load: 999.0 runnable tasks on ") for note in found.notes)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 3601.0, float("nan"), float("inf")])
def test_a_time_that_makes_no_sense_is_refused(seconds: float, tmp_path: Path):
    with pytest.raises(UsageError, match=f"seconds is {seconds:g}: expected above 0 and at most 3600"):
        run_bench(tmp_path, seconds=seconds)


def test_a_damaged_bundle_is_not_measured(tmp_path: Path):
    bundle = make_bundle(tmp_path / "array.bundle")
    model = bundle / "model.onnx"
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        run_bench(bundle, seconds=0.2)


def test_memory_is_that_of_this_process_and_not_of_its_parent(tmp_path: Path):
    bundle = make_bundle(tmp_path / "array.bundle")
    script = (
        "import os, sys; block = bytearray(b'x') * (300 << 20)\n"
        "if os.fork():\n    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
        "os.execv(sys.executable, [sys.executable, '-c', 'import sys; from pathlib import Path; "
        "from mstedge.runtime.bench.run import run_bench; "
        "sys.stdout.write(str(run_bench(Path(sys.argv[1]), seconds=0.2).peak_memory_bytes))', sys.argv[1]])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(bundle)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200 * 2**20
