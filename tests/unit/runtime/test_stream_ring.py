"""The ring of samples: absolute indices, what is held, what is refused."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mstedge.errors import SampleError
from mstedge.runtime.stream.ring import SampleRing


@given(
    capacity=st.integers(1, 40),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 130)), max_size=30),
)
@settings(max_examples=200, deadline=None)
def test_the_latest_samples_are_read_by_their_index(capacity: int, steps: list[tuple[bool, int]]):
    ring, everything = SampleRing(capacity), np.zeros(0, np.float32)
    for silent, count in steps:
        samples = np.arange(everything.size + 1, everything.size + 1 + count, dtype=np.float32)
        if silent:
            ring.append_zeros(count)
            samples[:] = 0
        else:
            ring.append(samples)
        everything = np.append(everything, samples)
        assert ring.end == everything.size
        assert ring.begin == max(0, everything.size - capacity)
        assert np.array_equal(ring.read(ring.begin, ring.end), everything[ring.begin :])
        middle = (ring.begin + ring.end) // 2
        assert np.array_equal(ring.read(middle, ring.end), everything[middle:])


@pytest.mark.parametrize(("start", "stop"), [(19, 25), (25, 31), (28, 27), (-1, 5)])
def test_what_is_not_held_is_refused(start: int, stop: int):
    ring = SampleRing(10)
    ring.append(np.ones(30, np.float32))
    with pytest.raises(SampleError, match=f"samples {start} to {stop} of a stream that holds 20 to 30"):
        ring.read(start, stop)


def test_years_of_silence_take_no_time_and_no_memory():
    ring = SampleRing(10)
    ring.append(np.ones(3, np.float32))
    century = 100 * 366 * 24 * 3600 * 192_000
    tracemalloc.start()
    ring.append_zeros(century)
    ring.append(np.full(4, 2, np.float32))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert ring.end == century + 7
    assert ring.read(ring.begin, ring.end).tolist() == [0] * 6 + [2] * 4
    assert peak < 10_000


def test_what_was_read_cannot_be_changed():
    ring = SampleRing(10)
    ring.append(np.ones(5, np.float32))
    with pytest.raises(ValueError, match="read-only"):
        ring.read(0, 5)[0] = 3
