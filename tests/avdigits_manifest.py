"""Make a folder of one's own data from spoken and handwritten digits, as a user would bring it.

    python tests/avdigits_manifest.py --source ../shared/data/avdigits --output FOLDER

The source holds `recordings.tar.xz` (Free Spoken Digit Dataset, Z. Jackson et al., CC BY-SA 4.0: 8 kHz wav,
`{digit}_{speaker}_{n}.wav`), `images-idx3-ubyte.gz` and `labels-idx1-ubyte.gz` (from MNIST, Y. LeCun, C. Cortes,
C. Burges). Nothing of it is part of this project, and what is written here stays out of it.

Each recording is paired with an image of the same digit. No speaker and no image stands in two parts.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import re
import struct
import sys
import tarfile
import zlib
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PART_OF_SPEAKER = {"jackson": "train", "nicolas": "train", "yweweler": "validation", "lucas": "test"}
COLUMNS = ("id", "sound", "picture", "label", "split", "group", "cluster")
_RECORDING = re.compile(r"recordings/(?P<name>(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<take>\d+))\.wav")
_MAX_RECORDING_BYTES = 1 << 20


def write_manifest(source: Path, output: Path, *, recordings_per_digit: int | None = None, seed: int = 0) -> Path:
    """Write wavs, PNGs and the manifest that pairs them.

    Args:
        source: Folder of the three archives.
        output: Folder to fill; made if there is none.
        recordings_per_digit: At most so many of each speaker and digit, the first takes; none for all.
        seed: Decides which image a recording is paired with.

    Returns:
        The manifest, `manifest.csv` in the output folder.
    """
    names = _write_recordings(source / "recordings.tar.xz", output / "sound", recordings_per_digit)
    images, digits = _read_images(source)
    (output / "picture").mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    unused = {digit: generator.permutation(np.flatnonzero(digits == digit)).tolist() for digit in range(10)}
    manifest = output / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for name in names:
            digit, speaker, _ = name.split("_")
            image = unused[int(digit)].pop()
            picture = f"picture/{image:04d}.png"
            (output / picture).write_bytes(png_from_grey(images[image]))
            writer.writerow([name, f"sound/{name}.wav", picture, digit, PART_OF_SPEAKER[speaker], speaker, name])
    return manifest


def png_from_grey(pixels: NDArray[np.uint8]) -> bytes:
    """Encode uint8 [height, width] as a grey PNG."""
    height, width = pixels.shape
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def _write_recordings(archive: Path, folder: Path, per_digit: int | None) -> list[str]:
    """Copy recordings out by names that are checked and rebuilt: nothing in the archive decides where a file lands."""
    folder.mkdir(parents=True, exist_ok=True)
    kept: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    with tarfile.open(archive, "r:xz") as tar:
        members = {member.name: member for member in tar if member.isreg()}
        for path in members:
            match = _RECORDING.fullmatch(path)
            if match is not None and match["speaker"] in PART_OF_SPEAKER:
                kept[match["digit"], match["speaker"]].append((int(match["take"]), match["name"]))
        names = [name for takes in kept.values() for _, name in sorted(takes)[:per_digit]]
        chosen = set(names)
        for path, member in members.items():  # in the order of the archive: a compressed one cannot be searched
            match = _RECORDING.fullmatch(path)
            if match is not None and match["name"] in chosen:
                (folder / f"{match['name']}.wav").write_bytes(_content(tar, member))
    return sorted(names)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    if stream is None or member.size > _MAX_RECORDING_BYTES:
        raise ValueError(f"{member.name}: not a recording of at most {_MAX_RECORDING_BYTES} bytes")
    return stream.read()


def _read_images(source: Path) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    pixels = gzip.decompress((source / "images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((source / "labels-idx1-ubyte.gz").read_bytes())
    _, count, height, width = struct.unpack(">IIII", pixels[:16])
    images = np.frombuffer(pixels, dtype=np.uint8, offset=16).reshape(count, height, width)
    return images, np.frombuffer(labels, dtype=np.uint8, offset=8)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Make a manifest of spoken and handwritten digits.")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--recordings-per-digit", type=int)
    arguments = parser.parse_args()
    manifest = write_manifest(arguments.source, arguments.output, recordings_per_digit=arguments.recordings_per_digit)
    sys.stdout.write(f"{manifest}\n")


if __name__ == "__main__":
    main()
