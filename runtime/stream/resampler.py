"""From a source's rate to the spec's, chunk by chunk.

soxr computes a stream in blocks of its own, so its output has the same bits however the input is cut, and the bits of
`soxr.resample` of the whole: seen for seven pairs of rates from 8 to 192 kHz, with chunks from one sample up. The
output lags behind the input by up to 0.2 s (seen: 20 ms for 44.1 kHz to about the same, 37 to 40 ms for 44.1 and
48 kHz to 16 kHz, 115 ms for a factor of 2, 175 ms for 8 to 48 kHz).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mstedge.errors import MissingPackageError, SampleError
from mstedge.runtime.stream.sound_types import Floats

# Zeros that leave nothing of the sound before them in the filter. What follows a restart then differs from what would
# have followed zeros by less than 1e-6 of full scale (seen: 8.4e-7 over nine pairs of rates from 8 to 192 kHz; 4.7e-5
# from 44,100 to 44,099 Hz, where soxr interpolates its filter).
SETTLING_SAMPLES = 1 << 15


class Resampler:
    """A stream of one channel at another rate; at the same rate it hands its input on.

    Args:
        from_hz: Rate of the input.
        to_hz: Rate of the output.

    Raises:
        MissingPackageError: The rates differ and soxr is not installed.
        SampleError: soxr refuses the rates.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        common = math.gcd(from_hz, to_hz)
        # After each period of the input, input and output samples fall together again.
        self._period, self._output_period = from_hz // common, to_hz // common
        self._stream = None if from_hz == to_hz else _soxr_stream(from_hz, to_hz)

    @property
    def longest_fill(self) -> int:
        """Zeros that may be fed in place of lost samples; where more are lost, `restart` is exact and quicker."""
        return 2 * SETTLING_SAMPLES + self._period

    @property
    def is_direct(self) -> bool:
        """Whether the rates are equal."""
        return self._stream is None

    def output_index(self, index: int) -> int:
        """Give the index of the first output sample that lies at an input sample or behind it."""
        return -(-index * self._output_period // self._period)

    def feed(self, samples: Floats) -> Floats:
        """Take more samples, float32 [samples], and give those that are finished."""
        if self._stream is None:
            return samples
        return np.asarray(self._stream.resample_chunk(np.ascontiguousarray(samples, dtype=np.float32)))

    def finish(self) -> Floats:
        """Give the samples that were still to come, as if silence followed."""
        if self._stream is None:
            return np.zeros(0, dtype=np.float32)
        return np.asarray(self._stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True))

    def restart(self, index: int) -> tuple[int, Floats]:
        """Begin again after long silence, in step with what was before.

        Args:
            index: Which input sample will be fed next.

        Returns:
            Index of the first output sample that comes now, and the output of the silence just before the input.
        """
        if self._stream is None:
            return index, np.zeros(0, dtype=np.float32)
        self._stream.clear()
        periods = max(0, index - SETTLING_SAMPLES) // self._period
        silence = self.feed(np.zeros(index - periods * self._period, dtype=np.float32))
        return periods * self._output_period, silence


def _soxr_stream(from_hz: int, to_hz: int) -> Any:
    try:
        import soxr  # noqa: PLC0415  only sound at another rate needs it
    except ImportError:
        raise MissingPackageError("soxr", purpose=f"resampling {from_hz} Hz to {to_hz} Hz", extra="audio") from None
    try:
        return soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")
    except (ValueError, RuntimeError) as problem:
        raise SampleError(f"cannot resample {from_hz} Hz to {to_hz} Hz: {problem}") from None
