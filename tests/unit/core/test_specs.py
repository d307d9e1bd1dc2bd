"""Specifications: what they refuse, and the shapes that they promise."""

from __future__ import annotations

from typing import Any

import pytest

from mstedge.errors import ConfigError
from mstedge.specs import ArraySpec, AudioSpec, ImageSpec, Scaling, statistics_shape

AUDIO: dict[str, Any] = {
    "sample_rate_hz": 8000,
    "clip_samples": 8000,
    "window_samples": 200,
    "hop_samples": 80,
    "fft_samples": 256,
    "mel_bands": 40,
}


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({}, (1, 101, 40)),
        ({"edges": "none"}, (1, 97, 40)),
        ({"features": "mfcc", "mfcc_count": 13}, (1, 101, 13)),
        ({"hop_samples": 8000}, (1, 2, 40)),
        ({"mel_bands": 8}, (1, 101, 8)),
    ],
)
def test_audio_shapes(changes: dict[str, Any], shape: tuple[int, ...]) -> None:
    assert AudioSpec(**(AUDIO | changes)).feature_shape == shape


def test_image_and_array_shapes() -> None:
    assert ImageSpec(width=32, height=24).feature_shape == (3, 24, 32)
    assert ImageSpec(width=32, height=24, colour="grey").feature_shape == (1, 24, 32)
    assert ArraySpec(shape=(50, 6)).feature_shape == (50, 6)


def test_statistics_broadcast_over_the_axis_that_is_scaled() -> None:
    assert statistics_shape(AudioSpec(**AUDIO)) == (-1,)
    assert statistics_shape(ImageSpec(width=32, height=24)) == (-1, 1, 1)
    assert statistics_shape(ArraySpec(shape=(50, 6))) == (-1,)
    assert statistics_shape(ArraySpec(shape=(15, 3, 8, 8), scaling_axis=1)) == (-1, 1, 1)
    assert statistics_shape(ArraySpec(shape=(15, 3, 8, 8), scaling_axis=-3)) == (-1, 1, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hop_samples": 0}, "hop_samples is 0: expected a value above zero"),
        ({"fft_samples": 128}, "fft_samples is 128: expected at least window_samples"),
        ({"clip_samples": 100}, "clip_samples is 100: expected at least fft_samples"),
        ({"clip_samples": 10**9}, "clip_samples is 1000000000: expected at most"),
        ({"low_hz": 5000.0}, "high_hz is 4000.0: expected low_hz < high_hz"),
        ({"high_hz": 4001.0}, "high_hz is 4001.0: expected low_hz < high_hz <= rate / 2"),
        ({"features": "mfcc", "mfcc_count": 41}, "mfcc_count is 41: expected at most mel_bands"),
        ({"log_floor": 0.0}, "log_floor is 0.0: expected a value above zero"),
        ({"log_floor": float("nan")}, "log_floor is nan: expected a value above zero"),
        ({"scaling": Scaling(mean=(0.0, 0.0), std=(1.0, 1.0))}, "scaling has 2 values: expected 1 or 40"),
        ({"hop_samples": 1, "clip_samples": 16_000_000}, "the clip has 16000001 frames of 40 bands: expected at most"),
    ],
)
def test_audio_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        AudioSpec(**(AUDIO | changes))
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ImageSpec(width=0, height=2), "width is 0"),
        (lambda: ImageSpec(width=9000, height=2), "width, height is 9000: expected at most 8192"),
        (lambda: ImageSpec(width=2, height=2, pad_value=256), "pad_value is 256: expected 0 to 255"),
        (lambda: ImageSpec(width=2, height=2, scale=-1.0), "scale is -1.0"),
        (lambda: ArraySpec(shape=()), r"shape is (): expected 1 to"),
        (lambda: ArraySpec(shape=(3, 0)), "shape is (3, 0): expected sizes above zero"),
        (lambda: ArraySpec(shape=(1 << 20, 1 << 20)), "shape is (1048576, 1048576): expected 1 to"),
        (lambda: ArraySpec(shape=(3, 4), scaling_axis=2), "scaling_axis is 2: expected -2 to 1"),
        (
            lambda: ArraySpec(shape=(3, 4), scaling_axis=0, scaling=Scaling(mean=(0.0,) * 4, std=(1.0,) * 4)),
            "scaling has 4 values: expected 1 or 3",
        ),
        (lambda: Scaling(mean=(0.0,), std=(1.0, 1.0)), "scaling has 1 means and 2 standard deviations"),
        (lambda: Scaling(mean=(), std=()), "scaling has 0 means"),
        (lambda: Scaling(mean=(0.0,), std=(0.0,)), "scaling has a standard deviation that is not above zero"),
        (lambda: Scaling(mean=(0.0,), std=(1e-60,)), "scaling has a standard deviation that is not above zero"),
        (lambda: Scaling(mean=(float("inf"),), std=(1.0,)), "scaling has a mean that is not finite"),
    ],
)
def test_images_arrays_and_scaling_that_cannot_be_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.message.startswith(message)
