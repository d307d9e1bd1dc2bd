"""The one front end: from a decoded input to the tensor that the network sees."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mstedge.errors import SampleError
from mstedge.runtime.preprocess.clip import padded_clip
from mstedge.runtime.preprocess.decoded import Decoded
from mstedge.runtime.preprocess.log_mel import log_mel_from_clip
from mstedge.runtime.preprocess.pictures import picture_of_size
from mstedge.specs import AudioSpec, ImageSpec, Scaling, Spec, statistics_shape

Floats = NDArray[np.float32]


def features_from_decoded(decoded: Decoded, spec: Spec) -> Floats:
    """Run the whole front end over one input. Safe to call from several threads.

    Args:
        decoded: What `decode_file` or `decoded_from_array` gave.
        spec: The front end; a scaling of none leaves features unscaled.

    Returns:
        float32 [*spec.feature_shape], C-contiguous, finite, and new memory.

    Raises:
        SampleError: The input is of another kind or not finite.
        ConfigError: The spec asks for mel bands too narrow for its transform.
        MissingPackageError: Resampling needs soxr, or a picture needs OpenCV, and it is not installed.
    """
    if isinstance(spec, AudioSpec):
        features = _features_of_sound(decoded, spec)
    elif isinstance(spec, ImageSpec):
        features = _features_of_picture(decoded, spec)
    else:
        if decoded.values.shape != spec.shape or decoded.rate_hz is not None or decoded.colour is not None:
            raise SampleError(f"{_described(decoded)}: expected an array of the shape {list(spec.shape)}")
        features = np.array(decoded.values, dtype=np.float32, order="C")
    _scale_in_place(features, spec)
    # A sum that is finite proves every value finite, for a third of the price; one that overflowed proves nothing.
    if not math.isfinite(float(np.add.reduce(features, axis=None))) and not np.isfinite(features).all():
        raise SampleError(f"the features of {_described(decoded)} are not finite: the input has such values")
    return features


def scaled(features: Floats, spec: Spec) -> Floats:
    """Apply the spec's scaling to features that were made without it; the bits equal those made with it.

    Args:
        features: float32 [*spec.feature_shape], or several with leading axes.
        spec: Gives the scaling; none leaves the values as they are.

    Returns:
        float32 of the same shape, new memory.
    """
    copy = np.array(features, dtype=np.float32, order="C")
    _scale_in_place(copy, spec)
    return copy


def _scale_in_place(features: Floats, spec: Spec) -> None:
    if spec.scaling is None:
        return
    mean, std = _statistics(spec.scaling, statistics_shape(spec))
    features -= mean
    features /= std


@functools.lru_cache(maxsize=64)
def _statistics(scaling: Scaling, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Mean and deviation as float32 arrays that broadcast over features: made once, not for every input."""
    mean, std = (np.array(values, dtype=np.float32).reshape(shape) for values in (scaling.mean, scaling.std))
    return mean, std


def _features_of_sound(decoded: Decoded, spec: AudioSpec) -> Floats:
    if decoded.rate_hz is None or decoded.values.ndim != 2 or decoded.values.size == 0:
        raise SampleError(f"{_described(decoded)}: expected sound, [samples, channels] with its rate")
    return log_mel_from_clip(padded_clip(decoded.values, decoded.rate_hz, spec), spec)


def _features_of_picture(decoded: Decoded, spec: ImageSpec) -> Floats:
    if decoded.colour is None or decoded.values.dtype != np.uint8 or decoded.values.size == 0:
        raise SampleError(f"{_described(decoded)}: expected a picture, uint8 with its colour order")
    pixels = picture_of_size(decoded.values, decoded.colour, spec)
    channels_first: NDArray[Any] = pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    features = np.empty(spec.feature_shape, dtype=np.float32)
    np.multiply(channels_first, np.float32(spec.scale), out=features, dtype=np.float32)
    return features


def _described(decoded: Decoded) -> str:
    kind = "sound" if decoded.rate_hz is not None else "a picture" if decoded.colour is not None else "an array"
    return f"{kind} of the shape {list(decoded.values.shape)}"
