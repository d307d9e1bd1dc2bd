"""The script that makes a manifest of spoken and handwritten digits, on archives of the same form."""

from __future__ import annotations

import csv
import gzip
import io
import struct
import tarfile
import wave
from pathlib import Path

import numpy as np
import pytest
from avdigits_manifest import PART_OF_SPEAKER, write_manifest

from mstedge.cli import run

cv2 = pytest.importorskip("cv2")
TAKES = 3
IMAGES_PER_DIGIT = 16


def wav_bytes() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(2 * 3000))
    return buffer.getvalue()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    names = [f"{digit}_{who}_{take}" for digit in range(10) for who in PART_OF_SPEAKER for take in range(TAKES)]
    paths = [f"recordings/{name}.wav" for name in names]
    with tarfile.open(folder / "recordings.tar.xz", "w:xz", preset=0) as tar:
        for path in [*paths, "../0_lucas_9.wav", "recordings/../../1_lucas_9.wav", "/2_lucas_9.wav"]:
            member = tarfile.TarInfo(path)
            member.size = len(wav_bytes())
            tar.addfile(member, io.BytesIO(wav_bytes()))
    count = 10 * IMAGES_PER_DIGIT
    pixels = np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    header = struct.pack(">IIII", 0x803, count, 28, 28)
    (folder / "images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels.tobytes()))
    labels = np.arange(count, dtype=np.uint8) % 10
    (folder / "labels-idx1-ubyte.gz").write_bytes(gzip.compress(struct.pack(">II", 0x801, count) + labels.tobytes()))
    return folder


def test_pairs_are_of_one_digit_and_nothing_is_in_two_parts(source: Path, tmp_path: Path) -> None:
    manifest = write_manifest(source, tmp_path / "out", recordings_per_digit=2)
    with manifest.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 10 * 4 * 2
    assert len({row["picture"] for row in rows}) == len(rows)
    assert {row["group"]: row["split"] for row in rows} == PART_OF_SPEAKER
    for row in rows:
        assert int(Path(row["picture"]).stem) % 10 == int(row["label"]) == int(row["cluster"][0])
    assert sorted(path.name for path in tmp_path.rglob("*_9.wav")) == []


def test_pictures_are_the_pixels_of_the_source(source: Path, tmp_path: Path) -> None:
    manifest = write_manifest(source, tmp_path / "out", recordings_per_digit=1)
    pixels = np.random.default_rng(0).integers(0, 256, (10 * IMAGES_PER_DIGIT, 28, 28), dtype=np.uint8)
    for path in (manifest.parent / "picture").iterdir():
        assert (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) == pixels[int(path.stem)]).all()


def test_init_makes_a_recipe_of_it(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_manifest(source, tmp_path / "out")
    assert run(["init", str(manifest)]) == 0
    captured = capsys.readouterr()
    assert "10 classes; rows: 60 train, 30 validation, 30 test" in captured.err
    for line in ("sample_rate_hz: 8000", "clip_samples: 3200", "width: 28", "colour: grey", "modality: sound"):
        assert f"{line}\n" in captured.out
