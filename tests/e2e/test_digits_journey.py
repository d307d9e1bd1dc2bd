"""The five commands, one after the other, on the built-in digits: what a newcomer does, with fewer epochs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mstedge.cli import run
from mstedge.runtime.bundle import write_sums

SHORT = (
    "--set=stages.collaborative.epochs=12",
    "--set=stages.specialise.epochs=1",
    "--set=stages.distill.epochs=4",
)


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Distil and export once, as typed: no recipe, no folder, no target."""
    folder = tmp_path_factory.mktemp("journey")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert run(["distill", *SHORT]) == 0
        assert run(["export"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def bundle(journey: Path) -> Path:
    return journey / "runs/digits-audio-1/onnx-fp32.bundle"


def test_distill_and_export_choose_their_folders(journey: Path, bundle: Path) -> None:
    assert (journey / "runs/latest").resolve() == (journey / "runs/digits-audio-1").resolve()
    assert (journey / "runs/digits-audio-1/report.html").is_file()
    assert (bundle / "manifest.json").is_file()
    assert bundle.with_name("onnx-fp32.bundle.report.html").is_file()
    card = json.loads((journey / "runs/digits-audio-1/run.json").read_text())
    assert next(iter(card)) == "schema"
    test = next(each for each in card["metrics"] if each["part"] == "test")
    assert test["accuracy"] > 0.4  # a tenth is chance; the recipe as it ships has 40 and 30 epochs


def test_verify_finds_every_golden_case_equal_bit_for_bit(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(bundle), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"]
    assert len(report["cases"]) >= 8
    assert all(case["feature_difference"] == 0.0 for case in report["cases"])


def test_predict_answers_what_training_answers(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = json.loads((bundle / "golden/cases.json").read_text())["cases"]
    files = [str(bundle / case["file"]) for case in cases]
    assert run(["predict", str(bundle), *files, "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["index"] for answer in answers] == [case["label"] for case in cases]


def test_bench_writes_its_samples_beside_the_bundle(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", str(bundle), "--seconds", "1"]) == 0
    assert "p50" in capsys.readouterr().out
    result = json.loads(bundle.with_name("onnx-fp32.bench.json").read_text())
    assert {series["name"] for series in result["series"]} == {"predictor", "engine"}


def test_the_bundle_is_the_same_bytes_each_time_and_holds_nothing_of_this_machine(
    journey: Path, bundle: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again.bundle"
    assert run(["export", str(journey / "runs/digits-audio-1"), "-o", str(again)]) == 0
    files = sorted(path.relative_to(bundle) for path in bundle.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    for name in files:
        content = (bundle / name).read_bytes()
        assert content == (again / name).read_bytes(), name
        for private in (str(Path.home()), str(journey), f"{socket.gethostname()}."):
            assert private.encode() not in content, name


def test_int8_passes_the_gate_is_a_third_of_the_size_and_passes_again_where_there_is_no_torch(
    journey: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", str(journey / "runs/digits-audio-1"), "--precision", "int8"]) == 0
    small = bundle.with_name("onnx-int8.bundle")
    assert "PASS: int8 for onnx" in capsys.readouterr().out
    assert (bundle / "model.onnx").stat().st_size >= 3.3 * (small / "model.onnx").stat().st_size
    measured = json.loads(bundle.with_name("onnx-int8.bundle.measured.json").read_text())
    assert measured["latencies"][0]["samples"] > 100
    command = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = None\n"
        "from mstedge.cli import run; sys.exit(run(sys.argv[1:]))"
    )
    again = subprocess.run(
        [sys.executable, "-c", command, "parity", str(small), "--json"], check=True, capture_output=True, text=True
    )
    report, shipped = json.loads(again.stdout), json.loads((small / "parity/report.json").read_text())
    same = ("verdict", "rows", "flips", "histogram", "reference_sha256", "model_sha256")
    assert {key: report[key] for key in same} | {"rows": 800} == {key: shipped[key] for key in same}
    assert run(["parity", str(small), "--explain"]) == 0
    assert "node_linear_1" in capsys.readouterr().out


def test_an_edited_hop_is_named_features(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edited = tmp_path / "edited.bundle"
    subprocess.run(["cp", "-r", bundle, edited], check=True)
    manifest = json.loads((edited / "manifest.json").read_text())
    manifest["spec"]["hop_samples"] += 1
    (edited / "manifest.json").write_text(json.dumps(manifest))
    write_sums(edited)
    assert run(["verify", str(edited)]) == 1
    assert "features" in capsys.readouterr().out


def test_a_failed_gate_leaves_no_bundle_and_the_old_one(
    journey: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mstedge.export.from_run import RunStudent

    right = RunStudent.reference_logits
    monkeypatch.setattr(RunStudent, "reference_logits", lambda self, features: right(self, features) * 1.01)
    run_folder = str(journey / "runs/digits-audio-1")
    assert run(["export", run_folder, "-o", str(tmp_path / "new.bundle")]) == 1
    assert "no bundle was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    before = (bundle / "SHA256SUMS").read_bytes()
    assert run(["export", run_folder]) == 1
    assert (bundle / "SHA256SUMS").read_bytes() == before


def test_export_refuses_places_and_runs_that_make_no_sense(
    journey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    run_folder = str(journey / "runs/digits-audio-1")
    for arguments, words in (
        ([run_folder, "-o", str(tmp_path / "mine")], "exists and is not a bundle"),
        ([str(tmp_path / "nothing")], "is not a run: it has no run.json"),
        ([run_folder, "--target", "onx"], "did you mean 'onnx'"),
        ([run_folder, "--precision", "int4"], "--precision 'int4' is not known"),
        ([run_folder, "--golden", "row"], "did you mean 'raw'"),
    ):
        assert run(["export", *arguments]) == 2
        assert words in capsys.readouterr().err
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"


def test_distill_refuses_what_makes_no_sense(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("x")
    for arguments, words in (
        (["digits-adio"], "did you mean 'digits-audio'"),
        (["-o", str(tmp_path / "full")], "exists already"),
        (["--compare", "labels"], "did you mean 'labels-only'"),
        (["--resume", str(tmp_path / "full")], "is not a run"),
        (["--set", "seed"], "expected key=value"),
        (["--set", "teachers.0.taps=[fusd]", "-o", str(tmp_path / "new")], "did you mean 'fused'"),
    ):
        assert run(["distill", *arguments]) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def _hears_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_leaves_a_run_that_resume_continues(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mstedge", "distill", "digits-image", "-o", str(tmp_path / "run")]
    settings = [
        "--set=stages.collaborative.epochs=15",  # enough to be still at it when the signal comes
        "--set=stages.specialise.epochs=1",
        "--set=stages.distill.epochs=2",
    ]
    process = subprocess.Popen(
        [*command, *settings],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        preexec_fn=_hears_ctrl_c,  # noqa: PLW1509  a shell that starts the tests in the background lets them ignore it
    )
    metrics = tmp_path / "run/metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _out, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"mstedge distill --resume {tmp_path / 'run'}" in errors
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "incomplete"
    assert run(["distill", "--resume", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "complete"


def test_a_killed_campaign_leaves_no_worker_behind_and_resumes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mstedge", "distill", "digits-audio", "--seeds", "2", "-o", str(tmp_path / "run")]
    settings = ["--set=stages.collaborative.epochs=5", "--set=stages.distill.epochs=2"]
    process = subprocess.Popen(
        [*command, *settings], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=tmp_path
    )
    second = tmp_path / "run/seeds/1/metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (second.exists() and second.stat().st_size):
        time.sleep(0.05)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(workers) >= 2
    process.kill()
    process.wait(timeout=30)
    while time.monotonic() < deadline and any(_alive(worker) for worker in workers):
        time.sleep(0.05)
    assert not any(_alive(worker) for worker in workers)
    assert run(["distill", "--resume", str(tmp_path / "run")]) == 0
    for folder in ("run", "run/seeds/1"):
        assert json.loads((tmp_path / folder / "run.json").read_text())["status"] == "complete"


def _alive(pid: str) -> bool:
    """Tell a running process from one that is gone or waits for its end to be noticed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
