"""Where to clip what a tensor holds, from its histogram. Pure functions over counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 2048
_LEVELS = 128


def percentile_bins(counts: NDArray[np.int64], share: float) -> tuple[int, int]:
    """Find the bins that hold this share of all values, the rest cut off evenly at both ends.

    Args:
        counts: int64 [bins].
        share: How much to keep, between 0 and 1.

    Returns:
        The first bin kept, and the one after the last.
    """
    total = np.cumsum(counts)
    cut = (1.0 - share) / 2.0 * total[-1]
    first = int(np.searchsorted(total, cut, side="right"))
    last = int(np.searchsorted(total, total[-1] - cut, side="left"))
    return first, max(first, last) + 1


def entropy_bins(counts: NDArray[np.int64]) -> int:
    """Find how many bins of |value| to keep so that 128 levels lose the least information.

    Compares what is clipped with what is then rounded to 128 levels, for every number of bins from 128 up, by the
    Kullback-Leibler divergence (Migacz 2017, "8-bit inference with TensorRT"). The first bin, where ReLU heaps up zeros
    that no rounding moves, is given the height of the second.

    Args:
        counts: int64 [bins], histogram of |value| from 0 upwards.

    Returns:
        Number of bins to keep.
    """
    heights = counts.astype(np.float64)
    heights[0] = heights[1] if len(heights) > 1 else heights[0]
    if not heights.any() or len(heights) <= _LEVELS:
        return len(heights)
    above = heights.sum() - np.cumsum(heights)
    losses = [_divergence(heights[:kept], above[kept - 1]) for kept in range(_LEVELS, len(heights) + 1)]
    return _LEVELS + int(np.argmin(losses))


def _divergence(kept: NDArray[np.float64], clipped: float) -> float:
    """Compare kept bins, the clipped mass on top of the last, with the same bins rounded to 128 levels."""
    starts = np.linspace(0, len(kept), _LEVELS, endpoint=False).astype(np.int64)
    filled = kept > 0
    mass = np.add.reduceat(kept, starts)
    places = np.add.reduceat(filled.astype(np.int64), starts)
    level = np.searchsorted(starts, np.arange(len(kept)), side="right") - 1
    rounded = np.where(filled, mass[level] / np.maximum(places[level], 1), 0.0)
    wanted = kept.copy()
    wanted[-1] += clipped
    holds = wanted > 0
    if not rounded.any() or (rounded[holds] == 0).any():
        return np.inf
    p, q = wanted[holds] / wanted.sum(), rounded[holds] / rounded.sum()
    return float(np.sum(p * np.log(p / q)))
