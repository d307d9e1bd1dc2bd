"""A recording that plays as a microphone does: by the clock, and lost to those who are late."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from mstedge.errors import SampleError, UsageError
from mstedge.runtime.preprocess import decode_file
from mstedge.runtime.sensors.played_file import PlayedFile
from mstedge.specs import AudioSpec

SPEC = AudioSpec(
    sample_rate_hz=8000, clip_samples=2000, window_samples=200, hop_samples=80, fft_samples=256, mel_bands=24
)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(1).uniform(-1, 1, (4003, 2)), 8000)
    return tmp_path / "a.wav"


@pytest.mark.parametrize("options", [{}, {"block_samples": 1000}, {"speed": 50.0}, {"speed": 1e9, "held_seconds": 9}])
def test_all_of_it_is_heard_as_it_is_read_whole(recording: Path, options: dict[str, Any]) -> None:
    with PlayedFile(recording, **options) as source:
        chunks = list(source.chunks())
    assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks]), decode_file(recording, SPEC).values)
    lengths = [len(chunk.samples) for chunk in chunks]
    assert set(lengths[:-1]) == {options.get("block_samples", 160)}
    assert [chunk.start for chunk in chunks] == [sum(lengths[:position]) for position in range(len(lengths))]
    assert (source.rate_hz, source.channels, source.lost_samples) == (8000, 2, 0)
    assert source.live == ("speed" in options)


@pytest.mark.parametrize(("speed", "seconds"), [(1.0, 0.5), (4.0, 0.125)])
def test_it_plays_in_real_time_or_as_fast_as_said(recording: Path, speed: float, seconds: float) -> None:
    began = time.monotonic()
    with PlayedFile(recording, speed=speed) as source:
        chunks = source.chunks()
        first = next(chunks)
        assert time.monotonic() - began >= len(first.samples) / 8000 / speed
        assert sum(len(chunk.samples) for chunk in chunks) == 4003 - 160
    assert seconds <= time.monotonic() - began < seconds + 2


def test_a_late_reader_loses_the_oldest_and_the_counter_tells(recording: Path) -> None:
    with PlayedFile(recording, speed=1e6, block_samples=1000, held_seconds=0.25) as source:
        chunks = source.chunks()
        first = next(chunks)
        source._player.join()  # type: ignore[union-attr]
        rest = list(chunks)
    starts = [chunk.start for chunk in [first, *rest]]
    assert starts == sorted(set(starts))
    assert set(starts) <= set(range(0, 4003, 1000))
    assert rest[-1].start == 4000
    assert len(rest) <= 2  # a quarter of a second, and what is newer
    assert sum(len(chunk.samples) for chunk in [first, *rest]) + source.lost_samples == 4003


def test_close_stops_the_music(recording: Path) -> None:
    before = threading.active_count()
    source = PlayedFile(recording, speed=0.001)
    reader = threading.Thread(target=lambda: list(source.chunks()))
    reader.start()
    while source._player is None:
        time.sleep(0.001)
    source.close()
    source.close()
    reader.join(5)
    assert threading.active_count() == before


@pytest.mark.parametrize("speed", [None, 1e6])
def test_damage_further_on_reaches_the_reader(tmp_path: Path, speed: float | None) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.0] * 500 + [np.inf]), 8000, subtype="FLOAT")
    with PlayedFile(tmp_path / "a.wav", speed=speed, block_samples=500, held_seconds=9) as source:
        chunks = source.chunks()
        assert len(next(chunks).samples) == 500
        with pytest.raises(SampleError, match="not finite"):
            next(chunks)


def test_what_cannot_be_played_is_refused_at_once(tmp_path: Path, recording: Path) -> None:
    with pytest.raises(SampleError, match=r"gone\.wav: cannot be read: No such file"):
        PlayedFile(tmp_path / "gone.wav")
    with pytest.raises(SampleError, match="cannot be read: Is a directory"):
        PlayedFile(tmp_path)
    (tmp_path / "text.wav").write_text("no sound here")
    with pytest.raises(SampleError, match="cannot be decoded"):
        PlayedFile(tmp_path / "text.wav")
    for options in ({"speed": 0.0}, {"block_samples": 0}):
        with pytest.raises(UsageError, match="expected values above zero"):
            PlayedFile(recording, **options)  # type: ignore[arg-type]
