"""One's own data, on real ones: handwritten digits and speech of four people, speakers apart."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from avdigits_manifest import write_manifest

from mstedge.cli import run

SOURCE = Path(__file__).parents[3] / "shared" / "data" / "avdigits"
SHORT = ("--set=stages.collaborative.epochs=15", "--set=stages.specialise.epochs=1", "--set=stages.distill.epochs=5")


@pytest.mark.skipif(
    not SOURCE.is_dir(), reason="the recordings (8,000 digits, 2,000 spoken ones) are not on this machine"
)
def test_an_audio_student_answers_for_a_speaker_it_never_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write_manifest(SOURCE, tmp_path / "data", recordings_per_digit=10)
    monkeypatch.chdir(tmp_path)
    assert run(["init", str(manifest), "-o", str(tmp_path / "recipe.yaml")]) == 0
    assert run(["distill", "recipe.yaml", "-o", "run", *SHORT]) == 0
    assert run(["export", "run", "-o", "speech.bundle"]) == 0
    assert run(["verify", "speech.bundle"]) == 0
    with manifest.open(newline="") as stream:
        heard_never = [row for row in csv.DictReader(stream) if row["split"] == "test"]
    files = [str(manifest.parent / row["sound"]) for row in heard_never]
    capsys.readouterr()
    assert run(["predict", "speech.bundle", "--json", *files]) == 0
    answers = [json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()]
    right = sum(answer == row["label"] for answer, row in zip(answers, heard_never, strict=True))
    card = json.loads(Path("run/run.json").read_text())
    test = next(each for each in card["metrics"] if each["part"] == "test")
    assert right / len(files) == pytest.approx(test["accuracy"])
    assert test["accuracy"] > 0.25  # a tenth is chance; so few recordings and epochs give about a half
    golden = {path.name for path in Path("speech.bundle/golden").iterdir()}
    assert golden == {"cases.json", "features.npy", "logits.npy"}  # voices were not declared shareable
