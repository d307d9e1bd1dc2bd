"""Streams at another rate than the spec's: as the whole recording, resampled and cut."""

from __future__ import annotations

import sys
from itertools import cycle
from typing import Any

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from mstedge.errors import MissingPackageError
from mstedge.runtime.stream import SoundChunk, SoundStream, StreamCounts, Window, windows_of
from mstedge.runtime.stream.resampler import SETTLING_SAMPLES, Resampler
from mstedge.specs import AudioSpec

RATES = [(44100, 16000), (48000, 16000), (8000, 16000), (16000, 8000), (192000, 8000), (11025, 16000), (8000, 44100)]
# soxr 1.1 gave equal bits for every cut; this allows another version to cut its blocks otherwise, near 1e-7 of full
# scale, which is 1e-6 of the logarithm of a band that is not silent.
TOLERANCE = 1e-5


def spec_at(rate_hz: int) -> AudioSpec:
    return AudioSpec(
        sample_rate_hz=rate_hz,
        clip_samples=rate_hz // 5,
        window_samples=200,
        hop_samples=100,
        fft_samples=256,
        mel_bands=8,
    )


def sound(length: int, channels: int = 1, seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(-1, 1, (length, channels)).astype(np.float32)


def assert_close(found: list[Window], expected: list[Window]) -> None:
    assert [(one.start, one.end) for one in found] == [(one.start, one.end) for one in expected]
    worst = [np.abs(one.features - other.features).max() for one, other in zip(found, expected, strict=True)]
    assert max(worst, default=0) <= TOLERANCE


@given(
    rates=st.sampled_from(RATES),
    seconds=st.floats(0, 1.2),
    channels=st.sampled_from([1, 2]),
    sizes=st.lists(st.sampled_from([7, 441, 3000, 100_000]), min_size=1, max_size=5),
    hop=st.sampled_from([800, 1000]),
)
@settings(max_examples=60, deadline=None)
def test_any_cut_gives_the_windows_of_the_whole(
    rates: tuple[int, int], seconds: float, channels: int, sizes: list[int], hop: int
):
    spec, samples = spec_at(rates[1]), sound(int(seconds * rates[0]), channels)
    stream, found, start = SoundStream(spec, hop), list[Window](), 0
    for size in cycle(sizes):
        if start >= len(samples):
            break
        found += stream.push(SoundChunk(samples[start : start + size], rates[0], start))
        start += size
    assert_close(found + stream.flush(), windows_of(samples, rates[0], spec, hop))


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
@pytest.mark.parametrize("lost", [100, 20_000, 300_001])
def test_lost_samples_are_zeros(from_hz: int, to_hz: int, lost: int):
    spec, first, second = spec_at(to_hz), sound(from_hz // 2), sound(from_hz // 2 + 3, seed=1)
    stream = SoundStream(spec, 800)
    found = stream.push(SoundChunk(first, from_hz, 0))
    found += stream.push(SoundChunk(second, from_hz, len(first) + lost)) + stream.flush()
    whole = np.concatenate((first, np.zeros((lost, 1), np.float32), second))
    end, begin = (index * to_hz / from_hz for index in (len(first), len(first) + lost))
    expected = [one for one in windows_of(whole, from_hz, spec, 800) if one.start < end or one.end > begin]
    counts = stream.counts
    assert counts == StreamCounts(pushed=len(first) + len(second), lost=lost, windows=len(found))
    assert [(one.start, one.end) for one in found] == [(one.start, one.end) for one in expected]
    # In bands that are all but silent the logarithm shows what no ear hears: the last bits of the resampled sound.
    audible = [other.features > np.log(1e-4) for other in expected]
    worst = [
        np.abs(one.features - other.features)[loud].max()
        for one, other, loud in zip(found, expected, audible, strict=True)
        if loud.any()
    ]
    assert np.mean([loud.mean() for loud in audible]) > 0.1
    assert max(worst) <= 1e-3


# Seen: at most 8.4e-7. At 44,100 to 44,099 Hz, where soxr interpolates its filter, 4.7e-5.
@pytest.mark.parametrize(("from_hz", "to_hz"), [*RATES, (8000, 192000), (96000, 8000)])
def test_a_restart_after_silence_is_in_step(from_hz: int, to_hz: int):
    first, second = sound(from_hz + 13)[:, 0], sound(from_hz, seed=1)[:, 0]
    resampler = Resampler(from_hz, to_hz)
    silence = resampler.longest_fill + 17
    whole = soxr.resample(np.concatenate((first, np.zeros(silence, np.float32), second)), from_hz, to_hz, quality="HQ")
    before = [resampler.feed(first), resampler.feed(np.zeros(SETTLING_SAMPLES, np.float32)), resampler.finish()]
    start, lead = resampler.restart(first.size + silence)
    between = np.zeros(start - sum(part.size for part in before), np.float32)
    found = np.concatenate((*before, between, lead, resampler.feed(second), resampler.finish()))
    assert found.size == whole.size
    assert np.abs(found - whole).max() <= 2e-6


def test_windows_come_soon_after_their_last_sample():
    spec, stream = spec_at(16000), SoundStream(spec_at(16000), 800)
    samples, ends = sound(48000), list[float]()
    for start in range(0, 48000, 480):
        heard = (start + 480) / 48000
        ends += [
            heard - window.end / 16000 for window in stream.push(SoundChunk(samples[start : start + 480], 48000, start))
        ]
    assert len(ends) > (16000 - spec.clip_samples) // 800 - 2
    assert 0 <= min(ends) <= max(ends) < 0.06


def test_the_counter_is_given_at_the_rate_of_the_spec():
    stream = SoundStream(spec_at(16000), 800)
    found = stream.push(SoundChunk(sound(48000), 48000, 48000 * 10**9)) + stream.flush()
    assert found[0].start == 16000 * 10**9
    assert found[-1].end == 16000 * 10**9 + 16000


def test_without_soxr_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch):
    stream = SoundStream(spec_at(16000), 800)
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "soxr", None)
        with pytest.raises(MissingPackageError, match="resampling 48000 Hz to 16000 Hz needs the package 'soxr'"):
            stream.push(SoundChunk(sound(10), 48000, 0))
    assert stream.counts == StreamCounts()
    assert len(stream.push(SoundChunk(sound(16000), 16000, 0))) == 17
