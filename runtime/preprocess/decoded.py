"""What a file or an array holds once it is decoded, before any spec is applied, and the limits on it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

# One hour of one channel at 16 kHz fits; as float32 this is 256 MiB, what a small device can hold.
MAX_AUDIO_VALUES = 1 << 26
MAX_AUDIO_CHANNELS = 64
MAX_SAMPLE_RATE_HZ = 1_000_000
# Full scale is 1: 24 dB above it is no recording but another unit, such as 16-bit numbers stored as floats.
MAX_AUDIO_PEAK = 16.0
MAX_IMAGE_PIXELS = 1 << 26


@dataclass(frozen=True, slots=True)
class Decoded:
    """One input in memory, at its own rate or size.

    Attributes:
        values: Sound: float32 [samples, channels], full scale 1. Picture: uint8 [height, width] (grey) or
            [height, width, 3]. Array: float32 of the spec's shape.
        rate_hz: Sample rate, for sound.
        colour: Order of the channels, for a picture.
    """

    values: NDArray[Any]
    rate_hz: int | None = None
    colour: Literal["grey", "bgr", "rgb"] | None = None


def digest_of_decoded(decoded: Decoded) -> str:
    """Digest the content: SHA-256, in hexadecimal, over element type, shape, rate, colour order and bytes.

    Args:
        decoded: Any decoded input; equal content gives equal digests on every machine.
    """
    values = decoded.values
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    head = f"{little.dtype.str} {values.shape} {decoded.rate_hz} {decoded.colour}\n"
    digest = hashlib.sha256(head.encode())
    digest.update(little.data)
    return digest.hexdigest()
