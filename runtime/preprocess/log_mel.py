"""Log-mel bands and MFCC of one clip, at little more than the cost of the Fourier transform.

Bands are summed by matrix products that are each too small for a BLAS to wake its threads for: that can cost a hundred
times the transform.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mstedge.runtime.preprocess.mel_tables import MelTables, mel_tables
from mstedge.specs import AudioSpec

Floats = NDArray[np.float32]

# From numpy 2.0 on the transform computes float32 in float32 and writes into memory that is given.
_TRANSFORM_IS_FLOAT32 = int(np.__version__.split(".")[0]) >= 2


@dataclass(frozen=True, slots=True)
class _Buffers:
    """Memory for one block of frames.

    Attributes:
        windowed: float32 [frames, fft_samples].
        spectrum: complex64 [frames, bins].
        power: float32 [frames, bins].
    """

    windowed: Floats
    spectrum: NDArray[np.complex64]
    power: Floats


def log_mel_from_clip(padded: Floats, spec: AudioSpec) -> Floats:
    """Compute unscaled log-mel bands or MFCC.

    The power of a bin is |X|^2 without normalisation, a band the sum of powers under its triangle, its logarithm the
    natural one of at least `log_floor`.

    Args:
        padded: float32 samples, as `padded_clip` gives them.
        spec: The front end.

    Returns:
        float32 [1, frames, bands or coefficients].

    Raises:
        ConfigError: The spec asks for mel bands too narrow for its transform.
    """
    tables = mel_tables(spec)
    # The constructor is ten times as fast as sliding_window_view, and checks the bounds as well.
    frames: Floats = np.ndarray(
        (spec.frames, spec.fft_samples),
        dtype=np.float32,
        buffer=padded,
        strides=(spec.hop_samples * padded.itemsize, padded.itemsize),
    )
    bands = np.empty((spec.frames, spec.mel_bands), dtype=np.float32)
    for first in range(0, spec.frames, tables.block_frames):
        block = slice(first, first + tables.block_frames)
        sum_bands(power_of_frames(frames[block], tables), tables, bands[block])
    return log_mel_from_bands(bands, spec, tables)


def sum_bands(power: Floats, tables: MelTables, bands: Floats) -> None:
    """Sum a block's power under each triangle.

    Args:
        power: float32 [frames, bins].
        tables: What belongs to the spec.
        bands: float32 [frames, bands], filled here. Its last bits may depend on the number of frames, and on a
            frame's place among them, as those of a BLAS product do.
    """
    for group in tables.groups:
        np.matmul(power[:, group.bins], group.weights, out=bands[:, group.bands])


def log_mel_from_bands(bands: Floats, spec: AudioSpec, tables: MelTables) -> Floats:
    """Take the logarithm of float32 [frames, bands] in its memory, and the cosines where the spec asks for MFCC.

    Returns:
        float32 [1, frames, bands or coefficients].
    """
    np.maximum(bands, np.float32(spec.log_floor), out=bands)
    np.log(bands, out=bands)
    if tables.cosines is not None:
        bands = np.einsum("fb,cb->fc", bands, tables.cosines)
    return bands[np.newaxis]


def _buffers_of_thread(tables: MelTables) -> _Buffers:
    """Give the calling thread its buffers: fresh memory costs more than what is done in it."""
    found: _Buffers | None = getattr(tables.buffers, "block", None)
    if found is None:
        frames, fft_samples = tables.window.shape
        bins = fft_samples // 2 + 1
        found = _Buffers(
            windowed=np.empty((frames, fft_samples), dtype=np.float32),
            spectrum=np.empty((frames, bins), dtype=np.complex64),
            power=np.empty((frames, bins), dtype=np.float32),
        )
        tables.buffers.block = found
    return found


def power_of_frames(frames: Floats, tables: MelTables) -> Floats:
    """Compute |X|^2 of windowed frames; the bits do not depend on the frames beside them.

    Args:
        frames: float32 [frames, fft_samples], at most `tables.block_frames`.
        tables: What belongs to the spec.

    Returns:
        float32 [frames, bins], in memory of the calling thread, until its next call.
    """
    buffers, count = _buffers_of_thread(tables), len(frames)
    windowed, spectrum, power = buffers.windowed[:count], buffers.spectrum[:count], buffers.power[:count]
    windowed[:] = frames
    windowed *= tables.window[:count]
    if _TRANSFORM_IS_FLOAT32:
        np.fft.rfft(windowed, axis=1, out=spectrum)  # type: ignore[arg-type]  # the stubs know complex128
    else:
        spectrum[:] = np.fft.rfft(windowed, axis=1)
    np.abs(spectrum, out=power)  # with its square half the cost of adding the squares of interleaved parts
    power *= power
    return power
