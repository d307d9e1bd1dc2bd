"""Recordings as files of the plainest kind: 16-bit PCM WAV, 8-bit PNG. Same input, same bytes."""

from __future__ import annotations

import io
import struct
import wave
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def wav_from_samples(samples: NDArray[np.int16], rate_hz: int) -> bytes:
    """Write mono samples as a WAV file.

    Args:
        samples: int16 [samples].
        rate_hz: Sample rate.
    """
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return stream.getvalue()


def png_from_grey(pixels: NDArray[np.uint8]) -> bytes:
    """Write a grey image as a PNG file; OpenCV's bytes differ between versions, these do not.

    Args:
        pixels: uint8 [height, width].
    """
    return _png(pixels, colour_type=0)


def png_from_rgb(pixels: NDArray[np.uint8]) -> bytes:
    """Write a colour image as a PNG file.

    Args:
        pixels: uint8 [height, width, 3], red first.
    """
    return _png(pixels, colour_type=2)


def _png(pixels: NDArray[np.uint8], *, colour_type: int) -> bytes:
    height, width = pixels.shape[:2]
    rows = b"".join(b"\x00" + np.ascontiguousarray(row).tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows, 9)), _chunk(b"IEND", b""))
    return _PNG_SIGNATURE + b"".join(chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
