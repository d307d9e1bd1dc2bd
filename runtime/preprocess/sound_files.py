"""Sound files: WAV by the standard library and numpy, other formats through soundfile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mstedge.runtime.preprocess.arrays import decoded_sound
from mstedge.runtime.preprocess.decoded import Decoded
from mstedge.runtime.preprocess.soundfile_package import opened_by_soundfile, require_whole
from mstedge.runtime.preprocess.wav import check_sound_header, read_wav


def decode_sound_file(path: Path) -> Decoded:
    """Decode a sound file at its own rate, all channels.

    Args:
        path: WAV (PCM of 8, 16, 24, 32 bits or float) without any package; FLAC, OGG, MP3 and the rarer WAV
            encodings (RF64, A-law) through soundfile.

    Raises:
        SampleError: It is damaged, truncated, empty or longer than the limit.
        MissingPackageError: Its format needs soundfile, which is not installed.
        OSError: It cannot be read.
    """
    found = read_wav(path) if path.suffix.lower() == ".wav" else None
    samples, rate_hz = found if found is not None else _read_with_soundfile(path)
    return decoded_sound(samples, rate_hz, str(path))


def _read_with_soundfile(path: Path) -> tuple[NDArray[np.float32], int]:
    with opened_by_soundfile(path) as recording:
        announced = recording.frames
        check_sound_header(path, announced, recording.channels, recording.samplerate)
        samples: NDArray[Any] = recording.read(announced, dtype="float32", always_2d=True)
        require_whole(path, recording, len(samples))
        return samples, recording.samplerate
