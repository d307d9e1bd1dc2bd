"""PNG files with a palette, written without any package: same input, same bytes."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE_COLOUR = 3


def png_from_indices(indices: NDArray[np.uint8], colours: NDArray[np.uint8]) -> bytes:
    """Write numbers with a colour for each: a viewer shows the colours, a program can read the numbers.

    Source: Portable Network Graphics, third edition (W3C, 2025), sections 11.2.1 to 11.2.4.

    Args:
        indices: uint8 [height, width], each below the number of colours.
        colours: uint8 [1 to 256, 3], red first.
    """
    height, width = indices.shape
    rows = np.zeros((height, 1 + width), dtype=np.uint8)  # the byte before each row: no filter
    rows[:, 1:] = indices
    header = struct.pack(">IIBBBBB", width, height, 8, _PALETTE_COLOUR, 0, 0, 0)
    return _SIGNATURE + b"".join(
        (
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", colours.tobytes()),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
