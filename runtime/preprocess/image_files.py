"""Picture files through OpenCV; the size is read from the header first, so that no small file can fill the memory."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from mstedge.errors import SampleError
from mstedge.runtime.preprocess.decoded import MAX_IMAGE_PIXELS, Decoded
from mstedge.runtime.preprocess.pictures import import_opencv

# An uncompressed picture of the largest size, with transparency.
_MAX_FILE_BYTES = MAX_IMAGE_PIXELS * 4 + (1 << 16)
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Markers that start a frame and so carry its size; C4, C8 and CC in between are tables.
_JPEG_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_END = b"\xff\xd9"
_JPEG_MARKERS_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def decode_image_file(path: Path) -> Decoded:
    """Decode a PNG, JPEG or BMP file to 8-bit BGR, upright by its EXIF orientation, transparency dropped.

    Of 16 bits the upper 8 are kept; palettes, grey, black and white, and CMYK become colours; of an animated PNG the
    first picture is taken.

    Args:
        path: The file; its content decides the format.

    Raises:
        SampleError: It is damaged, of another format, or has too many pixels.
        MissingPackageError: OpenCV is not installed.
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        content = stream.read(_MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        raise SampleError(f"{path}: more than {_MAX_FILE_BYTES} bytes, the limit for a picture")
    try:
        width, height = _size_from_header(content)
    except EOFError:
        raise SampleError(f"{path}: truncated: the end of the picture is missing") from None
    except (struct.error, ValueError):
        raise SampleError(f"{path}: not a complete PNG, JPEG or BMP picture") from None
    if not 0 < width * height <= MAX_IMAGE_PIXELS:
        raise SampleError(f"{path}: {width} x {height} pixels: expected 1 to {MAX_IMAGE_PIXELS} in all")
    cv2 = import_opencv(f"reading {path}")
    try:
        # IMREAD_COLOR without IGNORE_ORIENTATION: 8 bits, three channels, EXIF orientation carried out.
        pixels = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as problem:
        raise SampleError(f"{path}: cannot be decoded: {problem}") from None
    if pixels is None:
        raise SampleError(f"{path}: cannot be decoded: the picture is damaged")
    return Decoded(pixels, colour="bgr")


def _size_from_header(content: bytes) -> tuple[int, int]:
    """Width and height.

    ValueError or struct.error: the format is unknown or the header incomplete. EOFError: the end is missing.
    """
    if content.startswith(_PNG_SIGNATURE):
        width, height = struct.unpack_from(">II", content, 16)
        return width, height
    if content.startswith(b"BM"):
        if struct.unpack_from("<I", content, 14)[0] == 12:
            width, height = struct.unpack_from("<HH", content, 18)
        else:
            width, height = struct.unpack_from("<ii", content, 18)
        return width, abs(height)
    if content.startswith(b"\xff\xd8"):
        return _size_from_jpeg(content)
    raise ValueError("unknown format")


def _size_from_jpeg(content: bytes) -> tuple[int, int]:
    position = 2
    while content[position : position + 1] == b"\xff":
        marker = content[position + 1] if position + 1 < len(content) else 0xD9
        if marker == 0xFF:
            position += 1
        elif marker in _JPEG_MARKERS_WITHOUT_LENGTH:
            position += 2
        elif marker in _JPEG_FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", content, position + 5)
            # Older OpenCV fills what is missing with grey. In compressed data FF D9 stands for the end alone.
            if content.find(_JPEG_END, position) < 0:
                raise EOFError("no end marker")
            return width, height
        else:
            position += 2 + struct.unpack_from(">H", content, position + 2)[0]
    raise ValueError("no frame in the file")
