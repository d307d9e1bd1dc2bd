"""Video files: every picture, in order, with the file's own time."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mstedge.errors import MissingPackageError, SampleError
from mstedge.runtime.preprocess import features_from_decoded
from mstedge.runtime.sensors.video import VideoFile
from mstedge.specs import ImageSpec

LEVELS = [10 + 20 * number for number in range(10)]


def write_video(path: Path, coding: str = "MJPG", rate_hz: float = 12.5) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*coding), rate_hz, (64, 48))
    for level in LEVELS:
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize(("name", "coding"), [("a.avi", "MJPG"), ("a.mp4", "mp4v"), ("a.mkv", "mp4v")])
def test_every_picture_comes_once_in_order_however_slow_the_reader(tmp_path: Path, name: str, coding: str) -> None:
    found = []
    with VideoFile(write_video(tmp_path / name, coding)) as source:
        assert source.announced_frames == 10
        for frame in source.frames():
            time.sleep(0.002)
            found.append(frame)
        assert list(source.frames()) == []
    assert [frame.index for frame in found] == list(range(10))
    assert np.allclose([frame.values.mean() for frame in found], LEVELS, atol=4)
    assert [frame.seconds for frame in found] == pytest.approx([0.08 * number for number in range(10)], abs=1e-6)
    assert (source.live, source.lost_frames) == (False, 0)


def test_opencvs_own_reader_of_avi_gives_the_same_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a build of OpenCV without FFmpeg falls back to.
    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda name: real(name, cv2.CAP_OPENCV_MJPEG))
    with VideoFile(write_video(tmp_path / "a.avi")) as source:
        seconds = [frame.seconds for frame in source.frames()]
    assert seconds == pytest.approx([0.08 * number for number in range(10)], abs=1e-6)


def test_a_picture_goes_through_the_front_end(tmp_path: Path) -> None:
    spec = ImageSpec(width=4, height=3, colour="grey", scale=1.0)
    with VideoFile(write_video(tmp_path / "a.avi")) as source:
        first = next(source.frames())
    assert np.allclose(features_from_decoded(first.decoded(), spec), LEVELS[0], atol=4)


def test_close_ends_the_pictures(tmp_path: Path) -> None:
    source = VideoFile(write_video(tmp_path / "a.avi"))
    frames = source.frames()
    next(frames)
    source.close()
    source.close()
    assert list(frames) == []


def refused(path: Path, message: str) -> None:
    with pytest.raises(SampleError, match=message):
        list(VideoFile(path).frames())


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "gone.avi", r"gone\.avi: there is no such file")
    (tmp_path / "text.avi").write_bytes(b"no pictures here " * 50)
    refused(tmp_path / "text.avi", "cannot be opened as a video")
    (tmp_path / "folder.avi").mkdir()
    refused(tmp_path / "folder.avi", "there is no such file")


def test_a_name_that_opencv_cannot_take_is_refused_and_does_not_end_the_process(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.avi"))
    write_video(tmp_path / "a.avi").rename(path)
    refused(path, "is not valid UTF-8: rename the file")


class FakeVideoCapture:
    """A video under control."""

    def __init__(self, width: int, pictures: list[Any]) -> None:
        self.width, self.pictures, self.released = width, pictures, False

    def isOpened(self) -> bool:  # noqa: N802  as OpenCV calls it
        return True

    def getBackendName(self) -> str:  # noqa: N802  as OpenCV calls it
        return "FAKE"

    def get(self, key: int) -> float:
        return {cv2.CAP_PROP_FRAME_WIDTH: self.width, cv2.CAP_PROP_FRAME_HEIGHT: 9000}.get(key, 0.0)

    def read(self) -> tuple[bool, Any]:
        return (True, self.pictures.pop(0)) if self.pictures else (False, None)

    def release(self) -> None:
        self.released = True


@pytest.mark.parametrize(
    ("width", "pictures", "message"),
    [
        (9000, [], "pictures of 9000 x 9000 pixels: at most 67108864"),
        (10, [], "holds no picture that can be read"),
        (10, [np.zeros((4, 5), np.uint16)], r"picture 0 has the shape \[4, 5\] of uint16"),
    ],
)
def test_pictures_that_cannot_be_used_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, pictures: list[Any], message: str
) -> None:
    (tmp_path / "a.avi").touch()
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: FakeVideoCapture(width, list(pictures)))
    refused(tmp_path / "a.avi", message)


def test_a_file_that_does_not_tell_the_time_gives_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.avi").touch()
    pictures = [np.zeros((4, 5, 3), np.uint8)] * 3
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: FakeVideoCapture(10, pictures))
    with VideoFile(tmp_path / "a.avi") as source:
        assert source.announced_frames is None
        assert [frame.seconds for frame in source.frames()] == [0.0, None, None]


def test_opencv_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.avi").touch()
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(MissingPackageError, match=r"reading .*a\.avi needs the package 'cv2'"):
        VideoFile(tmp_path / "a.avi")
