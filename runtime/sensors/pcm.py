"""Samples without a header, from a pipe: `arecord -t raw ... | mstedge predict BUNDLE -`."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from mstedge.errors import SampleError, UsageError
from mstedge.runtime.preprocess.decoded import MAX_AUDIO_CHANNELS, MAX_AUDIO_PEAK, MAX_SAMPLE_RATE_HZ
from mstedge.runtime.stream.sound_types import SoundChunk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from numpy.typing import NDArray
    from typing_extensions import Self

PcmEncoding: TypeAlias = Literal["s16le", "f32le"]

_TYPES: dict[PcmEncoding, str] = {"s16le": "<i2", "f32le": "<f4"}
_READ_BYTES = 1 << 16
# How long `close` from another thread may take to be noticed.
_LOOK_UP_S = 0.2


class PcmPipe:
    """A source of sound that waits for its reader: the pipe holds what is not read yet, and nothing is lost.

    Args:
        encoding: `s16le` (16-bit whole numbers) or `f32le` (floats with full scale 1), both little-endian.
        rate_hz: Sample rate.
        channels: Channels, interleaved.
        descriptor: What is read; it stays open. 0 is standard input.

    Attributes:
        left_over_bytes: Bytes behind the last whole frame, dropped at the end.

    Raises:
        UsageError: The encoding, rate or number of channels cannot be.
    """

    live = False
    lost_samples = 0

    def __init__(self, *, encoding: PcmEncoding, rate_hz: int, channels: int = 1, descriptor: int = 0) -> None:
        if encoding not in _TYPES:
            raise UsageError(f"samples as {encoding!r}: expected {' or '.join(_TYPES)}")
        if not 1 <= rate_hz <= MAX_SAMPLE_RATE_HZ:
            raise UsageError(f"a sample rate of {rate_hz} Hz: expected 1 to {MAX_SAMPLE_RATE_HZ}")
        if not 1 <= channels <= MAX_AUDIO_CHANNELS:
            raise UsageError(f"{channels} channels: expected 1 to {MAX_AUDIO_CHANNELS}")
        self.rate_hz, self.channels = rate_hz, channels
        self.left_over_bytes = 0
        self._encoding, self._descriptor = encoding, descriptor
        self._closed = False

    def chunks(self) -> Iterator[SoundChunk]:
        """Give the samples as they arrive, until the pipe ends or the source is closed.

        Raises:
            SampleError: They are another file's bytes, not finite, or far above full scale.
        """
        frame_bytes = self.channels * np.dtype(_TYPES[self._encoding]).itemsize
        pending, counter = b"", 0
        while content := self._arrived():
            pending += content
            if not counter:
                _refuse_wav(pending)
            whole = len(pending) - len(pending) % frame_bytes
            if not whole:
                continue
            samples = self._samples(pending[:whole], counter)
            pending = pending[whole:]
            yield SoundChunk(samples, self.rate_hz, counter)
            counter += len(samples)
        self.left_over_bytes = len(pending)

    def close(self) -> None:
        """End `chunks`, also from another thread; what is read from stays open."""
        self._closed = True

    def _arrived(self) -> bytes:
        """Wait for bytes; none at the end."""
        while not self._closed:
            try:
                ready, _, _ = select.select([self._descriptor], [], [], _LOOK_UP_S)
                if ready:
                    return os.read(self._descriptor, _READ_BYTES)
            except (OSError, ValueError) as problem:
                raise UsageError(f"standard input cannot be read: {problem}") from None
        return b""

    def _samples(self, content: bytes, counter: int) -> NDArray[np.float32]:
        stored = np.frombuffer(content, dtype=_TYPES[self._encoding]).reshape(-1, self.channels)
        samples: NDArray[np.float32] = stored.astype(np.float32)
        if self._encoding == "s16le":
            samples /= np.float32(32768)
            return samples
        peak = max(float(samples.max()), -float(samples.min()))
        if not peak <= MAX_AUDIO_PEAK:
            raise SampleError(
                f"standard input has a peak of {peak:g} after {counter / self.rate_hz:.3f} s: "
                f"expected full scale 1 and at most {MAX_AUDIO_PEAK:g}",
                hint="is it s16le, or big-endian?",
            )
        return samples

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _refuse_wav(content: bytes) -> None:
    """Find a WAV file where bare samples were promised: its header would be heard as a crackle."""
    if content.startswith((b"RIFF", b"RF64")):
        raise SampleError(
            "standard input is a WAV file: expected samples without a header",
            hint="give the file's name instead, or take the header off: sox FILE.wav -t raw -",
        )
