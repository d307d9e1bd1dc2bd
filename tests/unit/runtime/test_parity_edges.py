"""Made-up extremes: through the front end that ships, for every kind of sensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bundle_factory import SPECS, wav_bytes

from mstedge.runtime.parity.edges import edge_features
from mstedge.runtime.preprocess import decode_file, features_from_decoded
from mstedge.specs import ArraySpec, AudioSpec, ImageSpec, Scaling, Spec

GREY = ImageSpec(width=8, height=6, colour="grey", scaling=Scaling(mean=(0.5,), std=(0.25,)))


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        (SPECS["audio"], ("silence", "full-scale square wave")),
        (SPECS["image"], ("black", "white", "grey")),
        (GREY, ("black", "white", "grey")),
        (SPECS["array"], ("zeros", "-1", "+1")),
        (
            ArraySpec(shape=(4, 2), scaling=Scaling(mean=(1.0, 2.0), std=(0.5, 3.0))),
            ("zeros", "mean - 10 std", "mean + 10 std"),
        ),
    ],
    ids=["audio", "colour image", "grey image", "array", "scaled array"],
)
def test_every_sensor_has_extremes_of_its_own(spec: Spec, names: tuple[str, ...]) -> None:
    found, features = edge_features(spec)
    assert found == names
    assert features.shape == (len(names), *spec.feature_shape)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert len({row.tobytes() for row in features}) == len(names)


@pytest.mark.parametrize(("shape", "axis"), [((4, 2), -1), ((3, 2, 5), 1)])
def test_scaling_brings_far_values_to_ten(shape: tuple[int, ...], axis: int) -> None:
    scaling = Scaling(mean=(1.0, 2.0), std=(0.5, 3.0))
    _, features = edge_features(ArraySpec(shape=shape, scaling=scaling, scaling_axis=axis))
    np.testing.assert_allclose(features[1], -10, rtol=1e-6)
    np.testing.assert_allclose(features[2], 10, rtol=1e-6)


def test_pictures_are_plain() -> None:
    _, features = edge_features(GREY)
    np.testing.assert_allclose(features[0], -2)
    np.testing.assert_allclose(features[1], 2)
    _, colour = edge_features(SPECS["image"])
    assert (colour[0] == 0).all()
    np.testing.assert_allclose(colour[1], 1)


def test_silence_is_what_a_file_of_silence_gives(tmp_path: Path) -> None:
    spec = SPECS["audio"]
    assert isinstance(spec, AudioSpec)
    (tmp_path / "silence.wav").write_bytes(wav_bytes(np.zeros(spec.clip_samples), spec.sample_rate_hz))
    decoded = decode_file(tmp_path / "silence.wav", spec)
    _, features = edge_features(spec)
    np.testing.assert_array_equal(features[0], features_from_decoded(decoded, spec))
    assert features[1].max() > features[0].max() + 5
