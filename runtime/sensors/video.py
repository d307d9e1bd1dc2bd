"""A video file, picture by picture: none is dropped, however slow the reader."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from mstedge.errors import SampleError
from mstedge.runtime.preprocess.decoded import MAX_IMAGE_PIXELS
from mstedge.runtime.preprocess.pictures import import_opencv
from mstedge.runtime.sensors.capture import usable_picture
from mstedge.runtime.sensors.picture_types import PictureFrame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self


class VideoFile:
    """A file of moving pictures; its sound is not read.

    Args:
        path: What OpenCV's FFmpeg reads. Pictures are turned upright where the file says how.

    Attributes:
        announced_frames: How many pictures the file says that it holds, in many formats an estimate; none where it
            does not say.

    Raises:
        MissingPackageError: OpenCV is not installed.
        SampleError: It is missing, no video, or its pictures are too large.
    """

    live = False
    lost_frames = 0

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at_work = threading.Lock()
        self._index = 0
        self._require_file()
        self._cv2 = import_opencv(f"reading {path}")
        self._capture: Any = self._cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise SampleError(f"{path}: cannot be opened as a video: damaged, or of a format that OpenCV lacks")
        width = int(self._capture.get(self._cv2.CAP_PROP_FRAME_WIDTH))
        height = int(self._capture.get(self._cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MAX_IMAGE_PIXELS:
            self.close()
            raise SampleError(f"{path}: pictures of {width} x {height} pixels: at most {MAX_IMAGE_PIXELS} are read")
        announced = int(self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT))
        self.announced_frames = announced if announced > 0 else None

    def frames(self) -> Iterator[PictureFrame]:
        """Give every picture once, in order; a second call goes on where the first one was left.

        Raises:
            SampleError: There is none, or they are of an unknown kind.
        """
        while (frame := self._next(self._index)) is not None:
            self._index += 1
            yield frame
        if self._capture is not None and not self._index:
            raise SampleError(f"{self._path}: holds no picture that can be read")

    def close(self) -> None:
        """Close the file."""
        with self._at_work:
            capture, self._capture = self._capture, None
        if capture is not None:
            capture.release()

    def _next(self, index: int) -> PictureFrame | None:
        with self._at_work:
            if self._capture is None:
                return None
            good, values = self._capture.read()
            if not good:
                return None
            seconds = self._seconds(index)
        picture = usable_picture(values)
        if picture is None:
            raise SampleError(f"{self._path}: picture {index} has the shape {list(values.shape)} of {values.dtype}")
        return PictureFrame(picture, index, seconds, time.monotonic_ns())

    def _seconds(self, index: int) -> float | None:
        """Say when the picture that was just read is shown."""
        seconds = float(self._capture.get(self._cv2.CAP_PROP_POS_MSEC)) / 1e3
        if self._capture.getBackendName() == "CV_MJPEG":  # tells when the next one is
            rate = float(self._capture.get(self._cv2.CAP_PROP_FPS))
            return index / rate if rate > 0 else None
        return seconds if seconds > 0 or index == 0 else None

    def _require_file(self) -> None:
        try:
            if not self._path.is_file():
                raise SampleError(f"{self._path}: there is no such file")
            str(self._path).encode()
        except OSError as problem:
            raise SampleError(f"{self._path}: cannot be read: {problem.strerror or problem}") from None
        except UnicodeEncodeError:  # OpenCV would end the process
            raise SampleError(f"{self._path!r}: the name is not valid UTF-8: rename the file") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
