"""How loud a clip of sound is: what decides between an answer and silence."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mstedge.runtime.preprocess.clip import padded_clip
from mstedge.specs import AudioSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mstedge.manifest import Manifest
    from mstedge.runtime.preprocess import Decoded


def level_dbfs(clip: NDArray[np.float32]) -> float:
    """Measure a clip: 10 log10 of the mean of its squared samples, summed in float64.

    Args:
        clip: float32 [clip_samples], full scale 1, as the front end cuts it: mixed down, at the spec's rate, zeros
            where the recording was shorter.

    Returns:
        dB: 0 for a full-scale square wave, -3.01 for a full-scale sine, minus infinity for zeros alone.
    """
    mean_square = float(np.mean(np.square(clip, dtype=np.float64)))
    return 10.0 * math.log10(mean_square) if mean_square > 0.0 else -math.inf


def level_of_decoded(decoded: Decoded, manifest: Manifest) -> float | None:
    """Measure the clip that is answered for, where the bundle asks for its level.

    Args:
        decoded: Sound that the front end took.
        manifest: Says whether the level matters, and how the clip is cut.

    Returns:
        dB as `level_dbfs` gives them, or none where no level matters.
    """
    if manifest.postprocess.silence_dbfs is None or not isinstance(manifest.spec, AudioSpec) or not decoded.rate_hz:
        return None
    return level_dbfs(padded_clip(decoded.values, decoded.rate_hz, _without_edges(manifest.spec)))


@functools.lru_cache(maxsize=64)
def _without_edges(spec: AudioSpec) -> AudioSpec:
    """Give the spec whose padded clip is the clip alone."""
    return msgspec.structs.replace(spec, edges="none")
