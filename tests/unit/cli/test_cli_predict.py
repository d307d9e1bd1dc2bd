"""`mstedge predict`: what a person sees, what a script reads, and what happens to files that cannot be used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from bundle_factory import SPECS, Kind, change_json, change_manifest, make_bundle

from mstedge.cli import run
from mstedge.prediction import Prediction

BLOCKER = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        heavy = ("torch", "onnx", "scipy", "pandas", "sklearn", "lightning", "matplotlib", "yaml", "jinja2")
        ours = ("mstedge.training", "mstedge.export", "mstedge.report.")
        if name.partition(".")[0] in heavy or name.startswith(ours):
            raise ModuleNotFoundError("refused: " + name, name=name)
sys.meta_path.insert(0, Refuse())
from mstedge.cli import run
folder = sys.argv[1]
sys.exit(run(["predict", folder, folder + "/golden/raw"]) or run(["verify", folder]))
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "audio", "audio", cases=3)


@pytest.fixture
def sounds(bundle: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    shutil.copytree(bundle / "golden/raw", folder)
    return folder


def test_table_has_a_row_per_file_in_order(
    bundle: Path, sounds: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sounds)
    assert run(["predict", str(bundle), "case-2.wav", "."]) == 0
    shown = capsys.readouterr()
    header, rule, *rows = shown.out.splitlines()
    assert header.split("  ")[0] == "file"
    assert [title in header for title in ("label", "probability", "second best", "ms")] == [True] * 4
    assert set(rule) == {"─", " "}
    assert [row.split()[0] for row in rows] == ["case-2.wav", "case-0.wav", "case-1.wav", "case-2.wav"]
    label, probability, second, second_probability, milliseconds = rows[0].split()[1:]
    assert {label, second} < {"low", "middle", "high"}
    assert float(probability) > float(second_probability)
    assert float(milliseconds) > 0
    assert shown.err == ""


def test_json_is_one_prediction_per_line(bundle: Path, sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", str(bundle), str(sounds), "--json", "--threads", "1", "--backend", "onnxruntime"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = [msgspec.json.decode(line, type=Prediction) for line in lines]
    assert [Path(each.source).name for each in found] == ["case-0.wav", "case-1.wav", "case-2.wav"]
    assert all(line.startswith('{"schema":"mstedge.prediction/1"') for line in lines)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_file_that_cannot_be_read_is_named_and_the_others_go_on(
    bundle: Path, sounds: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    (sounds / "case-1.wav").write_bytes(b"no sound")
    (sounds / "text.txt").write_text("no sound either")
    inputs = [str(sounds / "text.txt"), str(sounds)]
    assert run(["predict", str(bundle), *inputs, *options]) == 1
    shown = capsys.readouterr()
    assert shown.out.count("case-0.wav") == shown.out.count("case-2.wav") == 1
    assert "case-1.wav" not in shown.out
    errors = [line for line in shown.err.splitlines() if line.startswith("error: ")]
    assert [str(sounds / name) in line for name, line in zip(("text.txt", "case-1.wav"), errors, strict=True)]
    assert "2 of 4 files could not be answered" in shown.err


def test_skipped_files_are_said(bundle: Path, sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(7):
        (sounds / f"note-{number}.txt").write_text("")
    assert run(["predict", str(bundle), str(sounds)]) == 0
    shown = capsys.readouterr()
    assert "note: skipped" in shown.err
    assert "note-4.txt and 2 more" in shown.err
    assert "note-" not in shown.out


def test_usage_errors(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wav = str(bundle / "golden/raw/case-0.wav")
    (tmp_path / "empty").mkdir()
    for arguments, message in {
        (str(bundle), str(tmp_path / "empty")): "no file to answer for",
        (str(bundle), str(tmp_path / "nowhere.wav")): "nowhere.wav: cannot be read: No such file or directory",
        (str(tmp_path / "empty"), wav): "is not a bundle",
        (str(tmp_path / "nowhere"), wav): "nowhere: there is no such folder",
        (str(bundle), wav, "--threads", "0"): "threads is 0: expected 1 or more",
        (str(bundle), wav, "--backend", "onnxrunt"): "did you mean 'onnxruntime'?",
        (str(bundle),): "INPUTS",
    }.items():
        assert run(["predict", *arguments]) == 2, arguments
        shown = capsys.readouterr()
        assert message.lower() in shown.err.lower()
        assert "Traceback" not in shown.err
        assert shown.out == ""


def test_names_are_shown_escaped_and_short(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = (bundle / "golden/raw/case-0.wav").read_bytes()
    names = [b"\x1b[2Jred\n.wav", b"\xff.wav", "ü.wav".encode(), b"long" * 60 + b".wav", b"\x1b[31mbad.wav"]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"x" if b"bad" in name else content)
    assert run(["predict", str(bundle), str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert "\\x1b[2Jred\\n.wav" in shown.out
    assert "\\xff.wav" in shown.out
    assert "ü.wav" in shown.out
    assert "…" in shown.out
    assert max(len(line) for line in shown.out.splitlines()) < 130
    assert len(shown.out.splitlines()) == 2 + 4
    assert "\\x1b[31mbad.wav" in shown.err


@pytest.mark.parametrize("verdict", ["fail", "inconclusive", "invalid"])
def test_bundle_that_did_not_pass_parity_warns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verdict: str
) -> None:
    folder = make_bundle(tmp_path / "bundle", "array", cases=2)
    change_json(folder, "parity/report.json", verdict=verdict)
    change_manifest(folder, parity={"verdict": verdict, "scope": "graph", "rows": 2})
    assert run(["predict", str(folder), str(folder / "golden/raw/case-0.npy")]) == 0
    assert "warning: This bundle " in capsys.readouterr().err


def test_second_best_of_an_unknown_is_the_best_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_bundle(tmp_path / "bundle", "array", cases=1)
    path = str(folder / "golden/raw/case-0.npy")
    assert run(["predict", str(folder), path]) == 0
    best = capsys.readouterr().out.splitlines()[-1].split()
    change_manifest(folder, postprocess={"threshold": 1.0, "unknown": "nobody"})
    assert run(["predict", str(folder), path]) == 0
    strict = capsys.readouterr().out.splitlines()[-1].split()
    assert strict[1:5] == ["nobody", best[2], best[1], best[2]]


def test_edited_front_end_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_bundle(tmp_path / "bundle", "audio", cases=1)
    change_manifest(folder, spec={**msgspec.to_builtins(SPECS["audio"]), "hop_samples": 50})
    assert run(["predict", str(folder), str(folder / "golden/raw/case-0.wav")]) == 1
    shown = capsys.readouterr()
    assert "the front end (spec) makes features of shape [1, 41, " in shown.err
    assert "hint: the spec was changed after export" in shown.err


@pytest.mark.parametrize("kind", ["audio", "image"])
def test_predict_and_verify_run_where_torch_and_onnx_are_not(tmp_path: Path, kind: Kind) -> None:
    folder = make_bundle(tmp_path / "bundle", kind, cases=2)
    done = subprocess.run(
        [sys.executable, "-c", BLOCKER, str(folder)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "raw/case-1." in done.stdout
    assert "PASS: factory-" in done.stdout
    assert "refused" not in done.stderr
