"""Cameras: a video file plays the camera, its end is the loss of the camera; a fake stands in for odd drivers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mstedge.errors import MachineError, MissingPackageError
from mstedge.runtime.sensors import capture
from mstedge.runtime.sensors.camera import Camera, Retries
from mstedge.runtime.sensors.capture import csi_pipeline, usable_picture
from mstedge.runtime.sensors.source_names import CameraName

QUICK = Retries(attempts=3, first_pause_s=0.001, longest_pause_s=0.004)
FRAMES = 6


def write_video(path: Path, frames: int = FRAMES) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25.0, (64, 48))
    for number in range(frames):
        writer.write(np.full((48, 64, 3), 10 + 20 * number, np.uint8))
    writer.release()
    return path


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "a.avi")


def address_of(path: Path) -> CameraName:
    """A stream whose address is a file: OpenCV reads both in the same way."""
    return CameraName("url", str(path))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [each.name for each in threading.enumerate() if each.name.startswith("camera")] == []


class FakeCapture:
    """A camera under control: gives what it is told, waits where nothing is left."""

    def __init__(self, pictures: list[Any]) -> None:
        self.pictures, self.released = pictures, False
        self.given = threading.Semaphore(0)

    def read(self) -> tuple[bool, Any]:
        self.given.acquire(timeout=5)
        picture = self.pictures.pop(0) if self.pictures else None
        return picture is not None, picture

    def release(self) -> None:
        self.released = True


def waited_for(condition: Any) -> bool:
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return bool(condition())


def test_only_the_newest_picture_waits_and_the_others_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeCapture([np.full((4, 5, 3), number, np.uint8) for number in range(7)])
    monkeypatch.setattr("mstedge.runtime.sensors.camera.open_camera", lambda *_: fake)
    with Camera(CameraName("index", "0"), retries=Retries(attempts=0)) as source:
        frames = source.frames()
        fake.given.release()
        first = next(frames)
        fake.given.release(5)
        assert waited_for(lambda: source.lost_frames == 4)
        second = next(frames)
        fake.given.release(1)
        third = next(frames)
        fake.given.release(1)
        with pytest.raises(MachineError, match="was lost"):
            next(frames)
    assert [each.index for each in (first, second, third)] == [0, 5, 6]
    assert [int(each.values[0, 0, 0]) for each in (first, second, third)] == [0, 5, 6]
    assert first.seconds == 0.0
    assert first.captured_ns < second.captured_ns < third.captured_ns <= time.monotonic_ns()
    assert second.seconds == (second.captured_ns - first.captured_ns) / 1e9
    assert (source.live, source.lost_frames, fake.released) == (True, 4, True)


def test_a_lost_camera_comes_back_and_is_told_of(video: Path) -> None:
    said: list[str] = []
    with Camera(address_of(video), retries=QUICK, tell=said.append) as source:
        frames = source.frames()
        while source.times_lost < 3:
            assert next(frames).values.shape == (48, 64, 3)
        assert next(frames).index >= 2 * FRAMES
    assert said[:3] == [
        f"the camera {video} is lost: looking for it",
        f"the camera {video} is back",
        f"the camera {video} is lost: looking for it",
    ]


def test_a_camera_that_does_not_come_back_is_given_up(video: Path) -> None:
    with Camera(address_of(video), retries=QUICK) as source:
        frames = source.frames()
        next(frames)
        video.unlink()
        with pytest.raises(MachineError, match=r"was lost and did not come back in 3 attempts") as caught:
            list(frames)
    assert caught.value.exit_code == 3
    assert source.times_lost >= 1


def test_a_camera_that_opens_and_gives_nothing_is_given_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[FakeCapture] = []

    def open_camera(*_: Any) -> FakeCapture:
        opened.append(FakeCapture([]))
        opened[-1].given.release()
        return opened[-1]

    monkeypatch.setattr("mstedge.runtime.sensors.camera.open_camera", open_camera)
    with (
        Camera(CameraName("index", "0"), retries=QUICK) as source,
        pytest.raises(MachineError, match="in 3 attempts"),
    ):
        next(source.frames())
    assert len(opened) == 4
    assert all(each.released for each in opened)


def test_pauses_double_up_to_a_limit() -> None:
    retries = Retries()
    pauses = [retries.pause_s(attempt) for attempt in range(retries.attempts)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_close_ends_the_pause_of_a_lost_camera(video: Path) -> None:
    source = Camera(address_of(video), retries=Retries(first_pause_s=1000.0, longest_pause_s=1000.0))
    reader = threading.Thread(target=lambda: list(source.frames()))
    reader.start()
    assert waited_for(lambda: source.times_lost == 1)
    source.close()
    source.close()
    reader.join(5)
    assert not reader.is_alive()


def test_whatever_breaks_in_the_thread_reaches_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeCapture([])
    monkeypatch.setattr(fake, "read", lambda: 1 // 0)
    monkeypatch.setattr("mstedge.runtime.sensors.camera.open_camera", lambda *_: fake)
    with Camera(CameraName("index", "0")) as source, pytest.raises(ZeroDivisionError):
        next(source.frames())
    assert fake.released


def test_pictures_of_another_kind_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeCapture([np.zeros((4, 5), np.uint16)])
    fake.given.release()
    monkeypatch.setattr("mstedge.runtime.sensors.camera.open_camera", lambda *_: fake)
    with (
        Camera(CameraName("gstreamer", "x ! appsink")) as source,
        pytest.raises(MachineError, match=r"gst:x ! appsink gives pictures of the shape \[4, 5\] and type uint16"),
    ):
        next(source.frames())


@pytest.mark.parametrize(
    ("shape", "kind", "expected"),
    [
        ((4, 5, 3), "uint8", (4, 5, 3)),
        ((4, 5), "uint8", (4, 5)),
        ((4, 5, 1), "uint8", (4, 5)),
        ((4, 5, 4), "uint8", None),
        ((4, 5, 2), "uint8", None),
        ((0, 5, 3), "uint8", None),
        ((4, 5), "float32", None),
    ],
)
def test_what_opencv_gives_is_a_picture_or_not(shape: Any, kind: str, expected: Any) -> None:
    picture = usable_picture(np.zeros(shape, kind))
    assert (None if picture is None else picture.shape) == expected


class FakeVideoCapture:
    """Stands for `cv2.VideoCapture`: notes how it was opened, and has one size whatever is asked."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments, self.properties = arguments, {cv2.CAP_PROP_FRAME_WIDTH: 640, cv2.CAP_PROP_FRAME_HEIGHT: 480}
        self.asked: dict[int, Any] = {}

    def isOpened(self) -> bool:  # noqa: N802  as OpenCV calls it
        return True

    def set(self, key: int, value: Any) -> bool:
        self.asked[key] = value
        return False

    def get(self, key: int) -> float:
        return float(self.properties[key])

    def release(self) -> None:
        pass


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeVideoCapture)
    monkeypatch.setattr(
        cv2, "getBuildInformation", lambda: "  Video I/O:\n    GStreamer:                   YES (1.20.3)\n"
    )


