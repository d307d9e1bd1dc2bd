"""Lost and late sound, damaged chunks, and hours of it."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import mstedge.runtime.stream
from mstedge.errors import SampleError
from mstedge.runtime.stream import SoundChunk, SoundStream, StreamCounts, Window, windows_of
from mstedge.specs import AudioSpec

SPEC = AudioSpec(
    sample_rate_hz=8000, clip_samples=800, window_samples=200, hop_samples=100, fft_samples=256, mel_bands=12
)


def sound(length: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(-1, 1, (length, 1)).astype(np.float32)


def counts_of(stream: SoundStream) -> tuple[int, int, int, int]:
    counts = stream.counts
    return counts.pushed, counts.lost, counts.late, counts.windows


@given(
    pieces=st.lists(st.tuples(st.integers(-900, 3000), st.integers(1, 1500)), min_size=1, max_size=8),
    hop=st.sampled_from([100, 300, 70, 1000]),
)
@example(pieces=[(0, 800), (800, 1000)], hop=100)  # one window lies in the gap, and fills it
@example(pieces=[(0, 800), (799, 1000)], hop=100)
@settings(max_examples=150, deadline=None)
def test_lost_samples_are_zeros_and_late_ones_are_left_out(pieces: list[tuple[int, int]], hop: int):
    stream, windows = SoundStream(SPEC, hop), list[Window]()
    whole, heard = np.zeros((0, 1), np.float32), np.zeros(0, bool)
    lost = late = pushed = 0
    for number, (ahead, length) in enumerate(pieces):
        samples = sound(length, number)
        start = len(whole) + ahead if number else 0
        windows += stream.push(SoundChunk(samples, 8000, start))
        gap, old = max(0, start - len(whole)), min(length, max(0, len(whole) - start))
        whole = np.concatenate((whole, np.zeros((gap, 1), np.float32), samples[old:]))
        heard = np.concatenate((heard, np.zeros(gap, bool), np.ones(length - old, bool)))
        pushed, lost, late = pushed + length, lost + gap, late + old
    windows += stream.flush()
    expected = [one for one in windows_of(whole, 8000, SPEC, hop) if heard[one.start : one.end].any()]
    assert [(one.start, one.end) for one in windows] == [(one.start, one.end) for one in expected]
    assert all(np.array_equal(one.features, other.features) for one, other in zip(windows, expected, strict=True))
    assert counts_of(stream) == (pushed, lost, late, len(windows))


@pytest.mark.parametrize("rate_hz", [8000, 44100])
def test_a_gap_of_years_takes_no_time(rate_hz: int):
    stream = SoundStream(SPEC, 100)
    years = 10 * 365 * 24 * 3600 * rate_hz
    windows = stream.push(SoundChunk(sound(rate_hz), rate_hz, 0))
    windows += stream.push(SoundChunk(sound(rate_hz), rate_hz, rate_hz + years)) + stream.flush()
    assert stream.counts.lost == years
    # Those with sound in them: as many as of two recordings, of which the second starts within a window.
    assert len(windows) == stream.counts.windows < 2 * (80 + 8)
    behind = (rate_hz + years) * 8000 // rate_hz
    second = [window for window in windows if window.start > 10_000]
    assert second[0].start <= behind < second[0].end
    assert second[0].start % 100 == 0
    assert second[-1].end == behind + 8000


def test_a_counter_that_began_again_is_late_until_the_stream_is_reset():
    stream = SoundStream(SPEC, 100)
    stream.push(SoundChunk(sound(2000), 8000, 0))
    assert stream.push(SoundChunk(sound(900), 8000, 0)) == []
    assert counts_of(stream)[:3] == (2900, 0, 900)
    stream.reset()
    assert stream.counts == StreamCounts()
    assert len(stream.push(SoundChunk(sound(900), 8000, 0))) == 2


def test_counts_that_were_asked_for_stay_as_they_were():
    stream = SoundStream(SPEC, 100)
    before = stream.counts
    stream.push(SoundChunk(sound(900), 8000, 0))
    assert before == StreamCounts()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.array([[0.1], [np.nan]], np.float32), "not finite"),
        (np.array([[np.inf]], np.float32), "not finite"),
        (np.array([[16.5], [0]], np.float32), "peak of 16.5"),
        (np.full((20_000, 1), -np.inf, np.float32), "not finite"),
        (np.zeros((3, 65), np.float32), "at most 64 channels"),
        (np.zeros((3, 1), np.int32), "element type int32"),
    ],
)
def test_a_damaged_chunk_is_refused_and_missing_from_then_on(samples: Any, message: str):
    good, stream = sound(3000), SoundStream(SPEC, 100)
    windows = stream.push(SoundChunk(good[:1000], 8000, 0))
    with pytest.raises(SampleError, match=f"chunk of sound at sample 1000.*{message}"):
        stream.push(SoundChunk(samples, 8000, 1000))
    after = 1000 + len(samples)
    windows += stream.push(SoundChunk(good, 8000, after)) + stream.flush()
    assert stream.counts.lost == len(samples)
    whole = np.concatenate((good[:1000], np.zeros((len(samples), 1), np.float32), good))
    expected = {one.start: one for one in windows_of(whole, 8000, SPEC, 100)}
    assert all(np.array_equal(one.features, expected[one.start].features) for one in windows)
    assert windows[-1].end == len(whole)


def test_loud_sound_is_taken():
    # Sixteen times full scale is the limit; many samples near it are not quickly proved to be below it.
    samples, stream = 16 * np.sign(sound(2000)), SoundStream(SPEC, 100)
    found = stream.push(SoundChunk(samples, 8000, 0)) + stream.flush()
    expected = windows_of(samples, 8000, SPEC, 100)
    assert len(found) == len(expected) == 13
    assert all(np.array_equal(one.features, other.features) for one, other in zip(found, expected, strict=True))


def test_another_rate_amid_a_recording_is_refused():
    stream = SoundStream(SPEC, 100)
    stream.push(SoundChunk(sound(100), 8000, 0))
    with pytest.raises(SampleError, match="a chunk at 16000 Hz in a stream at 8000 Hz") as caught:
        stream.push(SoundChunk(sound(100), 16000, 100))
    assert caught.value.hint == "flush or reset the stream where a source changes its rate"
    assert counts_of(stream) == (100, 0, 0, 0)


def test_an_empty_chunk_is_nothing():
    stream = SoundStream(SPEC, 100)
    assert stream.push(SoundChunk(np.zeros((0, 1), np.float32), 44100, 5)) == []
    assert stream.flush() == []
    assert len(stream.push(SoundChunk(sound(800), 8000, 0))) == 1
    assert stream.counts == StreamCounts(pushed=800, windows=1)


def test_an_hour_takes_no_more_memory_than_a_minute():
    stream, chunk = SoundStream(SPEC, 2000), 0.1 * sound(80)

    def push_until(minute: int) -> None:
        for start in range(stream.counts.pushed, minute * 60 * 8000, 80):
            for window in stream.push(SoundChunk(chunk, 8000, start)):
                assert window.end <= start + 80

    push_until(1)
    before = resident_bytes()
    push_until(60)
    assert stream.counts == StreamCounts(pushed=3600 * 8000, windows=1 + (3600 * 8000 - 800) // 2000)
    assert resident_bytes() - before < 3 << 20  # a leak of one sample of every chunk would be 1.4 MB, of each 115 MB


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_nothing_asks_for_the_time():
    # A source's clock may run slower or faster than the machine's: only its counter says where sound belongs.
    folder = Path(mstedge.runtime.stream.__file__).parent
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in folder.glob("*.py")]
    imported = {
        name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (getattr(node, "module", None), *(alias.name for alias in node.names))
    }
    assert "numpy" in imported
    assert imported.isdisjoint({"time", "datetime"})
