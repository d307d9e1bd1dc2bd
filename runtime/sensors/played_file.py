"""A recording that plays as if it were a microphone, or as fast as it is read."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from mstedge.errors import SampleError, UsageError
from mstedge.runtime.preprocess.sound_blocks import read_recording_head, sound_blocks
from mstedge.runtime.sensors.newest import Newest
from mstedge.runtime.stream.sound_types import SoundChunk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

_BLOCKS_PER_SECOND = 50
_HELD_SECONDS = 2.0


class PlayedFile:
    """A sound file as a source of sound; hours of it need little memory.

    Args:
        path: WAV, or what soundfile reads.
        speed: How much faster than real time it plays; late readers then lose the oldest blocks, as with a microphone.
            None: as fast as it is read, and nothing is lost.
        block_samples: Samples of each channel in one chunk; none for 20 ms.
        held_seconds: Sound that waits for a late reader before the oldest is lost.

    Raises:
        SampleError: It is no recording that can be read.
        MissingPackageError: Its format needs soundfile, which is not installed.
        UsageError: The speed or the size of a block is not above zero.
    """

    def __init__(
        self,
        path: Path,
        *,
        speed: float | None = None,
        block_samples: int | None = None,
        held_seconds: float = _HELD_SECONDS,
    ) -> None:
        try:
            head = read_recording_head(path)
        except OSError as problem:
            raise SampleError(f"{path}: cannot be read: {problem.strerror or problem}") from None
        self._path, self._speed = path, speed
        self.rate_hz, self.channels, self.lost_samples = head.rate_hz, head.channels, 0
        self._block_samples = max(1, head.rate_hz // _BLOCKS_PER_SECOND) if block_samples is None else block_samples
        if self._block_samples < 1 or (speed is not None and not speed > 0):
            raise UsageError(f"blocks of {block_samples} samples at speed {speed}: expected values above zero")
        held = max(1, round(held_seconds * head.rate_hz / self._block_samples))
        self._blocks: Newest[SoundChunk] = Newest(held)
        self._closed = threading.Event()
        self._player: threading.Thread | None = None

    @property
    def live(self) -> bool:
        """Whether it plays by the clock."""
        return self._speed is not None

    def chunks(self) -> Iterator[SoundChunk]:
        """Give the sound from its beginning, until it ends or the source is closed. It plays from the first call.

        Raises:
            SampleError: The file is damaged further on.
        """
        if self._speed is None:
            yield from self._read()
            return
        if self._player is None:
            player = threading.Thread(target=self._play, args=(self._speed,), name="played file", daemon=True)
            player.start()
            self._player = player  # only now: `close` may not join a thread that did not start
        while (chunk := self._blocks.take()) is not None:
            yield chunk

    def close(self) -> None:
        """Stop playing; what a late reader has not taken yet is still handed out."""
        self._closed.set()
        if self._player is not None and self._player is not threading.current_thread():
            self._player.join()

    def _read(self) -> Iterator[SoundChunk]:
        start = 0
        try:
            for samples in sound_blocks(self._path, self._block_samples):
                if self._closed.is_set():
                    return
                yield SoundChunk(samples, self.rate_hz, start)
                start += len(samples)
        except OSError as problem:
            raise SampleError(f"{self._path}: cannot be read: {problem.strerror or problem}") from None

    def _play(self, speed: float) -> None:
        """Hand out every block when its last sample would have been heard."""
        began = time.monotonic()
        try:
            for chunk in self._read():
                heard = (chunk.start + len(chunk.samples)) / (self.rate_hz * speed)
                self._closed.wait(max(0.0, began + heard - time.monotonic()))
                if self._closed.is_set():
                    break
                displaced = self._blocks.put(chunk)
                self.lost_samples += 0 if displaced is None else len(displaced.samples)
        except Exception as problem:  # noqa: BLE001  the reader meets it
            self._blocks.end(problem)
        finally:
            self._blocks.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
