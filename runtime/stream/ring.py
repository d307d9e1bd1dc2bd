"""The latest samples of sound that never ends, by their absolute index."""

from __future__ import annotations

import numpy as np

from mstedge.errors import SampleError
from mstedge.runtime.stream.sound_types import Floats


class SampleRing:
    """A fixed amount of memory for the latest samples of one channel, counted from 0 for as long as it lives.

    Samples are moved to the front only when the memory is full, which costs each of them less than one copy more; so
    any stretch that is held lies in one piece and is read without a copy.

    Args:
        capacity: Number of samples that are held.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._memory = np.zeros(2 * capacity, dtype=np.float32)
        self._filled = 0
        self._end = 0

    @property
    def begin(self) -> int:
        """Index of the oldest sample that is held."""
        return max(0, self._end - self._capacity)

    @property
    def end(self) -> int:
        """Index that the next sample will have: the number of samples so far."""
        return self._end

    def append(self, samples: Floats) -> None:
        """Add samples, float32 [samples]; the oldest ones make room."""
        latest = samples[-self._capacity :]
        place = self._place(len(latest))
        self._memory[place] = latest
        self._end += len(samples)

    def append_zeros(self, count: int) -> None:
        """Add silence; any length takes no longer than to clear the memory once."""
        place = self._place(min(count, self._capacity))
        self._memory[place] = 0.0
        self._end += count

    def read(self, start: int, stop: int) -> Floats:
        """Give the samples from `start` to before `stop`.

        Returns:
            float32 [stop - start], read-only; it shows other samples once more are added.

        Raises:
            SampleError: Some of them are not there yet, or no longer.
        """
        if not self.begin <= start <= stop <= self._end:
            raise SampleError(
                f"samples {start} to {stop} of a stream that holds {self.begin} to {self._end}: overwritten or not yet "
                "there"
            )
        offset = self._filled - self._end
        samples = self._memory[start + offset : stop + offset]
        samples.flags.writeable = False
        return samples

    def _place(self, count: int) -> slice:
        """Make room for samples behind the others, at most as many as are held."""
        if self._filled + count > self._memory.size:
            kept = self._capacity - count
            self._memory[:kept] = self._memory[self._filled - kept : self._filled]
            self._filled = kept
        place = slice(self._filled, self._filled + count)
        self._filled = place.stop
        return place
