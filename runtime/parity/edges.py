"""Made-up extreme inputs: what a sensor gives when it is covered, saturated or broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mstedge.runtime.preprocess import decoded_from_array, features_from_decoded
from mstedge.specs import AudioSpec, ImageSpec, statistics_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mstedge.specs import ArraySpec, Spec

_SQUARE_WAVE_HZ = 250
_FAR_STDS = 10.0


def edge_features(spec: Spec) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Run extreme inputs through the front end that ships.

    Args:
        spec: The front end.

    Returns:
        What each input is, and features, float32 [edges, *spec.feature_shape].

    Raises:
        MissingPackageError: A picture needs OpenCV, and it is not installed.
    """
    inputs = _inputs(spec)
    features = [features_from_decoded(decoded_from_array(array, spec), spec) for array in inputs.values()]
    return tuple(inputs), np.stack(features)


def _inputs(spec: Spec) -> dict[str, NDArray[Any]]:
    if isinstance(spec, AudioSpec):
        return _sounds(spec)
    if isinstance(spec, ImageSpec):
        size = (spec.height, spec.width) if spec.colour == "grey" else (spec.height, spec.width, 3)
        return {name: np.full(size, level, np.uint8) for name, level in (("black", 0), ("white", 255), ("grey", 128))}
    return _arrays(spec)


def _sounds(spec: AudioSpec) -> dict[str, NDArray[Any]]:
    half_period = max(1, spec.sample_rate_hz // (2 * _SQUARE_WAVE_HZ))
    high = np.arange(spec.clip_samples) // half_period % 2 == 0
    return {
        "silence": np.zeros(spec.clip_samples, np.float32),
        "full-scale square wave": np.where(high, 1.0, -1.0).astype(np.float32),
    }


def _arrays(spec: ArraySpec) -> dict[str, NDArray[Any]]:
    inputs: dict[str, NDArray[Any]] = {"zeros": np.zeros(spec.shape, np.float32)}
    if spec.scaling is None:
        return {**inputs, "-1": np.full(spec.shape, -1.0, np.float32), "+1": np.full(spec.shape, 1.0, np.float32)}
    mean, std = (np.reshape(values, statistics_shape(spec)) for values in (spec.scaling.mean, spec.scaling.std))
    reach = _FAR_STDS * std
    for sign, values in (("-", mean - reach), ("+", mean + reach)):
        inputs[f"mean {sign} {_FAR_STDS:g} std"] = np.broadcast_to(values.astype(np.float32), spec.shape)
    return inputs
