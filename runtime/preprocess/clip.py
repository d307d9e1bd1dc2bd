"""From channels at any rate to one clip at the spec's rate and length, padded for framing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mstedge.errors import MissingPackageError, SampleError
from mstedge.runtime.preprocess.decoded import MAX_AUDIO_VALUES
from mstedge.specs import AudioSpec

Floats = NDArray[np.float32]


def padded_clip(samples: Floats, rate_hz: int, spec: AudioSpec) -> Floats:
    """Mix down, resample, cut or fill to the clip's length, and extend the edges.

    Args:
        samples: float32 [samples, channels], full scale 1.
        rate_hz: Their rate; another than the spec's is resampled with soxr's HQ filter.
        spec: The front end.

    Returns:
        float32 [(frames - 1) * hop_samples + fft_samples or more]: frame i starts at i * hop_samples.

    Raises:
        SampleError: Resampling would need more memory than is allowed.
        MissingPackageError: Resampling is needed and soxr is not installed.
    """
    mono = mixed_down(samples, spec)
    if rate_hz != spec.sample_rate_hz:
        mono = resampled(mono, rate_hz, spec.sample_rate_hz)
    left = 0 if spec.edges == "none" else spec.fft_samples // 2
    right = 0 if spec.edges == "none" else spec.fft_samples - left
    padded = np.empty(left + spec.clip_samples + right, dtype=np.float32)
    _place(mono, padded[left : left + spec.clip_samples], spec)
    if spec.edges == "zero":
        padded[:left] = 0.0
        padded[left + spec.clip_samples :] = 0.0
    elif spec.edges == "reflect":
        last = left + spec.clip_samples - 1
        padded[:left] = padded[2 * left : left : -1]
        padded[last + 1 :] = padded[last - right : last][::-1]
    return padded


def mixed_down(samples: Floats, spec: AudioSpec) -> Floats:
    """Make one channel of several: float32 [samples, channels] to [samples], sample by sample."""
    if samples.shape[1] == 1 or spec.mixdown == "first":
        return samples[:, 0]
    mono: Floats = samples.mean(axis=1, dtype=np.float32)
    return mono


def resampled(mono: Floats, from_hz: int, to_hz: int) -> Floats:
    """Bring a whole recording, float32 [samples], to another rate with soxr's HQ filter.

    Raises:
        SampleError: It would need more memory than is allowed, or soxr refuses the rates.
        MissingPackageError: soxr is not installed.
    """
    length = mono.size * to_hz // from_hz
    if length > MAX_AUDIO_VALUES:
        raise SampleError(
            f"{mono.size} samples at {from_hz} Hz would become {length} at {to_hz} Hz: at most {MAX_AUDIO_VALUES}"
        )
    try:
        import soxr  # noqa: PLC0415  only inputs at another rate need it
    except ImportError:
        raise MissingPackageError("soxr", purpose=f"resampling {from_hz} Hz to {to_hz} Hz", extra="audio") from None
    try:
        output = soxr.resample(np.ascontiguousarray(mono, dtype=np.float32), from_hz, to_hz, quality="HQ")
    except (ValueError, RuntimeError) as problem:
        raise SampleError(f"cannot resample {from_hz} Hz to {to_hz} Hz: {problem}") from None
    return np.asarray(output, dtype=np.float32)


def _place(mono: Floats, clip: Floats, spec: AudioSpec) -> None:
    """Fill the clip: a longer input is cut, a shorter one is surrounded by zeros."""
    surplus = mono.size - clip.size
    if surplus >= 0:
        start = surplus // 2 if spec.align == "centre" else 0
        clip[:] = mono[start : start + clip.size]
        return
    start = -surplus // 2 if spec.align == "centre" else 0
    clip[:start] = 0.0
    clip[start : start + mono.size] = mono
    clip[start + mono.size :] = 0.0
