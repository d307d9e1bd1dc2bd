"""`mstedge evaluate`: what a person sees, what a script reads, and how it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bundle_factory import LABELS, change_json, change_manifest, make_bundle

from mstedge.cli import run
from mstedge.cli.evaluate import say_evaluation
from mstedge.evaluation import Evaluation
from mstedge.runtime.evaluate import LabelledAnswers, score_of
from mstedge.runtime.predictor import load

REFUSING = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        heavy = ("torch", "onnx", "scipy", "pandas", "sklearn", "matplotlib", "yaml", "jinja2")
        ours = ("mstedge.training", "mstedge.export", "mstedge.report.")
        if name.partition(".")[0] in heavy or name.startswith(ours):
            raise ModuleNotFoundError("refused: " + name, name=name)
sys.meta_path.insert(0, Refuse())
from mstedge.cli import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "tones.bundle", "audio", cases=6)


@pytest.fixture
def rows(bundle: Path, tmp_path: Path) -> Path:
    """Write a manifest with five right labels, one wrong one, and a training row."""
    predictor = load(bundle)
    files = sorted((bundle / "golden/raw").iterdir())
    labels = [predictor.predict(path).label for path in files]
    labels[0] = LABELS[(LABELS.index(labels[0]) + 1) % 3]
    path = tmp_path / "rows.csv"
    lines = [f"{file},{label},test" for file, label in zip(files, labels, strict=True)]
    path.write_text("\n".join(["audio,label,split", *lines, "elsewhere.wav,low,train"]) + "\n")
    return path


def test_person_sees_figures_classes_and_confusions(
    bundle: Path, rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", str(bundle), "--data", str(rows), "--threads", "1"]) == 0
    shown = capsys.readouterr()
    assert "accuracy           83.33% (95 %: 43.65% to 96.99%, over 6 clusters)" in shown.out
    assert "6 labelled rows of validation and test" in shown.out
    lines = shown.out.splitlines()
    classes = lines[lines.index(next(line for line in lines if line.startswith("class"))) + 2 :][:3]
    assert [line.split()[0] for line in classes] == list(LABELS)
    assert sum(int(line.split()[1]) for line in classes) == 6
    matrix = lines[lines.index("confusion: rows are the truth, columns what was answered") + 1 :]
    assert matrix[0].split() == list(LABELS)
    assert [line.split()[0] for line in matrix[2:]] == list(LABELS)
    assert sum(int(cell) for line in matrix[2:] for cell in line.split()[1:] if cell != "·") == 6
    assert "note: 1 rows of the train split left out" in shown.err
    assert "files: 6" in shown.err


def test_json_is_the_record(bundle: Path, rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(bundle), "--data", str(rows), "--json", "--backend", "onnxruntime"]) == 0
    found = msgspec.json.decode(capsys.readouterr().out, type=Evaluation)
    assert found.score is not None
    assert found.score.accuracy == 5 / 6
    assert (found.data, found.parts, found.left_out) == ("rows.csv", ("validation", "test"), 1)


def test_output_is_the_record_too(bundle: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mstedge.cli.reports.write_report_where_possible", lambda _path: None)
    assert run(["evaluate", str(bundle), "--data", str(rows), "-o", str(tmp_path / "found.json")]) == 0
    found = msgspec.json.decode((tmp_path / "found.json").read_bytes(), type=Evaluation)
    assert found.labelled == 6


def test_output_inside_the_bundle_is_refused(bundle: Path, rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(bundle), "--data", str(rows), "-o", str(bundle / "found.json")]) == 2
    assert "lies inside the bundle" in capsys.readouterr().err


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_failed_file_is_named_and_ends_with_one(
    bundle: Path, rows: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    (rows.parent / "broken\x1b[2J.wav").write_bytes(b"no sound")
    with rows.open("a") as stream:
        stream.write("broken\x1b[2J.wav,low,test\nmissing.wav,low,test\n")
    assert run(["evaluate", str(bundle), "--data", str(rows), *options]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "10-missing.wav" in out
    assert "No such file" in out
    if not options:
        assert "2 of 8 files could not be answered and count nowhere above:" in out
        assert "accuracy           83.33%" in out


def test_runs_where_torch_and_onnx_are_not(bundle: Path, rows: Path) -> None:
    command = [sys.executable, "-c", REFUSING, "evaluate", str(bundle), "--data", str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "accuracy           83.33%" in done.stdout


def test_usage_errors(bundle: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder/hgih").mkdir(parents=True)
    for arguments, message in {
        (str(bundle), "--data", str(tmp_path / "folder")): "did you mean 'high'?",
        (str(bundle), "--data", str(tmp_path / "none.csv")): "there is no such file or folder",
        (str(bundle), "--data", str(rows), "--backend", "onnxrunt"): "did you mean 'onnxruntime'?",
        (str(bundle),): "--data",
    }.items():
        assert run(["evaluate", *arguments]) == 2, arguments
        shown = capsys.readouterr()
        assert message in shown.err
        assert shown.out == ""


def test_bundle_that_did_not_pass_parity_warns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = make_bundle(tmp_path / "bundle", "array", cases=2)
    change_json(bundle, "parity/report.json", verdict="inconclusive")
    parity = {"verdict": "inconclusive", "scope": "graph", "rows": 2}
    change_manifest(bundle, parity=parity, postprocess={"threshold": 1.0, "unknown": "nobody"})
    (tmp_path / "data/low").mkdir(parents=True)
    (tmp_path / "data/low/a.npy").write_bytes((bundle / "golden/raw/case-0.npy").read_bytes())
    (tmp_path / "data/low/b.txt").touch()
    assert run(["evaluate", str(bundle), "--data", str(tmp_path / "data")]) == 0
    shown = capsys.readouterr()
    assert "warning: This bundle is NOT PROVED" in shown.err
    assert "b.txt" in shown.err
    assert "answered unknown   100.00%" in shown.out


def made_up(bundle: Path, classes: int, name: str) -> Evaluation:
    """Answer one row of each class with the next class, and ten of each rightly."""
    manifest = load(bundle).manifest
    labels = tuple(f"{name} {index}" for index in range(classes))
    truth = np.repeat(np.arange(classes), 11)
    answers = np.where(np.arange(len(truth)) % 11 == 0, (truth + 1) % classes, truth)
    given = LabelledAnswers(truth, answers, np.eye(classes)[answers], tuple(map(str, range(len(truth)))))
    return Evaluation(
        bundle="made up",
        model_sha256="0" * 64,
        labels=labels,
        modality="audio",
        target="onnx",
        precision="fp32",
        parity=manifest.parity,
        backend="-",
        device="-",
        arithmetic="-",
        threads=1,
        data="rows.csv",
        rows=len(truth),
        answered=len(truth),
        labelled=len(truth),
        clusters=len(truth),
        score=score_of(given, labels),
    )


def test_twenty_classes_with_long_names_stay_readable(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    say_evaluation(made_up(bundle, 20, "a rather long name of class"))
    out = capsys.readouterr().out
    matrix = out[out.index("confusion") :].splitlines()
    assert matrix[1].split() == [str(number) for number in range(20)]
    assert matrix[3].startswith("0 ")
    assert max(map(len, out.splitlines())) <= 120


def test_many_classes_show_the_most_frequent_mistakes(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    say_evaluation(made_up(bundle, 30, "class"))
    out = capsys.readouterr().out
    assert "confusion" not in out
    mistakes = out[out.index("most frequent mistakes of 30") :].splitlines()
    assert mistakes[3].split("  ")[0] == "class 0"
    assert len(mistakes) == 3 + 10
