"""Windows of a recording and their features: what a stream gives, and the plain way to the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mstedge.errors import UsageError
from mstedge.runtime.preprocess import Decoded, features_from_decoded
from mstedge.runtime.preprocess.clip import mixed_down, resampled
from mstedge.runtime.stream.sound_types import Floats
from mstedge.specs import AudioSpec


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of sound that one answer is given for.

    Attributes:
        start: Index of its first sample, at the spec's rate.
        end: Index behind its last sample of sound: a last window may be shorter than a clip, and padded.
        features: float32 [*spec.feature_shape], as `features_from_decoded` gives them.
    """

    start: int
    end: int
    features: Floats


def windows_of(samples: Floats, rate_hz: int, spec: AudioSpec, hop_samples: int) -> list[Window]:
    """Cut a whole recording into windows and compute the features of each on its own.

    The first window starts at sample 0, each other one a hop later. What the last whole window does not reach is given
    in one window more, placed as the spec's `align` says. A recording shorter than a clip is one such window, one
    without samples is none.

    Args:
        samples: float32 [samples, channels], full scale 1.
        rate_hz: Their rate; at another than the spec's the recording is resampled before it is cut.
        spec: The front end; its `clip_samples` is the length of a window.
        hop_samples: From the start of one window to that of the next, at the spec's rate.

    Raises:
        SampleError: The samples are not finite, or too many at the spec's rate.
        UsageError: The hop is not above zero.
        MissingPackageError: Resampling is needed and soxr is not installed.
    """
    return list(each_window_of(samples, rate_hz, spec, hop_samples))


def each_window_of(samples: Floats, rate_hz: int, spec: AudioSpec, hop_samples: int) -> Iterator[Window]:
    """Give the windows of `windows_of` one by one: those of an hour take more memory than its sound."""
    require_hop(hop_samples)
    mono = mixed_down(samples, spec)
    if rate_hz != spec.sample_rate_hz and mono.size:
        mono = resampled(mono, rate_hz, spec.sample_rate_hz)
    answered = 0
    for start in range(0, mono.size, hop_samples):
        end = min(start + spec.clip_samples, mono.size)
        if end > answered:
            yield Window(start, end, features_of_samples(mono[start:end], spec))
        answered = end


def features_of_samples(samples: Floats, spec: AudioSpec) -> Floats:
    """Compute the features of a window on its own.

    Args:
        samples: float32 [samples] at the spec's rate, at most a clip; fewer are padded.
        spec: The front end.
    """
    return features_from_decoded(Decoded(samples[:, np.newaxis], rate_hz=spec.sample_rate_hz), spec)


def require_hop(hop_samples: int) -> None:
    """Refuse a hop that goes nowhere.

    Raises:
        UsageError: It is not above zero.
    """
    if hop_samples <= 0:
        raise UsageError(f"a hop of {hop_samples} samples: expected at least 1")
