"""Pictures as they come from a camera or a video file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from mstedge.runtime.preprocess.decoded import Decoded

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, slots=True)
class PictureFrame:
    """One picture.

    Attributes:
        values: uint8 [height, width, 3], blue first, or [height, width] for grey.
        index: Its number on the source's own counter, from 0; a gap means lost frames.
        seconds: Where it stands: in a video file by the file's own clock, from a camera since its first frame; none
            where the file does not say.
        captured_ns: When it was received, on the clock of `time.monotonic_ns`.
    """

    values: NDArray[np.uint8]
    index: int
    seconds: float | None
    captured_ns: int

    def decoded(self) -> Decoded:
        """Give it as the front end takes it."""
        return Decoded(self.values, colour="grey" if self.values.ndim == 2 else "bgr")


class PictureSource(Protocol):
    """A camera or a video file. Used as a context manager, it closes itself."""

    @property
    def live(self) -> bool:
        """Whether pictures go on while nobody takes them, so that some may be dropped; never so for files."""
        ...

    @property
    def lost_frames(self) -> int:
        """Pictures that were dropped so far because nobody took them in time."""
        ...

    def frames(self) -> Iterator[PictureFrame]:
        """Give the pictures in order, until the source ends or is closed.

        Raises:
            MachineError: A camera is lost and does not come back.
            SampleError: A video file holds no picture that can be read.
        """
        ...

    def close(self) -> None:
        """Give the device or file back; a second call does nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None: ...
