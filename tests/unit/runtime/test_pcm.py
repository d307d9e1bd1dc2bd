"""Samples without a header on a pipe, however it cuts them up."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mstedge.errors import SampleError, UsageError
from mstedge.runtime.sensors.pcm import PcmPipe

VALUES = np.random.default_rng(2).integers(-32768, 32768, 1200).astype("<i2")
FLOATS = (VALUES / 40000).astype("<f4")


def heard(content: bytes, sizes: list[int], **options: Any) -> tuple[list[Any], PcmPipe]:
    """What comes of bytes that are written in pieces of these sizes, then the rest."""
    reading, writing = os.pipe()

    def write() -> None:
        position = 0
        for size in [*sizes, len(content)]:
            os.write(writing, content[position : position + size])
            position += size
        os.close(writing)

    writer = threading.Thread(target=write)
    try:
        with PcmPipe(rate_hz=16000, descriptor=reading, **options) as source:
            writer.start()
            chunks = list(source.chunks())
            return chunks, source
    finally:
        writer.join()
        os.close(reading)


@given(st.lists(st.integers(1, 700), max_size=12), st.sampled_from(["s16le", "f32le"]), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_any_pieces_give_the_same_samples(sizes: list[int], encoding: Any, channels: int) -> None:
    stored = VALUES if encoding == "s16le" else FLOATS
    chunks, source = heard(stored.tobytes(), sizes, encoding=encoding, channels=channels)
    expected = stored.astype(np.float32) / np.float32(32768 if encoding == "s16le" else 1)
    samples = np.concatenate([chunk.samples for chunk in chunks])
    assert np.array_equal(samples, expected.reshape(-1, channels))
    lengths = [len(chunk.samples) for chunk in chunks]
    assert [chunk.start for chunk in chunks] == [sum(lengths[:position]) for position in range(len(lengths))]
    assert (source.live, source.lost_samples, source.left_over_bytes) == (False, 0, 0)


def test_a_part_of_a_sample_at_the_end_is_dropped_and_counted() -> None:
    chunks, source = heard(VALUES.tobytes()[:-3], [101], encoding="s16le", channels=2)
    assert sum(len(chunk.samples) for chunk in chunks) == 599
    assert source.left_over_bytes == 1


@pytest.mark.parametrize("content", [b"", b"x"])
def test_a_pipe_that_ends_at_once_is_silent(content: bytes) -> None:
    assert heard(content, [], encoding="s16le")[0] == []


def test_sound_comes_as_soon_as_it_is_there() -> None:
    reading, writing = os.pipe()
    try:
        chunks = PcmPipe(encoding="s16le", rate_hz=8000, descriptor=reading).chunks()
        os.write(writing, b"\0\x40\0")
        assert next(chunks).samples.tolist() == [[0.5]]
        os.write(writing, b"\xc0")
        assert next(chunks).samples.tolist() == [[-0.5]]
    finally:
        os.close(reading)
        os.close(writing)


@pytest.fixture
def silent_pipe() -> Iterator[int]:
    reading, writing = os.pipe()
    yield reading
    os.close(reading)
    os.close(writing)


def test_close_ends_a_reader_that_waits(silent_pipe: int) -> None:
    source = PcmPipe(encoding="s16le", rate_hz=8000, descriptor=silent_pipe)
    reader = threading.Thread(target=lambda: list(source.chunks()))
    reader.start()
    time.sleep(0.05)
    source.close()
    reader.join(5)
    assert not reader.is_alive()


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (b"RIFF\x24\0\0\0WAVEfmt ", "s16le", "standard input is a WAV file"),
        (np.array([0, np.nan], "<f4").tobytes(), "f32le", "a peak of nan after 0.000 s"),
        (VALUES.tobytes(), "f32le", "expected full scale 1 and at most 16"),
    ],
)
def test_bytes_that_are_something_else_are_refused(content: bytes, encoding: Any, message: str) -> None:
    with pytest.raises(SampleError, match=message):
        heard(content, [], encoding=encoding)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "mp3", "rate_hz": 8000}, "samples as 'mp3': expected s16le or f32le"),
        ({"encoding": "s16le", "rate_hz": 0}, "a sample rate of 0 Hz"),
        ({"encoding": "s16le", "rate_hz": 8000, "channels": 65}, "65 channels"),
    ],
)
def test_options_that_cannot_be_are_refused(options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PcmPipe(**options)


def test_a_descriptor_that_is_closed_is_said() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    os.close(reading)
    with pytest.raises(UsageError, match="standard input cannot be read"):
        list(PcmPipe(encoding="s16le", rate_hz=8000, descriptor=reading).chunks())
