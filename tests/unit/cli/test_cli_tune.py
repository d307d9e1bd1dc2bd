"""`mstedge tune`: what a person sees, what a script reads, which bundle stands there, and how it ends."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bundle_factory import LABELS, make_bundle

from mstedge.cli import run
from mstedge.runtime.bundle import open_bundle
from mstedge.runtime.postprocess import softmax
from mstedge.runtime.predictor import load
from mstedge.tuning import Tuning

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
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 240 arrays whose labels are drawn from what the network thinks, and 80 of no class."""
    folder = tmp_path_factory.mktemp("data")
    predictor = load(make_bundle(folder / "network", "array", cases=1), threads=1)
    generator = np.random.default_rng(0)
    lines = []
    for number in range(320):
        values = (generator.normal(size=(4, 6)) * (4 if number < 240 else 1)).astype(np.float32)
        np.save(folder / f"{number}.npy", values)
        chosen = generator.choice(3, p=softmax(predictor.logits(values)))
        lines.append(f"{number}.npy,{LABELS[chosen] if number < 240 else 'unknown'}\n")
    (folder / "classes.csv").write_text("array,label\n" + "".join(lines[:240]))
    (folder / "negatives.csv").write_text("array,label\n" + "".join(lines))
    return folder


@pytest.fixture
def bundle(tmp_path: Path, data: Path) -> Path:
    return Path(shutil.copytree(data / "network", tmp_path / "numbers.bundle"))


def test_person_sees_both_rules_and_gets_a_bundle(bundle: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["--data", str(data / "classes.csv")]
    assert run(["tune", str(bundle), *rows, "--false-alarms", "0.15", "--threads", "1"]) == 0
    shown = capsys.readouterr()
    tuned = bundle.with_name("numbers-tuned.bundle")
    rule = open_bundle(tuned).manifest.postprocess
    lines = {line.split("  ")[0]: line.split() for line in shown.out.splitlines()}
    assert lines["temperature"][1:] == ["1", f"{rule.temperature:g}"]
    assert lines["threshold"][1:] == ["0", f"{rule.threshold:g}"]
    assert rule.threshold > 0
    assert "on one half of the recordings, measured on the other: 120 rows of 120 recordings, 120 rows" in shown.out
    assert "(" in " ".join(lines["false alarms"])
    assert "false alarms: rows that are answered with a wrong class" in shown.out
    assert "SHOWN" in shown.out or "NOT" in shown.out
    assert f"bundle: {tuned}" in shown.err
    assert run(["verify", str(tuned)]) == 0
    assert run(["parity", str(tuned)]) == 0


def test_json_is_the_record(bundle: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "elsewhere/new.bundle"
    rows = ["--data", str(data / "negatives.csv"), "--false-alarms", "0.2"]
    assert run(["tune", str(bundle), *rows, "-o", str(target), "--json"]) == 0
    found = msgspec.json.decode(capsys.readouterr().out, type=Tuning)
    assert (found.alarms_over, found.negatives, found.data) == ("negatives", 80, "negatives.csv")
    assert found.new_rule == open_bundle(target).manifest.postprocess
    assert found.asked_rate == 0.2
    assert not bundle.with_name("numbers-tuned.bundle").exists()


def test_row_that_cannot_be_read_is_named_and_ends_with_one(
    bundle: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (data / "classes.csv").read_text().replace("\n", f"\n{data}/")
    (tmp_path / "rows.csv").write_text(text.removesuffix(f"{data}/") + "broken\x1b[2J.npy,low\n")
    (tmp_path / "broken\x1b[2J.npy").write_bytes(b"nothing")
    assert run(["tune", str(bundle), "--data", str(tmp_path / "rows.csv")]) == 1
    out = capsys.readouterr().out
    assert "1 of 241 files could not be read and count nowhere above:" in out
    assert "\x1b" not in out
    assert open_bundle(bundle.with_name("numbers-tuned.bundle")).manifest.postprocess.temperature != 1.0


def test_signature_is_left_out_and_that_is_said(bundle: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / "SIGNATURE").write_bytes(b"of somebody")
    assert run(["tune", str(bundle), "--data", str(data / "classes.csv")]) == 0
    assert "says nothing of the new bundle: mstedge sign" in capsys.readouterr().err
    assert not (bundle.with_name("numbers-tuned.bundle") / "SIGNATURE").exists()


def test_usage_errors_write_nothing(
    bundle: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ("--data", str(data / "classes.csv"))
    for arguments, message in {
        (*rows, "--false-alarms", "0.01"): "381 recordings without a single one would",
        (*rows, "--false-alarms", "5"): "expected a share between 0 and 1",
        (*rows, "-o", str(bundle)): "is or holds the bundle that is read",
        (*rows, "-o", str(data)): "exists and is not a bundle",
        ("--data", str(tmp_path / "none.csv")): "there is no such file or folder",
        (): "--data",
    }.items():
        assert run(["tune", str(bundle), *arguments]) == 2, arguments
        shown = capsys.readouterr()
        assert message in shown.err
        assert shown.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["numbers.bundle"]


def test_runs_where_torch_and_onnx_are_not(bundle: Path, data: Path) -> None:
    command = [sys.executable, "-c", REFUSING, "tune", str(bundle), "--data", str(data / "classes.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "negative log likelihood" in done.stdout
