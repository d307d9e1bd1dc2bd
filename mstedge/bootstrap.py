"""Bounds of a metric over clusters of rows that belong together: windows of a recording, places of an image."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from mstedge.statistics import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_CLUSTERS = 20
_NUMBERS_AT_ONCE = 2_000_000
_NORMAL = NormalDist()
Metric: TypeAlias = "Callable[[NDArray[np.float64]], NDArray[np.float64]]"


def bca_bounds(
    counts: NDArray[np.float64],
    metric: Metric,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval | None:
    """Bound a metric from each side by resampling clusters (Efron 1987, bias-corrected and accelerated).

    Each bound holds on its own at `confidence`. The order of the clusters does not matter. A bootstrap knows only what
    it saw: where all clusters are alike, the bounds are the metric itself, however few clusters there are.

    Args:
        counts: What the metric adds up, one row per independent cluster: [clusters, k].
        metric: Maps summed counts [..., k] to the metric [...].
        confidence: Of each bound, between 0.5 and 1.
        resamples: How many; 10,000 give a bound to about a hundredth of the interval's width.
        seed: Of the random numbers.

    Returns:
        The bounds, or none below 20 clusters, too few to stand for those that were not seen.

    Raises:
        ValueError: Counts have no two axes, the metric is not a finite number on all or some of the clusters, or the
            confidence is out of range.
    """
    if counts.ndim != 2 or not 0.5 < confidence < 1:
        raise ValueError(f"counts {counts.shape} at confidence {confidence}: expected [clusters, k], between 0.5 and 1")
    if len(counts) < LEAST_CLUSTERS:
        return None
    # Equal clusters are drawn as one kind with its share: the same distribution, and far fewer numbers.
    kinds, occurrences = np.unique(counts.astype(np.float64), axis=0, return_counts=True)
    total = occurrences @ kinds
    point = float(_finite(metric(total)))
    drawn = _resampled(kinds, occurrences, metric, resamples, seed)
    if drawn.min() == drawn.max() == point:
        return Interval(point, point)
    return _bounds(drawn, point, _acceleration(kinds, occurrences, metric), confidence)


def _resampled(
    kinds: NDArray[np.float64], occurrences: NDArray[np.intp], metric: Metric, resamples: int, seed: int
) -> NDArray[np.float64]:
    """Evaluate the metric on resamples of the clusters, in blocks that bound the memory: [resamples]."""
    generator = np.random.default_rng(seed)
    clusters = int(occurrences.sum())
    shares = occurrences / clusters
    block = max(1, _NUMBERS_AT_ONCE // max(kinds.shape))
    drawn = [
        metric(generator.multinomial(clusters, shares, size=min(block, resamples - done)).astype(np.float64) @ kinds)
        for done in range(0, resamples, block)
    ]
    return _finite(np.concatenate(drawn))


def _acceleration(kinds: NDArray[np.float64], occurrences: NDArray[np.intp], metric: Metric) -> float:
    """A sixth of the skewness of the metric's jackknife values, one cluster left out at a time."""
    total = occurrences @ kinds
    block = max(1, _NUMBERS_AT_ONCE // kinds.shape[1])
    values = [metric(total - kinds[start : start + block]) for start in range(0, len(kinds), block)]
    left_out = _finite(np.concatenate(values))
    shortfall = np.average(left_out, weights=occurrences) - left_out
    spread = float(occurrences @ shortfall**2)
    return float(occurrences @ shortfall**3) / (6 * spread**1.5) if spread > 0 else 0.0


def _bounds(drawn: NDArray[np.float64], point: float, acceleration: float, confidence: float) -> Interval:
    """Read both bounds off the resampled values."""
    # Of values equal to the point, half count as below it: metrics of counts take few values.
    below = float(np.mean(drawn < point) + np.mean(drawn <= point)) / 2
    least = 0.5 / len(drawn)
    bias = _NORMAL.inv_cdf(min(max(below, least), 1 - least))
    levels = [_level(sign * _NORMAL.inv_cdf(confidence), bias, acceleration) for sign in (-1, 1)]
    low, high = np.quantile(drawn, levels)
    return Interval(float(low), float(high))


def _level(reach: float, bias: float, acceleration: float) -> float:
    """Quantile of the resampled values that stands for a normal quantile (Efron 1987, equation 2.3)."""
    shifted = bias + reach
    scale = 1 - acceleration * shifted
    if scale <= 0:
        # Beyond the pole of the formula only the most extreme value is left.
        return 1.0 if shifted > 0 else 0.0
    return _NORMAL.cdf(bias + shifted / scale)


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(values).all():
        raise ValueError("the metric is not a finite number on some of the clusters: leave out clusters without labels")
    return values
