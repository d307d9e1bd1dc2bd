"""From chunks of sound, as a source gives them, to the windows that the whole recording would be cut into."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mstedge.errors import SampleError
from mstedge.runtime.preprocess.arrays import decoded_sound
from mstedge.runtime.preprocess.clip import mixed_down
from mstedge.runtime.preprocess.decoded import MAX_AUDIO_CHANNELS, MAX_AUDIO_PEAK
from mstedge.runtime.stream.front_end import IncrementalFrontEnd
from mstedge.runtime.stream.resampler import SETTLING_SAMPLES, Resampler
from mstedge.runtime.stream.ring import SampleRing
from mstedge.runtime.stream.sound_types import Floats, SoundChunk
from mstedge.runtime.stream.windows import Window, features_of_samples, require_hop
from mstedge.specs import AudioSpec

# OpenBLAS takes one thread for a dot product of up to 10,000 elements (its dot.c and sdot.c).
_QUICK_CHECK_VALUES = 8192


@dataclass(slots=True)
class StreamCounts:
    """What went through a stream since it was made or reset; samples of one channel, at the source's rate.

    Attributes:
        pushed: Samples of all chunks.
        lost: Samples that no chunk brought, by the source's counter.
        late: Samples whose place on the counter had been passed when they came; they were not used.
        windows: Windows that were given.
    """

    pushed: int = 0
    lost: int = 0
    late: int = 0
    windows: int = 0


@dataclass(slots=True)
class _Recording:
    """Where a recording stands; indices of the source count from 0 at the first chunk, as those of windows do here.

    Attributes:
        rate_hz: Rate of the source.
        origin: The source's counter at the first chunk.
        resampler: From that rate to the spec's.
        window_origin: What is added to the start and end of windows: the origin at the spec's rate.
        heard: Samples of the source so far, with lost ones.
        window: Start of the next window.
        answered: End of the latest window.
        gaps: Lost stretches that are longer than a clip, at the spec's rate, until they are passed.
    """

    rate_hz: int
    origin: int
    resampler: Resampler
    window_origin: int
    heard: int = 0
    window: int = 0
    answered: int = 0
    gaps: tuple[tuple[int, int], ...] = ()


class SoundStream:
    """Gives each window as soon as its last sample is there, with the bits that `windows_of` gives.

    Time is the source's counter and nothing else. The first chunk says where it stands: there the first window starts,
    and what came before is not counted. Lost samples are replaced by zeros, so that later ones keep their place; a
    window that would hold nothing else is left out. One thread at a time may use a stream.

    Args:
        spec: The front end; its `clip_samples` is the length of a window.
        hop_samples: From the start of one window to that of the next, at the spec's rate. Multiples of the spec's own
            `hop_samples` are quick: their windows share frames.

    Raises:
        ConfigError: The spec asks for mel bands too narrow for its transform.
        UsageError: The hop is not above zero.
    """

    def __init__(self, spec: AudioSpec, hop_samples: int) -> None:
        require_hop(hop_samples)
        self._spec = spec
        self._hop = hop_samples
        self._front_end = IncrementalFrontEnd(spec)
        self._ring = SampleRing(spec.clip_samples)
        self._recording: _Recording | None = None
        self._counts = StreamCounts()

    @property
    def counts(self) -> StreamCounts:
        """What went through so far."""
        return replace(self._counts)

    def push(self, chunk: SoundChunk) -> list[Window]:
        """Take a chunk and give the windows that it completes; a refused chunk changes nothing.

        Args:
            chunk: Any number of samples, of any number of channels, all at the rate of the first chunk.

        Raises:
            SampleError: A sample is not finite or far above full scale, or the rate is another one.
            MissingPackageError: Resampling is needed and soxr is not installed.
        """
        if len(chunk.samples) == 0:
            return []
        samples = _checked(chunk)
        recording = self._recording_of(chunk)
        mono = mixed_down(samples, self._spec)
        self._counts.pushed += mono.size
        ahead = chunk.start - recording.origin - recording.heard
        windows = self._fill(recording, ahead) if ahead > 0 else []
        if ahead < 0:
            self._counts.late += min(-ahead, mono.size)
            mono = mono[-ahead:]
        recording.heard += mono.size
        return windows + self._take(recording, recording.resampler.feed(mono))

    def flush(self) -> list[Window]:
        """End the recording and give what is left of it: a last window, if there is sound that no window held.

        The next chunk begins a recording; the counts go on.
        """
        recording = self._recording
        if recording is None:
            return []
        windows = self._take(recording, recording.resampler.finish())
        if self._ring.end > max(recording.window, recording.answered):
            samples = self._ring.read(recording.window, self._ring.end)
            features = features_of_samples(samples, self._spec)
            windows.append(self._window(recording, self._ring.end, features))
        self._forget()
        return windows

    def reset(self) -> None:
        """Forget all sound, without a last window, and the counts."""
        self._forget()
        self._counts = StreamCounts()

    def _forget(self) -> None:
        self._recording = None
        self._ring = SampleRing(self._spec.clip_samples)
        self._front_end.reset()

    def _recording_of(self, chunk: SoundChunk) -> _Recording:
        if self._recording is None:
            resampler = Resampler(chunk.rate_hz, self._spec.sample_rate_hz)
            origin = resampler.output_index(chunk.start)
            self._recording = _Recording(chunk.rate_hz, chunk.start, resampler, origin)
        elif chunk.rate_hz != self._recording.rate_hz:
            raise SampleError(
                f"a chunk at {chunk.rate_hz} Hz in a stream at {self._recording.rate_hz} Hz: expected one rate",
                hint="flush or reset the stream where a source changes its rate",
            )
        return self._recording

    def _fill(self, recording: _Recording, lost: int) -> list[Window]:
        """Put zeros in the place of lost samples; the time that it takes does not grow with their number."""
        self._counts.lost += lost
        resampler = recording.resampler
        after = recording.heard + lost
        begin, end = resampler.output_index(recording.heard), resampler.output_index(after)
        if end - begin >= self._spec.clip_samples:
            recording.gaps += ((begin, end),)
            self._pass_gaps(recording)
        recording.heard = after
        if resampler.is_direct:
            return self._take_zeros(recording, lost)
        if lost <= resampler.longest_fill:
            return self._take(recording, resampler.feed(np.zeros(lost, dtype=np.float32)))
        windows = self._take(recording, resampler.feed(np.zeros(SETTLING_SAMPLES, dtype=np.float32)))
        windows += self._take(recording, resampler.finish())
        start, silence = resampler.restart(after)
        windows += self._take_zeros(recording, start - self._ring.end)
        return windows + self._take(recording, silence)

    def _take(self, recording: _Recording, samples: Floats) -> list[Window]:
        """Add samples at the spec's rate, and stop at the end of each window to give it."""
        windows: list[Window] = []
        position = 0
        while position < samples.size:
            until = position + recording.window + self._spec.clip_samples - self._ring.end
            self._ring.append(samples[position:until])
            windows += self._completed(recording)
            position = until
        return windows

    def _take_zeros(self, recording: _Recording, count: int) -> list[Window]:
        windows: list[Window] = []
        end = self._ring.end + count
        while self._ring.end < end:
            until = min(end, recording.window + self._spec.clip_samples)
            self._ring.append_zeros(until - self._ring.end)
            windows += self._completed(recording)
        return windows

    def _completed(self, recording: _Recording) -> list[Window]:
        """Give the window that ends with the latest sample, if one does."""
        start, end = recording.window, self._ring.end
        if end < start + self._spec.clip_samples:
            return []
        window = self._window(recording, end, self._front_end.features(self._ring.read(start, end), start))
        recording.answered = end
        recording.window += self._hop
        if recording.gaps:
            self._pass_gaps(recording)
        return [window]

    def _pass_gaps(self, recording: _Recording) -> None:
        """Leave out the windows that lie in a gap as a whole."""
        clip, gaps = self._spec.clip_samples, recording.gaps
        for begin, end in gaps:
            if begin <= recording.window <= end - clip:
                recording.window += (1 + (end - clip - recording.window) // self._hop) * self._hop
        recording.gaps = tuple(gap for gap in gaps if gap[1] - clip >= recording.window)

    def _window(self, recording: _Recording, end: int, features: Floats) -> Window:
        """Count the next window, and put it on the source's counter."""
        self._counts.windows += 1
        return Window(recording.window + recording.window_origin, end + recording.window_origin, features)


def _checked(chunk: SoundChunk) -> Floats:
    """Give the samples, float32 [samples, channels], if they are sound.

    Where their squares add up to no more than that of the highest peak, none is above it: a third of the price.
    """
    samples = chunk.samples
    if samples.dtype == np.float32 and samples.ndim == 2 and 0 < samples.size <= _QUICK_CHECK_VALUES:
        flat = samples.reshape(-1)
        if samples.shape[1] <= MAX_AUDIO_CHANNELS and float(np.dot(flat, flat)) <= MAX_AUDIO_PEAK * MAX_AUDIO_PEAK:
            return samples
    checked: Floats = decoded_sound(samples, chunk.rate_hz, f"the chunk of sound at sample {chunk.start}").values
    return checked
