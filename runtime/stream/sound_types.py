"""What a source of sound hands on: chunks of samples, each with its place on the source's own counter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SoundChunk:
    """Samples as they came, of any number.

    Attributes:
        samples: float32 [samples, channels], full scale 1.
        rate_hz: Their rate, as the source states it: its clock may run slower or faster than any other.
        start: Index of the first sample on the source's counter; a gap to the chunk before it means lost samples.
    """

    samples: Floats
    rate_hz: int
    start: int


class SoundSource(Protocol):
    """A file, a microphone or a pipe. Used as a context manager, it closes itself."""

    @property
    def rate_hz(self) -> int:
        """Rate of the samples."""
        ...

    @property
    def channels(self) -> int:
        """Channels of every chunk."""
        ...

    @property
    def live(self) -> bool:
        """Whether sound goes on while nobody reads it, so that chunks may be dropped; never so for files."""
        ...

    @property
    def lost_samples(self) -> int:
        """Samples, of one channel, that the source could not hand on so far."""
        ...

    def chunks(self) -> Iterator[SoundChunk]:
        """Give the chunks in order, until the sound ends or the source is closed."""
        ...

    def close(self) -> None:
        """Give the device or file back; a second call does nothing."""
        ...

    def __enter__(self) -> SoundSource: ...  # noqa: PYI034  typing has Self from Python 3.11 on

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None: ...
