"""The RIFF/WAVE container.

The standard library's `wave` refuses the extensible header that recorders write (before Python 3.12) and float
samples, and does not compare what a header announces with what the file holds; the format is small enough to read here.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mstedge.errors import SampleError
from mstedge.runtime.preprocess.decoded import MAX_AUDIO_CHANNELS, MAX_AUDIO_VALUES, MAX_SAMPLE_RATE_HZ

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_MAX_CHUNKS = 1000
_FORMAT_BYTES = 16
_EXTENSIBLE_BYTES = 40


@dataclass(frozen=True, slots=True)
class _Layout:
    encoding: int
    channels: int
    rate_hz: int
    bits: int
    frame_bytes: int


def read_wav(path: Path) -> tuple[NDArray[Any], int] | None:
    """Read a WAV file of PCM or float samples.

    Args:
        path: The file.

    Returns:
        Samples [samples, channels] and the rate in Hz: int16 as stored for 16 bits, otherwise float32 or float64 with
        full scale 1. None if it is no RIFF/WAVE file or has another encoding, which soundfile may know.

    Raises:
        SampleError: The header makes no sense, announces more than the file holds, or more than the limit.
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        head = stream.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return None
        layout: _Layout | None = None
        for _ in range(_MAX_CHUNKS):
            name, size = _chunk(stream, path)
            if name == b"fmt ":
                layout = _layout(stream.read(min(size, _EXTENSIBLE_BYTES)), path)
                if layout is None:
                    return None
                stream.seek(max(0, size - _EXTENSIBLE_BYTES) + size % 2, os.SEEK_CUR)
            elif name == b"data":
                if layout is None:
                    raise SampleError(f"{path}: damaged: the samples come before their format")
                return _samples(_data(stream, size, layout, path), layout), layout.rate_hz
            else:
                stream.seek(size + size % 2, os.SEEK_CUR)
    raise SampleError(f"{path}: damaged: no samples in the first {_MAX_CHUNKS} chunks")


def check_sound_header(source: Path, samples: int, channels: int, rate_hz: int) -> None:
    """Refuse what a header announces before anything is allocated for it.

    Args:
        source: The file, for the message.
        samples: Announced samples of each channel.
        channels: Announced channels.
        rate_hz: Announced rate.

    Raises:
        SampleError: No samples, too many, too many channels, or an impossible rate.
    """
    if not 1 <= rate_hz <= MAX_SAMPLE_RATE_HZ:
        raise SampleError(f"{source}: a sample rate of {rate_hz} Hz: expected 1 to {MAX_SAMPLE_RATE_HZ}")
    if not 1 <= channels <= MAX_AUDIO_CHANNELS:
        raise SampleError(f"{source}: {channels} channels: expected 1 to {MAX_AUDIO_CHANNELS}")
    if samples <= 0:
        raise SampleError(f"{source}: holds no samples")
    if samples * channels > MAX_AUDIO_VALUES:
        raise SampleError(
            f"{source}: {samples} samples in {channels} channels: at most {MAX_AUDIO_VALUES} in all are read",
            hint=f"cut it into recordings of at most {MAX_AUDIO_VALUES // channels / rate_hz:.0f} s",
        )


def _chunk(stream: BinaryIO, path: Path) -> tuple[bytes, int]:
    head = stream.read(8)
    if len(head) < 8:
        raise SampleError(f"{path}: truncated: the file ends before its samples")
    name, size = struct.unpack("<4sI", head)
    return name, size


def _layout(text: bytes, path: Path) -> _Layout | None:
    """Read the format chunk; none for an encoding that is not plain samples."""
    if len(text) < _FORMAT_BYTES:
        raise SampleError(f"{path}: damaged: a format chunk of {len(text)} bytes: expected at least {_FORMAT_BYTES}")
    encoding, channels, rate_hz, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", text)
    if encoding == _EXTENSIBLE and len(text) >= _EXTENSIBLE_BYTES:
        encoding = struct.unpack_from("<H", text, 24)[0]
    if (encoding, bits) not in {(_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)}:
        return None
    if frame_bytes != channels * bits // 8:
        raise SampleError(f"{path}: damaged: {frame_bytes} bytes for {channels} channels of {bits} bits")
    return _Layout(encoding, channels, rate_hz, bits, frame_bytes)


def _data(stream: BinaryIO, size: int, layout: _Layout, path: Path) -> bytes:
    present = os.fstat(stream.fileno()).st_size - stream.tell()
    if size > present:
        raise SampleError(
            f"{path}: truncated: its header announces {size} bytes of samples, {present} are there",
            hint="write it again with a tool that fills in the length, if it was written to a pipe",
        )
    check_sound_header(path, size // max(1, layout.frame_bytes), layout.channels, layout.rate_hz)
    if size % layout.frame_bytes:
        raise SampleError(f"{path}: damaged: {size} bytes are no whole number of {layout.frame_bytes}-byte frames")
    content = stream.read(size)
    if len(content) < size:
        raise SampleError(f"{path}: truncated while it was read")
    return content


def _samples(content: bytes, layout: _Layout) -> NDArray[Any]:
    samples: NDArray[Any]
    if layout.encoding == _FLOAT or layout.bits == 16:
        kind = "f" if layout.encoding == _FLOAT else "i"
        stored = np.frombuffer(content, dtype=f"<{kind}{layout.bits // 8}")
        samples = stored.astype(stored.dtype.newbyteorder("="))
    elif layout.bits == 8:
        samples = (np.frombuffer(content, dtype=np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
    else:
        samples = _wide_integers(content, layout.bits).astype(np.float32) / np.float32(2.0**31)
    return samples.reshape(-1, layout.channels)


def _wide_integers(content: bytes, bits: int) -> NDArray[np.int32]:
    """Samples of 24 or 32 bits, full scale 2^31."""
    if bits == 24:
        wide = np.zeros((len(content) // 3, 4), dtype=np.uint8)
        wide[:, 1:] = np.frombuffer(content, dtype=np.uint8).reshape(-1, 3)
        content = wide.tobytes()
    return np.frombuffer(content, dtype="<i4").astype(np.int32)
