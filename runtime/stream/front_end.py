"""Features of overlapping windows, each Fourier transform computed once, with the bits of windows computed alone.

Transforms and their powers do not depend on the frames beside them: they are kept. Sums over bands do, in their last
bits, because a BLAS takes other paths for the last rows of a product than for the others (up to 5e-7 of a band's power
with OpenBLAS, and near 1e-6 of its logarithm); they are cheap, and computed for each window by the products that the
whole front end would use.
"""

from __future__ import annotations

import math

import numpy as np

from mstedge.errors import SampleError
from mstedge.runtime.preprocess import scaled
from mstedge.runtime.preprocess.log_mel import log_mel_from_bands, power_of_frames, sum_bands
from mstedge.runtime.preprocess.mel_tables import mel_tables
from mstedge.runtime.stream.sound_types import Floats
from mstedge.runtime.stream.window_edges import WindowEdges, frames_in
from mstedge.runtime.stream.windows import features_of_samples
from mstedge.specs import AudioSpec


class IncrementalFrontEnd:
    """Remembers the power spectra that later windows share with this one.

    Windows share frames where they start a whole number of the spec's `hop_samples` apart, on a grid that begins at
    sample 0. Frames that reach over a window's edge, into its own padding, are computed for each window. A window off
    the grid is computed whole.

    Args:
        spec: The front end.

    Raises:
        ConfigError: The spec asks for mel bands too narrow for its transform.
    """

    def __init__(self, spec: AudioSpec) -> None:
        self._spec = spec
        self._tables = mel_tables(spec)
        self._count = spec.frames
        self._edges = WindowEdges(spec)
        bins = spec.fft_samples // 2 + 1
        # A quarter more than a window: its frames are moved to the front after every quarter.
        self._power = np.empty((self._count + self._count // 4 + 1, bins), dtype=np.float32)
        self._first = 0  # the frame of the sound that row 0 is for
        self._known = 0  # frames of the sound before this one are computed, from the latest window's on

    def reset(self) -> None:
        """Forget all frames."""
        self._first = self._known = 0

    def features(self, samples: Floats, start: int) -> Floats:
        """Compute the features of a window; the bits are those of `features_from_decoded`.

        Args:
            samples: float32 [clip_samples] at the spec's rate, contiguous. Those that an earlier window held too must
                be the same.
            start: Index of the first one in the sound; not before that of an earlier window.

        Returns:
            float32 [*spec.feature_shape], new memory.

        Raises:
            SampleError: The features are not finite.
        """
        frame, offset = divmod(start, self._spec.hop_samples)
        if offset:
            return features_of_samples(samples, self._spec)
        rows = self._rows_of(frame)
        self._transform(samples, max(self._edges.inner.start, self._known - frame), rows)
        self._known = max(self._known, frame + self._edges.inner.stop)
        features = self._bands(rows)
        if self._spec.scaling is not None:
            features = scaled(features, self._spec)
        if not math.isfinite(float(np.add.reduce(features, axis=None))) and not np.isfinite(features).all():
            raise SampleError(f"the features of the window at sample {start} are not finite")
        return features

    def _rows_of(self, frame: int) -> Floats:
        """Give the rows of a window's frames, which lie in one piece: those computed before, and room for the rest."""
        row = frame - self._first
        if row + self._count > len(self._power):
            known = max(0, self._known - frame)
            self._power[:known] = self._power[row : row + known]
            self._first, row = frame, 0
        return self._power[row : row + self._count]

    def _transform(self, samples: Floats, fresh: int, rows: Floats) -> None:
        """Compute the frames at the edges, and those between them from `fresh` on."""
        edges = self._edges
        left, right = edges.frames(samples)
        inner = frames_in(samples[edges.first_sample(fresh) :], max(0, edges.inner.stop - fresh), self._spec)
        count = len(left) + len(inner) + len(right)
        if count <= self._tables.block_frames:
            power = power_of_frames(np.concatenate((left, inner, right)), self._tables)
            rows[: len(left)] = power[: len(left)]
            rows[fresh:] = power[len(left) :]
        else:
            self._transform_in_blocks(left, rows[: len(left)])
            self._transform_in_blocks(inner, rows[fresh : edges.inner.stop])
            self._transform_in_blocks(right, rows[edges.inner.stop :])

    def _transform_in_blocks(self, frames: Floats, power: Floats) -> None:
        block = self._tables.block_frames
        for first in range(0, len(frames), block):
            power[first : first + block] = power_of_frames(frames[first : first + block], self._tables)

    def _bands(self, power: Floats) -> Floats:
        """Sum bands as the whole front end does, product by product."""
        tables = self._tables
        bands = np.empty((self._count, self._spec.mel_bands), dtype=np.float32)
        for first in range(0, self._count, tables.block_frames):
            block = slice(first, first + tables.block_frames)
            sum_bands(power[block], tables, bands[block])
        return log_mel_from_bands(bands, self._spec, tables)
