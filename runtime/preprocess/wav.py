"""The RIFF/WAVE container.

The standard library's `wave` refuses the extensible header that recorders write (before Python 3.12) and float
samples, and does not compare what a header announces with what the file holds; the format is small enough to read here.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mstedge.errors import SampleError
from mstedge.runtime.preprocess.decoded import MAX_AUDIO_CHANNELS, MAX_AUDIO_VALUES, MAX_SAMPLE_RATE_HZ

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_MAX_CHUNKS = 1000
_FORMAT_BYTES = 16
_EXTENSIBLE_BYTES = 40


@dataclass(frozen=True, slots=True)
class WavSamples:
    """Where the samples of a WAV file stand, and how they are written.

    Attributes:
        encoding: 1 for whole numbers, 3 for floating point.
        channels: Channels.
        rate_hz: Sample rate.
        bits: Bits of one sample.
        frame_bytes: Bytes of one sample of every channel.
        offset: Where in the file the first one stands.
        size: Bytes of all of them, as announced.
    """

    encoding: int
    channels: int
    rate_hz: int
    bits: int
    frame_bytes: int
    offset: int = 0
    size: int = 0


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
        found = find_wav_samples(stream, path)
        if found is None:
            return None
        check_sound_header(path, found.size // found.frame_bytes, found.channels, found.rate_hz)
        content = bytearray(found.size)
        if stream.readinto(content) < found.size:
            raise SampleError(f"{path}: truncated while it was read")
    return samples_from_wav_bytes(content, found), found.rate_hz


def find_wav_samples(stream: BufferedReader, path: Path) -> WavSamples | None:
    """Read the header and leave the file at the first sample.

    Args:
        stream: The file, at its start.
        path: What to call it.

    Returns:
        Where the samples stand; none for another container or encoding.

    Raises:
        SampleError: The header makes no sense or announces more than the file holds.
    """
    head = stream.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    layout: WavSamples | None = None
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
            return _checked(replace(layout, offset=stream.tell(), size=size), stream, path)
        else:
            stream.seek(size + size % 2, os.SEEK_CUR)
    raise SampleError(f"{path}: damaged: no samples in the first {_MAX_CHUNKS} chunks")


def samples_from_wav_bytes(content: bytearray, layout: WavSamples) -> NDArray[Any]:
    """Turn bytes of a WAV file into samples.

    Args:
        content: Whole frames; what is returned may be its memory.
        layout: How they are written.

    Returns:
        [samples, channels]: int16 as stored for 16 bits, otherwise float32 or float64 with full scale 1.
    """
    samples: NDArray[Any]
    if layout.encoding == _FLOAT or layout.bits == 16:
        kind = "f" if layout.encoding == _FLOAT else "i"
        stored = np.frombuffer(content, dtype=f"<{kind}{layout.bits // 8}")
        samples = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    elif layout.bits == 8:
        samples = np.frombuffer(content, dtype=np.uint8).astype(np.float32)
        samples -= np.float32(128)
        samples /= np.float32(128)
    else:
        samples = _wide_integers(content, layout.bits).astype(np.float32)
        samples /= np.float32(2.0**31)
    return samples.reshape(-1, layout.channels)


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
    check_sound_kind(source, samples, channels, rate_hz)
    if samples * channels > MAX_AUDIO_VALUES:
        raise SampleError(
            f"{source}: {samples} samples in {channels} channels: at most {MAX_AUDIO_VALUES} in all are read",
            hint=f"cut it into recordings of at most {MAX_AUDIO_VALUES // channels / rate_hz:.0f} s",
        )


def check_sound_kind(source: Path, samples: int, channels: int, rate_hz: int) -> None:
    """Refuse what no sound can be, whatever its length; the arguments and errors are those of `check_sound_header`."""
    if not 1 <= rate_hz <= MAX_SAMPLE_RATE_HZ:
        raise SampleError(f"{source}: a sample rate of {rate_hz} Hz: expected 1 to {MAX_SAMPLE_RATE_HZ}")
    if not 1 <= channels <= MAX_AUDIO_CHANNELS:
        raise SampleError(f"{source}: {channels} channels: expected 1 to {MAX_AUDIO_CHANNELS}")
    if samples <= 0:
        raise SampleError(f"{source}: holds no samples")


def _chunk(stream: BufferedReader, path: Path) -> tuple[bytes, int]:
    head = stream.read(8)
    if len(head) < 8:
        raise SampleError(f"{path}: truncated: the file ends before its samples")
    name, size = struct.unpack("<4sI", head)
    return name, size


def _layout(text: bytes, path: Path) -> WavSamples | None:
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
    return WavSamples(encoding, channels, rate_hz, bits, frame_bytes)


def _checked(layout: WavSamples, stream: BufferedReader, path: Path) -> WavSamples:
    """Refuse samples that are not there, or not in whole frames, or at no rate."""
    present = os.fstat(stream.fileno()).st_size - layout.offset
    if layout.size > present:
        raise SampleError(
            f"{path}: truncated: its header announces {layout.size} bytes of samples, {present} are there",
            hint="write it again with a tool that fills in the length, if it was written to a pipe",
        )
    check_sound_kind(path, layout.size // max(1, layout.frame_bytes), layout.channels, layout.rate_hz)
    if layout.size % layout.frame_bytes:
        raise SampleError(
            f"{path}: damaged: {layout.size} bytes are no whole number of {layout.frame_bytes}-byte frames"
        )
    return layout


def _wide_integers(content: bytearray, bits: int) -> NDArray[np.int32]:
    """Samples of 24 or 32 bits, full scale 2^31."""
    if bits == 24:
        wide = np.zeros((len(content) // 3, 4), dtype=np.uint8)
        wide[:, 1:] = np.frombuffer(content, dtype=np.uint8).reshape(-1, 3)
        return wide.view("<i4").reshape(-1)
    return np.frombuffer(content, dtype="<i4")
