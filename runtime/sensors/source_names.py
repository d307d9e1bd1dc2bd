"""What stands on the command line for a source, taken apart: `mic:`, `cam:0`, `rtsp://...`, `-`, files, folders."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from mstedge.errors import UsageError, nearest
from mstedge.specs import ArraySpec, AudioSpec, ImageSpec, Spec

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
_STREAM_SCHEMES = ("http", "https", "rtsp", "rtsps")
_EXAMPLES = "mic:, mic:3, mic:NAME, cam:0, cam:/dev/video2, csi:0, rtsp://..., http://..., gst:PIPELINE, -"


@dataclass(frozen=True, slots=True)
class MicrophoneName:
    """A microphone.

    Attributes:
        device: Its number, a part of its name, or none for the system's own choice.
    """

    device: int | str | None

    def __str__(self) -> str:
        return f"mic:{'' if self.device is None else self.device}"


@dataclass(frozen=True, slots=True)
class CameraName:
    """A camera.

    Attributes:
        kind: `index` for a V4L2 number or device file, `csi` for a sensor on a Jetson, `url` for a stream, `gstreamer`
            for a pipeline.
        address: The number, file, address or pipeline.
    """

    kind: Literal["index", "csi", "url", "gstreamer"]
    address: str

    def __str__(self) -> str:
        """Write it as it was given, without the password of a stream."""
        if self.kind == "url":
            return re.sub(r"(?<=://)([^/@:]*):[^/]*@", r"\1:***@", self.address)
        return {"index": "cam:", "csi": "csi:", "gstreamer": "gst:"}[self.kind] + self.address


@dataclass(frozen=True, slots=True)
class PipeName:
    """Samples without a header on standard input."""

    def __str__(self) -> str:
        return "-"


@dataclass(frozen=True, slots=True)
class VideoName:
    """A video file, answered for picture by picture."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class FilesName:
    """A file, a folder or a pattern, for `mstedge.runtime.sources.expand_inputs`."""

    argument: str

    def __str__(self) -> str:
        return self.argument


SourceName: TypeAlias = MicrophoneName | CameraName | PipeName | VideoName | FilesName


def source_name_from_argument(argument: str) -> SourceName:
    """Tell which source is meant.

    Args:
        argument: One argument. A file whose name begins like a device, `mic:1`, is meant by `./mic:1`.

    Raises:
        UsageError: It begins like a device and does not say which, or is an address of an unknown kind.
    """
    if argument == "-":
        return PipeName()
    scheme, separator, _ = argument.partition("://")
    if separator and "/" not in scheme:
        return _stream_name(argument, scheme)
    prefix, colon, rest = argument.partition(":")
    if colon and prefix in {"mic", "cam", "csi", "gst"}:
        return _device_name(prefix, rest, argument)
    if Path(argument).suffix.lower() in VIDEO_SUFFIXES and not Path(argument).is_dir():
        return VideoName(Path(argument))
    return FilesName(argument)


def require_source_fits(name: SourceName, spec: Spec) -> None:
    """Refuse a source that gives another kind of data than the network sees.

    Args:
        name: The source.
        spec: What the network sees.

    Raises:
        UsageError: It does not fit.
    """
    gives = {MicrophoneName: "sound", PipeName: "sound", CameraName: "pictures", VideoName: "pictures"}.get(type(name))
    takes = "sound" if isinstance(spec, AudioSpec) else "pictures" if isinstance(spec, ImageSpec) else "arrays"
    if gives is None or gives == takes:
        return
    if isinstance(spec, ArraySpec):
        raise UsageError(
            f"{name} gives {gives}: this student takes arrays of the shape {list(spec.shape)}",
            hint="save them as .npy files; students on video clips, too, take arrays for now",
        )
    raise UsageError(f"{name} gives {gives}: this student takes {takes}", hint=f"a source is one of {_EXAMPLES}")


def _stream_name(argument: str, scheme: str) -> CameraName:
    if scheme.lower() not in _STREAM_SCHEMES:
        raise UsageError(
            f"{argument}: {scheme}:// is no address that can be read", hint=nearest(scheme, _STREAM_SCHEMES)
        )
    try:
        host = urlsplit(argument).hostname
    except ValueError:
        host = None
    if not host:
        raise UsageError(f"{argument}: names no host", hint="for example rtsp://192.168.1.20:554/stream1")
    return CameraName("url", argument)


def _device_name(prefix: str, rest: str, argument: str) -> MicrophoneName | CameraName:
    is_number = rest.isascii() and rest.isdigit()
    if prefix == "mic":
        return MicrophoneName(int(rest) if is_number else rest or None)
    if prefix == "gst":
        return CameraName("gstreamer", _pipeline(rest, argument))
    if is_number or (prefix == "cam" and rest.startswith("/dev/")):
        return CameraName("csi" if prefix == "csi" else "index", str(int(rest)) if is_number else rest)
    expected = "a number, or a device file as in cam:/dev/video2" if prefix == "cam" else "a number, as in csi:0"
    raise UsageError(
        f"{argument}: {rest!r} is no {'camera' if prefix == 'cam' else 'sensor'}: expected {expected}",
        hint=f"a file of that name is meant by ./{argument}",
    )


def _pipeline(text: str, argument: str) -> str:
    if re.search(r"(^|!)\s*appsink\b", text) is None:
        raise UsageError(
            f"{argument}: the pipeline has no appsink, which hands the pictures over",
            hint="end it with '! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false'",
        )
    return text.strip()
