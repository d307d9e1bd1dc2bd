"""Pictures: colour order, resizing against Pillow, letterbox, crop, and what needs OpenCV."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mstedge.errors import MissingPackageError, SampleError
from mstedge.runtime.preprocess import Decoded, decoded_from_array, features_from_decoded, scaled
from mstedge.specs import ImageSpec, Scaling

# In grey levels; all of it was seen.
PILLOW_TOLERANCE = {"linear": 1.0, "area": 1.0, "nearest": 0.0}


def colours(height: int, width: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def levels(pixels: Any, spec: ImageSpec) -> Any:
    return features_from_decoded(decoded_from_array(pixels, spec), spec)


@pytest.mark.parametrize(
    ("interpolation", "pillow", "size", "source"),
    [
        ("linear", Image.Resampling.BILINEAR, (40, 33), (13, 17)),
        ("linear", Image.Resampling.BILINEAR, (64, 64), (32, 32)),
        ("area", Image.Resampling.BOX, (10, 8), (32, 30)),
        ("nearest", Image.Resampling.NEAREST, (11, 9), (30, 41)),
        ("nearest", Image.Resampling.NEAREST, (50, 40), (13, 17)),
    ],
)
def test_resizing_agrees_with_pillow(interpolation: Any, pillow: Any, size: Any, source: Any):
    spec = ImageSpec(width=size[0], height=size[1], interpolation=interpolation, scale=1.0)
    pixels = colours(*source)
    expected = np.asarray(Image.fromarray(pixels).resize(size, pillow), dtype=np.float32).transpose(2, 0, 1)
    assert np.abs(levels(pixels, spec) - expected).max() <= PILLOW_TOLERANCE[interpolation]


def test_linear_is_the_definition_to_within_one_level():
    pixels = colours(7, 9)[:, :, 0]
    spec = ImageSpec(width=5, height=12, colour="grey", scale=1.0)
    rows = np.clip((np.arange(12) + 0.5) * 7 / 12 - 0.5, 0, 6)
    columns = np.clip((np.arange(5) + 0.5) * 9 / 5 - 0.5, 0, 8)
    by_row = np.stack([np.interp(rows, np.arange(7), pixels[:, column]) for column in range(9)], axis=1)
    exact = np.stack([np.interp(columns, np.arange(9), by_row[row]) for row in range(12)])
    assert np.abs(levels(pixels, spec)[0] - exact).max() < 1.0


@pytest.mark.parametrize("wanted", ["rgb", "bgr", "grey"])
@pytest.mark.parametrize("given", ["rgb", "bgr", "grey"])
def test_colours_come_in_the_order_of_the_spec(given: Any, wanted: Any):
    spec = ImageSpec(width=4, height=3, colour=wanted, scale=1.0)
    rgb = colours(3, 4)
    stored = {"rgb": rgb, "bgr": rgb[:, :, ::-1], "grey": rgb[:, :, 0]}[given]
    found = features_from_decoded(Decoded(stored, colour=given), spec)
    red, green, blue = (rgb[:, :, channel].astype(np.int64) for channel in range(3))
    luma = (9798 * red + 19235 * green + 3735 * blue + (1 << 14)) >> 15
    expected = {
        "rgb": [red, green, blue] if given != "grey" else [red] * 3,
        "bgr": [blue, green, red] if given != "grey" else [red] * 3,
        "grey": [luma if given != "grey" else red],
    }[wanted]
    assert np.array_equal(found, np.array(expected, dtype=np.float32))


def test_letterbox_keeps_proportions_between_bars():
    spec = ImageSpec(width=20, height=20, resize="letterbox", pad_value=7, scale=1.0)
    found = levels(np.full((10, 40, 3), 200, np.uint8), spec)
    assert np.array_equal(found[:, 7:12], np.full((3, 5, 20), 200))
    assert np.array_equal(found[:, :7], np.full((3, 7, 20), 7))
    assert np.array_equal(found[:, 12:], np.full((3, 8, 20), 7))


def test_crop_keeps_the_centre():
    pixels = np.zeros((10, 40, 3), np.uint8)
    pixels[:, 15:25] = 200
    spec = ImageSpec(width=20, height=20, resize="crop", scale=1.0)
    assert np.array_equal(levels(pixels, spec), np.full((3, 20, 20), 200))
    assert np.array_equal(levels(pixels.transpose(1, 0, 2), spec), np.full((3, 20, 20), 200))


@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from(["stretch", "letterbox", "crop"]),
    st.sampled_from(["linear", "area", "nearest"]),
    st.sampled_from(["grey", "rgb"]),
)
@settings(max_examples=80, deadline=None)
def test_any_size_gives_the_promised_shape(height: int, width: int, resize: Any, interpolation: Any, colour: Any):
    spec = ImageSpec(width=17, height=9, resize=resize, interpolation=interpolation, colour=colour)
    pixels = colours(height, width)
    given = decoded_from_array(pixels[:, :, 0] if colour == "grey" else pixels, spec)
    found = features_from_decoded(given, spec)
    assert found.shape == spec.feature_shape
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert 0 <= found.min() <= found.max() <= 1
    assert np.array_equal(found, features_from_decoded(given, spec))


@pytest.mark.parametrize("resize", ["letterbox", "crop"])
def test_extreme_proportions_stay_bounded(resize: Any):
    spec = ImageSpec(width=8, height=8, resize=resize, scale=1.0)
    assert levels(np.full((1, 100_000, 3), 9, np.uint8), spec).max() == 9


def test_scale_and_scaling_per_channel():
    spec = ImageSpec(width=4, height=3, scaling=Scaling(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0)))
    pixels = colours(3, 4)
    bare = ImageSpec(width=4, height=3)
    raw = levels(pixels, bare)
    assert np.allclose(raw, pixels.transpose(2, 0, 1) / 255.0, atol=1e-7)
    expected = (raw - np.array([0.1, 0.2, 0.3])[:, None, None]) / np.array([1.0, 2.0, 4.0])[:, None, None]
    assert np.allclose(levels(pixels, spec), expected, atol=1e-6)
    assert np.array_equal(scaled(raw[np.newaxis], spec)[0], levels(pixels, spec))


def test_opencv_is_needed_only_for_resizing_and_greying(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    spec = ImageSpec(width=4, height=3)
    levels(colours(3, 4), spec)
    features_from_decoded(Decoded(colours(3, 4), colour="bgr"), spec)
    with pytest.raises(MissingPackageError, match="resizing a picture of 5 x 3 to 4 x 3 needs the package 'cv2'"):
        levels(colours(3, 5), spec)
    with pytest.raises(MissingPackageError, match="turning a colour picture grey"):
        features_from_decoded(Decoded(colours(3, 4), colour="bgr"), ImageSpec(width=4, height=3, colour="grey"))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((3, 4), np.uint8), r"shape \[3, 4\]: expected \[height, width, 3\] in the colour order rgb"),
        (np.zeros((3, 4, 4), np.uint8), r"shape \[3, 4, 4\]"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \[0, 4, 3\]"),
        (np.zeros((3, 4, 3), np.float32), "element type float32: expected uint8"),
        (np.broadcast_to(np.uint8(0), (10_000, 10_000, 3)), "100000000 pixels: at most 67108864"),
    ],
)
def test_a_picture_that_does_not_fit_is_refused(pixels: Any, message: str):
    with pytest.raises(SampleError, match=message):
        decoded_from_array(pixels, ImageSpec(width=4, height=3))


def test_sound_is_no_picture():
    with pytest.raises(SampleError, match="expected a picture"):
        features_from_decoded(Decoded(np.zeros((5, 1), np.float32), rate_hz=8000), ImageSpec(width=4, height=3))