@pytest.mark.usefixtures("pretended")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (CameraName("index", "2"), (2, cv2.CAP_V4L2)),
        (CameraName("index", "/dev/video2"), ("/dev/video2", cv2.CAP_V4L2)),
        (CameraName("gstreamer", "v4l2src ! appsink"), ("v4l2src ! appsink", cv2.CAP_GSTREAMER)),
        (CameraName("csi", "1"), (csi_pipeline(1, (1280, 720)), cv2.CAP_GSTREAMER)),
        (
            CameraName("url", "rtsp://a/b"),
            (
                "rtsp://a/b",
                cv2.CAP_ANY,
                [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 5000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 5000],
            ),
        ),
    ],
)
def test_every_kind_is_opened_in_its_own_way(name: CameraName, arguments: tuple[Any, ...]) -> None:
    assert capture.open_camera(name).arguments == arguments


@pytest.mark.usefixtures("pretended")
def test_a_usb_camera_holds_one_picture_and_has_the_size_that_was_asked() -> None:
    opened = capture.open_camera(CameraName("index", "0"), (640, 480))
    assert opened.asked[cv2.CAP_PROP_BUFFERSIZE] == 1
    assert (opened.asked[cv2.CAP_PROP_FRAME_WIDTH], opened.asked[cv2.CAP_PROP_FRAME_HEIGHT]) == (640, 480)
    with pytest.raises(MachineError, match="cam:0 gives 640 x 480 pixels where 1920 x 1080 were asked"):
        capture.open_camera(CameraName("index", "0"), (1920, 1080))


def test_the_pipeline_of_a_jetson_drops_old_pictures() -> None:
    parts = csi_pipeline(3, (320, 240)).split(" ! ")
    assert parts[0] == "nvarguscamerasrc sensor-id=3"
    assert "width=320,height=240,format=BGRx" in parts[3]
    assert parts[-2:] == ["video/x-raw,format=BGR", "appsink drop=true max-buffers=1 sync=false"]


@pytest.mark.parametrize("name", [CameraName("csi", "0"), CameraName("gstreamer", "videotestsrc ! appsink")])
def test_an_opencv_without_gstreamer_is_refused_with_what_to_install(
    name: CameraName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "    GStreamer:                   NO\n")
    with pytest.raises(MachineError, match=f"{name} needs an OpenCV with GStreamer") as caught:
        Camera(name)
    assert "sudo apt install python3-opencv" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("present", "hint"),
    [
        ([], "there is no {0}/video7, nor any other camera"),
        (["video10", "video2", "videoless"], "there is no {0}/video7; there is {0}/video2, {0}/video10"),
        (["video7"], "another program may have it"),
    ],
)
def test_a_camera_that_cannot_be_opened_says_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: list[str], hint: str
) -> None:
    for name in present:
        (tmp_path / name).touch()
    monkeypatch.setattr(capture, "_DEVICES", tmp_path)
    with pytest.raises(MachineError, match="the camera cam:7 cannot be opened") as caught:
        Camera(CameraName("index", "7"))
    assert hint.format(tmp_path) in str(caught.value.hint)


def test_a_camera_without_the_right_to_it_names_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "video7").touch()
    monkeypatch.setattr(capture, "_DEVICES", tmp_path)
    monkeypatch.setattr(capture.os, "access", lambda *_: False)
    with pytest.raises(MachineError) as caught:
        Camera(CameraName("index", "7"))
    assert "sudo usermod -aG video $USER" in str(caught.value.hint)


def test_a_stream_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cannot be opened") as caught:
        Camera(address_of(tmp_path / "gone.avi"))
    assert "is the address right" in str(caught.value.hint)


def test_opencv_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(MissingPackageError, match="the camera cam:0 needs the package 'cv2'"):
        Camera(CameraName("index", "0"))
