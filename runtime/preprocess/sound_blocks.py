"""A recording read block by block: hours of sound in little memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mstedge.errors import SampleError
from mstedge.runtime.preprocess.arrays import decoded_sound
from mstedge.runtime.preprocess.soundfile_package import opened_by_soundfile, require_whole
from mstedge.runtime.preprocess.wav import WavSamples, check_sound_kind, find_wav_samples, samples_from_wav_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RecordingHead:
    """What the header of a recording says.

    Attributes:
        rate_hz: Sample rate.
        channels: Channels.
        samples: Samples of each channel; for MP3 an estimate.
    """

    rate_hz: int
    channels: int
    samples: int


def read_recording_head(path: Path) -> RecordingHead:
    """Read the header alone.

    Args:
        path: As for `decode_sound_file`.

    Raises:
        SampleError: It is damaged, holds no samples, or fewer than it announces.
        MissingPackageError: Its format needs soundfile, which is not installed.
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        layout = find_wav_samples(stream, path) if path.suffix.lower() == ".wav" else None
    if layout is not None:
        return RecordingHead(layout.rate_hz, layout.channels, layout.size // layout.frame_bytes)
    with opened_by_soundfile(path) as recording:
        check_sound_kind(path, recording.frames, recording.channels, recording.samplerate)
        return RecordingHead(recording.samplerate, recording.channels, recording.frames)


def sound_blocks(path: Path, block_samples: int) -> Iterator[NDArray[np.float32]]:
    """Read a recording of any length.

    Args:
        path: As for `decode_sound_file`; all blocks together equal what that gives, bit for bit.
        block_samples: Samples of each channel in one block; the last one may be shorter.

    Yields:
        float32 [samples, channels], full scale 1.

    Raises:
        SampleError: It is damaged, truncated, empty or not finite.
        MissingPackageError: Its format needs soundfile, which is not installed.
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        layout = find_wav_samples(stream, path) if path.suffix.lower() == ".wav" else None
        if layout is not None:
            yield from _wav_blocks(stream, layout, block_samples, path)
            return
    with opened_by_soundfile(path) as recording:
        yield from _other_blocks(recording, block_samples, path)


def _wav_blocks(
    stream: BufferedReader, layout: WavSamples, block_samples: int, path: Path
) -> Iterator[NDArray[np.float32]]:
    left = layout.size
    while left:
        content = bytearray(min(left, block_samples * layout.frame_bytes))
        if stream.readinto(content) < len(content):
            raise SampleError(f"{path}: truncated while it was read")
        left -= len(content)
        yield decoded_sound(samples_from_wav_bytes(content, layout), layout.rate_hz, str(path)).values


def _other_blocks(recording: Any, block_samples: int, path: Path) -> Iterator[NDArray[np.float32]]:
    check_sound_kind(path, recording.frames, recording.channels, recording.samplerate)
    found = 0
    while len(samples := recording.read(block_samples, dtype="float32", always_2d=True)):
        found += len(samples)
        yield decoded_sound(samples, recording.samplerate, str(path)).values
    require_whole(path, recording, found)
