"""A stream gives the windows of the whole recording, bit by bit, however the recording is cut into chunks."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_factory import SPECS, make_bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from mstedge.errors import ConfigError, UsageError
from mstedge.runtime import load
from mstedge.runtime.preprocess import decoded_from_array, features_from_decoded
from mstedge.runtime.stream import SoundChunk, SoundStream, Window, windows_of
from mstedge.runtime.stream.front_end import IncrementalFrontEnd
from mstedge.specs import AudioSpec, Scaling

BASE: dict[str, Any] = {
    "sample_rate_hz": 8000,
    "clip_samples": 1600,
    "window_samples": 200,
    "hop_samples": 80,
    "fft_samples": 256,
    "mel_bands": 12,
    "mfcc_count": 7,
    "scaling": Scaling(mean=(-3.0,), std=(0.01,)),  # a hundred times the differences
}
SIZES = st.lists(st.sampled_from([1, 2, 79, 80, 81, 500, 1600, 3201, 9000]), min_size=1, max_size=6)


def spec_with(**changes: Any) -> AudioSpec:
    return AudioSpec(**{**BASE, **changes})


def sound(length: int, channels: int = 1, seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(-1, 1, (length, channels)).astype(np.float32)


def streamed(stream: SoundStream, samples: Any, sizes: list[int], *, rate_hz: int = 8000) -> list[Window]:
    """Push a recording in chunks of these sizes, again and again, without its end."""
    windows, start = list[Window](), 0
    for size in cycle(sizes):
        if start >= len(samples):
            return windows
        windows += stream.push(SoundChunk(samples[start : start + size], rate_hz, start))
        start += size
    raise AssertionError


def assert_equal(found: list[Window], expected: list[Window]) -> None:
    assert [(one.start, one.end) for one in found] == [(one.start, one.end) for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.features.dtype == np.float32
        assert np.array_equal(one.features, other.features), f"window at {one.start}"


@given(
    length=st.integers(0, 9000),
    channels=st.sampled_from([1, 2, 9]),
    sizes=SIZES,
    hop=st.sampled_from([80, 160, 400, 120, 37, 1600, 2500]),
    changes=st.fixed_dictionaries(
        {
            "edges": st.sampled_from(["reflect", "zero", "none"]),
            "align": st.sampled_from(["start", "centre"]),
            "features": st.sampled_from(["log_mel", "mfcc"]),
            "mixdown": st.sampled_from(["mean", "first"]),
            "fft_samples": st.sampled_from([200, 251, 256]),
            "hop_samples": st.sampled_from([80, 160, 53, 400, 1700]),
            "clip_samples": st.sampled_from([256, 1600, 1733]),
        }
    ),
)
@settings(max_examples=150, deadline=None)
def test_any_cut_gives_the_windows_of_the_whole(
    length: int, channels: int, sizes: list[int], hop: int, changes: dict[str, Any]
):
    spec, samples = spec_with(**changes), sound(length, channels)
    stream = SoundStream(spec, hop)
    windows = streamed(stream, samples, sizes)
    whole = [
        window for window in windows_of(samples, 8000, spec, hop) if window.end - window.start == spec.clip_samples
    ]
    assert_equal(windows, whole)
    assert_equal(windows + stream.flush(), windows_of(samples, 8000, spec, hop))


@pytest.mark.parametrize("hop_samples", [1, 7])
def test_frames_may_be_more_than_a_block_and_edges_long(hop_samples: int):
    spec, samples = spec_with(hop_samples=hop_samples, clip_samples=900), sound(2500)
    stream = SoundStream(spec, 70)
    found = streamed(stream, samples, [333]) + stream.flush()
    assert spec.frames > 128
    assert_equal(found, windows_of(samples, 8000, spec, 70))


def test_each_window_is_what_the_front_end_makes_of_its_samples():
    # Written out once more, so that the reference itself cannot lie.
    spec, samples = spec_with(edges="zero", align="centre"), sound(4000)
    windows = windows_of(samples, 8000, spec, 1000)
    assert [(window.start, window.end) for window in windows] == [(0, 1600), (1000, 2600), (2000, 3600), (3000, 4000)]
    for window in windows:
        alone = features_from_decoded(decoded_from_array(samples[window.start : window.end], spec), spec)
        assert np.array_equal(window.features, alone)


@pytest.mark.parametrize(
    ("length", "hop", "expected"),
    [
        (0, 400, []),
        (1, 400, [(0, 1)]),
        (1599, 400, [(0, 1599)]),
        (1600, 400, [(0, 1600)]),
        (1601, 400, [(0, 1600), (400, 1601)]),
        (2000, 400, [(0, 1600), (400, 2000)]),
        (2001, 2000, [(0, 1600), (2000, 2001)]),
        (1900, 2000, [(0, 1600)]),
    ],
)
def test_the_last_window_holds_what_no_other_holds(length: int, hop: int, expected: list[tuple[int, int]]):
    samples, stream = sound(length), SoundStream(spec_with(), hop)
    found = streamed(stream, samples, [100]) + stream.flush()
    assert [(window.start, window.end) for window in found] == expected
    assert_equal(found, windows_of(samples, 8000, spec_with(), hop))


def test_a_window_is_given_with_its_last_sample():
    stream, samples = SoundStream(spec_with(), 400), sound(2001)
    given_after = [len(stream.push(SoundChunk(samples[index : index + 1], 8000, index))) for index in range(2001)]
    assert [index for index, count in enumerate(given_after) if count] == [1599, 1999]


def test_flush_ends_a_recording_and_reset_forgets_one():
    spec, samples = spec_with(), sound(2500)
    stream = SoundStream(spec, 400)
    first = streamed(stream, samples, [700]) + stream.flush()
    assert stream.flush() == []
    again = streamed(stream, samples, [900]) + stream.flush()
    assert_equal(again, first)
    assert (stream.counts.pushed, stream.counts.windows) == (5000, 2 * len(first))
    streamed(stream, sound(1000, seed=1), [900])
    stream.reset()
    assert (stream.counts.pushed, stream.counts.windows) == (0, 0)
    assert_equal(streamed(stream, samples, [100]) + stream.flush(), first)


@pytest.mark.parametrize("origin", [1, 1000, 10**15])
def test_the_first_chunk_says_where_the_counter_stands(origin: int):
    spec, samples = spec_with(), sound(3000)
    stream, found = SoundStream(spec, 400), list[Window]()
    for start in range(0, 3000, 300):
        found += stream.push(SoundChunk(samples[start : start + 300], 8000, origin + start))
    found += stream.flush()
    expected = windows_of(samples, 8000, spec, 400)
    moved = [Window(one.start + origin, one.end + origin, one.features) for one in expected]
    assert_equal(found, moved)
    assert stream.counts.lost == 0


def test_windows_keep_their_features():
    stream, samples = SoundStream(spec_with(), 400), sound(8000)
    kept = streamed(stream, samples, [800])
    assert_equal(kept, windows_of(samples, 8000, spec_with(), 400)[: len(kept)])
    assert all(window.features.flags.owndata or window.features.base is not None for window in kept)
    kept[0].features[:] = 7
    assert not (kept[1].features == 7).any()


def test_decisions_are_those_of_the_whole_recording(tmp_path: Path):
    spec = SPECS["audio"]
    assert isinstance(spec, AudioSpec)
    samples, stream = sound(9000), SoundStream(spec, 300)
    found = streamed(stream, samples, [77, 900]) + stream.flush()
    expected = windows_of(samples, 8000, spec, 300)
    predictor = load(make_bundle(tmp_path / "bundle", "audio"), threads=1)
    logits = [[predictor.logits(window.features) for window in windows] for windows in (found, expected)]
    assert len(logits[0]) == 25
    assert np.array_equal(*logits)


@pytest.mark.parametrize("edges", ["reflect", "zero", "none"])
def test_a_frame_between_the_edges_is_transformed_once(edges: Any, monkeypatch: pytest.MonkeyPatch):
    from mstedge.runtime.stream import front_end as module

    transformed = 0
    power = module.power_of_frames

    def counted(frames: Any, *rest: Any) -> Any:
        nonlocal transformed
        transformed += len(frames)
        return power(frames, *rest)

    monkeypatch.setattr(module, "power_of_frames", counted)
    spec, samples = spec_with(edges=edges), sound(8000)[:, 0]
    front_end = IncrementalFrontEnd(spec)
    front_end.features(samples[:1600], 0)
    assert transformed == spec.frames
    edge_frames = {"reflect": 4, "zero": 4, "none": 0}[edges]
    for start in range(800, 6401, 800):
        before = transformed
        front_end.features(samples[start : start + 1600], start)
        assert transformed - before == 800 // 80 + edge_frames


@pytest.mark.parametrize("hop", [0, -5])
def test_a_hop_that_goes_nowhere_is_refused(hop: int):
    with pytest.raises(UsageError, match=f"a hop of {hop} samples"):
        SoundStream(spec_with(), hop)
    with pytest.raises(UsageError, match=f"a hop of {hop} samples"):
        windows_of(sound(10), 8000, spec_with(), hop)


def test_a_front_end_that_cannot_be_made_is_refused_at_once():
    with pytest.raises(ConfigError, match="mel band 0 of 128"):
        SoundStream(spec_with(mel_bands=128, scaling=None), 400)
