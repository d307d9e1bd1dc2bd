"""The frames of a window that reach over its edges, into its own padding."""

from __future__ import annotations

import numpy as np

from mstedge.runtime.stream.sound_types import Floats
from mstedge.specs import AudioSpec


class WindowEdges:
    """Padding of windows, in memory that is made once.

    Attributes:
        inner: Frames of a window that lie inside it; those before and behind are at its edges.

    Args:
        spec: The front end.
    """

    def __init__(self, spec: AudioSpec) -> None:
        self._spec = spec
        self._pad = 0 if spec.edges == "none" else spec.fft_samples // 2
        left = -(-self._pad // spec.hop_samples)
        self.inner = range(left, 1 + (spec.clip_samples + self._pad - spec.fft_samples) // spec.hop_samples)
        right = spec.frames - self.inner.stop
        self._left_strip, self._right_strip = (_strip(count, spec) for count in (left, right))
        self._left = frames_in(self._left_strip, left, spec)
        self._right = frames_in(self._right_strip, right, spec)
        self._behind = self._right_strip.size - (spec.clip_samples - self.first_sample(self.inner.stop)) if right else 0

    def first_sample(self, frame: int) -> int:
        """Give the sample of a window that a frame begins at; below zero, it is padding."""
        return frame * self._spec.hop_samples - self._pad

    def frames(self, samples: Floats) -> tuple[Floats, Floats]:
        """Give the frames at the edges of a window.

        Args:
            samples: float32 [clip_samples].

        Returns:
            float32 [frames, fft_samples] at the left and at the right edge, until the next call.
        """
        reflect = self._spec.edges == "reflect"
        if len(self._left):
            pad, strip = self._pad, self._left_strip
            strip[pad:] = samples[: strip.size - pad]
            if reflect:
                strip[:pad] = samples[pad:0:-1]
        if len(self._right):
            pad, strip = self._behind, self._right_strip
            strip[: strip.size - pad] = samples[samples.size - strip.size + pad :]
            if reflect:
                strip[strip.size - pad :] = samples[-1 - pad : -1][::-1]
        return self._left, self._right


def frames_in(samples: Floats, count: int, spec: AudioSpec) -> Floats:
    """Show samples as frames, without a copy.

    Args:
        samples: float32 [(count - 1) * hop_samples + fft_samples or more], contiguous.
        count: Number of frames.
        spec: The front end.

    Returns:
        float32 [count, fft_samples].
    """
    strides = (spec.hop_samples * samples.itemsize, samples.itemsize)
    # The constructor is ten times as fast as sliding_window_view, and checks the bounds as well.
    frames: Floats = np.ndarray((count, spec.fft_samples), dtype=np.float32, buffer=samples, strides=strides)
    return frames


def _strip(frames: int, spec: AudioSpec) -> Floats:
    return np.zeros((frames - 1) * spec.hop_samples + spec.fft_samples if frames else 0, dtype=np.float32)
