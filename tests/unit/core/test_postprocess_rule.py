"""The rule for answers in a manifest: old ones are read, and what makes no sense is refused with its value."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from bundle_factory import LABELS, SPECS, make_bundle

from mstedge.errors import BundleError
from mstedge.manifest import Manifest, Postprocess, Stream
from mstedge.schema import decode_json, encode_json
from mstedge.specs import AudioSpec


def test_manifest_of_before_is_read_with_defaults() -> None:
    old = b'{"temperature": 1.5, "threshold": 0.25, "unknown": "nobody"}'
    rule = decode_json(old, Postprocess, source="old", error=BundleError)
    assert rule == Postprocess(temperature=1.5, threshold=0.25, unknown="nobody")
    assert (rule.silence, rule.silence_dbfs) == ("silence", None)
    assert rule.stream == Stream(hop_samples=None, smoothing_hops=1, release=None, minimum_hops=1, refractory_hops=0)
    assert decode_json(encode_json(rule), Postprocess, source="new") == rule


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0}, "temperature 0"),
        ({"temperature": float("inf")}, "temperature inf"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"threshold": 1.01}, "threshold 1.01"),
        ({"silence": ""}, "silence is ''"),
        ({"silence": "a\x1b[2J"}, "expected printable text"),
        ({"silence_dbfs": 1.0}, "silence_dbfs is 1.0: expected -200 to 0"),
        ({"silence_dbfs": float("nan")}, "silence_dbfs is nan"),
        (
            {"threshold": 0.5, "stream": Stream(release=0.6)},
            "release is 0.6: expected 0 to the threshold, which is 0.5",
        ),
        ({"threshold": 0.5, "stream": Stream(release=-0.1)}, "release is -0.1"),
    ],
)
def test_values_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError) as problem:
        Postprocess(**changes)
    assert message in problem.value.message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hop_samples", 0),
        ("smoothing_hops", 0),
        ("smoothing_hops", 10_001),
        ("minimum_hops", 0),
        ("minimum_hops", 10_001),
        ("refractory_hops", -1),
    ],
)
def test_hops_out_of_bounds_are_refused(key: str, value: int) -> None:
    with pytest.raises(BundleError, match=rf"stream.{key} is {value}: expected"):
        Stream(**{key: value})


def test_default_hop_is_a_quarter_of_the_clip_in_whole_hops_of_the_front_end() -> None:
    def spec(clip_samples: int, hop_samples: int) -> AudioSpec:
        return AudioSpec(
            sample_rate_hz=16000,
            clip_samples=clip_samples,
            window_samples=400,
            hop_samples=hop_samples,
            fft_samples=512,
            mel_bands=40,
        )

    assert Stream().hop_samples_for(spec(16000, 160)) == 4000
    assert Stream().hop_samples_for(spec(16000, 512)) == 7 * 512
    assert Stream().hop_samples_for(spec(600, 300)) == 300, "never less than one"
    assert Stream().hop_samples_for(spec(600, 700)) == 600, "never more than the clip"
    assert Stream(hop_samples=123).hop_samples_for(spec(16000, 160)) == 123


def test_sound_alone_has_levels_and_hops_in_samples(tmp_path: Any) -> None:
    text = (make_bundle(tmp_path / "array", "array", cases=1) / "manifest.json").read_bytes()
    manifest = decode_json(text, Manifest, source="manifest.json")
    for rule, key in {
        Postprocess(silence_dbfs=-50): "silence_dbfs",
        Postprocess(stream=Stream(hop_samples=5)): "stream.hop_samples",
    }.items():
        with pytest.raises(BundleError, match=f"postprocess.{key} is .* not one of sound"):
            msgspec.structs.replace(manifest, postprocess=rule)
    smoothed = Postprocess(stream=Stream(smoothing_hops=5))
    assert msgspec.structs.replace(manifest, postprocess=smoothed).postprocess.stream.smoothing_hops == 5


def test_hop_beyond_the_clip_is_refused(tmp_path: Any) -> None:
    text = (make_bundle(tmp_path / "audio", "audio", cases=1) / "manifest.json").read_bytes()
    manifest = decode_json(text, Manifest, source="manifest.json")
    clip = SPECS["audio"].clip_samples  # type: ignore[union-attr]
    assert msgspec.structs.replace(manifest, postprocess=Postprocess(stream=Stream(hop_samples=clip))).labels == LABELS
    with pytest.raises(BundleError, match="sound between two clips is never heard"):
        msgspec.structs.replace(manifest, postprocess=Postprocess(stream=Stream(hop_samples=clip + 1)))
