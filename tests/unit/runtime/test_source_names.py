"""What stands on the command line for a source."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundle_factory import SPECS

from mstedge.errors import UsageError
from mstedge.runtime.sensors.source_names import (
    CameraName,
    FilesName,
    MicrophoneName,
    PipeName,
    VideoName,
    require_source_fits,
    source_name_from_argument,
)

PIPELINE = "v4l2src ! videoconvert ! appsink drop=true"


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("mic:", MicrophoneName(None)),
        ("mic:3", MicrophoneName(3)),
        ("mic:USB Audio", MicrophoneName("USB Audio")),
        ("cam:0", CameraName("index", "0")),
        ("cam:07", CameraName("index", "7")),
        ("cam:/dev/v4l/by-id/usb-x", CameraName("index", "/dev/v4l/by-id/usb-x")),
        ("csi:1", CameraName("csi", "1")),
        ("rtsp://cam.local:554/live", CameraName("url", "rtsp://cam.local:554/live")),
        ("HTTP://10.0.0.2/video.mjpg", CameraName("url", "HTTP://10.0.0.2/video.mjpg")),
        (f"gst:{PIPELINE}", CameraName("gstreamer", PIPELINE)),
        ("-", PipeName()),
        ("clip.MP4", VideoName(Path("clip.MP4"))),
        ("a.wav", FilesName("a.wav")),
        ("folder", FilesName("folder")),
        ("data/**/*.wav", FilesName("data/**/*.wav")),
        ("./mic:3", FilesName("./mic:3")),
        ("C:thing.wav", FilesName("C:thing.wav")),
        ("odd/x://y.wav", FilesName("odd/x://y.wav")),
    ],
)
def test_every_kind_is_told_apart(argument: str, expected: object) -> None:
    assert source_name_from_argument(argument) == expected


@pytest.mark.parametrize("argument", ["mic:", "mic:3", "cam:0", "csi:1", f"gst:{PIPELINE}", "-", "a.avi", "rtsp://a/b"])
def test_names_are_written_as_they_were_given(argument: str) -> None:
    assert str(source_name_from_argument(argument)) == argument


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("rtsp://admin:secret@10.0.0.2/s", "rtsp://admin:***@10.0.0.2/s"),
        ("rtsp://:secret@10.0.0.2/s", "rtsp://:***@10.0.0.2/s"),
        ("rtsp://admin:p@ss:w@10.0.0.2/s", "rtsp://admin:***@10.0.0.2/s"),
    ],
)
def test_passwords_are_not_written(argument: str, shown: str) -> None:
    assert str(source_name_from_argument(argument)) == shown


def test_folder_called_like_a_video_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "holiday.mov").mkdir()
    assert source_name_from_argument(str(tmp_path / "holiday.mov")) == FilesName(str(tmp_path / "holiday.mov"))


@pytest.mark.parametrize(
    ("argument", "message", "hint"),
    [
        ("cam:", "'' is no camera: expected a number", "./cam:"),
        ("cam:front", "'front' is no camera", "./cam:front"),
        ("cam:²", "is no camera", "./cam:"),
        ("csi:/dev/video0", "is no sensor: expected a number, as in csi:0", "./csi:"),
        ("rtps://cam/live", "rtps:// is no address", "did you mean 'rtsps'"),
        ("rtsp:///live", "names no host", "rtsp://192.168.1.20"),
        ("http://[::1", "names no host", "rtsp://"),
        ("gst:", "has no appsink", "appsink drop=true"),
        ("gst:v4l2src ! autovideosink name=appsinks", "has no appsink", "appsink drop=true"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_way_out(argument: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        source_name_from_argument(argument)
    assert hint in str(caught.value.hint)


FITS = {"audio": ("mic:", "-", "a.wav"), "image": ("cam:0", "csi:0", "a.mp4", "http://x/y", "a"), "array": ("a.npy",)}


@pytest.mark.parametrize("modality", FITS)
def test_a_source_fits_the_modality_that_it_gives(modality: str) -> None:
    spec = SPECS[modality]
    for name in FITS[modality]:
        require_source_fits(source_name_from_argument(name), spec)
    for other in set(FITS) - {modality, "array"}:
        for name in FITS[other][:2]:
            with pytest.raises(UsageError, match=f"{name} gives (sound|pictures): this student takes"):
                require_source_fits(source_name_from_argument(name), spec)


def test_students_on_video_clips_are_told_to_take_arrays() -> None:
    with pytest.raises(UsageError, match=r"clip\.mp4 gives pictures: this student takes arrays of the shape") as caught:
        require_source_fits(source_name_from_argument("clip.mp4"), SPECS["array"])
    assert caught.value.hint == "save them as .npy files; students on video clips, too, take arrays for now"
