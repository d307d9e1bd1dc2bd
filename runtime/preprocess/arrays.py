"""Arrays that a caller has in memory (a microphone's block, a camera's frame, a sensor's window), checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mstedge.errors import SampleError
from mstedge.runtime.preprocess.decoded import (
    MAX_AUDIO_CHANNELS,
    MAX_AUDIO_PEAK,
    MAX_AUDIO_VALUES,
    MAX_IMAGE_PIXELS,
    Decoded,
)
from mstedge.specs import ArraySpec, AudioSpec, ImageSpec, Spec

_INT16_FULL_SCALE = np.float32(32768.0)


def decoded_from_array(array: Any, spec: Spec, *, source: str = "the array") -> Decoded:
    """Check an array and bring it to the form that files are decoded to.

    Args:
        array: Sound: int16, float32 or float64 [samples] or [samples, channels], at the spec's rate. Picture: uint8
            [height, width] or [height, width, 3], any size, in the spec's colour order. Array: any real numbers of
            the spec's shape.
        spec: The front end that it is meant for.
        source: What to call it in an error.

    Returns:
        The decoded input; its values are the caller's own memory where nothing had to be converted.

    Raises:
        SampleError: The shape, the element type or a value does not fit.
    """
    values = np.asarray(array)
    if isinstance(spec, AudioSpec):
        return decoded_sound(values, spec.sample_rate_hz, source)
    if isinstance(spec, ImageSpec):
        return _decoded_picture(values, spec, source)
    return _decoded_numbers(values, spec, source)


def decoded_sound(values: NDArray[Any], rate_hz: int, source: str) -> Decoded:
    """Check samples and bring them to float32 [samples, channels].

    Args:
        values: int16 (divided by 32768), float32 or float64; [samples] or [samples, channels].
        rate_hz: Their rate.
        source: What to call them in an error.

    Raises:
        SampleError: The shape, the element type or a value does not fit.
    """
    if values.ndim not in {1, 2} or values.size == 0:
        raise SampleError(
            f"{source} has the shape {list(values.shape)}: expected [samples] or [samples, channels], not empty"
        )
    columns = values if values.ndim == 2 else values[:, np.newaxis]
    if columns.shape[1] > MAX_AUDIO_CHANNELS:
        raise SampleError(
            f"{source} has the shape {list(values.shape)}: expected [samples, channels] with at most "
            f"{MAX_AUDIO_CHANNELS} channels",
            hint="transpose it if it is [channels, samples]",
        )
    if columns.size > MAX_AUDIO_VALUES:
        raise SampleError(f"{source} has {columns.size} samples over all channels: at most {MAX_AUDIO_VALUES} are read")
    return Decoded(_full_scale_one(columns, source), rate_hz=rate_hz)


def _full_scale_one(columns: NDArray[Any], source: str) -> NDArray[np.float32]:
    if columns.dtype == np.int16:
        exact: NDArray[np.float32] = columns.astype(np.float32)
        exact /= _INT16_FULL_SCALE  # in place: an hour of sound is large
        return exact
    if columns.dtype not in {np.dtype(np.float32), np.dtype(np.float64)}:
        raise SampleError(
            f"{source} has the element type {columns.dtype}: expected int16, or float32 with full scale 1.0",
            hint="convert other integers to float32 yourself: only you know their full scale",
        )
    with np.errstate(over="ignore"):
        samples = columns.astype(np.float32, copy=False)
    peak = max(float(samples.max()), -float(samples.min()))
    if not np.isfinite(peak):
        raise SampleError(f"{source} has samples that are not finite")
    if peak > MAX_AUDIO_PEAK:
        raise SampleError(
            f"{source} has a peak of {peak:g}: expected full scale 1.0 and at most {MAX_AUDIO_PEAK:g}",
            hint="give 16-bit samples as int16, or divide them by 32768",
        )
    return samples


def _decoded_picture(values: NDArray[Any], spec: ImageSpec, source: str) -> Decoded:
    grey = spec.colour == "grey"
    fits = values.ndim == 2 if grey else values.ndim == 3 and values.shape[2] == 3
    if not fits or values.size == 0:
        expected = "[height, width]" if grey else "[height, width, 3]"
        raise SampleError(
            f"{source} has the shape {list(values.shape)}: expected {expected} in the colour order {spec.colour}"
        )
    if values.dtype != np.uint8:
        raise SampleError(
            f"{source} has the element type {values.dtype}: expected uint8",
            hint="give pixels as 0..255; the spec's scale makes them small",
        )
    pixels = values.shape[0] * values.shape[1]
    if pixels > MAX_IMAGE_PIXELS:
        raise SampleError(f"{source} has {pixels} pixels: at most {MAX_IMAGE_PIXELS} are read")
    return Decoded(values, colour=spec.colour)


def _decoded_numbers(values: NDArray[Any], spec: ArraySpec, source: str) -> Decoded:
    if values.shape != spec.shape:
        raise SampleError(f"{source} has the shape {list(values.shape)}: expected {list(spec.shape)}")
    if values.dtype.kind not in "biuf":
        raise SampleError(f"{source} has the element type {values.dtype}: expected real numbers")
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32, order="C", copy=False)
    if not np.isfinite(numbers).all():
        raise SampleError(f"{source} has values that are not finite as float32")
    return Decoded(numbers)
