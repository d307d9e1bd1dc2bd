"""Cameras opened through OpenCV, and what to do where that fails."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mstedge.errors import MachineError
from mstedge.runtime.preprocess.pictures import import_opencv

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mstedge.runtime.sensors.source_names import CameraName

PictureSize: TypeAlias = tuple[int, int]

# A stream that is gone is noticed after this; OpenCV's own limit is 30 s.
_STREAM_PATIENCE_MS = 5000
_CSI_SIZE = (1280, 720)
_DEVICES = Path("/dev")


def open_camera(name: CameraName, size: PictureSize | None = None) -> Any:
    """Open a camera.

    Args:
        name: Which one.
        size: Width and height that it shall give, for a V4L2 or CSI camera; none for its own (CSI: 1280 x 720).

    Returns:
        An open `cv2.VideoCapture`, set to hold no more old pictures than it must.

    Raises:
        MissingPackageError: OpenCV is not installed.
        MachineError: It cannot be opened, does not have that size, or this OpenCV lacks GStreamer.
    """
    cv2 = import_opencv(f"the camera {name}")
    if name.kind == "url":
        capture = cv2.VideoCapture(name.address, cv2.CAP_ANY, _stream_limits(cv2))
    elif name.kind == "index":
        # OpenCV takes a device file, too, but not as a name in digits.
        capture = cv2.VideoCapture(int(name.address) if name.address.isdigit() else name.address, cv2.CAP_V4L2)
    else:
        require_gstreamer(cv2, name)
        pipeline = name.address if name.kind == "gstreamer" else csi_pipeline(int(name.address), size or _CSI_SIZE)
        capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        capture.release()
        raise MachineError(f"the camera {name} cannot be opened", hint=_way_out(name))
    if name.kind == "index":
        _set_up(cv2, capture, name, size)
    return capture


def csi_pipeline(sensor: int, size: PictureSize) -> str:
    """Write the GStreamer pipeline for a camera on a Jetson's ribbon connector.

    The sensor runs at 1280 x 720 and 30 pictures a second; old pictures are dropped, not queued. Source: NVIDIA's
    Accelerated GStreamer guide (nvarguscamerasrc, nvvidconv).

    Args:
        sensor: Number of the sensor.
        size: Width and height of the pictures.
    """
    width, height = size
    return " ! ".join(
        (
            f"nvarguscamerasrc sensor-id={sensor}",
            f"video/x-raw(memory:NVMM),width={_CSI_SIZE[0]},height={_CSI_SIZE[1]},framerate=30/1",
            "nvvidconv",
            f"video/x-raw,width={width},height={height},format=BGRx",
            "videoconvert",
            "video/x-raw,format=BGR",
            "appsink drop=true max-buffers=1 sync=false",
        )
    )


def require_gstreamer(cv2: Any, name: CameraName) -> None:
    """Refuse a pipeline where OpenCV was built without GStreamer.

    Args:
        cv2: The module.
        name: The camera that needs it.

    Raises:
        MachineError: It was.
    """
    if re.search(r"^\s*GStreamer:\s*YES", cv2.getBuildInformation(), re.MULTILINE) is None:
        raise MachineError(
            f"the camera {name} needs an OpenCV with GStreamer: version {cv2.__version__} here was built without, as "
            "all of pip's are",
            hint="sudo apt install python3-opencv; then take pip's away (pip uninstall opencv-python "
            "opencv-python-headless) and let the environment see the system's (python3 -m venv --system-site-packages)",
        )


def usable_picture(values: Any) -> NDArray[np.uint8] | None:
    """Take what OpenCV read as a picture.

    Args:
        values: An array of any shape and type: a pipeline may give any format.

    Returns:
        uint8 [height, width, 3], or [height, width] for grey; none where it is neither.
    """
    picture = np.asarray(values)
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[:, :, 0]
    is_picture = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)
    return picture if is_picture and picture.size and picture.dtype == np.uint8 else None


def _stream_limits(cv2: Any) -> list[int]:
    """Limits on waiting for a network, where this OpenCV has them."""
    names = ("CAP_PROP_OPEN_TIMEOUT_MSEC", "CAP_PROP_READ_TIMEOUT_MSEC")
    return [part for name in names if hasattr(cv2, name) for part in (getattr(cv2, name), _STREAM_PATIENCE_MS)]


def _set_up(cv2: Any, capture: Any, name: CameraName, size: PictureSize | None) -> None:
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    if size is None:
        return
    # Compressed on the cable: many cameras have their larger sizes only so.
    capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*"MJPG"))
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
    found = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    if found != size:
        capture.release()
        raise MachineError(
            f"the camera {name} gives {found[0]} x {found[1]} pixels where {size[0]} x {size[1]} were asked",
            hint="v4l2-ctl --list-formats-ext tells its sizes (sudo apt install v4l-utils)",
        )


def _way_out(name: CameraName) -> str:
    if name.kind == "url":
        return "is the address right, and the camera on? ffplay or vlc show whether it can be played"
    if name.kind == "csi":
        return "is the cable in? sudo systemctl restart nvargus-daemon helps where another program died with the camera"
    if name.kind == "gstreamer":
        return f"try it alone: gst-launch-1.0 {name.address.replace('appsink', 'fakesink')}"
    path = _DEVICES / f"video{name.address}" if name.address.isdigit() else Path(name.address)
    if not path.exists():
        cameras = sorted(_DEVICES.glob("video[0-9]*"), key=lambda each: int(each.name[5:]))
        there = ", ".join(str(each) for each in cameras)
        return f"there is no {path}; there is {there}" if there else f"there is no {path}, nor any other camera"
    if not os.access(path, os.R_OK | os.W_OK):
        return "sudo usermod -aG video $USER, then log in again: this user may not open it"
    return "another program may have it, or it gives no pictures (one camera often has several numbers): try the next"
