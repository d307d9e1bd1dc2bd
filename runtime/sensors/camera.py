"""A live camera: the newest picture, and a camera that comes back after it was lost."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mstedge.errors import MachineError
from mstedge.runtime.sensors.capture import open_camera, usable_picture
from mstedge.runtime.sensors.newest import Newest
from mstedge.runtime.sensors.picture_types import PictureFrame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from typing_extensions import Self

    from mstedge.runtime.sensors.capture import PictureSize
    from mstedge.runtime.sensors.source_names import CameraName

# A driver that hangs gives up after 10 s (V4L2) or 5 s (a stream); `close` waits no longer than that.
_LONGEST_READ_S = 11.0


@dataclass(frozen=True, slots=True)
class Retries:
    """How long a lost camera is looked for: with pauses that double, 92 s in all as it stands.

    Attributes:
        attempts: How often it is opened again before it is given up.
        first_pause_s: Wait before the first attempt.
        longest_pause_s: Pauses grow up to this.
    """

    attempts: int = 8
    first_pause_s: float = 0.5
    longest_pause_s: float = 30.0

    def pause_s(self, attempt: int) -> float:
        """Wait before an attempt, in seconds; the first one is 0."""
        return min(self.longest_pause_s, self.first_pause_s * 2.0**attempt)


class Camera:
    """A camera that is read by its own thread from the moment it is made; only the newest picture is kept.

    A picture that comes before the last one was taken displaces it, and is counted. Those that were missed while a
    camera was lost are not known, and not counted.

    Args:
        name: Which one.
        size: Width and height that a V4L2 or CSI camera shall give; none for its own.
        retries: What is done when it is lost. Whoever cannot be opened at the start is not tried again.
        tell: Called from the camera's thread with one line when it is lost and when it is back.

    Attributes:
        times_lost: How often it was lost so far.

    Raises:
        MissingPackageError: OpenCV is not installed.
        MachineError: It cannot be opened.
    """

    live = True

    def __init__(
        self,
        name: CameraName,
        *,
        size: PictureSize | None = None,
        retries: Retries | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._name, self._size = name, size
        self._retries = Retries() if retries is None else retries
        self._tell = tell if tell is not None else lambda _: None
        self.lost_frames = self.times_lost = 0
        self._index = self._failures = 0
        self._first_ns: int | None = None
        self._newest: Newest[PictureFrame] = Newest(1)
        self._closed = threading.Event()
        self._capture: Any = open_camera(name, size)
        self._reader = threading.Thread(target=self._read, name=f"camera {name}", daemon=True)
        self._reader.start()

    def frames(self) -> Iterator[PictureFrame]:
        """Give the newest picture again and again, until the source is closed.

        Raises:
            MachineError: The camera was lost and did not come back, or gives pictures of an unknown kind.
        """
        while (frame := self._newest.take()) is not None:
            yield frame

    def close(self) -> None:
        """End the thread, which gives the camera back; a picture that is waiting is still handed out."""
        self._closed.set()
        self._newest.end()
        if self._reader is not threading.current_thread():
            self._reader.join(_LONGEST_READ_S)

    def _read(self) -> None:
        try:
            while not self._closed.is_set():
                good, values = self._capture.read()
                if good:
                    self._keep(values)
                elif not self._closed.is_set():
                    self._look_for_it()
        except Exception as problem:  # noqa: BLE001  the reader meets it
            self._newest.end(problem)
        finally:
            self._capture.release()
            self._newest.end()

    def _keep(self, values: Any) -> None:
        now_ns = time.monotonic_ns()
        if self._failures:
            self._tell(f"the camera {self._name} is back")
        self._failures = 0
        self._first_ns = now_ns if self._first_ns is None else self._first_ns
        picture = usable_picture(values)
        if picture is None:
            raise MachineError(
                f"the camera {self._name} gives pictures of the shape {list(values.shape)} and type {values.dtype}: "
                "expected uint8 [height, width, 3] or [height, width]",
                hint="let the pipeline end with: videoconvert ! video/x-raw,format=BGR ! appsink",
            )
        frame = PictureFrame(picture, self._index, (now_ns - self._first_ns) / 1e9, now_ns)
        self._index += 1
        if self._newest.put(frame) is not None:
            self.lost_frames += 1

    def _look_for_it(self) -> None:
        """Open the camera again; one that opens and gives no picture counts as a failed attempt."""
        self._capture.release()
        if not self._failures:
            self.times_lost += 1
            self._tell(f"the camera {self._name} is lost: looking for it")
        while self._failures < self._retries.attempts:
            if self._closed.wait(self._retries.pause_s(self._failures)):
                return
            self._failures += 1
            try:
                self._capture = open_camera(self._name, self._size)
            except MachineError:
                continue
            return
        raise MachineError(
            f"the camera {self._name} was lost and did not come back in {self._retries.attempts} attempts",
            hint="check its cable, power and network",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
