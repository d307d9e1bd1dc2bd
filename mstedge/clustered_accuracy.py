"""Bounds of a difference in accuracy where several rows come from one recording, video or person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstedge.bootstrap import bca_bounds
from mstedge.noninferiority import tango_bounds
from mstedge.paired_metrics import accuracy_difference
from mstedge.statistics import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def clustered_accuracy_bounds(
    counts: NDArray[np.float64],
    lost: int,
    gained: int,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval | None:
    """Bound the difference of two accuracies by resampling clusters, never tighter than independent rows would.

    A bootstrap calls impossible what it did not see: with twenty clusters and a loss of one row in two hundred, its
    lower bound holds in four of five cases, not nineteen of twenty. Rows that belong together say no more than
    independent ones, so Tango's bounds over the rows are the least that must be allowed for.

    Args:
        counts: Rows, rows that the reference answers correctly, rows that the candidate does: [clusters, 3].
        lost: Rows that only the reference answers correctly.
        gained: Rows that only the candidate answers correctly.
        confidence: Of each bound, between 0.5 and 1.
        resamples: How often the clusters are drawn.
        seed: Of the random numbers.

    Returns:
        Bounds of the candidate's accuracy minus the reference's, as shares; none below 20 clusters.

    Raises:
        ValueError: There are no rows, or the confidence is out of range.
    """
    clustered = bca_bounds(counts, accuracy_difference, confidence=confidence, resamples=resamples, seed=seed)
    if clustered is None:
        return None
    independent = tango_bounds(lost, gained, int(counts[:, 0].sum()), confidence=confidence)
    return Interval(min(clustered.low, independent.low), max(clustered.high, independent.high))
