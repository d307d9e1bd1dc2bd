"""Files to decoded inputs, within limits that are checked before anything large is read."""

from __future__ import annotations

import stat
from pathlib import Path

from mstedge.errors import SampleError
from mstedge.runtime.preprocess.array_files import decode_array_file
from mstedge.runtime.preprocess.decoded import Decoded
from mstedge.runtime.preprocess.image_files import decode_image_file
from mstedge.runtime.preprocess.sound_files import decode_sound_file
from mstedge.specs import AudioSpec, ImageSpec, Spec

READABLE_SUFFIXES: dict[str, tuple[str, ...]] = {
    "audio": (".wav", ".flac", ".ogg", ".mp3"),
    "image": (".png", ".jpg", ".jpeg", ".bmp"),
    "array": (".npy",),
}


def decode_file(path: Path, spec: Spec) -> Decoded:
    """Decode a file of the spec's kind.

    Sound keeps its rate and channels (WAV needs no package; other formats need soundfile). Pictures become 8-bit BGR,
    turned upright as their EXIF orientation says, without transparency.

    Args:
        path: A regular file whose suffix is in `READABLE_SUFFIXES` for the spec's kind.
        spec: The front end that it is meant for.

    Raises:
        SampleError: The file is missing, empty, damaged, too large or of another kind; the message names it.
        MissingPackageError: Its format needs soundfile or OpenCV, which is not installed.
    """
    kind = "audio" if isinstance(spec, AudioSpec) else "image" if isinstance(spec, ImageSpec) else "array"
    suffixes = READABLE_SUFFIXES[kind]
    if path.suffix.lower() not in suffixes:
        raise SampleError(
            f"{path}: the suffix {path.suffix!r} is not one that this {kind} front end reads: {', '.join(suffixes)}"
        )
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise SampleError(f"{path}: not a regular file")
        if status.st_size == 0:
            raise SampleError(f"{path}: the file is empty")
        if isinstance(spec, AudioSpec):
            return decode_sound_file(path)
        if isinstance(spec, ImageSpec):
            return decode_image_file(path)
        return decode_array_file(path, spec)
    except OSError as problem:
        raise SampleError(f"{path}: cannot be read: {problem.strerror or problem}") from None
