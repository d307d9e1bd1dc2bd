"""The package soundfile: every sound format that is not plain WAV."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mstedge.errors import MissingPackageError, SampleError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def opened_by_soundfile(path: Path) -> Iterator[Any]:
    """Open a recording.

    Args:
        path: The file; its content decides the format.

    Yields:
        A `soundfile.SoundFile`, closed at the end.

    Raises:
        SampleError: It cannot be decoded, when it is opened or inside the block.
        MissingPackageError: soundfile is not installed.
        OSError: It cannot be read.
    """
    try:
        import soundfile  # noqa: PLC0415  plain WAV files do without it
    except (ImportError, OSError):  # OSError: the package is there, its C library is not
        raise MissingPackageError("soundfile", purpose=f"reading {path}", extra="audio") from None
    try:
        with path.open("rb") as stream, soundfile.SoundFile(stream) as recording:
            yield recording
    except soundfile.SoundFileError as problem:
        reason = str(problem).rpartition(">: ")[2]  # what it says of the stream it was given means nothing to a user
        raise SampleError(f"{path}: cannot be decoded: {reason}") from None


def require_whole(path: Path, recording: Any, found: int) -> None:
    """Refuse a recording of which less was read than its header announces.

    Args:
        path: What to call it.
        recording: The open `soundfile.SoundFile`.
        found: Samples of each channel that were read.

    Raises:
        SampleError: The end is missing.
    """
    # The length that an MP3 announces is an estimate.
    if found < recording.frames and recording.format not in {"MP3", "MPEG"}:
        raise SampleError(f"{path}: truncated: its header announces {recording.frames} samples, {found} are there")
