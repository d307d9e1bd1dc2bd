"""Everything about a log-mel front end that does not depend on the sound, computed once per spec."""

from __future__ import annotations

import functools
import math
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mstedge.errors import ConfigError
from mstedge.specs import AudioSpec

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

# Samples that are worked on at once: their spectra stay in a small processor's cache, and memory stays bounded.
_BLOCK_SAMPLES = 1 << 16
_SMALLEST_BLOCK_FRAMES = 32
# OpenBLAS takes one thread for products of up to 2^18 multiplications (interface/gemm.c: SMP_THRESHOLD_MIN times
# GEMM_MULTITHREAD_THRESHOLD). Above that it wakes its threads, which can cost a hundred times the product. Half of
# it was quickest: narrower groups of bands multiply fewer zeros.
_SINGLE_THREAD_MULTIPLICATIONS = 1 << 17

_SLANEY_HZ_PER_MEL = 200.0 / 3.0
_SLANEY_LOG_FROM_HZ = 1000.0
_SLANEY_LOG_FROM_MEL = _SLANEY_LOG_FROM_HZ / _SLANEY_HZ_PER_MEL
_SLANEY_LOG_STEP = math.log(6.4) / 27.0


@dataclass(frozen=True, slots=True)
class BandGroup:
    """Neighbouring bands, summed by one matrix product that is small enough for one thread.

    Attributes:
        bands: Which bands.
        bins: Bins of the transform from the first triangle's foot to the last one's.
        weights: Height of each triangle at each bin; float32 [bins, bands].
    """

    bands: slice
    bins: slice
    weights: Floats


@dataclass(frozen=True, slots=True)
class MelTables:
    """Window, triangles and transform.

    Attributes:
        block_frames: Frames that are worked on at once.
        window: Periodic Hann in the middle of zeros, float32 [block_frames, fft_samples]: repeated for every frame,
            because numpy multiplies contiguous memory several times as fast as it broadcasts a row.
        groups: The triangles.
        cosines: Orthonormal DCT-II, float32 [mfcc_count, bands], or none.
        buffers: Memory of each thread for one block of frames.
    """

    block_frames: int
    window: Floats
    groups: tuple[BandGroup, ...]
    cosines: Floats | None
    buffers: threading.local


@functools.lru_cache(maxsize=16)
def mel_tables(spec: AudioSpec) -> MelTables:
    """Compute the tables of a spec, or give them again.

    Raises:
        ConfigError: A band is so narrow that no bin of the transform lies in it.
    """
    block_frames = min(spec.frames, max(_SMALLEST_BLOCK_FRAMES, _BLOCK_SAMPLES // spec.fft_samples))
    return MelTables(
        block_frames=block_frames,
        window=np.tile(_window(spec), (block_frames, 1)),
        groups=_groups(_corners_hz(spec), spec, block_frames),
        cosines=_cosines(spec) if spec.features == "mfcc" else None,
        buffers=threading.local(),
    )


def _window(spec: AudioSpec) -> Floats:
    length, offset = spec.window_samples, (spec.fft_samples - spec.window_samples) // 2
    window = np.zeros(spec.fft_samples, dtype=np.float32)
    window[offset : offset + length] = 0.5 - 0.5 * np.cos(2.0 * np.pi / length * np.arange(length))
    return window


def _corners_hz(spec: AudioSpec) -> Doubles:
    """Corner frequencies, equally spaced on the mel scale: float64 [bands + 2]."""
    low, high = (_mels(hz, spec.mel_scale) for hz in (spec.low_hz, spec.upper_hz))
    mels: Doubles = np.linspace(low, high, spec.mel_bands + 2)
    if spec.mel_scale == "htk":
        corners: Doubles = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    else:
        logarithmic = _SLANEY_LOG_FROM_HZ * np.exp(_SLANEY_LOG_STEP * (mels - _SLANEY_LOG_FROM_MEL))
        corners = np.where(mels < _SLANEY_LOG_FROM_MEL, mels * _SLANEY_HZ_PER_MEL, logarithmic)
    # The ends are given in Hz: going through mels and back must not move them across a bin.
    corners[0], corners[-1] = spec.low_hz, spec.upper_hz
    return corners


def _mels(hz: float, scale: str) -> float:
    if scale == "htk":
        return 2595.0 * math.log10(1.0 + hz / 700.0)
    if hz < _SLANEY_LOG_FROM_HZ:
        return hz / _SLANEY_HZ_PER_MEL
    return _SLANEY_LOG_FROM_MEL + math.log(hz / _SLANEY_LOG_FROM_HZ) / _SLANEY_LOG_STEP


def _groups(corners_hz: Doubles, spec: AudioSpec, block_frames: int) -> tuple[BandGroup, ...]:
    """Cut the bands into as few groups as fit under the limit of one thread."""
    weights = _triangles(corners_hz, spec)
    feet = [np.flatnonzero(row)[[0, -1]] for row in weights]
    groups, first = [], 0
    for band in range(1, spec.mel_bands + 1):
        if band < spec.mel_bands:
            size = (band + 1 - first) * int(feet[band][1] + 1 - feet[first][0])
            if size * block_frames <= _SINGLE_THREAD_MULTIPLICATIONS:
                continue
        bins = slice(int(feet[first][0]), int(feet[band - 1][1]) + 1)
        groups.append(BandGroup(slice(first, band), bins, np.ascontiguousarray(weights[first:band, bins].T)))
        first = band
    return tuple(groups)


def _triangles(corners_hz: Doubles, spec: AudioSpec) -> Floats:
    """Height of every triangle at every bin: float32 [bands, bins]."""
    bins_hz = np.arange(spec.fft_samples // 2 + 1) * (spec.sample_rate_hz / spec.fft_samples)
    low, peak, high = (corners_hz[corner : corner + spec.mel_bands, np.newaxis] for corner in range(3))
    rising, falling = (bins_hz - low) / (peak - low), (high - bins_hz) / (high - peak)
    weights = np.maximum(0.0, np.minimum(rising, falling))
    _check_bands(weights, corners_hz, spec)
    if spec.mel_norm == "slaney":
        weights *= 2.0 / (high - low)
    heights: Floats = weights.astype(np.float32)
    return heights


def _check_bands(weights: Doubles, corners_hz: Doubles, spec: AudioSpec) -> None:
    empty = np.flatnonzero(weights.sum(axis=1) <= 0.0)
    if empty.size:
        band = int(empty[0])
        step_hz = spec.sample_rate_hz / spec.fft_samples
        raise ConfigError(
            f"mel band {band} of {spec.mel_bands} ({corners_hz[band]:.1f} to {corners_hz[band + 2]:.1f} Hz) holds no "
            f"bin of the transform, whose bins are {step_hz:.1f} Hz apart",
            hint=f"take fewer mel_bands than {spec.mel_bands}, or a larger fft_samples than {spec.fft_samples}",
        )


def _cosines(spec: AudioSpec) -> Floats:
    band, coefficient = np.arange(spec.mel_bands), np.arange(spec.mfcc_count)[:, np.newaxis]
    table = np.sqrt(2.0 / spec.mel_bands) * np.cos(np.pi / spec.mel_bands * (band + 0.5) * coefficient)
    table[0] /= np.sqrt(2.0)
    cosines: Floats = table.astype(np.float32)
    return cosines
